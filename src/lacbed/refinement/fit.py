"""A crystal against an experiment: thickness and common geometry refined alone, and figures of merit.

A fit is a refinement that frees no parameter of the crystal: the same parameters, objective, scan and minimiser,
over `lacbed.refinement.lattice_model`, which takes tilted foils too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr

from lacbed.beams import check_reflections
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.bragg import POOR, WIDTH_OFF, BraggCheck, check_bragg
from lacbed.experiment.experiment import Experiment, largest_binning
from lacbed.geometry.frame import Frame
from lacbed.patterns.result import label_pattern
from lacbed.refinement.lattice_model import LatticeModel, enough_beams, simulate_model
from lacbed.refinement.merit import FigureOfMerit, match_images, target_of
from lacbed.refinement.minimise import Minimiser, Part, least_squares_fit
from lacbed.refinement.objective import compare
from lacbed.refinement.options import FitSettings
from lacbed.refinement.parameter import Parameter, begin_at, state_function
from lacbed.refinement.parameters import build_parameters
from lacbed.refinement.problem import FIRST_BLUR, SMALL, measured_of, usable
from lacbed.refinement.scan import BLURS, HOPELESS, scan, scan_notes, search
from lacbed.refinement.stages import LAST
from lacbed.refinement.uncertainties import covariance, evidence, standard_uncertainties
from lacbed.solvers.blocks import Tick, one_thread_each
from lacbed.state import ModelState, crystal_state

POOR_Z = 0.15
"""Mean Z from which a warning says so; measured stacks that are understood are met to 10 % or better."""

SCAN_STEP, FINAL_STEP = 1.0, 0.8
"""Steps of the lattice in pixels while the thickness is sought, and for the final figures."""

STARTS, STEPS = 3, 12
"""Minima of the scan that are followed, each with a geometry of its own, and evaluations from each."""

FINE = 10
"""The final thicknesses are solved this many times as close as those of the scan."""

MAX_SCALE, TILT_PIXELS = 0.06, 4.0
"""How far half-width and tilt may go: nothing of the crystal is free that could run after them."""

EDGE = 1e-3
"""A parameter this near to the end of its range, as part of the range, has a warning."""


@dataclass(frozen=True)
class Placement:
    """Where the pixels lie: k = c + scale · R(rotation) (k_stated - c) + tilt, about the centre c of the grid.

    Attributes:
        scale: of the half-width.
        tilt: of the centre (kx, ky) in 1/Å.
        rotation: rotation from x towards y in rad.
        blur: standard deviation in pixels of the Gaussian that the simulation is folded with.
    """

    scale: float
    tilt: tuple[float, float]
    rotation: float
    blur: float


@dataclass(frozen=True, eq=False)
class FitResult:
    """What came out.

    Attributes:
        experiment: with the fitted half-width and centre, and the thickness.
        simulation: the pattern at the pixels of the experiment, blurred, not moved reflection by reflection.
        thickness: best thickness in Å.
        scan: thicknesses of the scan in Å and the mean Z of each (common geometry, no alignment).
        placement: the common geometry relative to that of the start.
        stated_half_width: in 1/Å, as the experiment said.
        stated: figures of merit with the geometry as stated (and the fitted blur), nothing aligned.
        merits: with the common geometry; its `z` is before and its `z_aligned` after moving each reflection.
        bragg: what the Bragg lines say about the stated geometry.
        beams: number of beams.
        convergence: what was found about it.
        cpu_seconds: all threads of this process.
        uncertainties: standard uncertainties of what was free, by name, from how much the reflections disagree.
        warnings: what to look at.
    """

    experiment: Experiment
    simulation: xr.DataArray
    thickness: float
    scan: tuple[tuple[float, float], ...]
    placement: Placement
    stated_half_width: float
    stated: FigureOfMerit
    merits: FigureOfMerit
    bragg: BraggCheck
    beams: int
    convergence: str
    cpu_seconds: float
    uncertainties: dict[str, float]
    warnings: tuple[str, ...] = field(default=())


def fit(
    experiment: Experiment, crystal: Crystal, settings: FitSettings | None = None, progress: Tick | None = None
) -> FitResult:
    """Find the thickness and the common geometry at which a crystal meets an experiment best.

    Nothing of the crystal is changed; see `lacbed.refine` for that.

    Args:
        experiment: what was measured.
        crystal: what it is compared with.
        settings: how.
        progress: called with the fraction of the work done.

    Raises:
        SettingError: if the crystal cannot show the measured reflections, or a setting is impossible.
        MemoryLimitError: if the request does not fit.
    """
    with one_thread_each(torch.device("cpu")):  # its many small steps gain nothing from threads of their own
        return _fit(experiment, crystal, settings or FitSettings(), progress or (lambda _: None))


def _fit(experiment: Experiment, crystal: Crystal, wanted: FitSettings, tick: Tick) -> FitResult:
    start = time.process_time()
    frame = check_crystal(experiment, crystal)
    usable(measured_of(experiment, crystal))
    bragg = check_bragg(experiment, crystal)
    warnings = [*experiment.notes, *crystal.notes, *bragg.warnings(experiment)]
    stated_width = experiment.half_width
    experiment = _nearer(experiment, bragg, wanted)
    warnings += experiment.notes
    convergence = f"{wanted.beams} beams as requested, convergence not checked"
    if wanted.beams == "auto":
        count, convergence = enough_beams(experiment, crystal, frame, wanted)
        wanted = replace(wanted, beams=count)
    base, parameters = _begin(experiment, crystal, wanted, bragg)
    base, parameters, values, curve = _search(
        experiment, crystal, wanted, base, parameters, frame, lambda f: tick(0.6 * f)
    )
    fine = _fine_thicknesses(wanted.thicknesses, int(np.argmin(curve)))
    model = simulate_model(
        experiment, crystal, wanted, fine, FINAL_STEP, frame, progress=lambda f: tick(0.6 + 0.4 * f)
    )
    state, uncertainties, edges = _finish(experiment, model, base, parameters, values)
    warnings += [*scan_notes(wanted.thicknesses, curve), *_doubts(wanted, curve), *edges]
    merits = match_images(experiment, model, state, wanted)
    stated = _as_stated(experiment, model, state, stated_width)
    thickness = float(state.thickness)
    moved = _moved(experiment, state, thickness)
    placement = Placement(
        float(state.half_width) / experiment.half_width,
        (float(state.tilt[0]) - experiment.center[0], float(state.tilt[1]) - experiment.center[1]),
        float(state.distortion[0]),
        float(state.blur),
    )
    return FitResult(
        moved,
        _label(model, state, crystal, frame, wanted, moved),
        thickness,
        tuple(zip(wanted.thicknesses, curve.tolist(), strict=True)),
        placement,
        stated_width,
        stated,
        merits,
        bragg,
        model.pattern.beams,
        convergence,
        time.process_time() - start,
        uncertainties,
        tuple(dict.fromkeys(warnings)),
    )


def check_crystal(experiment: Experiment, crystal: Crystal) -> Frame:
    """The orientation of a crystal in an experiment, if it can show its reflections.

    Raises:
        SettingError: if not.
    """
    frame = experiment.frame(crystal)
    try:
        check_reflections(crystal, frame, experiment.hkl, 0)
    except SettingError as error:
        raise SettingError(
            f"{error}; is {crystal.name} in a different cell or setting from the experiment?"
        ) from None
    return frame


def _nearer(experiment: Experiment, bragg: BraggCheck, settings: FitSettings) -> Experiment:
    """The experiment with the half-width of the Bragg lines, where that is free and the stated one is far off."""
    far = bragg.reflections > 2 and bragg.best > POOR and abs(bragg.scale - 1) > WIDTH_OFF
    if not (far and "half_width" in settings.free) or bragg.orientation != experiment.orientation:
        return experiment
    half = experiment.half_width * bragg.scale
    note = f"the fit starts from the half-width of the Bragg lines, {half:.4g} for {experiment.half_width:.4g} 1/Å"
    return experiment.on_grid(half).annotated(note)


def _begin(
    experiment: Experiment, crystal: Crystal, settings: FitSettings, bragg: BraggCheck
) -> tuple[ModelState, Sequence[Parameter]]:
    """The first state, with the half-width of the Bragg lines where it is near, and what may change."""
    scale = 1.0
    if "half_width" in settings.free and abs(bragg.scale - 1) <= WIDTH_OFF and bragg.reflections > 2:
        scale = float(np.clip(bragg.scale, 0.97, 1.03))
    base = crystal_state(
        crystal,
        experiment.energy,
        scale * experiment.half_width,
        tilt=experiment.center,
        blur=settings.blur or FIRST_BLUR,
        thickness=float(np.median(settings.thicknesses)),
    )
    tilts = TILT_PIXELS * experiment.pixel_size
    reach = {"half_width": MAX_SCALE * float(base.half_width), "tilt": max(tilts, 0.05 * experiment.half_width)}
    parameters = build_parameters(crystal, base, ("thickness", *settings.free))
    wide = [
        replace(p, low=p.value - reach[p.kind], high=p.value + reach[p.kind]) if p.kind in reach else p
        for p in parameters
    ]
    return base, wide


def _search(
    experiment: Experiment,
    crystal: Crystal,
    settings: FitSettings,
    base: ModelState,
    parameters: Sequence[Parameter],
    frame: Frame,
    tick: Tick,
) -> tuple[ModelState, Sequence[Parameter], FloatArray, FloatArray]:
    """First state, parameters, their values and mean Z at every thickness, in large pixels if there are many."""
    factor = largest_binning(experiment.pixels, 0.8 * SMALL)
    tried, target = settings.thicknesses, target_of(experiment.binned(factor))
    model = simulate_model(experiment, crystal, settings, tried, SCAN_STEP, frame, factor, lambda f: tick(0.6 * f))
    thickness, blur, values, curve = search(
        model,
        target,
        base,
        parameters,
        tried,
        settings.free,
        blurs=BLURS if settings.blur is None else (settings.blur,),
        starts=STARTS if settings.free else 1,
        steps=STEPS,
        say=lambda _, f: tick(0.6 + f),
    )
    base, parameters = begin_at(base, parameters, thickness, blur)
    if settings.free:
        state = state_function(base, parameters)(torch.as_tensor(values))
        curve = scan(model, target, [state], tried, [float(state.blur)], lambda _: None)[:, 0, 0]
    values[0] = tried[int(np.argmin(curve))]
    return base, parameters, values, curve


def _finish(
    experiment: Experiment,
    model: LatticeModel,
    base: ModelState,
    parameters: Sequence[Parameter],
    values: FloatArray,
) -> tuple[ModelState, dict[str, float], list[str]]:
    """Thickness and geometry refined together: the state, standard uncertainties, and warnings."""
    solved = model.pattern.thicknesses
    local = [replace(p, low=solved[0], high=solved[-1]) if p.kind == "thickness" else p for p in parameters]
    active = [i for i, p in enumerate(local) if p.high > p.low]
    target, state_of = target_of(experiment), state_function(base, parameters)
    part = Part(model, target, state_of, range(len(local)))
    values = least_squares_fit(Minimiser([part], local, values, active), STEPS, LAST)
    found = compare(model, target, state_of, torch.as_tensor(values), with_slopes=True)
    assert found.slopes is not None
    used = target.root.flatten(1).any(dim=1)
    su = standard_uncertainties(covariance(evidence(target, found.residual[used], found.slopes[:, used])))
    free = {p.name: s for p, s in zip(parameters, su.tolist(), strict=True) if p.high > p.low}
    edges = [
        f"{p.name} is at the edge of its range, {value:.6g}"
        for p, value in zip(parameters, values.tolist(), strict=True)
        if p.kind not in ("thickness", "blur") and min(value - p.low, p.high - value) < EDGE * (p.high - p.low)
    ]
    return state_of(torch.as_tensor(values)), free, edges


def _as_stated(experiment: Experiment, model: LatticeModel, state: ModelState, half_width: float) -> FigureOfMerit:
    """Figures of merit with the geometry that was stated."""
    changes = {"half_width": half_width, "tilt": experiment.center, "distortion": (0.0, 0.0, 0.0)}
    stated = state.changed(**{k: torch.tensor(v, dtype=torch.float64) for k, v in changes.items()})
    return match_images(experiment, model, stated, FitSettings(align="none"))


def _fine_thicknesses(thicknesses: tuple[float, ...], best: int) -> tuple[float, ...]:
    """Thicknesses around the best one, much closer than those of the scan."""
    ordered = sorted(thicknesses)
    at = ordered.index(thicknesses[best])
    low, high = ordered[max(0, at - 1)], ordered[min(len(ordered) - 1, at + 1)]
    if low == high:
        return (low,)
    return tuple(float(round(v, 6)) for v in np.linspace(low, high, 2 * FINE + 1))


def _doubts(settings: FitSettings, curve: FloatArray) -> list[str]:
    """A warning if the lowest Z of the scan is one that measured stacks better."""
    least = float(np.min(curve))
    if not POOR_Z < least <= HOPELESS:
        return []
    absorption = "" if settings.absorption else ", and absorption, which measured patterns have"
    return [
        f"the fit is poor, mean Z {100 * least:.0f} % in the scan: check the crystal, the range of thicknesses"
        f"{absorption}"
    ]


def _moved(experiment: Experiment, state: ModelState, thickness: float) -> Experiment:
    """The experiment with the fitted half-width, centre and thickness."""
    moved = experiment.on_grid(float(state.half_width), (float(state.tilt[0]), float(state.tilt[1])))
    pattern = moved.pattern.assign_coords(
        thickness=("thickness", [thickness], {"units": "Å", "long_name": "fitted thickness"})
    )
    return Experiment(pattern)


def _label(
    model: LatticeModel,
    state: ModelState,
    crystal: Crystal,
    frame: Frame,
    settings: FitSettings,
    moved: Experiment,
) -> xr.DataArray:
    """The simulated stack as a pattern at the pixels of the experiment."""
    images, pattern = model.read(state)[0].numpy()[None], model.pattern
    described = {
        "beams": pattern.beams,
        "tilts_solved": pattern.solved,
        "blur_pixels": float(state.blur),
        "turn_degrees": math.degrees(float(state.distortion[0])),
    }
    made = replace(settings, beams=pattern.beams).simulation(moved, (float(state.thickness),))
    everywhere = np.ones(moved.pixels**2, dtype=bool)
    flat = images.reshape(*images.shape[:2], -1)
    notes = [*crystal.notes, *pattern.notes, "blurred"]
    return label_pattern(flat, everywhere, pattern.hkl, crystal, frame, made, described, notes)
