"""Folding of tilts into the first Brillouin zone of the zero-order Laue zone.

Every tilt is written as k = q + G with G a reciprocal vector of the zone and q in the first Brillouin zone of the
lattice of reflections that centring allows. Tilts with the same q share their eigenproblem: the waves q + h
are the same, only the one that is incident differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import Frame, IntArray


@dataclass(frozen=True, eq=False)
class Folding:
    """Tilts folded into the first Brillouin zone of the zero-order Laue zone: k = q + G.

    Attributes:
        basis: two lattice vectors (h, k, l) of the zone, extinctions by centring left out: (2, 3).
        reduced: q in 1/Å: (tilt, 2).
        anchor: G as h, k, l: (tilt, 3).
        tied: whether another G is as near and as short, so that the choice is arbitrary: (tilt,).
    """

    basis: IntArray
    reduced: FloatArray
    anchor: IntArray
    tied: np.ndarray


def is_allowed(crystal: Crystal, hkl: IntArray) -> np.ndarray:
    """Whether lattice centring leaves a reflection: g·t whole for every pure translation t. (..., 3) to (...)."""
    pure = np.all(crystal.rotations == np.eye(3, dtype=np.int64), axis=(1, 2))
    phase = np.asarray(hkl) @ crystal.translations[pure].T
    return np.asarray(np.all(np.abs(phase - np.round(phase)) < 1e-6, axis=-1))


def zone_of_allowed(crystal: Crystal, frame: Frame) -> IntArray:
    """Reduced basis of the allowed reflections in the zero-order Laue zone: (2, 3)."""
    grid = np.array([(i, j) for i in range(-6, 7) for j in range(-6, 7) if (i, j) != (0, 0)])
    candidates = grid @ frame.zone_basis
    candidates = candidates[is_allowed(crystal, candidates)]
    length = np.round(np.linalg.norm(frame.vectors(candidates), axis=1), 9)
    # Among vectors of equal length the largest indices first, so that the choice is reproducible.
    candidates = candidates[np.lexsort((*-candidates.T[::-1], length))]
    first = candidates[0]
    second = candidates[np.any(np.cross(first, candidates), axis=1)][0]
    return np.stack([first, second])


def fold_tilts(crystal: Crystal, frame: Frame, tilts: FloatArray) -> Folding:
    """Write every tilt as k = q + G with q in the first Brillouin zone (the Wigner-Seitz cell).

    On the boundary the G of least length is taken, so that the choice has the symmetry of the lattice.
    """
    basis = zone_of_allowed(crystal, frame)
    vectors = frame.vectors(basis)[:, :2].T  # columns
    steps, tied = nearest_points(tilts, vectors, 1e-9 * frame.shortest**2)
    return Folding(basis, tilts - steps @ vectors.T, steps @ basis, tied)


def nearest_points(
    tilts: NDArray[Any], lattice: NDArray[Any], tolerance: float = 1e-9
) -> tuple[IntArray, NDArray[np.bool_]]:
    """The point of a lattice that is nearest to each tilt, the shortest of those equally near.

    Args:
        tilts: in any unit: (tilt, 2).
        lattice: two vectors as columns: (2, 2).
        tolerance: difference of squared distances that counts as none.

    Returns:
        Its coordinates on the lattice, (tilt, 2), and whether another point is as near and as short, (tilt,).
    """
    steps = np.round(tilts @ np.linalg.inv(lattice).T)
    rest = tilts - steps @ lattice.T
    shifts = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=float)
    moves = shifts @ lattice.T  # (9, 2)
    # |rest - move|² - |rest|² for all nine neighbours at once: (tilt, 9)
    gain = np.sum(moves * moves, axis=1) - 2.0 * (rest @ moves.T)
    nearest = gain < gain.min(axis=1, keepdims=True) + tolerance
    best = np.argmax(nearest, axis=1)
    boundary = np.count_nonzero(nearest, axis=1) > 1
    tied = np.zeros(len(tilts), dtype=bool)
    if np.any(boundary):
        points = (steps[boundary, None, :] + shifts) @ lattice.T
        length = np.round(np.where(nearest[boundary], np.linalg.norm(points, axis=-1), np.inf), 9)
        best[boundary] = np.argmin(length, axis=1)
        tied[boundary] = np.count_nonzero(length == length.min(axis=1, keepdims=True), axis=1) > 1
    return (steps + shifts[best]).astype(np.int64), tied


def fold_images(
    tilts: IntArray, lattice: IntArray | None, operations: Sequence[NDArray[Any]]
) -> tuple[IntArray, IntArray]:
    """Q and G of the image of every tilt whose q comes first in a fixed order; k = q without a lattice.

    Tilts are whole numbers of a small step, so that equal q are found without rounding.

    Args:
        tilts: (tilt, 2).
        lattice: two vectors as columns, (2, 2), or None.
        operations: matrices that the pattern has as symmetry, the identity among them: (2, 2) each.

    Returns:
        Q, and the coordinates of G on the lattice: two (tilt, 2).
    """
    best = np.full(len(tilts), np.iinfo(np.int64).max)
    reduced, anchors = np.zeros_like(tilts), np.zeros_like(tilts)
    for operation in operations:
        q, steps = tilts @ operation.T, np.zeros_like(tilts)
        if lattice is not None:
            steps, _ = nearest_points(q, lattice)
            q = q - steps @ lattice.T
        code = (q + (1 << 18)) @ [1 << 20, 1]
        better = code < best
        best[better], reduced[better], anchors[better] = code[better], q[better], steps[better]
    return reduced, anchors
