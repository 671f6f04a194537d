"""What a CIF says about its symmetry, under every name, and what is made of it when it says two things."""

import gemmi
import pytest

from lacbed.crystals import Crystal
from lacbed.crystals.symmetry import canonical_triplet, matrices_of, operations_of
from lacbed.errors import CrystalError


def cell(a, b=None, c=None, alpha=90, beta=90, gamma=90) -> str:
    lengths = "".join(f"_cell_length_{n} {v or a}\n" for n, v in zip("abc", (a, b, c), strict=True))
    angles = zip(("alpha", "beta", "gamma"), (alpha, beta, gamma), strict=True)
    return "data_x\n" + lengths + "".join(f"_cell_angle_{n} {v}\n" for n, v in angles)


def atoms(*rows, columns=("label", "type_symbol", "fract_x", "fract_y", "fract_z")) -> str:
    return "loop_\n" + "".join(f"_atom_site_{name}\n" for name in columns) + "\n".join(rows) + "\n"


def operations(*triplets, tag="_space_group_symop_operation_xyz") -> str:
    return f"loop_\n{tag}\n" + "".join(f"'{text}'\n" for text in triplets)


def named(symbol, number=None) -> str:
    lines = "" if symbol is None else f"_symmetry_space_group_name_H-M '{symbol}'\n"
    return lines + ("" if number is None else f"_symmetry_Int_Tables_number {number}\n")


def remarks(crystal) -> str:
    """Notes on symmetry: the crystals of these tests have few atoms."""
    kept = (note for note in crystal.notes if not note.startswith(("no Debye-Waller", "much empty space")))
    return " | ".join(kept)


CUBE = cell(3.905)
STO = atoms("Sr1 Sr 0 0 0", "Ti1 Ti .5 .5 .5", "O1 O .5 .5 0")
SALT, NACL = cell(5.64), atoms("Na1 Na 0 0 0", "Cl1 Cl .5 .5 .5")
SILICON, SI = cell(5.431), atoms("Si1 Si 0 0 0")
GENERAL = atoms("Fe1 Fe .11 .23 .37", "O1 O .41 .33 .12")
P21C = ("x,y,z", "-x,-y,-z", "-x,y+1/2,-z+1/2", "x,-y+1/2,z+1/2")


@pytest.mark.parametrize(
    "line",
    [
        "_space_group.name_H-M_alt 'P m -3 m'",
        "_symmetry.space_group_name_H-M 'P m -3 m'",
        "_space_group_name_H-M_full 'P 4/m -3 2/m'",
        "_symmetry_space_group_name_H-M_full 'P 4/m -3 2/m'",
        "_symmetry.pdbx_full_space_group_name_H-M 'P 4/m -3 2/m'",
        "_space_group.name_H-M_full 'P 4/m -3 2/m'",
        "_symmetry_space_group_name_h-m Pm3m",
        "_space_group.name_Hall '-P 4 2 3'",
        "_symmetry.space_group_name_Hall '-P 4 2 3'",
        "_symmetry_space_group_name_H-M '-P 4 2 3'",
        "_space_group.IT_number 221",
        "_symmetry.Int_Tables_number 221",
        "_space_group.name_H-M_ref 'P m -3 m'",
        "_space_group_name_H-M_alt ?\n_space_group_name_H-M_full 'P 4/m -3 2/m'",
        "_space_group_name_H-M_alt .\n_symmetry_space_group_name_H-M 'Pm-3m'",
        "loop_\n_space_group.id\n_space_group.name_H-M_alt\n1 'P m -3 m'",
        operations(*operations_of(gemmi.SpaceGroup("P m -3 m")), tag="_symmetry_equiv.pos_as_xyz"),
        operations(*operations_of(gemmi.SpaceGroup("P m -3 m")), tag="_space_group_symop.operation_xyz"),
    ],
    ids=range(18),
)
def test_every_name_of_the_same_thing(line):
    crystal = Crystal.from_cif_text(CUBE + line + "\n" + STO)
    assert (crystal.space_group, len(crystal.atoms)) == ("P m -3 m", 5)
    assert "no symmetry" not in remarks(crystal)


