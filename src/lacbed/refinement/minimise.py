"""Library minimisers on the objective: Levenberg-Marquardt's successor with bounds, and L-BFGS-B."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import least_squares, minimize
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.model import BlochModel, Model, StateOf, images
from lacbed.refinement.objective import Fit, Target, compare, mean_z, residual_of
from lacbed.refinement.parameter import Parameter
from lacbed.refinement.uncertainties import unit_variance
from lacbed.state import ModelState


class Minimiser:
    """The objective as the libraries want it; it remembers the best parameters, whatever happens later.

    `failures` counts the evaluations that gave no finite cost. Priors are weighted by `unit`, the root of the
    variance of an independent residual of the first evaluation.

    Args:
        model: what gives images.
        target: what was measured.
        state_of: the state of all parameters.
        parameters: all of them, with bounds.
        start: their values.
        active: which of them may change.
        moves: of the images, or None.
        better: called with parameters and mean Z whenever they are better than before.
    """

    def __init__(
        self,
        model: Model,
        target: Target,
        state_of: StateOf,
        parameters: Sequence[Parameter],
        start: FloatArray,
        active: Sequence[int],
        moves: Tensor | None = None,
        better: Callable[[FloatArray, float], None] | None = None,
    ) -> None:
        self.model, self.target, self.moves, self.better = model, target, moves, better
        self.active = list(active)
        self.best = np.array(start, dtype=float)
        self.best_cost = np.inf
        self.failures = 0
        self._all_state_of = state_of
        low = np.array([parameters[i].low for i in self.active])
        high = np.array([parameters[i].high for i in self.active])
        self.low, self.high = low, np.maximum(high, low + 1e-9)
        margin = 1e-6 * (self.high - self.low)
        chosen = [parameters[i] for i in self.active]
        self.expected = np.array([p.expected for p in chosen])
        self.prior = np.array([1.0 / p.spread for p in chosen])
        self.unit = 0.0
        self.start = np.clip(self.best[self.active], self.low + margin, self.high - margin)
        self.scale = 0.05 * (self.high - self.low)

    def full(self, active: FloatArray) -> FloatArray:
        """All parameters for those that may change."""
        values = self.best.copy()
        values[self.active] = active
        return values

    def state_of(self, active: Tensor) -> ModelState:
        """The state of the active parameters, differentiable."""
        fixed = torch.as_tensor(self.best)
        place = torch.tensor(self.active)
        return self._all_state_of(fixed.index_put((place,), active))

    def fit(self, active: FloatArray, with_slopes: bool = False) -> Fit:
        """Model against target; a better one than before is remembered."""
        result = compare(self.model, self.target, self.state_of, torch.as_tensor(active), self.moves, with_slopes)
        if not self.unit and self.prior.any():
            self.unit = math.sqrt(unit_variance(self.target, result.residual))
        self.remember(active, result.cost + float(np.square(self.pull(active)).sum()), result.images)
        return result

    def pull(self, active: FloatArray) -> FloatArray:
        """The residuals of the priors: (active,)."""
        return np.asarray(self.unit * self.prior * (active - self.expected))

    def remember(self, active: FloatArray, cost: float, model: Tensor) -> None:
        """Keep the parameters if they are the best so far; count what is no number."""
        if not np.isfinite(cost):
            self.failures += 1
        elif cost < self.best_cost:
            self.best_cost, self.best = cost, self.full(active)
            if self.better is not None:
                self.better(self.best, mean_z(model, self.target))


def least_squares_fit(minimiser: Minimiser, steps: int, tolerance: float = 2e-4) -> FloatArray:
    """All parameters at the minimum found by `scipy.optimize.least_squares` (trust region, bounds).

    It ends when a step lowers the cost by less than this part of it: of n counts, χ² by n times as much.
    """
    if not minimiser.active:
        return minimiser.best

    def residual(active: FloatArray) -> FloatArray:
        values = minimiser.fit(active).residual.reshape(-1).numpy()
        values = np.nan_to_num(values, nan=1e3, posinf=1e3, neginf=-1e3)
        return np.concatenate([values, minimiser.pull(active)])

    def slopes(active: FloatArray) -> FloatArray:
        found = minimiser.fit(active, with_slopes=True).slopes
        assert found is not None
        values = np.nan_to_num(found.reshape(len(active), -1).T.numpy())
        return np.concatenate([values, np.diag(minimiser.unit * minimiser.prior)])

    least_squares(
        residual,
        minimiser.start,
        slopes,
        (minimiser.low, minimiser.high),
        x_scale=minimiser.scale,
        max_nfev=steps,
        ftol=tolerance,
        xtol=1e-6,
        gtol=1e-8,
    )
    return minimiser.best


def quasi_newton_fit(minimiser: Minimiser, steps: int) -> FloatArray:
    """All parameters at the minimum found by L-BFGS-B: one gradient per step for any number of parameters."""
    bloch = minimiser.model
    assert isinstance(bloch, BlochModel)

    def value(scaled: FloatArray) -> tuple[float, FloatArray]:
        active = minimiser.low + scaled * (minimiser.high - minimiser.low)
        leaf = torch.as_tensor(active).requires_grad_()
        model = images(bloch.plan, minimiser.state_of(leaf))
        cost = torch.square(residual_of(minimiser.target, model)).sum()
        cost = cost + torch.square(weights * (leaf - centre)).sum()
        cost.backward()  # type: ignore[no-untyped-call]
        minimiser.remember(active, float(cost.detach()), model.detach())
        assert leaf.grad is not None
        return float(cost.detach()), leaf.grad.numpy() * (minimiser.high - minimiser.low)

    if minimiser.prior.any():
        minimiser.fit(minimiser.start)  # finds the weight of the priors
    weights, centre = torch.as_tensor(minimiser.unit * minimiser.prior), torch.as_tensor(minimiser.expected)
    start = (minimiser.start - minimiser.low) / (minimiser.high - minimiser.low)
    minimize(
        value,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * len(start),
        options={"maxiter": 3 * steps, "ftol": 1e-5},
    )
    return minimiser.best
