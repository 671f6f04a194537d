"""Whether a prediction can be trusted: a linear fit of ln Z to the signs of `lacbed.learn.trust`.

It is made on the validation crystals; a prediction is flagged above a threshold that is chosen there too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacbed.learn import data
from lacbed.learn.features import fourier_coefficients, fresnel_number, phase_strength
from lacbed.learn.symmetry import symmetrise
from lacbed.patterns.metrics import zncc_loss

BAD_Z = 0.10
"""What a warning should catch: predictions with Z above this."""

MOST_FLAGGED = 0.12
"""Largest share of the other predictions that may be flagged on the validation crystals."""

_FIRST = ("distance", "expected_z")  # of models that were saved before there were others
_FLOOR = 1e-7
_OFFSET = {"distance": 1e-3, "nearby": 1e-3}  # added; other signs are not taken to be below the floor


def signs_needed(fitted: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the signs that a warning rests on."""
    return tuple(fitted.get("signs", _FIRST))


def fit_warning(z: np.ndarray, signs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Coefficients and threshold of the warning, with how it does on the rows that it was fitted to.

    ln Z ≈ c_0 + Σ c_i ln s_i over the signs that vary; the threshold catches 95 % of the rows with Z above 10 %
    unless more than 12 % of the others would be flagged.
    """
    used = [name for name, values in signs.items() if np.ptp(_logarithm(name, values)) > 0]
    columns = _columns(used, signs, len(z))
    target = np.log(np.maximum(z, _FLOOR))
    solution = np.linalg.lstsq(columns, target, rcond=None)[0]
    score = columns @ solution
    bad = z > BAD_Z
    least = np.quantile(score[~bad], 1.0 - MOST_FLAGGED) if np.any(~bad) else -np.inf
    if np.any(bad):
        threshold = max(float(least), float(np.quantile(score[bad], 0.05)) - 1e-9)
    else:
        threshold = max(float(score.max()), math.log(BAD_Z))
    fitted = {"signs": used, "coefficients": solution.tolist(), "threshold": threshold}
    return fitted | {"bad_z": BAD_Z, "rows": len(z)} | judge(z, score > threshold)


def judge(z: np.ndarray, flagged: np.ndarray) -> dict[str, float | None]:
    """Share of the bad rows that are caught and of the others that are flagged."""
    bad = z > BAD_Z
    return {
        "caught": float(np.mean(flagged[bad])) if np.any(bad) else None,
        "flagged_of_others": float(np.mean(flagged[~bad])) if np.any(~bad) else None,
    }


def predicted_z(fitted: Mapping[str, Any], signs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Z that the fit predicts, at most 2."""
    return np.asarray(np.minimum(np.exp(np.minimum(_score(fitted, signs), 1.0)), 2.0))


def is_flagged(fitted: Mapping[str, Any], signs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which rows get a warning."""
    return np.asarray(_score(fitted, signs) > fitted["threshold"])


def _score(fitted: Mapping[str, Any], signs: Mapping[str, np.ndarray]) -> np.ndarray:
    names = signs_needed(fitted)
    shape = np.shape(next(iter(signs.values())))
    columns = _columns(names, {name: np.ravel(signs[name]) for name in names}, math.prod(shape))
    return np.asarray(columns @ np.asarray(fitted["coefficients"])).reshape(shape)


def _columns(names: Sequence[str], signs: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    return np.stack([np.ones(rows), *(_logarithm(name, signs[name]) for name in names)], axis=-1)


def _logarithm(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return np.log(values + _OFFSET[name] if name in _OFFSET else np.maximum(values, _FLOOR))


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
