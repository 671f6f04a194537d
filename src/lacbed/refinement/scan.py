"""Where a refinement starts: thickness, half-width and blur on a grid, then a few steps from the best minima."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from lacbed.converge import climb
from lacbed.crystals.cell import FloatArray
from lacbed.differentiable import binned_sigma, blur
from lacbed.fitting.minima import local_minima
from lacbed.refinement.minimise import Minimiser, least_squares_fit
from lacbed.refinement.model import images, thickness_series
from lacbed.refinement.objective import mean_z
from lacbed.refinement.options import Progress
from lacbed.refinement.parameter import Parameter, state_function
from lacbed.refinement.plan import Plan
from lacbed.refinement.problem import Problem

OnProgress = Callable[[str, float], None]
"""Called with what is done and the fraction of the whole."""

WIDTHS = (0.98, 1.0, 1.02)
"""Factors on the half-width that are tried where it is free."""

BLURS = (0.4, 0.8, 1.2, 1.8)
"""Blurs in pixels that are tried where none is given."""

STEPS = 5
"""Evaluations from each start."""

ENOUGH = 0.01
"""Beams are added before the first stage until half as many again change intensities by no more than this."""

MOST_BEAMS = 1500

HOPELESS = 0.5
"""Mean Z of a scan from which a warning says that nothing fits."""


def first_progress(problem: Problem, say: OnProgress) -> Progress:
    """The best start: enough beams, the scan, and a few steps with the geometry from the best minima."""
    plan = enough_beams(problem)
    thicknesses = problem.options.thicknesses
    widths = WIDTHS if any(p.kind == "half_width" for p in problem.parameters) else (1.0,)
    blurs = BLURS if problem.options.blur is None else (problem.options.blur,)
    table = _scan(problem, plan, widths, blurs, lambda f: say("thickness scan", 0.2 * f))
    blur_start = blurs[int(np.argmin(table.min(axis=(0, 1))))]
    by_width = table[:, :, blurs.index(blur_start)]
    scores = by_width.min(axis=1)
    minima = local_minima(scores)[: problem.options.starts]
    problem.begin_at(thicknesses[minima[0]], blur_start, problem.beams)
    outcomes = []
    for number, index in enumerate(minima):
        width = widths[int(np.argmin(by_width[index]))] * problem.measured.half_width
        outcomes.append(_follow(problem, plan, thicknesses[index], width, blur_start))
        say(f"start {number + 1} of {len(minima)}", 0.2 + 0.1 * (number + 1) / len(minima))
    best = min(outcomes, key=lambda pair: pair[0])[1]
    return Progress(
        0,
        best,
        thicknesses[minima[0]],
        blur_start,
        problem.beams,
        scan=np.column_stack([thicknesses, scores]),
        notes=_doubts(thicknesses, scores),
    )


def enough_beams(problem: Problem) -> Plan:
    """The plan of the small images; unless their number was given, beams are added until they are enough."""
    if problem.options.beams is not None:
        return problem.plan(problem.small)

    def rungs() -> Iterator[tuple[int, Plan, torch.Tensor]]:
        while True:
            plan = problem.plan(problem.small)
            yield problem.beams, plan, images(plan, problem.base)
            if problem.beams >= MOST_BEAMS:
                return
            problem.beams = round(1.5 * problem.beams)

    with torch.no_grad():
        end = climb(rungs(), lambda few, more: (float((more[2] - few[2]).abs().max()),), (ENOUGH,))
    problem.beams, plan, _ = end.lower if end.converged else end.upper
    return plan


def _scan(
    problem: Problem, plan: Plan, widths: Sequence[float], blurs: Sequence[float], tick: Callable[[float], None]
) -> FloatArray:
    """Mean Z: (thickness, width, blur)."""
    target = problem.target(problem.small)
    states = [problem.base.changed(half_width=w * problem.base.half_width) for w in widths]
    sigmas = [binned_sigma(torch.tensor(b).double(), plan.binning) for b in blurs]
    series = thickness_series(plan, states, problem.options.thicknesses, tick)
    return np.array([[[mean_z(blur(sharp, s), target) for s in sigmas] for sharp in found] for found in series])


def _follow(
    problem: Problem, plan: Plan, thickness: float, width: float, blur_start: float
) -> tuple[float, FloatArray]:
    """Cost and parameters after a few steps with the geometry alone."""
    begin = {"thickness": thickness, "half_width": width, "blur": blur_start}
    values = np.array([begin.get(p.name, p.value) for p in problem.parameters])
    early = [i for i, p in enumerate(problem.parameters) if p.kind in ("thickness", "half_width", "tilt", "blur")]
    minimiser = Minimiser(
        plan,
        problem.target(problem.small),
        state_function(problem.base, problem.parameters),
        around(problem.parameters, thickness),
        values,
        early,
        None,
    )
    values = least_squares_fit(minimiser, STEPS)
    return minimiser.best_cost, values


def around(parameters: Sequence[Parameter], thickness: float) -> tuple[Parameter, ...]:
    """Bounds on the thickness around where the search stands."""
    reach = max(60.0, 0.08 * thickness)
    low = max(1.0, thickness - reach)
    return tuple(replace(p, low=low, high=thickness + reach) if p.kind == "thickness" else p for p in parameters)


def _doubts(thicknesses: Sequence[float], scores: FloatArray) -> tuple[str, ...]:
    """Warnings about the scan."""
    notes = []
    best = int(np.argmin(scores))
    if len(scores) > 2 and best in (0, len(scores) - 1):
        notes.append(f"the best thickness is at the end of the scan ({thicknesses[best]:g} Å): widen it")
    if float(scores[best]) > HOPELESS:
        notes.append(
            f"no thickness fits: the lowest mean Z of the scan is {scores[best]:.2f}; is this the right crystal?"
        )
    return tuple(notes)
