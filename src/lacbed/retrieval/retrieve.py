"""From a 000 pattern to the projected potential: the first answer, and what refinement makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lacbed.errors import SettingError
from lacbed.identification.predictors import Target, target_of
from lacbed.learn.symmetry import OPERATIONS, apply_to_pattern
from lacbed.patterns.metrics import zncc_loss
from lacbed.retrieval.cell import image_of_table, resized, table_of_image
from lacbed.retrieval.forward import (
    RECIPROCITY,
    Foil,
    Operation,
    make_basis,
    make_grid,
    pattern_values,
)
from lacbed.retrieval.refine import State, computed, refine
from lacbed.retrieval.start import check_start, half_width, sample, similar_potential
from lacbed.retrieval.symmetry_constraints import Symmetry, symmetry_of

if TYPE_CHECKING:
    import xarray as xr

ORDER = 24
"""Coefficients up to this |h| and |k| are kept of a start."""

PIXELS = 128
"""Of the potential that comes out."""

REACHES = (2.5, 4.0, 6.0)
"""|g| in a* up to which coefficients are free, stage by stage."""

SAME = 0.02
"""Z below which a pattern counts as equal to itself after an operation."""

_GROUPS: tuple[tuple[Operation, ...], ...] = (
    OPERATIONS,
    OPERATIONS[:4],
    (*RECIPROCITY, OPERATIONS[4], OPERATIONS[7]),
    RECIPROCITY,
)
"""4mm, 2mm along the axes, 2mm along the diagonals, 2."""


@dataclass(frozen=True, eq=False)
class Retrieval:
    """A potential and how it explains the pattern.

    Attributes:
        foil: what was given.
        start: mean potential along the beam in V, as it was first: (n, n), pixel i at i / n.
        potential: as it is after refinement; `start` without one.
        start_table, table: V_hk in V of both: (2r + 1, 2r + 1), first k, then h.
        symmetry: operations that were kept.
        axis: pixels at which patterns are compared, in a*: (m,).
        measured: the pattern there: (m, m).
        before, after: patterns of both potentials, without absorption before.
        z: Z of the pattern: before, and after every stage.
        free: number of free coefficients.
        state: absorption and scale.
    """

    foil: Foil
    start: Tensor
    potential: Tensor
    start_table: Tensor
    table: Tensor
    symmetry: tuple[Symmetry, ...]
    axis: Tensor
    measured: Tensor
    before: Tensor
    after: Tensor
    z: tuple[float, ...]
    free: int
    state: State


def retrieve(
    pattern: Target | xr.DataArray,
    foil: Foil,
    start: Tensor | None = None,
    *,
    refined: bool = True,
    absorption: bool = True,
    reaches: Sequence[float] = REACHES,
    divisions: int = 4,
    progress: Callable[[float], None] | None = None,
) -> Retrieval:
    """Find the projected potential of a square zone from its pattern of 000.

    The answer is one of those that 000 cannot tell apart; see docs/physics.md#same-000.

    Args:
        pattern: with 000 among its reflections; of several thicknesses choose one with
            `lacbed.identification.predictors.target_of`.
        foil: lattice parameter, thickness and energy.
        start: mean potential along the beam in V, (n, n); by default that of the crystal with the most similar
            pattern, see `lacbed.retrieval.start.similar_potential`.
        refined: whether to refine it; otherwise it is only compared with the pattern.
        absorption: whether absorption is fitted.
        reaches: |g| in a* up to which coefficients are free, stage by stage.
        divisions: pixels compared for each a*.
        progress: called with the fraction done.

    Raises:
        SettingError: if the pattern is too small or has no contrast, or a number makes no sense.
    """
    _check(reaches, divisions)
    target = pattern if isinstance(pattern, Target) else target_of(pattern)
    if start is None:
        start = similar_potential(target, foil)[0]
    check_start(start)
    extent = min(4, math.floor(half_width(target, foil) + 1e-3))
    if extent < 1:
        raise SettingError(
            f"the pattern reaches ±{half_width(target, foil):.3g} a*, retrieval needs at least ±1 a*; check the "
            "lattice parameter"
        )
    order = min(ORDER, (start.shape[-1] - 1) // 2)
    table = resized(table_of_image(start, order), ORDER)
    measured = _measured(target, foil, extent, divisions)
    group = pattern_group(measured)
    symmetry = symmetry_of(table, group)
    grid = make_grid(foil, divisions, extent, _shared(symmetry))
    first = _start_table(table)
    before = pattern_values(grid, make_basis(grid, first), first)
    state, free = State(table), 0
    z: tuple[float, ...] = (float(zncc_loss(before, measured)),)
    if refined:
        found = refine(grid, measured, table, symmetry, reaches=reaches, absorption=absorption, progress=progress)
        state, z, free = found.state, found.z, found.free
    return Retrieval(
        foil=foil,
        start=image_of_table(table, PIXELS),
        potential=image_of_table(state.table, PIXELS),
        start_table=table,
        table=state.table,
        symmetry=tuple(symmetry),
        axis=grid.axis,
        measured=measured,
        before=before,
        after=computed(grid, state),
        z=z,
        free=free,
        state=state,
    )


def _check(reaches: Sequence[float], divisions: int) -> None:
    if not reaches or any(not 1.0 <= r <= ORDER for r in reaches) or list(reaches) != sorted(reaches):
        raise SettingError(f"reaches must rise from at least 1 to at most {ORDER} a*, got {list(reaches)}")
    if not 2 <= divisions <= 64:
        raise SettingError(f"divisions must be between 2 and 64 pixels per a*, got {divisions}")


def _measured(target: Target, foil: Foil, extent: int, divisions: int) -> Tensor:
    m = 2 * extent * divisions
    axis = (torch.arange(m) - m / 2 + 0.5).double() / divisions
    return torch.as_tensor(sample(target, (axis / foil.lattice_parameter).numpy()))


def pattern_group(pattern: Tensor) -> tuple[Operation, ...]:
    """The largest group of operations that a pattern of 000 has: 4mm, 2mm or 2, the last by reciprocity."""
    for group in _GROUPS:
        if all(float(zncc_loss(pattern, apply_to_pattern(pattern, o))) <= SAME for o in group):
            return group
    return RECIPROCITY


def _shared(symmetry: Sequence[Symmetry]) -> tuple[Operation, ...]:
    """The largest group that the pattern has because the potential has it, up to inversion."""
    has = {operation for operation, _ in symmetry}
    has |= {(swap, not up, not across) for swap, up, across in has}
    return next(group for group in _GROUPS if set(group) <= has)


def _start_table(table: Tensor) -> Tensor:
    centred = float(table.imag.abs().max()) <= 1e-9 * float(table.abs().max())
    return table.real if centred else table
