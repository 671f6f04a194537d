"""Reading pixels from a lattice of points, and blurring images; both with derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

TAPS = 6
"""Points along each lattice direction that one pixel is interpolated from (Lagrange, fifth order)."""


def lagrange(fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the points -2 ... 3 at a place 0 ≤ x < 1, and their slopes: (...) to two (..., TAPS)."""
    nodes = torch.arange(TAPS, dtype=fraction.dtype) - (TAPS // 2 - 1)
    distance = fraction[..., None] - nodes  # (..., tap)
    weights, slopes = [], []
    for i in range(TAPS):
        others = [j for j in range(TAPS) if j != i]
        scale = float(torch.prod(nodes[i] - nodes[others]))
        weights.append(torch.prod(distance[..., others], dim=-1) / scale)
        parts = [torch.prod(distance[..., [k for k in others if k != j]], dim=-1) for j in others]
        slopes.append(torch.stack(parts).sum(dim=0) / scale)
    return torch.stack(weights, dim=-1), torch.stack(slopes, dim=-1)


def interpolate(points: Tensor, table: Tensor, corner: tuple[int, int], places: Tensor) -> Tensor:
    """Values at places of a lattice: differentiable in the values and in the places.

    Args:
        points: values at the lattice's points: (..., point).
        table: number of the point at (i, j) - corner; -1 where there is none: (rows, columns).
        corner: i and j of the table's first entry.
        places: (place, 2) in steps of the lattice.

    Returns:
        (..., place).
    """
    index, weights, _ = stencil(table, corner, places)
    return _gather(points, index, weights)


def interpolate_with_slopes(
    points: Tensor, table: Tensor, corner: tuple[int, int], places: Tensor
) -> tuple[Tensor, Tensor]:
    """Values, (..., place), and their slopes along both lattice directions, (2, ..., place)."""
    index, weights, slopes = stencil(table, corner, places)
    return _gather(points, index, weights), torch.stack([_gather(points, index, slope) for slope in slopes])


def stencil(
    table: Tensor, corner: tuple[int, int], places: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Points that every place is made of, their weights, and the slopes of these: (place, TAPS²) each."""
    whole = torch.floor(places.detach())
    first, first_slope = lagrange(places[:, 0] - whole[:, 0])
    second, second_slope = lagrange(places[:, 1] - whole[:, 1])
    offset = torch.arange(TAPS) - (TAPS // 2 - 1)
    rows = (whole[:, 0].long() - corner[0])[:, None] + offset
    columns = (whole[:, 1].long() - corner[1])[:, None] + offset
    rows, columns = rows.clamp(0, table.shape[0] - 1), columns.clamp(0, table.shape[1] - 1)
    # Places outside the lattice (a fit that runs away) read its nearest point.
    index = table[rows[:, :, None], columns[:, None, :]].reshape(len(places), -1).clamp(min=0)

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a[:, :, None] * b[:, None, :]).reshape(len(places), -1)

    return index, product(first, second), (product(first_slope, second), product(first, second_slope))


def _gather(points: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Σ_tap weight · point, one tap at a time to stay small."""
    total = torch.zeros(*points.shape[:-1], len(index), dtype=points.dtype)
    for tap in range(index.shape[1]):
        total = total + weights[:, tap] * points[..., index[:, tap]]
    return total


def binned_sigma(sigma: Tensor, binning: int) -> Tensor:
    """The blur σ of full pixels in binned ones; the mean over b x b pixels adds (b² - 1) / 12 to its square."""
    if binning == 1:
        return sigma
    return torch.sqrt(torch.square(sigma) + (binning**2 - 1) / 12.0) / binning


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Convolution with a Gaussian of standard deviation σ pixels, differentiable in σ: (..., n, n).

    At the edge the weights are scaled to a sum of 1.
    """
    n = images.shape[-1]
    step = torch.arange(n, dtype=images.dtype)
    square = torch.square(step[:, None] - step[None, :])
    width = torch.square(sigma) + 1e-12
    matrix = torch.exp(-0.5 * square / width)
    matrix = matrix / matrix.sum(dim=1, keepdim=True)
    return matrix @ images @ matrix.T
