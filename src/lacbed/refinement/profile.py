"""The likelihood along one parameter: all others are refined again at each of its values.

With S the sum of squares (stacks and priors as in the fit), S₀ its least value, v the variance of an independent
residual, and f the variance of the parameter by `lacbed.refinement.uncertainties.covariance` over v H⁻¹ (more or
less than 1, as what is left differs from image to image by more or less than v says), the rise

    Δ = (S - S₀) / (v f)

is χ² with one degree of freedom: the interval where it stays below 1 holds the truth in 68 % of all cases. Where S
is a parabola that is the standard uncertainty; where it is not, this interval is the better one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.refinement.joint import Joint
from lacbed.refinement.minimise import Minimiser, Part, least_squares_fit
from lacbed.refinement.options import Progress
from lacbed.refinement.parameter import Parameter
from lacbed.refinement.scan import OnProgress, around
from lacbed.refinement.stages import MOVED, aligned_part
from lacbed.refinement.uncertainties import Evidence, formal_covariance, relative_weights, unit_variance

STEPS = (0.5, 1.0, 1.5, 2.0)
"""Distances from the best value on each side, in standard uncertainties."""

EVALUATIONS = 6
"""For the other parameters at each value."""

EXACT = 1e-3
"""The others are at rest when a step lowers Δ by less."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The likelihood along one parameter.

    Attributes:
        name: of the parameter.
        unit: for people.
        values: of the parameter, ascending: (n,).
        rise: Δ there: (n,).
        best: where S is least, by a parabola through the three lowest values.
        uncertainty: standard uncertainty of the fit (of the images alone, without that of beams left out).
        low: lower end of the interval of 68 %, -inf where it is not within the values.
        high: upper end, inf where it is not within the values.
        inflation: f.
    """

    name: str
    unit: str
    values: FloatArray
    rise: FloatArray
    best: float
    uncertainty: float
    low: float
    high: float
    inflation: float


def check_profile(name: str, parameters: Sequence[Parameter]) -> None:
    """Refuse, before any work, a parameter that is not free.

    Raises:
        SettingError: with those that are.
    """
    names = [p.name for p in parameters]
    if name and name not in names:
        raise SettingError(f"the profile is of one free parameter, got {name!r}; free are {', '.join(names)}")


def profile(
    joint: Joint, progress: Progress, name: str, matrix: FloatArray, found: Evidence, say: OnProgress
) -> Profile:
    """Refine all other parameters again at values of one.

    Args:
        joint: the stacks.
        progress: a finished refinement.
        name: of the parameter.
        matrix: covariance with the faults of the model: (p, p).
        found: what the images say at the end, without moves if these stand for the parameter.
        say: called with what is done.

    Raises:
        SettingError: if the images do not determine the parameter.
    """
    parameters = joint.parameters
    place = [p.name for p in parameters].index(name)
    chosen, moved = parameters[place], MOVED[joint.options.align]
    noise = formal_covariance(found, np.array([1.0 / p.spread**2 for p in parameters]))
    su = math.sqrt(matrix[place, place])
    if not (math.isfinite(su) and su > 0.0):
        raise SettingError(f"the images do not determine {name}, so that it has no profile")
    inflation = float(matrix[place, place] / noise[place, place])
    parts = [aligned_part(joint, progress, number) for number in range(len(joint.problems))]
    if chosen.kind in moved:
        parts = [Part(p.model, p.target, p.state_of, p.places) for p in parts]
    still = [i for i, p in enumerate(parameters) if i != place and (chosen.kind in moved or p.kind not in moved)]
    units = [unit_variance(p.target, p.compared(progress.values).residual) for p in parts]
    slope = np.zeros(len(parameters))
    slope[still] = noise[still, place] / noise[place, place]
    limits = around(parameters, progress.values)

    def cost(value: float, start: FloatArray) -> tuple[float, FloatArray]:
        begin = start + slope * (value - start[place])
        begin[place] = value
        minimiser = Minimiser(parts, limits, begin, still)
        minimiser.unit, minimiser.weights = math.sqrt(units[0]), relative_weights(units)
        first = minimiser.fit(minimiser.start)
        total = sum(f.cost for f in first)
        tolerance = float(np.clip(EXACT * units[0] * inflation / max(total, 1e-300), 1e-12, 1e-3))
        best = least_squares_fit(minimiser, EVALUATIONS, tolerance)
        pull = (value - chosen.expected) / chosen.spread
        return minimiser.best_cost + units[0] * pull**2, best

    best = float(progress.values[place])
    total, centre = cost(best, progress.values)
    costs = {best: total}
    for sign in (-1.0, 1.0):
        values = centre
        for number, step in enumerate(STEPS):
            value = float(np.clip(best + sign * step * su, chosen.low, chosen.high))
            if value not in costs:
                costs[value], values = cost(value, values)
            done = (number + 1 + (len(STEPS) if sign > 0 else 0)) / (2 * len(STEPS))
            say(f"profile of {name}", 0.95 + 0.05 * done)
    ordered = np.array(sorted(costs))
    sums = np.array([costs[v] for v in ordered.tolist()]) / max(units[0] * inflation, 1e-300)
    least, lowest = _vertex(ordered, sums)
    rise = np.maximum(sums - lowest, 0.0)
    return Profile(name, chosen.unit, ordered, rise, least, su, *_interval(ordered, rise, least), inflation)


def _vertex(values: FloatArray, sums: FloatArray) -> tuple[float, float]:
    """Place and height of the minimum of a parabola through the lowest of the values and its neighbours."""
    place = int(np.argmin(sums))
    if not 0 < place < len(values) - 1:
        return float(values[place]), float(sums[place])
    near = slice(place - 1, place + 2)
    x = values[near] - values[place]
    a, b, _ = np.polyfit(x, sums[near] - sums[place], 2)
    step = float(np.clip(-b / (2.0 * a), x[0], x[2])) if a > 0.0 else 0.0
    return float(values[place]) + step, float(sums[place]) + a * step**2 + b * step


def _interval(values: FloatArray, rise: FloatArray, least: float) -> tuple[float, float]:
    """Where the rise is 1 on both sides, by the root of it, which is straight where the rise is a parabola."""
    ends = []
    for side in (values[values < least][::-1], values[values > least]):
        at = np.concatenate([[least], side])
        root = np.maximum.accumulate(np.concatenate([[0.0], np.sqrt(rise[np.searchsorted(values, side)])]))
        ends.append(float(np.interp(1.0, root, at)) if root[-1] > 1.0 else math.inf)
    return -ends[0] if math.isinf(ends[0]) else ends[0], ends[1]
