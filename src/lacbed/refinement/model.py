"""The forward model: from a state to blurred images, with gradients and with the full Jacobian.

Gradients go through torch's autograd (one adjoint pass, whatever the number of parameters); the Jacobian needs one
tangent a parameter, all from one diagonalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from lacbed.differentiable import binned_sigma, blur
from lacbed.geometry.interpolation import Stencil, stencil
from lacbed.refinement.plan import (
    TAPS,
    ModelInputs,
    Plan,
    hamiltonian,
    numbers,
    pixel_positions,
    rows,
    zone_vectors,
)
from lacbed.refinement.waves import KEPT_BYTES, EigensystemCache, differentiable_intensities, intensities, tangents
from lacbed.state import ModelState

StateOf = Callable[[Tensor], ModelState]
Kept = dict[int, EigensystemCache]


def images(plan: Plan, state: ModelState, shifts: Tensor | None = None, keep: int = KEPT_BYTES) -> Tensor:
    """Blurred intensities as fractions of the incident current, differentiable in the state: (g, ky, kx).

    Args:
        plan: beams, points and matrices.
        state: all parameters.
        shifts: how far each image of the model is moved along x and y, in pixels: (g, 2).
        keep: bytes of eigenvectors that may be held for the backward pass.
    """
    found = numbers(plan, state)
    pairs = differentiable_intensities(plan.layout, rows(plan), hamiltonian(plan, found), found.phase, keep)
    sharp = _read(plan, state, _from_pairs(plan, pairs), shifts)
    return blur(sharp.reshape(len(plan.reflections), plan.pixels, plan.pixels), _sigma(plan, state))


def _sigma(plan: Plan, state: ModelState) -> Tensor:
    return binned_sigma(state.blur, plan.binning)


def _from_pairs(plan: Plan, pairs: Tensor) -> Tensor:
    """Values at the points from those of the pairs: (..., pair) to (..., g, point)."""
    return torch.cat([pairs, torch.zeros_like(pairs[..., :1])], dim=-1)[..., plan.source]


def _read(plan: Plan, state: ModelState, points: Tensor, shifts: Tensor | None) -> Tensor:
    """Values at the pixels, (g, pixel), from those at the points, (g, point)."""
    if not plan.divisions:
        return points
    if shifts is None:
        return _stencil(plan, places(plan, state)).read(points)
    return torch.stack(
        [_stencil(plan, places(plan, state, s)).read(p) for p, s in zip(points, shifts, strict=True)]
    )


def _stencil(plan: Plan, where: Tensor) -> Stencil:
    return stencil(plan.table, plan.corner, where, TAPS)


def _matrices(plan: Plan, where: Tensor) -> tuple[csr_matrix, list[csr_matrix]]:
    """From points to places, and the slopes of that along both directions of the lattice: (place, point) each."""
    found, points = _stencil(plan, where), int(plan.table.max()) + 1
    return found.matrix(found.weights, points), [found.matrix(slope, points) for slope in found.slopes]


def places(plan: Plan, state: ModelState, shift: Tensor | None = None) -> Tensor:
    """Pixels in steps of the lattice: (pixel, 2)."""
    lattice, _ = zone_vectors(plan, state.cell)
    steps: Tensor = pixel_positions(state, plan.pixels) @ torch.linalg.inv(lattice).T * plan.divisions
    return steps if shift is None else steps - shift @ _per_pixel(plan, state)


def _per_pixel(plan: Plan, state: ModelState) -> Tensor:
    """Steps of the lattice, as rows, for one pixel along x and along y: (2, 2)."""
    lattice, _ = zone_vectors(plan, state.cell)
    step: Tensor = torch.linalg.inv(lattice).T * (plan.divisions * 2.0 * state.half_width / plan.pixels)
    return step


def thickness_series(
    plan: Plan,
    states: Sequence[ModelState],
    thicknesses: Sequence[float],
    tick: Callable[[float], None] | None = None,
) -> Iterator[list[Tensor]]:
    """Images without blur for many thicknesses, one after the other: (g, ky, kx) for every state.

    The states may differ in their half-width and tilt; on a lattice one diagonalisation serves them all.
    """
    shape = (len(plan.reflections), plan.pixels, plan.pixels)
    with torch.no_grad():
        solved = []
        for state in states[:1] if plan.divisions else states:
            found = numbers(plan, state)
            systems = EigensystemCache(
                hamiltonian(plan, found), rows(plan), plan.layout, 2 * KEPT_BYTES, single=True
            )
            solved.append((systems, found.phase / state.thickness))
        reads = [_matrices(plan, places(plan, s))[0] for s in states if plan.divisions]
        for number, t in enumerate(thicknesses):
            points = [_from_pairs(plan, intensities(systems, [t * phase])[0]) for systems, phase in solved]
            if reads:
                flat = np.ascontiguousarray(points[0].numpy().T)
                points = [torch.as_tensor(read @ flat).T for read in reads]
            yield [p.reshape(shape) for p in points]
            if tick is not None:
                tick((number + 1) / len(thicknesses))


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
        found = numbers(plan, state_of(parameters))
        absorptive = torch.zeros(0) if found.absorptive is None else found.absorptive
        return found.elastic, absorptive, found.plane, found.squares, found.reduced, found.phase

    changes = [
        ModelInputs(elastic, absorptive if len(absorptive) else None, *rest)
        for elastic, absorptive, *rest in along_each(upstream, values)
    ]
    directions = [hamiltonian(plan, change) for change in changes]
    pairs, slopes = tangents(systems, phase, directions, [change.phase for change in changes])
    together = _from_pairs(plan, torch.cat([pairs[None], slopes]))
    sharp, change, by_shift = _read_jacobian(plan, state_of, values, together, shifts)
    shape = (len(plan.reflections), plan.pixels, plan.pixels)
    sigma = _sigma(plan, state)
    by_blur = along_each(lambda p: (_sigma(plan, state_of(p)),), values)
    total = blur(change.reshape(-1, *shape), sigma)
    if any(bool(step) for (step,) in by_blur):
        ((spread,),) = along_each(lambda s: (blur(sharp.reshape(shape), s[0]),), sigma[None])
        total += torch.stack([step for (step,) in by_blur])[:, None, None, None] * spread
    return blur(sharp.reshape(shape), sigma), total, blur(by_shift.reshape(2, *shape), sigma)


def _read_jacobian(
    plan: Plan, state_of: StateOf, values: Tensor, points: Tensor, shifts: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`_read` with derivatives: (g, pixel), (p, g, pixel), (2, g, pixel).

    Args:
        plan: where the points are.
        state_of: the state of a vector of parameters.
        values: the parameters: (p,).
        points: the values at the points and their derivatives by the parameters: (1 + p, g, point).
        shifts: of the images or None: (g, 2).
    """
    if not plan.divisions:
        return points[0], points[1:], torch.zeros(2, *points[0].shape, dtype=points.dtype)
    state = state_of(values)

    def to_lattice(parameters: Tensor) -> tuple[Tensor, Tensor]:
        changed = state_of(parameters)
        return places(plan, changed), _per_pixel(plan, changed)

    moved = along_each(to_lattice, values)
    here, step = places(plan, state), _per_pixel(plan, state)  # the step of the lattice per pixel of shift
    common = _matrices(plan, here) if shifts is None else None
    result = torch.empty(len(points), points.shape[1], len(here), dtype=points.dtype)
    by_shift = torch.empty(2, points.shape[1], len(here), dtype=points.dtype)
    for g in range(points.shape[1]):
        shift = torch.zeros(2, dtype=points.dtype) if shifts is None else shifts[g]
        value, slopes = common or _matrices(plan, here - shift @ step)
        result[:, g] = torch.as_tensor(value @ np.ascontiguousarray(points[:, g].numpy().T)).T
        by_place = torch.as_tensor(np.stack([slope @ points[0, g].numpy() for slope in slopes]))
        for number, (place, per_pixel) in enumerate(moved):
            if bool(place.any()) or bool(per_pixel.any()):
                result[1 + number, g] += ((place - shift @ per_pixel).T * by_place).sum(dim=0)
        by_shift[:, g] = -step @ by_place
    return result[0], result[1:], by_shift


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


