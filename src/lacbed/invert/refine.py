"""Refinement: thickness scan, several starts, parameters freed in stages, shifts of each image, uncertainties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL, check_reflections
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.geometry.frame import Frame
from lacbed.invert.families import add_families
from lacbed.invert.minimise import Minimiser, least_squares_fit, quasi_newton_fit
from lacbed.invert.model import Kept, StateOf, thickness_series
from lacbed.invert.objective import Fit, Target, Weights, compare, make_target, mean_z, reweighted
from lacbed.invert.parameters import STAGES, Parameter, build_parameters, state_function
from lacbed.invert.plan import Plan, make_plan
from lacbed.invert.structure import State, start_state
from lacbed.invert.uncertainties import covariance
from lacbed.potential import Absorption

SCAN_PIXELS = 44
"""The scan and the first steps of each start work on images of about this many pixels a side."""

MAX_SHIFT = 3.0  # pixels

ENOUGH = 0.02
"""Largest |ΔI| by half as many beams again that is let pass without a warning."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What refinement needs of an experiment.

    Attributes:
        images: counts, NaN where masked: (g, ky, kx).
        hkl: the reflections.
        frame: orientation of the crystal.
        energy: in eV.
        half_width: of the images in 1/Å.
        center: of the images in 1/Å.
    """

    images: FloatArray
    hkl: tuple[HKL, ...]
    frame: Frame
    energy: float
    half_width: float
    center: tuple[float, float] = (0.0, 0.0)

    def binned(self, factor: int) -> Measured:
        """Mean of factor x factor pixels."""
        g, n, _ = self.images.shape
        small = self.images.reshape(g, n // factor, factor, n // factor, factor).mean(axis=(2, 4))
        return replace(self, images=small)


@dataclass(frozen=True)
class Options:
    """How to refine.

    Attributes:
        free: parameters, see `lacbed.invert.parameters.KINDS`.
        thicknesses: to scan, in Å; a single one is the start as it stands.
        beams: number of strong beams of the refinement.
        weak_beams: number of further ones that enter by perturbation.
        absorption: model of absorption.
        factors: scattering factors.
        method: "lm" (Levenberg-Marquardt with bounds) or "lbfgs" (gradient only).
        starts: how many minima of the scan to follow.
        align: whether each image may be shifted at the end.
        weights: "correlation" (mean Z) or "poisson" (electron counts).
        common_scale: one scale for all images and no background.
        blur: standard deviation in pixels of the first Gaussian.
        steps: evaluations in each stage at most.
        divisions: points of the lattice per reciprocal vector; default by the pixels.
    """

    free: tuple[str, ...] = ("thickness", "B", "half_width", "tilt")
    thicknesses: tuple[float, ...] = tuple(float(t) for t in range(300, 2001, 20))
    beams: int = 120
    weak_beams: int = 200
    absorption: Absorption = "thomas"
    factors: str = "kirkland"
    method: Literal["lm", "lbfgs"] = "lm"
    starts: int = 2
    align: bool = True
    weights: Weights = "correlation"
    common_scale: bool = False
    blur: float = 1.0
    steps: int = 12
    divisions: int | None = None


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a refinement stands; everything needed to go on.

    Attributes:
        stage: number of stages that are done; 0 after the scan.
        values: of all parameters: (p,).
        shifts: of the images, or None before the last stage: (g, 2).
        scan: thickness in Å and mean Z: (thickness, 2).
        history: (stage, mean Z) after every evaluation that was better than all before.
    """

    stage: int
    values: FloatArray
    shifts: FloatArray | None = None
    scan: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    history: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Refinement:
    """A finished refinement.

    Attributes:
        measured: the images that were used.
        parameters: what was free.
        values: their values: (p,).
        covariance: (p, p).
        state: the final state.
        plan: of the final model.
        fit: without shifts.
        fit_aligned: with shifts, or the same.
        shifts: of the images in pixels: (g, 2).
        progress: scan and history.
        notes: warnings.
        check_beams: number of beams of the final check.
        check_difference: largest |ΔI| between them and the beams of the refinement, on the small images.
        check_z: change of mean Z by them, at the same parameters.
    """

    measured: Measured
    parameters: tuple[Parameter, ...]
    values: FloatArray
    covariance: FloatArray
    state: State
    plan: Plan
    fit: Fit
    fit_aligned: Fit
    shifts: FloatArray
    progress: Progress
    notes: tuple[str, ...]
    check_beams: int
    check_difference: float
    check_z: float


