"""What is asked of a zone at once, and at which tilts the answer is checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lacbed.beams import HKL
from lacbed.crystals.cell import FloatArray
from lacbed.engine.basis import Reach
from lacbed.engine.foil import Foil
from lacbed.geometry.frame import Frame

_HIGHEST = 5
"""Of the highest tilts of a request."""

_MANY_ZONES = 9.0
"""Brillouin zones in the tilts from which all checks share a few matrices: one of those with the highest tilt then
has tilts near the other highest ones, too."""


@dataclass(frozen=True, eq=False)
class Request:
    """Patterns that are wanted.

    Attributes:
        tilts: k' of `lacbed.engine.foil` in 1/Å: (tilt, 2).
        hkl: the reflections.
        thicknesses: in Å: (thickness,).
        is_disc: whether the tilts fill a disc, not a square.
        span: least and largest |k|² in vacuum in 1/Å².
    """

    tilts: FloatArray
    hkl: tuple[HKL, ...]
    thicknesses: FloatArray
    is_disc: bool
    span: tuple[float, float]

    def reach(self, frame: Frame, foil: Foil) -> Reach:
        """How far waves are wanted."""
        size = (self.tilts**2).sum(axis=1)
        aside = float(np.linalg.norm(frame.vectors(np.array(self.hkl))[:, :2], axis=1).max())
        level = size * (foil.across(np.zeros(2)) / foil.across(self.tilts))
        out, thickest = math.sqrt(float(size.max())) + aside, float(self.thicknesses.max())
        return Reach(float(level.max()), out, thickest, *self.span)

    def checks(self, lattice: FloatArray, count: float) -> FloatArray:
        """A few points of the Brillouin zone in all zones that the tilts cover, and the highest tilts: (check, 2).

        Where there are many zones, the highest tilt and its equals in the other zones stand for the highest ones.

        Args:
            lattice: the vectors of the zone's lattice as rows in 1/Å: (2, 2).
            count: of tilts, about.
        """
        low, high = self.tilts.min(axis=0), self.tilts.max(axis=0)
        zones = float(np.prod(np.maximum(high - low, 1e-9))) / abs(float(np.linalg.det(lattice)))
        points = int(np.clip(math.ceil(count / max(zones, 1.0)), 3, 20))
        # Points of a low-discrepancy sequence, which are no fractions of the zone, as nodes and pixels may be.
        rest = np.arange(1, points + 1)[:, None] * np.array([0.7548776662466927, 0.5698402909980532]) % 1.0
        # The highest tilts excite the waves that are left out most.
        order = np.argsort(np.linalg.norm(self.tilts, axis=1), kind="stable")[::-1]
        many = zones >= _MANY_ZONES
        if many:
            rest = np.concatenate([rest[:-1], self.tilts[order[:1]] @ np.linalg.inv(lattice) % 1.0])
        corners = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])])
        places = corners @ np.linalg.inv(lattice)
        first, second = (
            np.arange(math.floor(a) - 1, math.ceil(b) + 1)
            for a, b in zip(places.min(axis=0), places.max(axis=0), strict=True)
        )
        cells = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
        tilts = ((cells[None] + rest[:, None]) @ lattice).reshape(-1, 2)
        tilts = tilts[np.all((tilts >= low - 1e-9) & (tilts <= high + 1e-9), axis=1)]
        if self.is_disc:
            inside = np.linalg.norm(tilts - 0.5 * (low + high), axis=1) <= 0.5 * float((high - low).max()) + 1e-9
            tilts = tilts[inside]
        if many:
            return np.asarray(tilts)
        some = [order[:: max(1, len(order) // 60)][:_HIGHEST]]
        if len(tilts) < 8:
            some.append(order[:: max(1, len(order) // 8)])
        return np.concatenate([tilts, self.tilts[np.unique(np.concatenate(some))]])
