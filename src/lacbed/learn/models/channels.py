"""What models share: input channels in (v, F), a head that corrects the two-beam answer, a residual block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lacbed.learn.features import (
    coefficient_map,
    fourier_coefficients,
    fresnel_number,
    pattern_axis,
    phase_strength,
    two_beam_transmission,
)
from lacbed.learn.symmetry import symmetrise

CHANNELS = 8
_EDGE = 0.02  # how near to 0 and 1 the two-beam answer may come; beyond, its logit would let no gradient pass


@dataclass(frozen=True)
class Inputs:
    """Images that enter a network, and what its output corrects.

    Attributes:
        channels: (B T, 8, m, m).
        guess: logit of the two-beam answer: (B, T, m, m).
    """

    channels: Tensor
    guess: Tensor


def make_inputs(batch: Mapping[str, Tensor], pixels: int, extent: float, reach: int) -> Inputs:
    """Channels of order one from the phase image v and F.

    v, arcsinh v (the phase image at the size of the pattern); asinh of Re, Im v_g of the nearest reflection; the
    logit of the two-beam answer; ln F; F |k|²; ln of the rms of v.
    """
    strength = phase_strength(batch["thickness"], batch["energy"]).float()
    fresnel = fresnel_number(batch["lattice_parameter"], batch["thickness"], batch["energy"]).float()
    potential = batch["potential"].float()
    coefficients = fourier_coefficients(potential, min(reach, potential.shape[-1] // 2 - 1))
    axis = pattern_axis(pixels, extent, potential.device)
    two_beam = two_beam_transmission(coefficients, strength, fresnel, axis).clamp(_EDGE, 1.0 - _EDGE)
    guess = torch.log(two_beam) - torch.log1p(-two_beam)
    b, t = strength.shape
    shape = (b, t, pixels, pixels)
    centred = potential - potential.mean(dim=(-2, -1), keepdim=True)
    if centred.shape[-1] != pixels:
        centred = interpolate(centred, size=(pixels, pixels), mode="bilinear", align_corners=False)
    v = strength[..., None, None] * centred
    nearest = torch.asinh(
        strength[:, :, None, None, None] * coefficient_map(coefficients, pixels, extent)[:, None]
    )
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    rms = v.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    stack = [
        v / (1.0 + rms),
        torch.asinh(v),
        nearest[:, :, 0],
        nearest[:, :, 1],
        0.3 * guess,
        (0.5 * torch.log(fresnel))[..., None, None].expand(shape),
        torch.tanh(0.25 * fresnel[..., None, None] * square),
        (0.5 * torch.log(rms + 1e-6)).expand(shape),
    ]
    return Inputs(torch.stack(stack, dim=2).reshape(b * t, CHANNELS, pixels, pixels), guess)


class Head(nn.Module):
    """Hidden images to intensity between 0 and 1 with the pattern's symmetry, and its expected error.

    pattern = mean over the symmetry of sigmoid(gain · guess + correction). The correction starts at zero and the
    gain at one, so that an untrained model gives the two-beam answer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.correction = nn.Conv2d(width, 1, 1)
        self.sigma = nn.Linear(width, 1)
        self.gain = nn.Parameter(torch.ones(()))
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.sigma.weight)
        nn.init.constant_(self.sigma.bias, -2.5)
        assert self.correction.bias is not None
        nn.init.zeros_(self.correction.bias)

    def forward(self, hidden: Tensor, guess: Tensor, symmetry: Tensor) -> dict[str, Tensor]:
        """Hidden (B T, width, m, m), guess (B, T, m, m), symmetry (B, 8)."""
        correction = self.correction(hidden).float().reshape(guess.shape)
        log_sigma = self.sigma(hidden.mean(dim=(-2, -1))).float().clamp(-12.0, 2.0)
        return {
            "pattern": symmetrise(torch.sigmoid(self.gain * guess + correction), symmetry),
            "log_sigma": log_sigma.reshape(*guess.shape[:2], 1, 1),
        }


class ResidualBlock(nn.Module):
    """x + W₂ silu(W₁ norm(x)), which starts as the identity."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inside = nn.Linear(width, 2 * width)
        self.drop = nn.Dropout(dropout)
        self.outside = nn.Linear(2 * width, width)
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(self.outside.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        result: Tensor = x + self.outside(self.drop(nn.functional.silu(self.inside(self.norm(x)))))
        return result
