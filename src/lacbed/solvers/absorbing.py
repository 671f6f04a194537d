"""Eigenvectors of H + iW from those of H, where W is small, in half the time of a general solver.

In the eigenvectors of H the matrix is D + K: D = λ + i W_jj diagonal, K = i W off the diagonal small. Where K is
small against differences of D, too, Newton's step F = K_jl / (D_l - D_j) leaves

    (1 + F)⁻¹ (D + K) (1 + F) = D + (1 + F)⁻¹ K F,

which is of second order; steps repeat until F does not matter. Pairs of waves whose energies (nearly) meet are
rotated into the eigenvectors of their own 2 x 2 matrix before every step (Jacobi). What does not settle in a few
steps, as at an exceptional point where two eigenvectors become one, is left to LAPACK.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MEETING = 0.2
"""Pairs with |K_jl| above this part of |D_l - D_j| are rotated."""

_ROUNDS, _STEPS = 12, 8
"""Rounds of rotations before a step at most, and steps."""

_ALIKE = 1e-5
"""Difference of energies in 1/Å² and, in units of the largest K, coupling below which two waves are one level.

What couples them is rounding, and any two waves that span it will do."""

_PARALLEL = 0.02
"""Determinant of a rotation below which two eigenvectors are too nearly parallel for single precision."""

_SMALL = 0.1
"""Norm of F below which (1 + F)⁻¹ is a series."""

_LAST = 0.01
"""Norm of F at which the step is the last: what it leaves is of the order of its square, times K."""

Complex = NDArray[np.complexfloating]


def absorbing_eigensystem(hermitian: Tensor, absorptive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues and eigenvectors of H + iW, with which waves are good to about 1e-6, at worst to some 3e-5.

    Args:
        hermitian: H, real symmetric or Hermitian: (m, m) float64 or complex128.
        absorptive: W, likewise.

    Returns:
        λ, (m,) complex128, and R and L = R⁻¹ with (H + iW) R = R λ, (m, m) complex64 each.
    """
    energies, vectors = torch.linalg.eigh(hermitian)
    symmetric = not (hermitian.is_complex() or absorptive.is_complex())
    vectors = vectors.to(torch.float32 if symmetric else torch.complex64)
    coupling = 1j * (vectors.mH @ (absorptive.to(vectors.dtype) @ vectors))
    values = energies.numpy() + 1j * coupling.diagonal().imag.numpy()
    with np.errstate(all="ignore"):  # what is not finite is not settled
        turned = _diagonalised(values, coupling.numpy())
    if turned is None:
        found, right = torch.linalg.eig(hermitian + 1j * absorptive)
        return found, right.to(torch.complex64), torch.linalg.inv(right).to(torch.complex64)
    # Not the transpose of a symmetric matrix' R: where two energies (nearly) meet its columns are any two.
    left = torch.linalg.inv(turned)
    if not symmetric:
        return torch.as_tensor(values), vectors @ turned, left @ vectors.mH
    right = torch.complex(vectors @ turned.real, vectors @ turned.imag)
    return torch.as_tensor(values), right, torch.complex(left.real @ vectors.mT, left.imag @ vectors.mT)


def _diagonalised(values: Complex, coupling: Complex) -> Tensor | None:
    """Eigenvectors of D + K as columns, or None; D becomes the eigenvalues, K is overwritten."""
    np.fill_diagonal(coupling, 0.0)
    vectors, scale = np.eye(len(values), dtype=coupling.dtype), float(np.abs(coupling).max())
    for _ in range(_STEPS):
        alike = np.abs(values - values[:, None]) < _ALIKE
        coupling[alike & (np.abs(coupling) < _ALIKE * scale)] = 0.0
        if not _rotate_pairs(values, coupling, vectors):
            return None
        gap = (values - values[:, None]).astype(coupling.dtype)
        gap[np.abs(gap) < 1e-30] = 1.0  # the diagonal, and waves of like energy that are not coupled
        step = coupling / gap
        size = float(np.linalg.norm(step.view(np.float32)))
        if not math.isfinite(size):
            return None
        F, K, R = torch.as_tensor(step), torch.as_tensor(coupling), torch.as_tensor(vectors)
        vectors = torch.addmm(R, R, F).numpy()
        if size < _LAST:
            values += (coupling * step.T).sum(axis=1)
            return torch.as_tensor(vectors)
        left = K @ F
        if size < _SMALL:
            left = torch.addmm(left, F, left, alpha=-1.0)
        else:
            F.diagonal().add_(1.0)
            left = torch.linalg.solve(F, left)
        coupling = left.contiguous().numpy()
        values += coupling.diagonal()
        np.fill_diagonal(coupling, 0.0)
    return None


def _rotate_pairs(values: Complex, coupling: Complex, vectors: Complex) -> bool:
    """Diagonalise pairs of waves that (nearly) meet, the most strongly coupled ones of each wave first.

    With a = K_ij, b = K_ji, d = D_j - D_i and s = d + sqrt(d² + 4ab), the root of which is next to d, the columns
    become i - (2b/s) j and j + (2a/s) i, and D_i and D_j move apart by 2ab/s each. False if two of them come out
    nearly parallel.
    """
    for _ in range(_ROUNDS):
        size = np.abs(coupling)
        gap = np.abs(values - values[:, None])
        first, second = np.nonzero(np.triu(np.maximum(size, size.T) > _MEETING * gap, 1))
        if not len(first):
            break
        strength = np.maximum(size[first, second], size[second, first]) / (gap[first, second] + 1e-12)
        one, other = _disjoint(first, second, np.argsort(-strength), len(values))
        a, b = (coupling[p, q].astype(values.dtype) for p, q in ((one, other), (other, one)))
        apart = values[other] - values[one]
        root = np.sqrt(apart**2 + 4.0 * a * b)
        root = np.where((root * apart.conj()).real < 0.0, -root, root)
        total = apart + root
        f, g = (part.astype(coupling.dtype) for part in (2.0 * a / total, -2.0 * b / total))
        determinant = 1.0 - f * g
        if not np.all(np.abs(determinant) > _PARALLEL):
            return False
        for matrix in (coupling, vectors):
            left, right = matrix[:, one], matrix[:, other]
            matrix[:, one], matrix[:, other] = left + g * right, right + f * left
        upper, lower = coupling[one], coupling[other]
        f, g, determinant = (part[:, None] for part in (f, g, determinant))
        coupling[one], coupling[other] = (upper - f * lower) / determinant, (lower - g * upper) / determinant
        shift = 2.0 * a * b / total
        values[one] -= shift
        values[other] += shift
        for p, q in ((one, other), (other, one), (one, one), (other, other)):
            coupling[p, q] = 0.0
    return True


def _disjoint(
    first: NDArray[np.integer], second: NDArray[np.integer], order: NDArray[np.integer], count: int
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """The first pairs in an order of which no two share a member."""
    free = np.ones(count, dtype=bool)
    chosen = []
    for n in order.tolist():
        if free[first[n]] and free[second[n]]:
            free[first[n]] = free[second[n]] = False
            chosen.append(n)
    return first[chosen], second[chosen]
