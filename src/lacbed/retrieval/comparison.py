"""How well columns explain the points of a stack, and columns brought to the nearest minimum of that.

Scale and background of each image are unknown, and the best ones are taken (variable projection):

    R² = Σ w² (s_g I + b_g - m)² / Σ w² (m - ⟨m⟩_g)²,

0 for a perfect model, 1 for images without contrast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.retrieval.columns import ALPHA, BLUR, ColumnModel, Columns, columns_of

REACH_T = 0.17
"""A minimum is followed within this distance of ln t."""

WEAKEST, STRONGEST = 2e-3, 0.6  # of A in 1/Å²
NARROWEST, WIDEST = -1.2, 5.0  # of B in Å² beyond that of the shape
MOST_ABSORPTION, MOST_BLUR = 0.25, 2.5  # of α, and of the variance of blur in pixels²

_HOLD_WIDTH, _HOLD_ALPHA, _HOLD_BLUR = 1e-3, 2e-3, 1e-3
"""What B = 1 Å², α wrong by `ALPHA` and blur wrong by `BLUR` cost in R²."""

_STEPS = (0.12, 0.5, 0.6, 0.06, 0.03, 0.3)  # longest step of x and y, ln A, B, ln t, α, blur


class Comparison:
    """Points and model, and the residual between them.

    Args:
        model: what gives intensities.
    """

    def __init__(self, model: ColumnModel) -> None:
        self.model, points = model, model.points
        self.image, self.images = points.pairs[3], points.images
        self.weight = points.weight
        self._order = np.argsort(self.image, kind="stable")
        self._cuts = np.searchsorted(self.image[self._order], np.arange(self.images))
        self._under = self._sums(np.square(self.weight))
        self.target = self._centred(self.weight * points.target)

    def _sums(self, values: FloatArray) -> FloatArray:
        """Sums over every image: (..., point) to (..., image)."""
        return np.asarray(np.add.reduceat(values[..., self._order], self._cuts, axis=-1))

    def _centred(self, values: FloatArray) -> FloatArray:
        """Weighted values less the best background of their image."""
        mean = self._sums(self.weight * values) / self._under
        return np.asarray(values - self.weight * mean[..., self.image])

    def scan(self, columns: Columns, thicknesses: FloatArray) -> FloatArray:
        """R at many thicknesses: (t,)."""
        model = self._centred(self.weight * self.model.series(columns, thicknesses))
        with_model = np.maximum(self._sums(model * self.target), 0.0)
        explained = (np.square(with_model) / (self._sums(np.square(model)) + 1e-12)).sum(axis=-1)
        return np.asarray(np.sqrt(np.maximum(np.square(self.target).sum() - explained, 0.0)))

    def residual(self, columns: Columns) -> float:
        """R."""
        return float(self.scan(columns, np.array([columns.thickness]))[0])

    def fitted(self, columns: Columns) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Measured values less background, those of the model, and the weights: (point,) each."""
        model = self._centred(self.weight * self.model.intensities(columns))
        scale = np.maximum(self._sums(model * self.target), 0.0) / (self._sums(np.square(model)) + 1e-12)
        return self.target, scale[self.image] * model, self.weight

    def unexplained(self, columns: Columns) -> tuple[FloatArray, FloatArray]:
        """Of every image the part of its contrast that is not explained, and its contrast, Σ w² (m - ⟨m⟩)²."""
        measured, model, _ = self.fitted(columns)
        contrast = self._sums(np.square(measured))
        return self._sums(np.square(measured - model)) / np.maximum(contrast, 1e-300), contrast

    def with_slopes(self, columns: Columns) -> tuple[FloatArray, FloatArray]:
        """Residuals whose sum of squares is R², and their slopes: (point,), (4k + 3, point)."""
        value, change = self.model.with_slopes(columns)
        model = self._centred(self.weight * value)
        square = self._sums(np.square(model)) + 1e-12
        scale = (np.maximum(self._sums(model * self.target), 0.0) / square)[self.image]
        slopes = self._centred(change * self.weight) * scale
        slopes -= model * (self._sums(model * slopes) / square)[:, self.image]
        return scale * model - self.target, slopes


