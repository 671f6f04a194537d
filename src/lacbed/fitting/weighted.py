"""Z and linear regression of two images under weights, each less its best background.

    Z = 1 - Σ w m̃ s̃ / sqrt(Σ w m̃² Σ w s̃²)

with m̃, s̃ the images less their best background (a constant, or a plane) under the weights w. With equal weights
and a constant background that is `lacbed.zncc_loss`.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from lacbed.crystals.cell import FloatArray

Background = Literal["constant", "plane"]


def weighted_z(
    measured: FloatArray, simulated: FloatArray, weights: FloatArray, background: Background = "constant"
) -> float:
    """Z of two images under weights, each less its best background; NaN without a common pixel.

    A constant image has no correlation with anything: Z = 1.
    """
    first, second = _normalised_pair(measured, simulated, weights, background)
    if first.size == 0:
        return math.nan
    return float(0.5 * np.sum((first - second) ** 2)) if np.any(first) and np.any(second) else 1.0


def regress(
    measured: FloatArray, simulated: FloatArray, weights: FloatArray, background: Background = "constant"
) -> tuple[float, float, float, float]:
    """Least squares of measured = scale · simulated + constant + slopes · (ky, kx): these four numbers."""
    used = _used(measured, simulated, weights)
    rows, columns = centred(measured.shape)
    basis = [simulated[used], np.ones(int(used.sum()))]
    if background == "plane":
        basis += [rows[used], columns[used]]
    root = np.sqrt(weights[used])
    if root.size <= len(basis):
        return math.nan, math.nan, math.nan, math.nan
    found = np.linalg.lstsq(np.stack(basis, axis=1) * root[:, None], measured[used] * root, rcond=None)[0]
    numbers = [float(v) for v in found] + [0.0] * (4 - len(found))
    return numbers[0], numbers[1], numbers[2], numbers[3]


def image_residual(
    measured: FloatArray,
    simulated: FloatArray,
    weights: FloatArray | None = None,
    background: Background = "constant",
) -> FloatArray:
    """(m̂ - ŝ) / √2 as a vector of all pixels, so that its square sum is Z; 0 in pixels that are not used."""
    out = np.zeros(measured.size)
    weights = np.ones(measured.shape) if weights is None else weights
    used = _used(measured, simulated, weights)
    first, second = _normalised_pair(measured, simulated, weights, background)
    if first.size:
        out[used.ravel()] = (first - second) / math.sqrt(2.0)
    return out


def centred(shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Row and column numbers from the middle of an image."""
    y, x = np.indices(shape, dtype=float)
    return np.asarray(y - (shape[0] - 1) / 2), np.asarray(x - (shape[1] - 1) / 2)


def _used(measured: FloatArray, simulated: FloatArray, weights: FloatArray) -> npt.NDArray[np.bool_]:
    return np.isfinite(measured) & np.isfinite(simulated) & (weights > 0)


def _normalised_pair(
    measured: FloatArray, simulated: FloatArray, weights: FloatArray, background: Background
) -> tuple[FloatArray, FloatArray]:
    """Both images at the common pixels, times the root of the weights, less background, with unit norm."""
    used = _used(measured, simulated, weights)
    root = np.sqrt(weights[used])
    basis = [root]
    if background == "plane":
        rows, columns = centred(measured.shape)
        basis += [root * rows[used], root * columns[used]]
    if root.size <= len(basis):
        return np.empty(0), np.empty(0)
    orthogonal, _ = np.linalg.qr(np.stack(basis, axis=1))
    first, second = (_unit(image[used] * root, orthogonal) for image in (measured, simulated))
    return first, second


def _unit(values: FloatArray, orthogonal: FloatArray) -> FloatArray:
    size = float(np.abs(values).max())
    if size == 0.0:
        return values
    rest = values / size
    rest = rest - orthogonal @ (orthogonal.T @ rest)
    norm = float(np.linalg.norm(rest))
    flat = norm <= 1e-12 * math.sqrt(rest.size)
    return np.zeros_like(rest) if flat else np.asarray(rest / norm)
