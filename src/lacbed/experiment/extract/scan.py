"""Which frame belongs to which tilt: rows that run to and fro, frames that are missing or come twice.

Neighbouring tilts give similar frames. A small picture of every frame is compared with those that would lie above
and below it, so that the right order is the smoothest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lacbed.errors import SettingError

IntArray = NDArray[np.int64]

MOST_MISSING = 0.05
"""Part of the frames that may be missing or too many; beyond it the shape of the scan is wrong."""

SURE = 1.02
"""Ratio of roughness between the second-best and the best order, below which a remark says that it is close."""


@dataclass(frozen=True, eq=False)
class Scan:
    """The frames in their places.

    Attributes:
        frames: number of the frame of every tilt, -1 for none: (row, column).
        serpentine: whether every second row was recorded backwards.
        notes: what was found.
    """

    frames: IntArray
    serpentine: bool
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tilts."""
        return self.frames.shape[0], self.frames.shape[1]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Tilts that have a frame: (row, column)."""
        return np.asarray(self.frames >= 0)

    def on_grid(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Values of each frame at their tilts, NaN where there is none: (frame, ...) to (row, column, ...)."""
        out = np.asarray(values, dtype=np.float64)[np.maximum(self.frames, 0)]
        out[~self.known] = np.nan
        return out

    @property
    def times(self) -> NDArray[np.float64]:
        """When each tilt was recorded, 0 to 1 over the series: (row, column)."""
        times = np.arange(self.frames.size, dtype=np.float64).reshape(self.shape)
        if self.serpentine:
            times[1::2] = times[1::2, ::-1].copy()
        return times / max(1, self.frames.size - 1)


def smoothed(values: NDArray[np.float64], sigma: float | tuple[float, ...]) -> NDArray[np.float64]:
    """Mean of the known tilts (not NaN) over a Gaussian neighbourhood: (..., row, column)."""
    known = np.isfinite(values)
    total = gaussian_filter(np.where(known, values, 0.0), sigma)
    return np.asarray(total / np.maximum(gaussian_filter(known.astype(float), sigma), 1e-6))


