"""Every bad CIF gets one line that says what was expected, what came and what to do."""

import pytest
from crystal_helpers import PLAIN

from lacbed.crystals import Crystal, Site
from lacbed.errors import CrystalError


def refuse(text: str, message: str) -> None:
    with pytest.raises(CrystalError, match=message) as caught:
        Crystal.from_cif_text(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_no_such_file(tmp_path):
    with pytest.raises(CrystalError, match=r"no such file: .*nowhere\.cif"):
        Crystal.from_cif(tmp_path / "nowhere.cif")


def test_directory(tmp_path):
    with pytest.raises(CrystalError, match=r"is a directory; expected a CIF file"):
        Crystal.from_cif(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_impossible_path(name):
    with pytest.raises(CrystalError, match=r"cannot read|no such file"):
        Crystal.from_cif(name)


def test_too_large(tmp_path):
    path = tmp_path / "large.cif"
    with path.open("wb") as file:
        file.truncate(60_000_000)
    with pytest.raises(CrystalError, match="larger than 50 MB"):
        Crystal.from_cif(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected a CIF"),
        (b"\n  \n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary file"),
        (bytes(range(256)) * 20, "binary file"),
        (b"\xff\xfe\xfd\xfc" * 20, "is not a CIF"),
        (b"Dear colleague, here is the crystal.", "is not a CIF"),
        (b"<html><body>404</body></html>", "is not a CIF"),
        (b"data_x", "no atoms"),
    ],
)
def test_no_cif(tmp_path, content, message):
    path = tmp_path / "bad.cif"
    path.write_bytes(content)
    with pytest.raises(CrystalError, match=message) as caught:
        Crystal.from_cif(path)
    assert "bad.cif" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_blocks():
    refuse(
        PLAIN + PLAIN.replace("data_test", "data_two"), r"2 data blocks hold atoms \(test, two\).* --block test"
    )


def test_unknown_block():
    with pytest.raises(CrystalError, match="no data block 'three'; there are"):
        Crystal.from_cif_text(PLAIN, block="three")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Fe1 Fe 0.1 0.2 0.3 1.0 0.005\nO1 O 0.4 0.35 0.2 1.0 0.007\n", "", "is not a CIF|no atoms"),
        ("_atom_site_fract_y", "_atom_site_something", "no atoms; expected one loop"),
        ("Fe1 Fe", "Fe1 Qq", "atom Fe1: expected a chemical element, got 'Qq'"),
        ("Fe1 Fe", "X1 X", "atom X1: expected a chemical element, got 'X'"),
        ("Fe1 Fe", "1 1", "expected a chemical element, got '1'"),
        ("_cell_length_b 5.0\n", "", "no unit cell; _cell_length_b missing"),
        ("_cell_length_b 5.0", "_cell_length_b ?", "no unit cell; _cell_length_b missing"),
        ("_cell_length_b 5.0", "_cell_length_b five", "_cell_length_b: expected a number, got 'five'"),
        ("_cell_length_b 5.0", "_cell_length_b nan", "_cell_length_b: expected a number, got 'nan'"),
        ("_cell_length_b 5.0", "_cell_length_b inf", "_cell_length_b: expected a number, got 'inf'"),
        ("_cell_length_b 5.0", "_cell_length_b 0", "lengths must be positive.* got 4, 0, 6"),
        ("_cell_length_b 5.0", "_cell_length_b -5", "lengths must be positive"),
        ("_cell_length_b 5.0", "_cell_length_b 1e-200", "lengths must be positive"),
        ("_cell_length_b 5.0", "_cell_length_b 1e200", "0.5 to 10000 Å"),
        ("_cell_length_b 5.0", "_cell_length_b 5e5", "0.5 to 10000 Å"),
        ("_cell_length_b 5.0", "_cell_length_b 0.3", "lengths must be positive, 0.5 to"),
        ("_cell_angle_beta 90", "_cell_angle_beta 0", "lengths must be positive|angles must be between"),
        ("_cell_angle_beta 90", "_cell_angle_beta 180", "angles must be between 1 and 179"),
        ("_cell_angle_beta 90", "_cell_angle_beta 1e-9", "angles must be between 1 and 179"),
        ("_cell_angle_beta 90", "_cell_angle_beta ?", "_cell_angle_beta missing"),
        (
            "_cell_angle_beta 90",
            "_cell_angle_beta 90\n_cell_angle_beta 91",
            "_cell_angle_beta is given twice, with '90' and '91'; remove one",
        ),
        ("0.3 1.0 0.005", "0.3 1.5 0.005", "Fe1: occupancy must be above 0 and at most 1, got 1.5"),
        ("0.3 1.0 0.005", "0.3 -0.5 0.005", "Fe1: occupancy must be above 0 and at most 1, got -0.5"),
        ("0.3 1.0 0.005", "0.3 full 0.005", "occupancy of atom Fe1: expected a number, got 'full'"),
        ("0.3 1.0 0.005", "0.3 1.0 -0.005", "Fe1: U_iso must be between 0 and 10"),
        ("0.3 1.0 0.005", "0.3 1.0 50", "Fe1: U_iso must be between 0 and 10"),
        ("0.3 1.0 0.005", "0.3 1.0 little", "U_iso of atom Fe1: expected a number, got 'little'"),
        ("O1 O 0.4 0.35 0.2", "O1 O 0.1 0.2 0.31", "collide: 0.060 Å apart with occupancies that sum to 2"),
        ("O1 O 0.4 0.35 0.2", "O1 O 0.1 0.2 0.3", "Fe1 and O1 collide: 0.000 Å"),
        ("'-x,-y,-z'", "'-x,-y,-w'", "symmetry operation '-x,-y,-w' cannot be read"),
        ("'-x,-y,-z'", "'-x,-y'", "cannot be read"),
        ("'-x,-y,-z'", "'-x,-y,-z+1/3'\n'x,y,z+1/2'", "do not form a group"),
        ("'-x,-y,-z'", "'-x,-y,2*z'", "not a rotation"),
        ("'x,y,z'\n'-x,-y,-z'", "'-x,-y,-z'", "do not form a group"),
        ("'-x,-y,-z'", "'y,z,x'\n'z,x,y'", "does not have the symmetry of its operations"),
        ("Fe1 Fe 0.1", "Fe1 Fe ?", "coordinate x of atom Fe1: expected a number, got none"),
        ("Fe1 Fe 0.1", "Fe1 Fe nan", "coordinate x of atom Fe1: expected a number, got 'nan'"),
        ("Fe1 Fe 0.1", "Fe1 Fe 1/3", "coordinate x of atom Fe1: expected a number, got '1/3'"),
        ("Fe1 Fe 0.1", "Fe1 Fe 1e300", "coordinates must be three finite fractions"),
        ("Fe1 Fe 0.1 0.2", "Fe1 Fe 0.1", "is not a CIF"),
    ],
)
def test_damage(old, new, message):
    assert old in PLAIN
    refuse(PLAIN.replace(old, new), message)


