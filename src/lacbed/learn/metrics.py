"""Errors of predicted patterns, row by row, and their summaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from lacbed.patterns.metrics import max_difference, relative_l2, zncc_loss

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
