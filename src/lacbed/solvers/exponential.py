"""Exponentials of stacks of matrices by products alone: quick for small matrices, on a CPU as on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

LARGEST_NORM = 0.8
"""Norm to which matrices are scaled down; the Taylor series to order 8 is then good to 4e-7 of the step."""

_COEFFICIENTS = [1.0 / math.factorial(k) for k in range(9)]


def matrix_exponential(matrices: Tensor) -> Tensor:
    """exp(A) of a stack of complex matrices by scaling and squaring.

    With B = A / 2^s, the Taylor polynomial of order 8 in the form of Paterson and Stockmeyer (SIAM J. Comput. 2
    (1973) 60) takes four products and s squarings follow. For a nearly anti-Hermitian A nothing grows in the
    squarings, so that rounding stays near 2^s times that of one product.

    Args:
        matrices: A: (matrix, n, n), complex.

    Returns:
        (matrix, n, n).
    """
    squarings = max(0, math.ceil(math.log2(max(_largest_stretch(matrices.detach()), 1e-30) / LARGEST_NORM)))
    scaled = matrices * 0.5**squarings
    result = _taylor(scaled)
    if result.requires_grad:  # which the saving of memory below does not allow
        for _ in range(squarings):
            result = result @ result
        return result
    spare = torch.empty_like(result)
    for _ in range(squarings):
        torch.bmm(result, result, out=spare)
        result, spare = spare, result
    return result


def _largest_stretch(matrices: Tensor) -> float:
    """Upper bound of the spectral norm: sqrt(|A|_1 |A|_∞), never less than the spectral radius."""
    size = matrices.abs()
    return math.sqrt(float(size.sum(dim=-1).max()) * float(size.sum(dim=-2).max()))


def _taylor(B: Tensor) -> Tensor:
    """Σ_k B^k / k! to k = 8."""
    c = _COEFFICIENTS
    square = B @ B
    cube = square @ B
    high = torch.add(c[7] * B, square, alpha=c[8])
    high.diagonal(dim1=-2, dim2=-1).add_(c[6])
    middle = (high @ cube).add_(B, alpha=c[4]).add_(square, alpha=c[5])
    middle.diagonal(dim1=-2, dim2=-1).add_(c[3])
    low = (middle @ cube).add_(B, alpha=c[1]).add_(square, alpha=c[2])
    low.diagonal(dim1=-2, dim2=-1).add_(c[0])
    return low


def propagators(generator: Tensor, thicknesses: Tensor) -> Iterator[tuple[int, Tensor]]:
    """exp(A t) for every thickness, thin ones first; equal steps cost one product each.

    Args:
        generator: A in 1/Å: (matrix, n, n), complex.
        thicknesses: in Å: (thickness,).

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
                steps = {step: matrix_exponential(generator * step)}  # hold one step, not all
            result = steps[step] if result is None else result @ steps[step]
            reached += step
        yield position, result
