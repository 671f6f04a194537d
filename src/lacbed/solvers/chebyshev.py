"""Action of the exponential: ψ(t) = exp(2πi M t) ψ(0) by a Chebyshev expansion, for many tilts at once.

With the spectrum of the Hermitian part of M inside c ± r and z = 2π r t,

    exp(2πi M t) = exp(2πi c t) Σ_n (2 - δ_n0) iⁿ J_n(z) T_n((M - c) / r)

(Tal-Ezer & Kosloff, J. Chem. Phys. 81 (1984) 3967). Each term costs one product of the potential with the
waves of all tilts, as a matrix or, with many beams, as a convolution (`lacbed.solvers.convolution`). Absorption
bends the spectrum off the real axis, so that the depth is then crossed in several steps. Nothing is diagonalised:
gradients flow through degenerate states. Where only the incident beam is wanted and nothing absorbs, half the
products do, as 2 T_n T_m = T_{n+m} + T_{n-m} gives ⟨0|T_{2n}|0⟩ from the waves T_n|0⟩.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from scipy.special import jv
from torch import Tensor

from lacbed.solvers.blocks import Tick, solve_blocks, stack_rows
from lacbed.solvers.problem import Problem
from lacbed.solvers.tilted import tilt_geometry

DAMPING_STEP = 4.0
"""Largest 2π t Im γ in one expansion: terms grow like its exponential, and cancel."""

TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-8}
"""Terms whose coefficients stay below this are left out."""


def solve_chebyshev(problem: Problem, block: int, tick: Tick | None = None) -> Tensor:
    """Amplitudes of the wanted pairs: (thickness, pair); `block` tilts are propagated at a time.

    Weak beams are not supported: solve with all beams strong.
    """

    def body(tilts: Tensor, chosen: Tensor) -> Tensor:
        column = problem.pair_tilt[chosen] - tilts[0]
        return _propagate_block(problem, tilts, column, problem.pair_out[chosen])

    count = len(problem.anchor)
    return solve_blocks(
        problem.pair_tilt, count, block, len(problem.thicknesses), problem.complex_dtype, body, tick
    )


def spectral_bounds(problem: Problem, tilts: Tensor) -> tuple[float, float, float]:
    """Centre c and half-width r in 1/Å of an interval that holds the spectrum of the tilts' Hermitian parts.

    The third number bounds the spectrum of the absorptive part: 0 ≤ Im γ ≤ third.
    """
    excitation, along = tilt_geometry(problem, tilts)
    diagonal = excitation / (2.0 * along)
    least = 2.0 * float(along.min())
    lowest, highest, damping = problem.bounds
    low = float(diagonal.min()) + min(0.0, lowest) / least
    high = float(diagonal.max()) + max(0.0, highest) / least
    damping /= least
    # Not narrower than the absorptive part is high: with a single beam terms would grow as (Im γ / r)ⁿ.
    return 0.5 * (low + high), max(0.5 * (high - low) * 1.0001 + 1e-9, damping), damping


def _coefficients(radius: float, thicknesses: np.ndarray, tolerance: float) -> np.ndarray:
    """(2 - δ_n0) iⁿ J_n(2π r t), cut where all are negligible: (term, thickness)."""
    z = 2.0 * math.pi * radius * thicknesses
    most = int(z.max() + 12.0 * z.max() ** (1 / 3) + 40)
    terms = np.arange(most)[:, None]
    values = jv(terms, z[None, :])
    significant = np.flatnonzero(np.abs(values).max(axis=1) > tolerance)
    values = values[: significant[-1] + 1] if len(significant) else values[:1]
    terms = terms[: len(values)]
    return np.asarray(np.where(terms == 0, 1.0, 2.0) * np.array([1, 1j, -1, -1j])[terms % 4] * values)


def _propagate_block(problem: Problem, tilts: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Amplitudes at (row, column) of the propagated waves of a block of tilts: (thickness, pair)."""
    excitation, along = tilt_geometry(problem, tilts)
    root = (2.0 * along).rsqrt().T  # (beam, tilt)
    centre, radius, damping = spectral_bounds(problem, tilts)
    diagonal = ((excitation / (2.0 * along)).T - centre) / radius
    product = problem.convolution if problem.convolves else _matrix_product(problem.complete_potential)
    inner, outer = root, root / radius

    def apply(waves: Tensor) -> Tensor:
        """(M - c) / r on the waves: (beam, tilt)."""
        return diagonal * waves + outer * product(inner * waves)

    waves = torch.zeros(len(tilts), len(problem.vectors), dtype=problem.complex_dtype, device=column.device)
    waves[torch.arange(len(tilts), device=column.device), problem.anchor[tilts]] = 1.0
    waves = waves.T if problem.convolves else waves.T.contiguous()
    wanted = problem.thicknesses.detach().cpu().double().numpy()
    if damping == 0.0 and torch.equal(row, problem.anchor[tilts[column]]):
        return _expand_returning(apply, waves, wanted, centre, radius, problem)[:, column]
    if damping == 0.0:
        return _expand(apply, waves, wanted, centre, radius, problem, (row, column))[0]
    order = np.argsort(wanted)

    def deeper() -> Iterator[Tensor]:
        current, depth = waves, 0.0
        for thickness in wanted[order]:
            steps = max(1, math.ceil(2.0 * math.pi * damping * (thickness - depth) / DAMPING_STEP))
            each = np.array([(thickness - depth) / steps])
            for _ in range(steps if each[0] > 0 else 0):
                current = _expand(apply, current, each, centre, radius, problem, None)[1]
            depth = thickness
            yield current[row, column]

    return stack_rows(deeper(), len(wanted))[torch.as_tensor(np.argsort(order), device=row.device)]


