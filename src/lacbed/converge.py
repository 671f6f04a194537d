"""How many beams are enough: raise their number until the pattern stops changing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from lacbed.beams import beams_within
from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.geometry.frame import make_frame
from lacbed.geometry.symmetry import matrix_count
from lacbed.geometry.tilts import TiltGrid
from lacbed.io.checks import check_number
from lacbed.patterns.metrics import zncc_loss
from lacbed.settings import Settings
from lacbed.setup import prepare, solve
from lacbed.solvers.blocks import Tick, describe_work, gibibytes, one_thread_each
from lacbed.solvers.memory import preparation_bytes

Rung = TypeVar("Rung")

COARSE_PIXELS = 12
"""Convergence is judged on a coarser grid of the same width; it changes slowly with the tilt."""

GROWTH = 1.5
"""Factor from one number of beams to the next."""

_COST = 2.2
"""Power of the number of beams with which the time of a rung grows, about, from one solver to the next."""

SMALLEST = 40
LARGEST = 6000
NEGLIGIBLE = 1e-3
"""Z is not asked of patterns whose mean intensity is below this; their |ΔI| is."""

CONTRAST = {"float64": 1e-5, "float32": 1e-4}
"""Nor is it of patterns whose standard deviation is below this: Z would compare their rounding errors."""

LIKELY_G = 2.45
"""Most crystals have converged with all |h| up to this many 1/Å; progress is reckoned with it."""


HOPELESS_G = 1.0
"""No crystal thicker than `THIN` Å converges with fewer beams than all |h| up to this many 1/Å."""

THIN = 100.0


@dataclass(frozen=True)
class Step:
    """One rung of the ladder: a number of beams against the next larger one.

    Attributes:
        beams: number of beams.
        g_max: largest |h| among them in 1/Å.
        z: largest Z over reflections and thicknesses, 0 where no pattern has light and contrast enough for it; NaN
            for the last rung, which has nothing to compare with.
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
    def error(self) -> float:
        """Largest |ΔI| of the chosen number of beams compared with the next one."""
        return next(s.max_difference for s in self.steps if s.beams == self.beams)

    @property
    def summary(self) -> str:
        """One line for the notes of a result."""
        chosen = next(s for s in self.steps if s.beams == self.beams)
        state = "converged" if self.converged else "NOT converged"
        z = "no contrast for Z" if chosen.z == 0.0 else f"Z = {100 * chosen.z:.3g} %"
        return (
            f"{state} at {chosen.beams} beams: {z}, max |dI| = {chosen.max_difference:.2g} against {GROWTH} times "
            "as many"
        )


def convergence(
    crystal: Crystal,
    *,
    tolerance_z: float = 1e-3,
    tolerance_intensity: float = 1e-2,
    max_beams: int = LARGEST,
    progress: Tick | None = None,
    **settings: Any,
) -> ConvergenceReport:
    """Raise the number of beams until the pattern stops changing.

    Each number of beams is compared with one and a half times as many, on 12 x 12 tilts over the same
    width, at all thicknesses and reflections. A number is accepted when Z ≤ `tolerance_z` for every reflection
    with mean intensity above 1e-3 and contrast above rounding errors, and |ΔI| ≤ `tolerance_intensity` everywhere.

    Args:
        crystal: the crystal.
        tolerance_z: largest Z = 1 - zero-mean normalised cross-correlation.
        tolerance_intensity: largest change of intensity, in units of the incident intensity.
        max_beams: where to give up.
        progress: called with the fraction of the work that is likely done; see `lacbed.simulate`.
        **settings: those of `lacbed.simulate` (zone_axis, energy, thicknesses, grid, hkl, absorption, ...).

    Raises:
        SettingError: on impossible settings or tolerances.
    """
    with one_thread_each(torch.device("cpu")):
        return converge(
            crystal,
            Settings(**settings),
            tolerance_z=tolerance_z,
            tolerance_intensity=tolerance_intensity,
            max_beams=max_beams,
            tick=progress,
        )


def converge(
    crystal: Crystal,
    settings: Settings,
    *,
    tolerance_z: float = 1e-3,
    tolerance_intensity: float = 1e-2,
    max_beams: int = LARGEST,
    tick: Tick | None = None,
) -> ConvergenceReport:
    """`convergence` for settings that are already checked."""
    for name, value in (("tolerance_z", tolerance_z), ("tolerance_intensity", tolerance_intensity)):
        check_number(name, value, above=0)
    likely = likely_beams(crystal, settings)
    is_fast = settings.solver == "fast"
    count = max(24, likely) if is_fast else SMALLEST
    coarse = replace(
        settings,
        grid=coarse_grid(settings.grid),
        output="intensity",
        g_max=None,
        sg_max=None,
        solver="fast" if is_fast else "auto",
    )
    if count > max_beams:
        raise SettingError(f"{crystal.name} needs {count} beams to begin with; the limit is {max_beams}")
    _check_hope(crystal, settings, max_beams)
    steps: list[Step] = []
    share = _Share(tick, count, likely)

    def rungs() -> Iterator[np.ndarray]:
        number = count
        while len(steps) < 2 or number <= max_beams:
            start = time.perf_counter()
            share.begin(number, steps)
            setup = prepare(crystal, replace(coarse, beams=number))
            values = solve(setup, share.tick)[2].numpy()
            found = setup.describe()
            seconds = time.perf_counter() - start
            steps.append(Step(int(found["beams"]), float(found["beam_g_max"]), np.nan, np.nan, seconds))
            yield values
            number = math.ceil(GROWTH * found["beams"])

    def change(lower: np.ndarray, upper: np.ndarray) -> tuple[float, float]:
        z, most = _change(lower, upper, CONTRAST[settings.dtype])
        steps[-2] = replace(steps[-2], z=z, max_difference=most)
        return z, most

    end = climb(rungs(), change, (tolerance_z, tolerance_intensity))
    return ConvergenceReport(steps[-2].beams, tuple(steps), tolerance_z, tolerance_intensity, end.converged)


