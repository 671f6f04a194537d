"""The wave exp(iτA) e and its derivatives, exact at degenerate eigenvalues.

With A = R λ L, L = R⁻¹, the derivative of the exponential in a direction dA is (Daleckii & Krein, AMS Transl. (2)
47 (1965) 1; Higham, Functions of Matrices, 2008, theorem 3.11)

    d exp(iτA) = R (Φ ∘ L dA R) L,    Φ_jl = (exp(iτλ_j) - exp(iτλ_l)) / (λ_j - λ_l),  Φ_jj = iτ exp(iτλ_j).

No eigenvector is differentiated, so that nothing diverges where eigenvalues meet (every zone axis). Φ differs from
column to column by τ, but its numerator is a difference of products: Σ over the columns of one matrix are
matrix products, and the division by λ_j - λ_l is done once. Where |τ (λ_j - λ_l)| is small the middle
iτ exp(iτ (λ_j + λ_l) / 2) (1 - (τ (λ_j - λ_l))² / 24) is taken instead.

A may stand in a basis V of few waves; the beams are then the rows of V.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

NEAR = {torch.float64: 1e-5, torch.float32: 1e-2}
"""|τ (λ_j - λ_l)| below which the series is taken: the difference would lose too many digits."""


@dataclass(frozen=True, eq=False)
class Eigensystem:
    """A = R λ L of a stack of matrices, and the same seen by the beams.

    Attributes:
        values: λ, real for Hermitian matrices: (matrix, m).
        right: R: (matrix, m, m).
        left: L = R⁻¹: (matrix, m, m).
        outgoing: V R: (matrix, beam, m).
        incoming: (L V†)ᵀ: (matrix, beam, m).
    """

    values: Tensor
    right: Tensor
    left: Tensor
    outgoing: Tensor
    incoming: Tensor


def eigensystem(hermitian: Tensor, absorptive: Tensor | None, rows: Tensor | None = None) -> Eigensystem:
    """Eigenvalues and eigenvectors of H + iW.

    Args:
        hermitian: H: (matrix, m, m), real symmetric or Hermitian.
        absorptive: W: (m, m) or None.
        rows: V, what each beam is in the basis of the matrices: (beam, m); None if the basis are the beams.
    """
    if absorptive is None:
        values, right = torch.linalg.eigh(hermitian)
        left = right.mH
    else:
        values, right = torch.linalg.eig(hermitian + 1j * absorptive)
        left = torch.linalg.inv(right)
    if rows is None:
        return Eigensystem(values, right, left, right, left.mT)
    return Eigensystem(values, right, left, matmul(rows, right), matmul(rows.conj(), left.mT))


def in_single(system: Eigensystem) -> Eigensystem:
    """The same for `waves` in single precision, but for the eigenvalues, whose phases need all digits."""
    kind = torch.complex64 if system.outgoing.is_complex() else torch.float32
    return replace(system, outgoing=system.outgoing.to(kind), incoming=system.incoming.to(kind))


def waves(system: Eigensystem, incoming: Tensor, phase: Tensor) -> Tensor:
    """exp(iτA) e_in: the waves behind the foil.

    Args:
        system: of the matrices A.
        incoming: index of the incident beam of every column: (matrix, column).
        phase: τ of every column in Å²: (matrix, column).

    Returns:
        (matrix, column, beam) complex.
    """
    start, turned = _start(system, incoming, phase)
    return matmul(turned * start, system.outgoing.mT)


def pull_back(system: Eigensystem, incoming: Tensor, phase: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """The adjoint of `waves`: from ∂L/∂ψ* (torch's convention) to P and ∂L/∂τ, dL = Re Σ P_ab dA_ab.

    Args:
        system: as for `waves`.
        incoming: as for `waves`.
        phase: as for `waves`.
        cotangent: (matrix, column, beam) complex.

    Returns:
        P: (matrix, m, m) complex, and ∂L/∂τ: (matrix, column).
    """
    start, turned = _start(system, incoming, phase)
    end = matmul(cotangent.conj(), system.outgoing)  # b_zj = Σ_o g*_zo (V R)_oj
    by_phase = (end * (1j * system.values[:, None, :]) * turned * start).sum(dim=2).real
    inverse, series = _differences(system.values, phase)
    first = torch.cat([end * turned, -end], dim=1)
    second = torch.cat([start.to(turned.dtype), turned * start], dim=1)
    middle = (first.mT @ second) * inverse
    half = _half(system.values, phase)
    middle = middle + ((end * half * (1j * phase)[:, :, None]).mT @ (half * start)) * series
    return matmul(matmul(system.left.mT, middle), system.right.mT), by_phase


def push_forward(
    system: Eigensystem, incoming: Tensor, phase: Tensor, directions: list[tuple[Tensor | None, Tensor]]
) -> list[Tensor]:
    """The tangents of `waves` along several directions.

    Args:
        system: as for `waves`.
        incoming: as for `waves`.
        phase: as for `waves`.
        directions: dA, (matrix, m, m) or (m, m) or None for 0, and dτ, (matrix, column), of each.

    Returns:
        dψ of each: (matrix, column, beam) complex.
    """
    start, turned = _start(system, incoming, phase)
    turned_start = turned * start
    inverse, series = _differences(system.values, phase)
    along = 1j * phase[:, :, None] * turned_start
    diagonal = series.diagonal(dim1=1, dim2=2)
    meeting = bool((series.count_nonzero(dim=(1, 2)) > series.shape[1]).any())
    half = _half(system.values, phase) if meeting else None
    result = []
    for change, phase_change in directions:
        moved = phase_change[..., None] * (1j * system.values[:, None, :] * turned_start)
        if change is not None:
            inner = matmul(matmul(system.left, change), system.right)
            far = (inner * inverse).mT
            moved = moved + turned * matmul(start, far) - matmul(turned_start, far)
            if half is None:  # no two eigenvalues meet
                moved = moved + along * (inner.diagonal(dim1=1, dim2=2) * diagonal)[:, None, :]
            else:
                close = (inner * series).mT
                moved = moved + (1j * phase)[:, :, None] * half * matmul(half * start, close)
        result.append(matmul(moved, system.outgoing.mT))
    return result


def _start(system: Eigensystem, incoming: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """Excitations c = L V† e_in and phase factors exp(iτλ): two (matrix, column, m)."""
    number = torch.arange(len(incoming), device=incoming.device)[:, None]
    start = system.incoming[number, incoming]
    turned = torch.exp(1j * phase[:, :, None] * system.values[:, None, :])
    return start, turned.to(torch.complex64) if start.dtype in (torch.float32, torch.complex64) else turned


def _half(values: Tensor, phase: Tensor) -> Tensor:
    return torch.exp(0.5j * phase[:, :, None] * values[:, None, :])


def _differences(values: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """1 / (λ_j - λ_l) where they are apart and 0 elsewhere; the weight of the series where they are not."""
    largest = phase.abs().amax(dim=1)[:, None, None]
    gap = values[:, :, None] - values[:, None, :]
    near = (gap * largest).abs() < NEAR[phase.dtype]
    inverse = torch.where(near, 0.0, 1.0 / torch.where(near, 1.0, gap))
    return inverse, torch.where(near, 1.0 - torch.square(gap * largest) / 24.0, 0.0)


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Product of a real and a complex matrix without making the real one complex."""
    if left.is_complex() == right.is_complex():
        return left @ right
    if left.is_complex():
        return torch.complex(left.real @ right, left.imag @ right)
    return torch.complex(left @ right.real, left @ right.imag)