def test_dotted_cell_and_atoms():
    text = (CUBE + named("P m -3 m") + STO).replace("_cell_", "_cell.").replace("_atom_site_", "_atom_site.")
    assert len(Crystal.from_cif_text(text).atoms) == 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "_space_group_name_Schoenflies 'Oh^1'",
            "given as _space_group_name_Schoenflies 'Oh.1', which is not read",
        ),
        ("_space_group.transform_Pp_abc 'a,b,2c'", "transform_Pp_abc 'a,b,2c', which is not read"),
        ("_space_group_reference_setting '221:-P 4 2 3'", "which is not read"),
        ("_space_group_name_H-M_ref 'P m -3 m'\n_space_group.transform_Pp_abc 'b,c,a;0,0,0'", "is not read"),
        ("_space_group_IT_number 231", "between 1 and 230, got 231"),
        ("_space_group_IT_number 221.5", "expected a whole number, got '221.5'"),
        ("_space_group_ssg_name 'P m -3 m(0,0,g)'", "a modulated structure in superspace"),
        ("_space_group.ssg_name 'P m -3 m(0,0,g)'", "a modulated structure in superspace"),
        ("_cell_modulation_dimension 1", "superspace"),
        (operations("x1,x2,x3,x4", tag="_space_group_symop_ssg_operation_algebraic"), "superspace"),
        (operations("O1", tag="_atom_site_displace_Fourier_atom_site_label"), "superspace"),
        (operations("1", tag="_atom_site_Fourier_wave_vector_seq_id"), "superspace"),
        (operations("x1,x2,x3,x4"), "'x1,x2,x3,x4' cannot be read"),
        ("_space_group.magn_name_BNS 'P m -3 m'", "nuclear structure"),
        ("_space_group_magn.number_BNS 221.92", "nuclear structure"),
        ("_space_group_magn_name_OG 'P m -3 m'", "nuclear structure"),
        (operations("x,y,z,+1", tag="_space_group_symop.magn_operation_xyz"), "nuclear structure"),
        (operations("x,y,z,+1", tag="_space_group_symop_magn.operation_xyz"), "nuclear structure"),
        ("_magnetic_space_group_name_BNS x", "nuclear structure"),
    ],
    ids=range(19),
)
def test_refused_naming_the_tag(line, message):
    with pytest.raises(CrystalError, match=message):
        Crystal.from_cif_text(CUBE + line + "\n" + STO)


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("_symmetry_cell_setting cubic", "only _symmetry_cell_setting 'cubic'; P 1 assumed"),
        ("_space_group.crystal_system cubic", "only _space_group_crystal_system 'cubic'; P 1 assumed"),
        ("_symmetry_cell_setting triclinic", "no symmetry given; P 1 assumed"),
        ("_cell_modulation_dimension 0\n_space_group_ssg_name ?", "no symmetry given; P 1 assumed"),
        (named("P m -3 m") + operations("O1", tag="_atom_site_moment_label"), "magnetic moments left out"),
        (named("P m -3 m", 0), "between 1 and 230, got 0; not used"),
        (named("P m -3 m") + "_space_group_name_Hall damaged", "_space_group_name_Hall 'damaged' is not known"),
        (
            "_space_group_name_Hall '-P 4 2 3'\n" + named("P damaged"),
            "space group 'P damaged' is not known; not used",
        ),
    ],
    ids=range(8),
)
def test_noted(line, note):
    assert note in remarks(Crystal.from_cif_text(CUBE + line + "\n" + STO))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (named("P m -3 m", 225), "contradicts itself: .* is 'P m -3 m', but .* is '225'"),
        (named("P m -3 m") + "_space_group_name_Hall '-F 4 2 3'", "contradicts itself"),
        (named("P m -3 m") + "_space_group_name_H-M_alt 'P m -3 n'", "contradicts itself"),
        (named("P damaged", 221), "space group 'P damaged' is not known"),
        ("_space_group_name_Hall damaged\n" + named(None, 221), "_space_group_name_Hall 'damaged' is not known"),
        (named("I 4/m''"), "space group .* is not known"),
    ],
    ids=range(6),
)
def test_symbols_that_contradict_or_have_no_meaning_are_quoted(lines, message):
    with pytest.raises(CrystalError, match=message):
        Crystal.from_cif_text(CUBE + lines + "\n" + STO)


@pytest.mark.parametrize(
    ("symbol", "number", "oblique", "setting"),
    [
        ("P 21/n", None, "beta", "P 1 21/n 1"),
        ("P 21/n", 14, "gamma", "P 1 1 21/n"),
        ("P 21/n", None, "alpha", "P 21/n 1 1"),
        ("P 21/b", None, "gamma", "P 1 1 21/b"),
        ("P21", None, "gamma", "P 1 1 21"),
        ("B 2/b", 15, "gamma", "B 1 1 2/b"),
        ("C 2/c", None, "alpha", "C 2/c 1 1"),
        (None, 4, "gamma", "P 1 1 21"),
        (None, 14, "beta", "P 1 21/c 1"),
    ],
)
def test_oblique_angle_decides(symbol, number, oblique, setting):
    crystal = Crystal.from_cif_text(cell(7.1, 6.2, 9.3, **{oblique: 105}) + named(symbol, number) + GENERAL)
    assert crystal.space_group == setting
    assert bool(remarks(crystal)) == (symbol is None)


