"""Which solver serves a problem best, and why."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lacbed.errors import SettingError
from lacbed.solvers.blocks import Tick, choose_block
from lacbed.solvers.chebyshev import DAMPING_STEP, solve_chebyshev, spectral_bounds
from lacbed.solvers.convolution import TOGETHER, convolution_cost
from lacbed.solvers.memory import size_of, solver_bytes
from lacbed.solvers.problem import Problem, margin_of
from lacbed.solvers.reference import solve_reference
from lacbed.solvers.subspace import solve_subspace
from lacbed.solvers.tilted import solve_tilted
from lacbed.solvers.zone import solve_zone

Solver = Callable[[Problem, int, Tick | None], Tensor]

BLOCH_SOLVERS: dict[str, Solver] = {
    "zone": solve_zone,
    "tilted": solve_tilted,
    "chebyshev": solve_chebyshev,
    "reference": solve_reference,
}
"""All exact Bloch-wave solvers by name; tests run over this table."""

APPROXIMATE_SOLVERS: dict[str, Solver] = {"fast": solve_subspace}
"""Solvers with an error of their own, never chosen automatically."""

SOLVERS = ("auto", *BLOCH_SOLVERS, *APPROXIMATE_SOLVERS, "multislice")


def choose_solver(problem: Problem, device: torch.device) -> tuple[str, str]:
    """Name of the fastest solver that is exact for the problem, and the reason for the choice."""
    if problem.strong < len(problem.vectors):
        return "tilted", "weak beams depend on the tilt, so that every tilt has its own matrix"
    if device.type == "cuda" and problem.paraxial:
        return "chebyshev", "matrix products suit a GPU better than diagonalisation"
    tilts = len(problem.anchor)
    if problem.is_flat_zone:
        matrices = len(problem.distinct[0])
        if not problem.paraxial or matrices * _diagonalisation_cost(problem) <= tilts * _chebyshev_cost(problem):
            return "zone", f"{tilts} tilts share {matrices} diagonalisations"
        return "chebyshev", "fewer operations than one absorbing diagonalisation for every tilt"
    if _chebyshev_cost(problem) < _diagonalisation_cost(problem):
        return "chebyshev", "fewer operations than one diagonalisation per tilt"
    return "tilted", "higher Laue zones or a tilted foil give every tilt its own matrix"


def _diagonalisation_cost(problem: Problem) -> float:
    """Operations for one matrix."""
    n, inside = problem.strong, problem.strong
    if problem.absorptive is not None and problem.is_flat_zone:
        reach = margin_of(problem.bounds) + float(problem.wave_vectors[:, :2].square().sum(dim=1).max())
        inside = int((problem.vectors.square().sum(dim=1) < reach).sum())
    return diagonalisation_operations(n, inside, problem.is_real, problem.absorptive is not None)


def diagonalisation_operations(n: int, inside: int, is_real: bool, absorbs: bool) -> float:
    """Operations for one matrix of n beams, measured: 9 n³ for real eigenvectors, 22 n³ for complex ones.

    With absorption also a few complex products and a general eigenproblem of the m waves inside, 525 m³.
    """
    cost = (9.0 if is_real else 22.0) * n**3
    return cost + 30.0 * n**3 + 525.0 * inside**3 if absorbs else cost


def _chebyshev_cost(problem: Problem) -> float:
    """Operations for a tilt, measured: terms times 12 n² (real) or 24 n² (complex potential), or a convolution."""
    _, radius, damping = spectral_bounds(problem, torch.arange(min(64, len(problem.anchor))))
    thickest = 2.0 * math.pi * float(problem.thicknesses.max())
    steps = 1.0 if damping == 0.0 else max(len(problem.thicknesses), damping * thickest / DAMPING_STEP)
    terms = radius * thickest + 40.0 * steps
    is_real = problem.is_real and problem.absorptive is None
    product = problem.strong**2 * (12.0 if is_real else 24.0)
    if problem.convolves and problem.lattice is not None:
        product = min(product, convolution_cost(problem.lattice))
    return terms * product * (0.5 if damping == 0.0 and problem.returns_only else 1.0)


def check_solver(name: str, problem: Problem) -> None:
    """Refuse a solver that would not be exact for the problem.

    Raises:
        SettingError: saying why and which solver to take.
    """
    if not problem.paraxial and (name in ("chebyshev", "fast") or not problem.is_flat_zone):
        raise SettingError(
            "paraxial=False needs one Laue zone, a foil normal along the zone axis, and solver 'zone', 'tilted', "
            "'reference' or 'auto'"
        )
    if name in ("zone", "fast") and not problem.is_flat_zone:
        raise SettingError(
            f"solver {name!r} holds for one Laue zone and a foil normal along the zone axis only; "
            "use 'tilted' or 'auto'"
        )
    if name in ("zone", "chebyshev", "fast") and problem.strong < len(problem.vectors):
        raise SettingError(f"solver {name!r} treats all beams as strong; use 'tilted' for weak beams, or 'auto'")


def run_solver(
    name: str,
    problem: Problem,
    device: torch.device,
    precision: torch.dtype,
    tick: Tick | None = None,
    result: int = 0,
) -> Tensor:
    """Amplitudes of the wanted pairs with the named solver: (thickness, pair), on the CPU.

    Args:
        name: of the solver.
        problem: what is to be solved.
        device: where.
        precision: real type of the computation.
        tick: told the fraction done.
        result: bytes that the caller makes of it; what the solver took is then not yet given back.

    Raises:
        MemoryLimitError: if the request does not fit, with the estimate.
    """
    word = 8 if precision == torch.float64 else 4
    size = size_of(problem, name)
    once, work, each = solver_bytes(name, size, word)
    what = (
        f"{size.pairs} pairs of a pixel and a reflection at {size.thicknesses} thicknesses with {size.beams} beams"
    )
    count = size.matrices if name in ("zone", "fast") else size.tilts
    aim = TOGETHER if name == "chebyshev" and size.sides else None
    remedy = _remedy(name, problem, word)
    block = choose_block(
        count,
        once + (result if device.type == "cpu" else 0),
        each,
        device,
        what,
        work=work,
        aim=aim,
        remedy=remedy,
    )
    if name == "reference":
        return solve_reference(problem, 1, tick)
    return (BLOCH_SOLVERS | APPROXIMATE_SOLVERS)[name](problem.to(device, precision), block, tick).cpu()


def _remedy(name: str, problem: Problem, word: int) -> str:
    """What to ask for where memory does not last, with the memory that it takes."""
    ways = []
    if name != "fast" and problem.is_flat_zone and problem.paraxial and problem.strong == len(problem.vectors):
        ways.append(f"solver 'fast' ({_least(problem, 'fast', word)})")
    if word == 8 and name != "reference":
        ways.append(f"dtype 'float32' ({_least(problem, name, 4)})")
    return ", ".join([*ways, "fewer beams (g_max), pixels, reflections or thicknesses"])


def _least(problem: Problem, name: str, word: int) -> str:
    """The least memory with a solver and a precision, as text."""
    once, work, each = solver_bytes(name, size_of(problem, name), word)
    return f"about {(once + work + each) / 2**30:.1f} GiB"
