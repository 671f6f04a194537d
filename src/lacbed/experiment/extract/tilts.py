"""Tilts in units of the lattice, from the images alone.

For one Laue zone and a flat foil, reciprocity makes every dark-field image symmetric about the middle of its Bragg
line: I_g(k) = I_g(-k - g). The centres of these inversions are t_g = t_0 - ½ Σ_i n_i τ_i, where n are the
indices of the disc in the basis of the lattice and τ_i is by how many tilts k changes over one basis vector. Two
vectors and a point, six numbers, follow from all images together, whatever the crystal and without any
simulation: step, rotation, flip and shear of the axes of the scan, and its middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.signal import fftconvolve

from lacbed.errors import SettingError
from lacbed.experiment.extract.scan import smoothed

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

COARSE = 36
"""Tilts along a side in the first search."""

OVERLAP = 0.12
"""Part of an image that must have a partner."""

SEARCHED, REFINED = 9, 30
"""Images in the first search and in the last fit at most."""

RANGE = (0.35, 9.0)
"""Half-widths of a scan in units of the shortest vector between discs that are tried."""

SYSTEMATIC = 3e-4
"""Relative error of the steps beyond what noise and differences between images tell: of three series made by
independent code they were wrong by 0.016, 0.024 and 0.043 %, and those said 0.01 %."""

FOLLOWED = 8
LEAST = 0.25
"""Mean correlation of images with their inversion below which no geometry is believed."""


@dataclass(frozen=True, eq=False)
class Tilts:
    """How the tilts lie over the lattice.

    Attributes:
        zero: place of k = 0 in the scan, (row, column).
        steps: tilts, (row, column), per basis vector of the lattice, as rows: (2, 2).
        covariance: of zero and steps: (6, 6).
        symmetry: mean correlation of the images with their inversion.
        chi2: per pair of pixels of what an image differs from its inversion.
        sites: of the images that were used: (image, 2).
    """

    zero: Array
    steps: Array
    covariance: Array
    symmetry: float
    chi2: float
    sites: IntArray

    def centre(self, sites: IntArray) -> Array:
        """Of the inversion of the image of each site, (row, column) in tilts."""
        return np.asarray(self.zero - 0.5 * sites @ self.steps)

    def with_origin(self, site: Array) -> Tilts:
        """The same with another disc as the direct beam."""
        return replace(self, zero=self.zero - 0.5 * site @ self.steps)


def find_tilts(images: Array, variance: Array, sites: IntArray, basis: Array) -> list[Tilts]:
    """The tilts that the inversions of the images show, the best first.

    Args:
        images: electrons, NaN where masked: (site, row, column).
        variance: of them.
        sites: indices of the images, the direct beam (0, 0): (site, 2).
        basis: of the lattice on the camera as rows: (2, 2).

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
    rough: list[Tilts] = []
    for zero, steps in starts:
        found = _refined(small, noise, sites[few], zero, steps)
        if found is not None and not any(_same(found, other) for other in rough):
            rough.append(found)
    rough.sort(key=lambda f: -_merit(f, small, sites[few], basis))
    fits = []
    for found in rough[:2]:
        fine = _refined(
            images[use], variance[use], sites[use], (found.zero + 0.5) * factor - 0.5, found.steps * factor
        )
        fits += [] if fine is None else [fine]
    fits.sort(key=lambda f: -_merit(f, images[use], sites[use], basis))
    if not fits or fits[0].symmetry < LEAST:
        raise SettingError(
            "the images of the discs show no common inversion about their Bragg lines, so that tilt "
            "step and rotation "
            "cannot be found; check the order and the shape of the scan, and that the zone axis lies within it"
        )
    return fits


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


