"""Least squares of images minus their inversions: middle, steps and distortion of the scan.

Let q = p + d(p) be the place of a tilt p in an even scan. The partner p' of p in the image of a disc with the
indices n has q + q' = 2 t_0 - Σ_i n_i τ_i, where t_0 is the place of k = 0 and τ_i are the tilts per basis vector
of the lattice. t_0, τ and the coefficients of d follow from all images together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, map_coordinates

from lacbed.experiment.extract.distortion import Distortion, terms
from lacbed.experiment.extract.scan import smoothed

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

OVERLAP = 0.12
"""Part of an image that must have a partner."""

SMOOTH = 0.7
"""Tilts over which images are smoothed (σ)."""

KEPT = 1 / (4 * math.pi * SMOOTH**2)
"""What that leaves of the variance."""

FEW, FEW_IN_ALL = 20, 60
"""Pairs of pixels that an image, and all images together, must have."""

AFFINE = 6


class Image(NamedTuple):
    """An image, ready to be compared with its inversion."""

    site: IntArray | Array
    smooth: Array
    filled: Array
    slopes: Array
    variance: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the scan."""
        return self.smooth.shape[0], self.smooth.shape[1]


class Fit(NamedTuple):
    """The least squares.

    Attributes:
        values: t_0, τ, and the coefficients of the distortion, all (row, column): (6 + 2 · term,).
        covariance: of them.
        without: the values that all images but one give, to first order: (image, value).
        symmetry: mean correlation of the images with their inversion.
        chi2: per pair of pixels, 1 if nothing but noise is left.
    """

    values: Array
    covariance: Array
    without: Array
    symmetry: float
    chi2: float


def prepare(images: Array, variance: Array, sites: IntArray | Array) -> list[Image]:
    """Images (site, row, column), NaN where masked, smoothed and with their slopes.

    Beside the border and beside masked pixels an average over neighbours is one-sided, unlike that of the partner;
    such pixels are left out.
    """
    out = []
    for image, noise, site in zip(images, variance, sites, strict=True):
        known = np.isfinite(image)
        smooth = np.where(known, smoothed(image, SMOOTH), np.nan)
        filled = np.where(known, smooth, np.nanmedian(smooth))
        whole = binary_erosion(known, np.ones((3, 3)))
        out.append(
            Image(site, np.where(whole, smooth, np.nan), filled, np.stack(list(np.gradient(filled))), noise)
        )
    return out


def fit(images: list[Image], values: Array) -> Fit | None:
    """Gauss-Newton from values that are nearly right; None where it runs away."""
    size, n = np.array(images[0].shape), len(values)
    chi2, last = math.inf, math.inf
    for _ in range(12):
        normals, pulls = np.zeros((len(images), n, n)), np.zeros((len(images), n))
        cost, number = 0.0, np.zeros(len(images), dtype=np.int64)
        for i, image in enumerate(images):
            pairs = _differences(image, values)
            if pairs is None:
                continue
            here, there, rest, sigma2 = pairs
            slope = np.stack([map_coordinates(a, there.T, order=1) for a in image.slopes])  # (2, pair)
            J = np.concatenate([w * slope for w in _weights(image, here, there, values)])  # d partner / d value
            normals[i], pulls[i] = (J / sigma2) @ J.T, (J / sigma2) @ rest
            cost, number[i] = cost + float((rest**2 / sigma2).sum()), len(rest)
        if number.sum() < FEW_IN_ALL:
            return None
        chi2 = cost / int(number.sum())
        covariance = _inverse(normals.sum(axis=0))
        step, before = covariance @ pulls.sum(axis=0), values
        longest = float(np.abs(step[:2]).max()) + float(np.abs(step[2:]).max())
        values = values + step * min(1.0, 2.0 / max(longest, 1e-9))
        if np.any(np.abs(values[:2] - size / 2) > 2 * size):
            return None
        if longest < 1e-3 or (longest < 0.02 and abs(chi2 - last) < 1e-4 * chi2):
            break
        last = chi2
    if abs(np.linalg.det(values[2:AFFINE].reshape(2, 2))) < 0.5:
        return None
    # every pair is there twice; errors of the slopes' own noise are small beside it
    plain = covariance * 2.0 * max(1.0, chi2 / KEPT)
    wide = _widest(plain, covariance, pulls[number > 0])
    without = before + np.stack(
        [_inverse(normals.sum(axis=0) - N) @ (pulls.sum(axis=0) - p) for N, p in zip(normals, pulls, strict=True)]
    )
    return Fit(values, wide, without, _symmetry(images, values), chi2 / KEPT)


