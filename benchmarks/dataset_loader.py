"""Reading a data set while training: is loading ever the bottleneck on two cores?

Items per second in random order, without workers and with one or two, with a cold cache (every item decodes a
chunk) and a warm one, beside the crystals per second that a small network can learn from on all cores: the
seed's variational autoencoder, two convolutions down and two up, 32 kernels of 8 x 8 with stride 2, latent size
12, batches of 24. It is about the cheapest network anyone would train, so that every other one waits longer.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from common import number, parser, publish, table
from lacbed import LacbedDataset

BATCH = 24


class SeedLike(nn.Module):
    """Potential to pattern through twelve numbers."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        quarter = pixels // 4
        self.down = nn.Sequential(
            nn.Conv2d(1, 32, 8, 2, 3),
            nn.ReLU(),
            nn.Conv2d(32, 32, 8, 2, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * quarter**2, 12),
        )
        self.up = nn.Sequential(
            nn.Linear(12, 32 * quarter**2),
            nn.ReLU(),
            nn.Unflatten(1, (32, quarter, quarter)),
            nn.ConvTranspose2d(32, 32, 8, 2, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 8, 2, 3),
        )

    def forward(self, potential: Tensor) -> Tensor:
        """(crystal, 1, v, u) to (crystal, 1, ky, kx)."""
        return self.up(self.down(potential))


def training_rate(pixels: int, steps: int) -> float:
    """Crystals per second of training alone, on random numbers."""
    model = SeedLike(pixels)
    optimiser = torch.optim.Adam(model.parameters())
    potential, pattern = torch.rand(2, BATCH, 1, pixels, pixels)
    start = time.perf_counter()
    for step in range(steps + 1):
        if step == 1:
            start = time.perf_counter()  # the first one sets up
        optimiser.zero_grad()
        nn.functional.mse_loss(model(potential), pattern).backward()
        optimiser.step()
    return steps * BATCH / (time.perf_counter() - start)


def loading_rate(path: Path, workers: int, cache: int, items: int) -> float:
    """Crystals per second of loading alone, in random order, the start of the workers left out."""
    data = LacbedDataset(path, cache_bytes=cache)
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    if cache > 1:
        for _ in loader:
            pass  # warm
    done, start = 0, 0.0
    while done < items:
        for batch in loader:
            if start == 0.0:
                start = time.perf_counter()
                continue
            done += len(batch["index"])
    return done / (time.perf_counter() - start)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("--items", type=int, default=2000)
    options.add_argument("--steps", type=int, default=10)
    chosen = options.parse_args()
    data = LacbedDataset(chosen.data)
    rows = []
    for workers in (0, 1, 2):
        for name, cache in (("cold", 1), ("warm", 256 * 2**20)):
            rate = loading_rate(chosen.data, workers, cache, chosen.items)
            rows.append([workers, name, number(rate)])
    pixels = data.config.pixels
    training = training_rate(128, chosen.steps)
    slowest = min(float(row[2].replace(",", "")) for row in rows)
    parts = [
        f"{len(data)} crystals, {pixels} x {pixels} pixels at {data.config.thickness_count} thicknesses.",
        table(["workers", "cache", "crystals loaded per second"], rows),
        f"Training a seed-like autoencoder on 128 x 128 pixels on all cores: {number(training)} crystals per "
        f"second. The slowest way of loading gives {number(slowest / training)} times as many.",
    ]
    publish("Loading a data set", parts, chosen)


if __name__ == "__main__":
    main()
