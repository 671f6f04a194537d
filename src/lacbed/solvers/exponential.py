"""Exponentials of stacks of matrices by products alone: quick for small matrices, on a CPU as on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

LARGEST_NORM = 0.9
"""Size to which matrices are scaled down; the Taylor series to order 8 is then good to 1e-6 of the step."""

_ROOT = math.sqrt(177.0)
_FIRST = (2.0 * (1.0 + _ROOT) / 264.0, 2.0 * (1.0 + _ROOT) / 1056.0)
_RIGHT = (
    (-271.0 + 29.0 * _ROOT) / 210.0,
    11.0 * (-1.0 + _ROOT) / 840.0,
    11.0 * (-9.0 + _ROOT) / 3360.0,
    (89.0 - _ROOT) / 2240.0,
)
_LAST = (857.0 - 58.0 * _ROOT) / 630.0


def matrix_exponential(matrices: Tensor) -> Tensor:
    """exp(A) of a stack of complex matrices by scaling and squaring.

    With B = A / 2^s, the Taylor polynomial of order 8 takes three products (Bader, Blanes & Casas, Mathematics 7
    (2019) 1174) and s squarings follow. For a nearly anti-Hermitian A nothing grows in the squarings, so that
    rounding stays near 2^s times that of one product.

    Args:
        matrices: A: (matrix, n, n), complex.

    Returns:
        (matrix, n, n).
    """
    squarings = max(0, math.ceil(math.log2(max(_largest_size(matrices.detach()), 1e-30) / LARGEST_NORM)))
    result = _taylor(matrices * 0.5**squarings)
    if result.requires_grad:  # which the saving of memory below does not allow
        for _ in range(squarings):
            result = result @ result
        return result
    spare = torch.empty_like(result)
    for _ in range(squarings):
        torch.bmm(result, result, out=spare)
        result, spare = spare, result
    return result


def _largest_size(matrices: Tensor) -> float:
    """About the largest spectral radius in the stack, rather more than less.

    |A^16|^(1/16) of the matrix with the largest norm |A|; others, which are like it, may exceed it by little.
    """
    norms = torch.view_as_real(matrices).square().sum(dim=(-3, -2, -1))
    worst = int(norms.argmax())
    scale = math.sqrt(float(norms[worst]))
    if not math.isfinite(scale) or scale == 0.0:
        return scale
    power = matrices[worst] / scale
    for _ in range(4):
        power = power @ power
    return scale * math.pow(float(torch.linalg.matrix_norm(power, ord=1)), 1.0 / 16.0)


def _taylor(B: Tensor) -> Tensor:
    """Σ_k B^k / k! to k = 8."""
    x1, x2 = _FIRST
    square = B @ B
    fourth = square @ torch.add(x1 * B, square, alpha=x2)
    left = torch.add(fourth, square, alpha=2.0 / 3.0)
    right = torch.add(_RIGHT[3] * fourth, square, alpha=_RIGHT[2]).add_(B, alpha=_RIGHT[1])
    right.diagonal(dim1=-2, dim2=-1).add_(_RIGHT[0])
    result = (left @ right).add_(B).add_(square, alpha=_LAST)
    result.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return result


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
