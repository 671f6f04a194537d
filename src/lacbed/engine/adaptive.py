"""Error control behind `lacbed.engine.zone.Zone`: waves and nodes are added until what is checked agrees.

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
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.engine.basis import FAR, Basis, Reach, coarseness, effort, solve_basis
from lacbed.engine.foil import Foil
from lacbed.engine.interpolate import COARSE_ORDER, ORDER, doubt, largest_difference, mend, read_between
from lacbed.engine.model import Model, slanted
from lacbed.engine.orbits import find_orbits, plane_operations, smallest_wedge
from lacbed.engine.propagate import Store, solve_pairs
from lacbed.engine.request import Request
from lacbed.engine.saved import SavedZone
from lacbed.engine.wanted import Wanted
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import Frame
from lacbed.geometry.interpolation import Nodes, Stencil, node_lattice
from lacbed.geometry.wave import electron_wave
from lacbed.potential import potential_coefficients
from lacbed.settings import Settings
from lacbed.solvers.blocks import Tick, describe_work

SAFETY = 2.0
"""The estimate is this many times the largest difference at the tilts that are checked."""

_AIM, _ROOM = 0.6, 0.85
"""Part of the tolerance that waves may take, and of what far beams leave of it for what is asked for later.

The rest is for nodes, and in a tilted foil for what is neglected there."""

_CLOSE = 1.2
"""Nodes are those of a thickness that is so many times larger at least, if there are larger ones."""

_PLANS = 12
"""Requests whose tilts and nodes are kept: reflections and thicknesses take turns, and share stencils."""

_STEPS = 12
"""Thicknesses at which waves are checked that are chosen for a series."""

_MOST_WAVES = 16.0
"""Energy in 1/Å² above that of the highest tilt beyond which no waves are added."""

_SINGLE = 3e-4
"""Tolerance from which on eigenvectors are kept in single precision."""

_WIDEST = 0.05
"""Distance of nodes in 1/Å in the thinnest foil, so that those beyond the tilts are not far beyond."""

_TRIES = 8

_DOUBTED = 8
"""Matrices that are solved first where interpolation is most doubtful."""

_MENDED = 0.6
"""The most that are solved in this way, as a part of those of all nodes; beyond it nodes are closer."""

_SLANTED = 4
"""Of the highest checks that say what is neglected in a tilted foil."""


@dataclass(frozen=True, eq=False)
class Amplitudes:
    """Amplitudes within a tolerance.

    Attributes:
        values: (thickness, reflection, tilt), complex.
        estimate: of the largest error of an intensity.
        note: a remark on interpolation, or nothing.
        basis: the Bloch waves that were taken.
    """

    values: np.ndarray
    estimate: float
    note: str
    basis: Basis


class _Plan(NamedTuple):
    """What is wanted at the tilts, at the nodes, and at tilts and checks, which are interpolated from nodes."""

    direct: Wanted
    coarse: Wanted
    after: Wanted
    nodes: Nodes
    stencil: Stencil


class AdaptiveSolver:
    """What is solved of a zone, and grows with what is asked of it.

    Args:
        crystal: the crystal.
        frame: its orientation.
        settings: with a tolerance; thicknesses, grid and reflections do not count.
        thickest: thickness in Å up to which waves are chosen at first, whatever is asked for.
    """

    def __init__(self, crystal: Crystal, frame: Frame, settings: Settings, thickest: float = 0.0) -> None:
        assert settings.tolerance
        self._crystal, self._settings, self._frame = crystal, settings, frame
        self._thickest = thickest
        self.foil = _foil(crystal, frame, settings)
        self._tolerance = settings.tolerance
        self._effort = effort(settings.tolerance)
        self._order = ORDER if coarseness(settings.tolerance) < 0.5 else COARSE_ORDER
        zone = zone_of_allowed(crystal, frame)
        self._lattice = frame.vectors(zone)[:, :2]
        self._operations = plane_operations(crystal, frame, zone, not settings.laue_zones)
        self._wedge = smallest_wedge(self._lattice, self._operations)
        self._basis: Basis | None = None
        self._solved: Store = {}
        self._judged: Store = {}
        self._closer = 1.0  # distance of the nodes in units of the first guess
        self._plans: dict[tuple[Any, ...], _Plan] = {}  # the last ones, which copies share
        self._again = False  # whether there was a pattern before

    @property
    def waves(self) -> int:
        """Bloch waves that are kept; 0 before anything was asked."""
        return 0 if self._basis is None else int(self._basis.model.matrix.shape[1])

    @property
    def kept_memory(self) -> dict[int, int]:
        """Bytes of every block of memory, by its address, with eigenvectors and stencils."""
        tensors = [part for store in (self._solved, self._judged) for system in store.values() for part in system]
        tensors += [plan.stencil.index for plan in self._plans.values()]
        blocks = [tensor.untyped_storage() for tensor in tensors]
        return {block.data_ptr(): block.nbytes() for block in blocks}

    def saved(self) -> SavedZone:
        """What a file holds of it."""
        return SavedZone(self._crystal, self._settings, self._basis, self._solved, self._closer, self._thickest)

    def restore(self, saved: SavedZone) -> None:
        """Go on from what a file held."""
        self._basis, self._solved = saved.basis, saved.solved
        self._closer, self._thickest = saved.closer, saved.thickest
        self._again = bool(saved.solved)

    @property
    def _forward(self) -> float:
        """K along the foil normal in 1/Å, about."""
        return float(self.foil.normal[2]) * self.foil.outside

    @property
    def _check_accuracy(self) -> float:
        """Absolute error of the numerical work at the checks: float32 will do for a tolerance of 1e-2."""
        return 5e-3 * self._tolerance

    def solve(self, request: Request, tick: Tick | None = None) -> Amplitudes:
        """Amplitudes within the tolerance, or the nearest that were reached."""
        rising = None if tick is None else _Rising(tick)
        checks = request.checks(self._lattice, self._effort.checks)
        basis, judged, error = self._enough_waves(request, checks, rising)
        rest = basis.tail_error(self._forward, float(request.thicknesses.max()))
        rest += SAFETY * self._slant_error(basis, request, checks, judged)
        values, estimate, note = self._enough_nodes(basis, request, checks, judged, (error, rest), rising)
        self._again = True
        return Amplitudes(values, estimate, note, basis)

    def _enough_waves(
        self, request: Request, checks: FloatArray, tick: _Rising | None
    ) -> tuple[Basis, np.ndarray, float]:
        """Waves enough for a request, what more of them say of the checks, and the largest difference.

        Waves that are chosen for more than one pattern are judged for thicknesses up to the largest that will be
        asked for as well. Later ones may take all but what nodes need.
        """
        basis, margin, count = self._basis, self._effort.margin, len(request.thicknesses)
        is_new = basis is None or not self._reaches(basis, request)
        if basis is None or is_new:
            basis = self._new_basis(request, margin if basis is None else basis.margin, tick)
        elif request.thicknesses.max() > basis.reach.thickest:
            basis = replace(basis, reach=replace(basis.reach, thickest=float(request.thicknesses.max())))
        for attempt in range(_TRIES):
            tried = replace(request, thicknesses=self._ladder(request)) if is_new else request
            judged = self._amplitudes(basis, basis.judge, tried, checks, self._judged)
            found = self._amplitudes(basis, basis.model, tried, checks, self._solved)
            error, later = (
                largest_difference(found[part], judged[part]) for part in (slice(count), slice(count, None))
            )
            if tick is not None:
                tick.within(0.0, 0.3, (attempt + 1.0) / _TRIES)
            aim = room = _AIM * self._tolerance
            if self.foil.is_flat:
                room = _ROOM * (self._tolerance - basis.tail_error(self._forward, float(tried.thicknesses.max())))
            aim = aim if is_new else room
            if (SAFETY * error <= aim and SAFETY * later <= room) or basis.margin >= _MOST_WAVES:
                break
            decades, is_new = math.log10(SAFETY * max(error, later) / (0.4 * self._tolerance)), True
            basis = self._new_basis(
                request, min(_MOST_WAVES, basis.margin + min(3.0, max(0.6, 1.5 * decades))), tick
            )
        self._basis = basis
        return basis, judged[:count], error

    def _ladder(self, request: Request) -> FloatArray:
        """The thicknesses of a request, and behind them some up to the largest that will be asked for."""
        further = self._thickest * np.arange(1, _STEPS + 1) / _STEPS
        return np.concatenate([request.thicknesses, further]) if self._thickest else request.thicknesses

    def _slant_error(self, basis: Basis, request: Request, checks: FloatArray, judged: np.ndarray) -> float:
        """What is neglected in a tilted foil, largest at the highest tilts: see `lacbed.engine.model.slanted`."""
        if self.foil.is_flat:
            return 0.0
        error = 0.0
        for number in np.argsort((checks**2).sum(axis=1))[-_SLANTED:]:
            wanted = self._wanted(basis, request, checks[number : number + 1])
            model = slanted(basis.judge, self.foil, checks[number], wanted.orbits.points[0])
            found = solve_pairs(model, wanted, self._operations, basis.potential, accuracy=self._check_accuracy)
            error = max(error, largest_difference(found, judged[:, :, number : number + 1]))
        return error

    def _reach(self, request: Request) -> Reach:
        reach = request.reach(self._frame, self.foil)
        return replace(reach, thickest=max(reach.thickest, self._thickest))

    def _reaches(self, basis: Basis, request: Request) -> bool:
        new, old = request.reach(self._frame, self.foil), basis.reach
        tail = basis.tail_error(self._forward, new.thickest)
        return tail <= 1.5 * FAR * self._tolerance and new.within(old)

    def _new_basis(self, request: Request, margin: float, tick: _Rising | None) -> Basis:
        reach = self._reach(request)
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
            self.foil,
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
        direct, coarse, after, nodes, stencil = self._plan(basis, request, checks)

        def solved(wanted: Wanted) -> np.ndarray:
            return solve_pairs(
                basis.model,
                wanted,
                self._operations,
                basis.potential,
                accuracy=0.1 * self._tolerance,
                single=self._tolerance >= _SINGLE,
                store=self._solved,
                keep=self._again,
                tick=None if tick is None else lambda done: tick.within(0.3, 1.0, done),
            )

        if len(direct.orbits.points) <= 1.2 * len(coarse.orbits.points):
            return solved(direct), 0.0, ""
        enough, amplitude = 0.4 * self._tolerance, solved(coarse)
        alike = max(1, round(len(request.tilts) / len(direct.orbits.points)))  # tilts that share a matrix
        values, off = read_between(stencil, amplitude, coarse, after, judged, enough)
        if tick is not None:  # who has given up need not wait for the rest
            tick.within(0.3, 1.0, 1.0)
        difference = mend(
            values,
            doubt(nodes, amplitude, np.concatenate([request.tilts, checks])),
            off,
            lambda some: solved(self._wanted(basis, request, request.tilts[some])),
            _DOUBTED * alike,
            int(_MENDED * len(coarse.orbits.points)) * alike,
            max(enough, error),
        )
        return values, difference, f", interpolated from {len(coarse.orbits.points)} matrices"

    def _plan(self, basis: Basis, request: Request, checks: FloatArray) -> _Plan:
        """What is solved for a request; one is kept for other thicknesses with the same nodes."""
        apart = self._nodes_apart(basis, request)
        key = basis, apart, request.hkl, request.tilts.tobytes(), checks.tobytes()
        plan = self._plans.get(key)
        if plan is None:
            both = np.concatenate([request.tilts, checks])
            nodes, stencil = next(
                ((p.nodes, p.stencil) for k, p in self._plans.items() if (k[1], *k[3:]) == (apart, *key[3:])),
                (None, None),
            )
            if nodes is None or stencil is None:
                nodes = node_lattice(self._lattice.T, both, apart, self._order, None)
                stencil = nodes.stencil(both)
            direct, coarse, after = (self._wanted(basis, request, k) for k in (request.tilts, nodes.tilts, both))
            plan = _Plan(direct, coarse, after, nodes, stencil)
            while len(self._plans) >= _PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = plan
        direct, coarse, after = (replace(one, thicknesses=request.thicknesses) for one in plan[:3])
        return _Plan(direct, coarse, after, plan.nodes, plan.stencil)

    def _nodes_apart(self, basis: Basis, request: Request) -> tuple[int, int]:
        """Nodes along the two vectors of the lattice.

        They are those of the largest thickness that waves are chosen for, or of a half of it, a quarter, ..., so
        that patterns of like thickness share them. Just below a half they are those of the whole, which leave no
        tilts to be mended.
        """
        thickest = float(request.thicknesses.max())
        if thickest < basis.reach.thickest:
            halvings = math.floor(math.log2(basis.reach.thickest / thickest / _CLOSE))
            thickest = basis.reach.thickest * 0.5 ** max(0, halvings)
        energy = basis.reach.highest + 1.0 + 0.15 * max(0.0, basis.deepest)
        aside = math.sqrt(energy) * thickest / self._forward
        aside *= 0.95 if basis.model.damping is None else 0.84  # what is absorbed has no sharp lines
        # A guess that is a little too close costs 6 %, one that is too wide the whole series once more.
        spacing = 0.47 * self._closer / (aside * (1e-3 / self._tolerance) ** (1.0 / self._order) + 3.0)
        first, second = (
            math.ceil(float(n) / min(spacing, _WIDEST)) for n in np.linalg.norm(self._lattice, axis=1)
        )
        return first, second

    def _wanted(self, basis: Basis, request: Request, tilts: FloatArray) -> Wanted:
        hkl, foil = np.array(request.hkl), self.foil
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
            single=self._tolerance >= _SINGLE,
            store=store,
            keep=self._again or bool(self._thickest),
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
