"""The potential acting on waves as the convolution that it is: Σ_h' U_{h-h'} C_h' on the lattice of one Laue zone.

A matrix product with n waves takes n² multiplications. On the lattice the sum is a convolution in two directions;
along the one with more places it is done by a Fourier transform of twice their number (no wave then meets the
periodic image of another), along the other by small products, one for each Fourier component. Nothing is
approximated. Long lattice parameters, whose zones take thousands of beams, gain most: twenty times at 2600 beams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

FEWEST = 400
"""With fewer beams a matrix product is about as quick."""

TOGETHER = 24
"""Tilts whose waves are convolved together; fewer leave the small products idle, more leave the caches."""

_ELEMENTS = 2**16
"""Elements of the matrix that are read at once; more would take more memory than the kernel does."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """A matrix U_{h-h'} as a convolution.

    Attributes:
        place: position of every beam in a box (short, long) that holds them all: (beam,).
        sides: places of the box along both axes, and the length of the Fourier transform along the longer one.
        kernel: for each Fourier component, the matrix of the shorter direction: (component, short, short).
    """

    place: Tensor
    sides: tuple[int, int, int]
    kernel: Tensor

    def __call__(self, waves: Tensor) -> Tensor:
        """U times waves: (beam, wave) to (beam, wave), quickest where each wave lies together in memory."""
        short, long, length = self.sides
        count = waves.shape[1]
        box = waves.new_zeros((count, short * long))
        box[:, self.place] = waves.T
        components = torch.fft.fft(box.view(count * short, long), n=length, dim=1)
        products = self.kernel @ components.view(count, short, length).permute(2, 1, 0).contiguous()
        spread: Tensor = torch.fft.ifft(products.permute(2, 1, 0).contiguous(), dim=2)
        return spread[..., :long].reshape(count, short * long)[:, self.place].T


def convolution_of(matrix: Tensor, lattice: Tensor) -> Convolution:
    """The convolution that a matrix of U_{h-h'} stands for.

    Args:
        matrix: U_{h-h'}: (beam, beam).
        lattice: integer coordinates of the beams: (beam, 2).
    """
    place, (short, long) = _box(lattice)
    length = _length(long)
    table = _wrapped(_differences(matrix, place, short, long), 2 * short - 1, length)
    steps = torch.arange(short, device=place.device)
    components = torch.fft.fft(table, dim=1)  # (2 short - 1, length)
    kernel = components[(steps[:, None] - steps) % (2 * short - 1)].permute(2, 0, 1).contiguous()
    return Convolution(place, (short, long, length), kernel)


def convolution_bounds(matrix: Tensor, lattice: Tensor) -> tuple[float, float]:
    """An interval that holds all eigenvalues of a Hermitian matrix U_{h-h'}.

    The matrix is a part of that of a periodic convolution, whose eigenvalues are the values of U(r) on a grid;
    those of a part lie between the least and the largest of the whole (Cauchy's interlacing theorem).
    """
    place, (short, long) = _box(lattice)
    table = _wrapped(_differences(matrix, place, short, long), _length(short), _length(long))
    values = torch.fft.fft2(table).real
    return float(values.min()), float(values.max())


def convolution_sides(lattice: Tensor) -> tuple[int, int, int]:
    """`Convolution.sides` of beams with these coordinates."""
    _, (short, long) = _box(lattice)
    return short, long, _length(long)


def convolution_cost(lattice: Tensor) -> float:
    """Operations for one wave, in units of those of a matrix product of the same duration."""
    return box_cost(convolution_sides(lattice), len(lattice))


def box_cost(sides: tuple[int, int, int], beams: int) -> float:
    """`convolution_cost` of so many beams in a box with these `Convolution.sides`."""
    short, _, length = sides
    return length * short * (24.0 * short + 30.0 * math.log2(length)) + 40.0 * beams


def _length(places: int) -> int:
    """Length of a Fourier transform in which no wave meets the periodic image of another."""
    return int(next_fast_len(2 * places - 1))


def _box(lattice: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Positions of the beams in the box (short, long), and its sides."""
    start = lattice - lattice.amin(dim=0)
    sides = [int(n) + 1 for n in start.amax(dim=0)]
    first, second = (0, 1) if sides[0] <= sides[1] else (1, 0)
    return start[:, first] * sides[second] + start[:, second], (sides[first], sides[second])


def _differences(matrix: Tensor, place: Tensor, short: int, long: int) -> Tensor:
    """U for every difference of places, -(short - 1) ... short - 1 and so on: (2 short - 1, 2 long - 1)."""
    wide = 2 * long - 1
    code = (place // long) * wide + place % long
    origin = (short - 1) * wide + long - 1
    kind = torch.complex64 if matrix.dtype in (torch.float32, torch.complex64) else torch.complex128
    table = torch.zeros((2 * short - 1) * wide, dtype=kind, device=matrix.device)
    for rows in torch.split(torch.arange(len(code), device=code.device), max(1, _ELEMENTS // len(code))):
        table[code[rows, None] - code + origin] = matrix[rows].to(kind)
    return table.view(2 * short - 1, wide)


def _wrapped(table: Tensor, height: int, width: int) -> Tensor:
    """The table with the difference 0 at the corner, negative ones at the far ends: (height, width)."""
    half, wide = (n // 2 for n in table.shape)
    result = table.new_zeros((height, width))
    rows = torch.arange(-half, half + 1, device=table.device) % height
    columns = torch.arange(-wide, wide + 1, device=table.device) % width
    result[rows[:, None], columns] = table
    return result
