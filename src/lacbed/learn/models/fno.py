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
    """σ(W h + F⁻¹ R F h): a convolution over the whole periodic image plus a local one."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        # Real and imaginary part in the last axis: complex parameters do not reduce over gloo.
        self.weight = nn.Parameter(torch.randn(2, width, width, modes, modes, 2) / (width * math.sqrt(2.0)))
        self.local = nn.Conv2d(width, width, 3, padding=1, padding_mode="circular")

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, width, m, m) to the same."""
        with torch.autocast(hidden.device.type, enabled=False):
            spectrum = torch.fft.rfft2(hidden.float(), norm="ortho")
            weight = torch.view_as_complex(self.weight.float())
            n = self.modes
            mixed = torch.zeros_like(spectrum)
            mixed[:, :, :n, :n] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :n, :n], weight[0])
            mixed[:, :, -n:, :n] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -n:, :n], weight[1])
            whole = torch.fft.irfft2(mixed, s=hidden.shape[-2:], norm="ortho")
        return nn.functional.silu(whole + self.local(hidden))
