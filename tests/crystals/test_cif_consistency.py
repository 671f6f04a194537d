"""What a CIF says twice is compared; an honest file gets no note."""

import io
import warnings

import pytest
from crystal_helpers import PLAIN, amounts

from lacbed.crystals import Crystal, Site
from lacbed.crystals.named import NAMES, named_crystal
from lacbed.errors import CrystalError

HEAD = "data_x\n" + "".join(f"_cell_length_{x} 3.905\n" for x in "abc")
HEAD += "".join(f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma"))
HEAD += "_space_group_name_H-M_alt 'P m -3 m'\n"
COLUMNS = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "B_iso_or_equiv")
HONEST = """_chemical_formula_sum 'O3 Sr Ti'
_chemical_formula_weight 183.49
_cell_formula_units_Z 1
_cell_volume 59.55(2)
_exptl_crystal_density_diffrn 5.117
_exptl_crystal_density_meas 5.1
_exptl_crystal_F_000 84
_space_group_crystal_system cubic
"""
BONDS = "loop_\n" + "".join(f"_geom_bond_{x}\n" for x in ("atom_site_label_1", "atom_site_label_2", "distance"))
TITANATE = (("Sr1", "Sr 0 0 0 0.62"), ("Ti1", "Ti 0.5 0.5 0.5 0.44"), ("O1", "O 0.5 0.5 0 0.73"))


def titanate(head: str = "", column: str = "", values: tuple[str, ...] = ("", "", ""), base: str = HEAD) -> str:
    columns = (*COLUMNS, column) if column else COLUMNS
    loop = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in columns)
    rows = "".join(f"{label} {row} {v}\n" for (label, row), v in zip(TITANATE, values, strict=True))
    return base + head + loop + rows


def notes_of(*arguments: object, **named: object) -> tuple[str, ...]:
    return Crystal.from_cif_text(titanate(*arguments, **named)).notes  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("", ("", "", "")),
        ("symmetry_multiplicity", ("1", "1", "3")),
        ("symmetry_multiplicity", ("1.0", "1.0", "3.0")),
        ("symmetry_multiplicity", ("48", "48", "16")),  # as SHELXL-97 wrote: the order of the site symmetry
        ("site_symmetry_multiplicity", ("1", "?", "3")),
        ("site_symmetry_order", ("48", "48", "16")),
        ("Wyckoff_symbol", ("a", "b", "c")),
        ("Wyckoff_symbol", ("1a", "1b", "3c")),
        ("attached_hydrogens", ("0", "0", "0")),
    ],
)
def test_honest_files_get_no_note(column, values):
    assert notes_of(HONEST + BONDS + "Ti1 O1 1.9525(2)\nSr1 O1 2.76\n", column, values) == ()


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("_units_Z 1", "_units_Z 2", "holds 1 x O3 Sr Ti instead of Z = 2"),
        ("O3 Sr Ti'", "O3 Ba Ti'", "holds Ba 0 instead of 1, Sr 1 instead of 0 of the formula O3 Ba Ti"),
        ("O3 Sr Ti'", "O3 Li Sr Ti'", "Li 0 instead of 1"),
        ("O3 Sr Ti'\n", "O2 Sr Ti'\n", "O 3 instead of 2"),
        ("O3 Sr Ti'", "H2 O3 Sr Ti'", "hydrogen of the formula is not among the atoms: 2 of 2"),
        (
            "weight 183.49",
            "weight 233.2",
            "_chemical_formula_weight is 233.2, but the formula O3 Sr Ti weighs 183.49",
        ),
        ("volume 59.55", "volume 60.20", "_cell_volume is 60.2 Å³, but the cell 3.905, 3.905, 3.905"),
        ("diffrn 5.117", "diffrn 6.01", "is 6.01 g/cm³, but atoms and cell have 5.117"),
        ("meas 5.1", "meas 9.8", "density_meas is 9.8 g/cm³"),
        ("F_000 84", "F_000 168", "F(000) is 168, but the atoms of the cell have 84 electrons"),
        ("system cubic", "system hexagonal", "calls the crystal hexagonal, but its symmetry was read as P m -3 m"),
    ],
)
def test_each_contradiction(old, new, note):
    assert old in HONEST
    assert any(note in text for text in notes_of(HONEST.replace(old, new)))
    assert len(notes_of(HONEST.replace(old, new))) <= 2


@pytest.mark.parametrize(
    ("head", "note"),
    [
        ("_chemical_formula_sum 'O3 Ba Ti'\n", "Sr 1 instead of 0"),
        ("_exptl_crystal_density_diffrn 10.2\n", "g/cm³"),
        ("_exptl_crystal_F_000 100\n", "electrons"),
        ("_cell_formula_units_Z 2\n_chemical_formula_weight 183.5\n", "but the atoms made weigh 91.74"),
    ],
)
def test_each_statement_alone(head, note):
    (only,) = notes_of(head)
    assert note in only


