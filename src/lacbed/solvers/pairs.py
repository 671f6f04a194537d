"""Wanted pairs (tilt, reflection) that share a stack of matrices, and their propagation through the foil."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lacbed.solvers.blocks import stack_rows


@dataclass(frozen=True, eq=False)
class Pairs:
    """Wanted pairs that share a stack of matrices.

    Attributes:
        group: which matrix of the stack each pair belongs to: (pair,).
        incoming: beam index of the incident wave: (pair,).
        outgoing: beam index of the diffracted wave: (pair,).
        shift: added to the eigenvalues, so that the incident wave in vacuum has 0: (pair,).
        scale: from eigenvalue to γ in 1/Å, for example 1 / 2K_n: (pair,).
        along: n·K in 1/Å, to solve γ² + 2 K_n γ = λ for γ; None for γ = λ / 2K_n: (pair,).
        margin: waves whose eigenvalue lies this far below the incident one count as tail (absorption only).
    """

    group: Tensor
    incoming: Tensor
    outgoing: Tensor
    shift: Tensor
    scale: Tensor
    margin: float
    along: Tensor | None = None

    def gamma(self, values: Tensor) -> Tensor:
        """γ in 1/Å of every pair's Bloch waves, from the eigenvalues of the stack: (matrix, n) to (pair, n)."""
        gamma = (values[self.group] + self.shift[:, None]) * self.scale[:, None]
        if self.along is None:
            return gamma
        along = self.along[:, None]
        return gamma * (2.0 * along) / ((along * along + 2.0 * along * gamma).sqrt() + along)


def propagate(weight: Tensor, gamma: Tensor, thicknesses: Tensor) -> Tensor:
    """Σ_j weight_j exp(2πi γ_j t) for every thickness: (pair, n), (pair, n), (t,) to (t, pair).

    Equal steps of thickness cost one exponential in all; γ may be complex.
    """
    steps = thicknesses.diff()
    even = len(steps) > 1 and bool((steps - steps[0]).abs().max() <= 1e-12 * thicknesses.abs().max())
    uniform = even and bool(steps[0] >= 0)  # stepping back would amplify what absorption has taken

    def sums() -> Iterator[Tensor]:
        current = torch.empty(0)
        for t in thicknesses[:1] if uniform else thicknesses:
            current = _phase_factor(gamma, float(t)) * weight
            yield current.sum(dim=1)
        if uniform:
            step = _phase_factor(gamma, float(steps[0]))
            for _ in range(len(steps)):
                current = current * step
                yield current.sum(dim=1)

    return stack_rows(sums(), len(thicknesses))


def _phase_factor(gamma: Tensor, t: float) -> Tensor:
    """exp(2πi γ t)."""
    if gamma.is_complex():
        return torch.exp(gamma * (2j * math.pi * t))
    angle = gamma * (2.0 * math.pi * t)
    return torch.complex(torch.cos(angle), torch.sin(angle))
