"""Which changes of the Fourier coefficients are free: those that keep the symmetry of the start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lacbed.learn.symmetry import OPERATIONS, apply_to_cell
from lacbed.retrieval.cell import image_of_table, lengths, shifted
from lacbed.retrieval.forward import Operation

LIKE = 0.98
"""Correlation of a potential with itself after an operation from which on the operation is its symmetry."""

_TIED = 1e-4
_GRID = 96  # shifts tried along a side; holds 1/2, 1/3, 1/4, 1/6 and 1/8

Symmetry = tuple[Operation, tuple[float, float]]
"""V after the operation about the origin and a shift (along x, along y) is V again."""


def symmetry_of(table: Tensor, candidates: Sequence[Operation] = OPERATIONS) -> list[Symmetry]:
    """The operations that a potential has, identity first: V_hk up to order 47, (2r + 1, 2r + 1).

    Args:
        table: of the potential.
        candidates: a group; those of the pattern, or their products with the inversion, are all there can be.
    """
    flat = table.to(torch.complex128).clone()
    middle = table.shape[0] // 2
    flat[middle, middle] = 0.0
    image = image_of_table(flat, _GRID)
    reference, power = torch.fft.fft2(image), image.square().sum()
    found: list[Symmetry] = []
    for operation in candidates:
        moved = torch.fft.fft2(apply_to_cell(image, operation))
        likeness = torch.fft.ifft2(reference * moved.conj()).real / power
        if float(likeness.max()) >= LIKE:
            found.append((operation, _shortest(likeness)))
    return found


def _shortest(likeness: Tensor) -> tuple[float, float]:
    """The shift (along x, along y) of the best likeness; in centred cells several are, and the shortest counts."""
    best = torch.nonzero(likeness >= likeness.max() - _TIED)
    length = torch.minimum(best, _GRID - best).square().sum(dim=1)
    y, x = best[int(length.argmin())].tolist()
    return x / _GRID, y / _GRID


def symmetrised(table: Tensor, symmetry: Sequence[Symmetry]) -> Tensor:
    """The mean over the operations, (..., 2r + 1, 2r + 1) complex."""
    total = torch.zeros_like(table)
    for operation, shift in symmetry:
        total = total + shifted(_turned(table, operation), shift)
    return total / len(symmetry)


def free_directions(reach: float, order: int, symmetry: Sequence[Symmetry]) -> Tensor:
    """Orthonormal real changes of V_hk, 0 < |g| ≤ reach, that keep V real and its symmetry.

    Args:
        reach: in a*.
        order: r of the tables.
        symmetry: of the potential.

    Returns:
        (p, 2r + 1, 2r + 1) complex128; Σ |dV_hk|² = 1 for each.
    """
    plain = _real_changes(reach, order)
    if not len(plain):
        return plain
    kept = symmetrised(plain, symmetry)
    rows = torch.view_as_real(plain).flatten(1)
    projector = rows @ torch.view_as_real(kept).flatten(1).mT
    values, vectors = torch.linalg.eigh(0.5 * (projector + projector.mT))
    chosen = vectors[:, values > 0.5]  # of a projector they are 0 or 1
    directions: Tensor = torch.tensordot(chosen.mT.to(plain.dtype), plain, dims=1)
    return directions


def _real_changes(reach: float, order: int) -> Tensor:
    """dV_g = 1/√2 and i/√2 with the conjugate at -g, one pair for every ±g."""
    size = lengths(order)
    places = [
        (k, h) for k, h in torch.nonzero((size > 0) & (size <= reach + 1e-9)).tolist() if (k, h) > (order, order)
    ]
    changes = torch.zeros(2 * len(places), 2 * order + 1, 2 * order + 1, dtype=torch.complex128)
    root = 0.5**0.5
    for number, (k, h) in enumerate(places):
        for part, value in enumerate((complex(root, 0.0), complex(0.0, root))):
            change = changes[2 * number + part]
            change[k, h] = torch.tensor(value)
            change[2 * order - k, 2 * order - h] = torch.tensor(value.conjugate())
    return changes


def _turned(table: Tensor, operation: Operation) -> Tensor:
    """The table after an operation of `lacbed.learn.symmetry` about the origin."""
    swap, up, across = operation
    moved = table.transpose(-2, -1) if swap else table
    axes = [axis for axis, wanted in ((-2, up), (-1, across)) if wanted]
    return moved.flip(axes) if axes else moved
