"""Values between the points of a lattice of tilts: polynomial stencils with their slopes, and kriging on an axis.

The amplitude of a beam is a smooth function of the tilt: its Fourier transform vanishes beyond the lateral
distance that an electron can be carried in the foil, about λ t k for waves scattered to k. So tilts closer than
the sampling theorem asks for need not be solved. The nodes are fractions of reciprocal-lattice vectors, so that
all of them share a few matrices (see `lacbed.geometry.folding`), whatever the grid of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import IntArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SPREAD = 1.6
"""Waves up to this many 1/Å carry electrons sideways; found by trial to keep the error near 1e-3."""

REACH = 3.0
"""Lateral distance in Å even in a thin foil."""

PAD = 2
"""Rows of nodes beyond the wanted tilts on every side."""

ORDER = 8
"""Nodes in each direction that take part in the value at a tilt."""

_BAND = 0.1
"""Standard deviation of the frequencies that kriging takes amplitudes to have, in periods per node."""

_NOISE = 1e-6
"""Variance of the noise that kriging assumes, which keeps weights small between nodes as close as these."""


@lru_cache
def _polynomials(order: int) -> tuple[Tensor, Tensor]:
    """Coefficients of the weights and of their slopes by powers of x, highest first: two (power, tap)."""
    nodes = np.arange(order) - (order // 2 - 1)
    weights = [np.poly(others) / np.prod(i - others) for i in nodes for others in [nodes[nodes != i]]]
    slopes = [np.concatenate([[0.0], np.polyder(w)]) for w in weights]
    return torch.as_tensor(np.array(weights).T.copy()), torch.as_tensor(np.array(slopes).T.copy())


def lagrange(x: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Weights of the values at 1 - order/2 ... order/2 in the polynomial through them, at x, and their slopes.

    Args:
        x: from 0 to 1 in the middle of the nodes: (...).
        order: number of nodes, even.

    Returns:
        Two (..., order).
    """
    powers = [torch.ones_like(x)]
    for _ in range(order - 1):
        powers.append(powers[-1] * x)
    table = torch.stack(powers[::-1], dim=-1)
    weights, slopes = _polynomials(order)
    return table @ weights, table @ slopes


@dataclass(frozen=True, eq=False)
class Stencil:
    """The points of a lattice that the value at each of many places is made of.

    Attributes:
        index: numbers of the points: (place, order²).
        along: weights and their slopes along each of the two directions: (place, order) each.
    """

    index: Tensor
    along: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]

    @property
    def weights(self) -> Tensor:
        """Of the points: (place, order²)."""
        (first, _), (second, _) = self.along
        return _outer(first, second)

    @property
    def slopes(self) -> tuple[Tensor, Tensor]:
        """Of the weights along both directions: two (place, order²)."""
        (first, first_slope), (second, second_slope) = self.along
        return _outer(first_slope, second), _outer(first, second_slope)

    def read(self, points: Tensor) -> Tensor:
        """Values at the places, (..., place), from (..., point): differentiable in the values and the places."""
        weights = self.weights
        total = torch.zeros(*points.shape[:-1], len(self.index), dtype=points.dtype)
        for tap in range(self.index.shape[1]):  # one at a time to stay small
            total = total + weights[:, tap] * points[..., self.index[:, tap]]
        return total

    def matrix(self, weights: Tensor, points: int) -> csr_matrix:
        """Weights or slopes as a sparse matrix from so many points: (place, point)."""
        from scipy.sparse import csr_matrix

        starts = np.arange(len(self.index) + 1) * self.index.shape[1]
        return csr_matrix((weights.numpy().ravel(), self.index.numpy().ravel(), starts), (len(self.index), points))


def stencil(
    table: Tensor, corner: tuple[int, int], places: Tensor, order: int, start: Tensor | None = None
) -> Stencil:
    """The stencil of order x order points around each place.

    Args:
        table: number of the point at (i, j) - corner; -1 where there is none: (rows, columns).
        corner: i and j of the table's first entry.
        places: in steps of the lattice: (place, 2).
        order: points in each direction, even.
        start: first i and j of each stencil, (place, 2); default those around the place. What lies outside the
            table (a fit that runs away) reads its nearest point.
    """
    middle = order // 2 - 1
    if start is None:
        start = torch.floor(places.detach()).long() - middle
    rest = places - (start + middle)
    taps = torch.arange(order)
    rows = (start[:, 0, None] - corner[0] + taps).clamp(0, table.shape[0] - 1)
    columns = (start[:, 1, None] - corner[1] + taps).clamp(0, table.shape[1] - 1)
    index = table[rows[:, :, None], columns[:, None, :]].reshape(len(places), -1).clamp(min=0)
    return Stencil(index, (lagrange(rest[:, 0], order), lagrange(rest[:, 1], order)))


