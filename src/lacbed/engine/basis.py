"""Enough Bloch waves and beams for some tilts: the potential, a model, and a larger one that judges it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import beams_aside, check_count
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.engine.foil import Foil
from lacbed.engine.model import Model, bloch_waves, far_enough, fold, kept_waves, near_waves
from lacbed.engine.potential import ZonePotential, zone_potential
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import Frame
from lacbed.geometry.wave import electron_wave
from lacbed.settings import Settings
from lacbed.solvers.blocks import check_memory

FARTHEST = 9.0
"""|h| in 1/Å up to which beams are looked for."""

FAR = 0.15
"""Part of the tolerance that beams beyond the list may take."""

_BESIDE = 0.5
"""Beams reach so much further in 1/Å than the waves that are asked for, as nodes reach beyond the tilts."""

_DEEPEST = 12
"""Waves that show how far beams are needed."""

_AROUND = 1.0
"""Energies of waves of other Laue zones change by so many times the product of |h| and |q - q₀|."""


class Effort(NamedTuple):
    """How many waves, beams and checks are taken.

    Attributes:
        margin: energy in 1/Å² above that of the highest tilt up to which waves are kept at first.
        further: in 1/Å², by which the waves that judge reach beyond those.
        farthest: |h| in 1/Å up to which beams are looked for.
        near: in 1/Å² above the waves' energies, up to which beams are diagonalised.
        least: beams of these at least.
        most: beams of these; more only as far as half of `near`.
        few: beams that may always come in or go out, and more only as far as it was asked for.
        checks: tilts at which a result is checked, about.
    """

    margin: float
    further: float
    farthest: float
    near: float
    least: float
    most: float
    few: float
    checks: float


_FINE = Effort(1.2, 1.5, FARTHEST, 9.0, 500, 700, 700, 160)
# A margin below `lacbed.engine.model.ETA` loses the wave of the highest tilts where the potential moves it.
_COARSE = Effort(0.9, 0.8, 5.0, 3.0, 120, 160, 150, 60)


def coarseness(tolerance: float) -> float:
    """How far a tolerance allows for short cuts: 0 up to 1e-2, 1 from 1e-1 on."""
    return min(1.0, max(0.0, 2.0 + math.log10(tolerance)))


def effort(tolerance: float) -> Effort:
    """What a tolerance takes, about."""
    part = coarseness(tolerance)
    found = Effort(*(a + part * (b - a) for a, b in zip(_FINE, _COARSE, strict=True)))
    return found._replace(margin=found.margin + 0.8 * min(3.0, max(0.0, -2.0 - math.log10(tolerance))))


@dataclass(frozen=True)
class Reach:
    """What waves are wanted for.

    Attributes:
        highest: |k|² of the highest tilt in 1/Å², as in `Wanted.level`.
        out: |h| in 1/Å of the furthest wave that comes in or goes out.
        thickest: largest thickness in Å.
        least, most: the least and the largest |k|² in vacuum in 1/Å²: they decide which beams of other Laue zones
            take part.
    """

    highest: float
    out: float
    thickest: float
    least: float = 0.0
    most: float = 0.0

    def within(self, other: Reach) -> bool:
        """Whether all tilts and reflections are within those of another one."""
        near = self.highest <= other.highest + 1e-9 and self.out <= other.out + 1e-9
        return near and self.least >= other.least - 1e-9 and self.most <= other.most + 1e-9

    def joined(self, other: Reach) -> Reach:
        """What holds both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return replace(Reach(*(max(pair) for pair in pairs)), least=min(self.least, other.least))


@dataclass(frozen=True, eq=False)
class Basis:
    """What is solved once for a zone.

    Attributes:
        potential: in the beams that count.
        deepest: energy of the deepest wave in 1/Å².
        model: the matrices of all q in the waves that are kept.
        judge: the same in more waves.
        reach: up to where they hold.
        margin: energy in 1/Å² above the highest tilt up to which waves are kept.
        g_max: largest |h| in 1/Å.
        tail: shift in 1/Å² of a wave's energy by the beams beyond.
    """

    potential: ZonePotential
    deepest: float
    model: Model
    judge: Model
    reach: Reach
    margin: float
    g_max: float
    tail: float

    def tail_error(self, wave_number: float, thickness: float) -> float:
        """What the beams beyond the list change at most, about: the phase that they add to a wave."""
        return self.tail * math.pi * thickness / wave_number


