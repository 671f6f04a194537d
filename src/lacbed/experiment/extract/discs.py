"""The discs: their places on the lattice, their profile, and the aperture that takes them in.

Every pixel belongs to the nearest point of the lattice. The lattice moves with the direct beam; the camera may
bend it, so that each of its points may stand beside its place by a small shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lacbed.errors import SettingError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TABLE = 64
GAP = 1.0
"""Pixels between aperture and background."""

SURE = 0.006
"""Change of the basis, in units of its length, that the discs' middles cannot be trusted with."""

BEND = 0.02
"""Shift of a point of the lattice in pixels that is worth a table of shifts."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Points of the lattice of discs on the camera.

    Attributes:
        basis: two vectors as rows, (row, column) in pixels: (2, 2).
        sites: whole multiples of them: (site, 2).
        shifts: of each site from its place on the lattice in pixels: (site, 2).
    """

    basis: Array
    sites: IntArray
    shifts: Array

    @property
    def nearest(self) -> float:
        """Distance of neighbours in pixels."""
        return float(np.linalg.norm(self.basis[0]))

    def places(self) -> Array:
        """Of the sites relative to the origin of the lattice in pixels: (site, 2)."""
        return np.asarray(self.sites @ self.basis + self.shifts)


def lattice_on(basis: Array, track: Array, shape: tuple[int, int], share: float = 0.5) -> Lattice:
    """The sites that lie on the camera at this share of the tilts.

    Args:
        basis: of the lattice.
        track: place of its origin at every tilt: (..., 2).
        shape: of the camera.
        share: of the tilts.
    """
    far = int(np.ceil(1.5 * max(shape) / np.linalg.norm(basis[0]))) + 2
    some = track.reshape(-1, 2)[:: max(1, track.size // 2 // 400)]
    middle = np.round((np.array(shape) / 2 - some.mean(axis=0)) @ np.linalg.inv(basis)).astype(int)
    sites = np.array([(i, j) for i in range(-far, far + 1) for j in range(-far, far + 1)]) + middle
    places = sites @ basis
    at = places[:, None] + some[None]
    inside = np.all((at >= 0) & (at <= np.array(shape) - 1.0), axis=2).mean(axis=1)
    sites = sites[inside >= share]
    if len(sites) < 3:
        raise SettingError(
            "fewer than three discs lie on the camera in half of the frames; nothing can be indexed"
        )
    return Lattice(basis, sites, np.zeros((len(sites), 2)))


class Cells(NamedTuple):
    """What each pixel of a frame belongs to: number of its site (the last number for none), distance, offset."""

    site: IntArray
    distance: NDArray[np.float32]
    offset: tuple[NDArray[np.float32], NDArray[np.float32]]


class Pixels:
    """Finds the site and the distance of every pixel, frame by frame.

    Args:
        lattice: of the discs.
        shape: of the camera.
    """

    def __init__(self, lattice: Lattice, shape: tuple[int, int]) -> None:
        self.lattice = lattice
        basis = lattice.basis
        self._inverse = np.linalg.inv(basis)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        u = np.stack([rows.ravel(), columns.ravel()], axis=1) @ self._inverse
        self._u = np.ascontiguousarray(u.T, dtype=np.float32)
        self._low = lattice.sites.min(axis=0) - 1
        size = lattice.sites.max(axis=0) - self._low + 2
        self._size = size
        table = np.full(size, len(lattice.sites), dtype=np.int64)
        table[tuple((lattice.sites - self._low).T)] = np.arange(len(lattice.sites))
        self._number = table.ravel()
        self._corner = _corners(basis)
        bent = np.abs(lattice.shifts).max(initial=0.0) > BEND
        self._shifts = np.vstack([lattice.shifts, np.zeros(2)]).astype(np.float32) if bent else None

    def of(self, place: Array) -> Cells:
        """The cells of a frame with the origin of the lattice at a place (row, column)."""
        at = (place @ self._inverse).astype(np.float32)
        u, v = self._u[0] - at[0], self._u[1] - at[1]
        iu, iv = np.floor(u), np.floor(v)
        fu, fv = u - iu, v - iv
        quick = (fu * _TABLE).astype(np.int32) * (_TABLE + 1) + (fv * _TABLE).astype(np.int32)
        corner = self._corner[quick]
        up, right = (corner >> 1).astype(np.float32), (corner & 1).astype(np.float32)
        fu -= up
        fv -= right
        i = np.clip((iu + up).astype(np.int64) - self._low[0], 0, self._size[0] - 1)
        j = np.clip((iv + right).astype(np.int64) - self._low[1], 0, self._size[1] - 1)
        site = self._number[i * self._size[1] + j]
        b = self.lattice.basis.astype(np.float32)
        dy, dx = fu * b[0, 0] + fv * b[1, 0], fu * b[0, 1] + fv * b[1, 1]
        if self._shifts is not None:
            shift = self._shifts[site]
            dy -= shift[:, 0]
            dx -= shift[:, 1]
        return Cells(site, np.sqrt(dy * dy + dx * dx), (dy, dx))


def _corners(basis: Array) -> NDArray[np.int8]:
    """Which corner of its cell is nearest, on a grid of places in the cell."""
    steps = (np.arange(_TABLE + 1) + 0.5) / _TABLE
    u, v = np.meshgrid(steps, steps, indexing="ij")
    away = [np.stack([u - i, v - j], axis=-1) @ basis for i in (0, 1) for j in (0, 1)]
    return np.asarray(
        np.argmin(np.stack([np.linalg.norm(a, axis=-1) for a in away]), axis=0), dtype=np.int8
    ).ravel()


@dataclass(frozen=True, eq=False)
class Aperture:
    """What is taken as one disc.

    Attributes:
        radius: of the aperture in pixels; its edge is one pixel soft.
        outer: of the background in pixels.
        disc: radius at which a disc has half its height.
        share: part of the electrons of a disc that lie within the aperture.
        profile: distance in pixels and mean counts above background, 1 in the middle: (point, 2).
        notes: what was found.
    """

    radius: float
    outer: float
    disc: float
    share: float
    profile: Array
    notes: tuple[str, ...] = ()

    def weights(self, distance: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much of each pixel counts for the disc."""
        return np.asarray(np.clip(np.float32(self.radius + 0.5) - distance, 0.0, 1.0))

    @property
    def area(self) -> float:
        """Of the aperture in pixels."""
        return float(np.pi * (self.radius**2 + 1 / 12))


def refine_lattice(
    frames: NDArray[np.float32], places: Array, lattice: Lattice, blind: NDArray[np.bool_]
) -> Lattice:
    """Basis and shifts from the centres of gravity of the discs.

    Args:
        frames: some of the series, corrected: (frame, row, column).
        places: of the origin of the lattice in each of them: (frame, 2).
        lattice: the first one.
        blind: pixels that see nothing.
    """
    weight, offset = _centres(frames, places, lattice, blind)
    good = weight > 0.003 * weight.max()
    u = lattice.sites - np.average(lattice.sites, axis=0, weights=np.where(good, weight, 0.0))
    root = np.sqrt(weight[good])[:, None]
    columns = np.column_stack([np.ones(len(u)), u])
    change = np.linalg.lstsq(columns[good] * root, offset[good] * root, rcond=None)[0]
    rest = offset - columns @ change
    bend = _bend(u, rest, np.where(good, weight, 0.0), lattice.nearest)
    small = float(np.abs(change[1:]).max()) < SURE * lattice.nearest
    if small and not bend.any():  # the autocorrelation knows better than the middles of uneven discs
        return lattice
    return replace(lattice, basis=lattice.basis + change[1:], shifts=bend)


def _bend(u: Array, rest: Array, weight: Array, spacing: float) -> Array:
    """Quadratic and cubic bending of the lattice, if that is more than noise."""
    if (weight > 0).sum() < 14:
        return np.zeros_like(rest)
    x, y = (u / max(1.0, float(np.abs(u).max()))).T
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3], axis=1)
    root = np.sqrt(np.minimum(weight, 5 * np.median(weight[weight > 0])))[:, None]
    found = np.linalg.lstsq(terms * root, rest * root, rcond=1e-8)[0]
    bend = terms @ found
    before, after = (float((root * d**2).sum()) for d in (rest, rest - bend))
    used = int((weight > 0).sum())
    better = after / max(1, used - 10) < 0.5 * before / max(1, used - 3)
    limited = np.clip(bend, -0.15 * spacing, 0.15 * spacing)
    return limited if better and float(np.abs(bend[weight > 0]).max()) > 0.1 else np.zeros_like(rest)


def _centres(
    frames: NDArray[np.float32], places: Array, lattice: Lattice, blind: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Weight and offset of the middle of each site.

    A disc is brighter on the side of the zone axis, so that its centre of gravity is not its middle. Cut at half
    its height it is nearly a flat disc, of which it is.
    """
    pixels, seen, n = Pixels(lattice, blind.shape), ~blind.ravel(), len(lattice.sites) + 1
    near, far = 0.36 * lattice.nearest, 0.5 * lattice.nearest
    total, moment = np.zeros(n), np.zeros((2, n))
    for frame, place in zip(frames, places, strict=True):
        site, distance, offset = pixels.of(place)
        flat = frame.ravel()
        ring = (distance > near) & (distance < far) & seen
        level = mean_by(site[ring], flat[ring], n)
        core = (distance < 0.15 * lattice.nearest) & seen
        height = mean_by(site[core], flat[core], n) - level
        height[-1] = 0.0
        bright = height > 0.12 * height.max()
        use = (distance <= near) & seen & bright[site]
        number = site[use]
        own = height[number]
        value = np.clip(flat[use] - level[number], 0.0, 0.5 * own)
        total += np.bincount(number, value, n)
        for axis in (0, 1):
            moment[axis] += np.bincount(number, value * offset[axis][use], n)
    return total[:-1], (moment[:, :-1] / np.maximum(total[:-1], 1e-12 * max(1.0, float(total.max())))).T


def edge_of(profile: Array) -> float:
    """Pixels over which a profile falls from 0.9 to 0.1."""
    r, p = profile.T
    return max(0.3, float(np.interp(-0.1, -p, r) - np.interp(-0.9, -p, r)))


def mean_by(number: IntArray, values: NDArray[np.float32], count: int) -> Array:
    """Mean of the values with each number, 0 for those that have none: (count,)."""
    return np.asarray(np.bincount(number, values, count) / np.maximum(np.bincount(number, minlength=count), 1))


def find_aperture(
    frames: NDArray[np.float32],
    places: Array,
    lattice: Lattice,
    blind: NDArray[np.bool_],
    radius: float | None = None,
) -> Aperture:
    """The aperture from the mean profile of the discs.

    Raises:
        SettingError: if the discs overlap so much that no place for a background is left.
    """
    profile = _profile(frames, places, lattice, blind)
    r, p = profile.T
    limit = 0.5 * lattice.nearest
    half = float(np.interp(-0.5, -p, r)) if p.min() < 0.5 else limit
    edge = edge_of(profile)
    wanted = half + 0.9 * edge + 0.3 if radius is None else radius
    notes = []
    if wanted > limit - 0.7:
        notes.append(
            f"the discs (radius {half:.2f} pixels, {2 * limit:.1f} apart) nearly touch: the aperture is cut to "
            f"{limit - 0.7:.2f} pixels and neighbours may mix"
        )
        wanted = limit - 0.7
    if wanted < 1.0 or half > limit - 0.4:
        raise SettingError(
            f"the discs overlap: their radius is {half:.1f} pixels and neighbours are {2 * limit:.1f} "
            "pixels apart; "
            "use a smaller convergence angle or a longer camera length"
        )
    return Aperture(
        wanted,
        wanted + max(3.0, 0.5 * lattice.nearest),
        half,
        _share(profile, wanted),
        profile,
        tuple(notes),
    )


def _share(profile: Array, radius: float) -> float:
    r, p = profile.T
    light = np.clip(p, 0, None) * r
    inside = light * np.clip(radius + 0.5 - r, 0, 1)
    return float(inside.sum() / max(float(light.sum()), 1e-12))


def _profile(frames: NDArray[np.float32], places: Array, lattice: Lattice, blind: NDArray[np.bool_]) -> Array:
    """Mean counts by distance from the middle of bright discs, 0 far out and 1 within."""
    pixels, seen, n = Pixels(lattice, blind.shape), ~blind.ravel(), len(lattice.sites) + 1
    step, reach = 0.2, 0.5 * lattice.nearest
    bins = int(np.ceil(reach / step))
    light, count = np.zeros(bins + 1), np.zeros(bins + 1)
    for frame, place in zip(frames, places, strict=True):
        site, distance, _ = pixels.of(place)
        flat = frame.ravel()
        core = (distance < 0.2 * reach + 0.6) & seen
        ring = (distance > 0.85 * reach) & (distance < 1.1 * reach) & seen
        height = mean_by(site[core], flat[core], n) - (level := mean_by(site[ring], flat[ring], n))
        height[-1] = 0.0
        bright = height > 0.3 * height.max()
        use = bright[site] & (distance < reach) & seen
        number = np.minimum((distance[use] / step).astype(np.int64), bins)
        light += np.bincount(number, flat[use] - level[site[use]], bins + 1)
        count += np.bincount(number, height[site[use]], bins + 1)
    r = (np.arange(bins) + 0.5) * step
    p = light[:bins] / np.maximum(count[:bins], 1e-12)
    p[count[:bins] == 0] = np.interp(r[count[:bins] == 0], r[count[:bins] > 0], p[count[:bins] > 0])
    return np.column_stack([r, np.minimum.accumulate(np.maximum(p / max(float(p[:3].mean()), 1e-12), -0.05))])
