"""The symmetry of a projected potential, read off its Fourier coefficients.

Which of them are there (the lattice), where a two-fold axis of the projection is, about which all are real, and
whether there are mirror or glide lines along both axes. Cubic crystals always have a two-fold axis along [001]:
an axis or screw, or inversion, which looks the same in projection. In many it is not at the conventional origin.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lacbed.solvers.parity import PARITIES

LATTICES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "every fourth": ((4, 0), (0, 4)),
    "diamond": ((2, 2), (2, -2)),
    "face": ((2, 0), (0, 2)),
    "body": ((1, 1), (1, -1)),
    "primitive": ((1, 0), (0, 1)),
}
"""Lattices of the (h, k) that a projection can have, the sparsest first."""

_EXTINCT = 2e-4  # of the largest coefficient: what images of finite resolution leave of a forbidden one

_GRID = 32
"""Steps of a in which twice the place of the axis is searched; space groups know multiples of 1/4."""

_EQUAL = 1e-5
"""Part of Σ |U|² that may be missing from the sum of the squares of real coefficients, and of the largest
coefficient by which images may differ: rounding in single precision."""

REAL = 1e-4
"""Imaginary parts up to this share of the largest coefficient count as rounding."""


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


def lattices_of(tables: Tensor) -> list[str]:
    """For each of many tables (B, 2r + 1, 2r + 1) the sparsest lattice that holds all that is not extinct."""
    r = tables.shape[-1] // 2
    orders = torch.arange(-r, r + 1, device=tables.device)
    k, h = torch.meshgrid(orders, orders, indexing="ij")
    size = tables.abs()
    strong = size > _EXTINCT * size.amax(dim=(1, 2), keepdim=True)
    places = torch.stack([h, k], dim=-1)
    held = [~(strong & ~on_lattice(places, name)).flatten(1).any(dim=1) for name in LATTICES]
    first = torch.stack(held, dim=1).int().argmax(dim=1)  # the last one holds everything
    return [list(LATTICES)[number] for number in first.tolist()]


def centred(elastic: Tensor, absorptive: Tensor) -> tuple[Tensor, Tensor]:
    """U and U' about an axis of U, for every crystal that has one elsewhere; the others as they are.

    With V(x) = Σ U_hk exp(2πi (h x + k y)) and V(2x₀ - x) = V(x) the sum Σ U_hk² exp(2πi (h s + k s')) takes its
    largest value, Σ |U_hk|², at s = 2x₀. The intensity of 000 does not depend on the origin.

    Args:
        elastic: orders -r ... r, first k, then h: (B, 2r + 1, 2r + 1) complex.
        absorptive: likewise.
    """
    low = _low_orders(elastic.detach())
    off = low.imag.abs().amax((1, 2)) > REAL * low.abs().amax((1, 2))
    if not bool(off.any()):
        return elastic, absorptive
    twice = _twice_the_centre(low)
    orders = torch.arange(elastic.shape[-1], device=elastic.device) - elastic.shape[-1] // 2
    turns = orders * (0.5 * torch.where(off[:, None], twice, 0.0))[:, :, None]  # (B, 2, order)
    angle = 2.0 * math.pi * (turns[:, 1, :, None] + turns[:, 0, None, :])
    phase = torch.polar(torch.ones_like(angle), angle)
    return elastic * phase, absorptive * phase


def _low_orders(table: Tensor) -> Tensor:
    """The coefficients that a grid of `_GRID` steps holds."""
    r = table.shape[-1] // 2
    reach = min(r, _GRID // 2 - 1)
    return table[:, r - reach : r + reach + 1, r - reach : r + reach + 1]


def _twice_the_centre(low: Tensor) -> Tensor:
    """2x₀ in units of a, (x, y); zero where there is no axis: (B, 2)."""
    squares = low**2
    reach = low.shape[-1] // 2
    places = torch.arange(-reach, reach + 1, device=low.device) % _GRID
    spectrum = squares.new_zeros(len(low), _GRID, _GRID)
    spectrum[:, places[:, None], places] = squares
    overlap = torch.fft.ifft2(spectrum).real.flatten(1) * _GRID**2
    best = overlap.argmax(dim=1)
    there = overlap.amax(dim=1) >= (1.0 - _EQUAL) * squares.abs().sum(dim=(1, 2))
    shift = torch.stack([best % _GRID, best.div(_GRID, rounding_mode="floor")], dim=1) / _GRID
    return torch.where(there[:, None], shift, 0.0)


def mirror_lines(lattice: str, *tables: Tensor) -> tuple[int, int] | None:
    """The (α, β) of `alternating` with U(-h, k) = U(h, -k) = s(h, k) U(h, k).

    Args:
        lattice: of the (h, k) with coefficients.
        tables: U_hk, orders -r ... r, first k, then h, that all must have the lines: (2r + 1, 2r + 1).

    Returns:
        (0, 0) for mirrors through the origin; None if there are no such lines or the coefficients are not real.
    """
    for odd in PARITIES:
        if all(_has_lines(table, _sign(table, lattice, odd)) for table in tables):
            return odd
    return None


def _has_lines(table: Tensor, sign: Tensor | float) -> bool:
    bound = _EQUAL * float(table.abs().max())
    images = [sign * table.flip(0), sign * table.flip(1)]
    if table.is_complex():
        images.append(table.conj())
    return all(float((table - image).abs().max()) <= bound for image in images)


def symmetric(table: Tensor, lattice: str, odd: tuple[int, int]) -> Tensor:
    """Mean over the images of a table that equals them: the same, with symmetric derivatives."""
    sign = _sign(table, lattice, odd)
    return 0.25 * (table + table.flip(0, 1) + sign * (table.flip(0) + table.flip(1)))


def _sign(table: Tensor, lattice: str, odd: tuple[int, int]) -> Tensor | float:
    """The s of every coefficient, (2r + 1, 2r + 1); 1 for mirrors."""
    if odd == (0, 0):
        return 1.0
    orders = torch.arange(len(table), device=table.device) - len(table) // 2
    k, h = torch.meshgrid(orders, orders, indexing="ij")
    return alternating(torch.stack([h, k], dim=-1), lattice, odd)
