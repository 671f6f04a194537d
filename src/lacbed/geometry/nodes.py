"""A coarse lattice of tilts from which amplitudes at all others follow by interpolation.

The amplitude of a beam is a smooth function of the tilt: its Fourier transform vanishes beyond the lateral
distance that an electron can be carried in the foil, some λ t k for waves scattered to k. So tilts closer than the
sampling theorem asks for need not be solved. The nodes are fractions of reciprocal-lattice vectors, so that all of
them share a few matrices (see `lacbed.geometry.folding`), whatever the grid of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import IntArray

SPREAD = 1.6
"""Waves up to this many 1/Å carry electrons sideways; found by trial to keep the error near 1e-3."""

REACH = 3.0
"""Lateral distance in Å even in a thin foil."""

PAD = 2
"""Rows of nodes beyond the wanted tilts on every side."""

ORDER = 8
"""Nodes in each direction that take part in the value at a tilt."""


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes of a lattice and how to interpolate from them.

    Attributes:
        tilts: the nodes that are needed in 1/Å: (node, 2).
        steps: the two steps of the lattice as columns in 1/Å: (2, 2).
        places: integer coordinates of the nodes on the lattice: (node, 2).
        offset: coordinates of place (0, 0).
    """

    tilts: FloatArray
    steps: FloatArray
    places: IntArray
    offset: float

    def weights(self, tilts: FloatArray, order: int = ORDER) -> tuple[IntArray, FloatArray]:
        """Nodes and Lagrange weights for the value at each tilt: two (tilt, order²).

        Args:
            tilts: in 1/Å, among those that the nodes were made for: (tilt, 2).
            order: nodes in each direction, even and at most `ORDER`.
        """
        start, weights = _stencil(tilts, self.steps, self.offset, order)
        low, high = self.places.min(axis=0), self.places.max(axis=0)
        table = np.full(tuple(high - low + 1), -1, dtype=np.int64)
        table[tuple((self.places - low).T)] = np.arange(len(self.places))
        reach = np.arange(order)
        rows = start[:, 0, None, None] + reach[None, :, None] - low[0]
        columns = start[:, 1, None, None] + reach[None, None, :] - low[1]
        product = weights[0][:, :, None] * weights[1][:, None, :]
        return table[rows, columns].reshape(len(tilts), -1), product.reshape(len(tilts), -1)


def node_spacing(wavelength: float, thickness: float) -> float:
    """Distance in 1/Å between nodes that resolves the amplitudes: 1 / 2(SPREAD λ t + REACH)."""
    return 0.5 / (SPREAD * wavelength * thickness + REACH)


def node_lattice(lattice: FloatArray, tilts: FloatArray, counts: tuple[int, int]) -> Nodes:
    """The nodes needed to interpolate at the wanted tilts.

    Args:
        lattice: two vectors of the reciprocal lattice of the zone as columns in 1/Å: (2, 2).
        tilts: wanted tilts in 1/Å: (tilt, 2).
        counts: nodes along each of the two vectors.
    """
    steps = lattice / np.array(counts)
    crossing = abs(float(lattice[:, 0] @ lattice[:, 1])) / float(np.linalg.norm(lattice, axis=0).prod())
    offset = 0.5 if crossing < 1e-9 else 0.0  # half a step lets mirrors along the axes map nodes to nodes
    start, _ = _stencil(tilts, steps, offset, ORDER)
    low = start.min(axis=0)
    needed = np.zeros(tuple(start.max(axis=0) - low + ORDER), dtype=bool)
    for i in range(ORDER):
        for j in range(ORDER):
            needed[tuple((start - low).T + np.array([[i], [j]]))] = True
    places = np.argwhere(needed) + low
    return Nodes((places + offset) @ steps.T, steps, places, offset)


def _stencil(
    tilts: FloatArray, steps: FloatArray, offset: float, order: int
) -> tuple[IntArray, tuple[FloatArray, FloatArray]]:
    """First node of each tilt's stencil, (tilt, 2), and the weights in both directions, (tilt, order) twice.

    Near the border the stencil is one-sided, so that no node lies further than `PAD` beyond the wanted tilts.
    """
    places = tilts @ np.linalg.inv(steps).T - offset
    low = np.floor(places.min(axis=0)).astype(np.int64) - PAD
    high = np.maximum(np.ceil(places.max(axis=0)).astype(np.int64) + PAD, low + ORDER - 1)
    start = np.floor(places).astype(np.int64) - order // 2 + 1
    start = np.clip(start, low, high - order + 1)
    x, y = ((places - start)[:, i] for i in (0, 1))
    return start, (lagrange_weights(x, order), lagrange_weights(y, order))


def lagrange_weights(x: FloatArray, order: int) -> FloatArray:
    """Weights of the values at 0, 1, ..., order - 1 in the polynomial through them, at x: (n,) to (n, order)."""
    knots = np.arange(order, dtype=float)
    weights = np.ones((len(x), order))
    for j in range(order):
        for k in range(order):
            if k != j:
                weights[:, j] *= (x - knots[k]) / (knots[j] - knots[k])
    return weights