def _systems(plan: Plan, state: ModelState, kept: Kept | None) -> tuple[EigensystemCache, Tensor]:
    """Eigensystems of a state and τ; those of the last state if the matrices are the same."""
    found = numbers(plan, state)
    matrices = hamiltonian(plan, found)
    last = None if kept is None else kept.get(id(plan))
    if last is not None and last.hamiltonian.same_as(matrices):
        return last, found.phase
    systems = EigensystemCache(matrices, rows(plan), plan.layout, KEPT_BYTES if kept is not None else 0)
    if kept is not None:
        kept.clear()
        kept[id(plan)] = systems
    return systems, found.phase


def read_with_shifts(
    plan: Plan, state: ModelState, shifts: Tensor | None = None, kept: Kept | None = None
) -> tuple[Tensor, Tensor]:
    """Images and their slopes per pixel of shift along x and y, without gradient: (g, ky, kx), (2, g, ky, kx)."""
    with torch.no_grad():
        systems, phase = _systems(plan, state, kept)
        points = _from_pairs(plan, intensities(systems, [phase]))
        nothing = torch.zeros(0, dtype=torch.float64)
        sharp, _, by_shift = _read_jacobian(plan, lambda _: state, nothing, points, shifts)
        shape = (len(plan.reflections), plan.pixels, plan.pixels)
        sigma = _sigma(plan, state)
        return blur(sharp.reshape(shape), sigma), blur(by_shift.reshape(2, *shape), sigma)