@pytest.mark.parametrize(
    "head",
    [
        "_exptl_crystal_density_diffrn 5117\n",
        "_exptl_crystal_F_000 21.3\n_diffrn_radiation_probe neutron\n",
        "_cell_volume 0\n",
        "_cell_volume ?\n_cell_formula_units_Z ?\n_chemical_formula_sum ?\n_exptl_crystal_density_diffrn ?\n",
        "_chemical_formula_sum 'Sr8 Ti8 O24'\n",
        "_chemical_formula_sum 'SR TI O3'\n_cell_formula_units_Z 1\n",
        "_chemical_formula_sum 'Ti(SrO3)'\n_cell_formula_units_Z 1\n",
        "_cell_volume 1e400\n_cell_formula_units_Z 1e300\n_exptl_crystal_F_000 abc\n",
    ],
)
def test_no_contradiction(head):
    assert notes_of(head) == ()


@pytest.mark.parametrize(
    ("column", "values", "note"),
    [
        (
            "symmetry_multiplicity",
            ("1", "1", "6"),
            "multiplicities of the file are not those made: O1 3 instead of 6",
        ),
        ("site_symmetry_multiplicity", ("2", "1", "3"), "Sr1 1 instead of 2"),
        ("site_symmetry_order", ("48", "48", "8"), "O1 3 instead of 6"),
        ("Wyckoff_symbol", ("1a", "6e", "3c"), "Ti1 1 instead of 6"),
        ("Wyckoff_letter", ("a", "e", "c"), "Ti1 1, position e has 6"),
        ("Wyckoff_label", ("a", "b", "z"), "O1 3, position z has 0"),
        ("attached_hydrogens", ("0", "0", "2"), "hydrogen attached to O1 is not among the atoms"),
    ],
)
def test_places(column, values, note):
    (only,) = notes_of("", column, values)
    assert note in only


def test_volume_decides_about_an_angle():
    text = PLAIN.replace("_cell_angle_alpha 90\n_cell_angle_beta 90", "_cell_angle_beta 99.2\n_cell_volume 110.0")
    with pytest.raises(
        CrystalError, match=r"_cell_volume is 110 Å³, but the cell .*_cell_angle_alpha not given: 90"
    ):
        Crystal.from_cif_text(text)
    with pytest.raises(CrystalError, match="correct the one that is wrong, or delete _cell_volume"):
        notes_of("_cell_volume 65.1\n")
    assert notes_of("_cell_volume 59.6\n") == ()
    assert notes_of("_cell_volume 60(1)\n") == ()


def test_cell_that_departs_from_its_symmetry():
    base = HEAD.replace("_cell_length_b 3.905", "_cell_length_b 3.912")
    (note,) = notes_of(base=base)
    assert "departs from the symmetry of its space group by 0.18 %" in note
    assert notes_of(base=HEAD.replace("_cell_length_b 3.905", "_cell_length_b 3.90504")) == ()


def test_bonds_and_distances():
    assert notes_of(BONDS + "Ti1 O1 1.84\n") == ("bonds in the file are not those of its atoms: Ti1-O1 1.84 Å",)
    moved = titanate().replace("O 0.5 0.5 0 ", "O 0.5 0.5 0.3 ")
    assert Crystal.from_cif_text(moved).notes == ("atoms closer than any bond: Ti1-O1 0.78 Å",)


def test_disordered_crystal_with_a_rounded_formula():
    """Thirds, a fractional formula, hydrogen not located, alternative positions that exclude each other."""
    text = PLAIN.replace(
        "data_test\n", "data_test\n_chemical_formula_sum 'C0.67 H1.33 Fe O1.33'\n_cell_formula_units_Z 2\n"
    )
    text += "C1 C 0.7 0.1 0.5 0.335 0.01\nC2 C 0.72 0.14 0.5 0.333 0.01\nO2 O 0.95 0.1 0.5 0.33 0.01\n"
    (note,) = Crystal.from_cif_text(text).notes
    assert "hydrogen of the formula is not among the atoms: 2.66 of 2.66" in note


PB = HEAD.replace("3.905", "6.46").replace("P m -3 m", "F m -3 m")
SPLIT = "loop_\n" + "".join(f"_atom_site_{c}\n" for c in (*COLUMNS, "occupancy")) + "Te1 Te .5 .5 .5 1 1\n"


@pytest.mark.parametrize("x", ["0.00155", "0.00387", "0.00697", "0.0387"])
@pytest.mark.parametrize("witness", ["_chemical_formula_sum 'Pb Te'\n_cell_formula_units_Z 4\n", ""])
def test_split_position_is_kept(x, witness):
    crystal = Crystal.from_cif_text(PB + witness + SPLIT + f"Pb1 Pb {x} 0 0 1.2 0.16667\n")
    assert amounts(crystal) == {"Te": 4, "Pb": 4}
    near = float(x) * 6.46 < 0.05
    assert (crystal.notes == ()) == (bool(witness) or not near)
    assert not near or witness or "kept apart as a split position" in crystal.notes[0]


