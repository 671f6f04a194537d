"""Intensities of many (tilt, reflection) pairs with gradients: blocks of matrices, memory bounded.

For a flat foil and one Laue zone the wave of tilt k = q + G behind a foil of thickness t is, up to a phase,

    ψ = V exp(iτ A(q)) V† e_G,   τ = π t / K_n,

with the matrices A(q) of `lacbed.solvers.hamiltonian`. Everything that a crystal or the geometry can change enters
through the numbers of the Hamiltonian and τ, so that five gradients serve any number of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from lacbed.refinement.layout import Layout
from lacbed.solvers.blocks import one_thread_each
from lacbed.solvers.eigen import Eigensystem, in_single, pull_back, push_forward, waves
from lacbed.solvers.hamiltonian import ProjectedHamiltonian

KEPT_BYTES = 2**30
"""Eigenvectors up to this size are kept between the value and its gradient; larger ones are computed again."""


class EigensystemCache:
    """Eigensystems of all blocks, kept where they fit.

    Args:
        hamiltonian: what to diagonalise.
        rows: V at the beams that are seen: (seen, m).
        layout: the blocks.
        keep: bytes that may be kept.
        single: whether intensities are wanted in single precision only, which halves their time.
    """

    def __init__(
        self,
        hamiltonian: ProjectedHamiltonian,
        rows: Tensor,
        layout: Layout,
        keep: int = KEPT_BYTES,
        single: bool = False,
    ) -> None:
        self.hamiltonian, self.rows, self.layout, self.single = hamiltonian, rows, layout, single
        waves = len(hamiltonian.elastic)
        wide = 8 if hamiltonian.damping is None and not hamiltonian.elastic.is_complex() else 16
        size = len(hamiltonian.reduced) * 2 * waves * (waves + len(rows)) * wide
        self._kept: dict[int, Eigensystem] | None = {} if size <= keep else None

    def block(self, number: int) -> Eigensystem:
        """The eigensystem of one block."""
        if self._kept is not None and number in self._kept:
            return self._kept[number]
        system = self.hamiltonian.solve(*self.layout.blocks[number], self.rows)
        if self.single:
            system = in_single(system)
        if self._kept is not None:
            self._kept[number] = system
        return system


def side_by_side(layout: Layout, one: Callable[[int], Any]) -> Iterator[Any]:
    """Run a function on every block, one thread each, in order."""
    numbers = range(len(layout.blocks))
    with one_thread_each(torch.device("cpu")) as workers, ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one, numbers) if workers > 1 else map(one, numbers)


def intensities(systems: EigensystemCache, phases: Sequence[Tensor]) -> Tensor:
    """|ψ|² of all pairs, without gradient.

    Args:
        systems: the eigensystems.
        phases: τ of all tilts for every thickness: (tilt,) each.

    Returns:
        (thickness, pair).
    """
    layout = systems.layout

    def one(number: int) -> Tensor:
        start, stop = layout.blocks[number]
        system, tilt = systems.block(number), layout.tilt[start:stop]
        values = [
            waves(system, layout.incoming[start:stop], phase[tilt]).reshape(-1)[layout.places[number]]
            for phase in phases
        ]
        return torch.stack([torch.square(v.real) + torch.square(v.imag) for v in values])

    result = torch.empty(len(phases), layout.count, dtype=phases[0].dtype)
    for number, piece in enumerate(side_by_side(layout, one)):
        result[:, layout.pairs[number]] = piece.to(result.dtype)
    return result


def tangents(
    systems: EigensystemCache,
    phase: Tensor,
    directions: Sequence[ProjectedHamiltonian],
    phase_directions: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """|ψ|² of all pairs and its derivatives along several directions, from one diagonalisation.

    Args:
        systems: the eigensystems.
        phase: τ: (tilt,).
        directions: changes of the Hamiltonian.
        phase_directions: dτ of each: (tilt,).

    Returns:
        (pair,) and (direction, pair).
    """
    layout = systems.layout
    still = [
        not any(bool(t.any()) for t in (d.elastic, d.slopes, d.reduced, tau))
        and (d.damping is None or not bool(d.damping.any()))
        for d, tau in zip(directions, phase_directions, strict=True)
    ]

    def one(number: int) -> tuple[Tensor, Tensor]:
        start, stop = layout.blocks[number]
        system, tilt = systems.block(number), layout.tilt[start:stop]
        incoming, places = layout.incoming[start:stop], layout.places[number]
        psi = waves(system, incoming, phase[tilt]).reshape(-1)[places]
        moving = [
            (systems.hamiltonian.change(direction, start, stop), tau[tilt])
            for direction, tau, none in zip(directions, phase_directions, still, strict=True)
            if not none
        ]
        steps = iter(push_forward(system, incoming, phase[tilt], moving))
        slopes = torch.zeros(len(directions), len(places), dtype=phase.dtype)
        for row, none in zip(slopes, still, strict=True):
            if not none:
                row.copy_(2.0 * (psi.conj() * next(steps).reshape(-1)[places]).real)
        return torch.square(psi.real) + torch.square(psi.imag), slopes

    value = torch.empty(layout.count, dtype=phase.dtype)
    slope = torch.empty(len(directions), layout.count, dtype=phase.dtype)
    for number, (here, there) in enumerate(side_by_side(layout, one)):
        value[layout.pairs[number]], slope[:, layout.pairs[number]] = here, there
    return value, slope


def differentiable_intensities(
    layout: Layout, rows: Tensor, hamiltonian: ProjectedHamiltonian, phase: Tensor, keep: int = KEPT_BYTES
) -> Tensor:
    """|ψ|² of all pairs, (pair,), that autograd can go back through.

    The backward pass is the adjoint of `lacbed.solvers.eigen`: its cost does not depend on how many
    parameters there are, and only eigenvectors up to `keep` bytes are held for it.
    """
    result: Tensor = _PairIntensities.apply(  # type: ignore[no-untyped-call]
        hamiltonian.elastic,
        hamiltonian.damping,
        hamiltonian.slopes,
        hamiltonian.reduced,
        phase,
        rows,
        layout,
        keep,
    )
    return result


class _PairIntensities(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        elastic: Tensor,
        damping: Tensor | None,
        slopes: Tensor,
        reduced: Tensor,
        phase: Tensor,
        rows: Tensor,
        layout: Layout,
        keep: int,
    ) -> Tensor:
        ctx.systems = EigensystemCache(ProjectedHamiltonian(elastic, damping, slopes, reduced), rows, layout, keep)
        ctx.save_for_backward(phase)
        return intensities(ctx.systems, [phase])[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (phase,) = ctx.saved_tensors
        P, by_slopes, by_reduced, by_phase = adjoint(ctx.systems, phase, grad)
        elastic, damping = ctx.systems.hamiltonian.elastic, ctx.systems.hamiltonian.damping
        if not elastic.is_complex():  # of real numbers, dL = Re Σ P dA leaves the real part
            by_damping = None if damping is None else -P.imag
            return P.real, by_damping, by_slopes.real, by_reduced, by_phase, None, None, None
        by_damping = None if damping is None else -1j * P.conj()
        return P.conj(), by_damping, by_slopes.conj(), by_reduced, by_phase, None, None, None


def adjoint(systems: EigensystemCache, phase: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradient of Σ grad · |ψ|².

    Returns:
        P with dL = Re Σ P d(H + iW), (m, m), the same of the slopes, (2, m, m), ∂L/∂q, (matrix, 2), and ∂L/∂τ,
        (tilt,).
    """
    layout = systems.layout

    def one(number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        start, stop = layout.blocks[number]
        system, tilt = systems.block(number), layout.tilt[start:stop]
        incoming, places = layout.incoming[start:stop], layout.places[number]
        psi = waves(system, incoming, phase[tilt])
        weight = torch.zeros(psi.numel(), dtype=phase.dtype)
        weight.index_add_(0, places, 2.0 * grad[layout.pairs[number]])
        P, by_phase = pull_back(system, incoming, phase[tilt], psi * weight.reshape(psi.shape))
        return *systems.hamiltonian.pull_back(P, start, stop), by_phase

    m = len(systems.hamiltonian.elastic)
    total = torch.zeros(m, m, dtype=torch.complex128)
    slopes = torch.zeros(2, m, m, dtype=torch.complex128)
    reduced, by_tilt = [], torch.zeros_like(phase)
    for number, (P, by_slopes, by_reduced, by_phase) in enumerate(side_by_side(layout, one)):
        start, stop = layout.blocks[number]
        total, slopes = total + P, slopes + by_slopes
        reduced.append(by_reduced)
        # Columns without a tilt have tilt 0, and no weight.
        by_tilt.index_add_(0, layout.tilt[start:stop].reshape(-1), by_phase.reshape(-1))
    return total, slopes, torch.cat(reduced), by_tilt
