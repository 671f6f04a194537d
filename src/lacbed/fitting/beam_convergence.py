"""How many beams an experiment needs, found on a coarse lattice of tilts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lacbed.converge import GROWTH, SMALLEST, climb
from lacbed.crystals import Crystal
from lacbed.experiment.experiment import Experiment
from lacbed.fitting.lattice import LatticePattern, simulate_lattice, tilt_lattice
from lacbed.geometry.frame import Frame
from lacbed.patterns.metrics import zncc_loss

if TYPE_CHECKING:
    from lacbed.fitting.settings import FitSettings

LARGEST = 2000
TOLERANCE_Z, TOLERANCE_INTENSITY = 1e-3, 3e-2
"""Largest changes with one and a half times as many beams; measured patterns are met to a few percent."""


def enough_beams(experiment: Experiment, crystal: Crystal, frame: Frame, settings: FitSettings) -> tuple[int, str]:
    """The smallest number of beams that is enough, and one line about it.

    Judged on points of a coarse lattice over the whole images, at the median and the largest thickness.

    Args:
        experiment: what is to be simulated.
        crystal: of what.
        frame: its orientation.
        settings: everything but the number of beams.
    """
    thicknesses = (float(np.median(settings.thicknesses)), max(settings.thicknesses))
    step = frame.shortest / 2.3  # coarse, and no simple fraction, so that no tilt is special
    lattice = tilt_lattice(crystal, frame, experiment.half_width, experiment.center, step, 0.0)

    def rungs() -> Iterator[LatticePattern]:
        count, beams = SMALLEST, 0
        while beams <= LARGEST:
            tried = replace(settings, beams=count)
            found = simulate_lattice(crystal, tried.simulation(experiment, thicknesses), lattice)
            yield found
            beams, count = found.beams, math.ceil(GROWTH * found.beams)

    end = climb(rungs(), _change, (TOLERANCE_Z, TOLERANCE_INTENSITY))
    few, more, (z, change) = end.lower.beams, end.upper.beams, end.changes
    state = "converged" if end.converged else "NOT converged"
    return few, f"{state} at {few} beams: Z = {100 * z:.2g} %, max |dI| = {change:.2g} against {more}"


def _change(first: LatticePattern, second: LatticePattern) -> tuple[float, float]:
    """Largest Z over reflections that are bright enough, and largest |ΔI|."""
    inside = first.lattice.inside
    a, b = (p.values[..., inside].astype(float) for p in (first, second))
    bright = b.mean(axis=-1) > 1e-3
    z = zncc_loss(a[bright][:, None, :], b[bright][:, None, :])
    return float(np.max(np.asarray(z), initial=0.0)), float(np.abs(a - b).max())
