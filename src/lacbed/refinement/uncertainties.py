"""Standard uncertainties and correlations from the Jacobian at the minimum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.objective import Target

ALONE = 0.02
"""What all other images say of a parameter is nothing if it is less than this part of what one says."""

NOTHING = 1e-60
"""Part of the largest diagonal element of JᵀJ below which a parameter changes nothing (1 / JᵀJ may overflow)."""


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


@dataclass(frozen=True, eq=False)
class Evidence:
    """What images say of the parameters to first order: the normal equations, image by image.

    Attributes:
        own: J_gᵀ J_g of every image: (g, p, p).
        scores: J_gᵀ r_g: (g, p).
        noise: S_g, by how much the scores would scatter if every pixel had a residual of its own: (g, p, p).
        unit: v, the variance of an independent residual, see `unit_variance`.
    """

    own: FloatArray
    scores: FloatArray
    noise: FloatArray
    unit: float

    def curvature(self, precision: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Roots of the diagonal of H = JᵀJ + v P, 0 where J is nothing, and H of the others over these roots.

        The scale has the prior in it: a column next to nothing under a prior would else outweigh all others.
        """
        total = self.own.sum(axis=0)
        seen = np.diag(total) > NOTHING * np.diag(total).max(initial=0.0)
        if precision is not None:
            total = total + np.diag(self.unit * precision)
        size = np.where(seen, np.sqrt(np.maximum(np.diag(total), 0.0)), 0.0)
        return size, total[np.ix_(seen, seen)] / np.outer(size[seen], size[seen])

    def without(self, blind: npt.NDArray[np.bool_]) -> Evidence:
        """The same where some parameters, (p,) true or false, are held fast."""
        kept = (~blind).astype(np.float64)
        both = np.outer(kept, kept)
        return replace(self, own=self.own * both, scores=self.scores * kept, noise=self.noise * both)


def evidence(target: Target, residual: Tensor, slopes: Tensor) -> Evidence:
    """What one stack says.

    Where the variance of the pixels is known, S_g = J_gᵀ J_g, times the mean square of the residuals if that is
    more than 1. Where it is not, every pixel has that of its own residual, S_g = Σ_n r_n² j_n j_nᵀ (White,
    Econometrica 48 (1980) 817): bright pixels are noisier than dark ones.

    Args:
        target: the images and their weights.
        residual: r: (g, pixel).
        slopes: J: (p, g, pixel).
    """
    J, r = slopes.numpy().transpose(1, 0, 2), residual.numpy()
    own, scores = J @ J.transpose(0, 2, 1), np.einsum("gpn,gn->gp", J, r)
    if target.weights == "correlation":
        noise = np.stack([(j * np.square(x)) @ j.T for j, x in zip(J, r, strict=True)])
    else:
        noise = own * max(1.0, float(np.square(r).sum()) / max(1, int((target.root > 0).sum())))
    return Evidence(own, scores, noise, unit_variance(target, residual))


def relative_weights(units: Sequence[float]) -> FloatArray:
    """Weights of stacks that are fitted together, 1 for the first: the inverse of what is left of each."""
    sizes = np.array(units)
    sizes = np.maximum(sizes, 1e-12 * sizes.max())
    return np.asarray(sizes[0] / sizes) if sizes[0] > 0.0 else np.ones(len(sizes))


def together(stacks: Sequence[Evidence], places: Sequence[Sequence[int]]) -> Evidence:
    """What several stacks say, each image in the unit of the first of them.

    Args:
        stacks: of each stack about its own parameters.
        places: of these among all parameters, for each stack.
    """
    if len(stacks) == 1:
        return stacks[0]
    count = 1 + max(i for mine in places for i in mine)
    own = np.zeros((sum(len(s.own) for s in stacks), count, count))
    scores, noise = np.zeros((len(own), count)), np.zeros(own.shape)
    first = 0
    for one, mine, weight in zip(stacks, places, relative_weights([s.unit for s in stacks]), strict=True):
        images, where = slice(first, first + len(one.own)), np.array(mine, dtype=int)
        own[images, where[:, None], where[None, :]] = weight * one.own
        noise[images, where[:, None], where[None, :]] = weight**2 * one.noise
        scores[images, where] = weight * one.scores
        first += len(one.own)
    return Evidence(own, scores, noise, stacks[0].unit)


