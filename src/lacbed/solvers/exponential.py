"""Exponentials of stacks of matrices by products alone: quick for small matrices, on a CPU as on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from lacbed.crystals.cell import FloatArray

LARGEST_NORM = 1.6
"""Spectral radius to which matrices are scaled down; the polynomial of degree 8 is then good to 0.7e-6 a step."""

_DEGREE = 8

PORTION = 2**20
"""Bytes of matrices that a CPU works on at once; with what belongs to them they fit its caches."""


@dataclass(frozen=True)
class _Scheme:
    """A polynomial of degree 8 in three products.

    With B₂ = B² and B₄ = B₂ (x₁ B + B₂) it is

        y₀ + y₁ B + y₂ B₂ + (x₃ B₂ + B₄) (x₄ + x₅ B + x₆ B₂ + x₇ B₄).
    """

    x1: float
    x3: float
    right: tuple[float, float, float, float]
    low: tuple[float, float, float]


def _chebyshev(radius: float) -> FloatArray:
    """Coefficients of B⁰ ... B⁸ in the Chebyshev expansion of exp(B), B = i r y with |y| up to 1.

    exp(i r y) = J₀(r) + 2 Σ iᵏ J_k(r) T_k(y). Its largest error is 1 / 2⁸ of that of Taylor's polynomial, which
    saves one squaring.
    """
    k = np.arange(_DEGREE + 1)
    found = np.zeros(_DEGREE + 1)
    for values, first in ((np.cos, 0), (np.sin, 1)):
        series = chebyshev.Chebyshev.interpolate(values, 64, domain=[-radius, radius]).coef
        powers = chebyshev.cheb2poly(series[: _DEGREE + 1])
        found += np.where(k % 2 == first, (-1.0) ** ((k - first) // 2) * powers, 0.0)
    return found / radius**k


def _scheme(c: FloatArray) -> _Scheme:
    """The coefficients of the scheme for Σ c_k B^k, found by comparing powers from the highest down."""
    x3 = np.polynomial.Polynomial([0.0, 1.0])
    x1, x7 = c[7] / (2.0 * c[8]), c[8]
    x6 = c[6] - x1**2 * x7 - x3 * x7
    x5 = c[5] - x1 * x6 - x3 * x1 * x7
    x4 = c[4] - x1 * x5 - x3 * x6
    root = max((x1 * x4 + x3 * x5 - c[3]).roots().real)
    right = (float(x4(root)), float(x5(root)), float(x6(root)), float(x7))
    return _Scheme(float(x1), float(root), right, (float(c[0]), float(c[1]), float(c[2] - root * x4(root))))


_EXP = _scheme(_chebyshev(LARGEST_NORM))

_FINE_NORM = 0.8
"""The same where more digits are asked for: good to 2e-9 a step, for one squaring more."""

_FINE = _scheme(_chebyshev(_FINE_NORM))

_FEW = 8
"""Random vectors with which the norm of a power of a matrix larger than `_SMALL` is estimated."""

_SMALL = 192
"""Size of a matrix up to which its 16th power is multiplied out instead."""


def matrix_exponential(matrices: Tensor, fine: bool = False) -> Tensor:
    """exp(A) of a stack of complex, nearly anti-Hermitian matrices by scaling and squaring.

    With B = A / 2^s, the Chebyshev polynomial of degree 8 takes three products (Bader, Blanes, Casas & Seydaoğlu,
    Math. Comput. Simul. 194 (2022) 383) and s squarings follow. Nothing grows in the squarings, so that rounding
    stays near 2^s times that of one product.

    Args:
        matrices: A, of like size in all of the stack, with eigenvalues near the imaginary axis (at -1 the
            polynomial is off by 2e-4): (matrix, n, n), complex.
        fine: whether errors of 1e-7 matter, in double precision.

    Returns:
        (matrix, n, n).
    """
    largest, scheme = (_FINE_NORM, _FINE) if fine else (LARGEST_NORM, _EXP)
    squarings = max(0, math.ceil(math.log2(max(_spectral_radius(matrices.detach()), 1e-30) / largest)))
    if matrices.requires_grad:  # which the saving of memory below does not allow
        result = _polynomial(scaled(matrices, 0.5**squarings), scheme)
        for _ in range(squarings):
            result = result @ result
        return result
    pieces = [
        _squared(_polynomial(scaled(part, 0.5**squarings), scheme), squarings) for part in _portions(matrices)
    ]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _portions(matrices: Tensor) -> tuple[Tensor, ...]:
    """The stack in parts between which a CPU need not fetch intermediate results from memory."""
    if matrices.device.type != "cpu":
        return (matrices,)
    each = max(1, matrices.shape[-1] ** 2 * matrices.element_size())
    return torch.split(matrices, max(1, PORTION // each))


def _squared(result: Tensor, times: int) -> Tensor:
    """The 2^times-th power of matrices, which are overwritten."""
    spare = torch.empty_like(result)
    for _ in range(times):
        torch.bmm(result, result, out=spare)
        result, spare = spare, result
    return result


def _spectral_radius(matrices: Tensor) -> float:
    """About the largest spectral radius in the stack, rather more than less.

    |A^16|^(1/16) of the matrix with the largest norm |A|; others are like it, and may exceed it by little. Norms
    are Frobenius', of real and imaginary parts, which is many times faster than of complex numbers. Of large
    matrices |A^16| is found from what A^16 makes of a few vectors of random signs, to about 2 % in the root
    (Hutchinson, Commun. Stat. Simul. Comput. 18 (1989) 1059).
    """
    if matrices.numel() == 0:
        return 0.0
    norms = torch.linalg.vector_norm(torch.view_as_real(matrices).flatten(1), dim=1)
    worst = int(norms.argmax())
    size = matrices.shape[-1]
    scale = float(norms[worst]) / math.pow(size, 0.25)  # between the least and the largest that the radius may be
    if not math.isfinite(scale) or scale == 0.0:
        return scale
    power = matrices[worst] / scale
    if size <= _SMALL:
        for _ in range(4):
            power = power @ power
        found = torch.linalg.vector_norm(torch.view_as_real(power))
    else:
        signs = np.random.default_rng(size).choice((-1.0, 1.0), (size, _FEW))
        vectors = torch.as_tensor(signs, device=power.device).to(power.dtype)
        for _ in range(16):
            vectors = power @ vectors
        found = torch.linalg.vector_norm(torch.view_as_real(vectors)) / math.sqrt(_FEW)
    return scale * math.pow(float(found), 1.0 / 16.0)


def _polynomial(B: Tensor, scheme: _Scheme) -> Tensor:
    """exp(B) to degree 8 by one of the schemes above."""
    x4, x5, x6, x7 = scheme.right
    y0, y1, y2 = scheme.low
    # Sums with real weights run over real and imaginary parts as they lie in memory, several times faster.
    first, square = torch.view_as_real(B), B @ B
    second = torch.view_as_real(square)
    fourth = torch.view_as_real(square @ torch.view_as_complex(torch.add(second, first, alpha=scheme.x1)))
    left = torch.view_as_complex(torch.add(fourth, second, alpha=scheme.x3))
    right = torch.view_as_complex(torch.add(x7 * fourth, second, alpha=x6).add_(first, alpha=x5))
    right.diagonal(dim1=-2, dim2=-1).add_(x4)
    result = left @ right
    torch.view_as_real(result).add_(first, alpha=y1).add_(second, alpha=y2)
    result.diagonal(dim1=-2, dim2=-1).add_(y0)
    return result


def scaled(matrices: Tensor, factor: Tensor | float) -> Tensor:
    """Complex matrices times a real number: as many products of real numbers as there are numbers."""
    return torch.view_as_complex(torch.view_as_real(matrices) * factor)


def propagators(generator: Tensor, thicknesses: Tensor, fine: bool = False) -> Iterator[tuple[int, Tensor]]:
    """exp(A t) for every thickness, thin ones first; equal steps cost one product each.

    Args:
        generator: A in 1/Å: (matrix, n, n), complex.
        thicknesses: in Å: (thickness,).
        fine: see `matrix_exponential`.

    Yields:
        position of the thickness and exp(A t): (matrix, n, n).
    """
    order = torch.argsort(thicknesses)
    steps: dict[float, Tensor] = {}
    reached, result = 0.0, None
    for position in order.tolist():
        step = round(float(thicknesses[position]) - reached, 9)
        if step > 0 or result is None:
            if step not in steps:
                steps = {step: matrix_exponential(generator * step, fine)}  # hold one step, not all
            result = steps[step] if result is None else result @ steps[step]
            reached += step
        yield position, result
