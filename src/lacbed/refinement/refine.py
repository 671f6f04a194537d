"""Refinement: thickness scan, several starts, parameters freed in stages, shifts of each image, uncertainties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lacbed.beams import check_reflections
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment
from lacbed.patterns.result import hkl_label
from lacbed.refinement.objective import Fit, compare, mean_z, reweighted, z_of
from lacbed.refinement.options import Progress, RefinementOptions, prior_of
from lacbed.refinement.parameter import Parameter, state_function
from lacbed.refinement.plan import Plan
from lacbed.refinement.problem import Measured, Problem, measured_of, usable
from lacbed.refinement.scan import OnProgress, first_progress
from lacbed.refinement.stages import MAX_DISTORTION, MOVED, OnCheckpoint, run_stages, stiffened
from lacbed.refinement.uncertainties import (
    correlations,
    covariance,
    leave_one_out,
    response,
    standard_uncertainties,
    unit_variance,
)
from lacbed.settings import MAX_THICKNESS
from lacbed.state import ModelState

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


@dataclass(frozen=True, eq=False)
class Check:
    """What a finer model says about the finished one.

    Attributes:
        beams: number of beams of the finer model.
        waves: number of its Bloch waves.
        divisions: its points of the lattice per reciprocal vector; 0 where every pixel was computed.
        difference: largest |ΔI| at the same parameters.
        z: change of mean Z at the same parameters.
        bias: by how much the parameters would move, to first order: (p,).
    """

    beams: int
    waves: int
    divisions: int
    difference: float
    z: float
    bias: FloatArray


@dataclass(frozen=True, eq=False)
class Refinement:
    """A finished refinement.

    Attributes:
        measured: the images that were used.
        parameters: what was free.
        values: their values: (p,).
        covariance: of the fit and of the check together: (p, p).
        state: the final state.
        plan: of the final model.
        fit: without moves.
        fit_aligned: with moves, or the same.
        moves: of the images, see `lacbed.refinement.model`: (g, 2 or 6).
        progress: scan and history.
        notes: warnings.
        check: against a finer model.
        without: by how much the parameters move, to first order, when a reflection is left out: (g, p).
    """

    measured: Measured
    parameters: tuple[Parameter, ...]
    values: FloatArray
    covariance: FloatArray
    state: ModelState
    plan: Plan
    fit: Fit
    fit_aligned: Fit
    moves: FloatArray
    progress: Progress
    notes: tuple[str, ...]
    check: Check
    without: FloatArray

    @property
    def shifts(self) -> FloatArray:
        """Of the simulated images along x and y in pixels: (g, 2)."""
        return self.moves[:, :2]


def refine(
    experiment: Experiment | Measured,
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

    Args:
        experiment: what was measured.
        crystal: the first model.
        options: how; the defaults need no knowledge of the thickness.
        resume: to go on from.
        on_progress: called with a few words and the fraction of the work done.
        on_checkpoint: given the state after the scan, every stage, and every better evaluation.

    Returns:
        The refined parameters with their covariance. `lacbed.refinement.files.write_results` makes a report of it.

    Raises:
        SettingError: on parameters that symmetry fixes or that do not change the images, and on images without
            contrast; and on a state that is not of this refinement.
    """
    say: OnProgress = on_progress or (lambda _what, _fraction: None)
    keep: OnCheckpoint = on_checkpoint or (lambda _progress: None)
    measured = experiment if isinstance(experiment, Measured) else measured_of(experiment, crystal)
    check_reflections(crystal, measured.frame, measured.hkl, laue_zones=0)
    measured, notes = usable(measured)
    problem = Problem(crystal, measured, options or RefinementOptions())
    if resume is not None:
        check_state(resume, problem)
    if resume is None:
        progress = first_progress(problem, say)
        keep(progress)
    else:
        progress = resume
        problem.begin_at(progress.thickness, progress.blur, progress.beams)
    progress = run_stages(problem, progress, say, keep)
    return _finish(problem, progress, [*notes, *problem.notes, *progress.notes], say)


def check_state(progress: Progress, problem: Problem) -> None:
    """Refuse a saved state that a refinement of this problem cannot have left.

    Raises:
        SettingError: naming what is impossible.
    """
    parameters, images = problem.parameters, len(problem.measured.hkl)
    if len(progress.values) != len(parameters):
        raise SettingError(
            "the saved state belongs to other free parameters; choose another folder or drop --resume"
        )
    found = [("stage", progress.stage, 0.0, len({p.stage for p in parameters}) + 1.0, "")]
    for p, value in zip(parameters, progress.values.tolist(), strict=True):
        low, high = (1.0, MAX_THICKNESS) if p.kind == "thickness" else (p.low, p.high)
        found.append((p.name, value, low, high, p.unit))
    if problem.options.beams != "auto":
        found.append(("beams", progress.beams, problem.options.beams, problem.options.beams, ""))
    for name, value, low, high, unit in found:
        slack = 1e-6 * (high - low) + 1e-9
        if not low - slack <= value <= high + slack:
            span = f"between {low:.6g} and {high:.6g} {unit}".rstrip() if low < high else f"{low:g}"
            raise SettingError(
                f"the saved state is impossible: {name} must be {span}, got {value:.6g}; start again in another "
                "folder"
            )
    if progress.moves is None:
        return
    moves, o = progress.moves, problem.options
    reach = np.array([2.0 * o.max_shift] * 2 + [2.0 * MAX_DISTORTION] * (4 if o.align == "affine" else 0))
    if moves.shape != (images, len(reach)) or bool((np.abs(moves) > reach).any()):
        what = (
            f"{images} pairs of numbers"
            if len(reach) == 2
            else f"{len(reach)} numbers for each of {images} images"
        )
        raise SettingError(
            f"the saved state is impossible: shifts must be {what}, the first two up to {o.max_shift:g} pixels; "
            "start again in another folder"
        )


