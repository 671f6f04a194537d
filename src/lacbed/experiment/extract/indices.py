"""Indices of the discs: the lattice on the camera compared with that of the crystal, and what the images decide.

The lengths and angles of a lattice leave its symmetry open: a rectangle can lie in four ways, a square in eight,
and a detector may mirror all. Two such ways give the same images if the projected structure has the symmetry that
connects them; otherwise simulated images of both are compared with the measured ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.experiment.extract.lattice import reduced
from lacbed.geometry.folding import is_allowed
from lacbed.geometry.frame import Frame, shortest_pair
from lacbed.potential import structure_factors

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

CAMERA, SCAN = 0.05, 0.03
"""Misfit of the shape of the lattice that is let pass, on the camera (which may distort) and over the scan."""

SHARED = 16
"""Points of the lattice whose structure factors are compared."""

WEAK = (1e-4, 0.04, 0.15)
"""Structure factors, in parts of the largest, below which reflections may have been overlooked."""


@dataclass(frozen=True, eq=False)
class Indexing:
    """One way to index the discs.

    Attributes:
        hkl: of the two basis vectors of the lattice on the camera: (2, 3).
        vectors: of them in the frame of the crystal in 1/Å: (2, 2).
        misfit: of the shapes of the lattices, 0 for none.
    """

    hkl: IntArray
    vectors: Array
    misfit: float

    def of(self, sites: IntArray) -> IntArray:
        """Miller indices of sites: (site, 2) to (site, 3)."""
        return np.asarray(sites @ self.hkl)


def candidates(crystal: Crystal, frame: Frame, basis: Array, steps: Array) -> list[Indexing]:
    """All ways to index the lattice whose shape fits, the most complete lattice first.

    Args:
        crystal: the crystal.
        frame: its orientation.
        basis: of the lattice of discs on the camera as rows: (2, 2).
        steps: tilts per basis vector as rows, from the Bragg lines: (2, 2).

    Raises:
        SettingError: if none fits.
    """
    found: list[Indexing] = []
    nearest = math.inf
    for lattice in _visible_lattices(crystal, frame):
        vectors = frame.vectors(lattice)[:, :2]
        here, least = _matches(lattice, vectors, basis, steps)
        nearest = min(nearest, least)
        known = {tuple(f.hkl.ravel().tolist()) for f in found}
        found += [f for f in here if tuple(f.hkl.ravel().tolist()) not in known]
    if not found:
        a, b = (float(np.linalg.norm(v)) for v in basis)
        angle = math.degrees(math.acos(float(basis[0] @ basis[1]) / (a * b)))
        raise SettingError(
            f"the lattice of discs (ratio {b / a:.3f}, {angle:.1f} degrees) is not that of {crystal.name} along "
            f"{list(frame.zone_axis)} (off by {100 * nearest:.0f} %); check the crystal, its cell and "
            "the zone axis"
        )
    return found


def _visible_lattices(crystal: Crystal, frame: Frame) -> list[IntArray]:
    """Reduced bases of the reflections with structure factors above several limits."""
    steps = np.array([p for p in product(range(-5, 6), repeat=2) if p != (0, 0)])
    hkl = steps @ frame.zone_basis
    hkl = hkl[is_allowed(crystal, hkl)]
    length = np.linalg.norm(frame.vectors(hkl)[:, :2], axis=1)
    hkl, length = hkl[np.argsort(length, kind="stable")], np.sort(length)
    size = np.abs(structure_factors(crystal, hkl).numpy())
    out: list[IntArray] = []
    for limit in WEAK:
        strong = hkl[size > limit * size.max()]
        lattice = _spanned(strong, frame)
        if lattice is not None and not any(_index(lattice, o, frame) == 1 for o in out):
            out.append(lattice)
    return out


def _index(a: IntArray, b: IntArray, frame: Frame) -> int:
    areas = [abs(float(np.linalg.det(frame.vectors(x)[:, :2]))) for x in (a, b)]
    return round(areas[0] / areas[1]) if areas[1] else 0


def _spanned(hkl: IntArray, frame: Frame) -> IntArray | None:
    """Reduced basis of all whole combinations of reflections of the zone, or None if they lie on a line."""
    if len(hkl) < 2:
        return None
    in_zone = np.round(np.linalg.lstsq(frame.zone_basis.T.astype(float), hkl.T.astype(float), rcond=None)[0].T)
    rows = [r for r in in_zone.astype(int).tolist() if any(r)]
    a, b, d = 0, 0, 0  # Hermite form [[a, b], [0, d]]
    for row in rows:
        x, y = row
        while x:
            q = a // x
            a, b, x, y = x, y, a - q * x, b - q * y
        d = math.gcd(d, abs(y))
        b = b % d if d else b
    if not a or not d:
        return None
    first, second = np.array([[a, b], [0, d]]) @ frame.zone_basis
    return np.stack(shortest_pair(first, second, frame.reciprocal.T @ frame.reciprocal))


def _matches(lattice: IntArray, vectors: Array, basis: Array, steps: Array) -> tuple[list[Indexing], float]:
    """Bases of the crystal's lattice with the shape of the one on the camera and over the scan."""
    wholes = np.array([p for p in product(range(-3, 4), repeat=2) if p != (0, 0)])
    pool = wholes @ vectors
    out, least = [], math.inf
    for i, j in product(range(len(wholes)), repeat=2):
        if abs(wholes[i, 0] * wholes[j, 1] - wholes[i, 1] * wholes[j, 0]) != 1:
            continue
        pair = np.stack([pool[i], pool[j]])
        camera, scan = (_misfit(pair, b) for b in (basis, steps))
        total = math.hypot(camera / CAMERA, scan / SCAN)
        least = min(least, max(camera, scan))
        if camera < CAMERA and scan < SCAN:
            out.append(Indexing(wholes[[i, j]] @ lattice, pair, total))
    return out, least


