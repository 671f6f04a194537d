"""One zone of a crystal, solved once: patterns within a tolerance that is known.

What is done:

1. The Bloch waves of q = 0 up to some energy above that of the highest tilt, far beams folded in, and the matrices of
   all q in them to second order (`lacbed.engine.model`).
2. A lattice of tilts, close enough to interpolate the amplitudes (`lacbed.geometry.nodes`), or the pixels themselves if
   they share fewer matrices; those that lattice translations, symmetry or reciprocity make equal are solved once
   (`lacbed.engine.orbits`, `lacbed.engine.propagate`).
3. At tilts that are neither nodes nor special, the intensities are compared with those of more waves without any
   interpolation. Waves are added, nodes moved closer together and beams added until they agree.

The estimated error is 1.5 times the largest difference found there, plus what beams beyond the list may change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from lacbed.beams import HKL
from lacbed.constants import wavelength
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.engine.interpolate import FRACTIONS, ORDER, lattice_of_nodes
from lacbed.engine.model import Model, Waves, bloch_waves, fold
from lacbed.engine.orbits import Operation, find_orbits, plane_operations
from lacbed.engine.potential import ZonePotential, zone_potential
from lacbed.engine.propagate import Store, Wanted, solve_pairs
from lacbed.errors import SettingError
from lacbed.geometry.frame import Frame, IntArray, make_frame
from lacbed.geometry.tilts import TiltGrid
from lacbed.geometry.wave import electron_wave, internal_wave_vectors
from lacbed.patterns.result import label_pattern
from lacbed.potential import Absorption
from lacbed.settings import Reflections, Settings
from lacbed.setup import check_request, wanted_reflections
from lacbed.solvers.blocks import Tick, check_memory, describe_work, one_thread_each, part_of

if TYPE_CHECKING:
    import xarray as xr

SAFETY = 1.5
"""The estimate is this many times the largest difference at the tilts that are checked."""

FURTHER = 1.5
"""The waves that judge reach so many 1/Å² further."""

MOST_WAVES = 8.0
"""Energy in 1/Å² above that of the highest tilt beyond which no waves are added."""

FARTHEST = 9.0
"""|h| in 1/Å beyond which no beams are added."""

_NEAR = 9.0
"""Beams up to so many 1/Å² above the waves' energies are diagonalised."""

_MOST_NEAR = 700
"""More of them only as far as half of `_NEAR`."""

_CHECKS = 120
"""Tilts at which the result is checked, about."""

_TRIES = 8


def covers(settings: Settings, is_flat: bool) -> bool:
    """Whether the engine holds for a simulation: one Laue zone, a flat foil, strong beams, the paraxial equation.

    It works on the CPU, and takes the place of the solvers "auto" and "fast" only.
    """
    physics = is_flat and settings.laue_zones == 0 and settings.weak_beams == 0 and settings.paraxial
    return physics and settings.solver in ("auto", "fast") and settings.device in ("auto", "cpu")


def _rule(tolerance: float) -> tuple[float, float]:
    """First guess of the margin of energy in 1/Å² and of the largest |h| in 1/Å."""
    decades = min(3.0, max(0.0, -2.0 - math.log10(tolerance)))
    return 1.2 + 0.8 * decades, 4.6 + 0.6 * decades


@dataclass(frozen=True, eq=False)
class _Basis:
    """What has been solved: the potential, the waves, and two models of different size."""

    potential: ZonePotential
    waves: Waves
    model: Model
    judge: Model
    highest: float
    out: float
    margin: float
    g_max: float


@dataclass(frozen=True, eq=False)
class _Request:
    """Tilts in 1/Å, reflections and thicknesses in Å that are wanted at once."""

    tilts: FloatArray
    hkl: tuple[HKL, ...]
    thicknesses: FloatArray
    inside: np.ndarray


