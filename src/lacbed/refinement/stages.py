"""Parameters freed in stages on small images, then once more on the full ones, each moved by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.joint import Joint
from lacbed.refinement.minimise import Minimiser, Part, least_squares_fit, quasi_newton_fit
from lacbed.refinement.objective import Fit, Target, reweighted
from lacbed.refinement.options import Align, Progress, prior_of
from lacbed.refinement.parameter import STAGES
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
    "affine": ("tilt", "half_width", "rotation", "stretch", "shear", "strain"),
}
"""Kinds of parameters that are fixed while every image moves by itself: what they change, the moves can."""


def run_stages(joint: Joint, progress: Progress, say: OnProgress, keep: OnCheckpoint) -> Progress:
    """Every stage that is not yet done."""
    parameters, options = joint.parameters, joint.options
    present = sorted({p.stage for p in parameters})
    for number, stage in enumerate(present):
        if number < progress.stage:
            continue
        name = "+".join(k for k in STAGES[stage] if any(p.kind == k for p in parameters))
        active = [i for i, p in enumerate(parameters) if p.stage <= stage]
        progress = _fit(joint, progress, active, name, False, "none", keep)
        progress = replace(progress, stage=number + 1)
        keep(progress)
        z = f", mean Z {progress.history[-1][1]:.4f}" if progress.history else ""
        say(f"freed {name}{z}", 0.3 + 0.4 * (number + 1) / len(present))
    if progress.stage > len(present):
        return progress
    if any(p.kind == "strain" for p in parameters) and "strain" in MOVED[options.align]:
        progress = _fit(joint, progress, list(range(len(parameters))), "full images", True, "none", keep)
    active = [i for i, p in enumerate(parameters) if p.kind not in MOVED[options.align]]
    progress = _fit(joint, progress, active, "full images", True, options.align, keep)
    progress = replace(progress, stage=len(present) + 1)
    keep(progress)
    say("fitted the full images", 0.9)
    return progress


def _fit(
    joint: Joint,
    progress: Progress,
    active: list[int],
    name: str,
    full: bool,
    align: Align,
    keep: OnCheckpoint,
) -> Progress:
    """One stage: the new state of affairs, with moves of the images if these may move."""
    options = joint.options
    history, notes = list(progress.history), progress.notes
    parts = [_begun(joint, number, progress.values, full, align) for number in range(len(joint.problems))]

    def better(values: FloatArray, z: float) -> None:
        history.append((name, z))
        keep(replace(progress, values=values, history=tuple(history)))

    minimiser = Minimiser(parts, around(joint.parameters, progress.values), progress.values, active, better)
    if options.method == "lbfgs" and align == "none":
        values = quasi_newton_fit(minimiser, options.steps)
    else:
        last = FAULTY if any(part.target.weights == "correlation" for part in parts) else LAST
        values = least_squares_fit(minimiser, options.steps, last if full else ROUGH)
    if minimiser.failures:
        notes = (*notes, f"the fit diverged while {name} was freed; the best state before it was kept")
    starts = progress.starts
    if align != "none":
        moves = [refine_moves(part, values, options.max_shift) for part in parts]
        starts = tuple(replace(s, moves=m.numpy()) for s, m in zip(starts, moves, strict=True))
    return replace(progress, values=values, history=tuple(history), notes=notes, starts=starts)


def _begun(joint: Joint, number: int, values: FloatArray, full: bool, align: Align) -> Part:
    """One stack at the beginning of a stage, its images where they belong for these values."""
    problem, options = joint.problems[number], joint.options
    part = joint.part(number, values, full)
    if full:  # weights by a model that is far off lead astray
        part = replace(part, target=reweighted(part.target, part.compared(values), options.robust))
    if align == "none":
        return part
    part = replace(part, moves=torch.zeros(len(problem.measured.hkl), 2, dtype=torch.float64))
    part = replace(part, moves=refine_moves(part, values, options.max_shift))
    if align == "shift":
        return part
    assert part.moves is not None
    target = stiffened(part.target, part.compared(values), prior_of(options, "affine"))
    part = replace(part, target=target, moves=torch.nn.functional.pad(part.moves, (0, 4)))
    return replace(part, moves=refine_moves(part, values, options.max_shift))


def aligned_part(joint: Joint, progress: Progress, number: int) -> Part:
    """One stack as it stands, with the moves of its full images and the weights that go with them."""
    moves, values, options = progress.starts[number].moves, progress.values, joint.options
    part = joint.part(number, values)
    part = replace(part, moves=None if moves is None else torch.as_tensor(moves))
    part = replace(part, target=reweighted(part.target, part.compared(values), options.robust))
    if options.align != "affine" or moves is None:
        return part
    return replace(part, target=stiffened(part.target, part.compared(values), prior_of(options, "affine")))


def stiffened(target: Target, fit: Fit, spread: float) -> Target:
    """The target with a prior of this standard deviation on the distortion of each image."""
    return replace(target, stiffness=math.sqrt(unit_variance(target, fit.residual)) / spread)


def refine_moves(part: Part, values: FloatArray, max_shift: float, rounds: int = ROUNDS) -> Tensor:
    """Moves of every image, iterated to rest; images that are shifted too far stay where they were.

    Args:
        part: the stack, with the moves to begin with.
        values: of all parameters: (p,).
        max_shift: largest shift in pixels.
        rounds: steps at most.
    """
    assert part.moves is not None
    start, rim = part.moves, part.target.images.shape[-1] / 2
    limit = torch.tensor([torch.inf] * 2 + [MAX_DISTORTION] * 4, dtype=start.dtype)[: start.shape[1]]
    moves = start
    for _ in range(rounds):
        step = replace(part, moves=moves).compared(values).moves
        moves = (moves + step).clamp(-limit, limit)
        if float(torch.cat([step[:, :2], rim * step[:, 2:]], dim=1).abs().max()) < AT_REST:
            break
    lost = (moves[:, :2].abs() > max_shift).any(dim=1) | ~torch.isfinite(moves).all(dim=1)
    return torch.where(lost[:, None], start, moves)
