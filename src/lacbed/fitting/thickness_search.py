"""Thickness and common geometry: a scan in large pixels, and its most promising minima followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.experiment.experiment import Experiment, largest_binning
from lacbed.fitting.lattice import simulate_lattice, tilt_lattice
from lacbed.fitting.minima import local_minima
from lacbed.fitting.register import Placement, Stage, lattice_margin, place
from lacbed.fitting.settings import FitSettings
from lacbed.geometry.frame import Frame
from lacbed.patterns.metrics import zncc_loss
from lacbed.solvers.blocks import Tick

SCAN_STEP, FINAL_STEP = 1.0, 0.8
"""Steps of the lattice in pixels while the thickness is sought, and for the final figures."""

ENOUGH = 60
"""Pixels a side that the search works with at least, if the images have them."""

VALLEYS = 3
"""Minima of the scan that are followed, each with a geometry of its own."""

FINE = 10
"""The final thicknesses are this many times as close as those of the scan."""


def search(
    experiment: Experiment, crystal: Crystal, settings: FitSettings, start: Placement, frame: Frame, tick: Tick
) -> tuple[Placement, FloatArray]:
    """The common geometry and mean Z at every thickness, in large pixels where the images have many."""
    factor = largest_binning(experiment.pixels, ENOUGH)
    coarse = experiment.binned(factor)
    scan = simulate_stage(
        coarse, crystal, settings, settings.thicknesses, SCAN_STEP, frame, lambda f: tick(0.4 * f)
    )
    begin = replace(start, blur=start.blur / factor)
    placement, curve = _follow(scan, begin, settings.free, lambda f: tick(0.4 + 0.6 * f))
    return replace(placement, blur=placement.blur * factor), curve


def _follow(scan: Stage, start: Placement, free: tuple[str, ...], tick: Tick) -> tuple[Placement, FloatArray]:
    """The common geometry from the most promising minima of the scan, and mean Z at every thickness in it.

    With a geometry that is a little wrong the deepest minimum may be the wrong fringe of the thickness.
    """
    curve = z_curve(scan, start)
    if not free:
        return start, curve
    found = []
    for at in local_minima(curve)[:VALLEYS]:
        placement = place(scan, at, start, free)
        near = range(max(0, at - 2), min(len(curve), at + 3))
        z = z_curve(scan, placement, near)
        found.append((float(z.min()), near[int(np.argmin(z))], placement))
        tick(len(found) / (VALLEYS + 1))
    _, at, placement = min(found, key=lambda one: one[0])
    placement = place(scan, at, placement, free)
    return placement, z_curve(scan, placement)


def simulate_stage(
    experiment: Experiment,
    crystal: Crystal,
    settings: FitSettings,
    thicknesses: tuple[float, ...],
    step: float,
    frame: Frame,
    progress: Tick,
) -> Stage:
    """The simulation on a lattice of tilts `step` pixels apart, wide enough for every geometry in reach."""
    margin = lattice_margin(experiment, settings.matching.max_shift if settings.matching.moves else 1.0)
    lattice = tilt_lattice(
        crystal, frame, experiment.half_width, experiment.center, step * experiment.pixel_size, margin
    )
    pattern = simulate_lattice(crystal, settings.simulation(experiment, thicknesses), lattice, progress)
    return Stage(experiment, pattern, experiment.half_width + margin)


def z_curve(stage: Stage, placement: Placement, places: Sequence[int] | None = None) -> FloatArray:
    """Mean Z in the common geometry at the thicknesses of these places, by default all: (thickness,)."""
    measured = stage.experiment.images
    return np.array(
        [
            float(np.nanmean(zncc_loss(measured, stage.images(i, placement))))
            for i in (range(len(stage.pattern.thicknesses)) if places is None else places)
        ]
    )


def fine_thicknesses(thicknesses: tuple[float, ...], best: int) -> tuple[float, ...]:
    """Thicknesses around the best one, much closer than those of the scan."""
    ordered = sorted(thicknesses)
    at = ordered.index(thicknesses[best])
    low, high = ordered[max(0, at - 1)], ordered[min(len(ordered) - 1, at + 1)]
    if low == high:
        return (low,)
    return tuple(float(round(v, 6)) for v in np.linspace(low, high, 2 * FINE + 1))
