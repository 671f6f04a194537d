"""Action of the exponential: ψ(t) = exp(2πi M t) ψ(0) by a Chebyshev expansion, for many tilts at once.

With the spectrum of the Hermitian part of M inside c ± r and z = 2π r t,

    exp(2πi M t) = exp(2πi c t) Σ_n (2 - δ_n0) iⁿ J_n(z) T_n((M - c) / r)

(Tal-Ezer & Kosloff, J. Chem. Phys. 81 (1984) 3967). Each term costs one product of the potential with the waves
of all tilts; absorption, which only bends the spectrum slightly off the real axis, costs nothing more, and
nothing is diagonalised, so that gradients flow through degenerate states.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import jv
from torch import Tensor

from lacbed.solvers.blocks import Tick, solve_blocks
from lacbed.solvers.problem import Problem
from lacbed.solvers.tilted import tilt_geometry

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


def spectral_bounds(problem: Problem, tilts: Tensor) -> tuple[float, float]:
    """Centre c and half-width r in 1/Å of an interval that holds the spectrum of all the tilts' matrices."""
    excitation, along = tilt_geometry(problem, tilts)
    diagonal = excitation / (2.0 * along)
    coupling = float(problem.potential.abs().sum(dim=1).max() / (2.0 * along.min()))
    bound = min(coupling, _norm(problem.potential) / (2.0 * float(along.min())))
    low, high = float(diagonal.min()) - bound, float(diagonal.max()) + bound
    return 0.5 * (low + high), 0.5 * (high - low) * 1.0001


def _norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.detach()))


def _coefficients(radius: float, thicknesses: np.ndarray, tolerance: float) -> np.ndarray:
    """(2 - δ_n0) iⁿ J_n(2π r t), cut where all are negligible: (term, thickness)."""
    z = 2.0 * math.pi * radius * thicknesses
    most = int(z.max() + 12.0 * z.max() ** (1 / 3) + 40)
    terms = np.arange(most)[:, None]
    values = jv(terms, z[None, :])
    significant = np.flatnonzero(np.abs(values).max(axis=1) > tolerance)
    values = values[: significant[-1] + 1] if len(significant) else values[:1]
    factors = np.where(terms[: len(values)] == 0, 1.0, 2.0) * np.array([1, 1j, -1, -1j])[terms[: len(values)] % 4]
    return np.asarray(factors * values)


def _propagate_block(problem: Problem, tilts: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Amplitudes at (row, column) of the propagated waves of a block of tilts: (thickness, pair)."""
    kind = problem.complex_dtype
    excitation, along = tilt_geometry(problem, tilts)
    root = (2.0 * along).rsqrt().T  # (beam, tilt)
    centre, radius = spectral_bounds(problem, tilts)
    diagonal = (excitation / (2.0 * along)).T - centre
    potential = _complete_potential(problem)

    def apply(waves: Tensor) -> Tensor:
        """(M - c) / r on the waves: (beam, tilt)."""
        scattered = _product(potential, root * waves)
        return (diagonal * waves + root * scattered) / radius

    thicknesses = problem.thicknesses.detach().cpu().double().numpy()
    weights = torch.as_tensor(_coefficients(radius, thicknesses, TOLERANCE[problem.vectors.dtype])).to(column.device, kind)
    previous = torch.zeros(len(problem.vectors), len(tilts), dtype=kind, device=column.device)
    previous[problem.anchor[tilts], torch.arange(len(tilts), device=column.device)] = 1.0
    total = weights[0][:, None] * previous[row, column]
    current = apply(previous)
    for n in range(1, len(weights)):
        total = total + weights[n][:, None] * current[row, column]
        current, previous = 2.0 * apply(current) - previous, current
    phase = torch.as_tensor(np.exp(2j * np.pi * centre * thicknesses)).to(column.device, kind)
    return phase[:, None] * total


def _complete_potential(problem: Problem) -> Tensor:
    if problem.absorptive is None:
        return problem.potential
    return problem.potential + 1j * problem.absorptive


def _product(potential: Tensor, waves: Tensor) -> Tensor:
    """Potential times waves; a real potential is multiplied as real numbers at a quarter of the cost."""
    if potential.is_complex():
        return potential @ waves
    return torch.complex(potential @ waves.real, potential @ waves.imag)
