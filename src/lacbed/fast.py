"""`simulate(solver="fast")`: the subspace of `lacbed.solvers.subspace`, on as few tilts as the pattern needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lacbed.constants import wavelength
from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import make_frame
from lacbed.geometry.interpolation import ORDER, Nodes, Stencil, node_lattice, node_spacing
from lacbed.geometry.symmetry import matrix_count
from lacbed.settings import Settings
from lacbed.setup import Setup, prepare, solve, solve_amplitudes
from lacbed.solvers.blocks import Tick

TOLERANCE = 4e-3
"""Largest estimated error of an interpolated intensity; with more, the nodes are moved closer together."""

_GAIN = 2.0
"""Nodes are used when all pixels would take this many times as many matrices."""


@dataclass(frozen=True, eq=False)
class FastResult:
    """What `solve_fast` found.

    Attributes:
        setup: the simulation as it was solved, on pixels or on nodes.
        values: (thickness, reflection, wanted pixel).
        note: what was done.
        facts: for the metadata.
    """

    setup: Setup
    values: Tensor
    note: str
    facts: dict[str, int | float]


def solve_fast(crystal: Crystal, settings: Settings, tick: Tick | None = None) -> FastResult:
    """Values at all wanted pixels, interpolated from nodes where that takes fewer matrices.

    The error of the interpolation is estimated by a second one of lower order; nodes are moved closer together
    until it is below `TOLERANCE`, or every pixel is solved.

    Raises:
        SettingError: for a tilted foil, higher Laue zones, weak beams or paraxial=False.
    """
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    _check(settings, frame.is_flat)
    grid, inside = settings.grid.tilts(frame, settings.energy)
    tilts = grid[inside]
    matrices = matrix_count(crystal, frame, tilts)
    lattice = frame.vectors(zone_of_allowed(crystal, frame))[:, :2].T
    spacing = node_spacing(wavelength(settings.energy), max(settings.thicknesses))
    while True:
        first, second = (max(1, math.ceil(float(n) / spacing)) for n in np.linalg.norm(lattice, axis=0))
        if first * second * _GAIN > matrices:
            setup = prepare(crystal, settings)
            values = solve(setup, tick)[2]
            return FastResult(setup, values, f"{len(setup.problem.distinct[0])} matrices, no interpolation", {})
        nodes = node_lattice(lattice, tilts, (first, second))
        setup = prepare(crystal, settings, nodes.tilts)
        amplitude = solve_amplitudes(setup, tick)[2][:, torch.as_tensor(setup.reduction.source)]
        values, error = _interpolated(nodes, amplitude, tilts, settings.output == "amplitude")
        if error <= TOLERANCE:
            note = f"{len(setup.problem.distinct[0])} matrices, interpolated from {len(nodes.tilts)} tilts"
            return FastResult(setup, values, note, {"interpolation_error": error})
        spacing *= 0.75


def _check(settings: Settings, is_flat: bool) -> None:
    if not is_flat or settings.laue_zones or settings.weak_beams or not settings.paraxial:
        raise SettingError(
            "solver 'fast' holds for one Laue zone, a foil normal along the zone axis, no weak beams and "
            "paraxial=True only; use 'auto'"
        )


def _interpolated(nodes: Nodes, amplitude: Tensor, tilts: np.ndarray, as_amplitude: bool) -> tuple[Tensor, float]:
    """Values at the tilts from (thickness, reflection, node) amplitudes, and the estimated error of |ψ|²."""
    tables = [nodes.stencil(tilts, order) for order in (ORDER, ORDER - 2)]
    fine, coarse = (
        torch.stack([torch.stack([_gather(row, table) for row in rows]) for rows in amplitude]) for table in tables
    )
    intensity, rough = (a.real.square() + a.imag.square() for a in (fine, coarse))
    # The lower order errs more than the higher one by a factor that is 4 or more where both are small.
    error = float((intensity - rough).abs().max()) / 4.0
    return fine if as_amplitude else intensity, error


def _gather(values: Tensor, stencil: Stencil) -> Tensor:
    """Σ_n weights values[index]: (node,) to (tilt,)."""
    chosen = values[stencil.index]
    return (chosen * stencil.weights.to(chosen.real.dtype)).sum(dim=1)