def beyond_noise(residual: float, noise: float) -> float:
    """R of a model's own errors: without the part of R² that noise adds, at least a third of R."""
    return math.sqrt(max(residual**2 - noise, residual**2 / 9.0, 1e-6))


def gap_beyond_noise(best: float, next_best: float, noise: float) -> float:
    """The model's own error of the best over that of another one, which is larger by what their R² differ."""
    own = beyond_noise(best, noise) ** 2
    return math.sqrt(own / (own + max(next_best**2 - best**2, 0.0)))


@dataclass(frozen=True, eq=False)
class Minimum:
    """Columns on their way to a minimum.

    Attributes:
        columns: where it stands.
        residual: R there.
        done: whether it has arrived.
        damping: of Levenberg and Marquardt.
        around: ln t that it stays near.
    """

    columns: Columns
    residual: float
    done: bool
    damping: float
    around: float


def begin(columns: Columns, around: float | None = None) -> Minimum:
    """The state before the first step."""
    at = math.log(columns.thickness if around is None else around)
    return Minimum(columns, math.inf, False, 1e-2, at)


def follow(comparison: Comparison, start: Minimum, steps: int, losses: bool, enough: float = 3e-4) -> Minimum:
    """At most so many steps of Levenberg and Marquardt.

    Args:
        comparison: what is made small.
        start: where it stands.
        steps: how many.
        losses: whether absorption and blur are free.
        enough: relative gain of R² in a step below which a minimum is reached.
    """
    x, damping, count = start.columns.vector(), start.damping, len(start.columns)
    low, high = _bounds(count, start.around)
    longest = np.repeat(_STEPS, [2 * count, count, count, 1, 1, 1])
    free = np.arange(len(x) - (0 if losses else 2))
    x = np.clip(x, low, high)
    r, J = comparison.with_slopes(columns_of(x))
    cost = float(r @ r) + _held(x)[0]
    for _ in range(steps):
        _, slope, curvature = _held(x)
        normal = (J @ J.T)[np.ix_(free, free)] + np.diag(curvature[free])
        downhill = -(J @ r + slope)[free]
        gain = 0.0
        for _ in range(5):
            step = np.zeros(len(x))
            step[free] = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-6), downhill)
            step *= min(1.0, 1.0 / max(float(np.max(np.abs(step) / longest)), 1e-12))
            tried = np.clip(x + step, low, high)
            r_new, J_new = comparison.with_slopes(columns_of(tried))
            new = float(r_new @ r_new) + _held(tried)[0]
            if new < cost:
                gain = (cost - new) / cost
                x, r, J, cost, damping = tried, r_new, J_new, new, max(0.3 * damping, 1e-6)
                break
            damping *= 4.0
        if gain < enough:
            return Minimum(columns_of(x), math.sqrt(float(r @ r)), True, 1e-2, start.around)
    return Minimum(columns_of(x), math.sqrt(float(r @ r)), False, damping, start.around)


def _bounds(count: int, around: float) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest parameters."""
    sizes = [2 * count, count, count, 1, 1, 1]
    low = [-np.inf, math.log(WEAKEST), NARROWEST, around - REACH_T, 0.0, 0.0]
    high = [np.inf, math.log(STRONGEST), WIDEST, around + REACH_T, MOST_ABSORPTION, MOST_BLUR]
    return np.repeat(low, sizes), np.repeat(high, sizes)


def _held(x: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """A weak prior on B, α and blur: its cost, half its slope and half its curvature."""
    count = (len(x) - 3) // 4
    curvature = np.repeat([0.0, _HOLD_WIDTH], [3 * count, count])
    curvature = np.append(curvature, [0.0, _HOLD_ALPHA / ALPHA**2, _HOLD_BLUR / BLUR**2])
    off = np.append(x[: 4 * count], [0.0, x[-2] - ALPHA, x[-1] - BLUR])
    slope = curvature * off
    return float(slope @ off), slope, curvature
