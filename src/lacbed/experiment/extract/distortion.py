"""A smooth distortion of the scan: by how much the tilt of each frame differs from an even grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ORDERS = (2, 3)
"""Of the polynomials that are tried, one after the other."""

_ROUNDS = 4
"""Of the inversion q = p + d(p); each reduces the error by a factor of the slope of d, a few per cent."""


@dataclass(frozen=True, eq=False)
class Distortion:
    """The scan as if it had been even: what was recorded at the place p belongs to the place q = p + d(p).

    d(p) = Σ c_ij P_i(v) P_j(u), where P are Legendre polynomials, i + j is 2, or 2 and 3, and v and u are the row
    and the column, from -1 to 1 between the outer edges of the outermost tilts. The terms have next to no mean and
    slope over the scan, so that its middle and its steps keep their meaning.

    Attributes:
        coefficients: by term, (row, column) in tilts: (term, 2).
        shape: rows and columns of the scan.
    """

    coefficients: Array
    shape: tuple[int, int]

    def of(self, at: Array) -> Array:
        """Displacement d at places (row, column) in tilts: (..., 2)."""
        if not len(self.coefficients):
            return np.zeros_like(at)
        return np.asarray(terms(at, self.shape, len(self.coefficients)) @ self.coefficients)

    def even(self, at: Array) -> Array:
        """The place q of an even scan for a place p of the recorded one: (..., 2)."""
        return np.asarray(at + self.of(at))

    def recorded(self, at: Array) -> Array:
        """The place p of the recorded scan for a place q of an even one: (..., 2)."""
        place = at
        for _ in range(_ROUNDS if len(self.coefficients) else 0):
            place = at - self.of(place)
        return np.asarray(place)

    def largest(self, covariance: Array) -> tuple[float, float]:
        """The largest displacement over the scan in tilts, and its standard uncertainty.

        Args:
            covariance: of the coefficients: (2 · term, same).
        """
        number = len(self.coefficients)
        places = np.moveaxis(np.mgrid[: self.shape[0], : self.shape[1]].astype(float), 0, -1).reshape(-1, 2)
        away = self.of(places)
        i = int(np.argmax(np.linalg.norm(away, axis=-1)))
        size = float(np.linalg.norm(away[i]))
        if size == 0:
            return 0.0, 0.0
        slope = np.outer(terms(places[i], self.shape, number), away[i] / size).ravel()
        return size, math.sqrt(max(0.0, float(slope @ covariance @ slope)))

    @property
    def order(self) -> int:
        """Of the polynomial; 1 where there is no distortion."""
        return next(order for order in (1, *ORDERS) if term_count(order) == len(self.coefficients))


def term_count(order: int) -> int:
    """Number of terms of second order up to this one."""
    return sum(range(3, order + 2))


def terms(at: Array, shape: tuple[int, int], number: int) -> Array:
    """The first so many terms, those of second order before those of third: (..., term)."""
    v, u = np.moveaxis((at - (np.array(shape) - 1) / 2) / (np.array(shape) / 2), -1, 0)
    low = [(np.ones_like(x), x, 1.5 * x**2 - 0.5, 2.5 * x**3 - 1.5 * x) for x in (v, u)]
    return np.stack([low[0][i] * low[1][n - i] for n in ORDERS for i in range(n + 1)], axis=-1)[..., :number]
