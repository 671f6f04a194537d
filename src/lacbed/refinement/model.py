"""The forward model: from a state to blurred images, with gradients and with the full Jacobian.

A `Model` is all that the objective, the minimisers and the scan know of the physics: it gives images, and their
slopes, for a thickness, a geometry and whatever else it knows of. `BlochModel` takes everything that a crystal or
the geometry can change, for a flat foil and one Laue zone; `LatticeModel` in lattice_model.py any simulation, so
tilted foils too, and changes thickness and geometry alone.

Gradients go through torch's autograd (one adjoint pass, whatever the number of parameters); the Jacobian needs one
tangent per parameter, all from one diagonalisation.

Images may be moved one by one: a row of `moves` is a shift (x, y) in pixels, or that and a distortion (xx, xy,
yx, yy). The moved image at r is the model at r - u, u = shift + distortion · r, r from the middle of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lacbed.differentiable import blur
from lacbed.refinement.plan import ModelInputs, Plan, hamiltonian, numbers, pixel_positions, rows, zone_vectors
from lacbed.refinement.sampling import binned_sigma, interpolate, reading
from lacbed.refinement.waves import KEPT_BYTES, EigensystemCache, differentiable_intensities, intensities, tangents
from lacbed.state import ModelState

StateOf = Callable[[Tensor], ModelState]
Kept = dict[int, EigensystemCache]


class Model(Protocol):
    """What gives images and their slopes for a state."""

    @property
    def binning(self) -> int:
        """Pixels of the experiment along a side of one pixel of the images."""

    def read(self, state: ModelState, moves: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images and their slopes by moves, without gradient: (g, ky, kx), (2 or 6, g, ky, kx)."""

    def jacobian(
        self, state_of: StateOf, values: Tensor, moves: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images, and slopes by parameters and by moves: (g, ky, kx), (p, g, ky, kx), (2 or 6, g, ky, kx)."""

    def series(
        self,
        states: Sequence[ModelState],
        thicknesses: Sequence[float],
        tick: Callable[[float], None] | None = None,
    ) -> Iterator[list[Tensor]]:
        """Images without blur for many thicknesses, one after the other: (g, ky, kx) for every state."""


@dataclass(frozen=True, eq=False)
class BlochModel:
    """The model in which everything may change.

    Attributes:
        plan: beams, points and matrices.
    """

    plan: Plan
    _kept: Kept = field(default_factory=dict)

    @property
    def binning(self) -> int:
        """See `Model`."""
        return self.plan.binning

    def read(self, state: ModelState, moves: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Model`."""
        return read_with_moves(self.plan, state, moves, self._kept)

    def jacobian(
        self, state_of: StateOf, values: Tensor, moves: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Model`."""
        return jacobian(self.plan, state_of, values, moves, self._kept)

    def series(
        self,
        states: Sequence[ModelState],
        thicknesses: Sequence[float],
        tick: Callable[[float], None] | None = None,
    ) -> Iterator[list[Tensor]]:
        """See `Model`; the states may differ in their half-width and tilt."""
        return thickness_series(self.plan, states, thicknesses, tick)


@cache
def offsets(pixels: int) -> Tensor:
    """X and y of the pixels from the middle of an image, ky slow: (pixel, 2)."""
    steps = torch.arange(pixels, dtype=torch.float64) - (pixels - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def displacement(move: Tensor, pixels: int) -> Tensor:
    """By how much every pixel of an image moves, u: (2 or 6,) to (1 or pixel, 2)."""
    if len(move) == 2:
        return move[None]
    return move[:2] + offsets(pixels) @ move[2:].reshape(2, 2).T


def by_moves(slope: Tensor, moves: Tensor | None) -> Tensor:
    """Slopes by moves from those by a shift: (2, g, pixel) to (2 or 6, g, pixel)."""
    if moves is None or moves.shape[1] == 2:
        return slope
    x, y = offsets(round(slope.shape[-1] ** 0.5)).T
    return torch.cat([slope, torch.stack([slope[0] * x, slope[0] * y, slope[1] * x, slope[1] * y])])


def images(plan: Plan, state: ModelState, moves: Tensor | None = None, keep: int = KEPT_BYTES) -> Tensor:
    """Blurred intensities as fractions of the incident current, differentiable in the state: (g, ky, kx).

    Args:
        plan: beams, points and matrices.
        state: all parameters.
        moves: of each image: (g, 2 or 6).
        keep: bytes of eigenvectors that may be held for the backward pass.
    """
    found = numbers(plan, state)
    pairs = differentiable_intensities(plan.layout, rows(plan), hamiltonian(plan, found), found.phase, keep)
    sharp = _read(plan, state, _from_pairs(plan, pairs), moves)
    return blur(sharp.reshape(len(plan.reflections), plan.pixels, plan.pixels), _sigma(plan, state))


def _sigma(plan: Plan, state: ModelState) -> Tensor:
    return binned_sigma(state.blur, plan.binning)


def _from_pairs(plan: Plan, pairs: Tensor) -> Tensor:
    """Values at the points from those of the pairs: (..., pair) to (..., g, point)."""
    return torch.cat([pairs, torch.zeros_like(pairs[..., :1])], dim=-1)[..., plan.source]


def _read(plan: Plan, state: ModelState, points: Tensor, moves: Tensor | None) -> Tensor:
    """Values at the pixels, (g, pixel), from those at the points, (g, point)."""
    if not plan.divisions:
        return points
    if moves is None:
        return interpolate(points, plan.table, plan.corner, places(plan, state))
    each = [
        interpolate(points[g], plan.table, plan.corner, places(plan, state, moves[g])) for g in range(len(points))
    ]
    return torch.stack(each)


def places(plan: Plan, state: ModelState, move: Tensor | None = None) -> Tensor:
    """Pixels in steps of the lattice: (pixel, 2)."""
    lattice, _ = zone_vectors(plan, state.cell)
    steps: Tensor = pixel_positions(state, plan.pixels) @ torch.linalg.inv(lattice).T * plan.divisions
    return steps if move is None else steps - displacement(move, plan.pixels) @ _per_pixel(plan, state)


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
        reads = [reading(plan.table, plan.corner, places(plan, s)).value for s in states if plan.divisions]
        for number, t in enumerate(thicknesses):
            points = [_from_pairs(plan, intensities(systems, [t * phase])[0]) for systems, phase in solved]
            if reads:
                flat = np.ascontiguousarray(points[0].numpy().T)
                points = [torch.as_tensor(read @ flat).T for read in reads]
            yield [p.reshape(shape) for p in points]
            if tick is not None:
                tick((number + 1) / len(thicknesses))


def jacobian(
    plan: Plan, state_of: StateOf, values: Tensor, moves: Tensor | None = None, kept: Kept | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, their derivatives by every parameter, and by the moves of each image.

    Args:
        plan: beams, points and matrices.
        state_of: the state of a vector of parameters.
        values: the parameters: (p,).
        moves: as for `images`.
        kept: a dictionary in which the eigenvectors of the last state stay, or None.

    Returns:
        (g, ky, kx), (p, g, ky, kx), and (2 or 6, g, ky, kx) by moves (zero where the points are the pixels
        themselves).
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
    sharp, change, by_move = _read_jacobian(plan, state_of, values, together, moves)
    shape = (len(plan.reflections), plan.pixels, plan.pixels)
    sigma = _sigma(plan, state)
    by_blur = along_each(lambda p: (_sigma(plan, state_of(p)),), values)
    total = blur(change.reshape(-1, *shape), sigma)
    if any(bool(step) for (step,) in by_blur):
        ((spread,),) = along_each(lambda s: (blur(sharp.reshape(shape), s[0]),), sigma[None])
        total += torch.stack([step for (step,) in by_blur])[:, None, None, None] * spread
    return blur(sharp.reshape(shape), sigma), total, blur(by_move.reshape(-1, *shape), sigma)


def _read_jacobian(
    plan: Plan, state_of: StateOf, values: Tensor, points: Tensor, moves: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`_read` with derivatives: (g, pixel), (p, g, pixel), (2 or 6, g, pixel).

    Args:
        plan: where the points are.
        state_of: the state of a vector of parameters.
        values: the parameters: (p,).
        points: the values at the points and their derivatives by the parameters: (1 + p, g, point).
        moves: of the images or None: (g, 2 or 6).
    """
    if not plan.divisions:
        return points[0], points[1:], by_moves(torch.zeros(2, *points[0].shape, dtype=points.dtype), moves)
    state = state_of(values)

    def to_lattice(parameters: Tensor) -> tuple[Tensor, Tensor]:
        changed = state_of(parameters)
        return places(plan, changed), _per_pixel(plan, changed)

    moved = along_each(to_lattice, values)
    here, step = places(plan, state), _per_pixel(plan, state)  # the step of the lattice per pixel of shift
    common = reading(plan.table, plan.corner, here) if moves is None else None
    result = torch.empty(len(points), points.shape[1], len(here), dtype=points.dtype)
    by_shift = torch.empty(2, points.shape[1], len(here), dtype=points.dtype)
    for g in range(points.shape[1]):
        moved_by = torch.zeros(1, 2, dtype=points.dtype) if moves is None else displacement(moves[g], plan.pixels)
        read = common or reading(plan.table, plan.corner, here - moved_by @ step)
        result[:, g] = torch.as_tensor(read.value @ np.ascontiguousarray(points[:, g].numpy().T)).T
        by_place = torch.as_tensor(np.stack([slope @ points[0, g].numpy() for slope in read.slopes]))
        for number, (place, per_pixel) in enumerate(moved):
            if bool(place.any()) or bool(per_pixel.any()):
                result[1 + number, g] += ((place - moved_by @ per_pixel).T * by_place).sum(dim=0)
        by_shift[:, g] = -step @ by_place
    return result[0], result[1:], by_moves(by_shift, moves)


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


def read_with_moves(
    plan: Plan, state: ModelState, moves: Tensor | None = None, kept: Kept | None = None
) -> tuple[Tensor, Tensor]:
    """Images and their slopes by moves, without gradient: (g, ky, kx), (2 or 6, g, ky, kx)."""
    with torch.no_grad():
        systems, phase = _systems(plan, state, kept)
        points = _from_pairs(plan, intensities(systems, [phase]))
        nothing = torch.zeros(0, dtype=torch.float64)
        sharp, _, by_move = _read_jacobian(plan, lambda _: state, nothing, points, moves)
        shape = (len(plan.reflections), plan.pixels, plan.pixels)
        sigma = _sigma(plan, state)
        return blur(sharp.reshape(shape), sigma), blur(by_move.reshape(-1, *shape), sigma)