def solve_basis(
    crystal: Crystal,
    frame: Frame,
    settings: Settings,
    wave_number: float,
    reach: Reach,
    margin: float,
    centre: FloatArray,
    foil: Foil,
    radius: float,
) -> Basis:
    """Waves of q₀ up to `margin` in 1/Å² above the highest tilt, in as many beams as the tolerance needs.

    `radius` in 1/Å is the largest distance of a q from q₀.

    Raises:
        SettingError: if they are too many to be listed.
        MemoryLimitError: if they cannot be held.
    """
    limit, wave = reach.highest + margin, electron_wave(settings.energy)
    assert settings.tolerance
    size = effort(settings.tolerance)
    others = beams_aside(crystal, frame, wave, (reach.least, reach.most), settings.laue_zones)
    out_of_plane = frame.vectors(others)
    around = _AROUND * radius * float(np.linalg.norm(out_of_plane[:, :2], axis=1).mean()) if len(others) else 0.0

    cell = float(np.linalg.norm(frame.vectors(zone_of_allowed(crystal, frame)), axis=1).max())
    furthest = reach.out + cell + 2.0 * _BESIDE
    furthest /= math.sqrt(1.0 - foil.steepness(furthest))  # that of a slanting wave counts for more
    widest = max(size.farthest, furthest, 1.2 * math.sqrt(limit + size.further + 2.0))
    check_count(crystal, frame, widest)
    wide = zone_potential(
        crystal, frame, settings.energy, settings.factors, settings.absorption, widest, centre, foil, others
    )
    further = _more_waves(wide, limit, size.further)
    wish = limit + size.near
    if int((wide.own <= wish).sum()) > size.most:
        wish = limit + 0.5 * size.near
    wish = max(wish, float(wide.own[min(round(size.least), len(wide.own)) - 1]))
    outer = reach.out + cell + _BESIDE
    own = max(_whole_shell(wide, max(wish, further + 2.0)), _holding(wide, outer))
    near = wide.aside + own
    _check_memory(crystal, settings, wide, near, further)
    levels, energies, vectors = near_waves(wide, near, reach.highest, around)
    allowed = FAR * settings.tolerance * wave_number / (math.pi * reach.thickest)
    some = _telling(vectors[: wide.aside], energies, kept_waves(levels, limit))
    g_max, tail = far_enough(wide, energies[some], vectors[:, some], allowed)
    potential = wide.within(g_max)
    waves = bloch_waves(potential, levels, energies, vectors, further)
    beams = min(own, max(round(size.few), _holding(potential, outer)))
    model, judge = (fold(potential, waves, up_to, beams) for up_to in (limit, further))
    out = max(reach.out, _held(potential, beams) - cell - _BESIDE)
    reached = replace(reach, out=out)
    return Basis(potential, float(energies[some[0]]), model, judge, reached, margin, g_max, tail)


def _more_waves(potential: ZonePotential, limit: float, further: float) -> float:
    """Energy in 1/Å² up to which waves are taken to judge those up to `limit`, at least so much further."""
    count = int((potential.own <= limit).sum())
    place = min(len(potential.own) - 1, math.ceil(1.4 * count) + 4)
    return max(limit + further, float(potential.own[place]))


def _telling(aside: Tensor, energies: Tensor, kept: int) -> Tensor:
    """Waves that show how far beams are needed: the deepest ones, and some of other Laue zones: positions.

    Args:
        aside: what the waves have in the beams of other zones: (beam, wave).
        energies: of the waves: (wave,).
        kept: how many are kept.
    """
    if not len(aside):
        return torch.arange(min(_DEEPEST, len(energies)))
    other = aside.abs().amax(dim=0) > 0.0
    own = torch.nonzero(~other).flatten()
    some = torch.nonzero(other[:kept]).flatten()
    some = some[:: max(1, len(some) // _DEEPEST)]
    return torch.cat([own[torch.argsort(-energies[own])][:_DEEPEST], some])


def _whole_shell(potential: ZonePotential, limit: float) -> int:
    """Number of beams with |h|² up to a limit, completed to a whole shell."""
    size = potential.own
    count = min(len(size), max(1, int((size <= limit).sum())))
    while count < len(size) and float(size[count] - size[count - 1]) < 1e-7:
        count += 1
    return count


def _holding(potential: ZonePotential, radius: float) -> int:
    """Number of first beams that hold all with |q₀ + h| up to a radius, completed to a whole shell."""
    length = torch.linalg.vector_norm(potential.vectors[potential.aside :], dim=1)
    return _whole_shell(potential, float(potential.own[length <= radius].max()))


def _held(potential: ZonePotential, count: int) -> float:
    """The largest radius in 1/Å within which the first beams are all that there are."""
    length = torch.linalg.vector_norm(potential.vectors[potential.aside :], dim=1)
    first, beyond = length[:count], length[count:]
    return float(first.max() if not len(beyond) else first[first < beyond.min() - 1e-9].max())


def _check_memory(crystal: Crystal, settings: Settings, potential: ZonePotential, near: int, limit: float) -> None:
    """Refuse more waves than can be held, before they are solved for.

    Raises:
        MemoryLimitError: with the estimate.
    """
    word = 16 if settings.absorption is not None or potential.elastic.is_complex() else 8
    kept = int((potential.own <= limit).sum()) + potential.aside
    need = word * (4 * near**2 + kept * (8 * len(potential.places) + 50 * kept + 12 * near))
    what = f"{kept} Bloch waves in {len(potential.places)} beams of {crystal.name}"
    remedy = "a larger tolerance, a narrower grid or a number of beams"
    check_memory(need, torch.device("cpu"), what, remedy)
