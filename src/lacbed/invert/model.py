"""The forward model: from a state to blurred images, with gradients and with the full Jacobian.

Gradients go through torch's autograd (one adjoint pass, whatever the number of parameters); the Jacobian needs one
tangent a parameter, all from one diagonalisation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lacbed.invert.plan import Plan, border, matrices, numbers, pixel_positions, zone_vectors
from lacbed.invert.sampling import blur, interpolate, interpolate_with_slopes
from lacbed.invert.structure import State
from lacbed.invert.waves import KEPT_BYTES, Systems, differentiable_intensities, intensities, tangents

StateOf = Callable[[Tensor], State]


def images(plan: Plan, state: State, shifts: Tensor | None = None, keep: int = KEPT_BYTES) -> Tensor:
    """Blurred intensities as fractions of the incident current, differentiable in the state: (g, ky, kx).

    Args:
        plan: beams, points and matrices.
        state: all parameters.
        shifts: how far each image of the model is moved along x and y, in pixels: (g, 2).
        keep: bytes of eigenvectors that may be held for the backward pass.
    """
    potential, absorptive, diagonal, phase = numbers(plan, state)
    pairs = differentiable_intensities(
        plan.layout, potential, absorptive, diagonal, phase, border(plan, diagonal, state), keep
    )
    sharp = _read(plan, state, _from_pairs(plan, pairs), shifts)
    return blur(sharp.reshape(len(plan.reflections), plan.pixels, plan.pixels), state.blur)


def _from_pairs(plan: Plan, pairs: Tensor) -> Tensor:
    """Values at the points from those of the pairs: (..., pair) to (..., g, point)."""
    return torch.cat([pairs, torch.zeros_like(pairs[..., :1])], dim=-1)[..., plan.source]


def _read(plan: Plan, state: State, points: Tensor, shifts: Tensor | None) -> Tensor:
    """Values at the pixels, (g, pixel), from those at the points, (g, point)."""
    if not plan.divisions:
        return points
    if shifts is None:
        return interpolate(points, plan.table, plan.corner, places(plan, state))
    each = [
        interpolate(points[g], plan.table, plan.corner, places(plan, state, shifts[g])) for g in range(len(points))
    ]
    return torch.stack(each)


def places(plan: Plan, state: State, shift: Tensor | None = None) -> Tensor:
    """Pixels in steps of the lattice: (pixel, 2)."""
    lattice, _ = zone_vectors(plan, state.cell)
    positions = pixel_positions(state, plan.pixels)
    if shift is not None:
        positions = positions - shift * (2.0 * state.half_width / plan.pixels)
    steps: Tensor = positions @ torch.linalg.inv(lattice).T * plan.divisions
    return steps


def thickness_series(
    plan: Plan, state: State, thicknesses: Sequence[float], tick: Callable[[float], None] | None = None
) -> Tensor:
    """Images for many thicknesses from one diagonalisation: (thickness, g, ky, kx)."""
    with torch.no_grad():
        found, phase = matrices(plan, state)
        systems = Systems(found, plan.layout, keep=2 * KEPT_BYTES)
        series = []
        for number, t in enumerate(thicknesses):
            pairs = intensities(systems, [phase * (t / state.thickness)])[0]
            sharp = _read(plan, state, _from_pairs(plan, pairs), None)
            series.append(blur(sharp.reshape(len(plan.reflections), plan.pixels, plan.pixels), state.blur))
            if tick is not None:
                tick((number + 1) / len(thicknesses))
        return torch.stack(series)


def jacobian(
    plan: Plan, state_of: StateOf, values: Tensor, shifts: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, their derivatives by every parameter, and by the shifts of each image.

    Args:
        plan: beams, points and matrices.
        state_of: the state of a vector of parameters.
        values: the parameters: (p,).
        shifts: as for `images`.

    Returns:
        (g, ky, kx), (p, g, ky, kx), and (2, g, ky, kx) per pixel of shift along x and y (zero where the points are
        the pixels themselves).
    """
    state = state_of(values)
    found, phase = matrices(plan, state)
    systems = Systems(found, plan.layout)

    def upstream(parameters: Tensor) -> tuple[Tensor, ...]:
        potential, absorptive, diagonal, tau = numbers(plan, state_of(parameters))
        return potential if absorptive is None else potential + 1j * absorptive, diagonal, tau

    moved = along_each(upstream, values)
    direction, diagonal, tau = (torch.stack([m[i] for m in moved]) for i in range(3))
    pairs, slopes = tangents(systems, phase, direction, diagonal, tau)
    sharp, change, by_shift = _read_jacobian(
        plan, state_of, values, _from_pairs(plan, pairs), _from_pairs(plan, slopes), shifts
    )
    shape = (len(plan.reflections), plan.pixels, plan.pixels)
    soft = blur(sharp.reshape(shape), state.blur)
    by_blur = along_each(lambda p: (blur(sharp.reshape(shape), state_of(p).blur),), values)
    total = blur(change.reshape(-1, *shape), state.blur) + torch.stack([b[0] for b in by_blur])
    return soft, total, blur(by_shift.reshape(2, *shape), state.blur)


def _read_jacobian(
    plan: Plan, state_of: StateOf, values: Tensor, points: Tensor, slopes: Tensor, shifts: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`_read` with derivatives: (g, pixel), (p, g, pixel), (2, g, pixel)."""
    if not plan.divisions:
        return points, slopes, torch.zeros(2, *points.shape, dtype=points.dtype)
    state = state_of(values)
    lattice, _ = zone_vectors(plan, state.cell)
    pitch = 2.0 * state.half_width / plan.pixels
    per_shift = -pitch * plan.divisions * torch.linalg.inv(lattice)  # steps of the lattice per pixel: (2, 2)
    sharp, change, by_shift = [], [], []
    for g in range(len(points)):
        shift = None if shifts is None else shifts[g]
        here = places(plan, state, shift)
        moved = torch.stack([m[0] for m in along_each(partial(_moved, plan, state_of, shift), values)])
        value, by_place = interpolate_with_slopes(points[g], plan.table, plan.corner, here)
        sharp.append(value)
        inside = interpolate(slopes[:, g], plan.table, plan.corner, here)
        change.append(inside + moved[..., 0] * by_place[0] + moved[..., 1] * by_place[1])
        by_shift.append(per_shift.T @ by_place)
    return torch.stack(sharp), torch.stack(change, dim=1), torch.stack(by_shift, dim=1)


def _moved(plan: Plan, state_of: StateOf, shift: Tensor | None, values: Tensor) -> tuple[Tensor]:
    return (places(plan, state_of(values), shift),)


def along_each(function: Callable[[Tensor], tuple[Tensor, ...]], values: Tensor) -> list[tuple[Tensor, ...]]:
    """Derivatives of a function by each parameter, by forward differentiation."""
    result = []
    for number in range(len(values)):
        unit = torch.zeros_like(values)
        unit[number] = 1.0
        with warnings.catch_warnings(), forward_ad.dual_level():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, on first use
            outputs = function(forward_ad.make_dual(values, unit))  # type: ignore[no-untyped-call]
            parts = []
            for output in outputs:
                primal, tangent = forward_ad.unpack_dual(output)  # type: ignore[no-untyped-call]
                parts.append(torch.zeros_like(primal) if tangent is None else tangent.clone())
        result.append(tuple(parts))
    return result
