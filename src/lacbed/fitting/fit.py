"""A crystal against an experiment: thickness by a scan, the common geometry, and figures of merit.

Nothing of the crystal is changed; see `lacbed.refinement.refine` for that.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr

from lacbed.beams import check_reflections
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.bragg import POOR, WIDTH_OFF, BraggCheck, check_bragg
from lacbed.experiment.experiment import Experiment
from lacbed.fitting.align import UNALIGNED
from lacbed.fitting.beam_convergence import enough_beams
from lacbed.fitting.merit import FigureOfMerit, score_samplers
from lacbed.fitting.register import Placement, Stage, place
from lacbed.fitting.settings import FitSettings
from lacbed.fitting.thickness_search import FINAL_STEP, fine_thicknesses, search, simulate_stage, z_curve
from lacbed.geometry.frame import Frame
from lacbed.patterns.result import label_pattern
from lacbed.solvers.blocks import Tick, one_thread_each

POOR_Z, HOPELESS_Z = 0.15, 0.5
"""Mean Z from which a warning says so; measured stacks that are understood are met to 10 % or better."""


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
    warnings: tuple[str, ...] = field(default=())


def fit(
    experiment: Experiment, crystal: Crystal, settings: FitSettings | None = None, progress: Tick | None = None
) -> FitResult:
    """Find the thickness and the common geometry at which a crystal meets an experiment best.

    Args:
        experiment: what was measured.
        crystal: what it is held against; it is not changed.
        settings: how.
        progress: called with the fraction of the work done.

    Raises:
        SettingError: if the crystal cannot show the measured reflections, or a setting is impossible.
        MemoryLimitError: if the request does not fit.
    """
    with one_thread_each(torch.device("cpu")):  # its many small steps gain nothing from threads of their own
        return _fit(experiment, crystal, settings or FitSettings(), progress or _silent)


def _fit(experiment: Experiment, crystal: Crystal, wanted: FitSettings, tick: Tick) -> FitResult:
    start = time.process_time()
    frame = check_crystal(experiment, crystal)
    bragg = check_bragg(experiment, crystal)
    warnings = [*experiment.notes, *crystal.notes, *bragg.warnings(experiment)]
    stated_width = experiment.half_width
    experiment = _nearer(experiment, bragg, wanted)
    warnings += experiment.notes
    convergence = f"{wanted.beams} beams as requested, convergence not checked"
    if wanted.beams == "auto":
        count, convergence = enough_beams(experiment, crystal, frame, wanted)
        wanted = replace(wanted, beams=count)
    placement = Placement(blur=wanted.blur)
    if "half_width" in wanted.free and abs(bragg.scale - 1) <= WIDTH_OFF and bragg.reflections > 2:
        placement = replace(placement, scale=float(np.clip(bragg.scale, 0.97, 1.03)))
    placement, curve = search(experiment, crystal, wanted, placement, frame, lambda f: tick(0.7 * f))
    fine = fine_thicknesses(wanted.thicknesses, int(np.argmin(curve)))
    final = simulate_stage(experiment, crystal, wanted, fine, FINAL_STEP, frame, lambda f: tick(0.7 + 0.3 * f))
    for _ in range(2):
        best = int(np.argmin(z_curve(final, placement)))
        placement = place(final, best, placement, wanted.free)
    warnings += _edges(wanted, placement, curve)
    merits = score_samplers(experiment, final.samplers(best, placement), wanted.matching)
    as_stated = Placement(stated_width / experiment.half_width, blur=placement.blur)
    stated = score_samplers(experiment, final.samplers(best, as_stated), UNALIGNED)
    moved = _moved(experiment, placement, fine[best])
    simulation = _label(final, best, placement, crystal, frame, wanted, moved)
    return FitResult(
        moved,
        simulation,
        fine[best],
        tuple(zip(wanted.thicknesses, curve.tolist(), strict=True)),
        placement,
        stated_width,
        stated,
        merits,
        bragg,
        final.pattern.beams,
        convergence,
        time.process_time() - start,
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


def _silent(_: float) -> None:
    pass


def _edges(settings: FitSettings, placement: Placement, curve: FloatArray) -> list[str]:
    """Warnings about a minimum at the end of its range."""
    found = []
    best = float(np.argmin(curve))
    if len(curve) > 1 and best in (0, len(curve) - 1):
        found.append(
            f"the best thickness is at the end of the scan ({settings.thicknesses[int(best)]:g} Å): widen it"
        )
    least = float(np.min(curve))
    if least > HOPELESS_Z:
        found.append(f"no thickness fits: the lowest mean Z is {least:.2f}; is this the right crystal?")
    elif least > POOR_Z:
        absorption = "" if settings.absorption else ", and absorption, which measured patterns have"
        found.append(
            f"the fit is poor, mean Z {100 * least:.0f} % in the scan: check the crystal, the range of thicknesses"
            f"{absorption}"
        )
    if abs(placement.scale - 1) > 0.055:
        found.append("the half-width reached the end of its range; check it")
    return found


def _moved(experiment: Experiment, placement: Placement, thickness: float) -> Experiment:
    """The experiment with the fitted half-width, centre and thickness."""
    x, y = experiment.center
    middle = (x + placement.tilt[0], y + placement.tilt[1])
    moved = experiment.on_grid(experiment.half_width * placement.scale, middle)
    pattern = moved.pattern.assign_coords(
        thickness=("thickness", [thickness], {"units": "Å", "long_name": "fitted thickness"})
    )
    return Experiment(pattern)


def _label(
    stage: Stage,
    best: int,
    placement: Placement,
    crystal: Crystal,
    frame: Frame,
    settings: FitSettings,
    moved: Experiment,
) -> xr.DataArray:
    """The simulated stack as a pattern at the pixels of the experiment."""
    images = stage.images(best, placement)[None]
    pattern = stage.pattern
    described = {
        "beams": pattern.beams,
        "tilts_solved": pattern.solved,
        "blur_pixels": placement.blur,
        "turn_degrees": math.degrees(placement.rotation),
    }
    made = replace(settings, beams=pattern.beams).simulation(moved, (pattern.thicknesses[best],))
    everywhere = np.ones(moved.pixels**2, dtype=bool)
    notes = [*crystal.notes, *pattern.notes, "averaged over pixels and blurred"]
    flat = images.reshape(*images.shape[:2], -1)
    return label_pattern(flat, everywhere, pattern.hkl, crystal, frame, made, described, notes)
