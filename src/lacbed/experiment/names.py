"""Reflections from the names of files, and from lists as Felix has them.

A reflection is taken from a name only where it can be nothing else. Signs with a plus (+1+1-3) and indices with
separators (1_-1_3) say so themselves, unless they only count. Three digits (111, 1-13) are as often the running
number of an image: they are believed only for a whole set of files that no counter makes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from lacbed.errors import FileFormatError
from lacbed.felix.input import read_list

_INDICES = re.compile(r"(?:^|[_-])g[_-]?(?:vec|ind)", re.IGNORECASE)
_VARIANCE = re.compile("variance", re.IGNORECASE)
_SET = re.compile(r".+?(?=_?store|_?larbed|_?data|$)", re.IGNORECASE)
HKL = tuple[int, int, int]

_MINUS = re.compile(
    "[\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{MINUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}]"
)
_SIGNED = re.compile(r"(?:[+-][0-9]+){3,}$")  # GaAs_+1+1-3
_SEPARATED = re.compile(r"(?<![0-9.])(?:[+-]?[0-9]{1,2}[ ,_]+){2,}[+-]?[0-9]{1,2}$")  # GaAs_1_-1_3, 2 0 0
_COMPACT = re.compile(r"(?:^|[^0-9+.-])((?:-?[0-9]){3})$")  # GaAs_1-13
_INDEX = re.compile(r"[+-]?[0-9]+")
_BARRED = re.compile(
    r"(?:^|[^a-z])(?:b|bar|m|minus|n|neg|negative)$", re.IGNORECASE
)  # what may be a sign before digits
_LISTED = re.compile(r"\.([0-9]{1,3})$")  # felix.001
_SHOWN = 4
_DENSE = 4  # a set of numbers is a counter with gaps if at least one in so many is there
_ORDER = "the reflections in the order of the images"


@dataclass(frozen=True)
class _Reading:
    """How a name may be read.

    Attributes:
        hkl: the reflection.
        form: "plus" (signs with a plus among them), "separated", "minus" (three minus signs) or "compact".
        indices: as they are written.
        joined: a first minus sign follows a letter or a digit, where it may be a hyphen.
        four: the reflection if the last four numbers are Miller-Bravais indices h, k, i, l.
    """

    hkl: HKL
    form: str
    indices: tuple[str, ...]
    joined: bool = False
    four: HKL | None = None


def natural_key(path: Path) -> tuple[tuple[str | int, ...], str]:
    """Sorts names as people count: DF_2 before DF_10, without regard to capitals."""
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), path.name


def reflection_of(name: str) -> HKL | None:
    """The reflection that a file name without its ending may close with, or None.

    Understood are signs before all three indices (GaAs_+1+1-3), indices with blanks, commas or underscores between
    them (GaAs_1_-1_3), and single digits (GaAs_1-13). Whether it is one only the whole set of names tells; see
    `reflections_of`.
    """
    reading = _reading(name)
    return None if reading is None else reading.four or reading.hkl


def reflections_of(files: Sequence[Path]) -> list[HKL]:
    """The reflection of each file of a folder, from its name, or from felix.hkl for numbered files.

    Raises:
        FileFormatError: if one has none, two have the same, or the names may be running numbers.
    """
    readings = [_reading(file.stem) for file in files]
    known = [r for r in readings if r is not None]
    if len(known) < len(files):
        listed = _from_list(files)
        if listed:
            return listed
        bad = next(file for file, r in zip(files, readings, strict=True) if r is None)
        raise FileFormatError(
            f"the name of {bad.name!r} does not end with a reflection such as _+1+1-3 or _1_1_-3, and no "
            f"felix.hkl lists the images; rename the file or give --hkl, {_ORDER}"
        )
    doubt = _doubt(known)
    if doubt:
        raise FileFormatError(
            f"the names {_shown(files)} {doubt}; give names such as GaAs_+1+1-3, or --hkl, {_ORDER}"
        )
    four = all(r.four is not None for r in known)
    found = [r.four if four and r.four is not None else r.hkl for r in known]
    for i, g in enumerate(found):
        if g in found[:i]:
            raise FileFormatError(
                f"{files[found.index(g)].name!r} and {files[i].name!r} are named by the same reflection "
                f"{','.join(map(str, g))}; keep one"
            )
    return found


def _from_list(files: Sequence[Path]) -> list[HKL]:
    """The reflections that felix.hkl lists for the numbers of the files, or none."""
    listed = read_list(files[0].parent)
    places = [int(found[1]) for found in (_LISTED.search(file.stem) for file in files) if found]
    if len(places) < len(files) or not all(1 <= place <= len(listed) for place in places):
        return []
    return [listed[place - 1] for place in places]


def _reading(name: str) -> _Reading | None:
    text = _MINUS.sub("-", name.strip().strip("()[]"))
    signed, separated, compact = (p.search(text) for p in (_SIGNED, _SEPARATED, _COMPACT))
    if signed:
        written = _INDEX.findall(signed[0])
        joined = written[0][0] == "-" and text[: signed.start()][-1:].isalnum()
        return _indices(written, "plus" if "+" in signed[0] else "minus", joined)
    if separated:
        return _indices(_INDEX.findall(separated[0]), "separated", False)
    if compact:
        before, written = text[: compact.start(1)], re.findall(r"-?[0-9]", compact[1])
        joined = written[0][0] == "-" and before[-1:].isalnum()
        return None if _BARRED.search(before) else _indices(written, "compact", joined)
    return None


def _indices(written: list[str], form: str, joined: bool) -> _Reading | None:
    """A reading of the numbers that end a name; None if they are too many, too large or padded with zeros."""
    values = [int(word) for word in written]
    if len(values) > 4 or any(len(word.lstrip("+-")) > 1 and word.lstrip("+-")[0] == "0" for word in written):
        return None
    if any(abs(value) > 99 for value in values[-4:]):
        return None
    h, k, l = values[-3:]  # noqa: E741
    four = None
    if len(values) == 4:
        if values[0] + values[1] + values[2] == 0:
            four = (values[0], values[1], values[3])
        elif form != "separated":
            return None
    return _Reading((h, k, l), form, tuple(written[-3:]), joined, four)


def _doubt(readings: Sequence[_Reading]) -> str:
    """Why a set of names may be something else than reflections, or ""."""
    forms = {r.form for r in readings}
    words = [word for r in readings for word in r.indices]
    if any(re.fullmatch("-0+", word) for word in words):
        return "have a hyphen before a zero, so that it is not a minus sign"
    if any(r.joined for r in readings) and "plus" not in forms:
        return "have hyphens that may be signs or not"
    if "compact" in forms and forms & {"plus", "separated"}:
        return "are of several kinds, and those of three digits may be running numbers"
    signs = any(word[0] in "+-" for word in words)
    hkl = [r.hkl for r in readings]
    if forms <= {"compact", "minus"}:
        alone = len(readings) == 1 and not signs
        outside = np.linalg.matrix_rank(np.array(hkl)) > 2  # reflections of one zone lie in a plane
        running = alone or outside or _counts(["".join(r.indices) for r in readings])
    else:
        running = "plus" not in forms and not signs and _steps(hkl)
    return "may be running numbers rather than reflections" if running else ""


def _counts(written: Sequence[str]) -> bool:
    """Whether numbers with the same beginning run: with one step throughout, or close together."""
    parts = [re.fullmatch(r"(.*?)([0-9]+)", word) for word in written]
    if len({part[1] for part in parts if part}) > 1:
        return False
    numbers = sorted({int(part[2]) for part in parts if part})
    steps = {b - a for a, b in pairwise(numbers)}
    return len(numbers) > 1 and (
        (len(numbers) > 2 and len(steps) == 1) or numbers[-1] - numbers[0] < _DENSE * len(numbers)
    )


def _steps(hkl: Sequence[HKL]) -> bool:
    """Whether only one of the indices differs, and counts up by ones with few gaps."""
    columns = [sorted(set(column)) for column in zip(*hkl, strict=True)]
    running = [c for c in columns if len(c) > 1]
    if len(running) != 1 or len(running[0]) < len(hkl):
        return False
    numbers = running[0]
    closest = min(b - a for a, b in pairwise(numbers))
    return bool(closest == 1 and numbers[-1] - numbers[0] < 2 * len(numbers))


def _shown(files: Sequence[Path]) -> str:
    names = ", ".join(repr(file.name) for file in files[:_SHOWN])
    return names if len(files) <= _SHOWN else f"{names} and {len(files) - _SHOWN} more"


def companions(images: Path) -> tuple[Path | None, Path | None]:
    """Arrays beside a .npy of images that hold its reflections and its variances, each None if there is none.

    PyLARBED writes NAME_Store_Larbed.npy, NAME_Store_LarbedVariance.npy and NAME_g_vectors.npy, and PyExtal is
    given such arrays. Of several in a folder those count whose names begin like that of the images.

    Raises:
        FileFormatError: if several remain.
    """
    beside = [p for p in sorted(images.parent.glob("*.npy")) if p.name != images.name]
    return _one_of(images, beside, _INDICES, "reflections"), _one_of(images, beside, _VARIANCE, "variances")


def images_with_companions(arrays: Sequence[Path]) -> Path | None:
    """Of the arrays of a folder the one that holds all images, if another holds their reflections.

    Raises:
        FileFormatError: if several may.
    """
    if not any(_INDICES.search(p.stem) for p in arrays):
        return None
    images = [p for p in arrays if not _INDICES.search(p.stem) and not _VARIANCE.search(p.stem)]
    if len(images) != 1:
        listed = ", ".join(p.name for p in images) or "none"
        raise FileFormatError(
            f"{str(arrays[0].parent)!r} must hold one array of images beside that of the reflections, got "
            f"{listed}; give the file of the images instead of the folder"
        )
    return images[0]


def _one_of(images: Path, beside: Sequence[Path], kind: re.Pattern[str], what: str) -> Path | None:
    found = [p for p in beside if kind.search(p.stem)]
    if len(found) > 1:
        start = _SET.match(images.stem)
        found = [p for p in found if start and p.stem.startswith(start[0])]
    if len(found) > 1:
        raise FileFormatError(
            f"the {what} of {images.name!r} may be in {' or '.join(p.name for p in found)}; keep one set of "
            "arrays in a folder"
        )
    return found[0] if found else None