@dataclass(frozen=True, eq=False)
class Climb(Generic[Rung]):
    """Where a ladder ended.

    Attributes:
        lower, upper: the last rung that had one above, and that one.
        changes: from the one to the other; none if there was only one.
        converged: whether the changes are within the tolerances, so that `lower` is enough.
    """

    lower: Rung
    upper: Rung
    changes: tuple[float, ...]
    converged: bool


def climb(
    rungs: Iterable[Rung], change: Callable[[Rung, Rung], tuple[float, ...]], tolerances: Sequence[float]
) -> Climb[Rung]:
    """Compare each rung of a ladder (of beams, of a reach) with the next until they differ by little enough.

    Args:
        rungs: simulations with more and more beams, made when they are asked for; at least one.
        change: what differs from one to the next, as numbers.
        tolerances: largest of these.
    """
    waiting = iter(rungs)
    lower = upper = next(waiting)
    changes: tuple[float, ...] = ()
    for following in waiting:
        lower, upper = upper, following
        changes = change(lower, upper)
        if all(found <= most for found, most in zip(changes, tolerances, strict=True)):
            return Climb(lower, upper, changes, converged=True)
    return Climb(lower, upper, changes, converged=False)


def _check_hope(crystal: Crystal, settings: Settings, max_beams: int) -> None:
    """Refuse a search that cannot end well, as that of a very long cell, before it takes hours.

    Raises:
        SettingError: with the estimates, and what to choose instead.
    """
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    least = beams_within(crystal, frame, HOPELESS_G)
    if least > max_beams and max(settings.thicknesses) > THIN:
        memory = preparation_bytes(least, settings.absorption is not None)
        raise SettingError(
            f"{crystal.name} has about {least} beams within {HOPELESS_G:g} 1/Å of this zone, which need about "
            f"{gibibytes(memory)} GiB; the search for enough beams ends at {max_beams}. Choose the number of "
            "beams or g_max, or another zone axis"
        )


def likely_beams(crystal: Crystal, settings: Settings) -> int:
    """About how many beams convergence needs: those within `LIKELY_G`."""
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    return beams_within(crystal, frame, LIKELY_G)


def search_share(crystal: Crystal, settings: Settings) -> float:
    """The part of the time of a simulation that the search for enough beams takes, about.

    A geometric series of rungs, the last with one and a half times as many beams as are used; each takes as long
    as its grid has different tilts within one Brillouin zone.
    """
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    numbers = []
    for grid in (coarse_grid(settings.grid), settings.grid):
        tilts, inside = grid.tilts(frame, settings.energy)
        numbers.append(matrix_count(crystal, frame, tilts[inside]))
    search: float = numbers[0] * GROWTH**_COST / (1.0 - GROWTH**-_COST)
    return search / (search + numbers[1])


class _Share:
    """Progress of the search: each rung has a share of the whole that grows with its beams to a power.

    The last rung is not known; it is taken to be the second with the likely number of beams, or the present one.
    """

    def __init__(self, tick: Tick | None, first: int, likely: int) -> None:
        self._tick = tick
        self._rungs = [first]
        while len(self._rungs) < 2 or self._rungs[-2] < likely:
            self._rungs.append(math.ceil(GROWTH * self._rungs[-1]))
        self._done = self._now = self._last = 0.0

    def begin(self, count: int, steps: Sequence[Step]) -> None:
        """Note that a rung begins, and say so with the change that was found last."""
        self._done += self._now
        self._now = float(count) ** _COST
        change = f", dI {steps[-2].max_difference:.2g}" if len(steps) > 1 else ""
        describe_work(self._tick, f"choosing beams: {count} beams{change}")
        self._later = sum(float(n) ** _COST for n in self._rungs if n > 1.1 * count)
        self.tick(0.0)

    def tick(self, fraction: float) -> None:
        """Pass on what part of the search is done, given that of the rung; never less than before."""
        if self._tick is not None:
            part = (self._done + fraction * self._now) / (self._done + self._now + self._later)
            self._last = max(self._last, part)
            self._tick(self._last)


def coarse_grid(grid: TiltGrid) -> TiltGrid:
    """The same area with at most 12 x 12 pixels."""
    return replace(grid, pixels=min(grid.pixels, COARSE_PIXELS))


def _change(first: np.ndarray, second: np.ndarray, contrast: float) -> tuple[float, float]:
    """Largest Z (over patterns with light and contrast enough) and largest |ΔI|: (thickness, hkl, pixel) twice."""
    change = float(np.abs(first - second).max())
    asked = (second.mean(axis=-1) > NEGLIGIBLE) & (second.std(axis=-1) > contrast)
    if not np.any(asked):
        return 0.0, change
    z = zncc_loss(first[asked][:, None, :], second[asked][:, None, :])
    return float(np.max(np.asarray(z))), change
