"""Nothing but a CrystalError may come out of the reader, whatever goes in; tests/fuzz damages whole files."""

import pytest
from crystal_helpers import PLAIN
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lacbed.crystals import Crystal
from lacbed.crystals.cif import parse_cif, read_cif
from lacbed.errors import CrystalError

RELAXED = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def swallow(text: str) -> None:
    """Read, and if it can be read, write and read again."""
    crystal, message = None, ""
    try:
        crystal = parse_cif(text)
    except CrystalError as error:
        message = str(error)
    assert "\n" not in message
    assert crystal is None or Crystal.from_cif_text(crystal.to_cif(), crystal.name) == crystal


@RELAXED
@given(st.text())
@example("data_\ud800")
@example("data_x loop_ _atom_site_fract_x")
@example("data_x _atom_site_fract_x 0.1")
def test_any_text(text):
    swallow(text)


@RELAXED
@given(st.binary())
def test_any_bytes(tmp_path, content):
    path = tmp_path / "fuzz.cif"
    path.write_bytes(content)
    with pytest.raises(CrystalError):
        read_cif(path)


WORDS = [
    "data_a",
    "loop_",
    ";",
    "'",
    "?",
    ".",
    "0.5",
    "-1",
    "1e9",
    "nan",
    "x,y,z",
    "-x,-y,z",
    "Fe",
    "O2-",
    "P1",
    "#",
]
WORDS += [line for line in PLAIN.split("\n") if line.startswith("_")] + [
    "save_q",
    "\n",
    "_atom_site_aniso_label",
]
WORDS += [
    "_atom_site_aniso_U_11",
    "_space_group_IT_number 225",
    "_space_group_name_H-M_alt 'R -3 m'",
    "global_",
]


@RELAXED
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.booleans())
def test_words_of_cif(words, after_a_crystal):
    swallow((PLAIN if after_a_crystal else "") + "\n".join(words))


@RELAXED
@given(
    st.sampled_from(["4.0", "90", "0.1", "1.0", "0.005", "Fe1", "'-x,-y,-z'", "Fe ", "_cell_length_a", "0.35"]),
    st.one_of(st.floats().map(repr), st.integers().map(str), st.text(max_size=8)),
)
def test_one_value_replaced(old, new):
    swallow(PLAIN.replace(old, new, 1))


def test_very_many_operations_and_atoms():
    many = "".join(f"'x+{n}/24,y,z'\n" for n in range(24)) + "".join(f"'x,y+{n}/24,z'\n" for n in range(1, 24))
    swallow(PLAIN.replace("'-x,-y,-z'\n", many))
    swallow(PLAIN + "".join(f"O{n} O 0.4 0.35 0.2 0.00001 0.01\n" for n in range(30_000)))
