"""How many beams are enough: raise their number until the pattern stops changing."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.geometry.tilts import TiltGrid
from lacbed.patterns.metrics import zncc_loss
from lacbed.settings import Settings
from lacbed.simulation import prepare, solve
from lacbed.solvers.blocks import one_thread_each

COARSE_PIXELS = 12
"""Convergence is judged on a coarser grid of the same width; it changes slowly with the tilt."""

GROWTH = 1.5
"""Factor from one number of beams to the next."""

SMALLEST = 40
LARGEST = 6000
NEGLIGIBLE = 1e-3
"""Z is not asked of patterns whose mean intensity is below this; their |ΔI| is."""


@dataclass(frozen=True)
class Step:
    """One rung of the ladder: a number of beams against the next larger one.

    Attributes:
        beams: number of beams.
        g_max: largest |h| among them in 1/Å.
        z: largest Z over reflections and thicknesses; NaN for the last rung, which has nothing to compare with.
        max_difference: largest |ΔI| (fraction of the incident intensity).
        seconds: wall time of this rung on the coarse grid.
    """

    beams: int
    g_max: float
    z: float
    max_difference: float
    seconds: float


@dataclass(frozen=True)
class ConvergenceReport:
    """How the pattern changed with the number of beams.

    Attributes:
        beams: the smallest number that met both tolerances.
        steps: all rungs, the last being the comparison of the one before.
        tolerance_z, tolerance_intensity: what was asked for.
        converged: whether the tolerances were met before the largest number of beams.
    """

    beams: int
    steps: tuple[Step, ...]
    tolerance_z: float
    tolerance_intensity: float
    converged: bool

    @property
    def summary(self) -> str:
        """One line for the notes of a result."""
        chosen = next(s for s in self.steps if s.beams == self.beams)
        state = "converged" if self.converged else "NOT converged"
        return (
            f"{state} at {chosen.beams} beams: Z = {100 * chosen.z:.3g} %, max |dI| = "
            f"{chosen.max_difference:.2g} against {GROWTH} times as many"
        )


def convergence(
    crystal: Crystal,
    *,
    tolerance_z: float = 1e-3,
    tolerance_intensity: float = 1e-2,
    max_beams: int = LARGEST,
    **settings: Any,
) -> ConvergenceReport:
    """Raise the number of beams until the pattern stops changing.

    Each number of beams is compared with one and a half times as many, on 12 x 12 tilts over the same
    width, at all thicknesses and reflections. A number is accepted when Z ≤ `tolerance_z` for every reflection
    with mean intensity above 1e-3 and |ΔI| ≤ `tolerance_intensity` everywhere.

    Args:
        crystal: the crystal.
        tolerance_z: largest Z = 1 - zero-mean normalised cross-correlation.
        tolerance_intensity: largest change of intensity, in units of the incident intensity.
        max_beams: where to give up.
        **settings: those of `lacbed.simulate` (zone_axis, energy, thicknesses, grid, hkl, absorption, ...).

    Raises:
        SettingError: on impossible settings or tolerances.
    """
    with one_thread_each(torch.device("cpu")):
        return converge(
            crystal, Settings(**settings), tolerance_z=tolerance_z, tolerance_intensity=tolerance_intensity,
            max_beams=max_beams,
        )  # fmt: skip


def converge(
    crystal: Crystal,
    settings: Settings,
    *,
    tolerance_z: float = 1e-3,
    tolerance_intensity: float = 1e-2,
    max_beams: int = LARGEST,
) -> ConvergenceReport:
    """`convergence` for settings that are already checked."""
    for name, value in (("tolerance_z", tolerance_z), ("tolerance_intensity", tolerance_intensity)):
        if not value > 0:
            raise SettingError(f"{name} must be positive, got {value}")
    solver, count = "auto", SMALLEST
    if settings.solver == "fast":
        from lacbed.fast import first_beams  # noqa: PLC0415  it calls back to the recipe

        solver, count = "fast", first_beams(crystal, settings)
    coarse = replace(
        settings, grid=coarse_grid(settings.grid), output="intensity", g_max=None, sg_max=None, solver=solver
    )
    if count > max_beams:
        raise SettingError(f"{crystal.name} needs {count} beams to begin with; the limit is {max_beams}")
    steps: list[Step] = []
    previous: np.ndarray | None = None
    while True:
        start = time.perf_counter()
        setup = prepare(crystal, replace(coarse, beams=count))
        values = solve(setup)[2].numpy()
        found = setup.describe()
        if previous is not None:
            z, change = _change(previous, values)
            steps[-1] = replace(steps[-1], z=z, max_difference=change)
        seconds = time.perf_counter() - start
        steps.append(Step(int(found["beams"]), float(found["beam_g_max"]), np.nan, np.nan, seconds))
        met = (
            previous is not None and steps[-2].z <= tolerance_z and steps[-2].max_difference <= tolerance_intensity
        )
        next_count = int(np.ceil(GROWTH * found["beams"]))
        if met or (previous is not None and next_count > max_beams):
            return ConvergenceReport(steps[-2].beams, tuple(steps), tolerance_z, tolerance_intensity, met)
        previous, count = values, next_count


def coarse_grid(grid: TiltGrid) -> TiltGrid:
    """The same area with at most 12 x 12 pixels."""
    return replace(grid, pixels=min(grid.pixels, COARSE_PIXELS))


def _change(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Largest Z (over patterns that are bright enough) and largest |ΔI|: (thickness, hkl, pixel) twice."""
    change = float(np.abs(first - second).max())
    bright = second.mean(axis=-1) > NEGLIGIBLE
    if first.shape[-1] < 2 or not np.any(bright):
        return 0.0, change
    z = zncc_loss(first[bright][:, None, :], second[bright][:, None, :])
    return float(np.max(np.asarray(z))), change
