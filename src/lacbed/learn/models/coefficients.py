"""A network without a solver: Fourier coefficients of the phase image to the coefficients of a basis of patterns.

There is no eigenproblem, exponential of a matrix or propagation through the foil inside. What is exact is built
in:

- one origin, a centre of inversion, about which the coefficients are real (a cubic crystal has a two-fold axis
  along [001]);
- everything depends on v = σ V t and F = λ t / a² (`lacbed.learn.features`), so that one network serves all
  thicknesses, voltages and lattice parameters; absorption adds its mean and how fast atoms let it fall off;
- the pattern is made of its quadrant, and averaged over the further symmetry that the potential prescribes;
- intensities lie between 0 and 1.

The phase grating exp(i v), which is the exact answer for F → 0, is given to the network beside v: its coefficients
at the full and at half the thickness hold the multiple scattering that products of v would have to be learned for.
Before the first step the basis is that of the first patterns (their principal components).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacbed.errors import SettingError
from lacbed.learn.features import fourier_coefficients, fresnel_number, phase_strength
from lacbed.learn.models.channels import ResidualBlock
from lacbed.learn.symmetry import OPERATIONS, canonical, resampled

_IMAGE = 64  # pixels along a side on which the potential is looked at
_SMALL_V = 0.03  # rad; coefficients well above it enter by their logarithm
_LN_F, _LN_F_SPREAD = -0.9, 0.9  # of ln F
_SCALARS = 6
_LEAST_SPREAD = 0.1  # of an input, below which it is not blown up
_COMPONENTS = 400
_EXCHANGING = next(i for i, operation in enumerate(OPERATIONS) if operation[0])


@dataclass(frozen=True)
class Settings:
    """Sizes.

    Attributes:
        width: of the hidden layers, and the number of patterns in the basis.
        blocks: how many layers.
        reach: largest |g| of the coefficients in a*.
        grating: whether the phase grating is given too.
        dropout: share of hidden numbers left out in training.
        pixels: of the pattern along a side.
    """

    width: int = 512
    blocks: int = 4
    reach: int = 12
    grating: bool = True
    dropout: float = 0.0
    pixels: int = 128

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit.

        Raises:
            SettingError: naming the setting.
        """
        if min(self.width, self.blocks) < 1 or not 0 <= self.dropout < 1:
            raise SettingError("model coefficients: width and blocks must be positive, dropout below 1")
        if not 1 <= self.reach < _IMAGE // 2:
            raise SettingError(f"model coefficients: reach must be from 1 to {_IMAGE // 2 - 1}, got {self.reach}")
        if self.pixels < 4 or self.pixels % 2:
            raise SettingError(f"model coefficients: pixels must be even and at least 4, got {self.pixels}")


