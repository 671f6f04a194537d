"""What training minimises: Z, absolute intensity, and what a model adds about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacbed.io.numbers import check_number
from lacbed.learn.symmetry import aligned, canonical, resampled
from lacbed.patterns.metrics import max_difference, relative_l2, zncc_loss


def answer_of(output: Mapping[str, Tensor]) -> Tensor:
    """The images that a model was asked for: (B, T, m, m)."""
    return (output["potential"] if "potential" in output else output["pattern"]).float()


def truth_of(output: Mapping[str, Tensor], batch: Mapping[str, Tensor], learning: bool = False) -> Tensor:
    """The images that the answer should be: (B, T, m, m).

    A pattern is what it is. Of a potential there are many that give the same pattern: a model learns the
    representative (`canonical`), and is judged by the one nearest to its answer (`aligned`), at its resolution.

    Args:
        output: of the model.
        batch: what it was given.
        learning: whether weights are to change by it.
    """
    if "potential" not in output:
        return batch["pattern"]
    answer = answer_of(output)
    potential = resampled(batch["potential"].float(), answer.shape[-1])
    return canonical(potential).expand_as(answer) if learning else aligned(potential, answer)


_SMALL = 1e-12


@dataclass(frozen=True)
class LossSettings:
    """Weights of the terms; each term is a mean over the patterns of a batch.

    Attributes:
        z: of Z itself, which is blind to scale and offset.
        root_z: of sqrt(Z), which gives small errors more weight.
        intensity: of Σ |a - b|² / Σ |b|², the square of the relative L2 error of intensity or potential.
        root_intensity: of its square root.
        kl: of the Kullback-Leibler divergence of the latent distribution from the standard normal one, for
            models that return "mu" and "logvar".
        nll: of the Gaussian negative log-likelihood of the error under the predicted "log_sigma"; the error
            itself is held fixed, so that this term trains the uncertainty alone.
    """

    z: float = 1.0
    root_z: float = 0.0
    intensity: float = 1.0
    root_intensity: float = 0.0
    kl: float = 0.0
    nll: float = 0.01

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: naming the key.
        """
        for name, value in vars(self).items():
            check_number(f"loss.{name}", value, 0)


def loss_terms(output: Mapping[str, Tensor], truth: Tensor) -> dict[str, Tensor]:
    """Every term that the output has, each a scalar.

    Args:
        output: "pattern" or "potential" (B, T, m, m) and perhaps "log_sigma" (broadcasts with it), "mu" and
            "logvar" (B, latent).
        truth: (B, T, m, m).
    """
    answer = answer_of(output)
    error = answer - truth
    z = zncc_loss(answer, truth)
    squared = error.square().sum(dim=(-2, -1)) / truth.square().sum(dim=(-2, -1)).clamp(min=_SMALL)
    terms = {
        "z": z.mean(),
        "root_z": torch.sqrt(z + 1e-8).mean(),
        "intensity": squared.mean(),
        "root_intensity": torch.sqrt(squared + 1e-8).mean(),
    }
    if "mu" in output:
        terms["kl"] = kl_divergence(output["mu"].float(), output["logvar"].float()).mean()
    if "log_sigma" in output:
        log_sigma = output["log_sigma"].float()
        terms["nll"] = (0.5 * error.detach().square() * torch.exp(-2.0 * log_sigma) + log_sigma).mean()
    return terms


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """½ Σ (μ² + σ² - ln σ² - 1), latent distribution against the standard normal one: (B, latent) to (B,).

    References:
        Kingma & Welling, Auto-encoding variational Bayes, arXiv 1312.6114 (2013), appendix B.
    """
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1.0).sum(dim=1)


def total_loss(terms: Mapping[str, Tensor], settings: LossSettings) -> Tensor:
    """Σ weight · term over the terms that are there."""
    total = torch.zeros((), device=terms["z"].device)
    for name, value in terms.items():
        weight = getattr(settings, name)
        if weight:
            total = total + weight * value
    return total


GOOD, VERY_GOOD = 0.05, 0.01


def pattern_errors(pattern: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Z, relative L2 and largest |ΔI| of every pattern: (B, T, m, m) twice to (B, T) each."""
    return {
        "z": zncc_loss(pattern, truth),
        "relative_l2": relative_l2(pattern, truth),
        "max_difference": max_difference(pattern, truth),
    }


def summary(errors: Mapping[str, Any]) -> dict[str, float]:
    """Percentiles and shares of Z, and how absolute intensity fares, over rows: arrays (rows,) to numbers."""
    z = np.asarray(errors["z"], dtype=float)
    relative = np.asarray(errors["relative_l2"], dtype=float)
    largest = np.asarray(errors["max_difference"], dtype=float)
    return {
        "patterns": len(z),
        "z_min": float(z.min()),
        "z_median": float(np.median(z)),
        "z_mean": float(z.mean()),
        "z_p75": float(np.percentile(z, 75)),
        "z_p90": float(np.percentile(z, 90)),
        "z_p95": float(np.percentile(z, 95)),
        "z_max": float(z.max()),
        "below_5_percent": float(np.mean(z < GOOD)),
        "below_1_percent": float(np.mean(z < VERY_GOOD)),
        "relative_l2_median": float(np.median(relative)),
        "relative_l2_mean": float(relative.mean()),
        "max_difference_median": float(np.median(largest)),
        "max_difference_max": float(largest.max()),
    }
