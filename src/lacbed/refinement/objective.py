"""What is made small: the part of the measured images that the model cannot explain.

Each measured image m is explained as scale · s + background, and, where images may be moved, + Σ γ_i ∂s/∂u_i, u
being a shift and, if wanted, a distortion; the background is a constant or a plane. The linear coefficients are
the best ones (variable projection; Golub & Pereyra, Inverse Problems 19 (2003) R1). The residual is, as every
difference in lacbed, simulated - measured:

    r = W^½ (N c - m),    c = argmin |r|²,

and its derivative, to the order that Gauss-Newton uses (Kaufman, BIT 15 (1975) 49), scale · ds/dp without its part
along the columns of N. With equal weights W = 1 / |m - mean|² the sum of squares is Σ (1 - ρ²) ≈ 2 Σ Z, ρ being
the correlation and Z = 1 - ρ; with W = 1 / variance, known for every pixel or by Poisson statistics, it is χ².
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lacbed.patterns.metrics import zncc_loss
from lacbed.refinement.model import Model, StateOf, offsets

Weights = Literal["correlation", "poisson", "variance"]
Background = Literal["constant", "plane"]

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
        background: of every image where there is one: "constant", or "plane" for one that slopes.
        variance: of the images where the weights are "variance": (g, ky, kx).
        stiffness: root weight of the prior of a distortion, 0 for none: for each of its four numbers the residual
            has one entry more after those of the pixels, the number times this.
    """

    images: Tensor
    root: Tensor
    weights: Weights
    common_scale: bool
    background: Background = "constant"
    variance: Tensor | None = None
    stiffness: float = 0.0

    def with_root(self, root: Tensor) -> Target:
        """The same images under other weights."""
        return replace(self, root=root)


def make_target(
    images: Tensor,
    weights: Weights = "correlation",
    common_scale: bool = False,
    expected: Tensor | None = None,
    background: Background = "constant",
    variance: Tensor | None = None,
) -> Target:
    """The target of measured images: (g, ky, kx), NaN where masked; with their `variance` for weights "variance".

    Poisson weights take the variance from the `expected` counts of a model. Before there is one, they take it from
    the counts plus one, which is biased where counts are few: make the target again once there is a model.
    """
    used = torch.isfinite(images)
    if weights == "variance":
        assert variance is not None
        used = used & torch.isfinite(variance) & (variance > 0)
    values = torch.where(used, images, 0.0)
    count = used.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    if variance is not None and weights == "variance":
        root = used / torch.sqrt(torch.where(used, variance, 1.0))
    elif weights == "poisson":
        counts = values + 1.0 if expected is None else expected
        root = used / torch.sqrt(counts.clamp(min=LEAST_COUNT))
    else:
        centred = torch.where(used, values - values.sum(dim=(1, 2), keepdim=True) / count, 0.0)
        norm = torch.linalg.vector_norm(centred, dim=(1, 2), keepdim=True)
        root = used / norm.clamp(min=1e-300)
    return Target(values, root, weights, common_scale, background, variance)


def reweighted(target: Target, fit: Fit, robust: bool = False) -> Target:
    """The target with the weights that a fitted model suggests.

    Poisson weights take the variance that the model expects. Robust weights (Cauchy's, for 95 % of the efficiency
    of least squares under normal errors; Holland & Welsch, Commun. Stat. A6 (1977) 813) are multiplied by
    1 / (1 + (r / 2.385 σ)²), σ being 1.4826 times the median of |r| in the image.
    """
    used = target.root > 0
    measured = torch.where(used, target.images, torch.nan)
    expected = fit.model if target.weights == "poisson" else None
    if expected is not None:
        root = make_target(measured, target.weights, target.common_scale, expected).root
        target = target.with_root(root)
    if not robust:
        return target
    root = make_target(measured, target.weights, target.common_scale, expected, variance=target.variance).root
    left = torch.where(used, (fit.model - target.images) * root, torch.nan)
    sigma = 1.4826 * left.abs().flatten(1).nanmedian(dim=1).values.clamp(min=1e-30)
    weight = 1.0 / (1.0 + torch.square(left / (2.385 * sigma[:, None, None])))
    return target.with_root(root * torch.sqrt(torch.nan_to_num(weight)))


@dataclass(frozen=True, eq=False)
class Fit:
    """A model compared with the target.

    Attributes:
        residual: r: (g, pixel).
        slopes: dr/dp: (p, g, pixel), or None.
        scale: of every image: (g,).
        background: of every image, in the middle of it: (g,).
        tilted: slopes of the background per pixel along x and y: (g, 2).
        moves: by which each image ought to be moved further, see `lacbed.refinement.model`: (g, 2 or 6).
        images: the model's images: (g, ky, kx).
    """

    residual: Tensor
    slopes: Tensor | None
    scale: Tensor
    background: Tensor
    tilted: Tensor
    moves: Tensor
    images: Tensor

    @property
    def cost(self) -> float:
        """Sum of squares."""
        return float(torch.square(self.residual).sum())

    @property
    def model(self) -> Tensor:
        """The images in counts, with scale and background: (g, ky, kx)."""
        flat = self.scale[:, None, None] * self.images + self.background[:, None, None]
        if not bool(self.tilted.any()):
            return flat
        return flat + (self.tilted @ offsets(self.images.shape[-1]).T).reshape(self.images.shape)


