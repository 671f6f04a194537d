"""What is made small: the part of the measured images that the model cannot explain.

Each measured image m is explained as scale · s + background, and, where images may be shifted, + γ_x ∂s/∂x +
γ_y ∂s/∂y, with the best linear coefficients (variable projection; Golub & Pereyra, Inverse Problems 19 (2003) R1).
The residual is

    r = W^½ (m - N c),    c = argmin |r|²,

and its derivative, to the order that Gauss-Newton uses (Kaufman, BIT 15 (1975) 49), scale · ds/dp without its part
along the columns of N. With equal weights W = 1 / |m - mean|² the sum of squares is Σ (1 - ρ²) ≈ 2 Σ Z, ρ being
the correlation and Z = 1 - ρ; with Poisson weights W = 1 / variance it is χ².
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lacbed.patterns.metrics import zncc_loss
from lacbed.refinement.model import Kept, StateOf, jacobian, read_with_shifts
from lacbed.refinement.plan import Plan

Weights = Literal["correlation", "poisson"]

LEAST_COUNT = 0.25
"""Smallest variance of a pixel that Poisson weights believe in."""


@dataclass(frozen=True, eq=False)
class Target:
    """The measured images as tensors.

    Attributes:
        images: counts, 0 where masked: (g, ky, kx).
        root: square root of the weights, 0 where masked: (g, ky, kx).
        weights: how they were made.
        common_scale: whether one scale serves all images and there is no background (electron counts of one
            incident dose).
    """

    images: Tensor
    root: Tensor
    weights: Weights
    common_scale: bool


def make_target(
    images: Tensor, weights: Weights = "correlation", common_scale: bool = False, expected: Tensor | None = None
) -> Target:
    """The target of measured images: (g, ky, kx), NaN where masked.

    Poisson weights take the variance from the `expected` counts of a model. Before there is one, they take it from
    the counts plus one, which is biased where counts are few: make the target again once there is a model.
    """
    used = torch.isfinite(images)
    values = torch.where(used, images, 0.0)
    count = used.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    if weights == "poisson":
        variance = values + 1.0 if expected is None else expected
        root = used / torch.sqrt(variance.clamp(min=LEAST_COUNT))
    else:
        centred = torch.where(used, values - values.sum(dim=(1, 2), keepdim=True) / count, 0.0)
        norm = torch.linalg.vector_norm(centred, dim=(1, 2), keepdim=True)
        root = used / norm.clamp(min=1e-300)
    return Target(values, root, weights, common_scale)


def reweighted(target: Target, fit: Fit, robust: bool = False) -> Target:
    """The target with the weights that a fitted model suggests.

    Poisson weights take the variance that the model expects. Robust weights (Cauchy's, for 95 % of the efficiency
    of least squares under normal errors; Holland & Welsch, Commun. Stat. A6 (1977) 813) are multiplied by
    1 / (1 + (r / 2.385 σ)²), σ being 1.4826 times the median of |r| in the image.
    """
    used = target.root > 0
    measured = torch.where(used, target.images, torch.nan)
    expected = None
    if target.weights == "poisson":
        expected = fit.scale[:, None, None] * fit.images + fit.background[:, None, None]
        target = make_target(measured, "poisson", target.common_scale, expected)
    if not robust:
        return target
    left = target.images - fit.scale[:, None, None] * fit.images - fit.background[:, None, None]
    left = torch.where(used, left * make_target(measured, target.weights, False, expected).root, torch.nan)
    sigma = 1.4826 * left.abs().flatten(1).nanmedian(dim=1).values.clamp(min=1e-30)
    weight = 1.0 / (1.0 + torch.square(left / (2.385 * sigma[:, None, None])))
    root = make_target(measured, target.weights, target.common_scale, expected).root
    return replace(target, root=root * torch.sqrt(torch.nan_to_num(weight)))


@dataclass(frozen=True, eq=False)
class Fit:
    """A model compared with the target.

    Attributes:
        residual: r: (g, pixel).
        slopes: dr/dp: (p, g, pixel), or None.
        scale: of every image: (g,).
        background: of every image: (g,).
        moves: by which each image ought to be shifted further, along x and y in pixels: (g, 2).
        images: the model's images: (g, ky, kx).
    """

    residual: Tensor
    slopes: Tensor | None
    scale: Tensor
    background: Tensor
    moves: Tensor
    images: Tensor

    @property
    def cost(self) -> float:
        """Sum of squares."""
        return float(torch.square(self.residual).sum())


def compare(
    plan: Plan,
    target: Target,
    state_of: StateOf,
    values: Tensor,
    shifts: Tensor | None = None,
    with_slopes: bool = False,
    kept: Kept | None = None,
) -> Fit:
    """Model and target for a vector of parameters.

    Args:
        plan: of the model.
        target: what was measured.
        state_of: the state of a vector of parameters.
        values: the parameters: (p,).
        shifts: shifts of the images in pixels, which may go on changing linearly; None for no shifts: (g, 2).
        with_slopes: whether the Jacobian is wanted.
        kept: see `lacbed.refinement.model.jacobian`.
    """
    if with_slopes:
        images, slopes, by_shift = jacobian(plan, state_of, values, shifts, kept)
    else:
        images, by_shift = read_with_shifts(plan, state_of(values), shifts, kept)
        slopes = None
    g = len(images)
    root = target.root.reshape(g, -1)
    measured = root * target.images.reshape(g, -1)
    model = root * images.reshape(g, -1)
    columns = [model]
    if not target.common_scale:
        columns.append(root)
    if shifts is not None:
        columns += [root * by_shift[0].reshape(g, -1), root * by_shift[1].reshape(g, -1)]
    if target.common_scale:
        return _common(columns, measured, root, slopes, images, shifts)
    basis = torch.stack(columns, dim=2)  # (g, pixel, column)
    size = torch.linalg.vector_norm(basis, dim=1, keepdim=True).clamp(min=1e-300)
    Q, R = torch.linalg.qr(basis / size)
    inside = Q.mT @ measured[:, :, None]
    found = torch.linalg.solve_triangular(_safe(R), inside, upper=True)[:, :, 0] / size[:, 0]
    residual = measured - (Q @ inside)[:, :, 0]
    moved = None
    if slopes is not None:
        change = -found[:, :1] * root * slopes.reshape(len(slopes), g, -1)
        moved = change - torch.einsum("gnc,pgc->pgn", Q, torch.einsum("gnc,pgn->pgc", Q, change))
    return Fit(residual, moved, found[:, 0], found[:, 1], _moves(found[:, 2:], found[:, 0], shifts), images)


def _safe(R: Tensor) -> Tensor:
    """R without exact zeros on its diagonal: an image of zeros has no scale."""
    diagonal = R.diagonal(dim1=1, dim2=2)
    return R + torch.diag_embed(torch.where(diagonal.abs() < 1e-12, 1.0, 0.0))


def _common(
    columns: list[Tensor],
    measured: Tensor,
    root: Tensor,
    slopes: Tensor | None,
    images: Tensor,
    shifts: Tensor | None,
) -> Fit:
    """One scale for all images, no background; shifts (if any) belong to each image."""
    model, rest = columns[0], columns[1:]
    Q = torch.linalg.qr(torch.stack(rest, dim=2))[0] if rest else None

    def clear(x: Tensor) -> Tensor:
        return x if Q is None else x - torch.einsum("gnc,...gc->...gn", Q, torch.einsum("gnc,...gn->...gc", Q, x))

    model_only, measured_only = clear(model), clear(measured)
    square = torch.square(model_only).sum()
    scale = (model_only * measured_only).sum() / square
    residual = measured_only - scale * model_only
    moved = None
    if slopes is not None:
        change = clear(-scale * root * slopes.reshape(len(slopes), len(images), -1))
        moved = change - torch.einsum("pgn,gn->p", change, model_only)[:, None, None] * model_only / square
    scales = scale.expand(len(images))
    moves = torch.zeros(len(images), 2, dtype=images.dtype)
    if rest:
        basis = torch.stack(rest, dim=2)
        moves = torch.linalg.lstsq(basis, (measured - scale * model)[:, :, None]).solution[:, :, 0] / scale
    return Fit(residual, moved, scales, torch.zeros_like(scales), moves, images)


def _moves(coefficients: Tensor, scale: Tensor, shifts: Tensor | None) -> Tensor:
    if shifts is None:
        return torch.zeros(len(scale), 2, dtype=scale.dtype)
    ratio = coefficients / torch.where(scale.abs() < 1e-300, 1.0, scale)[:, None]
    return ratio.clamp(-1.0, 1.0)


def residual_of(target: Target, images: Tensor) -> Tensor:
    """Residual of model images without shifts, differentiable: (g, pixel)."""
    g = len(images)
    root = target.root.reshape(g, -1)
    measured, model = root * target.images.reshape(g, -1), root * images.reshape(g, -1)
    if target.common_scale:
        return measured - (model * measured).sum() / torch.square(model).sum() * model
    norm = torch.square(root).sum(dim=1, keepdim=True).clamp(min=1e-300)
    measured = measured - root * ((root * measured).sum(dim=1, keepdim=True) / norm)
    model = model - root * ((root * model).sum(dim=1, keepdim=True) / norm)
    square = torch.square(model).sum(dim=1, keepdim=True).clamp(min=1e-300)
    return measured - (measured * model).sum(dim=1, keepdim=True) / square * model


def mean_z(images: Tensor, target: Target) -> float:
    """Mean over the reflections of Z = 1 - ρ at the pixels that are used."""
    return float(z_of(images, target).mean())


def z_of(images: Tensor, target: Target) -> Tensor:
    """Z of every reflection, see `lacbed.zncc_loss`: (g,)."""
    measured = torch.where(target.root > 0, target.images, torch.nan)
    return zncc_loss(images.detach(), measured)