Tell = Callable[[str, float], None]
"""Called with what is done and the fraction of the whole."""

Save = Callable[[Progress], None]


def refine(
    crystal: Crystal,
    measured: Measured,
    options: Options,
    *,
    resume: Progress | None = None,
    tell: Tell | None = None,
    save: Save | None = None,
) -> Refinement:
    """Fit a crystal and the geometry to measured images.

    The thickness is scanned on small images; the best minima are followed for a few steps with the geometry; from
    the best one the parameters are freed in the order of `lacbed.invert.parameters.STAGES`; at last every image
    may be shifted by itself, while the tilt stands still (a common shift is a tilt).

    Args:
        crystal: the first model.
        measured: the experiment.
        options: how.
        resume: to go on from.
        tell: told the progress.
        save: given the state of affairs after the scan, every stage, and every better evaluation.

    Raises:
        SettingError: on parameters that symmetry fixes or that do not change the images, and on images without
            contrast.
    """
    say: Tell = tell or (lambda _what, _fraction: None)
    keep: Save = save or (lambda _progress: None)
    check_reflections(crystal, measured.frame, measured.hkl, laue_zones=0)
    measured, notes = usable(measured)
    problem = _Problem(crystal, measured, options)
    parameters, found = problem.first_parameters()
    notes += found
    progress = resume if resume is not None else _scan(problem, parameters, say)
    if len(progress.scan) and not any(p.kind == "thickness" for p in parameters):
        best = float(progress.scan[np.argmin(progress.scan[:, 1]), 0])
        problem.base = problem.base.changed(thickness=torch.tensor(best, dtype=torch.float64))
    keep(progress)
    if len(progress.values) != len(parameters):
        raise SettingError(
            "the saved state belongs to other free parameters; choose another folder or drop --resume"
        )
    progress = _stages(problem, parameters, progress, say, keep)
    return _finish(problem, parameters, progress, notes, say)


def usable(measured: Measured) -> tuple[Measured, list[str]]:
    """Without images that have no contrast.

    Raises:
        SettingError: if none is left.
    """
    flat = [bool(~np.any(np.isfinite(i)) or np.nanmax(i) - np.nanmin(i) <= 0.0) for i in measured.images]
    if all(flat):
        raise SettingError("no measured image has any contrast; there is nothing to refine against")
    if not any(flat):
        return measured, []
    names = " ".join(",".join(str(v) for v in h) for h, f in zip(measured.hkl, flat, strict=True) if f)
    kept = [i for i, f in enumerate(flat) if not f]
    smaller = replace(measured, images=measured.images[kept], hkl=tuple(measured.hkl[i] for i in kept))
    return smaller, [f"images without contrast left out: {names}"]


