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
from scipy.sparse import csr_matrix
from torch import Tensor

from lacbed.differentiable import over_cone, point_spread, spread_light
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
from lacbed.state import ModelState, thickness_nodes

StateOf = Callable[[Tensor], ModelState]
Matrices = tuple[csr_matrix, list[csr_matrix]]
"""From points to places, and the slopes of that along both directions: (place, point) each."""


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
    """The model in which everything may change; the eigenvectors of its last state are kept.

    Attributes:
        plan: beams, points and matrices.
    """

    plan: Plan
    _kept: dict[str, EigensystemCache] = field(default_factory=dict)

    @property
    def binning(self) -> int:
        """See `Model`."""
        return self.plan.binning

    def read(self, state: ModelState, moves: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Model`."""
        with torch.no_grad():
            systems, phases = self._systems(state)
            weights = thickness_nodes(state)[1]
            points = _from_pairs(self.plan, (weights @ intensities(systems, list(phases)))[None])
            nothing = torch.zeros(0, dtype=torch.float64)
            read = self._read_points(lambda _: state, nothing, points, moves)
            sharp, _, by_move = (over_cone(images, state.cone) for images in read)
            spread = point_spread(state, self.plan.binning)
            return spread_light(sharp, spread), spread_light(by_move, spread)

    def jacobian(
        self, state_of: StateOf, values: Tensor, moves: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Model`; slopes by moves are 0 where the points are the pixels themselves."""
        plan, state = self.plan, state_of(values)
        systems, phases = self._systems(state)
        weights = thickness_nodes(state_of(values.clone().requires_grad_()))[1]
        if len(weights) > len(phases):
            phases = phases.expand(len(weights), -1)

        def upstream(parameters: Tensor) -> tuple[Tensor, ...]:
            found = numbers(plan, state_of(parameters))
            absorptive = torch.zeros(0) if found.absorptive is None else found.absorptive
            return found.elastic, absorptive, found.plane, found.squares, found.reduced, found.phase

        changes = [
            ModelInputs(elastic, absorptive if len(absorptive) else None, *rest)
            for elastic, absorptive, *rest in along_each(upstream, values)
        ]
        directions = [hamiltonian(plan, change) for change in changes]
        found = torch.zeros(1 + len(changes), plan.layout.count, dtype=torch.float64)
        for node, weight in enumerate(weights.tolist()):
            pairs, slopes = tangents(systems, phases[node], directions, [change.phase[node] for change in changes])
            found += weight * torch.cat([pairs[None], slopes])
        points = _from_pairs(plan, found)
        read = self._read_points(state_of, values, points, moves)
        sharp, change, by_move = (over_cone(images, state.cone) for images in read)
        spread = point_spread(state, plan.binning)
        steps = [step for (step,) in along_each(lambda p: (point_spread(state_of(p), plan.binning),), values)]
        total = spread_light(change, spread)
        if any(bool(step.any()) for step in steps):
            wider = torch.stack([image for (image,) in along_each(lambda s: (spread_light(sharp, s),), spread)])
            total += torch.tensordot(torch.stack(steps), wider, dims=1)
        return spread_light(sharp, spread), total, spread_light(by_move, spread)

    def series(
        self,
        states: Sequence[ModelState],
        thicknesses: Sequence[float],
        tick: Callable[[float], None] | None = None,
    ) -> Iterator[list[Tensor]]:
        """See `Model`.

        The states may differ in their half-width and tilt; on a lattice one diagonalisation serves them all.
        """
        plan = self.plan
        shape = (len(plan.reflections), plan.pixels, plan.pixels)
        with torch.no_grad():
            solved = []
            for state in states[:1] if plan.divisions else states:
                found = numbers(plan, state.changed(spread=torch.zeros_like(state.spread)))
                systems = EigensystemCache(
                    hamiltonian(plan, found), rows(plan), plan.layout, 2 * KEPT_BYTES, single=True
                )
                solved.append((systems, found.phase[0] / state.thickness))
            reads = [_matrices(plan, places(plan, s))[0] for s in states if plan.divisions]
            for number, t in enumerate(thicknesses):
                points = [_from_pairs(plan, intensities(systems, [t * phase])[0]) for systems, phase in solved]
                if reads:
                    flat = np.ascontiguousarray(points[0].numpy().T)
                    points = [torch.as_tensor(read @ flat).T for read in reads]
                yield [p.reshape(shape) for p in points]
                if tick is not None:
                    tick((number + 1) / len(thicknesses))

    def forget(self) -> None:
        """Let go of the eigenvectors that are kept."""
        self._kept.clear()

    def _systems(self, state: ModelState) -> tuple[EigensystemCache, Tensor]:
        """Eigensystems of a state and τ, (node, tilt); those of the last state if the matrices are the same."""
        found = numbers(self.plan, state)
        matrices = hamiltonian(self.plan, found)
        last = self._kept.get("last")
        if last is None or not last.hamiltonian.same_as(matrices):
            self._kept.clear()
            last = EigensystemCache(matrices, rows(self.plan), self.plan.layout, KEPT_BYTES)
            self._kept["last"] = last
        return last, found.phase

    def _read_points(
        self, state_of: StateOf, values: Tensor, points: Tensor, moves: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`read_points` on the plan's lattice; pixels themselves as they are."""
        plan = self.plan
        if plan.divisions:

            def where(parameters: Tensor) -> tuple[Tensor, Tensor]:
                return places(plan, state_of(parameters)), _per_pixel(plan, state_of(parameters))

            return read_points(points, lambda at: _matrices(plan, at), where, values, moves)
        images = points.reshape(len(points), -1, plan.pixels, plan.pixels)
        still = torch.zeros(2 if moves is None else moves.shape[1], *images.shape[1:], dtype=images.dtype)
        return images[0], images[1:], still


def read_points(
    points: Tensor,
    reader: Callable[[Tensor], Matrices],
    where: Callable[[Tensor], tuple[Tensor, Tensor]],
    values: Tensor,
    moves: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images from values at points, with derivatives, see `Model.jacobian`.

    Args:
        points: the values at the points and their derivatives by the parameters: (1 + p, g, point).
        reader: what gives the matrices that read places.
        where: places of the pixels, and steps for one pixel along x and along y as rows, of parameters.
        values: the parameters: (p,).
        moves: of the images or None: (g, 2 or 6).
    """
    (here, step), moved = where(values), along_each(where, values)
    side = round(len(here) ** 0.5)
    common = reader(here) if moves is None else None
    filled = [0, *(1 + i for i, slope in enumerate(points[1:]) if bool(slope.any()))]
    result = torch.zeros(len(points), points.shape[1], len(here), dtype=points.dtype)
    by_shift = torch.empty(2, points.shape[1], len(here), dtype=points.dtype)
    for g in range(points.shape[1]):
        u = torch.zeros(1, 2, dtype=points.dtype) if moves is None else displacement(moves[g], side)
        value, slopes = common or reader(here - u @ step)
        result[filled, g] = torch.as_tensor(value @ np.ascontiguousarray(points[filled, g].numpy().T)).T
        by_place = torch.as_tensor(np.stack([slope @ points[0, g].numpy() for slope in slopes]))
        for number, (place, per_pixel) in enumerate(moved):
            if bool(place.any()) or bool(per_pixel.any()):
                result[1 + number, g] += ((place - u @ per_pixel).T * by_place).sum(dim=0)
        by_shift[:, g] = -step @ by_place
    images = result.reshape(*result.shape[:2], side, side)
    by_move = by_shift.reshape(2, -1, side, side)
    if moves is not None and moves.shape[1] == 6:
        x, y = offsets(side).reshape(side, side, 2).unbind(dim=-1)
        by_move = torch.cat([by_move, torch.stack([d * o for d in by_move for o in (x, y)])])
    return images[0], images[1:], by_move


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


def images(plan: Plan, state: ModelState, moves: Tensor | None = None, keep: int = KEPT_BYTES) -> Tensor:
    """Blurred intensities as fractions of the incident current, differentiable in the state: (g, ky, kx).

    Args:
        plan: beams, points and matrices.
        state: all parameters.
        moves: of each image: (g, 2 or 6).
        keep: bytes of eigenvectors that may be held for the backward pass.
    """
    found = numbers(plan, state)
    matrices, weights = hamiltonian(plan, found), thickness_nodes(state)[1]
    pairs = sum(
        weight * differentiable_intensities(plan.layout, rows(plan), matrices, phase, keep)
        for weight, phase in zip(weights, found.phase, strict=True)
    )
    assert isinstance(pairs, Tensor)
    sharp = _read(plan, state, _from_pairs(plan, pairs), moves)
    mean = over_cone(sharp.reshape(len(plan.reflections), plan.pixels, plan.pixels), state.cone)
    return spread_light(mean, point_spread(state, plan.binning))


def _from_pairs(plan: Plan, pairs: Tensor) -> Tensor:
    """Values at the points from those of the pairs: (..., pair) to (..., g, point)."""
    return torch.cat([pairs, torch.zeros_like(pairs[..., :1])], dim=-1)[..., plan.source]


def _read(plan: Plan, state: ModelState, points: Tensor, moves: Tensor | None) -> Tensor:
    """Values at the pixels, (g, pixel), from those at the points, (g, point)."""
    if not plan.divisions:
        return points
    if moves is None:
        return _stencil(plan, places(plan, state)).read(points)
    return torch.stack(
        [_stencil(plan, places(plan, state, m)).read(p) for p, m in zip(points, moves, strict=True)]
    )


def _stencil(plan: Plan, where: Tensor) -> Stencil:
    return stencil(plan.table, plan.corner, where, TAPS)


def _matrices(plan: Plan, where: Tensor) -> Matrices:
    found, points = _stencil(plan, where), int(plan.table.max()) + 1
    return found.matrix(found.weights, points), [found.matrix(slope, points) for slope in found.slopes]


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
