"""Bloch waves: from eigenvectors of Hermitian matrices to the amplitudes of many (tilt, reflection) pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

EXCITATION_LIMIT = {torch.float64: 1e-9, torch.float32: 1e-6}
"""Bloch waves whose product of amplitudes (incident, outgoing) stays below this for all pairs are left out."""

MIXING_LIMIT = {torch.float64: 3e-5, torch.float32: 1e-4}
"""With absorption: waves with a smaller amplitude in every incident and outgoing beam do not take part."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Wanted pairs that share a stack of matrices.

    Attributes:
        group: which matrix of the stack each pair belongs to: (pair,).
        incoming: beam index of the incident wave: (pair,).
        outgoing: beam index of the diffracted wave: (pair,).
        shift: added to the eigenvalues, so that the incident wave in vacuum has 0: (pair,).
        scale: from eigenvalue to γ in 1/Å, for example 1 / 2K_n: (pair,).
    """

    group: Tensor
    incoming: Tensor
    outgoing: Tensor
    shift: Tensor
    scale: Tensor


def amplitudes(
    matrices: Tensor, absorptive: Tensor | None, pairs: Pairs, thicknesses: Tensor
) -> Tensor:
    """ψ_out(t) = Σ_j C_out,j exp(2πi γ_j t) C*_in,j with γ_j = (λ_j + shift) scale.

    With absorption the matrix is H + i W; it is written in the eigenvectors of H that the pairs excite and
    diagonalised there as a general matrix.

    Args:
        matrices: H: (matrix, n, n), real symmetric or Hermitian.
        absorptive: W: (n, n) or (matrix, n, n), or None.
        pairs: the wanted pairs.
        thicknesses: t in Å: (thickness,).

    Returns:
        (thickness, pair) complex.
    """
    values, vectors = torch.linalg.eigh(matrices)
    incoming = vectors[pairs.group, pairs.incoming].conj()  # (pair, n)
    outgoing = vectors[pairs.group, pairs.outgoing]
    if absorptive is not None:
        return _absorbed(values, vectors, absorptive, incoming, outgoing, pairs, thicknesses)
    weight = incoming * outgoing
    kept = weight.abs().amax(dim=0) > EXCITATION_LIMIT[_real(weight.dtype)]
    gamma = (values[:, kept][pairs.group] + pairs.shift[:, None]) * pairs.scale[:, None]
    return propagate(weight[:, kept], gamma, thicknesses)


def propagate(weight: Tensor, gamma: Tensor, thicknesses: Tensor) -> Tensor:
    """Σ_j weight_j exp(2πi γ_j t) for every thickness: (pair, n), (pair, n), (t,) to (t, pair).

    Equal steps of thickness cost one exponential in all; γ may be complex.
    """
    steps = thicknesses.diff()
    uniform = len(steps) > 1 and bool((steps - steps[0]).abs().max() <= 1e-12 * thicknesses.abs().max())
    first = thicknesses[:1] if uniform else thicknesses
    sums = []
    current = torch.empty(0)
    for t in first:
        current = _phase_factor(gamma, float(t)) * weight
        sums.append(current.sum(dim=1))
    if uniform:
        step = _phase_factor(gamma, float(steps[0]))
        for _ in range(len(steps)):
            current = current * step
            sums.append(current.sum(dim=1))
    return torch.stack(sums)


def _phase_factor(gamma: Tensor, t: float) -> Tensor:
    """exp(2πi γ t)."""
    if gamma.is_complex():
        return torch.exp(gamma * (2j * math.pi * t))
    angle = gamma * (2.0 * math.pi * t)
    return torch.complex(torch.cos(angle), torch.sin(angle))


def _absorbed(
    values: Tensor,
    vectors: Tensor,
    absorptive: Tensor,
    incoming: Tensor,
    outgoing: Tensor,
    pairs: Pairs,
    thicknesses: Tensor,
) -> Tensor:
    excited = torch.maximum(incoming.abs(), outgoing.abs())
    kept = excited.amax(dim=0) > MIXING_LIMIT[_real(values.dtype)]
    inside = vectors[:, :, kept]  # (matrix, n, m)
    mixing = inside.mH @ absorptive @ inside
    complex_type = torch.complex64 if values.dtype == torch.float32 else torch.complex128
    matrix = torch.diag_embed(values[:, kept]).to(complex_type) + 1j * mixing
    eigenvalues, right = torch.linalg.eig(matrix)  # (matrix, m), (matrix, m, m)
    left = torch.linalg.inv(right)
    start = torch.einsum("pmn,pn->pm", left[pairs.group], incoming[:, kept].to(complex_type))
    end = torch.einsum("pn,pnm->pm", outgoing[:, kept].to(complex_type), right[pairs.group])
    gamma = (eigenvalues[pairs.group] + pairs.shift[:, None]) * pairs.scale[:, None]
    return propagate(start * end, gamma, thicknesses)


def _real(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float32, torch.complex64) else torch.float64
