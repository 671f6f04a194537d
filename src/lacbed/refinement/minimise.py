"""Library minimisers on the objective: Levenberg-Marquardt's successor with bounds, and L-BFGS-B."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import least_squares, minimize
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.model import BlochModel, Model, StateOf, images
from lacbed.refinement.objective import Fit, Target, compare, residual_of, z_of
from lacbed.refinement.parameter import Parameter
from lacbed.refinement.uncertainties import relative_weights, unit_variance
from lacbed.state import ModelState


@dataclass(frozen=True, eq=False)
class Part:
    """One stack of images in a fit.

    Attributes:
        model: what gives images.
        target: what was measured.
        state_of: the state of a vector of the stack's own parameters.
        places: of these among all parameters of the fit.
        moves: of the images, or None.
    """

    model: Model
    target: Target
    state_of: StateOf
    places: Sequence[int]
    moves: Tensor | None = None

    def compared(self, values: FloatArray, chosen: Sequence[int] | None = None, with_slopes: bool = False) -> Fit:
        """The stack at values of all parameters of the fit, with slopes by those of its own that are chosen.

        Args:
            values: of all parameters.
            chosen: numbers among `places`; None for all of them.
            with_slopes: whether the Jacobian is wanted.
        """
        mine = torch.as_tensor(values[np.array(self.places, dtype=int)])
        place = torch.arange(len(mine)) if chosen is None else torch.tensor(list(chosen), dtype=torch.long)

        def state_of(some: Tensor) -> ModelState:
            return self.state_of(mine.index_put((place,), some))

        return compare(self.model, self.target, state_of, mine[place], self.moves, with_slopes)


class Minimiser:
    """The objective as the libraries want it; it remembers the best parameters, whatever happens later.

    Stacks of images are weighted by the inverse of the variance of an independent residual in the first
    evaluation, the first stack by 1, and priors by that variance of the first stack; `unit` is the root of it.
    `failures` counts the evaluations that gave no finite cost.

    Args:
        parts: the stacks.
        parameters: all of them, with bounds.
        start: their values.
        active: which of them may change.
        better: called with parameters and mean Z whenever they are better than before.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        parameters: Sequence[Parameter],
        start: FloatArray,
        active: Sequence[int],
        better: Callable[[FloatArray, float], None] | None = None,
    ) -> None:
        self.parts, self.better = list(parts), better
        self.active = list(active)
        self.best = np.array(start, dtype=float)
        self.best_cost = np.inf
        self.failures = 0
        low = np.array([parameters[i].low for i in self.active])
        high = np.array([parameters[i].high for i in self.active])
        self.low, self.high = low, np.maximum(high, low + 1e-9)
        margin = 1e-6 * (self.high - self.low)
        chosen = [parameters[i] for i in self.active]
        self.expected = np.array([p.expected for p in chosen])
        self.prior = np.array([1.0 / p.spread for p in chosen])
        self.unit, self.weights = 0.0, np.ones(len(self.parts))
        self.start = np.clip(self.best[self.active], self.low + margin, self.high - margin)
        self.scale = 0.05 * (self.high - self.low)
        number = {i: n for n, i in enumerate(self.active)}
        self._own = [[j for j, i in enumerate(part.places) if i in number] for part in self.parts]
        self._columns = [
            [number[part.places[j]] for j in own] for part, own in zip(self.parts, self._own, strict=True)
        ]

    def full(self, active: FloatArray) -> FloatArray:
        """All parameters for those that may change."""
        values = self.best.copy()
        values[self.active] = active
        return values

    def fit(self, active: FloatArray, with_slopes: bool = False) -> list[Fit]:
        """Models against targets, one of each stack; a better state than before is remembered."""
        values = self.full(active)
        found = [
            part.compared(values, own, with_slopes and bool(own))
            for part, own in zip(self.parts, self._own, strict=True)
        ]
        if not self.unit and (self.prior.any() or len(found) > 1):
            units = [unit_variance(p.target, f.residual) for p, f in zip(self.parts, found, strict=True)]
            self.unit, self.weights = math.sqrt(units[0]), relative_weights(units)
        cost = sum(w * f.cost for w, f in zip(self.weights.tolist(), found, strict=True))
        self.remember(active, cost + float(np.square(self.pull(active)).sum()), [f.images for f in found])
        return found

    def residual(self, active: FloatArray) -> FloatArray:
        """The weighted residuals of all stacks, then those of the priors."""
        found = self.fit(active)
        rows = [
            root * f.residual.reshape(-1).numpy() for root, f in zip(np.sqrt(self.weights), found, strict=True)
        ]
        return np.concatenate(
            [np.nan_to_num(np.concatenate(rows), nan=1e3, posinf=1e3, neginf=-1e3), self.pull(active)]
        )

    def slopes(self, active: FloatArray) -> FloatArray:
        """Their derivatives by the active parameters: (residual, active)."""
        found = self.fit(active, with_slopes=True)
        rows = [np.zeros((f.residual.numel(), len(active))) for f in found]
        for root, f, row, columns in zip(np.sqrt(self.weights), found, rows, self._columns, strict=True):
            if f.slopes is not None:
                row[:, columns] = root * np.nan_to_num(f.slopes.reshape(len(columns), -1).T.numpy())
        return np.concatenate([*rows, np.diag(self.unit * self.prior)])

    def pull(self, active: FloatArray) -> FloatArray:
        """The residuals of the priors: (active,)."""
        return np.asarray(self.unit * self.prior * (active - self.expected))

    def remember(self, active: FloatArray, cost: float, models: Sequence[Tensor]) -> None:
        """Keep the parameters if they are the best so far; count what is no number."""
        if not np.isfinite(cost):
            self.failures += 1
        elif cost < self.best_cost:
            self.best_cost, self.best = cost, self.full(active)
            if self.better is not None:
                z = [z_of(model, part.target) for model, part in zip(models, self.parts, strict=True)]
                self.better(self.best, float(torch.cat(z).nanmean()))


def least_squares_fit(minimiser: Minimiser, steps: int, tolerance: float = 2e-4) -> FloatArray:
    """All parameters at the minimum found by `scipy.optimize.least_squares` (trust region, bounds).

    It ends when a step lowers the cost by less than this part of it: of n counts, χ² by n times as much.
    """
    if minimiser.active:
        least_squares(
            minimiser.residual,
            minimiser.start,
            minimiser.slopes,
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

    def value(scaled: FloatArray) -> tuple[float, FloatArray]:
        active = minimiser.low + scaled * (minimiser.high - minimiser.low)
        leaf = torch.as_tensor(active).requires_grad_()
        values = torch.as_tensor(minimiser.best).index_put((torch.tensor(minimiser.active),), leaf)
        cost, models = torch.square(prior * (leaf - centre)).sum(), []
        for part, weight in zip(minimiser.parts, minimiser.weights.tolist(), strict=True):
            assert isinstance(part.model, BlochModel)
            models.append(images(part.model.plan, part.state_of(values[list(part.places)])))
            cost = cost + weight * torch.square(residual_of(part.target, models[-1])).sum()
        cost.backward()  # type: ignore[no-untyped-call]
        minimiser.remember(active, float(cost.detach()), [model.detach() for model in models])
        assert leaf.grad is not None
        return float(cost.detach()), leaf.grad.numpy() * (minimiser.high - minimiser.low)

    if minimiser.prior.any() or len(minimiser.parts) > 1:
        minimiser.fit(minimiser.start)  # finds the weights
    prior, centre = torch.as_tensor(minimiser.unit * minimiser.prior), torch.as_tensor(minimiser.expected)
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
