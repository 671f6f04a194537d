"""Signs of how far to trust a prediction, none of which needs the truth.

    distance    to the nearest training row, by what the pattern depends on
    nearby      mean distance to the five nearest ones: how densely that region was sampled
    expected_z  Z that the standard deviation causes which the model states
    asymmetry   Z between the prediction and its mean over the symmetry that the potential requires of it
    spread      width of the latent distribution of an autoencoder

A sign that a model has not is 0 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from lacbed.learn import data
from lacbed.learn.features import fourier_coefficients, fresnel_number, phase_strength
from lacbed.learn.symmetry import symmetrise
from lacbed.patterns.metrics import zncc_loss

SIGNS = ("distance", "expected_z", "nearby", "asymmetry", "spread")

MOST_KEPT = 20_000
"""Training rows whose descriptors travel with a model."""

_NEARBY = 5
_STRONGEST = 12


def descriptor(batch: Mapping[str, Tensor]) -> Tensor:
    """What a pattern depends on in a few numbers, blind to origin and orientation: (B, T, 16).

    ln F; ln Σ|v_g|²; asinh of the 12 largest |v_g|, one of each Friedel pair; mean |g|² of the |v_g|²; and the
    share of the largest.
    """
    strength = phase_strength(batch["thickness"], batch["energy"]).float()
    fresnel = fresnel_number(batch["lattice_parameter"], batch["thickness"], batch["energy"]).float()
    potential = batch["potential"]
    reach = min(12, potential.shape[-1] // 2 - 1)
    size = fourier_coefficients(potential.float(), reach).square().sum(dim=1).sqrt()
    axis = torch.arange(-reach, reach + 1, device=size.device).float()
    upper = (axis[:, None] > 0) | ((axis[:, None] == 0) & (axis[None, :] > 0))
    square = (axis[:, None] ** 2 + axis[None, :] ** 2)[upper]
    half = size[:, upper]  # (B, g)
    power = half.square()
    total = power.sum(dim=1).clamp(min=1e-20)
    largest = half.topk(_STRONGEST, dim=1).values
    v = torch.asinh(strength[:, :, None] * largest[:, None, :])
    radius = ((power * square).sum(dim=1) / total)[:, None, None].expand(*strength.shape, 1)
    share = (power.amax(dim=1) / total)[:, None, None].expand(*strength.shape, 1)
    level = torch.log(total)[:, None, None] + 2.0 * torch.log(strength)[..., None]
    return torch.cat([torch.log(fresnel)[..., None], level, v, radius / 10.0, share], dim=2)


def descriptor_table(training: data.PatternData, members: np.ndarray) -> dict[str, Tensor]:
    """Descriptors of up to 20,000 training rows, centred and scaled: "rows" (row, 16), "mean", "scale" (16,)."""
    chosen = members[np.random.default_rng(0).permutation(len(members))[:MOST_KEPT]]
    batches = [chosen[i : i + 32].tolist() for i in range(0, len(chosen), 32)]
    rows = torch.cat([descriptor(batch).flatten(0, 1) for batch in data.load(training, batches)])
    rows = rows[torch.as_tensor(np.random.default_rng(1).permutation(len(rows))[:MOST_KEPT])]
    mean, scale = rows.mean(dim=0), rows.std(dim=0, correction=0).clamp(min=1e-3)
    return {"rows": ((rows - mean) / scale).half(), "mean": mean, "scale": scale}


def training_distances(batch: Mapping[str, Tensor], table: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Distance to the nearest training row, and mean of the five nearest, per descriptor: (B, T) each."""
    rows = (descriptor(batch) - table["mean"]) / table["scale"]
    reference = table["rows"].float()
    distances = torch.cdist(rows.flatten(0, 1), reference) / math.sqrt(rows.shape[-1])
    nearest = distances.topk(min(_NEARBY, len(reference)), dim=1, largest=False).values
    shape = rows.shape[:2]
    return nearest[:, 0].reshape(shape), nearest.mean(dim=1).reshape(shape)


def expected_z(pattern: Tensor, log_sigma: Tensor) -> Tensor:
    """Z that an error of standard deviation σ in every pixel causes, σ² / 2 var(pattern), at most 2: (B, T)."""
    variance = pattern.var(dim=(-2, -1), correction=0).clamp(min=1e-10)
    mean_square = torch.exp(2.0 * log_sigma).expand_as(pattern).mean(dim=(-2, -1))
    return (0.5 * mean_square / variance).clamp(max=2.0)


def asymmetry(pattern: Tensor, symmetry: Tensor) -> Tensor:
    """Z between patterns (B, T, m, m) and their mean over the operations (B, 8) that they should have: (B, T)."""
    found: Tensor = zncc_loss(pattern, symmetrise(pattern, symmetry))
    return found


def signs_of(
    batch: Mapping[str, Tensor],
    output: Mapping[str, Tensor],
    table: Mapping[str, Tensor],
    wanted: Collection[str] = SIGNS,
) -> dict[str, Tensor]:
    """The wanted signs of every row: (B, T) each.

    Args:
        batch: what the model was given.
        output: what it made of it.
        table: see `descriptor_table`.
        wanted: names in `SIGNS`.
    """
    nearest, nearby = training_distances(batch, table)
    found = {"distance": nearest, "nearby": nearby}
    pattern = output["pattern"].float()
    if "expected_z" in wanted and "log_sigma" in output:
        found["expected_z"] = expected_z(pattern, output["log_sigma"].float())
    if "asymmetry" in wanted:
        found["asymmetry"] = asymmetry(pattern, batch["symmetry"])
    if "spread" in wanted and "logvar" in output:
        found["spread"] = torch.exp(0.5 * output["logvar"].float().mean(dim=1))[:, None].expand_as(nearest)
    return {name: found.get(name, torch.zeros_like(nearest)) for name in wanted}
