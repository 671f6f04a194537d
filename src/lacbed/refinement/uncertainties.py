"""Standard uncertainties and correlations from the Jacobian at the minimum."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.objective import Target

BLIND = 1e-9
"""A parameter whose column is this part of the largest (per unit of its range) does not change the images."""


def covariance(target: Target, residual: Tensor, slopes: Tensor) -> FloatArray:
    """Covariance of the parameters: (p, p), infinite for what the images do not determine.

    Poisson weights and known variances: (JᵀJ)⁻¹ max(1, χ² / degrees of freedom).

    Correlation: what is left of a measured image is not noise but the faults of the model, alike over many pixels.
    Counting pixels would make uncertainties far too small. Instead every reflection counts as one observation of
    the parameters (the sandwich with clusters; Liang & Zeger, Biometrika 73 (1986) 13),

        C = H⁻¹ [ Σ_g (J_gᵀ r_g)(J_gᵀ r_g)ᵀ ] H⁻¹ G / (G - 1),   H = JᵀJ.

    Args:
        target: which weights.
        residual: r: (g, pixel).
        slopes: J: (p, g, pixel).
    """
    J, r = slopes.numpy(), residual.numpy()
    p, groups = len(J), len(r)
    size = np.sqrt((J * J).sum(axis=(1, 2)))
    seen = size > 0.0
    scaled = J[seen] / size[seen][:, None, None]
    inverse = np.linalg.pinv(np.einsum("pgn,qgn->pq", scaled, scaled), rcond=1e-12)
    if target.weights != "correlation":
        freedom = max(1, int((target.root > 0).sum()) - p)
        inner = inverse * max(1.0, float((r * r).sum()) / freedom)
    else:
        scores = np.einsum("pgn,gn->pg", scaled, r)
        scores = scores - scores.mean(axis=1, keepdims=True)
        inner = inverse @ (scores @ scores.T) @ inverse * groups / max(1, groups - 1)
    result = np.full((p, p), np.nan)
    result[np.diag_indices(p)] = np.inf
    result[np.ix_(seen, seen)] = inner / np.outer(size[seen], size[seen])
    return result


def response(slopes: Tensor, change: Tensor) -> FloatArray:
    """By how much the parameters move, to first order, when the residual changes: -(JᵀJ)⁻¹ Jᵀ dr: (p,).

    Args:
        slopes: J: (p, g, pixel).
        change: dr: (g, pixel).
    """
    J = slopes.flatten(1).numpy()
    size = np.linalg.norm(J, axis=1)
    size = np.where(size > 0.0, size, 1.0)
    scaled = J / size[:, None]
    return np.asarray(-np.linalg.pinv(scaled @ scaled.T, rcond=1e-12) @ (scaled @ change.numpy().ravel()) / size)


def standard_uncertainties(matrix: FloatArray) -> FloatArray:
    """Roots of the diagonal: (p,)."""
    return np.asarray(np.sqrt(np.maximum(np.diag(matrix), 0.0)))


def correlations(matrix: FloatArray) -> FloatArray:
    """The correlation matrix; 0 beside what is not determined."""
    su = standard_uncertainties(matrix)
    scale = np.outer(su, su)
    known = np.isfinite(matrix) & np.isfinite(scale) & (scale > 0)
    result = np.where(known, matrix / np.where(known, scale, 1.0), 0.0)
    np.fill_diagonal(result, 1.0)
    return np.asarray(result)


def with_uncertainty(value: float, su: float) -> str:
    """A number as crystallographers write it: 0.5854(12), 984.3(1.2) becomes 984.3(12).

    Without a finite, positive uncertainty the number alone.
    """
    if not np.isfinite(su) or su <= 0.0:
        return f"{value:.6g}"
    exponent = int(np.floor(np.log10(su)))
    digits = 1 - exponent if round(su / 10.0**exponent, 1) < 2.0 else -exponent
    if digits <= 0:
        unit = 10.0 ** (-digits)
        return f"{round(value / unit) * unit:.0f}({round(su / unit) * unit:.0f})"
    return f"{value:.{digits}f}({round(su * 10**digits)})"
