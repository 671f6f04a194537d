"""The literal reference: for every tilt, write the structure matrix down and diagonalise it.

No symmetry, no sharing, no truncation: slow, and meant to be checked against a textbook line by line. Every
approximation has a name and a switch: the finite list of beams (`beams`, `g_max`, `sg_max`), Laue zones
(`laue_zones`), weak beams (`weak_beams`), no refraction (`refraction`), the term γ² (`paraxial`), absorption
(`absorption`); back-scattered waves are left out altogether.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lacbed.solvers.blocks import Tick
from lacbed.solvers.problem import Problem


def structure_matrix(problem: Problem, tilt: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrix M with M C = γ C for one tilt, and the list of n · P_h.

        M_hh' = [ (K² - |P_h|²) δ_hh' + (U + iU')_hh' ] / ( 2 sqrt(n·P_h  n·P_h') )

    acts on the flux-normalised waves C_h sqrt(n·P_h): with it the sum of |C_h|² is the current through the
    foil, which is conserved without absorption. Weak beams w enter by Bethe's perturbation (Spence & Zuo,
    1992, eq. 3.34): U_hh' - Σ_w U_hw U_wh' / (K² - |P_w|²), on and off the diagonal.
    """
    potential = problem.potential.numpy().astype(complex)
    if problem.absorptive is not None:
        potential = potential + 1j * problem.absorptive.numpy()
    K = problem.wave_vectors[tilt].numpy()
    vectors = problem.vectors.numpy()
    P = K - vectors[int(problem.anchor[tilt])] + vectors
    excitation = K @ K - np.sum(P * P, axis=1)  # = 2 K s
    n = problem.strong
    matrix = np.diag(excitation[:n]) + potential[:n, :n]
    if n < len(P):
        matrix -= (potential[:n, n:] / excitation[n:]) @ potential[n:, :n]
    along = P[:n] @ problem.normal.numpy()
    return matrix / (2.0 * np.sqrt(along[:, None] * along[None, :])), along


def solve_reference(problem: Problem, block: int = 1, tick: Tick | None = None) -> Tensor:
    """Amplitudes of the wanted pairs: (thickness, pair) complex128, flux-normalised, on the CPU.

    ψ(t) = C exp(2πi γ t) C⁻¹ ψ(0), with C from `numpy.linalg.eig` (non-Hermitian with absorption). `block` is
    there to be called like the other solvers; the reference takes one tilt at a time.
    """
    anchor, pair_tilt, pair_out = (t.numpy() for t in (problem.anchor, problem.pair_tilt, problem.pair_out))
    thicknesses = problem.thicknesses.numpy()
    result = np.empty((len(thicknesses), len(pair_tilt)), dtype=complex)
    for tilt in range(len(anchor)):
        pairs = np.flatnonzero(pair_tilt == tilt)
        matrix, _ = structure_matrix(problem, tilt)
        if problem.absorptive is None:
            gamma, C = np.linalg.eigh(matrix)
        else:
            gamma, C = np.linalg.eig(matrix)
        if not problem.paraxial:  # the forward root of γ² + 2 K_n γ = 2 K_n γ_paraxial
            K_n = float(problem.wave_vectors[tilt] @ problem.normal)
            gamma = np.sqrt(K_n**2 + 2.0 * K_n * gamma) - K_n
        incident = np.zeros(len(matrix), dtype=complex)
        incident[anchor[tilt]] = 1.0
        excitation = np.linalg.solve(C, incident)  # ψ(0) in Bloch waves
        for row, t in enumerate(thicknesses):
            psi = C @ (np.exp(2j * np.pi * gamma * t) * excitation)
            result[row, pairs] = psi[pair_out[pairs]]
        if tick is not None:
            tick((tilt + 1) / len(anchor))
    return torch.as_tensor(result)
