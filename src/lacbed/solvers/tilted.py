"""One batched diagonalisation per tilt: exact for higher-order Laue zones, tilted foils and weak beams."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lacbed.solvers.bloch import amplitudes
from lacbed.solvers.blocks import Tick, solve_blocks
from lacbed.solvers.pairs import Pairs
from lacbed.solvers.problem import Problem

_ELEMENTS = 2**20  # waves of tilts that are looked at together


def tilt_geometry(problem: Problem, tilts: Tensor) -> tuple[Tensor, Tensor]:
    """K² - |P_h|² in 1/Å² and n·P_h in 1/Å of all waves at the given tilts: two (tilt, beam).

    Written as -(2 K + d)·d with d = h - G, which loses no digits to K² ≈ 1600 1/Å².
    """
    wave = problem.wave_vectors[tilts][:, None, :]
    step = problem.vectors[None] - problem.vectors[problem.anchor[tilts]][:, None, :]  # (tilt, beam, 3)
    excitation = -((2.0 * wave + step) * step).sum(dim=-1)
    along = (wave + step) @ problem.normal
    return excitation, along


def tilt_matrices(problem: Problem, tilts: Tensor) -> tuple[Tensor, Tensor | None]:
    """Flux-normalised structure matrices, see `lacbed.solvers.reference.structure_matrix`.

    Returns:
        The Hermitian part (tilt, strong, strong), and the absorptive part or None, both in 1/Å.
    """
    excitation, along = tilt_geometry(problem, tilts)
    n = problem.strong
    elastic = problem.potential[:n, :n].expand(len(tilts), -1, -1).clone()
    absorptive = None if problem.absorptive is None else problem.absorptive[:n, :n].expand_as(elastic)
    elastic.diagonal(dim1=1, dim2=2).add_(excitation[:, :n])
    if n < len(problem.vectors):
        weak, weak_absorptive = _bethe(problem, excitation[:, n:])
        elastic = elastic - weak
        absorptive = None if absorptive is None else absorptive - weak_absorptive
    root = (2.0 * along[:, :n]).rsqrt()
    scale = root[:, :, None] * root[:, None, :]
    return elastic * scale, None if absorptive is None else absorptive * scale


def weak_beam_share(problem: Problem) -> tuple[float, int]:
    """Largest |U_hw + iU'_hw| / |K² - |P_w|²| of a weak beam w over strong ones h and all tilts, and its index.

    That is the amplitude of the weak wave by perturbation, in units of the strong one's, which has to be small:
    what is left out is of the second order in it. (0, 0) without weak beams.
    """
    n, total = problem.strong, len(problem.vectors)
    if n == total:
        return 0.0, 0
    coupling = problem.potential[:n, n:]
    if problem.absorptive is not None:
        coupling = coupling + 1j * problem.absorptive[:n, n:]
    tilts = torch.arange(len(problem.anchor), device=problem.anchor.device)
    nearest = torch.full((total - n,), math.inf, dtype=problem.vectors.dtype, device=tilts.device)
    for some in torch.split(tilts, max(1, _ELEMENTS // total)):
        nearest = torch.minimum(nearest, tilt_geometry(problem, some)[0][:, n:].abs().amin(dim=0))
    share, beam = (coupling.abs().amax(dim=0) / nearest).max(dim=0)
    return float(share), n + int(beam)


def _bethe(problem: Problem, excitation: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_w U_hw U_wh' / (K² - |P_w|²) of the complete potential, split as A + iB with A and B Hermitian."""
    n = problem.strong
    elastic = problem.potential[:n, n:]
    if problem.absorptive is None:
        product = (elastic[None] / excitation[:, None, :]) @ elastic.mH
        return product, torch.zeros_like(product)
    absorptive = problem.absorptive[:n, n:]
    scaled, scaled_absorptive = elastic[None] / excitation[:, None, :], absorptive[None] / excitation[:, None, :]
    return (
        scaled @ elastic.mH - scaled_absorptive @ absorptive.mH,
        scaled @ absorptive.mH + scaled_absorptive @ elastic.mH,
    )


def solve_tilted(problem: Problem, block: int, tick: Tick | None = None) -> Tensor:
    """Amplitudes of the wanted pairs: (thickness, pair); `block` tilts are diagonalised at a time."""
    margin = problem.tail_margin() / (2.0 * float((problem.wave_vectors @ problem.normal).min()))

    def body(tilts: Tensor, chosen: Tensor) -> Tensor:
        matrices, absorptive = tilt_matrices(problem, tilts)
        tilt = problem.pair_tilt[chosen]
        along = None if problem.paraxial else problem.wave_vectors[tilt] @ problem.normal
        ones = torch.ones(len(chosen), dtype=problem.vectors.dtype, device=tilt.device)
        pairs = Pairs(
            tilt - tilts[0], problem.anchor[tilt], problem.pair_out[chosen], 0.0 * ones, ones, margin, along
        )
        return amplitudes(matrices, absorptive, pairs, problem.thicknesses)

    count = len(problem.anchor)
    return solve_blocks(
        problem.pair_tilt, count, block, len(problem.thicknesses), problem.complex_dtype, body, tick
    )