def covariance(found: Evidence, precision: FloatArray | None = None) -> FloatArray:
    """Covariance of the parameters: (p, p), infinite for what the images do not determine.

    With S = Σ S_g for what noise does, P the precisions of the priors, and v the variance of an independent
    residual,

        C = H⁻¹ (S + (1 - 1/φ) K + v² P) H⁻¹,   H = JᵀJ + v P.

    S alone would be right if all that is left were noise, pixel by pixel. What a model leaves of a measured image
    is alike over many pixels instead, and what it does to a parameter is much alike over the whole of an image. So
    the images are compared as wholes: K = Σ s_g s_gᵀ of their scores, each times (1 - J_gᵀJ_g H⁻¹)^-½ for its part
    in the fit (CR2; Bell & McCaffrey, Survey Methodology 28 (2002) 169). φ is by how much these scores are larger
    than noise may make them (by its mean and one standard deviation), over all parameters together and at least 1.
    Where all is noise φ = 1, and the covariance is that of the Jacobian; where faults of the model are much
    larger, it is that of the scatter from image to image.

    Args:
        found: what the images say.
        precision: 1 / σ² of the prior of each parameter, 0 for none: (p,).
    """
    if len(found.own) == 1:
        return formal_covariance(found, precision)  # there is nothing to compare the image with
    p = found.own.shape[1]
    size, H = found.curvature(precision)
    seen = size > 0.0
    result = np.full((p, p), np.nan)
    result[np.diag_indices(p)] = np.inf
    root = _inverse_root(H) / size[seen, None]
    prior = np.zeros(p) if precision is None else found.unit**2 * precision
    middle = _scatter(
        root.T @ found.own[:, seen][:, :, seen] @ root,
        found.scores[:, seen] @ root,
        root.T @ found.noise[:, seen][:, :, seen] @ root,
        root.T @ (prior[seen, None] * root),
    )
    result[np.ix_(seen, seen)] = root @ middle @ root.T
    return result


def _scatter(own: FloatArray, scores: FloatArray, noise: FloatArray, prior: FloatArray) -> FloatArray:
    """S + (1 - 1/φ) K + v² P on axes on which H is 1: (p, p)."""
    total = noise.sum(axis=0)
    across = noise @ own
    expected = noise - across - across.transpose(0, 2, 1) + own @ (total + prior) @ own
    by_noise = float(np.trace(expected, axis1=1, axis2=2).sum())
    # Σ|s_g|² of noise alone has this mean, and the variance 2 Σ tr E_g², which is much where images are few.
    by_noise += math.sqrt(2.0 * float(np.einsum("gpq,gqp->", expected, expected)))
    can_differ = by_noise > 1e-9 * float(np.trace(total))
    ratio = max(1.0, float(np.square(scores).sum()) / by_noise) if can_differ else 1.0
    one = np.eye(own.shape[1])
    rest = _inverse_root(one - own, ALONE)
    between = np.einsum("gpk,gk->gp", rest, scores)
    alone = one - rest @ (one - own) @ rest  # what one image knows alone is compared with nothing
    K = between.T @ between + ratio * (alone @ noise @ alone).sum(axis=0)
    return np.asarray(total + (1.0 - 1.0 / ratio) * K + prior)


def formal_covariance(found: Evidence, precision: FloatArray | None = None) -> FloatArray:
    """The covariance v H⁻¹ of a parabola with the curvature of the sum of squares: (p, p), as `covariance`."""
    size, H = found.curvature(precision)
    seen = size > 0.0
    result = np.full((len(size), len(size)), np.nan)
    result[np.diag_indices(len(size))] = np.inf
    result[np.ix_(seen, seen)] = found.unit * _inverse(H) / np.outer(size[seen], size[seen])
    return result


def leave_one_out(found: Evidence, precision: FloatArray | None = None) -> FloatArray:
    """By how much the parameters move, to first order, when a reflection is left out: (H - J_gᵀ J_g)⁻¹ J_gᵀ r_g.

    Args:
        found: what the images say.
        precision: as for `covariance`.

    Returns:
        (g, p); 0 for a parameter that does not change the images.
    """
    size, H = found.curvature(precision)
    seen = size > 0.0
    scale = size[seen]
    own = found.own[np.ix_(np.arange(len(found.own)), seen, seen)] / np.outer(scale, scale)
    result = np.zeros(found.scores.shape)
    result[:, seen] = np.einsum("gpq,gq->gp", _inverse(H - own), found.scores[:, seen] / scale) / scale
    return result


def response(found: Evidence, change: FloatArray, precision: FloatArray | None = None) -> FloatArray:
    """By how much the parameters move, to first order, when the residual changes: -H⁻¹ Jᵀ dr: (p,).

    Args:
        found: what the images say.
        change: Jᵀ dr: (p,).
        precision: as for `covariance`.
    """
    size, H = found.curvature(precision)
    seen = size > 0.0
    result = np.zeros(len(size))
    result[seen] = -_inverse(H) @ (change[seen] / size[seen]) / size[seen]
    return result


def _inverse(matrix: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.pinv(matrix, rcond=1e-12, hermitian=True))


def _inverse_root(matrix: FloatArray, least: float = 1e-12) -> FloatArray:
    """The symmetric root of the inverse, 0 for eigenvalues not above a part `least` of the largest, or of 1."""
    sizes, axes = np.linalg.eigh(matrix)
    kept = sizes > least * np.maximum(sizes[..., -1:], 1.0)
    scale = np.where(kept, 1.0 / np.sqrt(np.where(kept, sizes, 1.0)), 0.0)
    return np.asarray((axes * scale[..., None, :]) @ axes.swapaxes(-1, -2))


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
    text = f"{value:.{digits}f}"
    return f"{text.removeprefix('-') if float(text) == 0.0 else text}({round(su * 10**digits)})"