@pytest.mark.parametrize(
    ("x", "witness"),
    [
        ("0.00697", "_chemical_formula_sum 'Pb0.1667 Te'\n_cell_formula_units_Z 4\n"),
        ("0.00697", "multiplicity"),
        ("0", ""),
    ],
)
def test_vacancies_on_a_special_position_nearby(x, witness):
    text = PB + SPLIT + f"Pb1 Pb {x} 0 0 1.2 0.16667\n"
    if witness == "multiplicity":
        text = text.replace("_occupancy\n", "_occupancy\n_atom_site_symmetry_multiplicity\n")
        text = text.replace(" 1 1\n", " 1 1 4\n").replace("0.16667\n", "0.16667 4\n")
    else:
        text = text.replace("loop_", witness + "loop_")
    crystal = Crystal.from_cif_text(text)
    assert amounts(crystal) == {"Te": 4, "Pb": 0.667}
    assert crystal.notes == (() if x == "0" else ("Pb1 put on the special position nearby",))
    assert Crystal.from_cif_text(crystal.to_cif(), crystal.name) == crystal


def test_lost_atoms_are_named():
    for x in ("0", "0.0003"):
        text = (
            PB
            + "_chemical_formula_sum 'Pb Te'\n_cell_formula_units_Z 4\n"
            + SPLIT
            + f"Pb1 Pb {x} 0 0 1.2 0.16667\n"
        )
        assert any("Pb 0.67 instead of 4" in note for note in Crystal.from_cif_text(text).notes)
    whole = Crystal.from_cif_text(PB + SPLIT + "Pb1 Pb 0.00697 0 0 1.2 1\n")
    assert amounts(whole) == {"Te": 4, "Pb": 4}
    assert whole.notes == ("put on a special position nearby: Pb1 by 0.05 Å",)


def assumed(note: str) -> bool:
    return "Debye-Waller" in note or "neutral atoms" in note


@pytest.mark.parametrize("name", NAMES)
def test_own_files_contradict_nothing(name):
    crystal = named_crystal(name)
    assert set(Crystal.from_cif_text(crystal.to_cif()).notes) == set(crystal.notes)


MIXED = Crystal.build(
    "mixed",
    4.2,
    225,
    [Site("Mg1", "Mg", (0, 0, 0), 0.61), Site("Fe1", "Fe", (0, 0, 0), 0.3), Site("O1", "O", (0.5, 0.5, 0.5))],
)


@pytest.mark.parametrize("crystal", [MIXED, *map(named_crystal, ("SrTiO3", "Al2O3", "CuO"))], ids=lambda c: c.name)
def test_files_of_ase_contradict_nothing(crystal):
    ase_io = pytest.importorskip("ase.io")
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms(crystal.atoms.elements, scaled_positions=crystal.atoms.xyz, cell=crystal.direct.T, pbc=True)
    if crystal is MIXED:
        atoms = ase_io.read(io.StringIO(crystal.to_cif()), format="cif")
    file = io.BytesIO()
    ase_io.write(file, atoms, format="cif")
    assert all(map(assumed, Crystal.from_cif_text(file.getvalue().decode()).notes))


@pytest.mark.parametrize("symprec", [None, 0.01])
@pytest.mark.parametrize("share", [0.5, 0.6, 1.0])
def test_files_of_pymatgen_contradict_nothing(symprec, share):
    core = pytest.importorskip("pymatgen.core", exc_type=ImportError)
    writer = pytest.importorskip("pymatgen.io.cif", exc_type=ImportError).CifWriter
    metal = {"Mg2+": share, "Fe2+": 1.0 - share} if share < 1 else "Mg2+"
    structure = core.Structure.from_spacegroup(
        225, core.Lattice.cubic(4.2), [metal, "O2-"], [(0, 0, 0), (0.5,) * 3]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib announces changes
        text = str(writer(structure, symprec=symprec))
    assert all(map(assumed, Crystal.from_cif_text(text).notes))


@pytest.mark.parametrize("name", ["split_site_0045", "split_site_025"])
def test_case_split(shared, name):
    crystal = Crystal.from_cif(shared(f"cases/split_site_merged/{name}.cif"))
    assert amounts(crystal) == {"Pb": 4.0, "Te": 4.0}


@pytest.mark.parametrize("name", ["Fd3m_open", "number_only_227"])
def test_case_content(shared, name):
    crystal = Crystal.from_cif(shared(f"cases/content_contradicts_file/{name}.cif"))
    warned = any("instead of Z = 8" in note for note in crystal.notes)
    assert (amounts(crystal) == {"Si": 8}) != warned


def test_case_angle(shared):
    with pytest.raises(CrystalError, match="_cell_volume is 130 Å³"):
        Crystal.from_cif(shared("cases/content_contradicts_file/angle_missing_volume.cif"))
