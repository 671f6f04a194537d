"""Which tilts share a matrix, by lattice translation, symmetry and reciprocity.

A tilt is k = q + G. With R an operation of the projected crystal, U_{Rh} = U_h exp(-2πi Rh·t), and a potential
that is its own projection, the waves F_q(h, h') = ⟨h| exp(iτM(q)) |h'⟩ obey

    F_{q+G}(h - G, h' - G) = F_q(h, h')                        (lattice),
    F_{Rq}(Rh, Rh') = F_q(h, h') exp(-2πi R(h - h')·t)          (symmetry),
    F_{-q}(-h', -h) = F_q(h, h')                                (reciprocity),

so that one q of every orbit is enough, for amplitudes of all reflections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import Frame, IntArray

_KEY = 10_000_000
"""Points of a Brillouin zone that agree to this fraction of it are one."""


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation on coordinates of the zone's lattice.

    Attributes:
        turn: R, as h → h @ turn: (2, 2).
        shift: t: (2,).
        swaps: whether it is joined with reciprocity.
    """

    turn: IntArray
    shift: FloatArray
    swaps: bool


@dataclass(frozen=True, eq=False)
class Orbits:
    """Tilts, and which matrix each of them belongs to.

    Attributes:
        points: q of the matrices in 1/Å: (matrix, 2).
        codes: whole numbers that name them, the same for the same point: (matrix,).
        matrix: of each tilt: (tilt,).
        operation: that takes the tilt to its matrix: (tilt,).
        anchor: G of each tilt: (tilt, 2).
        move: G' by which the image of q is moved to the point of the matrix: (tilt, 2).
    """

    points: FloatArray
    codes: IntArray
    matrix: IntArray
    operation: IntArray
    anchor: IntArray
    move: IntArray


def plane_operations(crystal: Crystal, frame: Frame, basis: IntArray) -> tuple[Operation, ...]:
    """Operations of the projected crystal, identity first, and their products with reciprocity.

    Reciprocity is left out where the projection has a twofold axis, which does as much.
    """
    zone = np.array(frame.zone_axis)
    found = {np.eye(2, dtype=np.int64).tobytes(): Operation(np.eye(2, dtype=np.int64), np.zeros(2), False)}
    back = np.linalg.pinv(basis)
    for rotation, translation in zip(crystal.rotations, crystal.translations, strict=True):
        along = rotation @ zone
        if not (np.array_equal(along, zone) or np.array_equal(along, -zone)):
            continue
        turn = np.round(basis @ np.linalg.inv(rotation) @ back).astype(np.int64)
        found.setdefault(turn.tobytes(), Operation(turn, basis @ translation, False))
    if (-np.eye(2, dtype=np.int64)).tobytes() in found:
        return tuple(found.values())
    return (*found.values(), *(Operation(o.turn, o.shift, True) for o in found.values()))


def find_orbits(tilts: FloatArray, lattice: FloatArray, operations: tuple[Operation, ...]) -> Orbits:
    """Sort tilts in 1/Å by their matrices: (tilt, 2), with the lattice vectors as rows: (2, 2)."""
    places = tilts @ np.linalg.inv(lattice)
    anchor = np.round(places).astype(np.int64)
    rest: FloatArray = places - anchor
    best = np.full(len(tilts), np.iinfo(np.int64).max)
    chosen = np.zeros(len(tilts), dtype=np.int64)
    image: FloatArray = np.zeros((len(tilts), 2))
    for number, operation in enumerate(operations):
        moved = (-rest if operation.swaps else rest) @ operation.turn
        key = np.round(moved * _KEY).astype(np.int64) % _KEY
        code = key[:, 0] * _KEY + key[:, 1]
        less = code < best
        best[less], chosen[less], image[less] = code[less], number, moved[less]
    codes, first, matrix = np.unique(best, return_index=True, return_inverse=True)
    points = _nearest(image[first], lattice)
    move = np.round(image - points[matrix]).astype(np.int64)
    return Orbits(points @ lattice, codes, matrix.reshape(-1), chosen, anchor, move)


def _nearest(places: FloatArray, lattice: FloatArray) -> FloatArray:
    """The same points of the lattice's cell as near to the origin as can be: (n, 2) to (n, 2).

    All places that differ by a lattice vector give the same point, on the border of the cell too, where
    `lacbed.geometry.folding.nearest_points` takes the shortest way from each: what is solved is kept by its code.
    """
    steps = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=float)
    choices = (places - np.round(places))[:, None, :] + steps
    length = np.round(np.linalg.norm(choices @ lattice, axis=2), 9)
    return np.asarray(choices[np.arange(len(places)), np.argmin(length, axis=1)])
