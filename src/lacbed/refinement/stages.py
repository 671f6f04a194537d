"""Parameters freed in stages on small images, then once more on the full ones, each with a shift of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.measured import Measured
from lacbed.refinement.minimise import Minimiser, least_squares_fit, quasi_newton_fit
from lacbed.refinement.model import Kept, StateOf
from lacbed.refinement.objective import Target, compare, reweighted
from lacbed.refinement.options import Progress
from lacbed.refinement.parameter import STAGES, state_function
from lacbed.refinement.plan import Plan
from lacbed.refinement.problem import Problem
from lacbed.refinement.scan import OnProgress, around

OnCheckpoint = Callable[[Progress], None]

MAX_SHIFT = 3.0  # pixels

ROUGH, LAST = 2e-4, 1e-6
"""Where least squares may end, on the small images and on the full ones."""

AT_REST = 0.02
"""Shifts that change by less than this many pixels are left."""


def run_stages(problem: Problem, progress: Progress, say: OnProgress, keep: OnCheckpoint) -> Progress:
    """Every stage that is not yet done."""
    parameters = problem.parameters
    present = sorted({p.stage for p in parameters})
    for number, stage in enumerate(present):
        if number < progress.stage:
            continue
        name = "+".join(k for k in STAGES[stage] if any(p.kind == k for p in parameters))
        active = [i for i, p in enumerate(parameters) if p.stage <= stage]
        progress, _ = _fit(problem, problem.small, progress, active, name, False, keep)
        progress = replace(progress, stage=number + 1)
        keep(progress)
        z = f", mean Z {progress.history[-1][1]:.4f}" if progress.history else ""
        say(f"freed {name}{z}", 0.3 + 0.4 * (number + 1) / len(present))
    if progress.stage > len(present):
        return progress
    align = problem.options.align
    active = [i for i, p in enumerate(parameters) if not (align and p.kind == "tilt")]
    progress, shifts = _fit(problem, problem.measured, progress, active, "full images", align, keep)
    progress = replace(progress, stage=len(present) + 1, shifts=None if shifts is None else shifts.numpy())
    keep(progress)
    say("fitted the full images", 0.9)
    return progress


def _fit(
    problem: Problem,
    measured: Measured,
    progress: Progress,
    active: list[int],
    name: str,
    align: bool,
    keep: OnCheckpoint,
) -> tuple[Progress, Tensor | None]:
    """One stage: the new state of affairs, and the shifts of the images if these may move."""
    options, parameters = problem.options, problem.parameters
    state_of = state_function(problem.base, parameters)
    start = torch.as_tensor(progress.values)
    plan, target = problem.plan(measured, state_of(start)), problem.target(measured)
    kept: Kept = {}
    if measured is problem.measured:  # weights by a model that is far off lead astray
        target = reweighted(target, compare(plan, target, state_of, start, kept=kept), options.robust)
    shifts = None
    if align:
        shifts = refine_shifts(
            plan, target, state_of, progress.values, torch.zeros(len(measured.hkl), 2).double(), kept
        )
    history = list(progress.history)

    def better(values: FloatArray, z: float) -> None:
        history.append((name, z))
        keep(replace(progress, values=values, history=tuple(history)))

    places = [i for i, p in enumerate(parameters) if p.kind == "thickness"]
    local = around(parameters, float(progress.values[places[0]])) if places else parameters
    minimiser = Minimiser(plan, target, state_of, local, progress.values, active, shifts, better)
    if options.method == "lbfgs" and shifts is None:
        values = quasi_newton_fit(minimiser, options.steps)
    else:
        values = least_squares_fit(minimiser, options.steps, LAST if measured is problem.measured else ROUGH)
    notes = progress.notes
    if minimiser.failures:
        notes = (*notes, f"the fit diverged while {name} was freed; the best state before it was kept")
    if shifts is not None:
        shifts = refine_shifts(plan, target, state_of, values, shifts)
    return replace(progress, values=values, history=tuple(history), notes=notes), shifts


def refine_shifts(
    plan: Plan, target: Target, state_of: StateOf, values: FloatArray, shifts: Tensor, kept: Kept | None = None
) -> Tensor:
    """Shifts of every image, iterated to rest; images that do not come to rest stay where they are."""
    start, kept = shifts, {} if kept is None else kept
    for _ in range(4):
        moves = compare(plan, target, state_of, torch.as_tensor(values), shifts, kept=kept).moves
        shifts = shifts + moves
        if float(moves.abs().max()) < AT_REST:
            break
    lost = (shifts.abs() > MAX_SHIFT).any(dim=1) | ~torch.isfinite(shifts).all(dim=1)
    return torch.where(lost[:, None], start, shifts)
