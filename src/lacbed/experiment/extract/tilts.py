"""Tilts in units of the lattice, from the images alone.

For one Laue zone and a flat foil, reciprocity makes every dark-field image symmetric about the middle of its Bragg
line: I_g(k) = I_g(-k - g). The centres of these inversions are t_g = t_0 - ½ Σ_i n_i τ_i, where n are the
indices of the disc in the basis of the lattice and τ_i is by how many tilts k changes over one basis vector. Two
vectors and a point, six numbers, follow from all images together, whatever the crystal and without any
simulation: step, rotation, flip and shear of the axes of the scan, and its middle. Where the images are not
symmetric enough then, a smooth distortion of the scan is fitted as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from lacbed.errors import SettingError
from lacbed.experiment.extract.distortion import ORDERS, Distortion, term_count
from lacbed.experiment.extract.inversion import AFFINE, OVERLAP, Fit, Image, distortion_of, fit, left_out, prepare
from lacbed.experiment.extract.scan import smoothed

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

COARSE = 36
"""Tilts along a side in the first search."""

SEARCHED, REFINED = 9, 30
"""Images in the first search and in the last fit at most."""

RANGE = (0.35, 9.0)
"""Half-widths of a scan in units of the shortest vector between discs that are tried."""

SYSTEMATIC = 3e-4
"""Relative error of the steps beyond what noise and differences between images tell: of three series made by
independent code they were wrong by 0.016, 0.024 and 0.043 %, and those said 0.01 %."""

FOLLOWED = 8
BELIEVED, SPARE = 3.0, 4
"""Standard errors by which images that took no part in its fit must be more symmetric with a distortion, and how
many images there must be besides those that decide its values, two each."""

LEAST = 0.25
"""Mean correlation of images with their inversion below which no geometry is believed."""


@dataclass(frozen=True, eq=False)
class Tilts:
    """How the tilts lie over the lattice.

    Attributes:
        zero: place of k = 0 in the scan as if it had been even, (row, column).
        steps: tilts, (row, column), per basis vector of the lattice, as rows: (2, 2).
        covariance: of zero, steps and the coefficients of the distortion: (6 + 2 · term, same).
        symmetry: mean correlation of the images with their inversion.
        chi2: per pair of pixels of what an image differs from its inversion.
        sites: of the images that were used: (image, 2).
        distortion: of the scan; without terms if there is none.
    """

    zero: Array
    steps: Array
    covariance: Array
    symmetry: float
    chi2: float
    sites: IntArray
    distortion: Distortion

    def k(self, at: Array) -> Array:
        """Of places (row, column) in the scan, in basis vectors of the lattice: (..., 2)."""
        return np.asarray((self.distortion.even(at) - self.zero) @ np.linalg.inv(self.steps))

    def place(self, k: Array) -> Array:
        """In the scan, (row, column), of k in basis vectors of the lattice: (..., 2)."""
        return self.distortion.recorded(k @ self.steps + self.zero)

    def centre(self, sites: IntArray) -> Array:
        """Of the inversion of the image of each site, (row, column) in tilts."""
        return self.place(np.asarray(-0.5 * sites))

    @property
    def displacement(self) -> tuple[float, float]:
        """By the distortion, in tilts: the largest over the scan, and its standard uncertainty."""
        return self.distortion.largest(self.covariance[AFFINE:, AFFINE:])

    def with_origin(self, site: Array) -> Tilts:
        """The same with another disc as the direct beam."""
        return replace(self, zero=self.zero - 0.5 * site @ self.steps)


def find_tilts(
    images: Array, variance: Array, sites: IntArray, basis: Array, distortion: bool = True
) -> list[Tilts]:
    """The tilts that the inversions of the images show, the best first.

    Args:
        images: electrons, NaN where masked: (site, row, column).
        variance: of them.
        sites: indices of the images, the direct beam (0, 0): (site, 2).
        basis: of the lattice on the camera as rows: (2, 2).
        distortion: whether a smooth distortion of the scan is looked for in the best.

    Raises:
        SettingError: if the images show no inversion.
    """
    signal = significance(images, variance)
    order = np.argsort(-signal)
    use = order[signal[order] > 1.0][:REFINED]
    if len(use) < 3:
        raise SettingError(
            "fewer than three discs change clearly over the scan; nothing shows how its axes lie: "
            "more electrons, or "
            "a wider scan"
        )
    side = max(images.shape[1:])
    factor = max(1, round(side / COARSE))
    starts = _search(_binned(images[use[:SEARCHED]], factor), sites[use[:SEARCHED]], basis)
    few = use[:SEARCHED]
    small, noise = _binned(images[few], factor), _binned(variance[few], factor) / factor**2
    coarse, fine = prepare(small, noise, sites[few]), prepare(images[use], variance[use], sites[use])
    rough: list[Tilts] = []
    for zero, steps in starts:
        found = _refined(coarse, zero, steps)
        if found is not None and not any(_same(found, other) for other in rough):
            rough.append(found)
    rough.sort(key=lambda f: -_merit(f, small, sites[few], basis))
    fits = []
    for found in rough[:2]:
        whole = _refined(fine, (found.zero + 0.5) * factor - 0.5, found.steps * factor)
        fits += [] if whole is None else [whole]
    fits.sort(key=lambda f: -_merit(f, images[use], sites[use], basis))
    if not fits or fits[0].symmetry < LEAST:
        raise SettingError(
            "the images of the discs show no common inversion about their Bragg lines, so that tilt "
            "step and rotation "
            "cannot be found; check the order and the shape of the scan, and that the zone axis lies within it"
        )
    return [_distorted(fine, fits[0]), *fits[1:]] if distortion else fits


def _merit(found: Tilts, images: Array, sites: IntArray, basis: Array) -> float:
    """How good a solution is: small differences, high correlations, bright Bragg lines."""
    lines = bragg_score(found, images, sites, basis)
    return found.symmetry + 0.5 * lines - 0.4 * math.log10(max(1.0, found.chi2))


def significance(images: Array, variance: Array) -> Array:
    """How much more an image changes than its noise does: variance over that of the noise, less 1: (site,)."""
    out = np.zeros(len(images))
    for i, (image, noise) in enumerate(zip(images, variance, strict=True)):
        known = np.isfinite(image) & np.isfinite(noise)
        if known.mean() > 0.4:
            smooth = smoothed(image, 1.0)[known]
            kept = 1 / (4 * math.pi)  # of the variance of white noise
            out[i] = max(0.0, float(smooth.var()) / max(kept * float(noise[known].mean()), 1e-30) - 1)
    return out


def _binned(images: Array, factor: int) -> Array:
    if factor == 1:
        return images
    rows, columns = (n // factor * factor for n in images.shape[1:])
    parts = images[:, :rows, :columns].reshape(len(images), rows // factor, factor, columns // factor, factor)
    known = np.isfinite(parts)
    count = known.sum(axis=(2, 4))
    total = np.where(known, parts, 0.0).sum(axis=(2, 4))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _inversions(image: Array) -> Array:
    """Correlation of an image with its inversion, times the root of their overlap: by the sum of two places.

    With f the image and m its mask, all sums over the overlap are convolutions: m*m, f*m, f²*m, f*f.
    """
    known = np.isfinite(image)
    f = np.where(known, image, 0.0)
    low = np.percentile(image[known], 2)
    f = np.where(known, np.sqrt(np.clip(f - low, 0, None)), 0.0)
    f = np.where(known, gaussian_filter(f, 0.8), 0.0)
    f = np.where(known, f - f[known].mean(), 0.0)
    m = known.astype(float)
    n, total, square, product = (fftconvolve(a, b) for a, b in ((m, m), (f, m), (f * f, m), (f, f)))
    n = np.maximum(n, 0.0)
    spread = square - total**2 / np.maximum(n, 1)
    least = 0.05 * float(f[known].var()) * n
    value = (product - total**2 / np.maximum(n, 1)) / np.maximum(spread, np.maximum(least, 1e-12))
    share = n / known.sum()
    return np.asarray(np.where(share > OVERLAP, np.clip(value, -1, 1) * np.sqrt(share), 0.0))


def _search(images: Array, sites: IntArray, basis: Array) -> list[tuple[Array, Array]]:
    """The best zeros and steps under a similarity of camera and scan, on a grid of its parameters."""
    maps = np.stack([_inversions(image) for image in images])
    maps -= maps.mean(axis=(1, 2), keepdims=True) * (maps != 0)
    smooth = gaussian_filter(maps, (0, 1.0, 1.0))
    rows, columns = maps.shape[1:]
    half = min(images.shape[1:]) / 2
    shortest = float(np.linalg.norm(basis[0]))
    scales = np.geomspace(half / RANGE[1], half / RANGE[0], 36) / shortest
    found: list[tuple[float, float, float, bool, Array]] = []
    places = sites @ basis
    for flip in (False, True):
        mirrored = places * np.array([1.0, -1.0 if flip else 1.0])
        for angle in np.radians(np.arange(0, 360, 5.0)):
            c, s = math.cos(angle), math.sin(angle)
            turned = mirrored @ np.array([[c, s], [-s, c]])
            for scale in scales:
                total = _summed(smooth, -np.round(scale * turned).astype(int), rows, columns)
                at = int(np.argmax(total))
                found.append((float(total.flat[at]), angle, scale, flip, np.array(divmod(at, columns)) / 2))
    found.sort(key=lambda f: -f[0])
    out: list[tuple[Array, Array]] = []
    for _, angle, scale, flip, zero in found[:400]:
        c, s = math.cos(angle), math.sin(angle)
        steps = scale * (basis * np.array([1.0, -1.0 if flip else 1.0])) @ np.array([[c, s], [-s, c]])
        new = all(
            np.linalg.norm(zero - z) > 1.5 or np.linalg.norm(steps - t) > 0.15 * np.linalg.norm(t) for z, t in out
        )
        if new:
            out.append((zero, steps))
        if len(out) == FOLLOWED:
            break
    return out


def _summed(maps: Array, shifts: IntArray, rows: int, columns: int) -> Array:
    """Sum of maps read at 2 t_0 + shift: (row, column) of 2 t_0."""
    total = np.zeros((rows, columns))
    for map_, (i, j) in zip(maps, shifts.tolist(), strict=True):
        if abs(i) >= rows or abs(j) >= columns:
            continue
        a, b = max(0, -i), min(rows, rows - i)
        c, d = max(0, -j), min(columns, columns - j)
        total[a:b, c:d] += map_[a + i : b + i, c + j : d + j]
    return total


def _same(a: Tilts, b: Tilts) -> bool:
    return bool(
        np.linalg.norm(a.zero - b.zero) < 0.5
        and np.linalg.norm(a.steps - b.steps) < 0.03 * np.linalg.norm(b.steps)
    )


def _refined(images: list[Image], zero: Array, steps: Array) -> Tilts | None:
    """Least squares from a middle and steps that are nearly right."""
    found = fit(images, np.concatenate([zero, steps.ravel()]))
    return None if found is None else _tilts(found, images)


def _tilts(found: Fit, images: list[Image]) -> Tilts:
    zero, steps = found.values[:2], found.values[2:AFFINE].reshape(2, 2)
    covariance = found.covariance.copy()
    covariance[2:AFFINE, 2:AFFINE] += np.diag(np.repeat((SYSTEMATIC * np.linalg.norm(steps, axis=1)) ** 2, 2))
    sites = np.array([image.site for image in images])
    distortion = distortion_of(found.values, images[0].shape)
    return Tilts(zero, steps, covariance, found.symmetry, found.chi2, sites, distortion)


def _distorted(images: list[Image], plain: Tilts) -> Tilts:
    """The same with a smooth distortion, if images that took no part in its fit are more symmetric with it.

    Each image is compared with its inversion by the values that fit the others. A distortion is believed if the
    logarithm of χ² falls by several times the standard error of its mean over the images.
    """
    values = np.concatenate([plain.zero, plain.steps.ravel()])
    best, before = plain, np.full(len(images), np.nan)
    for order in (1, *ORDERS):
        found = fit(images, np.concatenate([values, np.zeros(2 * term_count(order))]))
        if found is None:
            continue
        after = np.log(left_out(images, found))
        gain = (before - after)[np.isfinite(before - after)]
        if order == 1:
            before = after
            continue
        error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else math.inf
        if len(gain) >= SPARE + AFFINE // 2 + term_count(order) and gain.mean() > BELIEVED * error:
            best, before = _tilts(found, images), after
    return best


def bragg_score(tilts: Tilts, images: Array, sites: IntArray, basis: Array) -> float:
    """Mean correlation of the images with bright bands along their Bragg lines k·g = -|g|² / 2.

    All lengths are taken on the camera, so that neither scale nor crystal is needed.
    """
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    k = tilts.k(np.stack([rows, columns], axis=-1)) @ basis  # on the camera
    width = 0.28 * float(np.linalg.norm(basis[0]))
    scores = []
    for image, site in zip(images, sites, strict=True):
        g = site @ basis
        length = float(np.linalg.norm(g))
        if length < 1e-9:
            continue
        band = np.exp(-(((k @ g) / length + length / 2) ** 2) / width**2)
        known = np.isfinite(image)
        root = np.sqrt(np.clip(smoothed(image, 1.0)[known] - np.nanpercentile(image, 1), 0, None))
        if band[known].std() > 1e-3 and root.std() > 0:
            scores.append(float(np.corrcoef(root, band[known])[0, 1]))
    return float(np.mean(scores)) if scores else 0.0