@dataclass(frozen=True, eq=False)
class Solution:
    """Values of a request and what is known of them.

    Attributes:
        amplitude: (thickness, reflection, tilt).
        estimate: estimated largest error of an intensity.
        facts: for the metadata.
        note: what was done, in words.
    """

    amplitude: np.ndarray
    estimate: float
    facts: dict[str, int | float]
    note: str


class Zone:
    """A crystal in one zone axis, solved once for many patterns within a tolerance.

    The patterns are those of `lacbed.simulate`, of one Laue zone and a foil whose normal is the zone axis. The largest
    error of an intensity (a fraction of the incident one) at any pixel, compared with infinitely many beams, is kept
    below `tolerance` by an estimate that every pattern states in its attribute `error_estimate`.

    Args:
        crystal: the crystal.
        zone_axis: [uvw] of the direct lattice.
        energy: of the electrons in eV.
        tolerance: largest error of an intensity, above 0 and at most 0.5.
        x_direction: (hkl) along +x; default the shortest reciprocal vector of the zone.
        refraction: whether the mean inner potential refracts the incident wave.
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
        x_direction: Sequence[float] | None = None,
        refraction: bool = True,
        absorption: Absorption = None,
        factors: str = "kirkland",
    ) -> None:
        settings = Settings(
            zone_axis,
            energy,
            x_direction=x_direction,
            refraction=refraction,
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
        if not covers(settings, frame.is_flat) or settings.tolerance is None or settings.tolerance <= 0.0:
            raise SettingError(
                "a Zone holds for one Laue zone, a foil normal along the zone axis, no weak beams, paraxial=True and a "
                "tolerance above 0; use simulate with solver='auto' for anything else"
            )
        self._crystal, self._settings, self._frame = crystal, settings, frame
        self._wave = electron_wave(settings.energy)
        self._tolerance = float(settings.tolerance)
        self._basis: _Basis | None = None
        self._operations: tuple[Operation, ...] = ()
        self._store: Store = {}
        self._judged: Store = {}
        self._counts = 0, 0
        self._spacing = 1.0  # of the nodes, in units of the first guess

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
        that need more of them. Without absorption eigenvectors are kept, and further thicknesses and reflections
        take products of matrices alone.

        Args:
            thicknesses: along the foil normal in Å.
            grid: the incident directions; default `TiltGrid(pixels=128, extent=4)`.
            hkl: reflections, as in `lacbed.simulate`.
            output: "intensity" or "amplitude".
            progress: as in `lacbed.simulate`.

        Raises:
            SettingError: on impossible settings; MemoryLimitError: if the result does not fit.
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

    def solve(self, settings: Settings, tick: Tick | None = None) -> xr.DataArray:
        """The pattern of settings that are checked."""
        hkl = wanted_reflections(self._crystal, self._frame, settings)
        grid, inside = settings.grid.tilts(self._frame, settings.energy)
        request = _Request(grid[inside], hkl, np.array(settings.thicknesses), inside)
        solution = self._solution(request, tick)
        values = solution.amplitude
        if settings.output == "intensity":
            values = values.real**2 + values.imag**2
        word = {"float64": np.complex128, "float32": np.complex64}[settings.dtype]
        values = values.astype(word if settings.output == "amplitude" else settings.dtype)
        facts: dict[str, Any] = {"solver": "fast", **solution.facts, "error_estimate": solution.estimate}
        notes = [*self._crystal.notes, solution.note]
        return label_pattern(values, inside, hkl, self._crystal, self._frame, settings, facts, notes)

    def _solution(self, request: _Request, tick: Tick | None) -> Solution:
        """Waves and nodes are added until the estimate is within the tolerance."""
        checks = self._check_tilts(request)
        describe_work(tick, "choosing waves")
        basis, judged, error = self._enough_waves(request, checks, part_of(tick, 0.0, 0.3))
        tail = self._tail_error(basis, request)
        best: tuple[float, np.ndarray, str] | None = None
        for attempt in range(_TRIES):
            describe_work(tick, f"solving with {self.waves} waves")
            part = part_of(tick, 0.3 + 0.5 * attempt / _TRIES, 1.0)
            amplitude, difference, note = self._values(basis, request, checks, judged, part)
            difference = max(difference, error)
            estimate = SAFETY * difference + tail
            if best is None or estimate < best[0]:
                best = (estimate, amplitude, note)
            if estimate <= self._tolerance or not note or error >= difference:
                break
            aim = max(0.6 * (self._tolerance - tail) / SAFETY, 1.2 * error)
            self._spacing *= min(0.9, max(0.6, (aim / difference) ** (1.0 / ORDER)))
        assert best is not None
        estimate, amplitude, note = best
        text = f"{self.waves} Bloch waves, |h| up to {basis.g_max:.1f} 1/Å{note}; estimated error {estimate:.1g}"
        if estimate > self._tolerance:
            text += f", above the tolerance of {self._tolerance:g}"
        facts = {
            "beams": len(basis.potential.places),
            "beam_g_max": basis.g_max,
            "waves": self.waves,
        }
        return Solution(amplitude, estimate, facts, text)

    def _enough_waves(
        self, request: _Request, checks: FloatArray, tick: Tick | None
    ) -> tuple[_Basis, np.ndarray, float]:
        """Waves enough for a request, what the larger model says of the checks, and the largest difference."""
        basis = self._basis if self._basis is not None and self._reaches(self._basis, request) else None
        if basis is None:
            basis = self._solve_basis(request, *_rule(self._tolerance))
        for _ in range(_TRIES):
            judged = self._amplitudes(basis, basis.judge, request, checks, self._judged)
            found = self._amplitudes(basis, basis.model, request, checks, self._store)
            error, tail = _difference(found, judged), self._tail_error(basis, request)
            margin, g_max = basis.margin, basis.g_max
            if tail > 0.2 * self._tolerance and g_max < FARTHEST:
                g_max = min(FARTHEST, 1.15 * g_max)
            if SAFETY * error > 0.6 * self._tolerance and margin < MOST_WAVES:
                decades = math.log10(SAFETY * error / (0.4 * self._tolerance))
                margin = min(MOST_WAVES, margin + min(2.0, max(0.4, decades)))
            if (margin, g_max) == (basis.margin, basis.g_max):
                break
            basis = self._solve_basis(request, margin, g_max, basis)
        self._basis = basis
        return basis, judged, error

    def _reach(self, request: _Request) -> tuple[float, float]:
        """Highest |k|² of the tilts in 1/Å², and the largest |h| in 1/Å of a wave that comes in or goes out."""
        length = np.linalg.norm(request.tilts, axis=1).max()
        aside = np.linalg.norm(self._frame.vectors(np.array(request.hkl))[:, :2], axis=1).max()
        return float(length) ** 2, float(length + aside)

    def _reaches(self, basis: _Basis, request: _Request) -> bool:
        highest, out = self._reach(request)
        return highest <= basis.highest + 1e-9 and out <= basis.out + 1e-9

    def _solve_basis(self, request: _Request, margin: float, g_max: float, old: _Basis | None = None) -> _Basis:
        settings = self._settings
        highest, out = self._reach(request)
        if self._basis is not None:
            highest, out = max(highest, self._basis.highest), max(out, self._basis.out)
        limit = highest + margin
        if old is not None and old.g_max == g_max:
            potential = old.potential
        else:
            g_max = max(g_max, 1.1 * (out + 0.5), 1.15 * math.sqrt(limit + FURTHER))
            potential = zone_potential(
                self._crystal, self._frame, settings.energy, settings.factors, settings.absorption, g_max
            )
        self._operations = self._operations or plane_operations(self._crystal, self._frame, potential.basis)
        cell = float(np.linalg.norm(potential.lattice, axis=1).max())
        needed = max(limit + FURTHER + 2.0, (out + cell + 0.1) ** 2)
        wish = limit + _NEAR
        if int((potential.size <= wish).sum()) > _MOST_NEAR:
            wish = limit + 0.5 * _NEAR
        further = _more_waves(potential, limit)
        near = _whole_shell(potential, max(needed, wish, further + 2.0))
        self._check_memory(potential, near, further)
        waves = bloch_waves(potential, near, further)
        model, judge = fold(potential, waves, limit), fold(potential, waves, further)
        self._store, self._judged = {}, {}
        out = max(out, math.sqrt(float(potential.size[near - 1])) - cell - 0.1)  # as far as the near beams go
        return _Basis(potential, waves, model, judge, highest, out, margin, g_max)

    def _check_memory(self, potential: ZonePotential, near: int, limit: float) -> None:
        """Refuse more waves than can be held.

        Raises:
            MemoryLimitError: with the estimate.
        """
        word = 16 if self._settings.absorption is not None or potential.elastic.is_complex() else 8
        kept = int((potential.size <= limit).sum())
        need = word * (4 * near**2 + kept * (8 * len(potential.places) + 50 * kept + 12 * near))
        what = f"{kept} Bloch waves in {len(potential.places)} beams of {self._crystal.name}"
        check_memory(need, torch.device("cpu"), what, "a larger tolerance or a narrower grid")

    def _tail_error(self, basis: _Basis, request: _Request) -> float:
        """What beams beyond the list change at most, about: the phase that they add to the waves."""
        return float(basis.waves.tail * math.pi * request.thicknesses.max() / self._wave.wave_number)

    def _check_tilts(self, request: _Request) -> FloatArray:
        """Tilts at a few points of the Brillouin zone, in all zones that the request covers: (n, 2) in 1/Å."""
        low, high = request.tilts.min(axis=0), request.tilts.max(axis=0)
        if self._basis is None:
            from lacbed.geometry.folding import zone_of_allowed

            lattice = self._frame.vectors(zone_of_allowed(self._crystal, self._frame))[:, :2]
        else:
            lattice = self._basis.potential.lattice
        area = float(np.prod(np.maximum(high - low, 1e-9))) / abs(float(np.linalg.det(lattice)))
        points = int(np.clip(math.ceil(_CHECKS / max(area, 1.0)), 3, 20))
        # A low-discrepancy sequence, whose points are no fractions of the zone.
        steps = np.arange(1, points + 1)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
        places = np.ceil(np.abs(np.stack([low, high]) @ np.linalg.inv(lattice)).max(axis=0)).astype(int) + 2
        cells = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in places), indexing="ij"), axis=-1).reshape(-1, 2)
        tilts = ((cells[None] + steps[:, None] % 1.0) @ lattice).reshape(-1, 2)
        tilts = tilts[np.all((tilts >= low) & (tilts <= high), axis=1)]
        if not request.inside.all() and len(tilts):  # a disc
            centre = 0.5 * (low + high)
            tilts = tilts[np.linalg.norm(tilts - centre, axis=1) <= 0.5 * float((high - low).max())]
        # The highest tilts excite the waves that are left out most.
        order = np.argsort(np.linalg.norm(request.tilts, axis=1), kind="stable")
        share = max(1, len(order) // 12)
        few = order[[-1, *range(-1, -share, -max(1, share // 4))][:6]]
        if len(tilts) < 8:
            few = np.concatenate([few, order[:: max(1, len(order) // 8)]])
        return np.concatenate([tilts, request.tilts[np.unique(few)]])

    def _wanted(self, potential: ZonePotential, request: _Request, tilts: FloatArray) -> Wanted:
        mean = torch.tensor(potential.mean if self._settings.refraction else 0.0, dtype=torch.float64)
        normal = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        along = internal_wave_vectors(torch.as_tensor(tilts), self._wave.wave_number, normal, mean)[:, 2].numpy()
        reflections = np.round(np.array(request.hkl) @ np.linalg.pinv(potential.basis)).astype(np.int64)
        orbits = find_orbits(tilts, potential.lattice, self._operations)
        return Wanted(orbits, (tilts**2).sum(axis=1), along, reflections, request.thicknesses)

    def _amplitudes(
        self, basis: _Basis, model: Model, request: _Request, tilts: FloatArray, store: Store
    ) -> np.ndarray:
        """Amplitudes at a few tilts, with all digits."""
        wanted = self._wanted(basis.potential, request, tilts)
        return solve_pairs(model, wanted, self._operations, basis.potential, accuracy=1e-6, store=store)

    def _values(
        self, basis: _Basis, request: _Request, checks: FloatArray, judged: np.ndarray, tick: Tick | None
    ) -> tuple[np.ndarray, float, str]:
        """Amplitudes at the tilts, the largest difference at the checks, and a remark on interpolation if any."""
        potential, count = basis.potential, len(request.tilts)
        direct = self._wanted(potential, request, request.tilts)
        both = np.concatenate([request.tilts, checks])
        nodes = lattice_of_nodes(potential.lattice, self._nodes_apart(basis, request), both)
        coarse = self._wanted(potential, request, nodes.tilts)
        accuracy = 0.1 * self._tolerance

        def solved(wanted: Wanted) -> np.ndarray:
            return solve_pairs(
                basis.model, wanted, self._operations, potential, accuracy=accuracy, store=self._store, tick=tick
            )

        if len(direct.orbits.points) <= 1.2 * len(coarse.orbits.points):
            return solved(direct), 0.0, ""
        amplitude, phase = solved(coarse), _free_phase(coarse)
        after = _free_phase(self._wanted(potential, request, both))
        best = (math.inf, 0.0)
        for part in FRACTIONS:
            smooth = amplitude * np.exp(-1j * part * phase).astype(amplitude.dtype)[:, None, :]
            best = min(best, (_difference(nodes.values(smooth, slice(count, None)), judged), part))
        difference, part = best
        amplitude *= np.exp(-1j * part * phase).astype(amplitude.dtype)[:, None, :]
        values = nodes.values(amplitude, slice(0, count))
        values *= np.exp(1j * part * after[:, :count]).astype(values.dtype)[:, None, :]
        return values, difference, f", interpolated from {len(coarse.orbits.points)} matrices"

    def _nodes_apart(self, basis: _Basis, request: _Request) -> tuple[int, int]:
        """Nodes along the two vectors of the lattice; those of an earlier pattern if they are close enough."""
        energy = basis.highest + 1.0 + 0.15 * max(0.0, float(basis.waves.energies[0]))
        aside = math.sqrt(energy) * wavelength(self._settings.energy) * request.thicknesses.max()
        spacing = 0.5 * self._spacing / (0.9 * aside * (1e-3 / self._tolerance) ** (1.0 / ORDER) + 3.0)
        first, second = (max(1, math.ceil(float(n) / spacing)) for n in np.linalg.norm(basis.potential.lattice, axis=1))
        old = self._counts
        if not (first <= old[0] <= 2 * first and second <= old[1] <= 2 * second):
            self._counts = first, second
        return self._counts


def _more_waves(potential: ZonePotential, limit: float) -> float:
    """Energy in 1/Å² up to which waves are taken to judge those up to `limit`: `FURTHER`, and some more of them."""
    count = int((potential.size <= limit).sum())
    place = min(len(potential.size) - 1, math.ceil(1.4 * count) + 4)
    return max(limit + FURTHER, float(potential.size[place]))


def _free_phase(wanted: Wanted) -> np.ndarray:
    """π |k|² t / K: (thickness, tilt)."""
    return np.asarray(np.pi * np.outer(wanted.thicknesses, wanted.length / wanted.along))


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference of the intensities."""
    return float(np.abs(np.abs(first) ** 2 - np.abs(second) ** 2).max(initial=0.0))


def _whole_shell(potential: ZonePotential, limit: float) -> int:
    """Number of beams with |h|² up to a limit, completed to a whole shell."""
    size = potential.size
    count = min(len(size), max(1, int((size <= limit).sum())))
    while count < len(size) and float(size[count] - size[count - 1]) < 1e-7:
        count += 1
    return count
