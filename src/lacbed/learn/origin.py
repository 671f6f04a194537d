"""One origin for all crystals: it changes no intensity, but a network does not know that."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTH = 0.01
"""Standard deviation in a of the Gaussian under which columns are compared; single pixels must not decide."""

_TIE = 1e-3
"""Columns that differ by less than this share count as equal; the first one is taken."""


def heaviest_at_origin(potential: Tensor) -> Tensor:
    """Periodic images moved so that their highest place, slightly blurred, lies at pixel 0: (B, 1, n, n) likewise.

    Of places that are equal, the first one in the order of the pixels is taken. If a translation of the crystal
    joins them they give the same image; if a rotation or a glide does, one that is turned or reflected.
    """
    n = potential.shape[-1]
    with torch.autocast(potential.device.type, enabled=False):
        blurred = _blurred(potential.detach().float()).flatten(1)
        highest = blurred.amax(dim=1, keepdim=True)
        place = (blurred >= highest - _TIE * highest.abs()).float().argmax(dim=1)
    order = torch.arange(n, device=potential.device)
    rows = (order + place.div(n, rounding_mode="floor")[:, None]) % n
    columns = (order + (place % n)[:, None]) % n
    moved = potential.gather(2, rows[:, None, :, None].expand_as(potential))
    return moved.gather(3, columns[:, None, None, :].expand_as(potential))


def _blurred(images: Tensor) -> Tensor:
    """Convolution with the periodic Gaussian, one axis after the other."""
    n = images.shape[-1]
    reach = max(1, min(n // 2 - 1, round(4 * _WIDTH * n)))
    offsets = torch.arange(-reach, reach + 1, device=images.device) / n
    kernel = torch.exp(-0.5 * (offsets / _WIDTH).square())
    kernel = kernel / kernel.sum()
    for shape, pad in (((1, 1, -1, 1), (0, 0, reach, reach)), ((1, 1, 1, -1), (reach, reach, 0, 0))):
        images = nn.functional.conv2d(nn.functional.pad(images, pad, mode="circular"), kernel.reshape(shape))
    return images
