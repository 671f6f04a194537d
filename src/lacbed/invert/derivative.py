"""The wave exp(iτA) e and its derivatives, exact at degenerate eigenvalues.

With A = R λ L, L = R⁻¹, the derivative of the exponential in a direction dA is (Daleckii & Krein, AMS Transl. (2)
47 (1965) 1; Higham, Functions of Matrices, 2008, theorem 3.11)

    d exp(iτA) = R (Φ ∘ L dA R) L,    Φ_jl = (exp(iτλ_j) - exp(iτλ_l)) / (λ_j - λ_l),  Φ_jj = iτ exp(iτλ_j).

No eigenvector is differentiated, so that nothing diverges where eigenvalues meet (every zone axis). Φ differs from
column to column by τ, but its numerator is a difference of products: Σ over the columns of one matrix are
matrix products, and the division by λ_j - λ_l is done once. Where |τ (λ_j - λ_l)| is small the middle
iτ exp(iτ (λ_j + λ_l) / 2) (1 - (τ (λ_j - λ_l))² / 24) is taken instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = {torch.float64: 1e-5, torch.float32: 1e-2}
"""|τ (λ_j - λ_l)| below which the series is taken: the difference would lose too many digits."""

_RESONANCE = 0.3  # couplings to the tail above this part of the gap are left out, as in solvers.absorption


@dataclass(frozen=True, eq=False)
class Eigensystem:
    """A = R λ L of a stack of matrices.

    Attributes:
        values: λ, real for Hermitian matrices: (matrix, n).
        right: R: (matrix, n, n).
        left: L = R⁻¹: (matrix, n, n).
    """

    values: Tensor
    right: Tensor
    left: Tensor


def eigensystem(hermitian: Tensor, absorptive: Tensor | None, border: float | None = None) -> Eigensystem:
    """Eigenvalues and eigenvectors of H + iW.

    Args:
        hermitian: H: (matrix, n, n), real symmetric or Hermitian.
        absorptive: W: (n, n) or None.
        border: eigenvalues of H below it belong to waves that are hardly excited. They are separated from the
            others to first order in W / gap (second order in the eigenvalues), which saves most of the time of
            the general eigenproblem. None treats all alike, exactly.

    Returns:
        The eigensystem; with a `border`, of a matrix without the coupling by W of unexcited waves to each other.
    """
    values, vectors = torch.linalg.eigh(hermitian)
    if absorptive is None:
        return Eigensystem(values, vectors, vectors.mH)
    tail = 0 if border is None else int((values <= border).sum(dim=1).min())
    damping = vectors.mH @ absorptive @ vectors
    energy = values + 1j * damping.diagonal(dim1=1, dim2=2)
    coupling = 1j * damping
    coupling.diagonal(dim1=1, dim2=2).zero_()
    inside, rest = slice(tail, None), slice(0, tail)
    down, up = coupling[:, rest, inside], coupling[:, inside, rest]
    gap = energy[:, None, inside] - energy[:, rest, None]
    apart = torch.maximum(down.abs(), up.mT.abs()) < _RESONANCE * gap.abs()
    X = torch.where(apart, down / gap, 0.0)  # (matrix, tail, inside)
    Y = torch.where(apart.mT, up / gap.mT, 0.0)
    core = torch.diag_embed(energy[:, inside]) + coupling[:, inside, inside] + coupling[:, inside, rest] @ X
    inner_values, inner = torch.linalg.eig(core)
    turn = torch.eye(values.shape[1], dtype=energy.dtype, device=energy.device).repeat(len(values), 1, 1)
    turn[:, inside, rest] = -Y
    turn[:, rest, inside] = X @ inner
    turn[:, inside, inside] = inner
    tail_values = energy[:, rest] - (X * up.mT).sum(dim=2)
    basis = vectors.to(energy.dtype)
    return Eigensystem(
        torch.cat([tail_values, inner_values], dim=1), basis @ turn, torch.linalg.solve(turn, basis.mH)
    )


def waves(system: Eigensystem, incoming: Tensor, phase: Tensor) -> Tensor:
    """exp(iτA) e_in: the waves behind the foil.

    Args:
        system: of the matrices A.
        incoming: index of the incident beam of every column: (matrix, column).
        phase: τ of every column in Å²: (matrix, column).

    Returns:
        (matrix, column, n) complex.
    """
    start, turned = _start(system, incoming, phase)
    return _matmul(turned * start, system.right.mT)


def pull_back(system: Eigensystem, incoming: Tensor, phase: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """The adjoint of `waves`: from ∂L/∂ψ* (torch's convention) to P and ∂L/∂τ, dL = Re Σ P_ab dA_ab.

    Args:
        system: as for `waves`.
        incoming: as for `waves`.
        phase: as for `waves`.
        cotangent: (matrix, column, n) complex.

    Returns:
        P: (matrix, n, n) complex, and ∂L/∂τ: (matrix, column).
    """
    start, turned = _start(system, incoming, phase)
    end = _matmul(cotangent.conj(), system.right)  # b_zj = Σ_o g*_zo R_oj
    by_phase = (end * (1j * system.values[:, None, :]) * turned * start).sum(dim=2).real
    inverse, series = _differences(system.values, phase)
    first = torch.cat([end * turned, -end], dim=1)
    second = torch.cat([start.to(turned.dtype), turned * start], dim=1)
    middle = (first.mT @ second) * inverse
    half = _half(system.values, phase)
    middle = middle + ((end * half * (1j * phase)[:, :, None]).mT @ (half * start)) * series
    return _matmul(_matmul(system.left.mT, middle), system.right.mT), by_phase


def push_forward(
    system: Eigensystem, incoming: Tensor, phase: Tensor, direction: Tensor | None, phase_direction: Tensor
) -> Tensor:
    """The tangents of `waves` along several directions at once.

    Args:
        system: as for `waves`.
        incoming: as for `waves`.
        phase: as for `waves`.
        direction: dA: (direction, matrix, n, n); None for 0.
        phase_direction: dτ: (direction, matrix, column).

    Returns:
        dψ: (direction, matrix, column, n) complex.
    """
    start, turned = _start(system, incoming, phase)
    turned_start = turned * start
    moved = phase_direction[..., None] * (1j * system.values[:, None, :] * turned_start)
    if direction is not None:
        inverse, series = _differences(system.values, phase)
        half = _half(system.values, phase)
        inner = _matmul(_matmul(system.left, direction), system.right)  # (direction, matrix, n, n)
        far, close = (inner * inverse).mT, (inner * series).mT
        moved = moved + turned * _matmul(start, far) - _matmul(turned_start, far)
        moved = moved + (1j * phase)[:, :, None] * half * _matmul(half * start, close)
    return _matmul(moved, system.right.mT)


def _start(system: Eigensystem, incoming: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """Excitations c = L e_in and phase factors exp(iτλ): two (matrix, column, n)."""
    number = torch.arange(len(incoming), device=incoming.device)[:, None]
    start = system.left.mT[number, incoming]
    return start, torch.exp(1j * phase[:, :, None] * system.values[:, None, :])


def _half(values: Tensor, phase: Tensor) -> Tensor:
    return torch.exp(0.5j * phase[:, :, None] * values[:, None, :])


def _differences(values: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """1 / (λ_j - λ_l) where they are apart and 0 elsewhere; the weight of the series where they are not."""
    largest = phase.abs().amax(dim=1)[:, None, None]
    gap = values[:, :, None] - values[:, None, :]
    near = (gap * largest).abs() < NEAR[phase.dtype]
    inverse = torch.where(near, 0.0, 1.0 / torch.where(near, 1.0, gap))
    return inverse, torch.where(near, 1.0 - torch.square(gap * largest) / 24.0, 0.0)


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    """Product of a real and a complex matrix without making the real one complex."""
    if left.is_complex() == right.is_complex():
        return left @ right
    if left.is_complex():
        return torch.complex(left.real @ right, left.imag @ right)
    return torch.complex(left @ right.real, left @ right.imag)
