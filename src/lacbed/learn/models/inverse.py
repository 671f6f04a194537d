"""The inverse: from the pattern of 000, lattice parameter, thickness and energy to the projected potential.

A cubic crystal along [001] has a two-fold axis in projection. So its pattern has 2mm and one quadrant holds
everything; and with the origin at a centre all Fourier coefficients are real, their signs being all that is left
of the phases. Everything depends on v = σ V t and F = λ t / a² alone (`lacbed.learn.features`): the network sees
the quadrant and ln F, and gives v_hk, of which the potential is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacbed.errors import SettingError
from lacbed.learn.features import fresnel_number, phase_strength
from lacbed.learn.models.channels import ResidualBlock

_MEAN, _SPREAD = 0.6, 0.15  # of intensities, roughly
_LN_F, _LN_F_SPREAD = -0.9, 0.6  # of ln F
_ROUGH = 0.02  # of v_hk in rad, for coefficients of high order


@dataclass(frozen=True)
class Settings:
    """Sizes.

    Attributes:
        width: of the hidden layers.
        blocks: how many of them.
        dropout: share of hidden numbers left out in training.
        order: largest |h| and |k| of the coefficients.
        pixels: of the patterns along a side.
        extent: their half-width in a*.
        image: pixels of the potential along a side.
    """

    width: int = 768
    blocks: int = 4
    dropout: float = 0.0
    order: int = 24
    pixels: int = 128
    extent: float = 4.0
    image: int = 64

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit.

        Raises:
            SettingError: naming the setting.
        """
        if min(self.width, self.blocks, self.order) < 1 or not 0 <= self.dropout < 1 or not self.extent > 0:
            raise SettingError("model inverse: width, blocks, order and extent must be positive, dropout below 1")
        if self.pixels < 4 or self.pixels % 2:
            raise SettingError(f"model inverse: pixels must be even and at least 4, got {self.pixels}")
        if self.image <= 2 * self.order:
            raise SettingError(f"model inverse: image must be above 2 order = {2 * self.order}, got {self.image}")


class Model(nn.Module):
    """Batch to potentials; see `lacbed.learn.models`."""

    PREDICTS = "potential"

    EXPORTABLE = False
    """ONNX is for simulators."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        width, side, order = settings.width, settings.pixels // 2, settings.order
        self.first = nn.Linear(side * side, width)
        self.fresnel = nn.Linear(2, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, settings.dropout) for _ in range(settings.blocks))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, (order + 1) * (2 * order + 1)))
        h = torch.arange(-order, order + 1).float()
        length = h[order:, None] ** 2 + h[None, :] ** 2
        self.register_buffer("scale", 1.0 / (1.0 + 0.3 * length) + _ROUGH, persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Patterns (B, T, m, m) to potentials (B, T, n, n), one from each pattern.

        Raises:
            SettingError: if the patterns have another size than the model.
        """
        s, pattern = self.settings, batch["pattern"]
        if pattern.shape[-1] != s.pixels:
            raise SettingError(f"model inverse takes patterns of {s.pixels} pixels, got {pattern.shape[-1]}")
        strength = phase_strength(batch["thickness"], batch["energy"]).float()
        fresnel = fresnel_number(batch["lattice_parameter"], batch["thickness"], batch["energy"]).float()
        place = (torch.log(fresnel) - _LN_F) / _LN_F_SPREAD
        known = torch.stack([place, place.square()], dim=-1)  # (B, T, 2)
        quadrant = ((_quadrant(pattern.float()) - _MEAN) / _SPREAD).flatten(-2)
        hidden = self.first(quadrant) / 4.0 + self.fresnel(known)
        for block in self.blocks:
            hidden = block(hidden)
        half = self.last(hidden).float().unflatten(-1, (s.order + 1, 2 * s.order + 1)) * self.scale
        image = _image(half, s.image)
        return {"potential": image / strength[..., None, None]}


def _quadrant(pattern: Tensor) -> Tensor:
    """The mean of the four quadrants, k_x and k_y rising from 0: (..., m, m) to (..., m / 2, m / 2)."""
    half = pattern.shape[-1] // 2
    rows = pattern[..., half:, :] + pattern[..., :half, :].flip(-2)
    return 0.25 * (rows[..., half:] + rows[..., :half].flip(-1))


def _image(half: Tensor, pixels: int) -> Tensor:
    """Σ v_hk cos 2π(h x + k y): real v_hk for k ≥ 0 (k = 0 counts once for ±h) to (..., n, n)."""
    order = half.shape[-2] - 1
    full = torch.cat([half.flip(-2, -1)[..., :-1, :], half], dim=-2)
    middle = 0.5 * (full[..., order, :] + full[..., order, :].flip(-1))
    full = torch.cat([full[..., :order, :], middle[..., None, :], full[..., order + 1 :, :]], dim=-2)
    before, after = pixels // 2 - order, pixels - pixels // 2 - order - 1
    table = torch.nn.functional.pad(full, (before, after, before, after))
    image: Tensor = torch.fft.ifft2(torch.fft.ifftshift(table, dim=(-2, -1))).real * pixels**2
    return image
