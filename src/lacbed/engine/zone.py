"""One zone of a crystal, solved once: labelled patterns within a tolerance that is known.

What is solved, and how it is known to be enough, is in `lacbed.engine.adaptive`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from lacbed.crystals import Crystal
from lacbed.engine.adaptive import AdaptiveSolver
from lacbed.engine.basis import FARTHEST
from lacbed.engine.foil import Foil
from lacbed.engine.request import Request
from lacbed.engine.saved import read_zone, write_zone
from lacbed.errors import SettingError
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.tilts import TiltGrid
from lacbed.geometry.wave import electron_wave
from lacbed.io.checks import check_number
from lacbed.patterns.result import label_pattern
from lacbed.potential import Absorption
from lacbed.settings import Reflections, Settings
from lacbed.setup import check_request, chooses_beams_by_convergence, wanted_reflections
from lacbed.solvers.blocks import Tick, one_thread_each

if TYPE_CHECKING:
    import xarray as xr


DEFAULT_TOLERANCE = 1e-3
"""Largest error of an intensity where nothing says how exact a pattern is to be."""


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


def with_tolerance(crystal: Crystal, settings: Settings) -> Settings:
    """The settings, with `DEFAULT_TOLERANCE` if they leave open how exact it is to be and a `Zone` holds.

    Raises:
        SettingError: on an impossible orientation or reflection.
    """
    if settings.tolerance is not None or settings.solver != "auto" or not chooses_beams_by_convergence(settings):
        return settings
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    wanted_reflections(crystal, frame, settings)  # refuses impossible ones before anything is made of them
    usual = replace(settings, tolerance=DEFAULT_TOLERANCE)
    return usual if covers(usual, frame) else settings


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
        thickest: the largest thickness in Å that will be asked for, if it is known: waves are chosen for it at the
            first pattern, and serve all further ones. Greater thicknesses may be asked for nevertheless.

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
        thickest: float | None = None,
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
        self._begin(crystal, settings, thickest)

    @classmethod
    def of(cls, crystal: Crystal, settings: Settings) -> Zone:
        """The zone of a simulation whose settings are checked."""
        zone = cls.__new__(cls)
        zone._begin(crystal, settings)
        return zone

    def _begin(self, crystal: Crystal, settings: Settings, thickest: float | None = None) -> None:
        frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
        if not covers(settings, frame) or not settings.tolerance:
            raise SettingError(
                "a Zone holds for a tolerance above 0, a foil that is not too steep, no weak beams, and with "
                "paraxial=False one Laue zone and a flat foil; use simulate with solver='auto' for anything else"
            )
        self._crystal, self._settings, self._frame = crystal, settings, frame
        if thickest is not None:
            check_number("thickest", thickest, above=0.0, high=1e6, unit="Å")
        self._solver = AdaptiveSolver(crystal, frame, settings, thickest or 0.0)

    def __copy__(self) -> Zone:
        """A zone that begins from here: its patterns leave those of this one as they are."""
        twin = object.__new__(Zone)
        vars(twin).update(vars(self), _solver=copy(self._solver))
        return twin

    @property
    def tolerance(self) -> float:
        """Largest error of an intensity that is allowed."""
        assert self._settings.tolerance
        return self._settings.tolerance

    @property
    def waves(self) -> int:
        """Bloch waves that are kept; 0 before the first pattern."""
        return self._solver.waves

    @property
    def kept_memory(self) -> dict[int, int]:
        """Bytes of every block of memory, by its address, with eigenvectors kept for further patterns.

        Copies of a zone share blocks.
        """
        return self._solver.kept_memory

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
        write_zone(Path(path), self._solver.saved())

    @classmethod
    def load(cls, path: str | Path) -> Zone:
        """A zone that was saved.

        Raises:
            FileFormatError: if the file is missing, damaged or something else.
        """
        saved = read_zone(Path(path))
        zone = cls.of(saved.crystal, saved.settings)
        zone._solver.restore(saved)
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
        tilts, is_disc = self._solver.foil.moved(grid[inside]), settings.grid.shape == "disc"
        size = (grid[inside] ** 2).sum(axis=1)
        span = float(size.min()), float(size.max())
        request = Request(tilts, hkl, np.array(settings.thicknesses), is_disc, span)
        found = self._solver.solve(request, tick)
        values, estimate, basis = found.values, found.estimate, found.basis
        if settings.output == "intensity":
            values = values.real**2 + values.imag**2
        kind = np.result_type(settings.dtype, np.complex64 if settings.output == "amplitude" else np.float32)
        note = f"{self.waves} Bloch waves, |h| up to {basis.g_max:.1f} 1/Å"
        note += f"{found.note}; estimated error {estimate:.1g}"
        if estimate > self.tolerance:
            note += f", above the tolerance of {self.tolerance:g}"
        facts = {
            "solver": "fast",
            "beams": len(basis.potential.places),
            "beam_g_max": basis.g_max,
            "waves": self.waves,
            "error_estimate": estimate,
        }
        notes = [*self._crystal.notes, note]
        return label_pattern(values.astype(kind), inside, hkl, self._crystal, self._frame, settings, facts, notes)
