"""Symmetry of the pattern of 000 read off the potential image, and patterns that have it by construction.

An operation of the square that leaves the projected potential unchanged up to a shift leaves the pattern of 000
unchanged. In the zero-order Laue zone reciprocity adds I(k) = I(-k) for every crystal. (See
`lacbed.geometry.symmetry`; here the operations are found from the image, so that no structure is needed.)
"""

from __future__ import annotations

import torch
from torch import Tensor

OPERATIONS = tuple(
    (swap, up, across) for swap in (False, True) for up in (False, True) for across in (False, True)
)
"""The eight operations of the square: exchange the axes, then reverse y, then reverse x. Identity first."""

_GRID = 32  # pixels on which images are compared; holds every shift that space groups know (1/8, 1/4, ...)
_INVERSION = (False, True, True)


def apply_to_pattern(pattern: Tensor, operation: tuple[bool, bool, bool]) -> Tensor:
    """A pattern (..., y, x), pixel centres symmetric about 0, after one operation."""
    swap, up, across = operation
    moved = pattern.transpose(-2, -1) if swap else pattern
    axes = [axis for axis, wanted in ((-2, up), (-1, across)) if wanted]
    return moved.flip(axes) if axes else moved


def apply_to_cell(image: Tensor, operation: tuple[bool, bool, bool]) -> Tensor:
    """A periodic image (..., y, x) with pixel i at i/n, after one operation about pixel 0."""
    swap, up, across = operation
    moved = image.transpose(-2, -1) if swap else image
    for axis, wanted in ((-2, up), (-1, across)):
        if wanted:
            moved = moved.flip(axis).roll(1, axis)
    return moved


@torch.no_grad()
def pattern_symmetry(potential: Tensor, tolerance: float = 1e-5) -> Tensor:
    """Which of the eight operations the pattern of 000 has: (B, 1, n, n) to zeros and ones (B, 8).

    An operation R counts if max over shifts of the correlation between V and V∘R is at least 1 - tolerance, or if
    this holds for -R. The low-passed image is compared, on a grid of at most 32 x 32 shifts.
    """
    n = potential.shape[-1]
    grid = min(n, _GRID)
    half = grid // 2
    keep = torch.cat([torch.arange(0, half), torch.arange(-half + 1, 0)]).to(potential.device)
    spectrum = torch.zeros(len(potential), grid, grid, dtype=torch.complex64, device=potential.device)
    full = torch.fft.fft2(potential[:, 0].float())
    spectrum[:, (keep % grid)[:, None], keep % grid] = full[:, (keep % n)[:, None], keep % n]
    spectrum[:, 0, 0] = 0.0
    norm = (spectrum.abs() ** 2).sum(dim=(1, 2)).clamp(min=1e-30)
    found = {}
    for operation in OPERATIONS:
        moved = apply_to_cell(spectrum, operation)
        correlation = torch.fft.ifft2(moved * spectrum.conj()).real * grid**2
        found[operation] = correlation.amax(dim=(1, 2)) >= (1.0 - tolerance) * norm
    columns = [found[o] | found[_times_inversion(o)] for o in OPERATIONS]
    columns[0] = torch.ones_like(columns[0])  # the identity, of an image without contrast too
    return torch.stack(columns, dim=1).float()


def _times_inversion(operation: tuple[bool, bool, bool]) -> tuple[bool, bool, bool]:
    swap, up, across = operation
    return swap, up != _INVERSION[1], across != _INVERSION[2]


def symmetrise(pattern: Tensor, symmetry: Tensor) -> Tensor:
    """Mean over the operations that hold: pattern (B, T, m, m) and symmetry (B, 8) to (B, T, m, m)."""
    total = torch.zeros_like(pattern)
    for number, operation in enumerate(OPERATIONS):
        total = total + symmetry[:, number, None, None, None] * apply_to_pattern(pattern, operation)
    return total / symmetry.sum(dim=1)[:, None, None, None]