def _inverse(normal: Array) -> Array:
    return np.asarray(np.linalg.pinv(normal, rcond=1e-12), dtype=np.float64)


def left_out(images: list[Image], found: Fit) -> Array:
    """χ² per pair of pixels of each image with the values that fit the others; NaN without pairs: (image,)."""
    out = np.full(len(images), np.nan)
    for i, (image, values) in enumerate(zip(images, found.without, strict=True)):
        pairs = _differences(image, values)
        if pairs is not None:
            _, _, rest, sigma2 = pairs
            out[i] = float((rest**2 / sigma2).mean()) / KEPT
    return out


def distortion_of(values: Array, shape: tuple[int, int]) -> Distortion:
    """The distortion among the values."""
    return Distortion(values[AFFINE:].reshape(-1, 2), shape)


def _differences(image: Image, values: Array) -> tuple[Array, Array, Array, Array] | None:
    """Places, their partners, image minus inversion and the variance of that, for pairs that are known."""
    pairs = _pairs(image, values)
    if pairs is None:
        return None
    here, there = pairs
    own, noise = (a[here[:, 0], here[:, 1]] for a in (image.smooth, image.variance))
    known = np.isfinite(own) & np.isfinite(noise)
    known &= map_coordinates(np.isfinite(image.smooth).astype(float), there.T, order=1) > 0.99
    if known.sum() < FEW:
        return None
    here, there, own = here[known], there[known], own[known]
    partner = map_coordinates(image.filled, there.T, order=3, mode="nearest")
    # smoothing leaves KEPT of the variance, but correlates as many neighbours
    return here.astype(float), there, own - partner, 2 * noise[known] + (0.01 * np.abs(own)) ** 2


def _weights(image: Image, here: Array, there: Array, values: Array) -> list[Array | float]:
    """What the partner moves by with t_0, τ_1, τ_2 and each coefficient."""
    number = (len(values) - AFFINE) // 2
    bent = terms(here, image.shape, number) + terms(there, image.shape, number)
    return [2.0, -float(image.site[0]), -float(image.site[1]), *(-bent).T]


def _pairs(image: Image, values: Array) -> tuple[IntArray, Array] | None:
    """Pixels and their partners under the inversion of one image, or None if too few have one."""
    size = np.array(image.shape)
    sum_ = 2 * values[:2] - image.site @ values[2:AFFINE].reshape(2, 2)
    low, high = (
        np.maximum(0, np.ceil(sum_ - size + 1)).astype(int),
        np.minimum(size - 1, np.floor(sum_)).astype(int),
    )
    if np.any(high - low < 2) or np.prod(high - low + 1) < OVERLAP * np.prod(size):
        return None
    here = np.moveaxis(np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1], 0, -1).reshape(-1, 2)
    if len(values) == AFFINE:
        return here, sum_ - here
    distortion = distortion_of(values, image.shape)
    return here, distortion.recorded(sum_ - distortion.even(here))


def _widest(plain: Array, inverse: Array, pulls: Array) -> Array:
    """The larger, value by value, of the covariance of independent pixels and of that of independent images.

    What is left of an image is mostly systematic (drift, distortion, blur) and the same in many pixels; how far
    each image pulls the values, (image, value), tells what that does: a sandwich (White, Econometrica 48 (1980)
    817).
    """
    number, each = len(pulls), len(plain) // 2  # an image says two numbers about the place of its centre
    if number <= each:
        return plain
    clustered = inverse @ (pulls.T @ pulls) @ inverse * number / (number - each)
    wider = np.sqrt(np.maximum(1.0, np.diag(clustered) / np.maximum(np.diag(plain), 1e-300)))
    return np.asarray(plain * np.outer(wider, wider))


def _symmetry(images: list[Image], values: Array) -> float:
    """Mean correlation of the images with their inversions, weighted by the root of their overlap."""
    total = weight = 0.0
    for image in images:
        pair = _pairs(image, values)
        if pair is None:
            continue
        here, there = pair
        own = image.smooth[here[:, 0], here[:, 1]]
        partner = map_coordinates(image.filled, there.T, order=1, mode="nearest")
        known = np.isfinite(own)
        if known.sum() < FEW or own[known].std() == 0 or partner[known].std() == 0:
            continue
        share = math.sqrt(known.mean() * len(own) / np.prod(image.shape))
        total += share * float(np.corrcoef(own[known], partner[known])[0, 1])
        weight += share
    return total / max(weight, 0.25 * math.sqrt(len(images))) if weight else 0.0
