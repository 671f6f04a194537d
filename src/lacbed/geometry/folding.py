"""Folding of tilts into the first Brillouin zone of the zero-order Laue zone.

Every tilt is written as k = q + G with G a reciprocal vector of the zone and q in the first Brillouin zone of the
lattice of reflections that centring allows. Tilts with the same q share their eigenproblem: the waves q + h
are the same, only the one that is incident differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
        boundary: whether q lies on the boundary of the zone: (tilt,).
    """

    basis: IntArray
    reduced: FloatArray
    anchor: IntArray
    boundary: np.ndarray


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
    length = np.linalg.norm(frame.vectors(candidates), axis=1)
    # Among vectors of equal length the largest indices first, so that the choice is reproducible.
    order = sorted(range(len(candidates)), key=lambda i: (round(length[i], 9), *(-candidates[i]).tolist()))
    first = candidates[order[0]]
    second = next(candidates[i] for i in order if np.any(np.cross(first, candidates[i])))
    return np.stack([first, second])


def fold_tilts(crystal: Crystal, frame: Frame, tilts: FloatArray) -> Folding:
    """Write every tilt as k = q + G with q in the first Brillouin zone (the Wigner-Seitz cell).

    On the boundary the G of least length is taken, so that the choice has the symmetry of the lattice.
    """
    basis = zone_of_allowed(crystal, frame)
    vectors = frame.vectors(basis)[:, :2].T  # columns
    start = np.round(tilts @ np.linalg.inv(vectors).T)
    shifts = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    steps = start[:, None, :] + shifts  # (tilt, 9, 2)
    anchors = steps @ vectors.T
    distance = np.linalg.norm(tilts[:, None, :] - anchors, axis=-1)
    nearest = distance < distance.min(axis=1, keepdims=True) + 1e-9
    length = np.where(nearest, np.linalg.norm(anchors, axis=-1), np.inf)
    best = np.argmin(np.round(length, 9), axis=1)
    rows = np.arange(len(tilts))
    return Folding(
        basis,
        tilts - anchors[rows, best],
        steps[rows, best].astype(np.int64) @ basis,
        np.sum(nearest, axis=1) > 1,
    )
