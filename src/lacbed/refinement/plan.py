"""Everything about a refinement that is not a parameter, and the numbers that follow from it and a state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL
from lacbed.geometry.frame import Frame
from lacbed.geometry.moving import direct_basis, grid_positions, microscope_axes
from lacbed.geometry.wave import wave_number
from lacbed.refinement.layout import Layout
from lacbed.refinement.structure import Structure, coefficients
from lacbed.solvers.hamiltonian import ProjectedHamiltonian, project
from lacbed.state import ModelState, thickness_nodes

TAPS = 6
"""Points along each lattice direction that one pixel is interpolated from (Lagrange, fifth order)."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything about a refinement that is not a parameter.

    Attributes:
        structure: the crystal's part.
        frame: the orientation.
        reflections: what is compared.
        pixels: of a side of the images.
        lookup: position of h - h' among the structure's g: (n, n).
        zero: position of g = 0 among them.
        gauge: phases that make U real, or None: (n,).
        beams: h of the waves q + h: (n, 3).
        basis: V, the Bloch waves in which the matrices stand: (n, m).
        layout: tilts, matrices and pairs.
        reduced: q of every matrix in units of `vectors`: (matrix, 2).
        anchor: G of every tilt in units of `vectors`: (tilt, 2).
        vectors: two reciprocal vectors of the zone (h, k, l): (2, 3).
        group: matrix of every tilt: (tilt,).
        source: the pair that gives each value, or one past the last for 0: (reflection, point).
        pixel: the pixel of every tilt, empty on a lattice: (tilt,).
        divisions: N; 0 if the points are the pixels themselves.
        table: number of the point at (i, j) - `corner` of the lattice: (rows, columns).
        corner: least i and j.
        excitation_error: largest |s| of the beams in 1/Å.
        binning: pixels of the experiment along a side of one pixel here.
    """

    structure: Structure
    frame: Frame
    reflections: tuple[HKL, ...]
    pixels: int
    lookup: Tensor
    zero: int
    gauge: Tensor | None
    beams: np.ndarray
    basis: Tensor
    layout: Layout
    reduced: Tensor
    anchor: Tensor
    vectors: Tensor
    group: Tensor
    source: Tensor
    pixel: Tensor
    divisions: int
    table: Tensor
    corner: tuple[int, int]
    excitation_error: float
    binning: int


def pixel_positions(state: ModelState, pixels: int) -> Tensor:
    """K of the pixels in 1/Å, ky slow: (pixel, 2)."""
    return grid_positions(state.half_width, state.tilt, state.distortion, pixels)


def zone_vectors(plan: Plan, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The zone lattice as columns in the plane of the tilts, and the beams h there, in 1/Å: (2, 2), (n, 2)."""
    direct = direct_basis(cell)
    axes = microscope_axes(direct, plan.frame.zone_axis, plan.frame.x_direction)
    rows = axes[:2] @ torch.linalg.inv(direct).T
    return rows @ plan.vectors.T, torch.as_tensor(plan.beams, dtype=torch.float64) @ rows.T


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """Everything that the waves depend on, differentiable in the state; or a change of it.

    Attributes:
        elastic: U_g in 1/Å²; that of g = 0, which is in K, is left out: (g,).
        absorptive: U'_g or None: (g,).
        plane: h in the plane of the tilts in 1/Å: (n, 2).
        squares: |h|²: (n,).
        reduced: q of every matrix in 1/Å: (matrix, 2).
        phase: τ = π t / K_n of every tilt in Å², for the nodes of the thickness: (node, tilt).
    """

    elastic: Tensor
    absorptive: Tensor | None
    plane: Tensor
    squares: Tensor
    reduced: Tensor
    phase: Tensor


def numbers(plan: Plan, state: ModelState) -> ModelInputs:
    """The numbers of a state."""
    elastic, absorptive = coefficients(plan.structure, state)
    mean_u = elastic[plan.zero].real
    elastic = elastic * (torch.arange(len(elastic)) != plan.zero)
    lattice, plane = zone_vectors(plan, state.cell)
    if plan.divisions:
        reduced = plan.reduced @ lattice.T
        tilts = reduced[plan.group] + plan.anchor @ lattice.T
    else:
        tilts = pixel_positions(state, plan.pixels)[plan.pixel]
        reduced = tilts - plan.anchor @ lattice.T
    along = torch.sqrt(torch.square(wave_number(state.energy)) - torch.square(tilts).sum(dim=1) + mean_u)
    squares = torch.square(plane).sum(dim=1)
    return ModelInputs(
        elastic, absorptive, plane, squares, reduced, math.pi * thickness_nodes(state)[0][:, None] / along
    )


def hamiltonian(plan: Plan, found: ModelInputs) -> ProjectedHamiltonian:
    """The matrices in the basis V; linear in the numbers."""
    absorptive = None if found.absorptive is None else _matrix(plan, found.absorptive)
    return project(plan.basis, elastic_matrix(plan, found), absorptive, found.plane, found.reduced)


def elastic_matrix(plan: Plan, found: ModelInputs) -> Tensor:
    """U - diag |h|² among the beams: (n, n)."""
    return _matrix(plan, found.elastic) - torch.diag(found.squares).to(plan.basis.dtype)


def rows(plan: Plan) -> Tensor:
    """V at the beams that are seen: (seen, m)."""
    return plan.basis[plan.layout.seen]


def _matrix(plan: Plan, values: Tensor) -> Tensor:
    matrix = values[plan.lookup]
    if plan.gauge is None:
        return matrix
    return (plan.gauge[:, None] * matrix * plan.gauge.conj()).real