def test_bad_tensor():
    rows = "loop_\n_atom_site_aniso_label\n" + "".join(
        f"_atom_site_aniso_U_{ij}\n" for ij in ("11", "22", "33", "12", "13", "23")
    )
    # Such columns, in the wrong order, stand in a real data base entry for rutile.
    refuse(PLAIN + rows + "Fe1 0.0068 -0.0004 0 0.0068 0 0.0046\n", "Fe1: U_ij must be six numbers, positive def")
    refuse(
        PLAIN + rows + "Fe1 0.0068 0.0068 0 0.0068 0 oops\n",
        "U_ij of atom Fe1: expected a number, got 'oops'",
    )
    double = PLAIN.replace("O1 O", "Fe1 O")
    refuse(double + rows + "Fe1 .1 .1 .1 0 0 0\nFe1 .2 .2 .2 0 0 0\nFe1 .3 .3 .3 0 0 0\n", "label of its own")


def test_magnetic():
    refuse(
        PLAIN + "loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n-x,-y,-z,-1\n",
        "expected the CIF of the nuclear structure",
    )


def test_unknown_space_group():
    text = PLAIN.replace("loop_\n_space_group_symop_operation_xyz\n'x,y,z'\n'-x,-y,-z'\n", "_x_H-M 'P q'\n")
    refuse(text.replace("_x_", "_space_group_name_"), "space group 'P q' is not known")
    refuse(text.replace("_x_H-M 'P q'", "_space_group_IT_number 500"), "between 1 and 230, got 500")
    refuse(text.replace("_x_H-M 'P q'", "_space_group_IT_number 225"), "does not have the symmetry")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"element": "si"}, "capital first"),
        ({"element": "Fe3+"}, "expected a chemical element"),
        ({"element": "X"}, "expected a chemical element"),
        ({"element": ""}, "expected a chemical element"),
        ({"element": "é"}, "expected a chemical element"),
        ({"element": None}, "expected a chemical element"),
        ({"xyz": (0.0, float("nan"), 0.0)}, "three finite"),
        ({"xyz": (0.0, 0.0)}, "three finite"),
        ({"xyz": None}, "xyz must be numbers"),
        ({"xyz": ("a", 0, 0)}, "xyz must be numbers"),
        ({"u_iso": None, "u_aniso": "abcdef"}, "u_aniso must be numbers"),
        ({"occupancy": 0.0}, "above 0"),
        ({"occupancy": float("nan")}, "above 0"),
        ({"u_iso": None}, "either u_iso or u_aniso"),
        ({"u_aniso": (0.01,) * 6}, "either u_iso or u_aniso"),
        ({"u_iso": float("inf")}, "U_iso must be between"),
        ({"u_iso": None, "u_aniso": (0.01, 0.01, 0.01, 0.0, 0.0, float("nan"))}, "U_ij must be"),
        ({"u_iso": None, "u_aniso": (0.01, 0.01, 0.01)}, "U_ij must be"),
        ({"u_iso": None, "u_aniso": (0.01, 0.01, -0.01, 0.0, 0.0, 0.0)}, "U_ij must be"),
    ],
)
def test_bad_sites(change, message):
    with pytest.raises(CrystalError, match=message):
        Site(**({"label": "A", "element": "Fe", "xyz": (0.0, 0.0, 0.0)} | change))


@pytest.mark.parametrize(
    "cell",
    [
        (4, 4, 4),
        (4, 4, 4, 90, 90, "x"),
        (4, 4, 4, 120, 120, 120),
        (4, 4, 4, 30, 30, 90),
        (9, 9, 0.2, 90, 90, 90),
        7,
    ],
)
def test_bad_cells(cell):
    with pytest.raises(CrystalError):
        Crystal("box", cell, (Site("Fe", "Fe", (0, 0, 0)),))


def test_no_sites():
    with pytest.raises(CrystalError, match="no atoms; a crystal needs at least one site"):
        Crystal("box", (4, 4, 4, 90, 90, 90), ())
