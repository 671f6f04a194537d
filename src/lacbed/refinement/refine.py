"""Refinement: thickness scan, several starts, parameters freed in stages, shifts of each image, uncertainties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment
from lacbed.patterns.result import hkl_label
from lacbed.refinement.joint import Joint, checked_stacks
from lacbed.refinement.model import BlochModel
from lacbed.refinement.objective import make_target, mean_z, z_of
from lacbed.refinement.options import Progress, RefinementOptions
from lacbed.refinement.parameter import Parameter
from lacbed.refinement.problem import Measured
from lacbed.refinement.profile import check_profile, profile
from lacbed.refinement.result import Check, RefinedStack, Refinement
from lacbed.refinement.scan import OnProgress, first_progress
from lacbed.refinement.stages import MAX_DISTORTION, MOVED, OnCheckpoint, aligned_part, run_stages
from lacbed.refinement.strain import undecided
from lacbed.refinement.uncertainties import (
    Evidence,
    correlations,
    covariance,
    evidence,
    leave_one_out,
    relative_weights,
    response,
    standard_uncertainties,
    together,
)
from lacbed.settings import MAX_THICKNESS

FINER = 1.5
"""The finished model is checked against one with so many times the beams and points a side, and more waves."""

UNEXPLAINED = 0.9
"""Z of a reflection from which a warning names it; images of forbidden reflections hold noise alone."""

TRADING = 0.95
"""Correlation from which a warning names two parameters."""

ITS_PRIOR = 0.8
"""Part of the width of its prior from which the uncertainty of a parameter owes little to the images."""

ENOUGH = 0.02
"""Largest |ΔI| by the finer model that is let pass without a warning."""


def refine(
    experiment: Experiment | Measured | Sequence[Experiment | Measured],
    crystal: Crystal,
    options: RefinementOptions | None = None,
    *,
    resume: Progress | None = None,
    on_progress: OnProgress | None = None,
    on_checkpoint: OnCheckpoint | None = None,
) -> Refinement:
    """Refine a crystal and the geometry against measured images.

    The thickness is scanned on small images; the best minima are followed for a few steps with the geometry; from
    the best one the parameters are freed in the order of `STAGES` (parameter.py); at last every image may be
    moved by itself, while the tilt stands still (a common shift is a tilt). A finer model then says by how much
    the parameters are biased by what the model leaves out.

    Several stacks are scanned one by one and then refined together: they share what belongs to the crystal
    (`OF_CRYSTAL` in parameter.py), and each is weighted by the inverse of what the model leaves of it.

    Args:
        experiment: what was measured: a stack, or several of one crystal.
        crystal: the first model.
        options: how; the defaults need no knowledge of the thickness.
        resume: to go on from.
        on_progress: called with a few words and the fraction of the work done.
        on_checkpoint: given the state after the scan, every stage, and every better evaluation.

    Returns:
        The refined parameters with their covariance. `lacbed.refinement.files.write_results` makes a report of it.

    Raises:
        SettingError: on parameters that symmetry fixes or that do not change the images, on images without
            contrast, and on stacks that are not of one crystal or hold the same images; and on a state that is not
            of this refinement.
    """
    say: OnProgress = on_progress or (lambda _what, _fraction: None)
    keep: OnCheckpoint = on_checkpoint or (lambda _progress: None)
    options = options or RefinementOptions()
    stacks, notes = checked_stacks(
        [experiment] if isinstance(experiment, Experiment | Measured) else experiment, crystal
    )
    joint = Joint(crystal, stacks, options)
    check_profile(options.profile, joint.parameters)
    if resume is not None:
        check_state(resume, joint)
    if resume is None:
        progress = first_progress(joint, say)
        keep(progress)
    else:
        progress = resume
        joint.begin_at(progress.starts)
    progress = run_stages(joint, progress, say, keep)
    return _finish(joint, progress, [*notes, *joint.notes, *progress.notes], say)


def check_state(progress: Progress, joint: Joint) -> None:
    """Refuse a saved state that a refinement of these stacks cannot have left.

    Raises:
        SettingError: naming what is impossible.
    """
    parameters, o = joint.parameters, joint.options
    if len(progress.values) != len(parameters) or len(progress.starts) != len(joint.problems):
        raise SettingError(
            "the saved state belongs to other free parameters; choose another folder or drop --resume"
        )
    found = [("stage", progress.stage, 0.0, len({p.stage for p in parameters}) + 1.0, "")]
    for p, value in zip(parameters, progress.values.tolist(), strict=True):
        low, high = (1.0, MAX_THICKNESS) if p.kind == "thickness" else (p.low, p.high)
        found.append((p.name, value, low, high, p.unit))
    if o.beams != "auto":
        found += [("beams", start.beams, o.beams, o.beams, "") for start in progress.starts]
    for name, value, low, high, unit in found:
        slack = 1e-6 * (high - low) + 1e-9
        if not low - slack <= value <= high + slack:
            span = f"between {low:.6g} and {high:.6g} {unit}".rstrip() if low < high else f"{low:g}"
            raise SettingError(
                f"the saved state is impossible: {name} must be {span}, got {value:.6g}; start again in another "
                "folder"
            )
    reach = np.array([2.0 * o.max_shift] * 2 + [2.0 * MAX_DISTORTION] * (4 if o.align == "affine" else 0))
    for start, problem in zip(progress.starts, joint.problems, strict=True):
        moves, images = start.moves, len(problem.measured.hkl)
        if moves is not None and (moves.shape != (images, len(reach)) or bool((np.abs(moves) > reach).any())):
            what = (
                f"{images} pairs of numbers"
                if len(reach) == 2
                else f"{len(reach)} numbers for each of {images} images"
            )
            raise SettingError(
                f"the saved state is impossible: shifts must be {what}, the first two up to {o.max_shift:g} "
                "pixels; start again in another folder"
            )


def _finish(joint: Joint, progress: Progress, notes: list[str], say: OnProgress) -> Refinement:
    """Uncertainties at the end, and the check with finer models."""
    parameters, options = joint.parameters, joint.options
    precision = np.array([1.0 / p.spread**2 for p in parameters])
    moved = np.array([p.kind in MOVED[options.align] for p in parameters])
    ends = []
    for number in range(len(joint.problems)):
        say(f"checking beams{f' of stack {number + 1}' if len(joint.problems) > 1 else ''}", 0.95)
        ends.append(_end(joint, progress, number, moved))
    stacks = tuple(end.stack for end in ends)
    places = joint.places
    plain = together([end.plain for end in ends], places)
    matrix, found = covariance(plain, precision), plain
    # What is less certain than its whole range, such as a blur of nearly 0, is held fast for the others' sake.
    blind = standard_uncertainties(matrix) > np.array([p.high - p.low for p in parameters])
    if blind.any():
        plain = found = plain.without(blind)
        matrix = covariance(plain, precision)
    if any(start.moves is not None for start in progress.starts):
        found = together([end.aligned for end in ends], places).without(blind)
        matrix = _merge(moved, matrix, covariance(found, precision))
    matrix[blind, blind] = np.inf
    change, weights = np.zeros(len(parameters)), relative_weights([end.aligned.unit for end in ends])
    for mine, end, weight in zip(places, ends, weights.tolist(), strict=True):
        change[mine] += weight * end.change
    bias = response(found, change, precision)
    notes += _doubts(parameters, progress.values, matrix, bias, stacks)
    zones = [problem.measured.frame.zone_axis for problem in joint.problems]
    notes += undecided(parameters, matrix, joint.problems[0].crystal, zones, joint.problems[0].names)
    result = Refinement(
        stacks,
        parameters,
        progress.values,
        matrix + np.outer(bias, bias),
        bias,
        progress.history,
        tuple(dict.fromkeys(notes)),
        np.where(moved, leave_one_out(plain, precision), leave_one_out(found, precision)),
    )
    if not options.profile:
        return result
    kind = next(p.kind for p in parameters if p.name == options.profile)
    basis = plain if kind in MOVED[options.align] else found
    return replace(result, profile=profile(joint, progress, options.profile, matrix, basis, say))


@dataclass(frozen=True, eq=False)
class _End:
    """A stack at the end, what it says without and with moves, and Jᵀ dr of a finer model."""

    stack: RefinedStack
    plain: Evidence
    aligned: Evidence
    change: FloatArray


def _end(joint: Joint, progress: Progress, number: int, moved: np.ndarray) -> _End:
    """One stack at the end; the Jacobians are not kept, for they are large."""
    values, start, problem = progress.values, progress.starts[number], joint.problems[number]
    part = aligned_part(joint, progress, number)
    still = replace(part, moves=None)
    fit = still.compared(values, with_slopes=True)
    aligned = fit if part.moves is None else part.compared(values, with_slopes=True)
    assert fit.slopes is not None
    assert aligned.slopes is not None
    assert isinstance(part.model, BlochModel)
    plan, target = part.model.plan, part.target
    plain, slopes = evidence(target, fit.residual, fit.slopes), fit.slopes
    best = plain
    if part.moves is not None:  # the moves stand for some of the parameters
        slopes = torch.where(torch.as_tensor(moved[part.places])[:, None, None], 0.0, aligned.slopes)
        best = evidence(target, aligned.residual, slopes)
    part.model.forget()
    finer = joint.part(number, values, finer=FINER).model
    assert isinstance(finer, BlochModel)
    truth = replace(part, model=finer).compared(values)
    check = Check(
        len(finer.plan.beams),
        finer.plan.basis.shape[1],
        finer.plan.divisions,
        float((truth.images - aligned.images).abs().max()),
        mean_z(truth.images, target) - mean_z(aligned.images, target),
    )
    moves = np.zeros((len(problem.measured.hkl), 2)) if part.moves is None else part.moves.numpy()
    stack = RefinedStack(
        problem.measured,
        tuple(part.places),
        part.state_of(torch.as_tensor(values[np.array(part.places)])),
        plan,
        replace(fit, slopes=None),
        replace(aligned, slopes=None),
        moves,
        start,
        check,
    )
    change = torch.einsum("pgn,gn->p", slopes, truth.residual - aligned.residual).numpy()
    return _End(stack, plain, best, change)


def _merge(moved: np.ndarray, plain: FloatArray, aligned: FloatArray) -> FloatArray:
    """The covariance with moves; the geometry that these replace keeps what it was without them."""
    with np.errstate(invalid="ignore"):  # what is not determined is infinite
        scale = np.sqrt(np.where(moved, plain.diagonal(), aligned.diagonal()) / plain.diagonal())
    return np.where(moved[:, None] | moved[None, :], plain * np.outer(scale, scale), aligned)


def _doubts(
    parameters: Sequence[Parameter],
    values: FloatArray,
    matrix: FloatArray,
    bias: FloatArray,
    stacks: Sequence[RefinedStack],
) -> list[str]:
    """Warnings about the end."""
    notes = []
    more = f"{stacks[0].check.beams} beams" if len(stacks) == 1 else "half as many beams again"
    uncertainties = standard_uncertainties(matrix)
    for p, value, su, off in zip(parameters, values, uncertainties, bias, strict=True):
        span = p.high - p.low
        if p.kind != "thickness" and min(value - p.low, p.high - value) < 1e-4 * span:
            notes.append(f"{p.name} is at the edge of its range, {value:.6g}")
        if abs(off) > su:
            notes.append(
                f"{p.name} would change by {off:+.2g} with {more}, more than its statistical uncertainty "
                f"({su:.2g}); the uncertainty given includes both"
            )
    for p, su in zip(parameters, uncertainties, strict=True):
        if not np.isfinite(su):
            notes.append(f"the images do not decide {p.name}")
        elif su > ITS_PRIOR * p.spread and p.kind != "strain":
            notes.append(f"the images do not determine {p.name}: the result is little more than its prior")
    rho = correlations(matrix)
    for i, j in np.argwhere(np.triu(np.abs(rho) > TRADING, 1)):
        if parameters[i].kind == parameters[j].kind == "strain":
            continue  # its directions have their own words
        notes.append(
            f"{parameters[i].name} and {parameters[j].name} are nearly interchangeable (correlation "
            f"{rho[i, j]:+.3f}): neither is known without the other; fix one of them if you know it"
        )
    for number, stack in enumerate(stacks):
        which = f"stack {number + 1}: " if len(stacks) > 1 else ""
        if stack.check.difference > ENOUGH:
            notes.append(
                f"{which}{len(stack.plan.beams)} beams are not enough: {stack.check.beams} and more Bloch waves "
                f"change intensities by {stack.check.difference:.2g}"
            )
        target = make_target(torch.as_tensor(stack.measured.images))
        z = z_of(stack.fit_aligned.images, target).tolist()
        lost = [h for h, one in zip(stack.measured.hkl, z, strict=True) if one > UNEXPLAINED]
        if lost:
            words = "; ".join(hkl_label(h) for h in lost)
            notes.append(f"{which}images that the model does not explain at all: {words}")
    return notes
