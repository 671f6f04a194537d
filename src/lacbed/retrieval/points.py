"""What a search compares: intensities of a stack at tilts q + G, for few q, and beams that serve them all.

One matrix of a q gives the images at q + G for every G of the zone (see `lacbed.geometry.folding`), so that a few
diagonalisations give about a thousand intensities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import (
    binary_erosion,
    convolve,
    gaussian_filter,
    map_coordinates,
    maximum_filter,
    uniform_filter,
)

from lacbed.crystals.cell import FloatArray
from lacbed.experiment.experiment import Experiment
from lacbed.geometry.frame import IntArray
from lacbed.geometry.wave import electron_wave

NOISY, SMOOTHED = 0.1, 0.8
"""R² by noise alone beyond which images are smoothed over so many pixels (σ), at the cost of fringes."""

FLOOR = 0.01
"""Intensity, of that of the incident beam, whose square root is the least error a point is taken to have."""

SEARCH_REACH = 1.15
"""Beams up to this |h| in 1/Å take part in the search, and about `FEWEST_BEAMS` in small cells."""

FEWEST_BEAMS, ALL_BEAMS, FURTHEST = 80, 220, 2.6
"""Beams of a small cell, about; with those that are folded in; and |h| in 1/Å beyond which there are none."""

SMOOTH = 0.005
"""1/Å; noise is smoothed over this, which is little beside the fringes of a foil of 2000 Å."""

_AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])  # a pixel's neighbours
_LINE = np.array([1.0, -2.0, 1.0])
_PATCH, _LEAST = 9, 1.5  # pixels over which roughness is averaged; what its lowest tenth is to be multiplied by
_GOLDEN = (0.7548776662466927, 0.5698402909980532)  # of Roberts' sequence, which fills a cell evenly


@dataclass(frozen=True, eq=False)
class Points:
    """Intensities at tilts q + G, and the beams that they need.

    Attributes:
        basis: b₁ and b₂ of the zone in 1/Å as columns: (2, 2).
        beams: h on the basis, those that are seen or incident among them: (n, 2).
        far: beams beyond them that are folded in: (f, 2).
        reduced: q in 1/Å: (matrix, 2).
        pairs: matrix, incident beam, leaving beam and image of every point: (4, point).
        target: measured intensities; 1 is about that of the incident beam: (point,).
        weight: 1 / expected error, scaled so that the sum of squares of a constant image is 1: (point,).
        images: number of images.
        wave_number: of the electrons in 1/Å.
        noise: approximate contribution of noise to R² (see `lacbed.retrieval.comparison`).
        pixel: size of a pixel in 1/Å.
        smoothed: standard deviation in 1/Å of what the images were smoothed with.
    """

    basis: FloatArray
    beams: IntArray
    far: IntArray
    reduced: FloatArray
    pairs: IntArray
    target: FloatArray
    weight: FloatArray
    images: int
    wave_number: float
    noise: float
    pixel: float
    smoothed: float

    def __len__(self) -> int:
        """Number of points."""
        return len(self.target)


def make_points(
    experiment: Experiment,
    basis: FloatArray,
    indices: IntArray,
    *,
    matrices: int = 3,
    first: int = 0,
    reach: float | None = None,
    inside: float = 0.88,
    smooth: float = SMOOTH,
) -> Points:
    """Read a stack at the points of a search.

    Args:
        experiment: the stack.
        basis: b₁ and b₂ in 1/Å as columns: (2, 2).
        indices: of the reflections on the basis: (g, 2).
        matrices: number of q.
        first: which q of an endless sequence comes first; other q are other data.
        reach: beams up to this |h| in 1/Å take part; default `beam_reach`.
        inside: points whose incident and leaving beam lie within this many 1/Å are used.
        smooth: standard deviation in 1/Å of a Gaussian that images are smoothed with, at most 0.7 pixels; where
            noise exceeds `NOISY` it is `SMOOTHED`.
    """
    n = np.arange(first + 1, first + matrices + 1)
    share = np.stack([(0.5 + n * step) % 1.0 for step in _GOLDEN], axis=1) - 0.5
    reduced = share @ basis.T
    reach = beam_reach(basis) if reach is None else reach
    every = lattice_points(basis, far_reach(basis, reach))
    is_near = np.linalg.norm(every @ basis.T, axis=1) <= reach
    beams, far = every[is_near], every[~is_near]
    number = {tuple(h): i for i, h in enumerate(beams.tolist())}
    h = beams @ basis.T
    rows: list[tuple[int, int, int, int]] = []
    places: list[FloatArray] = []
    half = experiment.half_width - experiment.pixel_size
    center = np.array(experiment.center)
    for m, q in enumerate(reduced):
        tilts = q + h
        near = np.linalg.norm(tilts, axis=1) <= inside
        on = near & np.all(np.abs(tilts - center) <= half, axis=1)
        for i in np.flatnonzero(on).tolist():
            for g, step in enumerate(indices.tolist()):
                out = number.get((int(beams[i, 0]) + step[0], int(beams[i, 1]) + step[1]))
                if out is not None and near[out]:
                    rows.append((m, i, out, g))
                    places.append(tilts[i])
    pixel = experiment.pixel_size
    if not rows:
        nothing, none = np.zeros((4, 0), int), np.zeros(0)
        return Points(basis, beams, far, reduced, nothing, none, none, len(indices), 0.0, 0.0, pixel, 0.0)
    pairs, at = np.array(rows).T, np.array(places)
    gain = noise_gain(experiment)
    sigma = min(0.7, smooth / experiment.pixel_size)
    sigma = sigma if sigma > 0.3 else 0.0
    if _noise_share(experiment, gain) > NOISY:
        sigma = SMOOTHED
    values = _read(experiment, pairs[3], at, sigma)
    kept = np.isfinite(values)
    pairs, values = pairs[:, kept], np.clip(values[kept], 0.0, None)
    weight = 1.0 / np.sqrt(values + FLOOR)
    used = np.unique(pairs[3])
    pairs[3] = np.searchsorted(used, pairs[3])
    total = float(np.square(weight * (values - _means(values, weight, pairs[3])[pairs[3]])).sum())
    total = max(total, 1e-300)
    noise = gain * _left(sigma) * float((weight**2 * values).sum()) / total
    wave_number = electron_wave(experiment.energy).wave_number
    weight = weight / math.sqrt(total)
    return Points(
        basis, beams, far, reduced, pairs, values, weight, len(used), wave_number, noise, pixel, sigma * pixel
    )


def beam_reach(basis: FloatArray, least: float = SEARCH_REACH) -> float:
    """|h| in 1/Å up to which beams take part: at least so far, and far enough for `FEWEST_BEAMS`."""
    return max(least, min(FURTHEST, _radius(basis, FEWEST_BEAMS)))


def far_reach(basis: FloatArray, reach: float) -> float:
    """|h| in 1/Å up to which further beams are folded in.

    They make `ALL_BEAMS` with the others, or are about as many, and none is beyond `FURTHEST`.
    """
    return max(reach, min(FURTHEST, max(_radius(basis, ALL_BEAMS), math.sqrt(2.0) * reach)))


def _radius(basis: FloatArray, count: int) -> float:
    """|h| in 1/Å up to which there are about so many beams."""
    return math.sqrt(count * abs(float(np.linalg.det(basis))) / math.pi)


def lattice_points(basis: FloatArray, reach: float) -> IntArray:
    """All whole (i, j) with |i b₁ + j b₂| up to a reach, shortest first: (n, 2)."""
    most = np.ceil(reach * np.linalg.norm(np.linalg.inv(basis), axis=1)).astype(int)
    i, j = np.meshgrid(np.arange(-most[0], most[0] + 1), np.arange(-most[1], most[1] + 1), indexing="ij")
    points = np.stack([i.ravel(), j.ravel()], axis=1)
    length = np.linalg.norm(points @ basis.T, axis=1)
    order = np.lexsort((points[:, 1], points[:, 0], np.round(length, 9)))
    return np.asarray(points[order][length[order] <= reach])


def _means(values: FloatArray, weight: FloatArray, image: npt.NDArray[np.int64]) -> FloatArray:
    """Weighted mean of every image: (image,)."""
    square = np.square(weight)
    return np.bincount(image, square * values) / np.maximum(np.bincount(image, square), 1e-300)


def _read(experiment: Experiment, image: IntArray, at: FloatArray, smooth: float) -> FloatArray:
    """Intensities by splines at tilts in 1/Å, NaN beside masked pixels: (point,)."""
    pixel, center = experiment.pixel_size, experiment.center
    columns = (at[:, 0] - center[0]) / pixel + experiment.pixels / 2 - 0.5
    rows = (at[:, 1] - center[1]) / pixel + experiment.pixels / 2 - 0.5
    values = np.full(len(at), np.nan)
    for number, picture in enumerate(experiment.images):
        mine = image == number
        known = np.isfinite(picture)
        if not mine.any() or not known.any():
            continue
        known &= ~_spikes(picture)
        filled = np.where(known, picture, picture[known].mean())
        share = gaussian_filter(known.astype(float), smooth) if smooth else known.astype(float)
        soft = (
            gaussian_filter(np.where(known, picture, 0.0), smooth) / np.maximum(share, 1e-9) if smooth else filled
        )
        place = np.stack([rows[mine], columns[mine]])
        found = map_coordinates(np.where(known, soft, filled), place, order=3, mode="nearest")
        if not known.all():
            near = map_coordinates(known.astype(float), place, order=1, mode="nearest")
            found = np.where(near > 0.7, found, np.nan)
        values[mine] = found
    return values / _incident(experiment)


def noise_gain(experiment: Experiment) -> float:
    """Variance of noise over intensity, of a pixel, in units of the incident beam.

    It is that of the experiment if this states its variance. Else it is what a filter leaves that vanishes for
    polynomials of third degree (Immerkær, Comput. Vis. Image Underst. 64 (1996) 300), where there is least of it:
    elsewhere there are fringes.
    """
    scale, known = _incident(experiment), experiment.variance
    shares = []
    for number, picture in enumerate(experiment.images):
        bright = np.isfinite(picture) & (np.nan_to_num(picture) > 0.02 * scale)
        if known is not None:
            shares.append((known[number] / np.where(bright, picture, 1.0))[bright] / scale)
            continue
        whole = binary_erosion(np.isfinite(picture), np.ones((3, 3))).astype(float)
        filled = np.nan_to_num(picture)
        rough = np.square(convolve(filled, np.outer(_LINE, _LINE), mode="nearest")) / 36.0
        around, below, enough = (uniform_filter(v * whole, _PATCH) for v in (rough, filled, np.ones_like(whole)))
        flat = bright & (enough > 0.9) & (below > 0.0)
        shares.append(around[flat] / (below[flat] * scale))
    everywhere = np.concatenate(shares) if shares else np.zeros(0)
    everywhere = everywhere[np.isfinite(everywhere) & (everywhere >= 0.0)]
    if not len(everywhere):
        return 0.0
    return float(np.median(everywhere)) if known is not None else _LEAST * float(np.quantile(everywhere, 0.1))


def _noise_share(experiment: Experiment, gain: float) -> float:
    """What noise adds to R² if all pixels are compared, unsmoothed."""
    images = experiment.images / _incident(experiment)
    values = np.clip(images, 0.0, None)
    square = 1.0 / (values + FLOOR)
    mean = np.nansum(square * values, axis=(1, 2)) / np.maximum(np.nansum(square, axis=(1, 2)), 1e-300)
    contrast = float(np.nansum(square * np.square(values - mean[:, None, None])))
    return gain * float(np.nansum(square * values)) / max(contrast, 1e-300)


def _left(smooth: float) -> float:
    """The part of a pixel's variance that smoothing over so many pixels leaves."""
    pulse = np.zeros((15, 15))
    pulse[7, 7] = 1.0
    return float(np.square(gaussian_filter(pulse, smooth)).sum()) if smooth else 1.0


def _spikes(picture: FloatArray) -> npt.NDArray[np.bool_]:
    """Single pixels that outshine all around them, which no foil makes: hot ones."""
    bright = np.where(np.isfinite(picture), picture, 0.0)
    around = maximum_filter(bright, footprint=_AROUND, mode="nearest")
    return np.asarray((bright > 3.0 * around) & (bright > np.percentile(bright, 99)))


def _incident(experiment: Experiment) -> float:
    """Counts of about the incident intensity: bright pixels of 000, or of the brightest image."""
    bright = [float(np.nanpercentile(i, 98)) if np.isfinite(i).any() else 0.0 for i in experiment.images]
    direct = [b for b, g in zip(bright, experiment.hkl, strict=True) if not any(g)]
    return max((direct or [max(bright)])[0], 1e-300)