def _outer(first: Tensor, second: Tensor) -> Tensor:
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes of a lattice and how to interpolate from them.

    Attributes:
        tilts: the nodes that are needed in 1/Å: (node, 2).
        steps: the two steps of the lattice as columns in 1/Å: (2, 2).
        places: integer coordinates of the nodes on the lattice: (node, 2).
        offset: coordinates of place (0, 0).
        order: nodes in each direction that take part in a value.
        pad: rows of nodes beyond the wanted tilts, or None where every stencil is centred.
    """

    tilts: FloatArray
    steps: FloatArray
    places: IntArray
    offset: float
    order: int
    pad: int | None

    def starts(self, tilts: FloatArray, order: int | None = None) -> tuple[FloatArray, IntArray]:
        """Tilts in steps of the lattice, and the first node of the stencil of each: two (tilt, 2)."""
        return _starts(tilts, self.steps, self.offset, order or self.order, self.pad)

    def stencil(self, tilts: FloatArray, order: int | None = None) -> Stencil:
        """The nodes that the value at each tilt is made of.

        Args:
            tilts: in 1/Å, those that the nodes were made for: (tilt, 2).
            order: nodes in each direction, even and at most that of the nodes, which is the default.
        """
        order = order or self.order
        places, start = self.starts(tilts, order)
        low, high = self.places.min(axis=0), self.places.max(axis=0)
        table = np.full(tuple(high - low + 1), -1, dtype=np.int64)
        table[tuple((self.places - low).T)] = np.arange(len(self.places))
        corner = (int(low[0]), int(low[1]))
        return stencil(torch.as_tensor(table), corner, torch.as_tensor(places), order, torch.as_tensor(start))


def node_spacing(wavelength: float, thickness: float) -> float:
    """Distance in 1/Å between nodes that resolves the amplitudes: 1 / 2(SPREAD λ t + REACH)."""
    return 0.5 / (SPREAD * wavelength * thickness + REACH)


def node_lattice(
    lattice: FloatArray, tilts: FloatArray, counts: tuple[int, int], order: int = ORDER, pad: int | None = PAD
) -> Nodes:
    """The nodes needed to interpolate at the wanted tilts.

    Args:
        lattice: two vectors of the reciprocal lattice of the zone as columns in 1/Å: (2, 2).
        tilts: wanted tilts in 1/Å: (tilt, 2).
        counts: nodes along each of the two vectors.
        order: nodes in each direction that take part in a value, even.
        pad: rows of nodes beyond the wanted tilts on every side, with one-sided stencils near the border; None for
            as many as centred stencils need.
    """
    steps = lattice / np.array(counts)
    crossing = abs(float(lattice[:, 0] @ lattice[:, 1])) / float(np.linalg.norm(lattice, axis=0).prod())
    offset = 0.5 if crossing < 1e-9 else 0.0  # half a step lets mirrors along the axes map nodes to nodes
    _, start = _starts(tilts, steps, offset, order, pad)
    low = start.min(axis=0)
    needed = np.zeros(tuple(start.max(axis=0) - low + order), dtype=bool)
    needed[tuple((start - low).T)] = True
    for axis in (0, 1):  # each first node with those behind it
        first = np.moveaxis(needed.copy(), axis, 0)
        for n in range(1, order):
            np.moveaxis(needed, axis, 0)[n:] |= first[:-n]
    places = np.argwhere(needed) + low
    return Nodes((places + offset) @ steps.T, steps, places, offset, order, pad)


def _starts(
    tilts: FloatArray, steps: FloatArray, offset: float, order: int, pad: int | None
) -> tuple[FloatArray, IntArray]:
    """Tilts in steps of the lattice, and the first node of the stencil of each: two (tilt, 2)."""
    places = tilts @ np.linalg.inv(steps).T - offset
    start = np.floor(places).astype(np.int64) - order // 2 + 1
    if pad is None:
        return places, start
    low = np.floor(places.min(axis=0)).astype(np.int64) - pad
    high = np.maximum(np.ceil(places.max(axis=0)).astype(np.int64) + pad, low + ORDER - 1)
    return places, np.clip(start, low, high - order + 1)


def kriging(count: int, places: FloatArray) -> FloatArray:
    """Weights of the nodes 0, 1, ..., count - 1 of an axis, which continue below 0 as mirror images about -1/2.

    The best linear combinations for a constant plus a function whose Fourier transform is Gaussian noise up to
    `_BAND` periods per node (ordinary kriging; Cressie, Statistics for spatial data, Wiley 1993, section 3.2).
    They use all nodes of the axis, and need a sixth fewer than polynomials through eight.

    Args:
        count: number of nodes.
        places: in steps of the nodes: (place,).

    Returns:
        (place, node).
    """
    node = np.arange(count, dtype=float)

    def alike(first: FloatArray, second: FloatArray) -> FloatArray:
        apart = np.stack([first[:, None] - second, first[:, None] + second + 1.0])
        covariance: FloatArray = np.exp(-2.0 * (np.pi * _BAND * apart) ** 2).sum(axis=0)
        return covariance

    system = np.ones((count + 1, count + 1))  # the last row and column let the weights of a place add up to 1
    system[:-1, :-1] = alike(node, node) + _NOISE * np.eye(count)
    system[-1, -1] = 0.0
    wanted = np.vstack([alike(node, places), np.ones(len(places))])
    return np.asarray(np.linalg.solve(system, wanted)[:-1].T)