def _misfit(a: Array, b: Array) -> float:
    """How far two bases are from being similar, turned or mirrored: relative difference of their metrics."""
    first, second = a @ a.T, b @ b.T
    first, second = first / math.sqrt(np.linalg.det(first)), second / math.sqrt(np.linalg.det(second))
    change = np.linalg.eigvals(np.linalg.solve(second, first)).real
    return 0.5 * abs(math.log(float(np.max(change)))) if np.all(change > 0) else math.inf


def finer_basis(indexing: Indexing, crystal: Crystal, frame: Frame, basis: Array) -> Array | None:
    """Basis on the camera of all reflections of the zone, if the lattice of discs that was found has only some.

    Args:
        indexing: of the lattice that was found.
        crystal: the crystal.
        frame: its orientation.
        basis: of that lattice on the camera: (2, 2).
    """
    lattices = _visible_lattices(crystal, frame)
    if not lattices:
        return None
    parts = np.round(indexing.vectors @ np.linalg.inv(frame.vectors(lattices[0])[:, :2]))
    return (
        reduced(np.asarray(np.linalg.solve(parts, basis), dtype=np.float64))
        if abs(np.linalg.det(parts)) > 1.5
        else None
    )


def alike(found: list[Indexing], crystal: Crystal) -> list[int]:
    """A number for each indexing, the same for those that give the same images whatever the thickness.

    They do if the structure factors F(p) at the points p of the lattice on the camera are the same but for an
    origin, which the products F(p) F(q) F(-p-q) do not depend on.
    """
    points = np.array([p for p in product(range(-3, 4), repeat=2) if p != (0, 0)])
    size = np.abs(structure_factors(crystal, found[0].of(points)).numpy())
    p = points[np.argsort(-size)[:SHARED]]
    first, second = (a.ravel() for a in np.meshgrid(np.arange(len(p)), np.arange(len(p)), indexing="ij"))
    triple = np.stack([p[first], p[second], -p[first] - p[second]])
    kinds: list[tuple[float, NDArray[Any]]] = []
    out = []
    for indexing in found:
        factors = structure_factors(crystal, indexing.of(triple.reshape(-1, 2))).numpy().reshape(3, -1)
        key = (float(np.linalg.norm(indexing.vectors @ indexing.vectors.T)), factors.prod(axis=0))
        limit = 1e-3 * float(np.abs(key[1]).max())
        same = (
            i
            for i, other in enumerate(kinds)
            if math.isclose(key[0], other[0], rel_tol=1e-6) and float(np.abs(key[1] - other[1]).max()) < limit
        )
        number = next(same, len(kinds))
        if number == len(kinds):
            kinds.append(key)
        out.append(number)
    return out


def from_spots(
    found: list[Indexing],
    basis: Array,
    origin: Array,
    spots: list[tuple[tuple[float, float], tuple[int, int, int]]],
) -> list[Indexing]:
    """Those of several ways that agree with spots whose indices are known.

    Args:
        found: the ways.
        basis: of the lattice on the camera.
        origin: (row, column) of the direct beam in the mean frame.
        spots: (x, y), column and row on the mean frame, and h, k, l of each.

    Raises:
        SettingError: if a spot is no disc, or no way agrees.
    """
    sites = []
    for (x, y), hkl in spots:
        exact = (np.array([y, x]) - origin) @ np.linalg.inv(basis)
        site = np.round(exact)
        off = float(np.linalg.norm((exact - site) @ basis))
        if off > 0.35 * np.linalg.norm(basis[0]) or not site.any():
            raise SettingError(
                f"the spot at x={x:g}, y={y:g} given as {','.join(map(str, hkl))} is "
                + ("the direct beam" if not site.any() else f"no disc: the nearest one is {off:.1f} pixels away")
                + "; give positions in the mean frame of the report"
            )
        sites.append(site.astype(int))
    wanted = np.array([hkl for _, hkl in spots])
    left = [f for f in found if np.array_equal(f.of(np.array(sites)), wanted)]
    if not left:
        raise SettingError(
            f"no indexing of the lattice gives the named spots {wanted.tolist()}; along these vectors "
            "it gives for "
            f"example {found[0].of(np.array(sites)).tolist()}"
        )
    return left
