"""The camera: pixels that are always bright or never, a beam stop, saturation; counts made comparable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, label, median_filter

from lacbed.errors import SettingError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]

HOT = 10.0
"""Standard deviations by which a pixel must differ from its neighbours, in the trimmed mean over the series."""

STOPPED = 0.3
"""Part of the counts of its surroundings below which a region lies behind a beam stop."""

BEHIND = 0.04
"""Part of the counts at its border that a beam stop lets through at most; gaps between discs show more."""

STOP_AREA = 12
"""Pixels of the smallest beam stop."""

LARGEST_STOP = 0.25
"""Part of the camera that a beam stop covers at most."""

PILED = 8
"""Pixels exactly at the highest count, and more than just below it, that show saturation."""


@dataclass(frozen=True, eq=False)
class Camera:
    """What is known about the pixels.

    Attributes:
        broken: hot and dead pixels, taken from their neighbours: (row, column).
        stop: pixels behind a beam stop that was found: (row, column).
        masked: pixels not to be used, as given: (row, column).
        saturation: counts from which a pixel is full; infinite for none.
        dark: counts without electrons, one for all or (row, column).
        flat: counts are divided by it, one for all or (row, column).
        notes: what was found.
    """

    broken: Bools
    stop: Bools
    masked: Bools
    saturation: float
    dark: Floats
    flat: Floats
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.broken.shape[0], self.broken.shape[1]

    @property
    def blind(self) -> Bools:
        """Pixels that see nothing: (row, column)."""
        return self.stop | self.masked

    def without_gaps(self, centres: NDArray[np.float64]) -> Camera:
        """The same, where what looked like a beam stop and has no disc behind it is a gap between discs.

        Args:
            centres: of discs in some frames, (row, column): (n, 2).
        """
        at = np.round(centres[np.isfinite(centres).all(axis=1)]).astype(int)
        at = at[np.all((at >= 0) & (at < self.shape), axis=1)]
        parts, _ = label(self.stop)
        behind = np.unique(parts[tuple(at.T)])
        stop = np.isin(parts, behind[behind > 0])
        found = f"a beam stop of {int(stop.sum())} pixels was found; discs behind it are masked"
        return replace(self, stop=stop, notes=(*self.notes, found) if stop.any() else self.notes)

    def corrected(self, frames: NDArray[Any]) -> Floats:
        """Counts above dark over the gain reference, broken pixels from neighbours: (frame, row, column)."""
        out = np.asarray(frames, dtype=np.float32)
        if out is frames:
            out = out.copy()
        if self.dark.ndim or float(self.dark):
            out -= self.dark
        if self.flat.ndim or float(self.flat) != 1.0:
            out /= self.flat
        out[~np.isfinite(out)] = 0.0
        repair(out, self.broken)
        return out

    def full(self, frames: NDArray[Any]) -> Bools | None:
        """Saturated pixels; None if there are none."""
        if not np.isfinite(self.saturation):
            return None
        found: Bools = np.asarray(frames >= self.saturation) & ~self.broken
        return found if found.any() else None


def repair(frames: Floats, broken: Bools) -> None:
    """Put the mean of the good ones among the eight neighbours in the place of each broken pixel."""
    rows, columns = np.nonzero(broken)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        around = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
        good = ~broken[around]
        frames[:, row, column] = frames[(slice(None), *around)][:, good].mean(axis=1) if good.any() else 0.0


def study_camera(
    sample: NDArray[Any],
    *,
    dark: NDArray[Any] | float = 0.0,
    flat: NDArray[Any] | float = 1.0,
    mask: NDArray[Any] | None = None,
    saturation: float | None = None,
) -> Camera:
    """Learn what the pixels do from some frames; a beam stop may yet be a gap between discs.

    Args:
        sample: frames from all over the series, as stored: (frame, row, column).
        dark: counts without electrons: one number or (row, column).
        flat: gain reference by which counts are divided: one number or (row, column).
        mask: pixels not to be used are not 0: (row, column).
        saturation: counts from which a pixel is full; None for what the frames show.

    Raises:
        SettingError: if a reference does not fit the frames.
    """
    shape = (int(sample.shape[1]), int(sample.shape[2]))
    dark_, flat_ = (_reference(n, v, shape) for n, v in (("dark", dark), ("gain", flat)))
    if not np.all(flat_ > 0):
        raise SettingError("the gain reference must be positive everywhere; mask dead pixels instead")
    level = _saturation(sample) if saturation is None else float(saturation)
    nothing = np.zeros(shape, dtype=bool)
    plain = Camera(nothing, nothing, nothing, level, dark_, flat_)
    frames = plain.corrected(sample)
    broken = _outliers(frames)
    repair(frames, broken)
    stop = _stop(frames.mean(axis=0))
    given = nothing if mask is None else _reference("mask", mask, shape) != 0
    notes = [f"{int(broken.sum())} hot or dead pixels of the camera are taken from their neighbours"]
    notes = notes if broken.any() else []
    if np.isfinite(level):
        notes.append(f"pixels are taken as saturated from {level:g} counts")
    return Camera(broken, stop, given, level, dark_, flat_, tuple(notes))


def _reference(name: str, value: NDArray[Any] | float, shape: tuple[int, int]) -> Floats:
    values = np.asarray(value, dtype=np.float32)
    if values.ndim and values.shape != shape:
        raise SettingError(
            f"the {name} reference has {'x'.join(map(str, values.shape))} pixels and the frames "
            f"{shape[0]}x{shape[1]}; they must be equal"
        )
    return values


def _saturation(sample: NDArray[Any]) -> float:
    """The highest count, if so many pixels have exactly it that they must have been cut there."""
    top = float(sample.max())
    if not np.isfinite(top) or top <= 0:
        return float("inf")
    at_top = int((sample == sample.max()).sum())
    below = int(((sample >= 0.95 * top) & (sample < top)).sum())
    full_scale = sample.dtype.kind in "iu" and top >= np.iinfo(sample.dtype).max
    return top if full_scale or (at_top >= PILED and at_top > 2 * below) else float("inf")


def _outliers(frames: Floats) -> Bools:
    """Pixels above or below all their neighbours but one, all the time."""
    cut = len(frames) // 5
    usual = np.sort(frames, axis=0)[cut : len(frames) - cut].mean(axis=0)  # no median: counts come in steps
    around = np.pad(usual, 1, mode="reflect")
    rows, columns = usual.shape
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    near = np.sort(np.stack([around[i : i + rows, j : j + columns] for i, j in shifts]), axis=0)
    middle = 0.5 * (near[3] + near[4])
    spread = 1.4826 * float(np.median(np.abs(usual - middle))) + 1e-6 * float(np.abs(usual).max()) + 1e-12
    noise = spread * np.sqrt(np.maximum(1.0, np.abs(middle) / max(float(np.median(np.abs(middle))), 1e-12)))
    hot = usual - near[6] > HOT * noise + 0.2 * np.abs(near[6])
    dead = (near[1] - usual > HOT * noise) & (usual < 0.5 * near[1])
    still = (frames.std(axis=0) == 0) & (near[4] > 10 * noise)
    return np.asarray(hot | dead | still)


def _stop(mean: Floats) -> Bools:
    """Regions much darker than all around them, with a sharp border, unlike a background that falls off."""
    wide = max(9, 2 * (min(mean.shape) // 7) + 1)
    fine = median_filter(mean, size=3, mode="nearest")
    excess = fine - np.percentile(fine, 0.2)
    around = median_filter(excess, size=wide, mode="nearest")
    noise = 1.4826 * float(np.median(np.abs(mean - fine)))
    dark = (excess < STOPPED * around) & (around > max(5 * noise, 0.004 * float(excess.max())))
    parts, count = label(dark)
    out = np.zeros(mean.shape, dtype=bool)
    for number in range(1, count + 1):
        part = parts == number
        if part.sum() < STOP_AREA or part.mean() > LARGEST_STOP:
            continue
        border = binary_dilation(part, iterations=4) & ~binary_dilation(part, iterations=2)
        inside = binary_erosion(part) if part.sum() > 4 * STOP_AREA else part
        if border.any() and 5 * noise < float(excess[border].mean()) > float(excess[inside].mean()) / BEHIND:
            out |= binary_dilation(part, iterations=2)
    return out
