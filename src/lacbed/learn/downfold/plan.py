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

_CPU = torch.device("cpu")

_OPERATIONS = [
    np.diag(signs) @ axes
    for axes in (np.eye(2, dtype=np.int64), np.eye(2, dtype=np.int64)[::-1])
    for signs in ((1, 1), (-1, 1), (1, -1), (-1, -1))
]
"""2mm, and with its second half 4mm."""

LATTICES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "every fourth": ((4, 0), (0, 4)),
    "diamond": ((2, 2), (2, -2)),
    "face": ((2, 0), (0, 2)),
    "body": ((1, 1), (1, -1)),
    "primitive": ((1, 0), (0, 1)),
}
"""Lattices of the (h, k) that a projection can have, the sparsest first."""


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


def area_of(lattice: str) -> int:
    """Of a cell of a lattice of `LATTICES`, in a*²."""
    (p, q), (r, s) = LATTICES[lattice]
    return abs(p * s - q * r)


def on_lattice(hkl: Tensor, name: str) -> Tensor:
    """Whether (h, k) lie on a lattice of `LATTICES`: (..., 2) integers to (...)."""
    first, second, determinant = _coordinates(hkl, name)
    return (first % determinant == 0) & (second % determinant == 0)


def alternating(hkl: Tensor, name: str, odd: tuple[int, int]) -> Tensor:
    """(-1)^(α m + β n) of (h, k) = m b₁ + n b₂, the phase of a shift by half a vector of the crystal's lattice.

    Args:
        hkl: points of the lattice: (..., 2) integers.
        name: of a lattice in `LATTICES`, with basis b₁, b₂.
        odd: (α, β), each 0 or 1.

    Returns:
        (...), 1 or -1.
    """
    if odd == (0, 0):
        return torch.ones(hkl.shape[:-1], device=hkl.device)
    first, second, determinant = _coordinates(hkl, name)
    steps = odd[0] * first.div(determinant, rounding_mode="floor") + odd[1] * second.div(
        determinant, rounding_mode="floor"
    )
    return 1.0 - 2.0 * (steps % 2).to(torch.float32)


def _coordinates(hkl: Tensor, name: str) -> tuple[Tensor, Tensor, int]:
    """M and n of (h, k) = m b₁ + n b₂, both times the determinant of the basis, and the determinant."""
    (a, b), (c, d) = LATTICES[name]
    h, k = hkl.unbind(dim=-1)
    return h * d - k * c, k * a - h * b, a * d - b * c


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