def test_axis_that_nothing_decides():
    straight = cell(7.1, 6.2, 9.3)
    assert remarks(Crystal.from_cif_text(straight + named("P 21/c") + GENERAL)) == ""
    assert "without unique axis; P 1 1 21/b" in remarks(
        Crystal.from_cif_text(straight + named("P 21/b") + GENERAL)
    )
    with pytest.raises(CrystalError, match=r"number 14 can mean P 1 1 21/a, .* give the symbol"):
        Crystal.from_cif_text(cell(7.1, 6.2, 9.3, gamma=105) + named(None, 14) + GENERAL)
    with pytest.raises(CrystalError, match=r"does not have the symmetry that the file names .*'P 21/b'"):
        Crystal.from_cif_text(cell(7.1, 6.2, 9.3, beta=105) + named("P 21/b") + GENERAL)


@pytest.mark.parametrize(
    ("lattice", "setting"),
    [
        (cell(6.37, alpha=46.1, beta=46.1, gamma=46.1), "R -3 c:R"),
        (cell(4.0), "R -3 c:R"),
        (cell(4.99, 4.99, 17.06, gamma=120), "R -3 c:H"),
    ],
)
@pytest.mark.parametrize("said", [named("R -3 c"), named("R -3 2/c", 167), named(None, 167), named("R3c") + ""])
def test_cell_decides_between_rhombohedral_and_hexagonal_axes(lattice, setting, said):
    crystal = Crystal.from_cif_text(lattice + said + atoms("Ca1 Ca 0 0 0"))
    assert crystal.space_group == (setting if "R3c" not in said else setting.replace("-3", "3"))


Z = "_cell_formula_units_Z 8\n_chemical_formula_sum 'Si'\n"
DENSITY = "_exptl_crystal_density_diffrn 2.329\n"
MULTIPLICITY = atoms("Si1 8 0 0 0", columns=("label", "symmetry_multiplicity", "fract_x", "fract_y", "fract_z"))


@pytest.mark.parametrize("content", [Z + SI, DENSITY + SI, MULTIPLICITY], ids=("Z", "density", "multiplicity"))
@pytest.mark.parametrize(
    ("said", "count", "note"),
    [
        (named("F d 3 m"), 8, "without origin choice; F d -3 m:1 is used, which alone gives the content"),
        (named("F 41/d -3 2/m", 227), 8, "without origin choice"),
        (named(None, 227), 8, "from its number 227; F d -3 m:1 is used"),
        (named("F d -3 m:2"), 16, ""),
        (named("F D 3 M S", 227), 8, ""),
        (named(None, 227) + "_space_group.IT_coordinate_system_code 1\n", 8, ""),
    ],
    ids=range(6),
)
def test_content_decides_between_origins(content, said, count, note):
    crystal = Crystal.from_cif_text(SILICON + said + content)
    assert len(crystal.atoms) == count
    assert note in remarks(crystal)
    assert note or "assumed" not in remarks(crystal)


def test_collisions_decide_between_origins():
    # On the fourfold axis of origin 1, where origin 2 has a centre of inversion 0.12 Å away.
    text = cell(10.0) + named("P 4/n") + atoms("O1 O .5 0 .012")
    assert "is used, which alone gives a crystal without collisions" in remarks(Crystal.from_cif_text(text))


SALT_CONTENT = "_cell_formula_units_Z 4\n_chemical_formula_sum 'Na Cl'\n"
PRIMITIVE = operations_of(gemmi.SpaceGroup("P m -3 m"))


@pytest.mark.parametrize(
    ("said", "listed", "count", "note"),
    [
        (SALT_CONTENT + named("F 4/m -3 2/m", 225), ("x,y,z",), 8, "F m -3 m is used"),
        (SALT_CONTENT + named(None, 225), ("x,y,z",), 8, "number 225 (192 operations) but lists 1 operation"),
        (
            SALT_CONTENT + named("F m -3 m"),
            PRIMITIVE,
            8,
            "but lists 48 operations, those of P m -3 m; F m -3 m is",
        ),
        (named("F 4/m -3 2/m", 225), ("x,y,z",), 2, "those of P 1; the listed ones are used"),
        (named("P 1", 1), ("x,y,z",), 2, ""),
        (named("F damaged", 225), ("x,y,z",), 2, "'F damaged' is not known; the listed operations are used"),
        (named("F m -3 m", 221), ("x,y,z",), 2, "contradicts itself"),
        (SALT_CONTENT + named("F m -3 m"), ("?",), 8, ""),
        (SALT_CONTENT + named("F m -3 m"), (".", ""), 8, ""),
        ("", ("?",), 2, "no symmetry given; P 1 assumed"),
    ],
    ids=range(10),
)
def test_operations_against_the_symbol(said, listed, count, note):
    crystal = Crystal.from_cif_text(SALT + said + operations(*listed) + NACL)
    assert len(crystal.atoms) == count
    assert note in remarks(crystal)
    assert bool(note) == bool(remarks(crystal))


