"""Intensities of many (tilt, reflection) pairs with gradients: blocks of matrices, memory bounded.

For a flat foil and one Laue zone the wave of tilt k = q + G behind a foil of thickness t is, up to a phase,

    ψ = exp(iτ A(q)) e_G,   A(q) = U - diag |q + h|² + iU',   τ = π t / K_n

(see `lacbed.solvers.zone`). Everything that a crystal or the geometry can change enters through U, U', the
diagonal and τ, so that four gradients serve any number of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacbed.invert.derivative import Eigensystem, eigensystem, pull_back, push_forward, waves
from lacbed.solvers.blocks import one_thread_each

BLOCK_BYTES = 24 * 2**20
"""Bytes of matrices in one block."""

KEPT_BYTES = 2**30
"""Eigenvectors up to this size are kept between the value and its gradient; larger ones are computed again."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Which columns (tilts) belong to which matrix, and which pairs to which block.

    Attributes:
        beams: n.
        tilt: index of the tilt of every column, 0 where there is none: (matrix, column).
        incoming: index of its incident beam: (matrix, column).
        blocks: first and last matrix of every block.
        pairs: positions of the pairs of every block in the order that the caller has.
        places: index of each of these pairs in the waves (matrix, column, n) of its block, flattened.
        count: number of pairs.
    """

    beams: int
    tilt: Tensor
    incoming: Tensor
    blocks: tuple[tuple[int, int], ...]
    pairs: tuple[Tensor, ...]
    places: tuple[Tensor, ...]
    count: int


def make_layout(
    beams: int, group: np.ndarray, anchor: np.ndarray, pair_tilt: np.ndarray, pair_out: np.ndarray, wide: int = 16
) -> Layout:
    """Sort tilts by their matrix.

    Args:
        beams: n.
        group: matrix of every tilt: (tilt,).
        anchor: incident beam of every tilt: (tilt,).
        pair_tilt: tilt of every pair: (pair,).
        pair_out: diffracted beam of every pair: (pair,).
        wide: bytes of one number of a matrix.
    """
    matrices = int(group.max()) + 1
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group, minlength=matrices)
    first = np.concatenate([[0], np.cumsum(counts)])
    column = np.empty(len(group), dtype=np.int64)
    column[order] = np.arange(len(group)) - first[group[order]]
    width = int(counts.max())
    tilt = np.zeros((matrices, width), dtype=np.int64)
    incoming = np.zeros((matrices, width), dtype=np.int64)
    tilt[group, column] = np.arange(len(group))
    incoming[group, column] = anchor
    size = max(1, min(BLOCK_BYTES // (beams * beams * wide), -(-matrices // 4)))
    pair_group = group[pair_tilt]
    by_matrix = np.argsort(pair_group, kind="stable")
    blocks, pairs, places = [], [], []
    for start in range(0, matrices, size):
        stop = min(start + size, matrices)
        low, high = np.searchsorted(pair_group[by_matrix], [start, stop])
        chosen = by_matrix[low:high]
        tilts = pair_tilt[chosen]
        place = ((group[tilts] - start) * width + column[tilts]) * beams + pair_out[chosen]
        blocks.append((start, stop))
        pairs.append(torch.as_tensor(chosen))
        places.append(torch.as_tensor(place))
    return Layout(
        beams, torch.as_tensor(tilt), torch.as_tensor(incoming), tuple(blocks), tuple(pairs), tuple(places),
        len(pair_tilt),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Matrices:
    """The numbers of all matrices.

    With M = U + iU', x = |q + h|², and weak beams w behind the n strong ones,

        A(q) = M_ss - diag x_s + M_sw D M_ws,    D = 1 / (x_w + E),

    Löwdin's (Bethe's) correction with one energy E for all Bloch waves: the transverse energy -|k|² of an average
    tilt. Weak beams are far from every Bragg condition, so that the change of E over the grid hardly matters.

    Attributes:
        potential: U, real or Hermitian: (beam, beam).
        absorptive: U' or None: (beam, beam).
        diagonal: x in 1/Å²: (matrix, beam).
        strong: n.
        energy: E in 1/Å².
        border: see `lacbed.invert.derivative.eigensystem`.
    """

    potential: Tensor
    absorptive: Tensor | None
    diagonal: Tensor
    strong: int
    energy: float
    border: float | None

    def solve(self, start: int, stop: int) -> Eigensystem:
        """Eigensystem of some of them."""
        n = self.strong
        stack = self.potential[:n, :n].expand(stop - start, -1, -1).clone()
        stack.diagonal(dim1=1, dim2=2).sub_(self.diagonal[start:stop, :n])
        damping = None if self.absorptive is None else self.absorptive[:n, :n]
        if n < len(self.potential):
            scaled = self.potential[:n, n:] * self.inverse(start, stop)[:, None, :]  # U_sw D
            stack = stack + scaled @ self.potential[n:, :n]
            if self.absorptive is not None and damping is not None:
                cross = scaled @ self.absorptive[n:, :n]
                damping = damping + cross + cross.mH
                stack = (
                    stack
                    - self.absorptive[:n, n:] * self.inverse(start, stop)[:, None, :] @ self.absorptive[n:, :n]
                )
        return eigensystem(stack, damping, self.border)

    def inverse(self, start: int, stop: int) -> Tensor:
        """D of some matrices: (matrix, weak)."""
        return 1.0 / (self.diagonal[start:stop, self.strong :] + self.energy)

    @property
    def complete(self) -> Tensor:
        """M: (beam, beam)."""
        return self.potential if self.absorptive is None else self.potential + 1j * self.absorptive

    def change(self, direction: Tensor, diagonal: Tensor, start: int, stop: int) -> Tensor:
        """Change dA of some matrices for dM, (beam, beam), and dx, (matrix, beam): (matrix, n, n)."""
        n = self.strong
        change = direction[:n, :n].expand(stop - start, -1, -1).clone()
        change.diagonal(dim1=1, dim2=2).sub_(diagonal[start:stop, :n])
        if n == len(direction):
            return change
        D, M = self.inverse(start, stop)[:, None, :], self.complete
        weak = direction[:n, n:] * D - M[:n, n:] * (D * D * diagonal[start:stop, None, n:])
        return change + weak @ M[n:, :n] + (M[:n, n:] * D) @ direction[n:, :n]

    def pull_back(self, P: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """From dL = Re Σ P dA to the same of M, summed over matrices, (beam, beam), and of x, (matrix, beam)."""
        n = self.strong
        by_strong = -P.diagonal(dim1=1, dim2=2).real
        if n == len(self.potential):
            return P.sum(dim=0), by_strong
        D, M = self.inverse(start, stop), self.complete.to(P.dtype)
        right = P @ M[n:, :n].mT  # (matrix, n, weak)
        below = M[:n, n:].mT @ P
        top = torch.cat([P.sum(dim=0), (right * D[:, None, :]).sum(dim=0)], dim=1)
        bottom = (below * D[:, :, None]).sum(dim=0)
        total = torch.cat([top, torch.cat([bottom, torch.zeros(len(D[0]), len(D[0]), dtype=P.dtype)], dim=1)])
        by_weak = -D * D * (M[:n, n:] * right).sum(dim=1).real
        return total, torch.cat([by_strong, by_weak], dim=1)


class Systems:
    """Eigensystems of all blocks, kept where they fit.

    Args:
        matrices: what to diagonalise.
        layout: the blocks.
        keep: bytes that may be kept.
    """

    def __init__(self, matrices: Matrices, layout: Layout, keep: int = KEPT_BYTES) -> None:
        self.matrices, self.layout = matrices, layout
        wide = 8 if matrices.absorptive is None and not matrices.potential.is_complex() else 32
        size = len(matrices.diagonal) * layout.beams**2 * wide
        self._kept: dict[int, Eigensystem] | None = {} if size <= keep else None

    def block(self, number: int) -> Eigensystem:
        """The eigensystem of one block."""
        if self._kept is None:
            return self.matrices.solve(*self.layout.blocks[number])
        if number not in self._kept:
            self._kept[number] = self.matrices.solve(*self.layout.blocks[number])
        return self._kept[number]


def side_by_side(layout: Layout, one: Callable[[int], Any]) -> Iterator[Any]:
    """Run a function on every block, one thread each, in order."""
    numbers = range(len(layout.blocks))
    with one_thread_each(torch.device("cpu")) as workers, ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one, numbers) if workers > 1 else map(one, numbers)


def intensities(systems: Systems, phases: Sequence[Tensor]) -> Tensor:
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
        result[:, layout.pairs[number]] = piece
    return result


def tangents(
    systems: Systems, phase: Tensor, direction: Tensor, diagonal_direction: Tensor, phase_direction: Tensor
) -> tuple[Tensor, Tensor]:
    """|ψ|² of all pairs and its derivatives along several directions, from one diagonalisation.

    Args:
        systems: the eigensystems.
        phase: τ: (tilt,).
        direction: d(U + iU'): (direction, n, n).
        diagonal_direction: d|q + h|²: (direction, matrix, n).
        phase_direction: dτ: (direction, tilt).

    Returns:
        (pair,) and (direction, pair).
    """
    layout = systems.layout
    steers = [bool(a.any()) or bool(b.any()) for a, b in zip(direction, diagonal_direction, strict=True)]

    def one(number: int) -> tuple[Tensor, Tensor]:
        start, stop = layout.blocks[number]
        system, tilt = systems.block(number), layout.tilt[start:stop]
        incoming, places = layout.incoming[start:stop], layout.places[number]
        psi = waves(system, incoming, phase[tilt]).reshape(-1)[places]
        moved = []
        for d in range(len(direction)):
            if not (steers[d] or phase_direction[d].any()):
                moved.append(torch.zeros(len(places), dtype=phase.dtype))  # geometry alone
                continue
            change = None
            if steers[d]:
                change = systems.matrices.change(direction[d], diagonal_direction[d], start, stop)
            step = push_forward(
                system,
                incoming,
                phase[tilt],
                None if change is None else change[None],
                phase_direction[d, tilt][None],
            )
            moved.append(2.0 * (psi.conj() * step.reshape(-1)[places]).real)
        return torch.square(psi.real) + torch.square(psi.imag), torch.stack(moved)

    value = torch.empty(layout.count, dtype=phase.dtype)
    slope = torch.empty(len(direction), layout.count, dtype=phase.dtype)
    for number, (here, there) in enumerate(side_by_side(layout, one)):
        value[layout.pairs[number]], slope[:, layout.pairs[number]] = here, there
    return value, slope


def differentiable_intensities(
    layout: Layout,
    potential: Tensor,
    absorptive: Tensor | None,
    diagonal: Tensor,
    phase: Tensor,
    energy: float = 0.0,
    border: float | None = None,
    keep: int = KEPT_BYTES,
) -> Tensor:
    """|ψ|² of all pairs, (pair,), that autograd can go back through.

    The backward pass is the adjoint of `lacbed.invert.derivative`: its cost does not depend on how many
    parameters there are, and only eigenvectors up to `keep` bytes are held for it.
    """
    result: Tensor = _PairIntensities.apply(  # type: ignore[no-untyped-call]
        potential, absorptive, diagonal, phase, layout, energy, border, keep
    )
    return result


class _PairIntensities(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        potential: Tensor,
        absorptive: Tensor | None,
        diagonal: Tensor,
        phase: Tensor,
        layout: Layout,
        energy: float,
        border: float | None,
        keep: int,
    ) -> Tensor:
        systems = Systems(Matrices(potential, absorptive, diagonal, layout.beams, energy, border), layout, keep)
        ctx.systems = systems
        ctx.save_for_backward(phase)
        return intensities(systems, [phase])[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (phase,) = ctx.saved_tensors
        by_matrix, by_diagonal, by_phase = adjoint(ctx.systems, phase, grad)
        potential, absorptive = ctx.systems.matrices.potential, ctx.systems.matrices.absorptive
        by_potential = by_matrix if potential.is_complex() or not by_matrix.is_complex() else by_matrix.real
        by_absorptive = None
        if absorptive is not None:
            by_absorptive = -1j * by_matrix if absorptive.is_complex() else by_matrix.imag
        return by_potential, by_absorptive, by_diagonal, by_phase, None, None, None, None


def adjoint(systems: Systems, phase: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of Σ grad · |ψ|² with respect to A, the diagonal and τ.

    Returns:
        ∂L/∂A* summed over the matrices (torch's convention): (n, n); by the diagonal: (matrix, n); by τ: (tilt,).
    """
    layout = systems.layout

    def one(number: int) -> tuple[Tensor, Tensor, Tensor]:
        start, stop = layout.blocks[number]
        system, tilt = systems.block(number), layout.tilt[start:stop]
        incoming, places = layout.incoming[start:stop], layout.places[number]
        psi = waves(system, incoming, phase[tilt])
        weight = torch.zeros(psi.numel(), dtype=phase.dtype)
        weight.index_add_(0, places, 2.0 * grad[layout.pairs[number]])
        P, by_phase = pull_back(system, incoming, phase[tilt], psi * weight.reshape(psi.shape))
        return *systems.matrices.pull_back(P, start, stop), by_phase

    total, diagonal = torch.zeros_like(systems.matrices.complete), []
    by_tilt = torch.zeros_like(phase)
    for number, (P, by_diagonal, by_phase) in enumerate(side_by_side(layout, one)):
        start, stop = layout.blocks[number]
        total = total + P
        diagonal.append(by_diagonal)
        # Columns without a tilt have tilt 0, and no weight.
        by_tilt.index_add_(0, layout.tilt[start:stop].reshape(-1), by_phase.reshape(-1))
    return total.conj(), torch.cat(diagonal), by_tilt
