"""What a search compares: intensities of a stack at tilts q + G, for few q, and beams that serve them all.

One matrix of a q gives the images at q + G for every G of the zone (see `lacbed.geometry.folding`), so that three
diagonalisations give about a thousand intensities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve, gaussian_filter, map_coordinates, maximum_filter, uniform_filter

from lacbed.crystals.cell import FloatArray
from lacbed.experiment.experiment import Experiment
from lacbed.geometry.frame import IntArray
from lacbed.geometry.wave import electron_wave

NOISY, SMOOTHED = 0.1, 0.8
"""R² by noise alone from which on images are smoothed over so many pixels (σ), at the cost of fringes."""

FLOOR = 0.01
"""Intensity, of that of the incident beam, whose square root is the least error a point is taken to have."""

SEARCH_REACH = 1.15
"""Beams up to this |h| in 1/Å take part in the search, and at least `FEWEST_BEAMS`."""

FEWEST_BEAMS, FURTHEST = 50, 2.5
"""In small cells beams reach further, but not beyond the second number in 1/Å."""

SMOOTH = 0.005
"""1/Å; noise is smoothed over this, which is little beside the fringes of a foil of 2000 Å."""

_AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])  # a pixel's neighbours
_LINE = np.array([1.0, -2.0, 1.0])
_GOLDEN = (0.7548776662466927, 0.5698402909980532)  # of Roberts' sequence, which fills a cell evenly


@dataclass(frozen=True, eq=False)
class Points:
    """Intensities at tilts q + G, and the beams that they need.

    Attributes:
        basis: b₁ and b₂ of the zone in 1/Å as columns: (2, 2).
        beams: h on the basis, those that are seen or incident among them: (n, 2).
        reduced: q in 1/Å: (matrix, 2).
        pairs: matrix, incident beam, leaving beam and image of every point: (4, point).
        target: measured intensities; 1 is about that of the incident beam: (point,).
        weight: 1 / expected error, scaled so that the sum of squares of a constant image is 1: (point,).
        images: number of images.
        wave_number: of the electrons in 1/Å.
        noise: what noise alone adds to R² (see `lacbed.retrieval.comparison`), about.
    """

    basis: FloatArray
    beams: IntArray
    reduced: FloatArray
    pairs: IntArray
    target: FloatArray
    weight: FloatArray
    images: int
    wave_number: float
    noise: float = 0.0

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
        smooth: standard deviation in 1/Å of a Gaussian that images are smoothed with, at most 0.7 pixels; `NOISY`
            images more.
    """
    n = np.arange(first + 1, first + matrices + 1)
    share = np.stack([(0.5 + n * step) % 1.0 for step in _GOLDEN], axis=1) - 0.5
    reduced = share @ basis.T
    beams = lattice_points(basis, beam_reach(basis) if reach is None else reach)
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
    if not rows:
        return Points(basis, beams, reduced, np.zeros((4, 0), int), np.zeros(0), np.zeros(0), len(indices), 0.0)
    pairs, at = np.array(rows).T, np.array(places)
    sigma = min(0.7, smooth / experiment.pixel_size)
    found = _weighted(experiment, pairs, at, sigma if sigma > 0.3 else 0.0)
    if found[3] > NOISY and sigma < SMOOTHED:
        found = _weighted(experiment, pairs, at, SMOOTHED)
    pairs, values, weight, noise = found
    used = np.unique(pairs[3])
    pairs[3] = np.searchsorted(used, pairs[3])
    wave_number = electron_wave(experiment.energy).wave_number
    return Points(basis, beams, reduced, pairs, values, weight, len(used), wave_number, noise)


def _weighted(
    experiment: Experiment, pairs: IntArray, at: FloatArray, smooth: float
) -> tuple[IntArray, FloatArray, FloatArray, float]:
    """Those of `Points.pairs` that are not masked, their intensities and weights, and what noise adds to R²."""
    values, variance = _read(experiment, pairs[3], at, smooth)
    kept = np.isfinite(values)
    pairs, values, variance = pairs[:, kept], np.clip(values[kept], 0.0, None), variance[kept]
    weight = 1.0 / np.sqrt(values + FLOOR)
    image = np.unique(pairs[3], return_inverse=True)[1].reshape(-1)
    total = float(np.square(weight * (values - _means(values, weight, image)[image])).sum())
    total = max(total, 1e-300)
    return pairs, values, weight / math.sqrt(total), float((weight**2 * variance).sum()) / total


def beam_reach(basis: FloatArray, least: float = SEARCH_REACH) -> float:
    """|h| in 1/Å up to which beams take part: at least so far, and far enough for `FEWEST_BEAMS`."""
    area = abs(float(np.linalg.det(basis)))
    return max(least, min(FURTHEST, math.sqrt(FEWEST_BEAMS * area / math.pi)))


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


def _read(experiment: Experiment, image: IntArray, at: FloatArray, smooth: float) -> tuple[FloatArray, FloatArray]:
    """Intensities by splines at tilts in 1/Å, NaN beside masked pixels, and their variance: two (point,)."""
    pixel, center = experiment.pixel_size, experiment.center
    columns = (at[:, 0] - center[0]) / pixel + experiment.pixels / 2 - 0.5
    rows = (at[:, 1] - center[1]) / pixel + experiment.pixels / 2 - 0.5
    values, variance = np.full(len(at), np.nan), np.zeros(len(at))
    left = 1.0 / (4.0 * math.pi * smooth**2) if smooth else 1.0  # of the variance of a pixel
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
        variance[mine] = min(1.0, left) * map_coordinates(_roughness(filled), place, order=1, mode="nearest")
    scale = _incident(experiment)
    return values / scale, variance / scale**2


def _roughness(picture: FloatArray) -> FloatArray:
    """Variance of noise in every pixel, by what is left of a picture where anything smooth is taken away.

    The filter vanishes for polynomials of third degree (Immerkær, Comput. Vis. Image Underst. 64 (1996) 300).
    """
    rough = np.square(convolve(picture, np.outer(_LINE, _LINE), mode="reflect")) / 36.0
    return np.asarray(uniform_filter(rough, 9, mode="reflect"))


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
