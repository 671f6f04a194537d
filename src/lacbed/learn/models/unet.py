"""A U-Net on images in (v, F) that corrects the two-beam answer.

Ronneberger, Fischer & Brox, U-Net: convolutional networks for biomedical image segmentation,
arXiv 1505.04597 (2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lacbed.errors import SettingError
from lacbed.learn.models.channels import CHANNELS, Head, make_inputs

MOST_LEVELS = 12


@dataclass(frozen=True)
class Settings:
    """Sizes.

    Attributes:
        width: channels of the first level; each further level has twice as many.
        levels: how often the image is halved.
        pixels: along each side of a pattern, a multiple of 2^levels.
        extent: half-width of a pattern in a*.
        reach: largest |g| in a* of the two-beam channel.
    """

    width: int = 32
    levels: int = 3
    pixels: int = 128
    extent: float = 4.0
    reach: int = 6

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit.

        Raises:
            SettingError: naming the setting.
        """
        if self.width < 4 or self.width % 4 or self.levels < 1 or self.reach < 1 or not self.extent > 0:
            raise SettingError("model unet: width must be a multiple of 4, levels, reach and extent positive")
        if self.levels > MOST_LEVELS:
            raise SettingError(f"model unet: levels must be at most {MOST_LEVELS}, got {self.levels}")
        if self.pixels < 8 or self.pixels % 2**self.levels:
            raise SettingError(f"model unet: pixels must be a multiple of {2**self.levels}, got {self.pixels}")


class Model(nn.Module):
    """Batch to patterns; see `lacbed.learn.models`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        widths = [settings.width * 2**level for level in range(settings.levels + 1)]
        self.first = _block(CHANNELS, widths[0])
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in _backwards(widths))
        self.join = nn.ModuleList(_block(2 * a, a) for a, _ in _backwards(widths))
        self.head = Head(widths[0])

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Two-beam answer plus what the network adds."""
        s = self.settings
        with torch.autocast(batch["potential"].device.type, enabled=False):
            inputs = make_inputs(batch, s.pixels, s.extent, s.reach)
        hidden = self.first(inputs.channels)
        kept = []
        for block in self.down:
            kept.append(hidden)
            hidden = block(nn.functional.avg_pool2d(hidden, 2))
        for up, join, skip in zip(self.up, self.join, reversed(kept), strict=True):
            hidden = join(torch.cat([up(hidden), skip], dim=1))
        result: dict[str, Tensor] = self.head(hidden, inputs.guess, batch["symmetry"])
        return result


def _backwards(widths: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(widths))[::-1]


def _block(inside: int, outside: int) -> nn.Sequential:
    """Two convolutions that keep the size; circular, as the unit cell is."""
    layers: list[nn.Module] = []
    for channels in (inside, outside):
        layers += [
            nn.Conv2d(channels, outside, 3, padding=1, padding_mode="circular"),
            nn.GroupNorm(4, outside),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers)
