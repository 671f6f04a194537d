"""Which tilts share a matrix, by lattice translation, symmetry and reciprocity.

A tilt is k = q + G. With R an operation of the projected crystal, U_{Rh} = U_h exp(-2πi Rh·t), and a potential
that is its own projection, the waves F_q(h, h') = ⟨h| exp(iτM(q)) |h'⟩ obey

    F_{q+G}(h - G, h' - G) = F_q(h, h')                        (lattice),
    F_{Rq}(Rh, Rh') = F_q(h, h') exp(-2πi R(h - h')·t)          (symmetry),
    F_{-q}(-h', -h) = F_q(h, h')                                (reciprocity),

so that one q of every orbit is enough, for amplitudes of all reflections. All are taken from one wedge of the
Brillouin zone: those that lie furthest ahead in some direction. What is expanded about the middle of the wedge has
half as far to go as from the middle of the zone, or less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import Frame, IntArray

_KEY = 10_000_000
"""Points of a Brillouin zone that agree to this fraction of it are one."""

_DIRECTIONS, _SAMPLES = 12, 20
"""Directions that are tried for a wedge, and points along each side of the zone that show its extent."""


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


def plane_operations(
    crystal: Crystal, frame: Frame, basis: IntArray, one_zone: bool = True
) -> tuple[Operation, ...]:
    """Operations of the projected crystal, identity first, and their products with reciprocity.

    Of those that move tilts alike the first is kept, so that reciprocity is left out where the projection has a
    twofold axis. A tilted foil has those that leave its normal as it is. With more than one Laue zone those that
    keep the direction of the beam stand alone, and those that turn it back need reciprocity.
    """
    zone = np.array(frame.zone_axis)
    unit = Operation(np.eye(2, dtype=np.int64), np.zeros(2), False)
    found: dict[bytes, Operation] = {unit.turn.tobytes(): unit}
    swapped: dict[bytes, Operation] = {unit.turn.tobytes(): replace(unit, swaps=True)} if one_zone else {}
    back = np.linalg.pinv(basis)
    for rotation, translation in zip(crystal.rotations, crystal.translations, strict=True):
        along = rotation @ zone
        if not (np.array_equal(along, zone) or np.array_equal(along, -zone)):
            continue
        turn = np.round(basis @ np.linalg.inv(rotation) @ back).astype(np.int64)
        if one_zone or np.array_equal(along, zone):
            found.setdefault(turn.tobytes(), Operation(turn, basis @ translation, False))
        if one_zone or np.array_equal(along, -zone):
            swapped.setdefault(turn.tobytes(), Operation(turn, basis @ translation, True))
    lattice = frame.vectors(basis)[:, :2]
    moves: dict[bytes, Operation] = {}
    for operation in (*found.values(), *swapped.values()):
        move = -operation.turn if operation.swaps else operation.turn
        if np.allclose(frame.normal[:2] @ np.linalg.inv(lattice) @ move @ lattice, frame.normal[:2], atol=1e-9):
            moves.setdefault((move + 0).tobytes(), operation)
    return tuple(moves.values())


@dataclass(frozen=True, eq=False)
class Wedge:
    """The part of the Brillouin zone from which the matrices are taken.

    Attributes:
        ahead: the direction in which they lie furthest ahead of their images: (2,).
        centre: in 1/Å: (2,).
        radius: largest distance from the centre in 1/Å.
    """

    ahead: FloatArray
    centre: FloatArray
    radius: float


def smallest_wedge(lattice: FloatArray, operations: tuple[Operation, ...]) -> Wedge:
    """The most compact of some wedges, with the lattice vectors as rows in 1/Å: (2, 2)."""
    steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    images = _images(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), lattice, operations)
    best: Wedge | None = None
    for angle in np.pi * (np.arange(_DIRECTIONS) + 0.37) / _DIRECTIONS:
        ahead = np.array([np.cos(angle), np.sin(angle)])
        chosen = images.furthest(lattice, ahead)[1]
        found = images.nearest[np.unique(chosen)] @ lattice
        centre = 0.5 * (found.min(axis=0) + found.max(axis=0))
        for _ in range(50):  # towards the middle of the smallest circle around them
            away = found - centre
            centre = centre + 0.05 * away[np.argmax((away**2).sum(axis=1))]
        radius = float(np.linalg.norm(found - centre, axis=1).max())
        if best is None or radius < 0.999 * best.radius:
            best = Wedge(ahead, centre, radius)
    assert best is not None
    return best


def find_orbits(
    tilts: FloatArray, lattice: FloatArray, operations: tuple[Operation, ...], ahead: FloatArray
) -> Orbits:
    """Sort tilts in 1/Å by their matrices: (tilt, 2).

    Args:
        tilts: in 1/Å: (tilt, 2).
        lattice: its vectors as rows in 1/Å: (2, 2).
        operations: of the projected crystal.
        ahead: the direction that decides between the images of a tilt, see `Wedge`.
    """
    places = tilts @ np.linalg.inv(lattice)
    anchor = np.round(places).astype(np.int64)
    images = _images(places - anchor, lattice, operations)
    operation, code = images.furthest(lattice, ahead)
    used, matrix = np.unique(code, return_inverse=True)
    matrix = matrix.reshape(-1)
    points = images.nearest[used]
    move = np.round(images.places[operation, np.arange(len(tilts))] - points[matrix]).astype(np.int64)
    return Orbits(points @ lattice, images.codes[used], matrix, operation, anchor, move)


@dataclass(frozen=True, eq=False)
class _Images:
    """The images of points of the zone, and which of them are one.

    Attributes:
        places: of every point under every operation, in lattice vectors: (operation, point, 2).
        codes: whole numbers that name the different ones: (image,).
        nearest: these, as near to the origin as can be: (image, 2).
        image: which one each of `places` is: (operation, point).
    """

    places: FloatArray
    codes: IntArray
    nearest: FloatArray
    image: IntArray

    def furthest(self, lattice: FloatArray, ahead: FloatArray) -> tuple[IntArray, IntArray]:
        """The operation that takes each point furthest ahead, and the image there: two (point,)."""
        score = np.round(self.nearest @ lattice @ ahead, 9)
        # Those in a tie are told apart by their codes, so that equal tilts find the same point.
        rank = np.empty(len(self.codes), dtype=np.int64)
        rank[np.lexsort((self.codes, -score))] = np.arange(len(self.codes))
        operation = np.argmin(rank[self.image], axis=0)
        return operation, self.image[operation, np.arange(self.image.shape[1])]


def _images(places: FloatArray, lattice: FloatArray, operations: tuple[Operation, ...]) -> _Images:
    """The images of points, in lattice vectors: (point, 2)."""
    images = np.stack([(-places if o.swaps else places) @ o.turn for o in operations])
    key = np.round(images * _KEY).astype(np.int64) % _KEY
    codes, first, image = np.unique(key[..., 0] * _KEY + key[..., 1], return_index=True, return_inverse=True)
    nearest = _nearest(images.reshape(-1, 2)[first], lattice)
    return _Images(images, codes, nearest, image.reshape(images.shape[:2]))


def _nearest(places: FloatArray, lattice: FloatArray) -> FloatArray:
    """The same points of the lattice's cell as near to the origin as can be: (n, 2) to (n, 2).

    All places that differ by a lattice vector give the same point, on the border of the cell too, where
    `lacbed.geometry.folding.nearest_points` takes the shortest way from each: what is solved is kept by its code.
    """
    steps = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=float)
    choices = (places - np.round(places))[:, None, :] + steps
    length = np.round(np.linalg.norm(choices @ lattice, axis=2), 9)
    return np.asarray(choices[np.arange(len(places)), np.argmin(length, axis=1)])
