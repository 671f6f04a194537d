"""Symmetry of the pattern, derived from the crystal, and the smallest set of tilts that has to be solved.

An operation of the crystal relates the intensity of reflection g at tilt k to that of another pair:

    direct    (R keeps the beam direction):            I_Rg(R k)          = I_g(k)
    reversed  (R inverts it, joined with reciprocity): I_Rg(-R (k + g))   = I_g(k)

The reversed kind follows from the reciprocity theorem: exchanging source and detector leaves the intensity,
and R brings the reversed beams back to the front.  (Buxton, Eades, Steeds & Rackham, Phil. Trans. R. Soc. A 281
(1976) 171: diffraction groups.)  Both kinds hold with absorption. In the zero-order Laue zone alone the
crystal is its own projection, so that every operation counts as both kinds.

Direct operations are exact for all reflections, reversed ones for g = 0. For g ≠ 0 the first-order equation of
dynamical diffraction is reciprocal only up to K_n(k) / K_n(k + g) (about 1e-5 in intensity), so there they are
left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.geometry.folding import Folding, fold_tilts
from lacbed.geometry.frame import Frame, IntArray

_KEY = 1e8  # tilts that agree to 1e-8 of a reciprocal vector are one


@dataclass(frozen=True, eq=False)
class PatternOperation:
    """One operation on pairs (k, g).

    Attributes:
        hkl: integer matrix that takes (h, k, l) to that of R g, as a column: (3, 3).
        plane: R on in-plane vectors of the microscope frame: (2, 2).
        reversed: whether it is joined with reciprocity.
    """

    hkl: IntArray
    plane: FloatArray
    reversed: bool

    def image(self, tilts: FloatArray) -> FloatArray:
        """The tilts of g = 0 that the operation takes `tilts` to: R k, or -R k if reversed."""
        return np.asarray((-tilts if self.reversed else tilts) @ self.plane.T)


@dataclass(frozen=True, eq=False)
class Reduction:
    """The pairs (tilt, reflection) to compute, and where each wanted value comes from.

    Attributes:
        tilts: tilts to solve in 1/Å: (tilt, 2).
        folding: the same, folded.
        pair_tilt: the tilt of each pair: (pair,).
        pair_hkl: the reflection of each pair: (pair, 3).
        source: the pair that gives each wanted value: (reflection, pixel).
    """

    tilts: FloatArray
    folding: Folding
    pair_tilt: IntArray
    pair_hkl: IntArray
    source: IntArray


def pattern_operations(crystal: Crystal, frame: Frame, zolz_only: bool) -> tuple[PatternOperation, ...]:
    """Operations that the pattern has, identity first.

    Args:
        crystal: the crystal, whose listed operations are used.
        frame: its orientation.
        zolz_only: whether only the zero-order Laue zone takes part.
    """
    zone = np.array(frame.zone_axis)
    found: dict[tuple[bytes, bool], PatternOperation] = {}
    listed = np.concatenate([np.eye(3, dtype=np.int64)[None], crystal.rotations])
    matrices = listed[np.sort(unique_rows(listed.reshape(-1, 9))[0])]  # centring lists each of them several times
    along = matrices @ zone
    keeps_axis = np.all(along == zone, axis=1) | np.all(along == -zone, axis=1)
    to_frame, from_frame = frame.rotation @ crystal.direct, np.linalg.inv(frame.rotation @ crystal.direct)
    for matrix in matrices[keeps_axis]:  # the identity first
        sign = 1 if np.array_equal(matrix @ zone, zone) else -1
        cartesian = to_frame @ matrix @ from_frame
        indices = np.round(np.linalg.inv(matrix).T).astype(np.int64)
        for is_reversed in (False, True):
            if not _applies(sign, is_reversed, cartesian, frame, zolz_only):
                continue
            plane = np.round(cartesian[:2, :2], 12)
            key = ((plane + 0.0).round(6).tobytes(), is_reversed)
            found.setdefault(key, PatternOperation(indices, plane, is_reversed))
    return tuple(found.values())


def _applies(sign: int, is_reversed: bool, cartesian: FloatArray, frame: Frame, zolz_only: bool) -> bool:
    """Whether an operation with R z = sign · z acts on the pattern as the given kind."""
    if not frame.is_flat:
        return not is_reversed and sign > 0 and bool(np.allclose(cartesian @ frame.normal, frame.normal))
    return zolz_only or sign == (-1 if is_reversed else 1)


def reduce_pairs(
    crystal: Crystal,
    frame: Frame,
    tilts: FloatArray,
    hkl: tuple[tuple[int, int, int], ...],
    operations: tuple[PatternOperation, ...],
    by_zone: bool,
) -> Reduction:
    """Choose one representative of all wanted pairs that symmetry makes equal.

    Args:
        crystal: the crystal.
        frame: its orientation.
        tilts: wanted tilts in 1/Å: (pixel, 2).
        hkl: wanted reflections.
        operations: operations to use; the identity alone leaves everything as it is.
        by_zone: whether tilts that differ by a reciprocal vector share their solution, so that what counts is
            the number of different q and not that of tilts.
    """
    folding = fold_tilts(crystal, frame, tilts)
    point = folding.reduced if by_zone else tilts
    operations = _distinct(operations, only_000=not np.any(np.array(hkl)))
    best = _best_operation(point, operations, frame)
    best[folding.tied] = 0  # which G is theirs is arbitrary, so that their beams lack the symmetry
    source_tilt = np.empty((len(hkl), len(tilts), 2))
    source_hkl = np.empty((len(hkl), len(tilts), 3), dtype=np.int64)
    for number, operation in enumerate(operations):
        chosen = best == number
        source_tilt[:, chosen] = operation.image(tilts[chosen])
        source_hkl[:, chosen] = (np.array(hkl) @ operation.hkl.T)[:, None, :]
    return _unique_pairs(crystal, frame, source_tilt, source_hkl)


def _distinct(operations: tuple[PatternOperation, ...], only_000: bool) -> tuple[PatternOperation, ...]:
    """Operations that hold for the wanted reflections; for 000, one of those that move the tilts alike."""
    if not only_000:
        return tuple(o for o in operations if not o.reversed)
    moves: dict[bytes, PatternOperation] = {}
    for operation in operations:  # the identity comes first, and stays there
        moves.setdefault((operation.image(np.eye(2)).round(6) + 0.0).tobytes(), operation)
    return tuple(moves.values())


def _best_operation(point: FloatArray, operations: tuple[PatternOperation, ...], frame: Frame) -> IntArray:
    """For every tilt, the operation whose image of it comes first in a fixed order."""
    best = np.zeros(len(point), dtype=np.int64)
    first = _key(point, frame)
    for number, operation in enumerate(operations):
        image = _key(operation.image(point), frame)
        earlier = (image[:, 0] < first[:, 0]) | ((image[:, 0] == first[:, 0]) & (image[:, 1] < first[:, 1]))
        best[earlier] = number
        first[earlier] = image[earlier]
    return best


def _key(tilts: FloatArray, frame: Frame) -> npt.NDArray[np.int64]:
    return np.round(tilts * (_KEY / frame.shortest)).astype(np.int64)


def _unique_pairs(crystal: Crystal, frame: Frame, tilt: FloatArray, hkl: IntArray) -> Reduction:
    shape = tilt.shape[:2]
    all_tilts = tilt.reshape(-1, 2)
    first_tilt, tilt_number = unique_rows(_key(all_tilts, frame))
    _, hkl_number = unique_rows(hkl.reshape(-1, 3))
    first, source = unique_rows(np.stack([tilt_number, hkl_number], axis=1))
    tilts = all_tilts[first_tilt]
    pair_hkl = hkl.reshape(-1, 3)[first]
    return Reduction(tilts, fold_tilts(crystal, frame, tilts), tilt_number[first], pair_hkl, source.reshape(shape))


def matrix_count(crystal: Crystal, frame: Frame, tilts: FloatArray) -> int:
    """How many matrices serve the tilts, (tilt, 2) in 1/Å, where those that differ by a G share theirs."""
    return len(unique_rows(_key(fold_tilts(crystal, frame, tilts).reduced, frame))[0])


def unique_rows(rows: IntArray) -> tuple[IntArray, IntArray]:
    """First occurrence of every distinct row, and the number of each row among them."""
    low, span = rows.min(axis=0), np.ptp(rows, axis=0) + 1
    if float(np.prod(span.astype(float))) < 2.0**62:
        code = np.zeros(len(rows), dtype=np.int64)
        for column, start, size in zip(rows.T, low, span, strict=True):
            code = code * size + (column - start)
    else:  # compact numbers column by column, so that the code of a whole row cannot overflow
        code = np.zeros(len(rows), dtype=np.int64)
        for column in rows.T:
            values, inverse = np.unique(column, return_inverse=True)
            code = np.unique(code * len(values) + inverse, return_inverse=True)[1]
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return first, inverse
