"""What does not depend on the crystal: nodes of the tilt, what they share, and the way back to pixels.

Lengths are in units of a* throughout. The pattern has at least the symmetry 2mm, so that the quadrant kx, ky > 0
is all of it; with 4mm the half kx ≥ ky of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lacbed.geometry.folding import fold_images
from lacbed.geometry.interpolation import PAD, kriging
from lacbed.learn.downfold.symmetry import LATTICES

_CPU = torch.device("cpu")

_OPERATIONS = [
    np.diag(signs) @ axes
    for axes in (np.eye(2, dtype=np.int64), np.eye(2, dtype=np.int64)[::-1])
    for signs in ((1, 1), (-1, 1), (1, -1), (-1, -1))
]
"""2mm, and with its second half 4mm."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How a pattern is made up.

    Attributes:
        reduced: q of every matrix: (matrix, 2).
        shift: G of its pairs, as many for each matrix, the first one repeated: (matrix, pair, 2) integers.
        square: |q + G|² of the pairs: (matrix, pair).
        place: where the node of the quadrant is among them, matrix · pairs + pair: (n, n), first y, then x.
        weights: from nodes to pixels along one axis: (m / 2, n).
    """

    reduced: Tensor
    shift: Tensor
    square: Tensor
    place: Tensor
    weights: Tensor


@lru_cache(maxsize=256)
def make_plan(
    lattice: str, four_fold: bool, nodes: int, pixels: int, extent: int, device: torch.device = _CPU
) -> Plan:
    """The plan of a pattern.

    Args:
        lattice: name in `LATTICES`.
        four_fold: whether the pattern has 4mm.
        nodes: for each a*; `pixels / 2 extent` of them make every pixel a node.
        pixels: m along a side of the pattern.
        extent: its half-width.
        device: where its tensors lie.
    """
    each = pixels // (2 * extent)
    exact = nodes == each
    count = extent * nodes + (0 if exact else PAD)
    y, x = np.divmod(np.arange(count * count), count)
    if four_fold:
        y, x = y[x >= y], x[x >= y]
    tilts = np.stack([2 * x + 1, 2 * y + 1], axis=1)  # in 1 / (2 nodes)
    basis = np.array(LATTICES[lattice]).T
    reduced, steps = fold_images(tilts, 2 * nodes * basis, _OPERATIONS[: 8 if four_fold else 4])
    shift = steps @ basis.T
    _, first, matrix, counts = np.unique(
        reduced @ [1 << 20, 1], return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(matrix, kind="stable")
    start = np.cumsum(counts) - counts
    pair = np.empty(len(order), dtype=np.int64)  # number of each tilt among those of its matrix
    pair[order] = np.arange(len(order)) - np.repeat(start, counts)
    chosen = np.tile(first[:, None], (1, counts.max()))
    chosen[matrix, pair] = np.arange(len(tilts))
    place = np.empty((count, count), dtype=np.int64)
    place[y, x] = matrix * chosen.shape[1] + pair
    if four_fold:
        place[x, y] = place[y, x]
    weights = np.eye(count) if exact else kriging(count, (np.arange(pixels // 2) + 0.5) / each * nodes - 0.5)
    return Plan(
        reduced=torch.tensor(reduced[first] / (2.0 * nodes), dtype=torch.float32, device=device),
        shift=torch.tensor(shift[chosen], device=device),
        square=torch.tensor(
            (tilts[chosen] ** 2).sum(axis=2) / (2.0 * nodes) ** 2, dtype=torch.float32, device=device
        ),
        place=torch.tensor(place, device=device),
        weights=torch.tensor(weights, dtype=torch.float32, device=device),
    )