def _refined(images: Array, variance: Array, sites: IntArray, zero: Array, steps: Array) -> Tilts | None:
    """Least squares of each image minus its inversion, by Gauss-Newton; None where it runs away."""
    smooth = [np.where(np.isfinite(i), smoothed(i, 0.7), np.nan) for i in images]
    filled = [np.where(np.isfinite(i), i, np.nanmedian(i)) for i in smooth]
    slopes = [np.stack(list(np.gradient(f))) for f in filled]
    values = np.concatenate([zero, steps.ravel()])
    size = np.array(images.shape[1:])
    covariance: Array = np.zeros((6, 6))
    chi2, last = math.inf, math.inf
    for _ in range(12):
        normal, pulls, cost, count = np.zeros((6, 6)), list[Array](), 0.0, 0
        for f, g, s, v, site in zip(filled, slopes, smooth, variance, sites, strict=True):
            pair = _pairs(values, site, size)
            if pair is None:
                continue
            here, there = pair
            partner = map_coordinates(f, there.T, order=3, mode="nearest")
            own = s[here[:, 0], here[:, 1]]
            noise = v[here[:, 0], here[:, 1]]
            known = np.isfinite(own) & np.isfinite(noise)
            known &= map_coordinates(np.isfinite(s).astype(float), there.T, order=1) > 0.99
            if known.sum() < 20:
                continue
            # smoothing leaves 1 / (4 π σ²) of the variance, but correlates as many neighbours
            sigma2 = 2 * noise[known] * 1.0 + (0.01 * np.abs(own[known])) ** 2
            rest = (own - partner)[known]
            slope = np.stack([map_coordinates(a, there[known].T, order=1) for a in g])  # (2, pair)
            J = np.concatenate([2 * slope, -site[0] * slope, -site[1] * slope])  # d partner / d value
            normal += (J / sigma2) @ J.T
            pulls.append((J / sigma2) @ rest)
            cost += float((rest**2 / sigma2).sum())
            count += int(known.sum())
        if count < 60:
            return None
        chi2 = cost / count
        covariance = np.asarray(np.linalg.pinv(normal, rcond=1e-12), dtype=np.float64)
        step = covariance @ np.sum(pulls, axis=0)
        longest = float(np.abs(step[:2]).max()) + float(np.abs(step[2:]).max())
        values = values + step * min(1.0, 2.0 / max(longest, 1e-9))
        if np.any(np.abs(values[:2] - size / 2) > 2 * size):
            return None
        if longest < 1e-3 or (longest < 0.02 and abs(chi2 - last) < 1e-4 * chi2):
            break
        last = chi2
    zero, steps = values[:2], values[2:].reshape(2, 2)
    if abs(np.linalg.det(steps)) < 0.5:
        return None
    kept = 1 / (4 * math.pi * 0.7**2)
    # every pair is there twice; errors of the slopes' own noise are small beside it
    plain = covariance * 2.0 * max(1.0, chi2 / kept)
    symmetry = _symmetry(filled, smooth, sites, values, size)
    total = _widest(plain, covariance, np.array(pulls))
    total[2:, 2:] += np.diag(np.repeat((SYSTEMATIC * np.linalg.norm(steps, axis=1)) ** 2, 2))
    return Tilts(zero, steps, total, symmetry, chi2 / kept, sites)


def _widest(plain: Array, inverse: Array, pulls: Array) -> Array:
    """The larger, value by value, of the covariance of independent pixels and of that of independent images.

    What is left of an image is mostly systematic (drift, distortion, blur) and the same in many pixels; how far
    each image pulls the values, (image, value), tells what that does: a sandwich (White, Econometrica 48 (1980)
    817).
    """
    count = len(pulls)
    if count < 4:
        return plain
    clustered = inverse @ (pulls.T @ pulls) @ inverse * count / (count - 3)
    wider = np.sqrt(np.maximum(1.0, np.diag(clustered) / np.maximum(np.diag(plain), 1e-300)))
    return np.asarray(plain * np.outer(wider, wider))


def _pairs(values: Array, site: IntArray, size: IntArray) -> tuple[IntArray, Array] | None:
    """Pixels and their partners under the inversion of one image, or None if too few have one."""
    sum_ = 2 * values[:2] - site @ values[2:].reshape(2, 2)
    low, high = (
        np.maximum(0, np.ceil(sum_ - size + 1)).astype(int),
        np.minimum(size - 1, np.floor(sum_)).astype(int),
    )
    if np.any(high - low < 2) or np.prod(high - low + 1) < OVERLAP * np.prod(size):
        return None
    here = np.moveaxis(np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1], 0, -1).reshape(-1, 2)
    return here, sum_ - here


def _symmetry(filled: list[Array], smooth: list[Array], sites: IntArray, values: Array, size: IntArray) -> float:
    """Mean correlation of the images with their inversions, weighted by the root of their overlap."""
    total = weight = 0.0
    for f, s, site in zip(filled, smooth, sites, strict=True):
        pair = _pairs(values, site, size)
        if pair is None:
            continue
        here, there = pair
        own, partner = s[here[:, 0], here[:, 1]], map_coordinates(f, there.T, order=1, mode="nearest")
        known = np.isfinite(own)
        if known.sum() < 20 or own[known].std() == 0 or partner[known].std() == 0:
            continue
        share = math.sqrt(known.mean() * len(own) / np.prod(size))
        total += share * float(np.corrcoef(own[known], partner[known])[0, 1])
        weight += share
    return total / max(weight, 0.25 * math.sqrt(len(sites))) if weight else 0.0


def bragg_score(tilts: Tilts, images: Array, sites: IntArray, basis: Array) -> float:
    """Mean correlation of the images with bright bands along their Bragg lines k·g = -|g|² / 2.

    All lengths are taken on the camera, so that neither scale nor crystal is needed.
    """
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    at = np.stack([rows, columns], axis=-1) - tilts.zero
    k = at @ np.linalg.inv(tilts.steps) @ basis  # on the camera
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
