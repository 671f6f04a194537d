"""Counts of every disc in every frame: what lies in the aperture, and the background around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lacbed.experiment.extract.camera import Camera
from lacbed.experiment.extract.discs import GAP, Aperture, Lattice, Pixels
from lacbed.experiment.extract.scan import Scan, smoothed

Array = NDArray[np.float64]
Sums = NDArray[np.float32]

WHOLE = 0.97
"""Part of its aperture that a disc must have on the camera and not behind the beam stop."""

MISSING, CUT, FULL, LOST = 1, 2, 4, 8
"""Why a pixel of a stack is masked: no frame, disc cut by the border or the beam stop, saturated, pattern lost."""

FLAGS = {MISSING: "no frame", CUT: "cut by border or beam stop", FULL: "saturated", LOST: "pattern not found"}


def sum_discs(frames: NDArray[Any], places: Array, lattice: Lattice, aperture: Aperture, camera: Camera) -> Sums:
    """Sums over the discs of some frames.

    Args:
        frames: as stored: (frame, row, column).
        places: of the origin of the lattice in each: (frame, 2).
        lattice: of the discs.
        aperture: of a disc.
        camera: the pixels.

    Returns:
        counts in the aperture, its area, counts of the background and its pixels, saturated pixels:
        (frame, 5, site).
    """
    values = camera.corrected(frames)
    full = camera.full(frames)
    pixels, n = Pixels(lattice, camera.shape), len(lattice.sites)
    out = np.zeros((len(values), 5, n), dtype=np.float32)
    seen = None if not camera.blind.any() else ~camera.blind.ravel()
    inner, outer = aperture.radius + 0.5 + GAP, aperture.outer
    for number, (frame, place) in enumerate(zip(values, places, strict=True)):
        if not np.isfinite(place).all():
            continue
        site, distance, _ = pixels.of(place)
        flat = frame.ravel()
        good = (site < n) if seen is None else (site < n) & seen
        disc = np.flatnonzero(good & (distance < aperture.radius + 0.5))
        weight, own = aperture.weights(distance[disc]), site[disc]
        ring = np.flatnonzero(good & (distance > inner) & (distance < outer))
        around = site[ring]
        out[number, 0] = np.bincount(own, weight * flat[disc], n)
        out[number, 1] = np.bincount(own, weight, n)
        out[number, 2] = np.bincount(around, flat[ring], n)
        out[number, 3] = np.bincount(around, minlength=n)
        if full is not None and full[number].any():
            out[number, 4] = np.bincount(own, full[number].ravel()[disc] & (weight > 0), n)
    return out


@dataclass(frozen=True, eq=False)
class Stack:
    """Electrons of every disc at every tilt.

    Attributes:
        images: (site, row, column).
        variance: of them.
        background: that was taken away, in electrons within the aperture.
        flags: why a pixel is masked, 0 if it is not.
        noise: of a pixel of the camera.
    """

    images: Array
    variance: Array
    background: Array
    flags: NDArray[np.uint8]
    noise: Noise


def stack_of(
    sums: Sums,
    scan: Scan,
    lost: NDArray[np.bool_],
    lattice: Lattice,
    aperture: Aperture,
    *,
    gain: float | None,
    readout: float | None,
    smooth: float,
) -> Stack:
    """Electrons with their variance from the sums over discs.

    N = (S - A b) / (g e), b = B / n: S counts in the aperture of area A, B counts of n pixels around it, g
    counts per electron, e the share of a disc in its aperture. Var N = [A v(S / A) + A² v(b) / n] / (g e)², v
    being the variance of a pixel (`Noise`). A background that curves is put right by the curvature among
    neighbouring sites.

    Args:
        sums: of `sum_discs` for all frames: (frame, 5, site).
        scan: places of the frames.
        lost: tilts where the pattern was not found.
        lattice: of the discs.
        aperture: of a disc.
        gain: counts per electron; None for what the noise of the background shows.
        readout: noise of a pixel in counts; None for what the background shows.
        smooth: tilts over which the background is averaged (σ); 0 for each frame by itself.
    """
    grid = np.moveaxis(scan.on_grid(sums), (2, 3), (0, 1))  # (5, site, row, column)
    counts, area, ground, pixels, full = grid
    flags = np.zeros(counts.shape, dtype=np.uint8)
    flags[:, ~scan.known] |= MISSING
    flags[:, lost] |= LOST
    with np.errstate(invalid="ignore"):
        flags[(area < WHOLE * aperture.area) | (pixels < 6)] |= CUT
        flags[full > 0] |= FULL
    usable = (flags & (MISSING | LOST | CUT)) == 0
    level = np.where(usable, ground / np.maximum(pixels, 1), np.nan)
    noise = find_noise(level, pixels, gain, readout)
    level, spread = _steadied(level, pixels, noise, smooth)
    level = level - _curvature(level, lattice, aperture)
    under = area * level
    unit = noise.gain * aperture.share
    images = (counts - under) / unit
    # of the tilts around, so that the variance does not follow the noise
    mean = smoothed(np.where(usable, counts, np.nan), (0, 0.6, 0.6)) / np.maximum(area, 1.0)
    variance = (area * noise.of(mean) + area**2 * spread) / unit**2
    images[~usable] = np.nan
    variance = np.where(usable, variance, np.nan)
    images[flags > 0] = np.nan
    return Stack(images, variance, under / unit, flags, noise)


def _steadied(level: Array, pixels: Array, noise: Noise, smooth: float) -> tuple[Array, Array]:
    """Background per pixel averaged over neighbouring tilts, and its variance in counts²."""
    known = np.isfinite(level)
    single = noise.of(np.where(known, level, 0.0)) / np.maximum(pixels, 1)
    if smooth <= 0:
        return level, single
    weight = np.where(known, pixels, 0.0)
    sigma = (0.0, smooth, smooth)
    total = gaussian_filter(weight, sigma)
    mean = gaussian_filter(np.where(known, level, 0.0) * weight, sigma) / np.maximum(total, 1e-6)
    # Σ w² of a Gaussian over Σ w: what averaging leaves of the variance
    kept = min(1.0, 1 / (4 * np.pi * smooth**2))
    return np.where(known, mean, np.nan), single * kept


def _curvature(level: Array, lattice: Lattice, aperture: Aperture) -> Array:
    """By how much the background around a disc exceeds that under it, from second differences among sites.

    A surface b + ½ x'Hx has the mean b + ¼ tr H <r²> over a round region, so that ring and disc differ by
    ¼ tr H (<r²>_ring - <r²>_disc). H follows from the differences along three directions of the lattice.
    """
    inner, outer = aperture.radius + 1.5, min(aperture.outer, 0.62 * lattice.nearest)
    excess = 0.25 * (0.5 * (inner**2 + max(outer, inner) ** 2) - 0.5 * aperture.radius**2)
    number = {tuple(s): i for i, s in enumerate(lattice.sites.tolist())}
    steps = [(1, 0), (0, 1), (1, -1)]
    vectors = np.array(steps) @ lattice.basis
    design = np.stack([vectors[:, 0] ** 2, 2 * vectors[:, 0] * vectors[:, 1], vectors[:, 1] ** 2], axis=1)
    to_trace = np.array([1.0, 0.0, 1.0]) @ np.linalg.pinv(design)
    out = np.zeros_like(level)
    for i, site in enumerate(lattice.sites.tolist()):
        total = np.zeros(level.shape[1:])
        for step, factor in zip(steps, to_trace, strict=True):
            ends = [number.get((site[0] + s * step[0], site[1] + s * step[1])) for s in (-1, 1)]
            if None in ends:
                total[:] = np.nan
                break
            total += factor * (level[ends[0]] - 2 * level[i] + level[ends[1]])
        out[i] = np.where(np.isfinite(total), excess * total, 0.0)
    return out


@dataclass(frozen=True)
class Noise:
    """Variance of a pixel in counts²: floor + gain · counts.

    Attributes:
        gain: counts per electron.
        error: its uncertainty; 0 if it was given.
        floor: readout noise squared, less the gain times what a dark pixel counts.
        note: where the numbers come from.
    """

    gain: float
    error: float
    floor: float
    note: str = ""

    def of(self, counts: Array) -> Array:
        """Variance of a pixel (or mean over pixels) with these counts, never below that of no electrons."""
        return np.maximum(self.floor + self.gain * counts, 1e-3 * self.gain**2)


def find_noise(level: Array, pixels: Array, gain: float | None, readout: float | None) -> Noise:
    """What is known about the noise, and the rest from the scatter of the background between tilts.

    Second differences of the mean of n pixels along the rows of the scan have 6 times the variance of one, which
    is (floor + gain b) / n. Where b varies over camera and scan that gives both.

    Args:
        level: mean counts of the background, NaN where there is none: (site, row, column).
        pixels: in each mean.
        gain: counts per electron, if known.
        readout: noise of a pixel in counts, if known; then dark pixels are taken to count 0.
    """
    if gain is not None and readout is not None:
        return Noise(gain, 0.0, readout**2)
    with np.errstate(invalid="ignore"):
        bend = (level[:, :, :-2] - 2 * level[:, :, 1:-1] + level[:, :, 2:]) ** 2 / 6.0 * pixels[:, :, 1:-1]
        mean = (level[:, :, :-2] + level[:, :, 1:-1] + level[:, :, 2:]) / 3
        good = np.isfinite(bend) & (pixels[:, :, 1:-1] >= 6)
    noise, mean = bend[good], mean[good]
    if noise.size < 200 or not noise.any():
        return Noise(gain or 1.0, 0.0, (readout or 0.0) ** 2, _UNKNOWN if gain is None else "")
    known = None if readout is None else readout**2
    floor, slope, error = _line(mean, noise, gain, known)
    if slope <= 0 or (gain is None and error > 0.2 * slope):
        return Noise(gain or 1.0, 0.0, max(0.0, float(noise.mean())) if gain else 0.0, _UNKNOWN)
    if gain is not None:
        return Noise(gain, 0.0, floor)
    return Noise(
        slope, error, floor, f"the noise of the background shows {slope:.4g}({error:.1g}) counts per electron"
    )


_UNKNOWN = (
    "the gain could not be found from the noise of the background; counts are taken as electrons: give --gain"
)


def _line(mean: Array, noise: Array, gain: float | None, floor: float | None) -> tuple[float, float, float]:
    """Noise as a line over the mean: floor, slope and its uncertainty; either may be known."""
    edges = np.unique(np.quantile(mean, np.linspace(0, 1, 13)))
    bins = np.clip(np.searchsorted(edges, mean, side="right") - 1, 0, max(0, len(edges) - 2))
    x, y, w = [], [], []
    for i in range(max(1, len(edges) - 1)):
        own = noise[bins == i]
        if own.size < 20:
            continue
        usual = float(np.median(own)) / 0.4549  # of χ² with one degree of freedom
        kept = own[own < 12 * usual]  # discs that leak into a background are no noise
        x.append(float(mean[bins == i].mean()))
        y.append(float(kept.mean()))
        w.append(np.sqrt(kept.size / (2 * 35 / 18)) / max(y[-1], 1e-12))
    X, Y, W = np.array(x), np.array(y), np.array(w)
    columns = [c for c, known in ((np.ones_like(X), floor), (X, gain)) if known is None]
    rest = Y - (floor or 0.0) - (gain or 0.0) * X
    A = np.stack(columns, axis=1) * W[:, None]
    found = np.linalg.lstsq(A, rest * W, rcond=None)[0].tolist()
    cov = np.linalg.pinv(A.T @ A)
    scatter = max(1.0, float(((A @ np.array(found) - rest * W) ** 2).sum()) / max(1, len(X) - len(columns)))
    error = float(np.sqrt(cov[-1, -1] * scatter)) if gain is None else 0.0
    return (
        found.pop(0) if floor is None else floor,
        found.pop() if gain is None else gain,
        error,
    )