def _expand(
    apply: Callable[[Tensor], Tensor],
    waves: Tensor,
    thicknesses: np.ndarray,
    centre: float,
    radius: float,
    problem: Problem,
    at: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """One Chebyshev expansion: amplitudes `at` some elements for all thicknesses, or the whole wave for one."""
    tolerance = TOLERANCE[problem.vectors.dtype]
    weights = torch.as_tensor(_coefficients(radius, thicknesses, tolerance)).to(waves)
    previous, current = waves, apply(waves)
    total = weights[0][:, None] * waves[at] if at else weights[0, 0] * waves
    for n in range(1, len(weights)):
        total = total + (weights[n][:, None] * current[at] if at else weights[n, 0] * current)
        if n + 1 < len(weights):
            current, previous = 2.0 * apply(current) - previous, current
    phase = torch.as_tensor(np.exp(2j * np.pi * centre * thicknesses)).to(waves)
    total = phase[:, None] * total if at else phase[0] * total
    return total, total


def _expand_returning(
    apply: Callable[[Tensor], Tensor],
    waves: Tensor,
    thicknesses: np.ndarray,
    centre: float,
    radius: float,
    problem: Problem,
) -> Tensor:
    """⟨0|exp(2πi M t)|0⟩ of a Hermitian M for the waves |0⟩, by half the products: (thickness, tilt)."""
    weights = torch.as_tensor(_coefficients(radius, thicknesses, TOLERANCE[problem.vectors.dtype])).to(waves)

    def moments() -> Iterator[Tensor]:
        previous, current = waves, apply(waves)
        zeroth, first = _overlap(waves, waves), _overlap(waves, current)
        yield from (zeroth, first)
        while True:
            yield 2.0 * _overlap(current, current) - zeroth
            current, previous = 2.0 * apply(current) - previous, current
            yield 2.0 * _overlap(previous, current) - first

    count = len(weights)
    phase = torch.as_tensor(np.exp(2j * np.pi * centre * thicknesses)).to(waves)
    return phase[:, None] * (weights.T @ stack_rows(islice(moments(), count), count).to(weights.dtype))


def _overlap(left: Tensor, right: Tensor) -> Tensor:
    """Re ⟨left|right⟩ of every wave: (beam, tilt) twice to (tilt,)."""
    return (left.real * right.real + left.imag * right.imag).sum(dim=0)


def _matrix_product(potential: Tensor) -> Callable[[Tensor], Tensor]:
    """Potential times waves; a real potential is multiplied as real numbers at a quarter of the cost."""
    if potential.is_complex():
        return lambda waves: potential @ waves
    return lambda waves: torch.complex(potential @ waves.real, potential @ waves.imag)
