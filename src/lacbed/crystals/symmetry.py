"""Space groups and symmetry operations, checked: they form a group and the cell has them."""

from __future__ import annotations

import operator
from functools import lru_cache

import gemmi
import numpy as np
import numpy.typing as npt

from lacbed.crystals.cell import FloatArray
from lacbed.errors import CrystalError

IntArray = npt.NDArray[np.int64]

IDENTITY = ("x,y,z",)
MAX_OPERATIONS = 192
METRIC_TOLERANCE = 5e-3
"""Largest change of G_ij / √(G_ii G_jj) under an operation: 0.25 % of a length, 0.3° of an angle."""


def find_space_group(symbol: str | int) -> gemmi.SpaceGroup:
    """The space group of a number (reference setting) or of a Hermann-Mauguin or Hall symbol.

    Raises:
        CrystalError: if there is no such group, or if the symbol leaves open which of two origins is meant.
    """
    if not isinstance(symbol, str):
        return _by_number(symbol)
    found = gemmi.find_spacegroup_by_name(symbol) or _by_hall(symbol)
    if found is None:
        raise CrystalError(
            f"space group {symbol!r} is not known; give a number or a symbol such as 'P m -3 m' or 'R -3 m:H'"
        )
    if origin_is_open(symbol):
        raise CrystalError(
            f"space group {symbol!r} has two origin choices; write '{found.hm}:1' or '{found.hm}:2' "
            f"(the number {found.number} means choice 2)"
        )
    return found


def _by_number(number: int) -> gemmi.SpaceGroup:
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


def origin_is_open(symbol: str) -> bool:
    """True for a Hermann-Mauguin symbol that leaves open which of two origin choices is meant."""
    first, second = (gemmi.find_spacegroup_by_name(symbol, prefer=choice) for choice in "12")
    return first is not None and second is not None and first.xhm() != second.xhm()


def operations_of(group: gemmi.SpaceGroup) -> tuple[str, ...]:
    """Triplets of all operations of a space group, centring included."""
    return tuple(op.wrap().triplet() for op in group.operations())


@lru_cache(maxsize=1024)
def matrices_of(operations: tuple[str, ...]) -> tuple[IntArray, FloatArray]:
    """Rotations (operation, 3, 3) and translations (operation, 3) of triplets that form a space group.

    Raises:
        CrystalError: if a triplet cannot be read, is no rotation, or the set is not a group.
    """
    rotations, steps = _parse(operations)
    _check_group(operations, rotations, steps)
    translations = steps / gemmi.Op.DEN
    rotations.setflags(write=False)
    translations.setflags(write=False)
    return rotations, translations


def _parse(operations: tuple[str, ...]) -> tuple[IntArray, IntArray]:
    """Rotations and translations in units of 1/24."""
    if not 1 <= len(operations) <= MAX_OPERATIONS:
        raise CrystalError(f"expected 1 to {MAX_OPERATIONS} symmetry operations, got {len(operations)}")
    parsed = [parse_triplet(text) for text in operations]
    scaled = np.array([op.rot for op in parsed], dtype=np.int64)
    determinant = np.linalg.det(scaled / gemmi.Op.DEN)
    bad = np.any(scaled % gemmi.Op.DEN != 0, axis=(1, 2)) | (np.abs(np.abs(determinant) - 1.0) > 1e-9)
    if bad.any():
        text = operations[int(np.argmax(bad))]
        raise CrystalError(f"symmetry operation {text!r} is not a rotation of a lattice; one is damaged")
    return scaled // gemmi.Op.DEN, np.array([op.tran for op in parsed], dtype=np.int64) % gemmi.Op.DEN


def parse_triplet(text: str) -> gemmi.Op:
    """A triplet such as "-y,x,z+1/4" as an operation with its translation in [0, 1).

    Raises:
        CrystalError: if it is not a triplet.
    """
    try:
        return gemmi.Op(text).wrap()
    except (RuntimeError, ValueError, TypeError):
        shown = str(text)[:60].encode("ascii", "backslashreplace").decode()
        raise CrystalError(
            f"symmetry operation {shown!r} cannot be read; expected a triplet such as 'x,y,z' or '-y,x,z+1/4'"
        ) from None


def _check_group(operations: tuple[str, ...], rotations: IntArray, steps: IntArray) -> None:
    """Identity present, no operation twice, every product in the set."""
    if np.abs(rotations).max() > 100:
        raise CrystalError("a symmetry operation has a coefficient above 100; one is damaged")
    keys = np.unique(_keys(rotations, steps))
    if len(keys) != len(operations):
        raise CrystalError("a symmetry operation is listed twice; remove one")
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 3, 3)
    shifts = (np.einsum("aij,bj->abi", rotations, steps) + steps[:, None]).reshape(-1, 3) % gemmi.Op.DEN
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