class _Problem:
    """Plans and targets of one refinement."""

    def __init__(self, crystal: Crystal, measured: Measured, options: Options) -> None:
        self.crystal, self.measured, self.options = crystal, measured, options
        self.small = measured.binned(_bin_factor(measured.images.shape[1]))
        self.base = start_state(
            crystal, measured.energy, measured.half_width, tilt=measured.center, blur=options.blur,
            thickness=float(np.median(options.thicknesses)),
        )  # fmt: skip
        self.families = [name for name in options.free if name.startswith("Ug:")]

    def target(self, measured: Measured) -> Target:
        return make_target(torch.as_tensor(measured.images), self.options.weights, self.options.common_scale)

    def plan(self, measured: Measured, state: State, beams: int, divisions: int | None = None) -> Plan:
        o = self.options
        plan = make_plan(
            self.crystal, measured.frame, measured.hkl, measured.images.shape[1], state, beams=beams,
            weak_beams=o.weak_beams, factors=o.factors, absorption=o.absorption, divisions=divisions,
            binning=self.measured.images.shape[1] // measured.images.shape[1],
        )  # fmt: skip
        if self.families:
            structure, _, _ = add_families(self.crystal, plan.structure, self.base, self.families)
            plan = replace(plan, structure=structure)
        return plan

    def first_parameters(self) -> tuple[tuple[Parameter, ...], list[str]]:
        """All parameters in the order of their stages, without those that do not change the images."""
        o = self.options
        parameters = list(build_parameters(self.crystal, self.base, o.free, o.absorption))
        self.small_plan = self.plan(self.small, self.base, _fewer(o.beams))
        if self.families:
            bare = make_plan(
                self.crystal, self.small.frame, self.small.hkl, self.small.images.shape[1], self.base,
                beams=_fewer(o.beams), factors=o.factors, absorption=o.absorption,
            )  # fmt: skip
            _, self.base, more = add_families(self.crystal, bare.structure, self.base, self.families)
            parameters += more
        parameters.sort(key=lambda p: p.stage)
        return self._seen(tuple(parameters))

    def _seen(self, parameters: tuple[Parameter, ...]) -> tuple[tuple[Parameter, ...], list[str]]:
        """Leave out what cannot be seen along this zone axis; refuse it if it was asked for by name."""
        values = torch.tensor([p.value for p in parameters], dtype=torch.float64)
        fit = compare(
            self.small_plan,
            self.target(self.small),
            state_function(self.base, parameters),
            values,
            with_slopes=True,
        )
        assert fit.slopes is not None
        reach = np.array([p.high - p.low for p in parameters])
        size = torch.linalg.vector_norm(fit.slopes.flatten(1), dim=1).numpy() * reach
        blind = [p for p, s in zip(parameters, size, strict=True) if s < 1e-7 * size.max()]
        for p in blind:
            if f"{p.kind}:{p.name.partition(':')[2]}" in self.options.free or p.kind == "Ug":
                raise SettingError(
                    f"{p.name} cannot be free: it does not change these images along this zone axis; leave it out"
                )
        kept = tuple(p for p in parameters if p not in blind)
        if not kept:
            raise SettingError("none of the free parameters changes these images")
        names = ", ".join(p.name for p in blind)
        return kept, [f"not free because they do not change these images: {names}"] if blind else []


def _fewer(beams: int) -> int:
    """Strong beams of the scan."""
    return round(0.7 * beams)


def _bin_factor(pixels: int) -> int:
    """Largest divisor of the pixels that leaves at least about `SCAN_PIXELS`."""
    return max(f for f in range(1, pixels + 1) if pixels % f == 0 and (f == 1 or pixels / f >= 0.8 * SCAN_PIXELS))


def _scan(problem: _Problem, parameters: tuple[Parameter, ...], say: Tell) -> Progress:
    """Mean Z over thickness, and the best start after a few steps from each minimum."""
    thicknesses = problem.options.thicknesses
    values = np.array([p.value for p in parameters])
    place = next((i for i, p in enumerate(parameters) if p.kind == "thickness"), None)
    target = problem.target(problem.small)
    series = thickness_series(
        problem.small_plan, problem.base, thicknesses, lambda f: say("thickness scan", 0.2 * f)
    )
    scores = np.array([mean_z(images, target) for images in series])
    table = np.column_stack([thicknesses, scores])
    best = _minima(scores)[: problem.options.starts]
    if place is None:
        problem.base = problem.base.changed(
            thickness=torch.tensor(float(thicknesses[best[0]]), dtype=torch.float64)
        )
        return Progress(0, values, scan=table)
    early = [i for i, p in enumerate(parameters) if p.kind in ("thickness", "half_width", "tilt")]
    outcomes = []
    for number, index in enumerate(best):
        begin = values.copy()
        begin[place] = thicknesses[index]
        local = _with_thickness(parameters, thicknesses[index], problem.options)
        state_of = state_function(problem.base, parameters)
        minimiser = Minimiser(problem.small_plan, target, state_of, local, begin, early, None)
        end = least_squares_fit(minimiser, 5)
        outcomes.append((minimiser.best_cost, end))
        say(f"start {number + 1} of {len(best)}", 0.2 + 0.1 * (number + 1) / len(best))
    outcomes.sort(key=lambda pair: pair[0])
    return Progress(0, outcomes[0][1], scan=table)


