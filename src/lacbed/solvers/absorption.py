"""Bloch waves with absorption: a non-Hermitian problem solved where the wave is, and folded elsewhere.

In the eigenvectors of the Hermitian part the matrix is D + V, D = λ + i W_jj diagonal and V = i W off the diagonal
small. Waves of much higher transverse energy than the incident one (tail, T) hardly take part; the others (S)
are separated from them by a pair of subspaces [1; X] and [1, Y] that the matrix leaves invariant,

    X_ts = (V_TS + V_TT X - X V_SS)_ts / (D_s - D_t),    Y_st = (V_ST + Y V_TT - V_SS Y)_st / (D_s - D_t),

iterated from X = Y = 0 (van Vleck's transformation; Löwdin, J. Chem. Phys. 19 (1951) 1396). The matrix
D_S + V_SS + V_ST X inside S is diagonalised without further approximation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lacbed.solvers.pairs import Pairs, propagate

SWEEPS = 2
"""Iterations of X and Y after the first order."""

_RESONANCE = 0.3
"""Couplings V / (D_s - D_t) above this, between two waves right at the border, are left out."""


def absorbed_amplitudes(
    values: Tensor, vectors: Tensor, absorptive: Tensor, pairs: Pairs, thicknesses: Tensor
) -> Tensor:
    """Amplitudes of pairs under H + iW, given the eigenvalues and eigenvectors of H.

    Args:
        values: λ, ascending: (matrix, n).
        vectors: eigenvectors as columns: (matrix, n, n).
        absorptive: W: (n, n) or (matrix, n, n).
        pairs: the wanted pairs.
        thicknesses: t in Å: (thickness,).

    Returns:
        (thickness, pair) complex.
    """
    tail = _tail(values, pairs)
    damping = vectors.mH @ absorptive @ vectors  # W in the eigenvectors of H
    energy = values + 1j * damping.diagonal(dim1=1, dim2=2)
    damping.diagonal(dim1=1, dim2=2).zero_()
    incoming = vectors[pairs.group, pairs.incoming].conj().to(energy.dtype)
    outgoing = vectors[pairs.group, pairs.outgoing].to(energy.dtype)
    X, Y = _separate(damping, energy, tail)
    inside, rest = slice(tail, None), slice(0, tail)
    coupling = damping[:, inside, inside] + _product(damping[:, inside, rest], X)
    eigenvalues, right = torch.linalg.eig(torch.diag_embed(energy[:, inside]) + 1j * coupling)
    overlap = torch.eye(coupling.shape[1], dtype=energy.dtype, device=energy.device) + Y @ X
    left = torch.linalg.inv(overlap @ right)
    group = pairs.group
    start = _columns(left, incoming[:, inside] + _columns(Y, incoming[:, rest], group), group)
    end = _rows(outgoing[:, inside] + _rows(outgoing[:, rest], X, group), right, group)
    tail_start = incoming[:, rest] - _columns(X, incoming[:, inside], group)
    tail_start = tail_start - _columns(X, _columns(Y, tail_start, group), group)  # (1 + X Y)⁻¹ to first order
    tail_end = outgoing[:, rest] - _rows(outgoing[:, inside], Y, group)
    tail_energy = energy[:, rest] - 1j * (X * damping[:, inside, rest].mT).sum(dim=2)
    weight = torch.cat([start * end, tail_start * tail_end], dim=1)
    total = torch.cat([eigenvalues, tail_energy], dim=1)
    return propagate(weight, pairs.gamma(total), thicknesses)


def _tail(values: Tensor, pairs: Pairs) -> int:
    """Number of eigenvalues, from the lowest, that belong to the tail in every matrix of the stack."""
    border = -float(pairs.shift.max()) - pairs.margin
    return int((values <= border).sum(dim=1).min())


def _separate(damping: Tensor, energy: Tensor, tail: int) -> tuple[Tensor, Tensor]:
    """X (matrix, tail, inside) and Y (matrix, inside, tail) to order 1 + SWEEPS in V = i W."""
    inside, rest = slice(tail, None), slice(0, tail)
    gap = energy[:, None, inside] - energy[:, rest, None]  # (matrix, tail, inside)
    down, up = damping[:, rest, inside], damping[:, inside, rest]
    tails, insides = damping[:, rest, rest], damping[:, inside, inside]
    apart = torch.maximum(down.abs(), up.mT.abs()) < _RESONANCE * gap.abs()
    inverse = torch.where(apart, 1j / gap, 0.0)
    X = down * inverse
    for _ in range(SWEEPS):
        X = (down + _product(tails, X) - _product(insides.mT, X.mT).mT) * inverse
    if not damping.is_complex():
        return X, X.mT  # i W is then symmetric
    Y = up * inverse.mT
    for _ in range(SWEEPS):
        Y = (up + Y @ tails - insides @ Y) * inverse.mT
    return X, Y


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Product with a complex right factor; a real left one is multiplied as real numbers at half the cost."""
    if left.is_complex():
        return left @ right
    return torch.complex(left @ right.real, left @ right.imag)


def _columns(matrices: Tensor, vectors: Tensor, group: Tensor) -> Tensor:
    """Matrix of each pair times its vector: (matrix, m, n), (pair, n) to (pair, m)."""
    result = vectors.new_empty((len(vectors), matrices.shape[1]))
    for index in range(len(matrices)):
        chosen = group == index
        result[chosen] = vectors[chosen] @ matrices[index].mT
    return result


def _rows(vectors: Tensor, matrices: Tensor, group: Tensor) -> Tensor:
    """Vector of each pair times its matrix: (pair, m), (matrix, m, n) to (pair, n)."""
    return _columns(matrices.mT, vectors, group)
