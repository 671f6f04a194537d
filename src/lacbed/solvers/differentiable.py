"""Intensities through which gradients flow: one diagonalisation per matrix, exact at degenerate eigenvalues too.

For a flat foil and one Laue zone the matrix of a tilt k = q + G is U + iU' - diag |q + h|² with τ = π t / K_n (see
`lacbed.solvers.zone`; the phase |k|² is left out, which no intensity shows), otherwise the flux-normalised
structure matrix of the tilt with τ = 2π t. The wave is exp(iτA) e_G either way, and its derivatives are those of
`lacbed.solvers.eigen`; all that A and τ consist of follows by autograd.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lacbed.errors import SettingError
from lacbed.solvers.eigen import eigensystem, pull_back, waves
from lacbed.solvers.problem import Problem
from lacbed.solvers.tilted import tilt_matrices
from lacbed.solvers.zone import zone_matrices

KEPT_BYTES = 2**30
"""Eigenvectors up to this size are kept for the gradient; those of a larger problem are computed again."""

_BLOCK_BYTES = 48 * 2**20


def differentiable_intensities(problem: Problem, share: bool = True) -> Tensor:
    """I_g of all pairs, differentiable in every tensor of the problem: (thickness, pair).

    Args:
        problem: with tensors that may carry gradients.
        share: whether tilts with the same q share their matrix, as `lacbed.solvers.zone` does. Not if q moves with
            something that gradients are asked of: tilts that agree now need not move alike.

    Raises:
        SettingError: for paraxial=False, whose square root is not differentiated here.
    """
    if not problem.paraxial:
        raise SettingError("gradients are of the paraxial equation; leave paraxial=False out")
    tilts = len(problem.anchor)
    flat = problem.is_flat_zone and problem.strong == len(problem.vectors)
    first, group = problem.distinct if flat and share else (torch.arange(tilts), torch.arange(tilts))
    each = 32 * problem.strong**2
    size = max(1, min(len(first), _BLOCK_BYTES // each))
    again = each * len(first) > KEPT_BYTES
    pair_group = group[problem.pair_tilt]
    order = torch.argsort(pair_group, stable=True)
    starts = torch.arange(0, len(first) + size, size).clamp(max=len(first))
    bounds = torch.searchsorted(pair_group[order], starts).tolist()
    pieces = []
    for number in range(len(starts) - 1):
        matrices = torch.arange(int(starts[number]), int(starts[number + 1]))
        pairs = order[bounds[number] : bounds[number + 1]]
        block = (problem, flat, first[matrices], group, int(starts[number]), pairs)
        pieces.append(checkpoint(_block, *block, use_reentrant=False) if again else _block(*block))
    return torch.cat(pieces, dim=1)[:, torch.argsort(order)]


def _block(problem: Problem, flat: bool, tilts: Tensor, group: Tensor, start: int, pairs: Tensor) -> Tensor:
    """Intensities of some pairs, whose matrices are those of `tilts`: (thickness, pair).

    Every tilt of a matrix is a column of waves at every thickness.
    """
    if flat:
        hermitian = zone_matrices(problem, problem.reduced[tilts])
        absorptive = None if problem.absorptive is None else problem.absorptive.expand_as(hermitian)
    else:
        hermitian, absorptive = tilt_matrices(problem, tilts)
    columns, column = torch.unique(problem.pair_tilt[pairs], return_inverse=True)
    table, place = _places(group[columns] - start, len(tilts))
    tilt = columns[table]  # (matrix, column)
    if flat:
        phase = math.pi * problem.thicknesses / (problem.wave_vectors[tilt] @ problem.normal)[..., None]
    else:
        phase = (2.0 * math.pi * problem.thicknesses).expand(*tilt.shape, -1)
    count = len(problem.thicknesses)
    incoming = problem.anchor[tilt][..., None].expand(-1, -1, count)
    matrices, width = tilt.shape
    psi = _Waves.apply(  # type: ignore[no-untyped-call]
        hermitian, absorptive, phase.reshape(matrices, -1), incoming.reshape(matrices, -1)
    )
    psi = psi.reshape(matrices * width, count, -1)[place[column], :, problem.pair_out[pairs]]  # (pair, thickness)
    return (torch.square(psi.real) + torch.square(psi.imag)).T


def _places(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Columns sorted by their matrices: the column at each place (matrix, width), and the place of each column."""
    order = torch.argsort(matrix, stable=True)
    counts = torch.bincount(matrix, minlength=count)
    first = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - first[matrix[order]]
    width = int(counts.max())
    table = torch.zeros(count, width, dtype=torch.int64)
    table[matrix, rank] = torch.arange(len(matrix))
    return table, matrix * width + rank


class _Waves(torch.autograd.Function):
    """exp(iτA) e_in with A = H + iW: (matrix, column, beam)."""

    @staticmethod
    def forward(ctx: Any, hermitian: Tensor, absorptive: Tensor | None, phase: Tensor, incoming: Tensor) -> Tensor:
        ctx.system = eigensystem(hermitian, absorptive)
        ctx.is_real, ctx.absorbs = not hermitian.is_complex(), absorptive is not None
        ctx.save_for_backward(phase, incoming)
        return waves(ctx.system, incoming, phase)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        phase, incoming = ctx.saved_tensors
        P, by_phase = pull_back(ctx.system, incoming, phase, grad)
        if ctx.is_real:  # of real numbers, dL = Re Σ P dA leaves the real part
            return P.real, -P.imag if ctx.absorbs else None, by_phase, None
        return P.conj(), -1j * P.conj() if ctx.absorbs else None, by_phase, None