def _minima(scores: FloatArray) -> list[int]:
    """Local minima, the deepest first."""
    padded = np.concatenate([[np.inf], scores, [np.inf]])
    lows = [i for i in range(len(scores)) if padded[i + 1] <= padded[i] and padded[i + 1] < padded[i + 2]]
    return sorted(lows, key=lambda i: scores[i]) or [int(np.argmin(scores))]


def _with_thickness(parameters: Sequence[Parameter], thickness: float, options: Options) -> tuple[Parameter, ...]:
    """Bounds on the thickness around where the search stands."""
    reach = max(60.0, 0.08 * thickness)
    low = max(1.0, thickness - reach)
    return tuple(replace(p, low=low, high=thickness + reach) if p.kind == "thickness" else p for p in parameters)


def _stages(
    problem: _Problem, parameters: tuple[Parameter, ...], progress: Progress, say: Tell, keep: Save
) -> Progress:
    """Free the parameters step by step on the small images; then once more on the full ones, with their shifts."""
    o = problem.options
    state_of = state_function(problem.base, parameters)
    here = state_of(torch.as_tensor(progress.values))
    present = sorted({p.stage for p in parameters})
    steps = [("+".join(k for k in STAGES[s] if any(p.kind == k for p in parameters)), s) for s in present]
    plan, target = problem.plan(problem.small, here, o.beams), problem.target(problem.small)
    for number, (name, stage) in enumerate(steps):
        if number < progress.stage:
            continue
        active = [i for i, p in enumerate(parameters) if p.stage <= stage]
        target = reweighted(target, compare(plan, target, state_of, torch.as_tensor(progress.values)))
        progress = _fit_stage(plan, target, state_of, parameters, progress, active, None, name, o, keep)
        progress = replace(progress, stage=number + 1)
        keep(progress)
        z = f", mean Z {progress.history[-1][1]:.4f}" if progress.history else ""
        say(f"freed {name}{z}", 0.3 + 0.4 * (number + 1) / len(steps))
    if progress.stage > len(steps):
        return progress
    plan, target = problem.plan(problem.measured, here, o.beams, o.divisions), problem.target(problem.measured)
    target = reweighted(target, compare(plan, target, state_of, torch.as_tensor(progress.values)))
    active = [i for i, p in enumerate(parameters) if not (o.align and p.kind == "tilt")]
    shifts = None
    if o.align:
        shifts = _settle(
            plan, target, state_of, progress.values, torch.zeros(len(problem.measured.hkl), 2).double()
        )
    progress = _fit_stage(plan, target, state_of, parameters, progress, active, shifts, "full images", o, keep)
    if shifts is not None:
        shifts = _settle(plan, target, state_of, progress.values, shifts)
    progress = replace(progress, stage=len(steps) + 1, shifts=None if shifts is None else shifts.numpy())
    keep(progress)
    say("fitted the full images", 0.9)
    return progress


