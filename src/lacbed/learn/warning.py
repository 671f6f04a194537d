"""Whether a prediction can be trusted: a linear fit of ln Z to the signs of `lacbed.learn.trust_features`.

It is made on the validation crystals; a prediction is flagged above a threshold that is chosen there too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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
