"""What is unlikely in a crystal, misspelt or out of order in its file is named; what is usual is not."""

import pytest
from crystal_helpers import PLAIN, amounts

from lacbed.crystals import Crystal
from lacbed.crystals.cif_loops import remarks_on_tags
from lacbed.crystals.cif_text import parse_blocks

CUBIC = "data_x\n_cell_length_a 5.43\n_cell_length_b 5.43\n_cell_length_c 5.43\n"
COLUMNS = ("label", "fract_x", "fract_y", "fract_z", "occupancy", "B_iso_or_equiv")


def crystal_of(
    *rows: str, symbol: str = "F -4 3 m", head: str = "", columns: tuple[str, ...] = COLUMNS
) -> Crystal:
    loop = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in columns) + "\n".join(rows) + "\n"
    return Crystal.from_cif_text(f"{CUBIC}_symmetry_space_group_name_H-M '{symbol}'\n{head}{loop}")


GA, AS = "Ga1 0 0 0 1 0.6", "As2 0.25 0.25 0.25 1 0.35"


def test_usual_crystal():
    assert crystal_of(GA, AS).notes == ()


@pytest.mark.parametrize("labels", [("Ga1", "As1"), ("Ga0", "As1"), ("Ga", "As"), ("Ga3A", "As9"), ("Ga2", "As1")])
def test_usual_labels(labels):
    assert crystal_of(GA.replace("Ga1", labels[0]), AS.replace("As2", labels[1])).notes == ()


@pytest.mark.parametrize(
    ("rows", "symbol", "note"),
    [
        ((AS,), "F -4 3 m", "the labels leave out As1; is an atom missing?"),
        ((GA, AS.replace("As2", "As3")), "F -4 3 m", "the labels leave out As1"),
        ((GA, AS), "P 1 21/c 1", "shape of a cubic one, but the space group P 1 21/c 1 is monoclinic"),
        ((GA,), "P 1", "much empty space: 160 Å³ for each atom"),
        ((GA.replace(" 1 ", " 0.6 "), AS.replace(" 1 ", " 0.3 ")), "F -4 3 m", "no place of the crystal is full"),
        ((GA, AS.replace("As", "as")), "F -4 3 m", "read as2 as As"),
        ((GA, AS.replace("As2", "Ci2")), "F -4 3 m", "read Ci2 as C"),
    ],
)
def test_unlikely(rows, symbol, note):
    assert any(note in text for text in crystal_of(*rows, symbol=symbol).notes)


def test_formula_counts_the_atoms_instead():
    assert crystal_of(AS, head="_chemical_formula_sum As\n_cell_formula_units_Z 4\n").notes == ()


def test_full_places_of_a_formula():
    """A formula without Z that counts half an atom as one, as ASE writes it."""
    rows = ("Ga1 0 0 0 0.5 0.6", AS)
    (note,) = crystal_of(*rows, head="_chemical_formula_sum 'As4 Ga4'\n").notes
    assert note == "the formula As4 Ga4 counts Ga1 0.5 as full places; the occupancies are used"


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        (
            "_occupancy",
            "_ocupancy",
            "unknown tag _atom_site_ocupancy is not used; did you mean _atom_site_occupancy?",
        ),
        ("_occupancy", "_occupanncy", "did you mean _atom_site_occupancy?"),
        ("_occupancy", "_occupanyc", "did you mean _atom_site_occupancy?"),
        ("_U_iso_or_equiv", "_U_iso_or_equip", "did you mean _atom_site_u_iso_or_equiv?"),
        ("_angle_beta", "_angle_bta", "unknown tag _cell_angle_bta is not used; did you mean _cell_angle_beta?"),
        ("operation_xyz", "operation_xzy", "did you mean _space_group_symop_operation_xyz?"),
        ("fract_x\n_atom_site_fract_y", "fract_y\n_atom_site_fract_x", "in the unusual order y, x, z"),
    ],
)
def test_tags(old, new, note):
    (block,) = parse_blocks(PLAIN.replace(old, new), "CIF")
    (only,) = remarks_on_tags(block)
    assert note in only


def test_other_tags_are_no_misspellings():
    tags = (
        "_cell_length_a_su",
        "_cell_formula_units_Z_prime",
        "_atom_site.Cartn_x",
        "_cell_special_details",
        "_space_group_symop_id",
        "_atom_site_calc_flag",
        "_atom_site_disorder_group",
        "_symmetry_cell_setting",
        "_space_group_crystal_system",
        "_atom_site_attached_hydrogens",
        "_chemical_formula_moiety",
        "_atom_site_U_iso_or_equiv_su",
        "_cell_angle_beta_su",
        "_atom_site_aniso_type_symbol",
    )
    (block,) = parse_blocks(PLAIN + "".join(f"{tag} 1\n" for tag in tags), "CIF")
    assert remarks_on_tags(block) == []


def test_multiplicities_that_are_none():
    columns = (*COLUMNS, "symmetry_multiplicity")
    crystal = crystal_of(f"{GA} 4", f"{AS} 0.35", columns=columns)
    assert crystal.notes == (
        "multiplicities of the file are no whole numbers: As2 0.35; are columns interchanged?",
    )
    assert crystal_of(f"{GA} 0", f"{AS} ?", columns=columns).notes == ()


def test_written_files_notice_a_lost_atom():
    crystal = Crystal.named("Mg2SiO4")
    lines = crystal.to_cif().splitlines()
    (row,) = (line for line in lines if line.startswith("O6 "))
    found = Crystal.from_cif_text("\n".join(line for line in lines if line != row))
    assert amounts(found) != amounts(crystal)
    assert any("O 8 instead of 16" in note for note in found.notes)