def _settle(plan: Plan, target: Target, state_of: StateOf, values: FloatArray, shifts: Tensor) -> Tensor:
    """Shifts of every image, iterated to rest; images that do not come to rest stay where they are."""
    start, kept = shifts, {}  # type: tuple[Tensor, Kept]
    for _ in range(4):
        moves = compare(plan, target, state_of, torch.as_tensor(values), shifts, kept=kept).moves
        shifts = shifts + moves
        if float(moves.abs().max()) < 0.02:
            break
    lost = (shifts.abs() > MAX_SHIFT).any(dim=1) | ~torch.isfinite(shifts).all(dim=1)
    return torch.where(lost[:, None], start, shifts)


def _fit_stage(
    plan: Plan,
    target: Target,
    state_of: StateOf,
    parameters: tuple[Parameter, ...],
    progress: Progress,
    active: list[int],
    shifts: Tensor | None,
    name: str,
    options: Options,
    keep: Save,
) -> Progress:
    thickness = next(
        (float(v) for p, v in zip(parameters, progress.values, strict=True) if p.kind == "thickness"), None
    )
    local = parameters if thickness is None else _with_thickness(parameters, thickness, options)
    history = list(progress.history)

    def better(values: FloatArray, cost: float) -> None:
        history.append((name, cost))
        keep(replace(progress, values=values, history=tuple(history)))

    minimiser = Minimiser(plan, target, state_of, local, progress.values, active, shifts, better)
    run = quasi_newton_fit if options.method == "lbfgs" and shifts is None else least_squares_fit
    values = run(minimiser, options.steps)
    return replace(progress, values=values, history=tuple(history))


def _finish(
    problem: _Problem, parameters: tuple[Parameter, ...], progress: Progress, notes: list[str], say: Tell
) -> Refinement:
    """Uncertainties at the end, and the check with more beams."""
    o = problem.options
    state_of = state_function(problem.base, parameters)
    values = torch.as_tensor(progress.values)
    state = state_of(values)
    plan, target = problem.plan(problem.measured, state, o.beams, o.divisions), problem.target(problem.measured)
    kept: Kept = {}
    target = reweighted(target, compare(plan, target, state_of, values, kept=kept))
    fit = compare(plan, target, state_of, values, None, True, kept)
    aligned, shifts = fit, np.zeros((len(problem.measured.hkl), 2))
    assert fit.slopes is not None
    matrix = covariance(target, fit.residual, fit.slopes)
    if progress.shifts is not None:
        shifts = progress.shifts
        aligned = compare(plan, target, state_of, values, torch.as_tensor(shifts), True, kept)
        assert aligned.slopes is not None
        matrix = _merge(parameters, matrix, covariance(target, aligned.residual, aligned.slopes))
    say("checking beams", 0.95)
    small = problem.target(problem.small)
    few, more = (problem.plan(problem.small, state, n) for n in (o.beams, round(1.5 * o.beams)))
    first, second = (compare(p, small, state_of, values).images for p in (few, more))
    difference = float((first - second).abs().max())
    check_z = mean_z(second, small) - mean_z(first, small)
    for p, value in zip(parameters, progress.values, strict=True):
        span = p.high - p.low
        if p.kind != "thickness" and min(value - p.low, p.high - value) < 1e-4 * span:
            notes.append(f"{p.name} stands at the edge of its range, {value:.6g}")
    if difference > ENOUGH:
        notes.append(
            f"{plan.layout.beams} beams are not enough: {more.layout.beams} change intensities by {difference:.2g}"
        )
    return Refinement(
        problem.measured, parameters, progress.values, matrix, state, plan, fit, aligned, shifts, progress,
        tuple(notes), more.layout.beams, difference, check_z,
    )  # fmt: skip


def _merge(parameters: Sequence[Parameter], plain: FloatArray, aligned: FloatArray) -> FloatArray:
    """The covariance with shifts; the tilt, which they replace, keeps that without."""
    result = aligned.copy()
    for i, p in enumerate(parameters):
        if p.kind == "tilt":
            result[i, :], result[:, i] = plain[i, :], plain[:, i]
    return result
