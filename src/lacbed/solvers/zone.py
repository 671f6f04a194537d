"""Brillouin-zone reuse: tilts that differ by a reciprocal vector share one diagonalisation.

For a flat foil and one Laue zone n·P_h = K_n is the same for all waves of a tilt, and with k = q + G

    K² - |P_h|² = |k|² - |q + h|²,

so that H(q) = U - diag |q + h|² belongs to q alone; the tilt enters by the shift |k|² of its eigenvalues and the
scale 1 / 2K_n, exactly. One diagonalisation gives all zones, reflections and thicknesses.
"""

from __future__ import annotations

from torch import Tensor

from lacbed.solvers.bloch import amplitudes
from lacbed.solvers.blocks import Tick, solve_blocks
from lacbed.solvers.pairs import Pairs
from lacbed.solvers.problem import Problem


def zone_matrices(problem: Problem, reduced: Tensor) -> Tensor:
    """H(q) = U - diag |q + h|²: (matrix, 2) to (matrix, beam, beam)."""
    plane = reduced[:, None, :] + problem.vectors[None, :, :2]  # (matrix, beam, 2)
    matrices = problem.potential.expand(len(reduced), -1, -1).clone()
    matrices.diagonal(dim1=1, dim2=2).sub_(plane.square().sum(dim=-1))
    return matrices


def zone_pairs(problem: Problem, group: Tensor, chosen: Tensor, margin: float) -> Pairs:
    """The chosen pairs, with `group` the matrix of each tilt and `margin` that of the tail."""
    tilt = problem.pair_tilt[chosen]
    wave = problem.wave_vectors[tilt]
    return Pairs(
        group=group[tilt],
        incoming=problem.anchor[tilt],
        outgoing=problem.pair_out[chosen],
        shift=wave[:, :2].square().sum(dim=1),
        scale=0.5 / wave[:, 2],
        margin=margin,
        along=None if problem.paraxial else wave[:, 2],
    )


def solve_zone(problem: Problem, block: int, tick: Tick | None = None) -> Tensor:
    """Amplitudes of the wanted pairs: (thickness, pair); `block` matrices are diagonalised at a time."""
    first, inverse = problem.distinct
    reduced = problem.reduced[first]
    margin = problem.tail_margin()

    def body(matrices: Tensor, chosen: Tensor) -> Tensor:
        pairs = zone_pairs(problem, inverse - matrices[0], chosen, margin)
        stack = zone_matrices(problem, reduced[matrices])
        return amplitudes(stack, problem.absorptive, pairs, problem.thicknesses)

    group = inverse[problem.pair_tilt]
    return solve_blocks(group, len(reduced), block, len(problem.thicknesses), problem.complex_dtype, body, tick)
