"""The origin on a two-fold axis of the projection, where all Fourier coefficients are real.

Cubic crystals always have one along [001]: a two-fold axis or screw, or inversion, which looks the same in
projection. In many it is not at the conventional origin.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GRID = 32
"""Steps of a in which twice the place of the axis is searched; space groups know multiples of 1/4."""

_EQUAL = 1e-5
"""Part of Σ |U|² that may be missing from the sum of the squares of real coefficients: rounding of images."""

REAL = 1e-4
"""Imaginary parts up to this share of the largest coefficient count as rounding."""


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
