"""Zones that a worker has solved and keeps, for further reflections and thicknesses."""

from __future__ import annotations

import math
from collections import OrderedDict
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from lacbed.app.limits import KEPT_ZONES, return_memory
from lacbed.app.request import View
from lacbed.app.structure import crystal_of, montage_reach

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.engine.zone import Zone
    from lacbed.geometry.tilts import TiltGrid
    from lacbed.settings import Settings
    from lacbed.solvers.blocks import Tick

FURTHER = 1.5
"""Waves for thicknesses beyond the series reach so many times further."""

_held: OrderedDict[str, Held] = OrderedDict()


class Opened(NamedTuple):
    """What decides the waves of a zone.

    Attributes:
        thickness: of the first pattern in Å.
        reach: of its reflections in 1/Å.
        thickest: thickness in Å up to which waves were chosen.
    """

    thickness: float
    reach: float
    thickest: float

    def told(self, before: list[float]) -> dict[str, Any]:
        """What commands that repeat a pattern need, with the thicknesses of those before it."""
        return {"before": before, "reach": self.reach, "thickest": self.thickest}


class Held:
    """A zone after its first pattern: all reflections within the half-width at one thickness.

    Its waves are chosen for the whole series, and anew for every step of `FURTHER` beyond. All further
    patterns begin from there, so that a few lines of Python repeat each to the last digits, whatever else was
    asked for in between.

    Attributes:
        opened: what decided the waves.
        first: the first pattern.
    """

    def __init__(self, view: View, settings: Settings, tick: Tick | None) -> None:
        from lacbed.engine.zone import Zone
        from lacbed.geometry.frame import make_frame

        crystal = crystal_of(view)
        frame = make_frame(crystal, view.zone_axis, view.foil_normal, view.x_direction)
        reach = round(montage_reach(crystal, frame, view), 6)
        self.opened = Opened(view.thickness, reach, max(view.thickness, view.thickness_max))
        self.grid: TiltGrid = settings.grid
        self._levels: dict[int, Zone] = {}
        self._zone: Zone = Zone(
            crystal,
            view.zone_axis,
            settings.energy,
            tolerance=view.tolerance,
            foil_normal=view.foil_normal,
            x_direction=view.x_direction,
            laue_zones=view.laue_zones,
            absorption=settings.absorption,
            factors=view.factors,
            thickest=self.opened.thickest,
        )
        self.first: xr.DataArray = self._zone.pattern(
            [view.thickness], self.grid, ("all", self.opened.reach), progress=tick
        )

    def openings(self, thickest: float) -> list[float]:
        """Thicknesses in Å of the patterns that come before one up to `thickest`."""
        steps = max(0, math.ceil(math.log(thickest / self.opened.thickest, FURTHER) - 1e-9))
        return [self.opened.thickness, *(self.opened.thickest * FURTHER ** (n + 1) for n in range(steps))]

    def answers(self, thickness: float) -> bool:
        """Whether a thickness needs no waves beyond those that are there."""
        return len(self.openings(thickness)) - 1 <= len(self._levels)

    def every(self, thickness: float, tick: Tick | None = None) -> xr.DataArray:
        """All reflections at a thickness."""
        if thickness == self.opened.thickness:
            return self.first
        return self._up_to(thickness).pattern([thickness], self.grid, ("all", self.opened.reach), progress=tick)

    def some(
        self, thicknesses: tuple[float, ...], hkl: tuple[int, int, int], tick: Tick | None = None
    ) -> xr.DataArray:
        """One reflection at several thicknesses."""
        return self._up_to(max(thicknesses)).pattern(thicknesses, self.grid, (hkl,), progress=tick)

    @property
    def kept_bytes(self) -> int:
        """Memory of the waves that are kept; levels share what did not change."""
        blocks: dict[int, int] = {}
        for zone in (self._zone, *self._levels.values()):
            blocks |= zone.kept_memory
        return sum(blocks.values())

    def _up_to(self, thickest: float) -> Zone:
        """A copy of the zone as it is before a pattern up to a thickness."""
        zone = self._zone
        for level, thickness in enumerate(self.openings(thickest)[1:]):
            if level not in self._levels:
                further = copy(zone)
                further.pattern([thickness], self.grid)
                self._levels[level] = further
            zone = self._levels[level]
        return copy(zone)


def held(view: View) -> Held | None:
    """The zone of a view, if this worker keeps it."""
    found = _held.get(view.zone_key)
    if found is not None:
        _held.move_to_end(view.zone_key)
    return found


def hold(view: View, settings: Settings, tick: Tick | None = None) -> Held:
    """The zone of a view, solved now if it is not kept.

    Raises:
        LacbedError: as `lacbed.Zone` does.
    """
    found = held(view)
    if found is None:
        while len(_held) >= KEPT_ZONES:
            _held.popitem(last=False)
        found = _held[view.zone_key] = Held(view, settings, tick)
    return found


def names() -> list[str]:
    """Names of the zones that are kept, the last one last."""
    return list(_held)


def let_go(most: int = 0) -> None:
    """Forget zones, the oldest first, until the waves of the others take at most so many bytes.

    The last one stays however many it takes, unless `most` is 0: then all go, as memory is short.
    """
    fewest = 1 if most else 0
    while len(_held) > fewest and (not most or sum(one.kept_bytes for one in _held.values()) > most):
        _held.popitem(last=False)
    return_memory()