def guess_shape(count: int, given: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of the scan of so many frames.

    Raises:
        SettingError: if it is not given and not nearly a square, or does not fit the frames.
    """
    if given is None:
        side = isqrt(count - 1) + 1 if count - isqrt(count) ** 2 > max(3, 0.001 * count) else isqrt(count)
        if side * side - count > max(3, 0.01 * count):
            raise SettingError(
                f"{count} frames are not a square scan; give its shape, rows and columns of tilts, as --scan 60x80"
            )
        given = (side, side)
    rows, columns = given
    if min(rows, columns) < 8:
        raise SettingError(f"a scan of {rows}x{columns} tilts is too small for a pattern; at least 8x8")
    excess = count - rows * columns
    if abs(excess) > MOST_MISSING * rows * columns:
        kind = "more" if excess > 0 else "fewer"
        raise SettingError(
            f"a scan of {rows}x{columns} tilts has {rows * columns} frames, and there are {count}: {abs(excess)} "
            f"{kind}; check the shape of the scan"
        )
    return rows, columns


def order_frames(
    pictures: NDArray[np.float32],
    shape: tuple[int, int],
    serpentine: bool | None = None,
    twice: IntArray | None = None,
) -> Scan:
    """Put frames in the order of time into their tilts.

    Args:
        pictures: a small picture of each frame: (frame, value).
        shape: rows and columns of the scan.
        serpentine: whether every second row runs backwards; None for what the frames show.
        twice: numbers of frames that repeat the one before exactly; they are left out.
    """
    notes: list[str] = []
    order = np.arange(len(pictures))
    if twice is not None and len(twice):
        order = np.delete(order, twice)
        notes.append(f"{len(twice)} frames that repeat the one before are left out: {_some(twice)}")
    tried = [serpentine] if serpentine is not None else [False, True]
    found = [_placed(pictures[order], shape, way) for way in tried]
    best = int(np.argmin([cost for cost, _ in found]))
    cost, places = found[best]
    if serpentine is None:
        name = "to and fro (serpentine)" if tried[best] else "all in the same direction (raster)"
        notes.append(f"the rows of the scan run {name}")
        if max(c for c, _ in found) < SURE * cost:
            notes.append("the order of the rows is not clear from the frames; say --order raster or serpentine")
    frames = np.where(places >= 0, order[np.maximum(places, 0)], -1)
    scan = Scan(_folded(frames, shape, bool(tried[best])), bool(tried[best]))
    missing = np.argwhere(~scan.known)
    if len(missing):
        where = ", ".join(f"({r}, {c})" for r, c in missing[:6].tolist()) + (" ..." if len(missing) > 6 else "")
        notes.append(f"{len(missing)} frames are missing; the tilts (row, column) {where} are masked")
    unused = len(order) - int(scan.known.sum())
    if unused > 0:
        notes.append(f"{unused} frames fit no tilt and are left out")
    return Scan(scan.frames, scan.serpentine, tuple(notes))


def _some(numbers: IntArray) -> str:
    return ", ".join(str(n) for n in numbers[:8].tolist()) + (" ..." if len(numbers) > 8 else "")


def _folded(values: IntArray, shape: tuple[int, int], serpentine: bool) -> IntArray:
    out = values.reshape(shape).copy()
    if serpentine:
        out[1::2] = out[1::2, ::-1].copy()
    return out


def _placed(pictures: NDArray[np.float32], shape: tuple[int, int], serpentine: bool) -> tuple[float, IntArray]:
    """Roughness of the best assignment, and the frame of each place in the order of time (-1 for none)."""
    slots, count = shape[0] * shape[1], len(pictures)
    below = _below(shape, serpentine)
    places = np.arange(count)
    while count > slots:  # the frame whose removal leaves the smoothest order
        table = _distances(pictures, places, below)
        places = np.delete(places, int(np.argmin(table)))
        count -= 1
    gaps: list[int] = []
    for _ in range(slots - count):
        gaps = _with_gap(pictures, gaps, below, slots)
    for _ in range(2 if len(gaps) > 1 else 0):  # each once more, now that the others are known
        for gap in list(gaps):
            gaps = _with_gap(pictures, [g for g in gaps if g != gap], below, slots)
    out = np.full(slots, -1, dtype=np.int64)
    out[np.setdiff1d(np.arange(slots), gaps)[: len(places)]] = places
    return _roughness(pictures, out, below), out


def _below(shape: tuple[int, int], serpentine: bool) -> IntArray:
    """For each place in the order of time the one in the next row: (place,), -1 in the last row."""
    rows, columns = shape
    out = np.full(rows * columns, -1, dtype=np.int64)
    for row in range(rows - 1):
        here = row * columns + np.arange(columns)
        there = (row + 1) * columns + (columns - 1 - np.arange(columns) if serpentine else np.arange(columns))
        out[here] = there
    return out


def _far(pictures: NDArray[np.float32], first: IntArray, second: IntArray) -> NDArray[np.float64]:
    """Squared distance of pairs of pictures; 0 where one is none (-1 or beyond the last)."""
    good = (first >= 0) & (second >= 0) & (first < len(pictures)) & (second < len(pictures))
    out = np.zeros(first.shape)
    difference = pictures[first[good]] - pictures[second[good]]
    out[good] = np.einsum("nv,nv->n", difference, difference)
    return out


def _roughness(pictures: NDArray[np.float32], frames: IntArray, below: IntArray) -> float:
    here = np.flatnonzero(below >= 0)
    distance = _far(pictures, frames[here], frames[below[here]])
    known = (frames[here] >= 0) & (frames[below[here]] >= 0)
    return float(distance.sum() / max(1, known.sum()))


def _with_gap(pictures: NDArray[np.float32], gaps: list[int], below: IntArray, slots: int) -> list[int]:
    """One further gap, where it makes the order smoothest.

    With a gap at p the places before p keep their frames and those behind take the frame before.
    """
    taken = np.full(slots, -1, dtype=np.int64)
    free = np.setdiff1d(np.arange(slots), gaps)
    taken[free] = np.arange(len(free))
    later = taken.copy()
    later[free] -= 1
    cost = _changing(pictures, taken, later, below)[:slots]
    cost[gaps] = np.inf
    return sorted([*gaps, int(np.argmin(cost))])


def _distances(pictures: NDArray[np.float32], places: IntArray, below: IntArray) -> NDArray[np.float64]:
    """Roughness of the order without each of the frames in turn."""
    slots = len(below)
    next_ = places[1 : slots + 1] if len(places) > slots else np.append(places[1:], -1)
    return _changing(pictures, places[:slots], next_, below)


def _changing(
    pictures: NDArray[np.float32], before: IntArray, after: IntArray, below: IntArray
) -> NDArray[np.float64]:
    """Roughness where the places before p take one list of frames and the others another, for every p: (p,).

    All sums follow from three lists of distances and their running sums.
    """
    here = np.flatnonzero(below >= 0)
    there = below[here]
    low, high = np.minimum(here, there), np.maximum(here, there)
    mixed = _far(pictures, before[low], after[high])
    parts = np.zeros((3, len(below) + 1))
    np.add.at(parts[0], high + 1, _far(pictures, before[low], before[high]))
    np.add.at(parts[1], low, _far(pictures, after[low], after[high]))
    np.add.at(parts[2], low + 1, mixed)
    np.add.at(parts[2], high + 1, -mixed)
    return np.asarray(np.cumsum(parts[0]) + np.cumsum(parts[1][::-1])[::-1] + np.cumsum(parts[2]))