class Model(nn.Module):
    """Batch to patterns; see `lacbed.learn.models`."""

    EXPORTABLE = False
    """Finding the origin takes complex Fourier transforms, which ONNX cannot express."""

    place: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        order = torch.arange(-settings.reach, settings.reach + 1)
        k, h = torch.meshgrid(order, order, indexing="ij")
        length = h**2 + k**2
        half = (length <= settings.reach**2) & ((k > 0) | ((k == 0) & (h >= 0)))
        self.register_buffer("place", torch.nonzero(half.flatten())[:, 0], persistent=False)
        images = 5 if settings.grating else 1
        side = settings.pixels // 2
        self.register_buffer("mean", torch.zeros(images * len(self.place) + _SCALARS))
        self.register_buffer("spread", torch.ones(images * len(self.place) + _SCALARS))
        self.first = nn.Linear(images * len(self.place) + _SCALARS, settings.width)
        self.blocks = nn.ModuleList(
            ResidualBlock(settings.width, settings.dropout) for _ in range(settings.blocks)
        )
        self.norm = nn.LayerNorm(settings.width)
        self.basis = nn.Linear(settings.width, side * side)
        self.sigma = nn.Linear(settings.width, 1)
        nn.init.normal_(self.basis.weight, std=0.1 / settings.width**0.5)
        nn.init.constant_(self.basis.bias, 0.5)
        nn.init.zeros_(self.sigma.weight)
        nn.init.constant_(self.sigma.bias, -2.5)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `lacbed.learn.models`; of a batch that was prepared, the quadrants."""
        prepared = "inputs" in batch
        hidden = self.first(((batch["inputs"] if prepared else self.inputs(batch)) - self.mean) / self.spread)
        for block in self.blocks:
            hidden = block(hidden)
        hidden = self.norm(hidden)
        side = self.settings.pixels // 2
        quadrant = self.basis(hidden).float().unflatten(-1, (side, side))
        if not self.training:
            quadrant = quadrant.clamp(0.0, 1.0)
        # Of the operations that the pattern has, half exchange the axes or none does.
        turned = (batch["symmetry"][:, _EXCHANGING:].sum(dim=1) / batch["symmetry"].sum(dim=1))[
            :, None, None, None
        ]
        quadrant = torch.lerp(quadrant, quadrant.mT, turned)
        log_sigma = self.sigma(hidden).float().clamp(-12.0, 2.0)[..., None]
        return {"pattern": quadrant if prepared else _unfolded(quadrant), "log_sigma": log_sigma}

    def prepare(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What of a batch does not change while weights do: the inputs, and the quadrants of the patterns."""
        side = self.settings.pixels // 2
        kept = {name: batch[name] for name in ("index", "symmetry", "thickness")}
        quadrants = batch["pattern"][..., side:, side:]
        return {**kept, "inputs": self.inputs(batch).half(), "pattern": quadrants.half()}

    @torch.no_grad()
    def begin(self, batch: Mapping[str, Tensor]) -> None:
        """Take the scale of the inputs and a first basis from crystals; see `lacbed.learn.train`."""
        inputs, side = self.inputs(batch).flatten(0, 1), self.settings.pixels // 2
        self.mean.copy_(inputs.mean(dim=0))
        self.spread.copy_(inputs.std(dim=0, correction=0) + _LEAST_SPREAD)
        quadrants = batch["pattern"][..., side:, side:].float().flatten(0, 1).flatten(1)
        average = quadrants.mean(dim=0)
        most = min(self.settings.width, *quadrants.shape, _COMPONENTS)
        _, sizes, found = torch.svd_lowrank(quadrants - average, most, niter=2)
        self.basis.weight[:, : len(sizes)] = found * (sizes / len(quadrants) ** 0.5)
        self.basis.bias.copy_(average)

    def inputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Numbers of order one: (B, T, number)."""
        strength = phase_strength(batch["thickness"], batch["energy"]).float()
        fresnel = fresnel_number(batch["lattice_parameter"], batch["thickness"], batch["energy"]).float()
        with torch.no_grad(), torch.autocast(strength.device.type, enabled=False):
            image = canonical(resampled(batch["potential"].float(), _IMAGE))  # (B, 1, n, n)
        table = self._half(fourier_coefficients(image, self.settings.reach)[:, 0])
        v = strength[..., None] * table[:, None]
        parts = [torch.asinh(v / _SMALL_V)]
        if self.settings.grating:
            phase = strength[..., None, None] * (image - image.mean(dim=(-2, -1), keepdim=True))
            for share in (1.0, 0.5):
                for wave in (torch.cos(share * phase), torch.sin(share * phase)):
                    found = fourier_coefficients(wave.flatten(0, 1)[:, None], self.settings.reach)[:, 0]
                    parts.append(4.0 * self._half(found).reshape(*strength.shape, -1))
        rms = v.square().sum(dim=-1).sqrt()
        a, b_iso = batch["lattice_parameter"].float(), batch["mean_b_iso"].float()
        damping = batch["mean_absorptive_potential"].float()
        known = [
            (torch.log(fresnel) - _LN_F) / _LN_F_SPREAD,
            torch.tanh(0.5 * fresnel),
            torch.log(rms + 1e-3),
            strength * damping[:, None],
            torch.log(1.0 + b_iso / a.square())[:, None].expand_as(strength) * 20.0,
            torch.log(a / 6.0)[:, None].expand_as(strength),
        ]
        return torch.cat([*parts, torch.stack(known, dim=-1)], dim=-1)

    def _half(self, table: Tensor) -> Tensor:
        """One of each pair ±g within the reach: (..., 2 r + 1, 2 r + 1) to (..., number)."""
        return table.flatten(-2)[..., self.place]


def _unfolded(quadrant: Tensor) -> Tensor:
    """The pattern of a quadrant, with the mirrors that the two-fold axes of a cubic crystal give to it."""
    half = torch.cat([quadrant.flip(-1), quadrant], dim=-1)
    return torch.cat([half.flip(-2), half], dim=-2)
