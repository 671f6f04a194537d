"""One measured and one simulated image brought together: shift, distortion, blur, scale, background, weights.

The simulated image is the one that is moved, since it can be computed anywhere and has no noise. What is made
small is Z under weights and less a background; see `lacbed.fitting.weighted`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter
from scipy.optimize import least_squares
from scipy.signal import fftconvolve

from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.fitting.weighted import Background, centred, image_residual, regress, weighted_z

Sampler = Callable[[FloatArray, FloatArray], FloatArray]
"""Takes fractional row (ky) and column (kx) numbers in the measured image, gives simulated values; NaN outside."""

MAX_DISTORTION = 0.05
HUBER = 1.345  # standard deviations from which a residual counts less: 95 % efficiency for Gaussian noise


@dataclass(frozen=True)
class Matching:
    """What may be adapted for each reflection.

    Attributes:
        shift: a shift by fractions of a pixel.
        distortion: scale, rotation and shear about the middle of the image, each up to 5 %.
        max_shift: largest shift in pixels.
        background: "constant", or "plane" for one that slopes.
        robust: whether pixels that the simulation misses by far count less (Huber's weights).
    """

    shift: bool = True
    distortion: bool = False
    max_shift: float = 3.0
    background: Background = "constant"
    robust: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: if one is impossible.
        """
        if not (math.isfinite(self.max_shift) and 0 < self.max_shift <= 50):
            raise SettingError(f"max_shift must be above 0 and at most 50 pixels, got {self.max_shift}")
        if self.background not in ("constant", "plane"):
            raise SettingError(f"background must be 'constant' or 'plane', got {self.background!r}")

    @property
    def moves(self) -> bool:
        """Whether the simulated image is moved at all."""
        return self.shift or self.distortion


UNALIGNED = Matching(shift=False)


@dataclass(frozen=True, eq=False)
class Match:
    """How one simulated image was brought to one measured image.

    Attributes:
        z: figure of merit before, with a constant background and equal weights.
        z_aligned: the same measure after moving the simulation.
        z_weighted: after moving, with the background and the weights of the `Matching`.
        shift: by which the simulated image moved, (ky, kx) in pixels.
        distortion: 2 x 2, on (ky, kx); the identity for none.
        scale: measured counts per simulated unit.
        background: constant, slope along ky, slope along kx in counts (per pixel).
        image: the simulated image as moved, in simulated units: (ky, kx).
        weights: 1 for an ordinary pixel, less for one that the simulation misses, 0 for a masked one: (ky, kx).
    """

    z: float
    z_aligned: float
    z_weighted: float
    shift: tuple[float, float]
    distortion: FloatArray
    scale: float
    background: tuple[float, float, float]
    image: FloatArray
    weights: FloatArray

    @property
    def model(self) -> FloatArray:
        """The moved simulation in counts, with scale and background: (ky, kx)."""
        rows, columns = centred(self.image.shape)
        constant, along_y, along_x = self.background
        return np.asarray(self.scale * self.image + constant + along_y * rows + along_x * columns)


def image_sampler(image: FloatArray, blur: float = 0.0) -> Sampler:
    """A sampler of a simulated image on the measured grid, by cubic splines; NaN outside.

    Args:
        image: (ky, kx), finite.
        blur: standard deviation in pixels of a Gaussian to fold it with first.
    """
    smooth = gaussian_filter(image, blur, mode="nearest") if blur > 0 else image
    coefficients = spline_filter(smooth, order=3, mode="mirror")
    height, width = image.shape

    def sample(rows: FloatArray, columns: FloatArray) -> FloatArray:
        values = map_coordinates(coefficients, [rows, columns], order=3, mode="mirror", prefilter=False)
        outside = (rows < -0.5) | (rows > height - 0.5) | (columns < -0.5) | (columns > width - 0.5)
        return np.where(outside, np.nan, values)

    return sample


def match_image(measured: FloatArray, sample: Sampler, matching: Matching) -> Match:
    """Bring a simulated image to a measured one.

    Args:
        measured: counts, NaN in masked pixels: (ky, kx).
        sample: the simulation; see `image_sampler`.
        matching: what may be adapted.
    """
    rows, columns = centred(measured.shape)
    middle = (measured.shape[0] - 1) / 2, (measured.shape[1] - 1) / 2

    def moved(parameters: FloatArray) -> FloatArray:
        shift, matrix = _unpack(parameters)
        y = matrix[0, 0] * rows + matrix[0, 1] * columns + middle[0] - shift[0]
        x = matrix[1, 0] * rows + matrix[1, 1] * columns + middle[1] - shift[1]
        return sample(y, x)

    still = moved(np.zeros(2))
    equal = np.isfinite(measured).astype(float)
    z = weighted_z(measured, still, equal)
    best = np.zeros(2)
    if matching.moves and math.isfinite(z):
        start = _coarse_shift(measured, still, matching.max_shift) if matching.shift else np.zeros(2)
        best = _refine(measured, moved, start, matching, equal)
    image = moved(best)
    weights = equal
    if matching.robust:
        for _ in range(3):
            weights = _huber(measured, image, equal, weights, matching.background)
            if matching.moves:
                best = _refine(measured, moved, best, matching, weights)
                image = moved(best)
    coefficients = regress(measured, image, weights, matching.background)
    shift, matrix = _unpack(best)
    return Match(
        z,
        weighted_z(measured, image, equal),
        weighted_z(measured, image, weights, matching.background),
        shift,
        matrix,
        coefficients[0],
        (coefficients[1], coefficients[2], coefficients[3]),
        image,
        weights,
    )


def _unpack(parameters: FloatArray) -> tuple[tuple[float, float], FloatArray]:
    """The shift and the distortion of a vector (shift) or (shift, four numbers)."""
    matrix = np.eye(2)
    if len(parameters) == 6:
        matrix = matrix + parameters[2:].reshape(2, 2)
    return (float(parameters[0]), float(parameters[1])), matrix


def _coarse_shift(measured: FloatArray, simulated: FloatArray, reach: float) -> FloatArray:
    """The whole-pixel shift of the simulation with the highest correlation, at most `reach`."""
    first, second = (
        np.where(np.isfinite(image), image - np.nanmean(image), 0.0) for image in (measured, simulated)
    )
    score = fftconvolve(first, second[::-1, ::-1], mode="full")
    center = (second.shape[0] - 1, second.shape[1] - 1)
    whole = int(reach)
    near = score[center[0] - whole : center[0] + whole + 1, center[1] - whole : center[1] + whole + 1]
    row, column = np.unravel_index(int(np.argmax(near)), near.shape)
    return np.array([float(row) - whole, float(column) - whole])


def _refine(
    measured: FloatArray,
    moved: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    matching: Matching,
    weights: FloatArray,
) -> FloatArray:
    """The parameters of least Z near the start."""
    size = np.sqrt(weights.size)
    if not matching.shift:
        return _refine_distortion_only(measured, moved, matching, weights)
    full = np.zeros(6 if matching.distortion else 2)
    full[: len(start)] = start
    limit = np.full(len(full), MAX_DISTORTION)
    limit[:2] = matching.max_shift
    step = np.full(len(full), 0.02 / size)
    step[:2] = 0.02

    def residual(parameters: FloatArray) -> FloatArray:
        return image_residual(measured, moved(parameters), weights, matching.background)

    def jacobian(parameters: FloatArray) -> FloatArray:
        inward = np.where(parameters + step > limit, -step, step)
        here = residual(parameters)
        columns = [(residual(parameters + d) - here) / d[i] for i, d in enumerate(np.diag(inward))]
        return np.stack(columns, axis=1)

    inside = np.clip(full, -0.999 * limit, 0.999 * limit)
    options = {"xtol": 1e-4, "ftol": 1e-6, "gtol": 1e-10, "max_nfev": 30}
    found = least_squares(residual, inside, jacobian, (-limit, limit), x_scale=np.maximum(step, 1e-6), **options)
    kept = 2.0 * found.cost < float(np.sum(residual(np.zeros(len(full))) ** 2))
    return np.asarray(found.x if kept else np.zeros(len(full)))


def _refine_distortion_only(
    measured: FloatArray, moved: Callable[[FloatArray], FloatArray], matching: Matching, weights: FloatArray
) -> FloatArray:
    wide = Matching(True, True, 1e-6, matching.background, matching.robust)
    return _refine(measured, moved, np.zeros(2), wide, weights)


def _huber(
    measured: FloatArray, simulated: FloatArray, equal: FloatArray, weights: FloatArray, background: Background
) -> FloatArray:
    """Weights min(1, 1.345 σ / |r|) of the residuals r, σ from their median size."""
    scale, constant, along_y, along_x = regress(measured, simulated, weights, background)
    rows, columns = centred(measured.shape)
    rest = measured - (scale * simulated + constant + along_y * rows + along_x * columns)
    sigma = 1.4826 * float(np.nanmedian(np.abs(rest)))
    if not sigma > 0:
        return equal
    return np.where(
        np.isfinite(rest), equal * np.minimum(1.0, HUBER * sigma / np.maximum(np.abs(rest), 1e-300)), 0.0
    )
