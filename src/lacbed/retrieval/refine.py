"""Fourier coefficients of the projected potential, refined until the exact pattern is the measured one.

Least squares in the coefficients up to a length that grows in stages, with the slopes in closed form. Absorption,
which a potential does not tell, is taken as V' = α (V - V_0) + β (V² - ⟨V²⟩): of short range around the atoms and
stronger for heavy ones, as that of phonons is. A prior holds what the pattern does not show at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.patterns.metrics import zncc_loss
from lacbed.retrieval.cell import image_of_table, table_of_image
from lacbed.retrieval.forward import Basis, Direction, Grid, make_basis, pattern_values, pattern_with_slopes
from lacbed.retrieval.symmetry_constraints import Symmetry, free_directions, symmetrised

STEPS = 12
"""Evaluations at most in each stage."""

PRIOR = 3e-4
"""What a coefficient that is wrong by what is expected costs, in units of 2 Z.

Some 1e-3 to 1e-2 of 2 Z is what the model of absorption and the coefficients beyond the reach leave unexplained;
with a weaker prior the coefficients bend to that (measured: docs/benchmarks/retrieval.md). For patterns that the
model explains exactly, 1e-5 finds the truth."""

_EXPECTED, _LEAST = 0.1, 0.01  # error of a coefficient, relative, and in units of the largest one
_ALPHA, _BETA = 0.02, 1e-4  # typical absorption, and per V
_SCALE = 0.1


@dataclass(frozen=True, eq=False)
class State:
    """What is refined.

    Attributes:
        table: V_hk in V: (2r + 1, 2r + 1) complex128.
        alpha: α.
        beta: β in 1/V.
        scale: measured intensity over computed one.
    """

    table: Tensor
    alpha: float = 0.0
    beta: float = 0.0
    scale: float = 1.0

    def absorptive(self) -> Tensor | None:
        """V'_hk without V'_0, or None without absorption."""
        if self.alpha == self.beta == 0.0:
            return None
        whole = self.alpha * self.table + self.beta * _squared(self.table)
        return _without_mean(whole)


@dataclass(frozen=True, eq=False)
class Refinement:
    """The refined state and how it came about.

    Attributes:
        state: the best.
        z: Z of the pattern before, and after every stage.
        free: number of free coefficients in the last stage.
        evaluations: of pattern and slopes, over all stages.
    """

    state: State
    z: tuple[float, ...]
    free: int
    evaluations: int


def refine(
    grid: Grid,
    target: Tensor,
    start: Tensor,
    symmetry: Sequence[Symmetry],
    *,
    reaches: Sequence[float] = (2.5, 4.0, 6.0),
    absorption: bool = True,
    prior: float = PRIOR,
    progress: Callable[[float], None] | None = None,
) -> Refinement:
    """Fit V_hk to a pattern of 000.

    Args:
        grid: pixels of the pattern.
        target: measured intensities on them, NaN where there are none: (m, m).
        start: V_hk in V: (2r + 1, 2r + 1).
        symmetry: of the potential, kept; see `lacbed.retrieval.symmetry_constraints.symmetry_of`.
        reaches: |g| in a* up to which coefficients are free, stage by stage.
        absorption: whether α and β are fitted too.
        prior: how firmly the coefficients are held at the start, see `PRIOR`.
        progress: called with the fraction done.

    Raises:
        SettingError: if the pattern has no contrast.
    """
    known = torch.isfinite(target)
    contrast = float(target[known].std()) if int(known.sum()) > 3 else 0.0
    if not contrast > 0.0:
        raise SettingError("the 000 pattern has no contrast: all pixels are equal, masked or not numbers")
    state = State(symmetrised(start.to(torch.complex128), symmetry))
    basis = make_basis(grid, _table(state))
    values = pattern_values(grid, basis, _table(state))
    state = replace(state, scale=float((values * target)[known].sum() / values[known].square().sum()))
    scores, count, free = [_z(values, target)], 0, 0
    for number, reach in enumerate(reaches):
        stage = _Stage(grid, target, known, contrast, state, start, reach, symmetry, absorption, prior)
        moved, used = stage.run()
        score = _z(computed(grid, moved), target)
        if score < scores[-1]:
            state = moved
        scores.append(min(score, scores[-1]))
        count, free = count + used, len(stage.directions)
        if progress is not None:
            progress((number + 1) / len(reaches))
    return Refinement(state, tuple(scores), free, count)


class _Stage:
    """One least-squares fit as SciPy wants it; basis of waves and shape of absorption stay what they are."""

    def __init__(
        self,
        grid: Grid,
        target: Tensor,
        known: Tensor,
        contrast: float,
        state: State,
        start: Tensor,
        reach: float,
        symmetry: Sequence[Symmetry],
        absorption: bool,
        prior: float,
    ) -> None:
        self.grid, self.target, self.known, self.state = grid, target, known, state
        self.strength = float(prior**0.5)
        self.weight = 1.0 / (contrast * float(known.sum()) ** 0.5)
        order = state.table.shape[0] // 2
        self.directions = free_directions(reach, order, symmetry)
        size = (self.directions.abs() * state.table.abs()).square().sum(dim=(1, 2)).sqrt()
        self.expected = _EXPECTED * size + _LEAST * float(_without_mean(state.table).abs().max())
        self.offset = _along(self.directions, state.table - start.to(torch.complex128))
        self.shapes: list[Tensor] = []
        if absorption:
            self.shapes = [_ALPHA * _without_mean(state.table), _BETA * _without_mean(_squared(state.table))]
        self.centric = _is_real(state.table) and all(_is_real(d) for d in self.directions)
        self.basis: Basis = make_basis(grid, self._as_real(state.table))

    def run(self) -> tuple[State, int]:
        """The state at the minimum, and the number of evaluations."""
        first = np.zeros(len(self.directions) + len(self.shapes) + 1)
        if self.shapes:
            first[-3:-1] = self.state.alpha / _ALPHA, self.state.beta / _BETA
        found = least_squares(
            self.residual, first, self.slopes, x_scale="jac", max_nfev=STEPS, ftol=1e-4, xtol=1e-5
        )
        return self.at(found.x)[0], int(found.nfev + found.njev)

    def at(self, values: FloatArray) -> tuple[State, Tensor | None]:
        """State and V' of parameters: coefficients in units of what is expected, absorption, ln of the scale."""
        p = len(self.directions)
        steps = torch.as_tensor(values[:p]) * self.expected
        table = self.state.table + torch.tensordot(steps.to(torch.complex128), self.directions, dims=1)
        scale = self.state.scale * float(np.exp(_SCALE * values[-1]))
        if not self.shapes:
            return State(table, scale=scale), None
        alpha, beta = float(values[p]), float(values[p + 1])
        damping = alpha * self.shapes[0] + beta * self.shapes[1]
        return State(table, alpha * _ALPHA, beta * _BETA, scale), self._as_real(damping)

    def residual(self, values: FloatArray) -> FloatArray:
        """Differences of the patterns in units of the contrast, then the prior."""
        state, damping = self.at(values)
        computed = pattern_values(self.grid, self.basis, self._as_real(state.table), damping)
        off = (state.scale * computed - self.target)[self.known] * self.weight
        return np.asarray(torch.cat([off, self._prior(values)]).numpy())

    def slopes(self, values: FloatArray) -> FloatArray:
        """Derivatives of `residual`: (row, parameter)."""
        state, damping = self.at(values)
        nothing = self._as_real(torch.zeros_like(state.table))
        moves: list[Direction] = [
            (self._as_real(e * d), None) for e, d in zip(self.expected, self.directions, strict=True)
        ]
        moves += [(nothing, self._as_real(shape)) for shape in self.shapes]
        computed, change = pattern_with_slopes(self.grid, self.basis, self._as_real(state.table), damping, moves)
        rows = torch.cat([state.scale * change, _SCALE * state.scale * computed[None]])
        upper = rows[:, self.known].mT * self.weight
        lower = torch.zeros(len(self.directions), len(rows), dtype=upper.dtype)
        lower[:, : len(lower)] = torch.eye(len(lower), dtype=upper.dtype) * self.strength
        return np.asarray(torch.cat([upper, lower]).numpy())

    def _prior(self, values: FloatArray) -> Tensor:
        p = len(self.directions)
        return (torch.as_tensor(values[:p]) + self.offset / self.expected) * self.strength

    def _as_real(self, table: Tensor) -> Tensor:
        return table.real if self.centric else table


def computed(grid: Grid, state: State) -> Tensor:
    """The pattern of a state in a basis of its own, as a fraction of the incident intensity: (m, m)."""
    table, damping = _table(state), state.absorptive()
    if damping is not None and not table.is_complex():
        damping = damping.real
    return pattern_values(grid, make_basis(grid, table), table, damping)


def _table(state: State) -> Tensor:
    return state.table.real if _is_real(state.table) else state.table


def _is_real(table: Tensor) -> bool:
    return float(table.imag.abs().max()) <= 1e-9 * float(table.abs().max() + 1e-30)


def _along(directions: Tensor, change: Tensor) -> Tensor:
    """Components of a change of the table: (p,)."""
    components: Tensor = torch.tensordot(directions.conj(), change, dims=2).real
    return components


def _squared(table: Tensor) -> Tensor:
    """The table of V² up to the same order."""
    order = table.shape[0] // 2
    image = image_of_table(table, 4 * order + 4)
    return table_of_image(image.square(), order)


def _without_mean(table: Tensor) -> Tensor:
    changed = table.clone()
    changed[table.shape[0] // 2, table.shape[0] // 2] = 0.0
    return changed


def _z(values: Tensor, target: Tensor) -> float:
    return float(zncc_loss(values, target))
