"""Where fits and refinements start: thickness, half-width and blur on a grid, then steps from the best minima."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from lacbed.converge import climb
from lacbed.crystals.cell import FloatArray
from lacbed.differentiable import binned_sigma, blur, over_cone
from lacbed.refinement.joint import Joint
from lacbed.refinement.minimise import Minimiser, Part, least_squares_fit
from lacbed.refinement.model import BlochModel, Model, images
from lacbed.refinement.objective import Target, mean_z
from lacbed.refinement.options import Progress, Start
from lacbed.refinement.parameter import Parameter, begin_at, state_function
from lacbed.refinement.problem import Problem
from lacbed.state import ModelState

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


def first_progress(joint: Joint, say: OnProgress) -> Progress:
    """The best start of every stack: enough beams, then `search` on small images."""
    found, starts, notes = [], [], []
    count = len(joint.problems)
    for number, problem in enumerate(joint.problems):
        which = f"stack {number + 1}: " if count > 1 else ""

        def tell(what: str, fraction: float, number: int = number, which: str = which) -> None:
            say(f"{which}{what}", (0.3 * number + fraction) / count)

        values, start, more = _first(problem, tell)
        found.append(values)
        starts.append(start)
        notes += [f"{which}{note}" for note in more]
    joint.begin_at(starts)
    return Progress(0, joint.gathered(found), tuple(starts), notes=tuple(notes))


def _first(problem: Problem, say: OnProgress) -> tuple[FloatArray, Start, tuple[str, ...]]:
    """Values of the parameters of one stack, where they begin, and warnings."""
    model, o = enough_beams(problem), problem.options
    widths = WIDTHS if any(p.kind == "half_width" for p in problem.parameters) else (1.0,)
    thickness, blur_start, values, scores = search(
        model,
        problem.target(problem.small),
        problem.base,
        problem.parameters,
        o.thicknesses,
        ("thickness", "half_width", "tilt", "blur"),
        blurs=BLURS if o.blur is None else (o.blur,),
        widths=widths,
        starts=o.starts,
        say=say,
    )
    start = Start(thickness, blur_start, problem.beams, scan=np.column_stack([o.thicknesses, scores]))
    return values, start, scan_notes(o.thicknesses, scores)


def search(
    model: Model,
    target: Target,
    base: ModelState,
    parameters: Sequence[Parameter],
    thicknesses: Sequence[float],
    kinds: Collection[str],
    *,
    blurs: Sequence[float] = BLURS,
    widths: Sequence[float] = (1.0,),
    starts: int = 3,
    steps: int = STEPS,
    say: OnProgress,
) -> tuple[float, float, FloatArray, FloatArray]:
    """A scan, and a few steps from its best minima.

    With a geometry that is a little wrong the deepest minimum may be the wrong fringe of the thickness, so that
    several are followed.

    Args:
        model: what gives images.
        target: what was measured.
        base: the first state.
        parameters: what may change; `base` belongs to their values.
        thicknesses: to scan, in Å.
        kinds: of the parameters that change on the way from a minimum.
        blurs: to scan, in pixels of the experiment.
        widths: factors on the half-width, to scan.
        starts: number of minima that are followed.
        steps: evaluations from each.
        say: called with what is done, up to the fraction 0.3.

    Returns:
        Thickness and blur of the deepest minimum, the parameters at the end of the best way, and the lowest mean Z
        at every thickness.
    """
    states = [base.changed(half_width=w * base.half_width) for w in widths]
    table = scan(model, target, states, thicknesses, blurs, lambda f: say("thickness scan", 0.2 * f))
    place = int(np.argmin(table.min(axis=(0, 1))))
    scores = table[:, :, place].min(axis=1)
    minima = local_minima(scores)[:starts]
    found = thicknesses[minima[0]], blurs[place]
    base, parameters = begin_at(base, parameters, *found)
    outcomes = []
    for number, index in enumerate(minima):
        width = widths[int(np.argmin(table[index, :, place]))] * float(base.half_width)
        begin = {"thickness": thicknesses[index], "half_width": width, "blur": blurs[place]}
        values = np.array([begin.get(p.name, p.value) for p in parameters])
        early = [i for i, p in enumerate(parameters) if p.kind in kinds]
        part = Part(model, target, state_function(base, parameters), range(len(parameters)))
        minimiser = Minimiser([part], around(parameters, values), values, early)
        values = least_squares_fit(minimiser, steps)
        outcomes.append((minimiser.best_cost, values))
        say(f"start {number + 1} of {len(minima)}", 0.2 + 0.1 * (number + 1) / len(minima))
    return *found, min(outcomes, key=lambda pair: pair[0])[1], scores


def enough_beams(problem: Problem) -> BlochModel:
    """The model of the small images; unless their number was given, beams are added until they are enough."""
    if problem.options.beams != "auto":
        return problem.model(problem.small)

    def rungs() -> Iterator[tuple[int, BlochModel, torch.Tensor]]:
        while True:
            model = problem.model(problem.small)
            yield problem.beams, model, images(model.plan, problem.base)
            if problem.beams >= MOST_BEAMS:
                return
            problem.beams = round(1.5 * problem.beams)

    with torch.no_grad():
        end = climb(rungs(), lambda few, more: (float((more[2] - few[2]).abs().max()),), (ENOUGH,))
    problem.beams, model, _ = end.lower if end.converged else end.upper
    return model


def scan(
    model: Model,
    target: Target,
    states: Sequence[ModelState],
    thicknesses: Sequence[float],
    blurs: Sequence[float],
    tick: Callable[[float], None],
) -> FloatArray:
    """Mean Z: (thickness, state, blur)."""
    sigmas = [binned_sigma(torch.tensor(b).double(), model.binning) for b in blurs]
    series = model.series(states, thicknesses, tick)
    means = ([over_cone(sharp, s.cone) for sharp, s in zip(found, states, strict=True)] for found in series)
    return np.array([[[mean_z(blur(mean, s), target) for s in sigmas] for mean in found] for found in means])


def local_minima(scores: FloatArray) -> list[int]:
    """Places of the local minima, the deepest first."""
    padded = np.concatenate([[np.inf], scores, [np.inf]])
    lows = [i for i in range(len(scores)) if padded[i + 1] <= padded[i] and padded[i + 1] < padded[i + 2]]
    return sorted(lows, key=lambda i: scores[i]) or [int(np.argmin(scores))]


def around(parameters: Sequence[Parameter], values: FloatArray) -> tuple[Parameter, ...]:
    """Bounds on each thickness around where the search stands."""
    found = []
    for p, value in zip(parameters, values.tolist(), strict=True):
        reach = max(60.0, 0.08 * value)
        near = replace(p, low=max(1.0, value - reach), high=value + reach)
        found.append(near if p.kind == "thickness" else p)
    return tuple(found)


def scan_notes(thicknesses: Sequence[float], scores: FloatArray) -> tuple[str, ...]:
    """Warnings about a scan."""
    notes = []
    best = int(np.argmin(scores))
    if len(scores) > 1 and thicknesses[best] in (min(thicknesses), max(thicknesses)):
        notes.append(f"the best thickness is at the end of the scan ({thicknesses[best]:g} Å): widen it")
    if float(scores[best]) > HOPELESS:
        notes.append(
            f"no thickness fits: the lowest mean Z of the scan is {scores[best]:.2f}; is this the right crystal?"
        )
    return tuple(notes)
