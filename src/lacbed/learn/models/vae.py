"""The seed: a variational autoencoder from the potential image alone to the pattern.

Thorn, Partington, Römer & Beanland, Machine learning large-angle convergent-beam electron diffraction,
poster 295, mmc2021: encoder and decoder two convolutional layers deep, 32 kernels of 8 x 8 with stride 2, latent
space of 12 dimensions. Thickness, energy and lattice parameter are not inputs; patterns at several thicknesses
come out equal. Two switches, off in the poster's model, spare the network what is known exactly: that the origin
does not matter, and the symmetry of the pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacbed.errors import SettingError
from lacbed.learn.symmetry import heaviest_at_origin, symmetrise


@dataclass(frozen=True)
class Settings:
    """Sizes, those of the poster by default.

    Attributes:
        latent: dimensions of the latent space.
        kernels: of each convolution.
        pixels: along each side of potential and pattern, a multiple of 4.
        scale: potential in V that enters as 1.
        one_origin: whether every potential is moved so that its heaviest column is at the origin.
        symmetric: whether the pattern is averaged over the symmetry that the potential prescribes, also in
            training.
    """

    latent: int = 12
    kernels: int = 32
    pixels: int = 128
    scale: float = 100.0
    one_origin: bool = False
    symmetric: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that two halvings do not divide.

        Raises:
            SettingError: naming the setting.
        """
        if self.pixels < 8 or self.pixels % 4:
            raise SettingError(f"model vae: pixels must be a multiple of 4 and at least 8, got {self.pixels}")
        if min(self.latent, self.kernels) < 1 or not self.scale > 0:
            raise SettingError("model vae: latent, kernels and scale must be positive")


class Model(nn.Module):
    """Potential → (mu, logvar) → pattern, (B, 1, n, n) to (B, T, n, n)."""

    CONDITIONS = False
    """Thickness and energy are not inputs."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        k, side = settings.kernels, settings.pixels // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(1, k, 8, stride=2, padding=3),
            nn.ReLU(),
            nn.Conv2d(k, k, 8, stride=2, padding=3),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.mu = nn.Linear(k * side**2, settings.latent)
        self.logvar = nn.Linear(k * side**2, settings.latent)
        self.decoder = nn.Sequential(
            nn.Linear(settings.latent, k * side**2),
            nn.ReLU(),
            nn.Unflatten(1, (k, side, side)),
            nn.ConvTranspose2d(k, k, 8, stride=2, padding=3),
            nn.ReLU(),
            nn.ConvTranspose2d(k, 1, 8, stride=2, padding=3),
            nn.Sigmoid(),
        )
        # With the channels of a pixel side by side a step takes two thirds of the time on a processor.
        for weights in self.parameters():
            if weights.ndim == 4:
                weights.data = weights.data.contiguous(memory_format=torch.channels_last)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sample the latent space in training, take its mean otherwise.

        Raises:
            SettingError: if the potential has another size than the model.
        """
        there = batch["potential"].shape[-1]
        if there != self.settings.pixels:
            raise SettingError(
                f"model vae takes potentials of as many pixels as its patterns ({self.settings.pixels}), the data "
                f"set has {there}; build one with potential_pixels = pixels"
            )
        potential = heaviest_at_origin(batch["potential"]) if self.settings.one_origin else batch["potential"]
        hidden = self.encoder(potential / self.settings.scale)
        mu, logvar = self.mu(hidden), self.logvar(hidden)
        code = mu
        if self.training:
            code = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        pattern = self.decoder(code)
        if self.settings.symmetric:
            pattern = symmetrise(pattern.float(), batch["symmetry"])
        thicknesses = batch["thickness"].shape[1]
        return {"pattern": pattern.expand(-1, thicknesses, -1, -1), "mu": mu, "logvar": logvar}
