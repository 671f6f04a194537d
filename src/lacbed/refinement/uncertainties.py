"""Standard uncertainties and correlations from the Jacobian at the minimum."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.objective import Target


def correlated_pixels(target: Target, residual: Tensor) -> float:
    """How many neighbouring pixels have one residual in common: the sum of its autocorrelation over the lags.

    The sum ends at the distance where the mean over all directions falls below a twentieth.

    Args:
        target: the images.
        residual: r: (g, pixel), what may follow the pixels is left out.
    """
    side = target.images.shape[-1]
    left = residual[:, : side**2].reshape(-1, side, side)
    wide = 2 * side
    power = torch.square(torch.fft.rfft2(left, (wide, wide)).abs()).sum(dim=0)
    used = (target.root > 0).to(left.dtype)
    pairs = torch.fft.irfft2(torch.square(torch.fft.rfft2(used, (wide, wide)).abs()).sum(dim=0), (wide, wide))
    lags = torch.fft.irfft2(power, (wide, wide)) / pairs.clamp(min=1.0)
    if not float(lags[0, 0]) > 0.0:
        return 1.0
    rho = (lags / lags[0, 0]).numpy()
    step = np.minimum(np.arange(wide), wide - np.arange(wide))
    distance = np.round(np.hypot(step[:, None], step[None, :])).astype(int)
    rings = np.bincount(distance.ravel(), rho.ravel())[: side // 2]
    count = np.bincount(distance.ravel())[: side // 2]
    below = np.flatnonzero(rings < 0.05 * count)
    end = int(below[0]) if len(below) else len(rings)
    return max(1.0, float(rings[:end].sum()))


def unit_variance(target: Target, residual: Tensor) -> float:
    """The variance that one independent residual would have if there were no more of them than pixels apart.

    Neighbours share their residual, see `correlated_pixels`; n pixels are worth n / area of them.

    Args:
        target: the images.
        residual: r: (g, pixel).
    """
    count = int((target.root > 0).sum())
    mean = float(torch.square(residual).sum()) / max(1, count)
    if target.weights != "correlation":
        mean = max(1.0, mean)
    return mean * correlated_pixels(target, residual)


def covariance(
    target: Target, residual: Tensor, slopes: Tensor, precision: FloatArray | None = None
) -> FloatArray:
    """Covariance of the parameters: (p, p), infinite for what the images do not determine.

    What is left of an image may be alike over many pixels, so that pixels cannot be counted. With v the variance
    of an independent residual (`unit_variance`) and P the precisions of the priors,

        C = v H⁻¹,   H = JᵀJ + v P.

    Correlation: what is left of a measured image is not noise but the faults of the model, and what these do to a
    parameter is much alike over the whole of an image. So every reflection counts as one observation: the
    parameters without it are δ_g away, and (the jackknife; Bell & McCaffrey, Survey Methodology 28 (2002) 169)

        C = (G - 1) / G Σ_g (δ_g - δ̄)(δ_g - δ̄)ᵀ,

    stretched where v H⁻¹ is larger.

    Args:
        target: which weights.
        residual: r: (g, pixel).
        slopes: J: (p, g, pixel).
        precision: 1 / σ² of the prior of each parameter, 0 for none: (p,).
    """
    p, groups = len(slopes), len(residual)
    size, inverse = _curvature(target, residual, slopes, precision)
    seen = size > 0.0
    result = np.full((p, p), np.nan)
    result[np.diag_indices(p)] = np.inf
    inner = unit_variance(target, residual) * inverse
    if target.weights == "correlation" and groups > 1:
        away = leave_one_out(target, residual, slopes, precision)[:, seen] * size[seen]
        away = away - away.mean(axis=0)
        spread = away.T @ away * (groups - 1) / groups
        with np.errstate(divide="ignore", invalid="ignore"):
            stretch = np.sqrt(np.maximum(1.0, np.diag(inner) / np.diag(spread)))
        known = np.isfinite(stretch)
        stretched = spread * np.outer(np.where(known, stretch, 1.0), np.where(known, stretch, 1.0))
        inner = np.where(known[:, None] & known[None, :], stretched, inner)
    result[np.ix_(seen, seen)] = inner / np.outer(size[seen], size[seen])
    return result


def leave_one_out(
    target: Target, residual: Tensor, slopes: Tensor, precision: FloatArray | None = None
) -> FloatArray:
    """By how much the parameters move, to first order, when a reflection is left out: (H - J_gᵀ J_g)⁻¹ J_gᵀ r_g.

    Args:
        target: as for `covariance`, like the others.
        residual: r: (g, pixel).
        slopes: J: (p, g, pixel).
        precision: of the priors: (p,).

    Returns:
        (g, p); 0 for a parameter that does not change the images.
    """
    J, r = slopes.numpy(), residual.numpy()
    size, _ = _curvature(target, residual, slopes, precision)
    seen = size > 0.0
    scaled = J[seen] / size[seen][:, None, None]
    own = np.einsum("pgn,qgn->gpq", scaled, scaled)
    prior = _prior(target, residual, precision, size)[seen]
    total = own.sum(axis=0) + np.diag(prior)
    scores = np.einsum("pgn,gn->gp", scaled, r)
    result = np.zeros((len(r), len(J)))
    result[:, seen] = np.einsum("gpq,gq->gp", np.linalg.pinv(total - own, rcond=1e-12, hermitian=True), scores)
    result[:, seen] /= size[seen]
    return result


def _curvature(
    target: Target, residual: Tensor, slopes: Tensor, precision: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Sizes of the columns of J, and H⁻¹ of those that are not 0, all scaled to unit columns."""
    J = slopes.flatten(1).numpy()
    size = np.linalg.norm(J, axis=1)
    seen = size > 0.0
    scaled = J[seen] / size[seen][:, None]
    prior = _prior(target, residual, precision, size)[seen]
    return size, np.linalg.pinv(scaled @ scaled.T + np.diag(prior), rcond=1e-12, hermitian=True)


def _prior(target: Target, residual: Tensor, precision: FloatArray | None, size: FloatArray) -> FloatArray:
    """The diagonal v P on scaled parameters: (p,)."""
    if precision is None or not precision.any():
        return np.zeros(len(size))
    return np.asarray(unit_variance(target, residual) * precision / np.where(size > 0.0, size, 1.0) ** 2)


def response(slopes: Tensor, change: Tensor, prior: FloatArray | None = None) -> FloatArray:
    """By how much the parameters move, to first order, when the residual changes: -H⁻¹ Jᵀ dr: (p,).

    Args:
        slopes: J: (p, g, pixel).
        change: dr: (g, pixel).
        prior: the diagonal that priors add to JᵀJ, see `covariance`: (p,).
    """
    J = slopes.flatten(1).numpy()
    size = np.linalg.norm(J, axis=1)
    size = np.where(size > 0.0, size, 1.0)
    scaled = J / size[:, None]
    total = scaled @ scaled.T + np.diag(np.zeros(len(J)) if prior is None else prior / size**2)
    return np.asarray(-np.linalg.pinv(total, rcond=1e-12) @ (scaled @ change.numpy().ravel()) / size)


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