def compare(
    model: Model,
    target: Target,
    state_of: StateOf,
    values: Tensor,
    moves: Tensor | None = None,
    with_slopes: bool = False,
) -> Fit:
    """Model and target for a vector of parameters.

    Args:
        model: what gives images.
        target: what was measured.
        state_of: the state of a vector of parameters.
        values: the parameters: (p,).
        moves: of the images, which may go on changing linearly; None for none: (g, 2 or 6).
        with_slopes: whether the Jacobian is wanted.
    """
    if with_slopes:
        images, slopes, by_move = model.jacobian(state_of, values, moves)
        return explain(target, images, None if moves is None else by_move, slopes, moves)
    images, by_move = model.read(state_of(values), moves)
    return explain(target, images, None if moves is None else by_move, None, moves)


def explain(
    target: Target,
    images: Tensor,
    by_move: Tensor | None = None,
    slopes: Tensor | None = None,
    moves: Tensor | None = None,
) -> Fit:
    """The best scale, background and further moves of model images.

    Args:
        target: what was measured.
        images: of the model: (g, ky, kx).
        by_move: their derivatives by moves that may go on changing, or None: (2 or 6, g, ky, kx).
        slopes: their derivatives by the parameters, or None: (p, g, ky, kx).
        moves: where the moves stand, for their prior: (g, 2 or 6).
    """
    g = len(images)
    root = target.root.reshape(g, -1)
    measured = root * target.images.reshape(g, -1)
    model = root * images.reshape(g, -1)
    rest = [] if by_move is None else [root * change.reshape(g, -1) for change in by_move]
    change = None if slopes is None else root * slopes.reshape(len(slopes), g, -1)
    if target.stiffness and moves is not None and moves.shape[1] == 6:
        model, measured, root, rest, change = _stiff(target, moves, model, measured, root, rest, change)
    if target.common_scale:
        return _common([model, *rest], measured, change, images)
    under = _under(target, root)
    basis = torch.stack([model, *under, *rest], dim=2)  # (g, pixel, column)
    size = torch.linalg.vector_norm(basis, dim=1, keepdim=True).clamp(min=1e-300)
    Q, R = torch.linalg.qr(basis / size)
    inside = Q.mT @ measured[:, :, None]
    found = torch.linalg.solve_triangular(_safe(R), inside, upper=True)[:, :, 0] / size[:, 0]
    residual = (Q @ inside)[:, :, 0] - measured
    moved = None
    if change is not None:
        change = found[:, :1] * change
        moved = change - torch.einsum("gnc,pgc->pgn", Q, torch.einsum("gnc,pgn->pgc", Q, change))
    tilted = found[:, 2:4] if len(under) == 3 else torch.zeros(g, 2, dtype=images.dtype)
    further = _moves(found[:, 1 + len(under) :], found[:, 0])
    return Fit(residual, moved, found[:, 0], found[:, 1], tilted, further, images)


def _stiff(
    target: Target,
    moves: Tensor,
    model: Tensor,
    measured: Tensor,
    root: Tensor,
    rest: list[Tensor],
    change: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor], Tensor | None]:
    """The same with the prior of the distortions: four entries more for every image.

    The linear coefficient of a move is scale times the step that is left to go; the scale is taken from the images
    as they are.
    """
    flat = root / torch.linalg.vector_norm(root, dim=1, keepdim=True).clamp(min=1e-300)
    centred = model - flat * (flat * model).sum(dim=1, keepdim=True)
    scale = (centred * measured).sum(dim=1) / torch.square(centred).sum(dim=1).clamp(min=1e-300)
    scale = torch.where(scale.abs() < 1e-300, 1.0, scale)
    nothing = torch.zeros(len(moves), 4, dtype=model.dtype)

    def longer(x: Tensor, more: Tensor = nothing) -> Tensor:
        return torch.cat([x, more], dim=1)

    columns = [longer(x) for x in rest[:2]]
    for number, x in enumerate(rest[2:]):
        entry = nothing.clone()
        entry[:, number] = target.stiffness / scale
        columns.append(longer(x, entry))
    if change is not None:
        change = torch.cat([change, torch.zeros(*change.shape[:2], 4, dtype=change.dtype)], dim=2)
    return longer(model), longer(measured, -target.stiffness * moves[:, 2:]), longer(root), columns, change


