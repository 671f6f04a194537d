"""Crystals without a simulation: potentials of a few Gaussian atoms, patterns by a cheap formula."""

import numpy as np
import torch

from lacbed.learn import features
from lacbed.learn.symmetry import pattern_symmetry, symmetrise

PIXELS = 16
EXTENT = 2.0


def potential_image(seed: int, pixels: int = PIXELS) -> torch.Tensor:
    """Two kinds of atoms on the sites of CsCl or rock salt: (1, n, n) in V, the symmetry of the square."""
    rng = np.random.default_rng(seed)
    place = np.arange(pixels) / pixels
    image = np.zeros((pixels, pixels))
    for centre in ((0.0, 0.0), (0.5, 0.5)):
        height, width = rng.uniform(2, 12), rng.uniform(0.08, 0.15)
        offset = [(place - c + 0.5) % 1.0 - 0.5 for c in centre]
        image += height * np.exp(-(offset[0][:, None] ** 2 + offset[1][None, :] ** 2) / (2 * width**2))
    return torch.as_tensor(image, dtype=torch.float32)[None]


class SyntheticData:
    """A data set in the layout of LacbedDataset, with patterns that are a function of its inputs."""

    def __init__(self, count: int = 12, first: int = 0, thicknesses: tuple[float, ...] = (300.0, 600.0)) -> None:
        self.items = [self.make(first + i, thicknesses) for i in range(count)]

    @staticmethod
    def make(seed: int, thicknesses: tuple[float, ...]) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(1000 + seed)
        potential = potential_image(seed)
        lattice = torch.tensor(rng.uniform(3.5, 6.0), dtype=torch.float32)
        thickness, energy = torch.tensor(thicknesses), torch.tensor(200e3)
        strength = 1.2 * features.phase_strength(thickness[None], energy[None])
        fresnel = features.fresnel_number(lattice[None], thickness[None], energy[None])
        coefficients = features.fourier_coefficients(potential[None], 3)
        axis = features.pattern_axis(PIXELS, EXTENT)
        pattern = features.two_beam_transmission(coefficients, strength, fresnel, axis)
        pattern = symmetrise(pattern, pattern_symmetry(potential[None]))
        return {
            "potential": potential,
            "pattern": pattern[0][:, None],
            "lattice_parameter": lattice,
            "thickness": thickness,
            "energy": energy,
            "index": torch.tensor(seed),
            **{name: torch.tensor(value) for name, value in features.SCALARS.items()},
        }

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.items[index]


SMALL = {
    "vae": {"name": "vae", "latent": 3, "kernels": 4, "pixels": PIXELS},
    "unet": {"name": "unet", "width": 4, "levels": 1, "pixels": PIXELS, "extent": EXTENT, "reach": 2},
    "fno": {"name": "fno", "width": 4, "layers": 1, "modes": 3, "pixels": PIXELS, "extent": EXTENT, "reach": 2},
}


def small_config(name: str = "unet", **training: object) -> dict:
    loss = {"z": 1e4, "intensity": 0, "kl": 1, "nll": 0} if name == "vae" else {}
    settings = {"batch": 4, "epochs": 3, "checkpoint_steps": 2, "ema": 0.5, **training}
    return {"model": SMALL[name], "loss": loss, "training": settings, "data": {"kind": "row"}}
