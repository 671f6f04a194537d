"""Bloch waves: from a stack of Hermitian matrices to the amplitudes of many (tilt, reflection) pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from lacbed.solvers.absorption import absorbed_amplitudes
from lacbed.solvers.pairs import Pairs, propagate

EXCITATION_LIMIT = {torch.float64: 1e-9, torch.float32: 1e-6}
"""Bloch waves whose product of amplitudes (incident, outgoing) stays below this for all pairs are left out."""


def amplitudes(matrices: Tensor, absorptive: Tensor | None, pairs: Pairs, thicknesses: Tensor) -> Tensor:
    """ψ_out(t) = Σ_j C_out,j exp(2πi γ_j t) C*_in,j with γ_j = (λ_j + shift) scale.

    Args:
        matrices: H: (matrix, n, n), real symmetric or Hermitian.
        absorptive: W: (n, n) or (matrix, n, n), for the matrix H + iW; or None.
        pairs: the wanted pairs.
        thicknesses: t in Å: (thickness,).

    Returns:
        (thickness, pair) complex.
    """
    values, vectors = torch.linalg.eigh(matrices)
    if absorptive is not None:
        return absorbed_amplitudes(values, vectors, absorptive, pairs, thicknesses)
    weight = vectors[pairs.group, pairs.incoming].conj() * vectors[pairs.group, pairs.outgoing]  # (pair, n)
    real = torch.float32 if values.dtype == torch.float32 else torch.float64
    kept = weight.abs().amax(dim=0) > EXCITATION_LIMIT[real]
    return propagate(weight[:, kept], pairs.gamma(values[:, kept]), thicknesses)
