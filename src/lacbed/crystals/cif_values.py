"""Tags and values of the CIF dictionary that reading and writing share."""

from __future__ import annotations

import math

from gemmi import cif

from lacbed.errors import CrystalError

ANGLE_TAGS = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
CELL_TAGS = ("_cell_length_a", "_cell_length_b", "_cell_length_c", *ANGLE_TAGS)
NOTE_TAG = "_lacbed_note"
SOURCE_TAG = "_lacbed_source"
U_INDICES = ("11", "22", "33", "23", "13", "12")


def text_of(value: str | None) -> str:
    """The string of a CIF value without its quotes; "" for a missing value, ? and a dot, quoted or not."""
    text = "" if value is None else str(cif.as_string(value)).strip()
    return "" if text in ("?", ".") else text


def number(value: str | None, what: str) -> float | None:
    """A CIF number without its uncertainty; None for a missing value, ? and a dot.

    Raises:
        CrystalError: if there is something else, naming `what` it was to be.
    """
    text = text_of(value)
    if not text:
        return None
    result = float(cif.as_number(text))
    if not math.isfinite(result):
        shown = text[:40].encode("ascii", "backslashreplace").decode()
        raise CrystalError(f"{what}: expected a number, got {shown!r}")
    return result


def equal_values(first: str, second: str) -> bool:
    """Whether two CIF values say the same: the same text, or the same number in other digits."""
    a, b = text_of(first), text_of(second)
    return a == b or bool(cif.as_number(a) == cif.as_number(b))