def _under(target: Target, root: Tensor) -> list[Tensor]:
    """The columns of the background under weights: 1, and x and y in pixels: (g, pixel) each."""
    if target.background == "constant":
        return [root]
    x, y = offsets(target.images.shape[-1]).T
    if root.shape[1] > len(x):  # the prior of a distortion has no background
        x, y = (torch.nn.functional.pad(along, (0, root.shape[1] - len(x))) for along in (x, y))
    return [root, root * x, root * y]


def _safe(R: Tensor) -> Tensor:
    """R without exact zeros on its diagonal: an image of zeros has no scale."""
    diagonal = R.diagonal(dim1=1, dim2=2)
    return R + torch.diag_embed(torch.where(diagonal.abs() < 1e-12, 1.0, 0.0))


def _common(columns: list[Tensor], measured: Tensor, change: Tensor | None, images: Tensor) -> Fit:
    """One scale for all images, no background; moves (if any) belong to each image."""
    model, rest = columns[0], columns[1:]
    Q = torch.linalg.qr(torch.stack(rest, dim=2))[0] if rest else None

    def clear(x: Tensor) -> Tensor:
        return x if Q is None else x - torch.einsum("gnc,...gc->...gn", Q, torch.einsum("gnc,...gn->...gc", Q, x))

    model_only, measured_only = clear(model), clear(measured)
    square = torch.square(model_only).sum()
    scale = (model_only * measured_only).sum() / square
    residual = scale * model_only - measured_only
    moved = None
    if change is not None:
        change = clear(scale * change)
        moved = change - torch.einsum("pgn,gn->p", change, model_only)[:, None, None] * model_only / square
    scales, nothing = scale.expand(len(images)), torch.zeros(len(images), 2, dtype=images.dtype)
    moves = nothing
    if rest:
        found = torch.linalg.lstsq(torch.stack(rest, dim=2), (measured - scale * model)[:, :, None]).solution
        moves = _moves(found[:, :, 0], scales)
    return Fit(residual, moved, scales, torch.zeros_like(scales), nothing, moves, images)


def _moves(coefficients: Tensor, scale: Tensor) -> Tensor:
    """Moves from their coefficients, no further at once than the derivatives can be trusted."""
    if not coefficients.shape[1]:
        return torch.zeros(len(scale), 2, dtype=scale.dtype)
    ratio = coefficients / torch.where(scale.abs() < 1e-300, 1.0, scale)[:, None]
    return torch.cat([ratio[:, :2].clamp(-1.0, 1.0), ratio[:, 2:].clamp(-0.02, 0.02)], dim=1)


def residual_of(target: Target, images: Tensor) -> Tensor:
    """Residual of model images without moves, differentiable: (g, pixel)."""
    g = len(images)
    root = target.root.reshape(g, -1)
    measured, model = root * target.images.reshape(g, -1), root * images.reshape(g, -1)
    if not target.common_scale:
        Q = torch.linalg.qr(torch.stack(_under(target, root), dim=2))[0]
        measured, model = (x - (Q @ (Q.mT @ x[:, :, None]))[:, :, 0] for x in (measured, model))
    axes = None if target.common_scale else 1
    square = torch.square(model).sum(dim=axes, keepdim=True).clamp(min=1e-300)
    residual: Tensor = (model * measured).sum(dim=axes, keepdim=True) / square * model - measured
    return residual


def weighted_z(target: Target, fit: Fit) -> Tensor:
    """Z under the weights of a target, each image less its best background: 1 - ρ, (g,).

    With equal weights and a constant background that is `lacbed.zncc_loss`.
    """
    g = len(fit.images)
    root = target.root.reshape(g, -1)
    pair = torch.stack([root * target.images.reshape(g, -1), root * fit.images.reshape(g, -1)])
    Q = torch.linalg.qr(torch.stack(_under(target, root), dim=2))[0]
    rest = pair - torch.einsum("gnc,...gc->...gn", Q, torch.einsum("gnc,...gn->...gc", Q, pair))
    norm = torch.linalg.vector_norm(rest, dim=2, keepdim=True)
    flat = norm <= 1e-12 * torch.linalg.vector_norm(pair, dim=2, keepdim=True)
    unit = torch.where(flat, 0.0, rest / torch.where(flat, 1.0, norm))
    z = 0.5 * torch.square(unit[0] - unit[1]).sum(dim=1)
    return torch.where(flat.any(dim=0)[:, 0], 1.0, z)


def mean_z(images: Tensor, target: Target) -> float:
    """Mean over the reflections with any used pixels of Z = 1 - ρ at these."""
    return float(z_of(images, target).nanmean())


def z_of(images: Tensor, target: Target) -> Tensor:
    """Z of every reflection, see `lacbed.zncc_loss`: (g,)."""
    measured = torch.where(target.root > 0, target.images, torch.nan)
    return zncc_loss(images.detach(), measured)
