"""Projected potentials of a square cell as tables of Fourier coefficients.

V(x, y) = Σ V_hk exp(2πi (h x + k y)) with x and y in units of a; a table holds V_hk in V for |h|, |k| ≤ r, first
k, then h, both ascending from -r. V is real, so that V_-h-k is the complex conjugate of V_hk.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lacbed.errors import SettingError


def table_of_image(image: Tensor, order: int) -> Tensor:
    """V_hk up to an order: (n, n) with pixel i at i / n, first y, to (2r + 1, 2r + 1) complex.

    Raises:
        SettingError: if the image has too few pixels.
    """
    n = image.shape[-1]
    if 2 * order >= n:
        raise SettingError(f"a potential of {n} pixels has no Fourier coefficients up to {order}")
    spectrum = torch.fft.fftshift(torch.fft.fft2(image.double()) / n**2)
    middle = n // 2
    table: Tensor = spectrum[middle - order : middle + order + 1, middle - order : middle + order + 1]
    return table.clone()


def image_of_table(table: Tensor, pixels: int) -> Tensor:
    """The potential in V: (2r + 1, 2r + 1) to (n, n), n > 2r; differentiable.

    Raises:
        SettingError: if the image has too few pixels.
    """
    order = table.shape[0] // 2
    if 2 * order >= pixels:
        raise SettingError(f"Fourier coefficients up to {order} need more than {2 * order} pixels, got {pixels}")
    place = torch.remainder(orders(order), pixels)
    spectrum = torch.zeros(pixels, pixels, dtype=table.dtype)
    spectrum = spectrum.index_put((place[:, None], place[None, :]), table)
    image: Tensor = torch.fft.ifft2(spectrum).real * pixels**2
    return image


def orders(order: int) -> Tensor:
    """-r ... r."""
    return torch.arange(-order, order + 1)


def resized(table: Tensor, order: int) -> Tensor:
    """The table up to another order, padded with zeros or cut."""
    change = order - table.shape[0] // 2
    return torch.nn.functional.pad(table, (change,) * 4)


def lengths(order: int) -> Tensor:
    """|g| of every place of a table in a*: (2r + 1, 2r + 1)."""
    square = torch.square(orders(order).double())
    return torch.sqrt(square[:, None] + square[None, :])


def shifted(table: Tensor, shift: tuple[float, float]) -> Tensor:
    """The table of V(x - s_x, y - s_y): every V_hk times exp(-2πi (h s_x + k s_y))."""
    axis = orders(table.shape[-1] // 2).double()
    angle = -2.0 * torch.pi * (axis[:, None] * shift[1] + axis[None, :] * shift[0])
    return table * torch.polar(torch.ones_like(angle), angle)


def inverted(table: Tensor) -> Tensor:
    """The table of V(-x, -y): V_hk and V_-h-k change places."""
    return table.flip(0, 1)
