"""Whether a prediction can be trusted: distance to what was learned, and the error that the model expects.

A linear fit on the validation crystals predicts ln Z from the two; a prediction is flagged above a threshold that
is chosen there too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacbed.learn import data
from lacbed.learn.features import fourier_coefficients, fresnel_number, phase_strength

BAD_Z = 0.10
"""What a warning should catch: predictions with Z above this."""

MOST_FLAGGED = 0.12
"""Largest share of the other predictions that may be flagged on the validation crystals."""

MOST_KEPT = 2000
"""Training rows whose descriptors travel with a model."""

_STRONGEST = 12
_FLOOR = 1e-7


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
    """Descriptors of up to 2000 training rows, centred and scaled: "rows" (row, 16), "mean", "scale" (16,)."""
    chosen = members[np.random.default_rng(0).permutation(len(members))[:MOST_KEPT]]
    batches = [chosen[i : i + 32].tolist() for i in range(0, len(chosen), 32)]
    rows = torch.cat([descriptor(batch).flatten(0, 1) for batch in data.load(training, batches)])
    rows = rows[torch.as_tensor(np.random.default_rng(1).permutation(len(rows))[:MOST_KEPT])]
    mean, scale = rows.mean(dim=0), rows.std(dim=0, correction=0).clamp(min=1e-3)
    return {"rows": ((rows - mean) / scale).half(), "mean": mean, "scale": scale}


def training_distance(batch: Mapping[str, Tensor], table: Mapping[str, Tensor]) -> Tensor:
    """Distance of every row to the nearest training row, per descriptor: (B, T)."""
    rows = (descriptor(batch) - table["mean"]) / table["scale"]
    reference = table["rows"].float()
    nearest = torch.cdist(rows.flatten(0, 1), reference).amin(dim=1)
    return nearest.reshape(rows.shape[:2]) / math.sqrt(rows.shape[-1])


def expected_z(pattern: Tensor, log_sigma: Tensor) -> Tensor:
    """Z that an error of standard deviation σ in every pixel causes, σ² / 2 var(pattern), at most 2: (B, T)."""
    variance = pattern.var(dim=(-2, -1), correction=0).clamp(min=1e-10)
    mean_square = torch.exp(2.0 * log_sigma).expand_as(pattern).mean(dim=(-2, -1))
    return (0.5 * mean_square / variance).clamp(max=2.0)


def warning_inputs(
    batch: Mapping[str, Tensor], output: Mapping[str, Tensor], table: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The two numbers on which a warning rests: "distance" and "expected_z" (0 if the model has none): (B, T)."""
    distance = training_distance(batch, table)
    if "log_sigma" not in output:
        return {"distance": distance, "expected_z": torch.zeros_like(distance)}
    return {"distance": distance, "expected_z": expected_z(output["pattern"].float(), output["log_sigma"].float())}


def fit_warning(z: np.ndarray, distance: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Coefficients and threshold of the warning, with how it does on the rows that it was fitted to.

    ln Z ≈ c_0 + c_1 ln d + c_2 ln Z_expected; the threshold catches 95 % of the rows with Z above 10 % unless more
    than 12 % of the others would be flagged.
    """
    columns = _columns(distance, expected)
    target = np.log(np.maximum(z, _FLOOR))
    solution = np.linalg.lstsq(columns, target, rcond=None)[0]
    score = columns @ solution
    bad = z > BAD_Z
    least = np.quantile(score[~bad], 1.0 - MOST_FLAGGED) if np.any(~bad) else -np.inf
    if np.any(bad):
        threshold = max(float(least), float(np.quantile(score[bad], 0.05)) - 1e-9)
    else:
        threshold = max(float(score.max()), math.log(BAD_Z))
    fitted = {"coefficients": solution.tolist(), "threshold": threshold, "bad_z": BAD_Z, "rows": len(z)}
    return fitted | judge(z, score > threshold)


def judge(z: np.ndarray, flagged: np.ndarray) -> dict[str, float | None]:
    """Share of the bad rows that are caught and of the others that are flagged."""
    bad = z > BAD_Z
    return {
        "caught": float(np.mean(flagged[bad])) if np.any(bad) else None,
        "flagged_of_others": float(np.mean(flagged[~bad])) if np.any(~bad) else None,
    }


def predicted_z(fitted: Mapping[str, Any], distance: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Z that the fit predicts, at most 2."""
    score = _columns(distance, expected) @ np.asarray(fitted["coefficients"])
    return np.asarray(np.minimum(np.exp(np.minimum(score, 1.0)), 2.0))


def is_flagged(fitted: Mapping[str, Any], distance: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Which rows get a warning."""
    score = _columns(distance, expected) @ np.asarray(fitted["coefficients"])
    return np.asarray(score > fitted["threshold"])


def _columns(distance: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.ones_like(distance), np.log(distance + 1e-3), np.log(np.maximum(expected, _FLOOR))], axis=-1
    ).astype(float)
