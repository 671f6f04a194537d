"""Encodings, ends of lines, repeated tags and data blocks."""

import pytest
from crystal_helpers import PLAIN

from lacbed.crystals import Crystal
from lacbed.crystals.cif import read_cif
from lacbed.errors import CrystalError

BLANK = "data_blank\n_cell_length_a ?\nloop_\n" + "".join(
    f"_atom_site_{name}\n" for name in ("label", "fract_x", "fract_y", "fract_z")
)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\r", 5).replace("\n", "\r\n", 5).encode(),
        (PLAIN + "_remark\n;two\nlines\n;\n").replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        ("# é\n" + PLAIN).encode("latin-1"),
        PLAIN.encode() + b"\x1a",
    ],
    ids=("crlf", "cr", "mixed", "cr in text", "utf-8", "utf-16", "utf-16-be", "utf-32", "latin-1", "ctrl-z"),
)
def test_encodings_and_ends_of_lines(tmp_path, content):
    path = tmp_path / "test.cif"
    path.write_bytes(content)
    assert read_cif(path) == Crystal.from_cif_text(PLAIN)


def test_utf_16_without_its_mark_is_refused(tmp_path):
    path = tmp_path / "test.cif"
    path.write_bytes(PLAIN.encode("utf-16-le"))
    with pytest.raises(CrystalError, match="binary file"):
        read_cif(path)


@pytest.mark.parametrize(
    ("more", "noted"),
    [
        ("_cell_length_a 4.0", "_cell_length_a"),
        ("_cell_length_a 4.000(2)", "_cell_length_a"),
        ("_CELL_LENGTH_A '4.0'", "_cell_length_a"),
        ("_cell.length_a 4", "_cell_length_a"),
        ("_cell_length_a ?", ""),
        (
            "_diffrn_radiation_wavelength 0.0251\n_diffrn_radiation_wavelength 0.0251",
            "_diffrn_radiation_wavelength",
        ),
        ("_diffrn_radiation_wavelength ?\n_diffrn_radiation_wavelength 0.0251", ""),
        (PLAIN[PLAIN.index("loop_\n_atom") :], "_atom_site_label"),
        (BLANK[BLANK.index("loop_") :] + "? ? ? ?", ""),
    ],
    ids=range(9),
)
def test_equal_repetition_is_noted(more, noted):
    for text in (PLAIN + more + "\n", PLAIN.replace("data_test", f"data_test\n{more}")):
        crystal = Crystal.from_cif_text(text)
        assert crystal == Crystal.from_cif_text(PLAIN)
        said = [note.lower() for note in crystal.notes if "repeated in the file with equal values" in note]
        assert bool(said) == bool(noted)
        assert noted in "".join(said)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("_cell_length_a 4.1", "_cell_length_a is given twice, with '4.0' and '4.1'; remove one"),
        ("_cell.length_a 4.1", "_cell_length_a is given twice, with '4.0' and '4.1'"),
        ("_note one\n_note two", "_note is given twice, with 'one' and 'two'"),
        (
            "loop_\n_atom_site_label\n_atom_site_fract_x\nA 0.1",
            "_atom_site_label is given twice, with 2 and 1 values",
        ),
        ("loop_\n_atom_site_fract_y\n0.2\n0.36", "_atom_site_fract_y is given twice, with '0.35' and '0.36'"),
    ],
)
def test_repetition_with_another_value_is_refused(more, message):
    with pytest.raises(CrystalError, match=message):
        Crystal.from_cif_text(PLAIN + more + "\n")


@pytest.mark.parametrize("row", ["? ? ? ?", ". . . .", "Si1 ? ? ?", "Si1 0.1 ? ."])
def test_blank_templates_are_no_blocks_with_atoms(row):
    blank = BLANK + row + "\n"
    assert (
        Crystal.from_cif_text(blank + PLAIN)
        == Crystal.from_cif_text(PLAIN + blank)
        == Crystal.from_cif_text(PLAIN)
    )
    with pytest.raises(CrystalError, match="no atoms; expected one loop"):
        Crystal.from_cif_text(blank)


def test_names_of_blocks():
    second = PLAIN.replace("data_test", "data_T300").replace("Fe", "Co")
    for name in ("T300", "t300", "data_T300"):
        assert Crystal.from_cif_text(PLAIN + second, block=name).formula == "CoO"
    with pytest.raises(
        CrystalError, match=r"2 data blocks hold atoms \(test, test\); give each a name of its own"
    ):
        Crystal.from_cif_text(PLAIN + PLAIN)
    with pytest.raises(CrystalError, match=r"choose one with --block 'te\$t'"):
        Crystal.from_cif_text(PLAIN.replace("data_test", "data_te$t") + second)
