"""The forward model: from a state to blurred images, with gradients and with the full Jacobian.

Gradients go through torch's autograd (one adjoint pass, whatever the number of parameters); the Jacobian needs one
tangent a parameter, all from one diagonalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lacbed.invert.plan import Plan, border, matrices, numbers, pixel_positions, zone_vectors
from lacbed.invert.sampling import binned_sigma, blur, interpolate, interpolate_with_slopes
from lacbed.invert.structure import State
from lacbed.invert.waves import KEPT_BYTES, Matrices, Systems, differentiable_intensities, intensities, tangents

StateOf = Callable[[Tensor], State]
Kept = dict[int, Systems]


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
        plan.layout, potential, absorptive, diagonal, phase, plan.energy, border(plan, state), keep
    )
    sharp = _read(plan, state, _from_pairs(plan, pairs), shifts)
    return blur(sharp.reshape(len(plan.reflections), plan.pixels, plan.pixels), _sigma(plan, state))


def _sigma(plan: Plan, state: State) -> Tensor:
    return binned_sigma(state.blur, plan.binning)


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
    steps: Tensor = pixel_positions(state, plan.pixels) @ torch.linalg.inv(lattice).T * plan.divisions
    return steps if shift is None else steps - shift @ _per_pixel(plan, state)


def _per_pixel(plan: Plan, state: State) -> Tensor:
    """Steps of the lattice, as rows, for one pixel along x and along y: (2, 2)."""
    lattice, _ = zone_vectors(plan, state.cell)
    step: Tensor = torch.linalg.inv(lattice).T * (plan.divisions * 2.0 * state.half_width / plan.pixels)
    return step


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
            series.append(
                blur(sharp.reshape(len(plan.reflections), plan.pixels, plan.pixels), _sigma(plan, state))
            )
            if tick is not None:
                tick((number + 1) / len(thicknesses))
        return torch.stack(series)


def jacobian(
    plan: Plan, state_of: StateOf, values: Tensor, shifts: Tensor | None = None, kept: Kept | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, their derivatives by every parameter, and by the shifts of each image.

    Args:
        plan: beams, points and matrices.
        state_of: the state of a vector of parameters.
        values: the parameters: (p,).
        shifts: as for `images`.
        kept: a dictionary in which the eigenvectors of the last state stay, or None.

    Returns:
        (g, ky, kx), (p, g, ky, kx), and (2, g, ky, kx) per pixel of shift along x and y (zero where the points are
        the pixels themselves).
    """
    state = state_of(values)
    systems, phase = _systems(plan, state, kept)

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
    soft = blur(sharp.reshape(shape), _sigma(plan, state))
    by_blur = along_each(lambda p: (blur(sharp.reshape(shape), _sigma(plan, state_of(p))),), values)
    total = blur(change.reshape(-1, *shape), _sigma(plan, state)) + torch.stack([b[0] for b in by_blur])
    return soft, total, blur(by_shift.reshape(2, *shape), _sigma(plan, state))


def _read_jacobian(
    plan: Plan, state_of: StateOf, values: Tensor, points: Tensor, slopes: Tensor, shifts: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`_read` with derivatives: (g, pixel), (p, g, pixel), (2, g, pixel)."""
    if not plan.divisions:
        return points, slopes, torch.zeros(2, *points.shape, dtype=points.dtype)
    state = state_of(values)

    def to_lattice(parameters: Tensor) -> tuple[Tensor, Tensor]:
        changed = state_of(parameters)
        return places(plan, changed), _per_pixel(plan, changed)

    moved = along_each(to_lattice, values)
    step = _per_pixel(plan, state)  # of the lattice, per pixel of shift
    sharp, change, by_shift = [], [], []
    for g in range(len(points)):
        shift = torch.zeros(2, dtype=points.dtype) if shifts is None else shifts[g]
        value, by_place = interpolate_with_slopes(
            points[g], plan.table, plan.corner, places(plan, state) - shift @ step
        )
        sharp.append(value)
        rows = interpolate(slopes[:, g], plan.table, plan.corner, places(plan, state) - shift @ step)
        for number, (place, per_pixel) in enumerate(moved):
            rows[number] += ((place - shift @ per_pixel).T * by_place).sum(dim=0)
        change.append(rows)
        by_shift.append(-step @ by_place)
    return torch.stack(sharp), torch.stack(change, dim=1), torch.stack(by_shift, dim=1)


def along_each(function: Callable[[Tensor], tuple[Tensor, ...]], values: Tensor) -> list[tuple[Tensor, ...]]:
    """Derivatives of all outputs of a cheap function by each parameter: one tuple like the outputs a parameter.

    The gradient is linear in the cotangents; its derivative by them is the Jacobian, one parameter at a time.
    """
    if not len(values):
        return []
    leaf = values.detach().clone().requires_grad_()
    outputs = function(leaf)
    active = [i for i, output in enumerate(outputs) if output.requires_grad]
    cotangents = [torch.zeros_like(outputs[i], requires_grad=True) for i in active]
    gradient = None
    if active:
        (gradient,) = torch.autograd.grad([outputs[i] for i in active], leaf, cotangents, create_graph=True)
    result = []
    for number in range(len(values)):
        columns = [torch.zeros_like(output.detach()) for output in outputs]
        if gradient is not None and gradient.requires_grad:
            found = torch.autograd.grad(gradient[number], cotangents, retain_graph=True, allow_unused=True)
            for i, column in zip(active, found, strict=True):
                columns[i] = columns[i] if column is None else column.detach()
        result.append(tuple(columns))
    return result


def _systems(plan: Plan, state: State, kept: Kept | None) -> tuple[Systems, Tensor]:
    """Eigensystems of a state and τ; those of the last state if the matrices are the same."""
    found, phase = matrices(plan, state)
    last = None if kept is None else kept.get(id(plan))
    if last is not None and _same(last.matrices, found):
        return last, phase
    systems = Systems(found, plan.layout, KEPT_BYTES if kept is not None else 0)
    if kept is not None:
        kept.clear()
        kept[id(plan)] = systems
    return systems, phase


def _same(a: Matrices, b: Matrices) -> bool:
    pairs = ((a.potential, b.potential), (a.absorptive, b.absorptive), (a.diagonal, b.diagonal))
    return a.border == b.border and all((x is None and y is None) or torch.equal(x, y) for x, y in pairs)  # type: ignore[arg-type]


def read_with_shifts(
    plan: Plan, state: State, shifts: Tensor | None = None, kept: Kept | None = None
) -> tuple[Tensor, Tensor]:
    """Images and their slopes per pixel of shift along x and y, without gradient: (g, ky, kx), (2, g, ky, kx)."""
    with torch.no_grad():
        systems, phase = _systems(plan, state, kept)
        pairs = intensities(systems, [phase])[0]
        nothing = torch.zeros(0, dtype=torch.float64)
        empty = torch.zeros(0, *plan.source.shape, dtype=torch.float64)
        sharp, _, by_shift = _read_jacobian(
            plan, lambda _: state, nothing, _from_pairs(plan, pairs), empty, shifts
        )
        shape = (len(plan.reflections), plan.pixels, plan.pixels)
        return blur(sharp.reshape(shape), _sigma(plan, state)), blur(
            by_shift.reshape(2, *shape), _sigma(plan, state)
        )
