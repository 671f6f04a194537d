"""Parameters freed in stages on small images, then once more on the full ones, each moved by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.minimise import Minimiser, least_squares_fit, quasi_newton_fit
from lacbed.refinement.model import Model, StateOf
from lacbed.refinement.objective import Fit, Target, compare, reweighted
from lacbed.refinement.options import Progress, prior_of
from lacbed.refinement.parameter import STAGES, state_function
from lacbed.refinement.problem import Measured, Problem
from lacbed.refinement.scan import OnProgress, around
from lacbed.refinement.uncertainties import unit_variance

OnCheckpoint = Callable[[Progress], None]

ROUGH, LAST, FAULTY = 2e-4, 1e-6, 1e-5
"""Where least squares may end: on small images, on full ones, and on full ones that show faults of the model."""

AT_REST, ROUNDS = 0.02, 4
"""Moves that change the rim by less than this many pixels are left, or after so many rounds."""

MAX_DISTORTION = 0.05

MOVED = {
    "none": (),
    "shift": ("tilt",),
    "affine": ("tilt", "half_width", "rotation", "stretch", "shear"),
}
"""Kinds of parameters that are fixed while every image moves by itself: what they change, the moves can."""


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
    align = problem.options.align != "none"
    active = [i for i, p in enumerate(parameters) if p.kind not in MOVED[problem.options.align]]
    progress, moves = _fit(problem, problem.measured, progress, active, "full images", align, keep)
    progress = replace(progress, stage=len(present) + 1, moves=None if moves is None else moves.numpy())
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
    """One stage: the new state of affairs, and the moves of the images if these may move."""
    options, parameters = problem.options, problem.parameters
    state_of = state_function(problem.base, parameters)
    start = torch.as_tensor(progress.values)
    model, target = problem.model(measured, state_of(start)), problem.target(measured)
    if measured is problem.measured:  # weights by a model that is far off lead astray
        target = reweighted(target, compare(model, target, state_of, start), options.robust)
    moves = None
    if align:
        nowhere = torch.zeros(len(measured.hkl), 2, dtype=torch.float64)
        moves = refine_moves(model, target, state_of, progress.values, nowhere, options.max_shift)
        if options.align == "affine":
            shifted = compare(model, target, state_of, start, moves)
            target = stiffened(target, shifted, prior_of(options, "affine"))
            moves = torch.nn.functional.pad(moves, (0, 4))
            moves = refine_moves(model, target, state_of, progress.values, moves, options.max_shift)
    history = list(progress.history)

    def better(values: FloatArray, z: float) -> None:
        history.append((name, z))
        keep(replace(progress, values=values, history=tuple(history)))

    places = [i for i, p in enumerate(parameters) if p.kind == "thickness"]
    local = around(parameters, float(progress.values[places[0]])) if places else parameters
    minimiser = Minimiser(model, target, state_of, local, progress.values, active, moves, better)
    if options.method == "lbfgs" and moves is None:
        values = quasi_newton_fit(minimiser, options.steps)
    else:
        last = FAULTY if target.weights == "correlation" else LAST
        values = least_squares_fit(minimiser, options.steps, last if measured is problem.measured else ROUGH)
    notes = progress.notes
    if minimiser.failures:
        notes = (*notes, f"the fit diverged while {name} was freed; the best state before it was kept")
    if moves is not None:
        moves = refine_moves(model, target, state_of, values, moves, options.max_shift)
    return replace(progress, values=values, history=tuple(history), notes=notes), moves


def stiffened(target: Target, fit: Fit, spread: float) -> Target:
    """The target with a prior of this standard deviation on the distortion of each image."""
    return replace(target, stiffness=math.sqrt(unit_variance(target, fit.residual)) / spread)


def refine_moves(
    model: Model,
    target: Target,
    state_of: StateOf,
    values: FloatArray,
    moves: Tensor,
    max_shift: float,
    rounds: int = ROUNDS,
) -> Tensor:
    """Moves of every image, iterated to rest; images that are shifted too far stay where they were.

    Args:
        model: what gives images.
        target: what was measured.
        state_of: the state of a vector of parameters.
        values: the parameters: (p,).
        moves: to begin with: (g, 2 or 6).
        max_shift: largest shift in pixels.
        rounds: steps at most.
    """
    start, rim = moves, target.images.shape[-1] / 2
    limit = torch.tensor([torch.inf] * 2 + [MAX_DISTORTION] * 4, dtype=moves.dtype)[: moves.shape[1]]
    for _ in range(rounds):
        step = compare(model, target, state_of, torch.as_tensor(values), moves).moves
        moves = (moves + step).clamp(-limit, limit)
        if float(torch.cat([step[:, :2], rim * step[:, 2:]], dim=1).abs().max()) < AT_REST:
            break
    lost = (moves[:, :2].abs() > max_shift).any(dim=1) | ~torch.isfinite(moves).all(dim=1)
    return torch.where(lost[:, None], start, moves)
