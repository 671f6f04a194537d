"""One zone of a crystal, solved once: patterns within a tolerance that is known.

What is done:

1. The Bloch waves of q = 0 up to some energy above that of the highest tilt, in as many beams as matter, and the
   matrices of all q in them to second order (`lacbed.engine.model`).
2. A lattice of tilts, close enough to interpolate the amplitudes (`lacbed.engine.interpolate`), or the pixels
   themselves if they share fewer matrices. Tilts that lattice translations, symmetry or reciprocity make equal are
   solved once (`lacbed.engine.orbits`, `lacbed.engine.propagate`). Pixels where interpolation is doubtful are
   solved themselves.
3. At tilts that are neither nodes nor special the intensities are compared with those of more waves without any
   interpolation. Waves and nodes are added until they agree.

The estimated error is `SAFETY` times the largest difference found there, plus what beams beyond the list may
change and what is neglected in a tilted foil (`lacbed.engine.foil`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.engine.basis import FAR, FARTHEST, Basis, first_margin, solve_basis
from lacbed.engine.foil import Foil
from lacbed.engine.interpolate import ORDER, doubt, largest_difference, mend, read_between
from lacbed.engine.model import Model, slanted
from lacbed.engine.orbits import find_orbits, plane_operations, smallest_wedge
from lacbed.engine.propagate import Store, Wanted, solve_pairs
from lacbed.engine.request import Request
from lacbed.engine.saved import SavedZone, read_zone, write_zone
from lacbed.errors import SettingError
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.interpolation import node_lattice
from lacbed.geometry.tilts import TiltGrid
from lacbed.geometry.wave import electron_wave
from lacbed.patterns.result import label_pattern
from lacbed.potential import Absorption, potential_coefficients
from lacbed.settings import Reflections, Settings
from lacbed.setup import check_request, wanted_reflections
from lacbed.solvers.blocks import Tick, describe_work, one_thread_each

if TYPE_CHECKING:
    import xarray as xr

SAFETY = 2.0
"""The estimate is this many times the largest difference at the tilts that are checked."""

_MOST_WAVES = 16.0
"""Energy in 1/Å² above that of the highest tilt beyond which no waves are added."""

_WIDEST = 0.05
"""Distance of nodes in 1/Å in the thinnest foil, so that those beyond the tilts are not far beyond."""

_TRIES = 8

_DOUBTED = 8
"""Matrices that are solved first where interpolation is most doubtful."""

_MENDED = 0.6
"""The most that are solved in this way, as a part of those of all nodes; beyond it nodes are closer."""

_SLANTED = 4
"""Of the highest checks that say what is neglected in a tilted foil."""


def covers(settings: Settings, frame: Frame) -> bool:
    """Whether a `Zone` holds for a simulation: reflections of one Laue zone, strong beams, a foil not too steep.

    It works on the CPU, and takes the place of the solvers "auto" and "fast" only. `paraxial=False` is for one
    Laue zone and flat foils, as everywhere.
    """
    wave = electron_wave(settings.energy).wave_number
    kx, ky = settings.grid.axes(frame, settings.energy)
    furthest = max(1.2 * FARTHEST, 2.0 * math.hypot(np.abs(kx).max(), np.abs(ky).max()))
    physics = settings.paraxial or (frame.is_flat and not settings.laue_zones)
    physics = physics and not settings.weak_beams and Foil(frame.normal, wave, wave).holds(furthest)
    if settings.laue_zones and not isinstance(settings.hkl, str) and settings.hkl[:1] != ("all",):
        physics = physics and not np.any(np.array(settings.hkl, dtype=float) @ np.array(frame.zone_axis))
    return physics and settings.solver in ("auto", "fast") and settings.device in ("auto", "cpu")


class Zone:
    """A crystal in one zone axis, solved once for many patterns within a tolerance.

    The patterns are those of `lacbed.simulate` in a flat or a tilted foil, with one Laue zone or more. The largest
    error of an intensity (a fraction of the incident one) at any pixel, compared with infinitely many beams, is
    kept below `tolerance` by an estimate that every pattern states in its attribute `error_estimate`.

    Args:
        crystal: the crystal.
        zone_axis: [uvw] of the direct lattice.
        energy: of the electrons in eV.
        tolerance: largest error of an intensity, above 0 and at most 0.5.
        foil_normal: [uvw] normal of both surfaces; default the zone axis.
        x_direction: (hkl) along +x; default the shortest reciprocal vector of the zone.
        laue_zones: highest order of Laue zone that takes part.
        refraction: whether the mean inner potential refracts the incident wave.
        paraxial: whether the term γ² of the wave equation is left out; False keeps it in a flat foil.
        absorption: None, ("proportional", percent), or "thomas".
        factors: scattering factors, as in `lacbed.simulate`.

    Raises:
        SettingError: on impossible settings.
        ScatteringError: on elements that a table does not cover.
    """

    def __init__(
        self,
        crystal: Crystal,
        zone_axis: Sequence[float] = (0, 0, 1),
        energy: float = 200e3,
        *,
        tolerance: float = 1e-3,
        foil_normal: Sequence[float] | None = None,
        x_direction: Sequence[float] | None = None,
        laue_zones: int = 0,
        refraction: bool = True,
        paraxial: bool = True,
        absorption: Absorption = None,
        factors: str = "kirkland",
    ) -> None:
        settings = Settings(
            zone_axis,
            energy,
            foil_normal=foil_normal,
            x_direction=x_direction,
            laue_zones=laue_zones,
            refraction=refraction,
            paraxial=paraxial,
            absorption=absorption,
            factors=factors,
            tolerance=tolerance,
        )
        self._begin(crystal, settings)

    @classmethod
    def of(cls, crystal: Crystal, settings: Settings) -> Zone:
        """The zone of a simulation whose settings are checked."""
        zone = cls.__new__(cls)
        zone._begin(crystal, settings)
        return zone

    def _begin(self, crystal: Crystal, settings: Settings) -> None:
        frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
        if not covers(settings, frame) or not settings.tolerance:
            raise SettingError(
                "a Zone holds for a tolerance above 0, a foil that is not too steep, no weak beams, and with "
                "paraxial=False one Laue zone and a flat foil; use simulate with solver='auto' for anything else"
            )
        self._crystal, self._settings, self._frame = crystal, settings, frame
        self._foil = _foil(crystal, frame, settings)
        self._tolerance = settings.tolerance
        zone = zone_of_allowed(crystal, frame)
        self._lattice = frame.vectors(zone)[:, :2]
        self._operations = plane_operations(crystal, frame, zone, not settings.laue_zones)
        self._wedge = smallest_wedge(self._lattice, self._operations)
        self._basis: Basis | None = None
        self._solved: Store = {}
        self._judged: Store = {}
        self._closer = 1.0  # distance of the nodes in units of the first guess
        self._again = False  # whether there was a pattern before
        self._counts = 0, 0

    @property
    def _forward(self) -> float:
        """K along the foil normal in 1/Å, about."""
        return float(self._foil.normal[2]) * self._foil.outside

    @property
    def _check_accuracy(self) -> float:
        """Absolute error of the numerical work at the checks: float32 will do for a tolerance of 1e-2."""
        return 5e-3 * self._tolerance

    @property
    def tolerance(self) -> float:
        """Largest error of an intensity that is allowed."""
        return self._tolerance

    @property
    def waves(self) -> int:
        """Bloch waves that are kept; 0 before the first pattern."""
        return 0 if self._basis is None else int(self._basis.model.matrix.shape[1])

    def pattern(
        self,
        thicknesses: Sequence[float] = (600.0,),
        grid: TiltGrid | None = None,
        hkl: Reflections = ((0, 0, 0),),
        *,
        output: Literal["intensity", "amplitude"] = "intensity",
        progress: Callable[[float], None] | None = None,
    ) -> xr.DataArray:
        """A pattern (thickness, hkl, ky, kx) as `lacbed.simulate` returns it, for the cost of what is new in it.

        Waves are solved for at the first call, and again only for tilts or reflections further out, or thicknesses
        that need more of them. Eigenvectors are kept, and further thicknesses and reflections take products of
        matrices alone. With absorption they are solved for at the second call, or at once for many thicknesses.

        Args:
            thicknesses: along the foil normal in Å.
            grid: the incident directions; default `TiltGrid(pixels=128, extent=4)`.
            hkl: reflections, as in `lacbed.simulate`.
            output: "intensity" or "amplitude".
            progress: as in `lacbed.simulate`.

        Raises:
            SettingError: on impossible settings; MemoryLimitError: if it does not fit.
        """
        settings = replace(
            self._settings,
            thicknesses=thicknesses,
            grid=TiltGrid() if grid is None else grid,
            hkl=hkl,
            output=output,
        )
        check_request(self._crystal, settings)
        with one_thread_each(torch.device("cpu")):
            return self.solve(settings, progress)

    def save(self, path: str | Path) -> None:
        """Write all that was solved to a file, such as gaas.zone, from which `Zone.load` goes on.

        Raises:
            FileFormatError: if something else stands there, or it cannot be written.
        """
        nodes = (*self._counts, self._closer)
        write_zone(Path(path), SavedZone(self._crystal, self._settings, self._basis, self._solved, nodes))

    @classmethod
    def load(cls, path: str | Path) -> Zone:
        """A zone that was saved.

        Raises:
            FileFormatError: if the file is missing, damaged or something else.
        """
        saved = read_zone(Path(path))
        zone = cls.of(saved.crystal, saved.settings)
        zone._basis, zone._solved = saved.basis, saved.solved
        zone._counts, zone._closer = saved.nodes[:2], saved.nodes[2]
        zone._again = bool(saved.solved)
        return zone

    def solve(self, settings: Settings, tick: Tick | None = None) -> xr.DataArray:
        """The pattern of settings that are checked."""
        hkl = wanted_reflections(self._crystal, self._frame, settings)
        aside = [g for g in hkl if np.dot(g, self._frame.zone_axis)]
        if aside:
            raise SettingError(
                f"a Zone holds for reflections of its own Laue zone, which {aside[0]} is not; use simulate with "
                "solver='auto' for it"
            )
        grid, inside = settings.grid.tilts(self._frame, settings.energy)
        tilts, is_disc = self._foil.moved(grid[inside]), settings.grid.shape == "disc"
        size = (grid[inside] ** 2).sum(axis=1)
        span = float(size.min()), float(size.max())
        request = Request(tilts, hkl, np.array(settings.thicknesses), is_disc, span)
        rising = None if tick is None else _Rising(tick)
        checks = request.checks(self._lattice)
        basis, judged, error = self._enough_waves(request, checks, rising)
        rest = basis.tail_error(self._forward, float(request.thicknesses.max()))
        rest += SAFETY * self._slant_error(basis, request, checks, judged)
        values, estimate, note = self._enough_nodes(basis, request, checks, judged, (error, rest), rising)
        if settings.output == "intensity":
            values = values.real**2 + values.imag**2
        kind = np.result_type(settings.dtype, np.complex64 if settings.output == "amplitude" else np.float32)
        note = f"{self.waves} Bloch waves, |h| up to {basis.g_max:.1f} 1/Å{note}; estimated error {estimate:.1g}"
        if estimate > self._tolerance:
            note += f", above the tolerance of {self._tolerance:g}"
        self._again = True
        facts = {
            "solver": "fast",
            "beams": len(basis.potential.places),
            "beam_g_max": basis.g_max,
            "waves": self.waves,
            "error_estimate": estimate,
        }
        notes = [*self._crystal.notes, note]
        return label_pattern(values.astype(kind), inside, hkl, self._crystal, self._frame, settings, facts, notes)

    def _enough_waves(
        self, request: Request, checks: FloatArray, tick: _Rising | None
    ) -> tuple[Basis, np.ndarray, float]:
        """Waves enough for a request, what more of them say of the checks, and the largest difference."""
        basis, margin = self._basis, first_margin(self._tolerance)
        if basis is None or not self._reaches(basis, request):
            basis = self._new_basis(request, margin if basis is None else basis.margin, tick)
        for attempt in range(_TRIES):
            judged = self._amplitudes(basis, basis.judge, request, checks, self._judged)
            found = self._amplitudes(basis, basis.model, request, checks, self._solved)
            error = largest_difference(found, judged)
            if tick is not None:
                tick.within(0.0, 0.3, (attempt + 1.0) / _TRIES)
            if SAFETY * error <= 0.6 * self._tolerance or basis.margin >= _MOST_WAVES:
                break
            decades = math.log10(SAFETY * error / (0.4 * self._tolerance))
            basis = self._new_basis(
                request, min(_MOST_WAVES, basis.margin + min(3.0, max(0.6, 1.5 * decades))), tick
            )
        self._basis = basis
        return basis, judged, error

    def _slant_error(self, basis: Basis, request: Request, checks: FloatArray, judged: np.ndarray) -> float:
        """What is neglected in a tilted foil, largest at the highest tilts: see `lacbed.engine.model.slanted`."""
        if self._foil.is_flat:
            return 0.0
        error = 0.0
        for number in np.argsort((checks**2).sum(axis=1))[-_SLANTED:]:
            wanted = self._wanted(basis, request, checks[number : number + 1])
            model = slanted(basis.judge, self._foil, checks[number], wanted.orbits.points[0])
            found = solve_pairs(model, wanted, self._operations, basis.potential, accuracy=self._check_accuracy)
            error = max(error, largest_difference(found, judged[:, :, number : number + 1]))
        return error

    def _reaches(self, basis: Basis, request: Request) -> bool:
        new, old = request.reach(self._frame, self._foil), basis.reach
        tail = basis.tail_error(self._forward, new.thickest)
        return tail <= 1.5 * FAR * self._tolerance and new.within(old)

    def _new_basis(self, request: Request, margin: float, tick: _Rising | None) -> Basis:
        reach = request.reach(self._frame, self._foil)
        if self._basis is not None:
            reach = reach.joined(self._basis.reach)
        if tick is not None:
            tick.describe(f"choosing Bloch waves up to {margin:.1f} 1/Å² above the highest tilt")
        self._solved, self._judged = {}, {}
        return solve_basis(
            self._crystal,
            self._frame,
            self._settings,
            self._forward,
            reach,
            margin,
            self._wedge.centre,
            self._foil,
            self._wedge.radius,
        )

    def _enough_nodes(
        self,
        basis: Basis,
        request: Request,
        checks: FloatArray,
        judged: np.ndarray,
        known: tuple[float, float],
        tick: _Rising | None,
    ) -> tuple[np.ndarray, float, str]:
        """Amplitudes (thickness, reflection, tilt), the estimated error of intensities, a remark on nodes.

        `known` are the difference that waves make, and what no waves and nodes can mend.
        """
        error, rest = known
        limit = (self._tolerance - rest) / SAFETY
        best: tuple[np.ndarray, float, str] | None = None
        for _ in range(_TRIES):
            if tick is not None:
                tick.describe(f"solving with {self.waves} Bloch waves")
            values, difference, note = self._values(basis, request, checks, judged, error, tick)
            difference = max(difference, error)
            estimate = SAFETY * difference + rest
            if best is None or estimate < best[1]:
                best = values, estimate, note
            # More nodes cannot mend what waves do wrong.
            if estimate <= self._tolerance or not note or difference <= (1.0 if error < limit else 1.5) * error:
                break
            aim = max(0.6 * limit, 1.2 * error)
            self._closer *= min(0.9, max(0.6, (aim / difference) ** 0.125))
        assert best is not None
        return best

    def _values(
        self,
        basis: Basis,
        request: Request,
        checks: FloatArray,
        judged: np.ndarray,
        error: float,
        tick: _Rising | None,
    ) -> tuple[np.ndarray, float, str]:
        """Amplitudes at the tilts, what `mend` expects them to be off by, and a remark on interpolation if any.

        `error` is the difference that waves make.
        """
        both = np.concatenate([request.tilts, checks])
        nodes = node_lattice(self._lattice.T, both, self._nodes_apart(basis, request), ORDER, None)
        direct, coarse = (self._wanted(basis, request, tilts) for tilts in (request.tilts, nodes.tilts))

        def solved(wanted: Wanted) -> np.ndarray:
            return solve_pairs(
                basis.model,
                wanted,
                self._operations,
                basis.potential,
                accuracy=0.1 * self._tolerance,
                store=self._solved,
                keep=self._again,
                tick=None if tick is None else lambda done: tick.within(0.3, 1.0, done),
            )

        if len(direct.orbits.points) <= 1.2 * len(coarse.orbits.points):
            return solved(direct), 0.0, ""
        after = self._wanted(basis, request, both)
        stencil, enough, amplitude = nodes.stencil(both, ORDER), 0.4 * self._tolerance, solved(coarse)
        alike = max(1, round(len(request.tilts) / len(direct.orbits.points)))  # tilts that share a matrix
        values, off = read_between(stencil, amplitude, coarse, after, judged, enough)
        difference = mend(
            values,
            doubt(nodes, amplitude, both),
            off,
            lambda some: solved(self._wanted(basis, request, request.tilts[some])),
            _DOUBTED * alike,
            int(_MENDED * len(coarse.orbits.points)) * alike,
            max(enough, error),
        )
        return values, difference, f", interpolated from {len(coarse.orbits.points)} matrices"

    def _nodes_apart(self, basis: Basis, request: Request) -> tuple[int, int]:
        """Nodes along the two vectors of the lattice; those of an earlier pattern if they are close enough."""
        energy = basis.reach.highest + 1.0 + 0.15 * max(0.0, basis.deepest)
        aside = math.sqrt(energy) * float(request.thicknesses.max()) / self._forward
        aside *= 0.95 if basis.model.damping is None else 0.84  # what is absorbed has no sharp lines
        # A guess that is a little too close costs 6 %, one that is too wide the whole series once more.
        spacing = 0.485 * self._closer / (aside * (1e-3 / self._tolerance) ** (1.0 / ORDER) + 3.0)
        lengths = np.linalg.norm(self._lattice, axis=1)
        first, second = (math.ceil(float(n) / min(spacing, _WIDEST)) for n in lengths)
        old = self._counts
        if not (first <= old[0] <= 2 * first and second <= old[1] <= 2 * second):
            self._counts = first, second
        return self._counts

    def _wanted(self, basis: Basis, request: Request, tilts: FloatArray) -> Wanted:
        hkl, foil = np.array(request.hkl), self._foil
        reflections = np.round(hkl @ np.linalg.pinv(basis.potential.basis)).astype(np.int64)
        orbits = find_orbits(tilts, self._lattice, self._operations, self._wedge.ahead)
        share = foil.across(orbits.points)[orbits.matrix] / foil.across(tilts)
        return Wanted(
            orbits,
            (tilts**2).sum(axis=1) * share,
            foil.along(tilts) * share,
            foil.kinetic(tilts, self._frame.vectors(hkl)),
            reflections,
            request.thicknesses,
            None if self._settings.paraxial else foil.inside,
        )

    def _amplitudes(
        self, basis: Basis, model: Model, request: Request, tilts: FloatArray, store: Store
    ) -> np.ndarray:
        """Amplitudes at a few tilts, with digits that do not show in the estimate."""
        wanted = self._wanted(basis, request, tilts)
        return solve_pairs(
            model,
            wanted,
            self._operations,
            basis.potential,
            accuracy=self._check_accuracy,
            store=store,
            keep=self._again,
        )


def _foil(crystal: Crystal, frame: Frame, settings: Settings) -> Foil:
    outside = electron_wave(settings.energy).wave_number
    mean = 0.0
    if settings.refraction:
        elastic, _ = potential_coefficients(
            crystal, np.zeros((1, 3), dtype=np.int64), settings.energy, settings.factors
        )
        mean = float(elastic[0].real)
    return Foil(frame.normal, outside, math.sqrt(outside**2 + mean))


class _Rising:
    """Progress that never falls, whatever is tried again."""

    def __init__(self, tick: Tick) -> None:
        self._tick, self._reached = tick, 0.0

    def within(self, start: float, end: float, fraction: float) -> None:
        """Say that a part of the work, from `start` to `end` of the whole, is done to a fraction."""
        self._reached = max(self._reached, start + fraction * (end - start))
        self._tick(self._reached)

    def describe(self, text: str) -> None:
        """Say what the work is at."""
        describe_work(self._tick, text)
