"""A Fourier neural operator on images in (v, F) that corrects the two-beam answer.

Li et al., Fourier neural operator for parametric partial differential equations, arXiv 2010.08895 (2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacbed.errors import SettingError
from lacbed.learn.models.channels import CHANNELS, Head, make_inputs


@dataclass(frozen=True)
class Settings:
    """Sizes.

    Attributes:
        width: channels.
        layers: number of Fourier layers.
        modes: frequencies that a layer mixes along each side, at most half the pixels.
        pixels: along each side of a pattern.
        extent: half-width of a pattern in a*.
        reach: largest |g| in a* of the two-beam channel.
    """

    width: int = 32
    layers: int = 4
    modes: int = 16
    pixels: int = 128
    extent: float = 4.0
    reach: int = 6

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit.

        Raises:
            SettingError: naming the setting.
        """
        if min(self.width, self.layers, self.modes, self.reach) < 1 or not self.extent > 0:
            raise SettingError("model fno: width, layers, modes, reach and extent must be positive")
        if self.pixels < 8 or 2 * self.modes > self.pixels:
            raise SettingError(f"model fno: modes must be at most half of the {self.pixels} pixels")


class Model(nn.Module):
    """Batch to patterns; see `lacbed.learn.models`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.lift = nn.Conv2d(CHANNELS, settings.width, 1)
        self.layers = nn.ModuleList(FourierLayer(settings.width, settings.modes) for _ in range(settings.layers))
        self.head = Head(settings.width)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Two-beam answer plus what the operator adds."""
        s = self.settings
        with torch.autocast(batch["potential"].device.type, enabled=False):
            inputs = make_inputs(batch, s.pixels, s.extent, s.reach)
        hidden = self.lift(inputs.channels)
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        result: dict[str, Tensor] = self.head(hidden, inputs.guess, batch["symmetry"])
        return result


class FourierLayer(nn.Module):
    """σ(W h + F⁻¹ R F h): a convolution over the whole periodic image plus a local one.

    The few frequencies that take part are computed by products with sines and cosines, real numbers throughout,
    which every device, precision and export format knows.
    """

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(2, width, width, 2 * modes, modes) / width)  # real, imaginary part
        self.local = nn.Conv2d(width, width, 3, padding=1, padding_mode="circular")

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, width, m, m) to the same."""
        m, n = hidden.shape[-1], self.modes
        cos_y, sin_y = _waves(torch.arange(-n, n, device=hidden.device), m)  # (frequency, pixel)
        cos_x, sin_x = _waves(torch.arange(n, device=hidden.device), m)
        real, imag = hidden @ cos_x.T, -(hidden @ sin_x.T)
        real, imag = cos_y @ real + sin_y @ imag, cos_y @ imag - sin_y @ real
        real, imag = (
            _mix(real, self.weight[0]) - _mix(imag, self.weight[1]),
            _mix(real, self.weight[1]) + _mix(imag, self.weight[0]),
        )
        real, imag = cos_y.T @ real - sin_y.T @ imag, cos_y.T @ imag + sin_y.T @ real
        whole = real @ cos_x - imag @ sin_x
        return nn.functional.silu(whole + self.local(hidden))


def _waves(frequency: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Cos and sin of 2π f x / m, divided by sqrt(m): (frequency, pixel)."""
    place = torch.arange(pixels, device=frequency.device)
    angle = (2.0 * math.pi / pixels) * torch.remainder(frequency[:, None] * place[None, :], pixels)
    return torch.cos(angle) / math.sqrt(pixels), torch.sin(angle) / math.sqrt(pixels)


def _mix(image: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("bixy,ioxy->boxy", image, weight)