def _finish(problem: Problem, progress: Progress, notes: list[str], say: OnProgress) -> Refinement:
    """Uncertainties at the end, and the check with a finer model."""
    parameters, measured = problem.parameters, problem.measured
    state_of = state_function(problem.base, parameters)
    values = torch.as_tensor(progress.values)
    state = state_of(values)
    model, target = problem.model(measured, state), problem.target(measured)
    plan, moves = model.plan, None if progress.moves is None else torch.as_tensor(progress.moves)
    target = reweighted(target, compare(model, target, state_of, values, moves), problem.options.robust)
    if problem.options.align == "affine" and moves is not None:
        found = compare(model, target, state_of, values, moves)
        target = stiffened(target, found, prior_of(problem.options, "affine"))
    fit = compare(model, target, state_of, values, None, True)
    aligned = fit if moves is None else compare(model, target, state_of, values, moves, True)
    del model  # and the eigenvectors that it keeps
    say("checking beams", 0.95)
    finer = problem.model(measured, state, FINER)
    truth = compare(finer, target, state_of, values, moves)
    assert fit.slopes is not None
    precision = np.array([1.0 / p.spread**2 for p in parameters])
    matrix, slopes = covariance(target, fit.residual, fit.slopes, precision), fit.slopes
    if aligned.slopes is not None and moves is not None:
        moved = torch.tensor([p.kind in MOVED[problem.options.align] for p in parameters])
        slopes = torch.where(moved[:, None, None], 0.0, aligned.slopes)  # the moves stand for them
        matrix = _merge(moved.numpy(), matrix, covariance(target, aligned.residual, slopes, precision))
    prior = unit_variance(target, aligned.residual) * precision
    bias = response(slopes, truth.residual - aligned.residual, prior)
    check = Check(
        len(finer.plan.beams),
        finer.plan.basis.shape[1],
        finer.plan.divisions,
        float((truth.images - aligned.images).abs().max()),
        mean_z(truth.images, target) - mean_z(aligned.images, target),
        bias,
    )
    notes += _doubts(parameters, progress.values, matrix, plan, check)
    lost = [h for h, z in zip(measured.hkl, z_of(aligned.images, target), strict=True) if float(z) > UNEXPLAINED]
    if lost:
        notes.append(f"images that the model does not explain at all: {'; '.join(hkl_label(h) for h in lost)}")
    return Refinement(
        measured,
        parameters,
        progress.values,
        matrix + np.outer(bias, bias),
        state,
        plan,
        fit,
        aligned,
        np.zeros((len(measured.hkl), 2)) if moves is None else moves.numpy(),
        progress,
        tuple(dict.fromkeys(notes)),
        check,
        leave_one_out(target, aligned.residual, slopes, precision),
    )


def _merge(moved: np.ndarray, plain: FloatArray, aligned: FloatArray) -> FloatArray:
    """The covariance with moves; the geometry that these replace keeps what it was without them."""
    with np.errstate(invalid="ignore"):  # what is not determined is infinite
        scale = np.sqrt(np.where(moved, plain.diagonal(), aligned.diagonal()) / plain.diagonal())
    return np.where(moved[:, None] | moved[None, :], plain * np.outer(scale, scale), aligned)


def _doubts(
    parameters: Sequence[Parameter], values: FloatArray, matrix: FloatArray, plan: Plan, check: Check
) -> list[str]:
    """Warnings about the end."""
    notes = []
    for p, value, su, bias in zip(parameters, values, standard_uncertainties(matrix), check.bias, strict=True):
        span = p.high - p.low
        if p.kind != "thickness" and min(value - p.low, p.high - value) < 1e-4 * span:
            notes.append(f"{p.name} is at the edge of its range, {value:.6g}")
        if abs(bias) > su:
            notes.append(
                f"{p.name} would change by {bias:+.2g} with {check.beams} beams, more than its statistical "
                f"uncertainty ({su:.2g}); the uncertainty given includes both"
            )
    for p, su in zip(parameters, standard_uncertainties(matrix), strict=True):
        if su > ITS_PRIOR * p.spread:
            notes.append(f"the images do not decide {p.name}: what is given is little more than its prior")
    rho = correlations(matrix)
    for i, j in np.argwhere(np.triu(np.abs(rho) > TRADING, 1)):
        notes.append(
            f"{parameters[i].name} and {parameters[j].name} trade with each other (correlation {rho[i, j]:+.3f}): "
            "neither is known without the other; fix one of them if you know it"
        )
    if check.difference > ENOUGH:
        notes.append(
            f"{len(plan.beams)} beams are not enough: {check.beams} and more Bloch waves change intensities by "
            f"{check.difference:.2g}"
        )
    return notes
