"""Reading pixels from a lattice of points, with derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

TAPS = 6
"""Points along each lattice direction that one pixel is interpolated from (Lagrange, fifth order)."""


def _lagrange_polynomials() -> tuple[Tensor, Tensor]:
    """Coefficients of the weights and of their slopes by powers of x, highest first: two (power, tap)."""
    nodes = np.arange(TAPS) - (TAPS // 2 - 1)
    weights = [np.poly(others) / np.prod(i - others) for i in nodes for others in [nodes[nodes != i]]]
    slopes = [np.concatenate([[0.0], np.polyder(w)]) for w in weights]
    return torch.as_tensor(np.array(weights).T.copy()), torch.as_tensor(np.array(slopes).T.copy())


_WEIGHTS, _SLOPES = _lagrange_polynomials()


def lagrange(fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the points -2 ... 3 at a place 0 ≤ x < 1, and their slopes: (...) to two (..., TAPS)."""
    powers = [torch.ones_like(fraction)]
    for _ in range(TAPS - 1):
        powers.append(powers[-1] * fraction)
    table = torch.stack(powers[::-1], dim=-1)
    return table @ _WEIGHTS, table @ _SLOPES


@dataclass(frozen=True, eq=False)
class InterpolationMatrix:
    """Sparse matrices from the points of a lattice to places.

    Attributes:
        value: (place, point).
        slopes: of the values along both lattice directions: two (place, point).
    """

    value: csr_matrix
    slopes: tuple[csr_matrix, csr_matrix]


def reading(table: Tensor, corner: tuple[int, int], places: Tensor) -> InterpolationMatrix:
    """The matrices that `interpolate` applies."""
    index, weights, slopes = _stencil(table, corner, places)
    starts, points = np.arange(len(places) + 1) * TAPS**2, int(table.max()) + 1

    def sparse(values: Tensor) -> csr_matrix:
        return csr_matrix((values.numpy().ravel(), index.numpy().ravel(), starts), (len(places), points))

    return InterpolationMatrix(sparse(weights), (sparse(slopes[0]), sparse(slopes[1])))


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
    index, weights, _ = _stencil(table, corner, places)
    return _gather(points, index, weights)


def _stencil(
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
