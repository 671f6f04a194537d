"""Space groups and symmetry operations, checked: they form a group and the cell has them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import gemmi
import numpy as np
import numpy.typing as npt

from lacbed.crystals.cell import FloatArray
from lacbed.crystals.symbols import settings_of
from lacbed.errors import CrystalError

IntArray = npt.NDArray[np.int64]

IDENTITY = ("x,y,z",)
MAX_OPERATIONS = 192
MAX_DENOMINATOR = 10**6
"""Of the translations; beyond it they are no fractions but damaged numbers."""

_DENOMINATORS = ((2, 3, 4, 6, 8, 12), tuple(n for n in range(5, 25) if n not in (6, 8, 12)))
"""Of translations written as decimals; those of space groups come first."""

METRIC_TOLERANCE = 5e-3
"""Largest change of G_ij / √(G_ii G_jj) under an operation: 0.25 % of a length, 0.3° of an angle."""


def find_space_group(symbol: str | int) -> gemmi.SpaceGroup:
    """The space group of a number (reference setting) or of a Hermann-Mauguin or Hall symbol.

    Raises:
        CrystalError: if there is no such group, or if the symbol leaves open which of two origins is meant.
    """
    if not isinstance(symbol, str):
        return find_by_number(symbol)
    exact = gemmi.find_spacegroup_by_name(symbol)
    if exact is not None and exact.xhm() == symbol:  # spares the built-in crystals the table of spellings
        return exact
    settings = settings_of(symbol)
    found = settings[0] if settings else _by_hall(symbol)
    if found is None:
        raise CrystalError(
            f"space group {symbol!r} is not known; give a number or a symbol such as 'P m -3 m' or 'R -3 m:H'"
        )
    if origin_is_open(settings):
        raise CrystalError(
            f"space group {symbol!r} has two origin choices; write '{found.hm}:1' or '{found.hm}:2' "
            f"(the number {found.number} means choice 2)"
        )
    return found


def find_by_number(number: int) -> gemmi.SpaceGroup:
    """The reference setting of a space group.

    Raises:
        CrystalError: if it is no number from 1 to 230.
    """
    try:
        index = operator.index(number)
    except TypeError:
        raise CrystalError(f"space group must be a symbol or a number, got {number!r}") from None
    if not 1 <= index <= 230:
        raise CrystalError(f"space group number must be between 1 and 230, got {index}")
    return gemmi.get_spacegroup_reference_setting(index)


def _by_hall(symbol: str) -> gemmi.SpaceGroup | None:
    try:
        return gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(symbol))
    except (RuntimeError, ValueError):
        return None


def origin_is_open(settings: Sequence[gemmi.SpaceGroup]) -> bool:
    """True if the settings that a symbol can mean differ in their origin choice, 1 or 2."""
    return {"1", "2"} <= {group.ext for group in settings}


def operations_of(group: gemmi.SpaceGroup) -> tuple[str, ...]:
    """Triplets of all operations of a space group, centring included."""
    return triplets_of(group.operations())


def triplets_of(operations: gemmi.GroupOps) -> tuple[str, ...]:
    """Triplets of the operations of a group, centring included."""
    return tuple(op.wrap().triplet() for op in operations)


@lru_cache(maxsize=1024)
def matrices_of(operations: tuple[str, ...]) -> tuple[IntArray, FloatArray]:
    """Rotations (operation, 3, 3) and translations (operation, 3) of triplets that form a space group.

    Raises:
        CrystalError: if a triplet cannot be read, is no rotation, or the set is not a group.
    """
    rotations, steps, unit = _parse(operations)
    _check_group(operations, rotations, steps, unit)
    translations = steps / unit
    rotations.setflags(write=False)
    translations.setflags(write=False)
    return rotations, translations


def _parse(operations: tuple[str, ...]) -> tuple[IntArray, IntArray, int]:
    """Rotations, translations as multiples of a fraction of the cell, and how many such fractions make a cell."""
    if not 1 <= len(operations) <= MAX_OPERATIONS:
        raise CrystalError(f"expected 1 to {MAX_OPERATIONS} symmetry operations, got {len(operations)}")
    parsed = [_parsed(text) for text in operations]
    scaled = np.array([op.rot for op, _ in parsed], dtype=np.int64)
    determinant = np.linalg.det(scaled / gemmi.Op.DEN)
    bad = np.any(scaled % gemmi.Op.DEN != 0, axis=(1, 2)) | (np.abs(np.abs(determinant) - 1.0) > 1e-9)
    if bad.any():
        text = operations[int(np.argmax(bad))]
        raise CrystalError(f"symmetry operation {text!r} is not a rotation of a lattice; one is damaged")
    others = {part.denominator for _, shift in parsed for part in shift or ()}
    unit = math.lcm(gemmi.Op.DEN, *others)
    if unit > MAX_DENOMINATOR:
        raise CrystalError(
            "the translations of the symmetry operations have no common denominator; one is damaged"
        )
    steps = [
        [n * (unit // gemmi.Op.DEN) for n in op.tran] if shift is None else [int(part * unit) for part in shift]
        for op, shift in parsed
    ]
    return scaled // gemmi.Op.DEN, np.array(steps, dtype=np.int64) % unit, unit


@lru_cache(maxsize=4096)
def canonical_triplet(text: str) -> str:
    """A triplet in one spelling: "-Y, X, 1/4+z" as "-y,x,z+1/4", translations in [0, 1).

    Raises:
        CrystalError: if it is not a triplet.
    """
    op, shift = _parsed(text)
    parts = op.wrap().triplet().split(",")
    if shift is None:
        return ",".join(parts)
    steps = [part % 1 for part in shift]
    return ",".join(part + (f"+{step}" if step else "") for part, step in zip(parts, steps, strict=True))


def _parsed(text: str) -> tuple[gemmi.Op, tuple[Fraction, ...] | None]:
    """A triplet, and its translation where that is no multiple of 1/24 (the unit of gemmi)."""
    try:
        if "." not in text:  # gemmi rounds decimals generously
            return gemmi.Op(text), None
    except (RuntimeError, ValueError, TypeError):
        pass
    try:
        parts = [re.findall(r"[+-]?[^+-]*", part)[:-1] for part in "".join(text.split()).split(",")]
        letters = [[term for term in part if re.search(r"[A-Za-z]", term)] for part in parts]
        shift = [
            sum((_fraction(term) for term in part if not re.search(r"[A-Za-z]", term)), Fraction(0))
            for part in parts
        ]
        return gemmi.Op(",".join("".join(part) for part in letters)), tuple(shift)
    except (RuntimeError, ValueError, TypeError, AttributeError, ZeroDivisionError):
        shown = str(text)[:60].encode("ascii", "backslashreplace").decode()
        raise CrystalError(
            f"symmetry operation {shown!r} cannot be read; expected a triplet such as 'x,y,z' or '-y,x,z+1/4'"
        ) from None


def _fraction(term: str) -> Fraction:
    """The translation "+1/5", or the simplest fraction that a decimal such as 0.6667 can stand for."""
    value = Fraction(term)
    digits = len(term.partition(".")[2])
    if value.denominator <= gemmi.Op.DEN or digits < 2:
        return value
    rounded, cut_off = Fraction(1, 2 * 10**digits), Fraction(1, 10**digits)
    for denominators in _DENOMINATORS:
        for tolerance in (rounded, cut_off):
            near = (Fraction(round(value * n), n) for n in denominators)
            simple = next((f for f in near if abs(f - value) <= tolerance), None)
            if simple is not None:
                return simple
    return value


def _check_group(operations: tuple[str, ...], rotations: IntArray, steps: IntArray, unit: int) -> None:
    """Identity present, no operation twice, every product in the set."""
    if np.abs(rotations).max() > 100:
        raise CrystalError("a symmetry operation has a coefficient above 100; one is damaged")
    keys = np.unique(_keys(rotations, steps))
    if len(keys) != len(operations):
        raise CrystalError("a symmetry operation is listed twice; remove one")
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 3, 3)
    shifts = (np.einsum("aij,bj->abi", rotations, steps) + steps[:, None]).reshape(-1, 3) % unit
    closed = np.array_equal(np.unique(_keys(products, shifts)), keys)
    identity = _keys(np.eye(3, dtype=np.int64)[None], np.zeros((1, 3), dtype=np.int64))
    if not closed or identity[0] not in keys:
        raise CrystalError(
            f"the {len(operations)} symmetry operations do not form a group; one is missing or damaged"
        )


def _keys(rotations: IntArray, steps: IntArray) -> IntArray:
    """One number for each operation: its twelve integers weighted by fixed random 64-bit numbers."""
    return np.asarray(np.concatenate([rotations.reshape(-1, 9), steps], axis=1) @ _WEIGHTS)


_WEIGHTS = np.random.default_rng(12).integers(1, 2**50, size=12)


def check_metric(direct: FloatArray, rotations: IntArray) -> None:
    """Every rotation must leave the metric tensor G = AᵀA unchanged: Rᵀ G R = G.

    Raises:
        CrystalError: if the cell does not have the symmetry.
    """
    metric = direct.T @ direct
    moved = rotations.transpose(0, 2, 1) @ metric @ rotations
    lengths = np.sqrt(np.diag(metric))
    worst = float(np.abs((moved - metric) / np.outer(lengths, lengths)).max())
    if worst > METRIC_TOLERANCE:
        raise CrystalError(
            "the cell does not have the symmetry of its operations (the metric changes by "
            f"{100 * worst:.1f} %); check cell lengths and angles against the space group and its setting"
        )
