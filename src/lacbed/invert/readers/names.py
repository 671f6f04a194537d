"""Reflections from the names of files, and from lists as Felix has them."""

from __future__ import annotations

import re
from pathlib import Path

from lacbed.errors import FileFormatError
from lacbed.felix.input import read_list

HKL = tuple[int, int, int]

_SIGNED = re.compile(r"([+-]\d+)([+-]\d+)([+-]\d+)$")  # GaAs_+1+1-3
_SPACED = re.compile(r"(?<![\d.])([+-]?\d{1,2})[ ,_]+([+-]?\d{1,2})[ ,_]+([+-]?\d{1,2})$")  # GaAs_1_-1_3, 2 0 0
_COMPACT = re.compile(r"(?:^|[^\d+.-])(-?\d)(-?\d)(-?\d)$")  # GaAs_1-13
_NUMBERED = re.compile(r"\.(\d{1,3})$")  # felix.001


def reflection_of(name: str) -> HKL | None:
    """The reflection that a file name without its ending closes with, or None.

    Understood are signs before all three indices (GaAs_+1+1-3), indices with blanks, commas or underscores between
    them (GaAs_1_-1_3), and single digits (GaAs_1-13).
    """
    text = name.strip().strip("()[]").replace("\N{MINUS SIGN}", "-")
    for pattern in (_SIGNED, _SPACED, _COMPACT):
        found = pattern.search(text)
        if found:
            h, k, l = (int(v) for v in found.groups())  # noqa: E741
            return h, k, l
    return None


def reflections_of(files: list[Path]) -> list[HKL]:
    """The reflection of each file of a folder, from its name, or from felix.hkl for numbered files.

    Raises:
        FileFormatError: if one has none.
    """
    found = [reflection_of(file.stem) for file in files]
    if all(g is not None for g in found):
        return [g for g in found if g is not None]
    listed = read_list(files[0].parent)
    numbers = [_NUMBERED.search(file.stem) for file in files]
    if listed and all(numbers):
        places = [int(n.group(1)) for n in numbers if n is not None]
        if all(1 <= place <= len(listed) for place in places):
            return [listed[place - 1] for place in places]
    bad = next(file for file, g in zip(files, found, strict=True) if g is None)
    raise FileFormatError(
        f"the name of {bad.name!r} does not end with a reflection such as _+1+1-3 or _1_1_-3, and no felix.hkl "
        "lists the images; rename the file or give --hkl"
    )
