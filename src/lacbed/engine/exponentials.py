"""Exponentials with absorption that many tilts share, and what puts them right for each.

K varies by about 1e-4 from tilt to tilt. The exponentials are those at the mean K, and a Taylor series that acts
on the incident waves puts the difference right, long enough for any accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lacbed.engine.model import Model, polynomial

_MOST_TERMS = 40


def generator_of(model: Model, q: Tensor, centre: float, factor: float) -> Tensor:
    """The matrices i (A(q) - centre) times a factor, for a model with absorption: (n, m, m)."""
    assert model.damping is not None
    hermitian, damping = polynomial(model.matrix, q), polynomial(model.damping, q)
    hermitian.diagonal(dim1=1, dim2=2).sub_(centre)
    if hermitian.is_complex():
        return hermitian.mul_(1j).sub_(damping).mul_(factor)
    return torch.complex(damping.mul_(-factor), hermitian.mul_(factor))


@dataclass(frozen=True, eq=False)
class RowSeries:
    """What becomes of rows besides the exponential that all share: a phase, and a power series in a factor.

    Attributes:
        phase: by Å of thickness: (matrix, row, 1).
        factor: by Å of thickness: (matrix, row, 1).
        terms: of the series: (matrix, row, m) each.
    """

    phase: Tensor
    factor: Tensor
    terms: list[Tensor]

    def at(self, thickness: float) -> Tensor:
        """The sum for a thickness in Å, with the phase."""
        kind = self.terms[0].dtype
        total, factor = self.terms[0], (thickness * self.factor).to(kind)
        power = factor
        for term in self.terms[1:]:
            total = total + power * term
            power = power * factor
        return total * torch.exp(1j * thickness * self.phase).to(kind)


def taylor_series(
    level: Tensor, along: Tensor, rows: Tensor, matrix: Tensor, middle: float, thickest: float, accuracy: float
) -> RowSeries:
    """exp(πi t (A + L) (1/K - 1/K̄)) as a Taylor series acting on rows, and the phase exp(πi t L / K̄).

    L = |k|² - |q|² belongs to the row. On what a tilt excites A + L is of the order of U, so that a few terms do.

    Args:
        level: L in 1/Å², without what is left out of A: (matrix, row, 1).
        along: K in 1/Å: (matrix, row, 1).
        rows: waves that come in: (matrix, row, m).
        matrix: πi A / K̄, acting from the right: (matrix, m, m).
        middle: K̄ in 1/Å.
        thickest: t in Å.
        accuracy: absolute error that is allowed.
    """
    turn = ((1j * math.pi / middle) * level).to(rows.dtype)
    factor = middle / along - 1.0
    terms = [rows]
    change = float(factor.abs().max()) * thickest
    size = 1.0
    while size > 0.2 * accuracy and len(terms) < _MOST_TERMS:
        last, power = terms[-1], len(terms)
        terms.append((last @ matrix + turn * last) / power)
        size = change**power * float(torch.view_as_real(terms[-1]).abs().max())
    return RowSeries((math.pi / middle) * level, factor, terms)


def whole_generator(model: Model, q: Tensor, square: Tensor, centre: float, inside: float) -> Tensor:
    """The matrices 2πi [sqrt(K² + A - |q|²) - sqrt(K² + c - |q|²)]: (n, m, m), with c = `centre`.

    The root is a power series in X = (A - c) / (K² + c - |q|²), which is small.
    """
    root = torch.sqrt(inside**2 + centre - square)[:, None, None]
    step = generator_of(model, q, centre, 1.0) * (-1j / root.square())
    size = float(torch.linalg.matrix_norm(step).max())
    total, power, weight = 0.5 * step, step, 0.5
    for n in range(2, _MOST_TERMS):
        weight *= (1.5 - n) / n
        if abs(weight) * size**n * inside < 1e-10:
            break
        power = power @ step
        total = total + weight * power
    return total * (2j * math.pi * root)


def whole_phase(shift: Tensor, along: Tensor, rows: Tensor, inside: float) -> RowSeries:
    """The phase that `whole_generator` leaves out, where all terms in γ² are kept.

    Args:
        shift: c - |q|² in 1/Å²: (matrix, 1, 1).
        along: K of the tilts in 1/Å: (matrix, row, 1).
        rows: waves that come in: (matrix, row, m).
        inside: K in 1/Å.
    """
    phase = (2.0 * math.pi) * (torch.sqrt(inside**2 + shift) - along)
    return RowSeries(phase, torch.zeros_like(along), [rows])
