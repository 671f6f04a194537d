"""Amplitudes at any tilt from those on a lattice of tilts.

The amplitude of a beam is a smooth function of the tilt: its Fourier transform vanishes beyond the lateral
distance that an electron is carried in the foil (see `lacbed.geometry.interpolation`). Nodes are fractions of the
reciprocal lattice of the zone, so that few matrices serve them all, and reach beyond the wanted tilts, so that
every stencil is centred. The phase that a free wave gathers, exp(πi |k|² t / K), is a matter of choice: with it
a wave scattered from k to k' counts as displaced by λ t (k' - k), without it by λ t k'. Which fraction of it
makes the amplitudes smoothest depends on how strongly the crystal scatters, and is found by trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import IntArray
from lacbed.geometry.interpolation import lagrange

ORDER = 10
"""Nodes in each direction that take part in the value at a tilt."""

FRACTIONS = (0.2, 0.4, 0.6, 0.9)
"""Fractions of the phase of a free wave whose removal is tried; 0.4 suits most."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Nodes for some tilts.

    Attributes:
        tilts: the nodes in 1/Å: (node, 2).
        index: nodes that take part at each of the wanted tilts: (tilt, order²).
        weights: theirs: (tilt, order²).
    """

    tilts: FloatArray
    index: IntArray
    weights: FloatArray

    def values(self, at_nodes: np.ndarray, wanted: slice) -> np.ndarray:
        """Values at some of the tilts: (..., node) to (..., tilt)."""
        index, weights = self.index[wanted], self.weights[wanted]
        rows = np.repeat(np.arange(len(index)), index.shape[1])
        flat = at_nodes.reshape(-1, at_nodes.shape[-1]).T
        shape = (len(index), len(flat))
        table = csr_array((weights.reshape(-1).astype(flat.real.dtype), (rows, index.reshape(-1))), shape)
        found = table @ np.ascontiguousarray(flat)
        return np.asarray(found.T.reshape(*at_nodes.shape[:-1], len(index)))


def lattice_of_nodes(lattice: FloatArray, counts: tuple[int, int], tilts: FloatArray) -> Lattice:
    """Nodes for tilts in 1/Å, (tilt, 2), so many along each of two lattice vectors, rows in 1/Å: (2, 2)."""
    steps = lattice / np.array(counts)[:, None]
    crossing = abs(float(lattice[0] @ lattice[1])) / float(np.linalg.norm(lattice, axis=1).prod())
    offset = 0.5 if crossing < 1e-9 else 0.0  # half a step lets mirrors along the axes map nodes to nodes
    places = tilts @ np.linalg.inv(steps) - offset
    whole = np.floor(places).astype(np.int64)
    start = whole - ORDER // 2 + 1
    x, y = (lagrange(torch.as_tensor(rest), ORDER)[0].numpy() for rest in (places - whole).T)
    low = start.min(axis=0)
    needed = np.zeros(start.max(axis=0) - low + ORDER, dtype=bool)
    for i in range(ORDER):
        for j in range(ORDER):
            needed[tuple((start - low + (i, j)).T)] = True
    number = np.cumsum(needed.reshape(-1)).reshape(needed.shape) - 1
    reach = np.arange(ORDER)
    rows, columns = (start - low)[:, :, None].transpose(1, 0, 2) + reach
    index = number[rows[:, :, None], columns[:, None, :]].reshape(len(tilts), -1)
    nodes = (np.argwhere(needed) + low + offset) @ steps
    return Lattice(nodes, index, (x[:, :, None] * y[:, None, :]).reshape(len(tilts), -1))