@pytest.mark.parametrize(
    ("said", "listed", "note"),
    [
        (named("P 21/c", 14), P21C, ""),
        (named(None, 14), P21C, ""),
        (named("P 1 21/n 1"), P21C, "names space group P 1 21/n 1 (4 operations) but lists 4 operations"),
        (named(None, 13), P21C, "names space group number 13"),
        (named(None, 14), ("x,y,z", "-x+1/4,-y,-z", "-x+1/4,y+1/2,-z+1/2", "x,-y+1/2,z+1/2"), ""),
        (
            named("P 21/c"),
            ("x,y,z", "-x+1/4,-y,-z", "-x+1/4,y+1/2,-z+1/2", "x,-y+1/2,z+1/2"),
            "but lists 4 operations",
        ),
    ],
    ids=range(6),
)
def test_settings_are_compared_as_groups(said, listed, note):
    crystal = Crystal.from_cif_text(cell(7.1, 6.2, 9.3, beta=105) + said + operations(*listed) + GENERAL)
    assert set(crystal.operations) == set(listed)
    assert note in remarks(crystal)
    assert bool(note) == bool(remarks(crystal))


def test_two_lists_of_operations():
    other = operations("-x,-y,-z", "x,y,z", tag="_symmetry_equiv_pos_as_xyz")
    text = cell(7.1, 6.2, 9.3) + operations("x,y,z", "-x,-y,-z") + other + GENERAL
    assert Crystal.from_cif_text(text).space_group == "P -1"
    with pytest.raises(CrystalError, match="list different symmetry operations"):
        Crystal.from_cif_text(text.replace("'-x,-y,-z'\n'x,y,z'", "'x,y,z'"))


@pytest.mark.parametrize(
    ("n", "form"), [*((n, "{0}/{1}") for n in (5, 7, 16, 25, 48)), *((n, "{2:.5f}") for n in (3, 5, 7, 9, 11, 16))]
)
def test_translations_in_any_fraction(n, form):
    listed = ["x,y,z", *(f"x+{form.format(i, n, i / n)},y,z" for i in range(1, n))]
    text = cell(3.905 * n, 3.905, 3.905) + operations(*listed) + atoms("Sr1 Sr 0 0 0")
    crystal = Crystal.from_cif_text(text)
    assert len(crystal.atoms) == n
    assert Crystal.from_cif_text(crystal.to_cif()) == crystal


@pytest.mark.parametrize(
    ("text", "triplet"),
    [
        ("X+0.3333, Y , 2/3-z", "x+1/3,y,-z+2/3"),
        ("x+0.333,y+0.667,z+0.66", "x+1/3,y+2/3,z+2/3"),
        ("x+.5,y+0.25,z+0.125", "x+1/2,y+1/4,z+1/8"),
        ("x-1/5,y+7/5,z+0.2", "x+4/5,y+2/5,z+1/5"),
        ("x+0.16667,y+0.8333,z+0.42", "x+1/6,y+5/6,z+5/12"),
        ("-y+x,1/7+x,z", "x-y,x+1/7,z"),
    ],
)
def test_triplets(text, triplet):
    assert canonical_triplet(text) == triplet


@pytest.mark.parametrize("text", ["x+1/0,y,z", "x+1/5", "x+1/5,y,z+", "x+1/5,y,w", "x+0.1.1,y,z", "1/5,y,z"])
def test_damaged_triplets(text):
    with pytest.raises(CrystalError, match="cannot be read"):
        canonical_triplet(text)


def test_translations_without_a_common_denominator():
    with pytest.raises(CrystalError, match="no common denominator"):
        matrices_of(("x,y,z", "x+1/999983,y,z", "x+1/999979,y,z"))


def test_angles_that_the_symmetry_leaves_free():
    lengths = "data_x\n_cell_length_a 4\n_cell_length_b 5\n_cell_length_c 6\n"
    assert "alpha, beta, gamma not given; 90 degrees" in remarks(
        Crystal.from_cif_text(lengths + named("P -1") + SI)
    )
    assert "beta not given" in remarks(Crystal.from_cif_text(lengths + named("P 1 2/m 1") + SI))
    assert remarks(Crystal.from_cif_text(lengths + named("P m m m") + SI)) == ""
