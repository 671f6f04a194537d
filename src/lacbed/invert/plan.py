"""Where the waves are computed: at every pixel, or on a lattice from which pixels are interpolated.

Tilts that differ by a reciprocal vector share their matrix. The pixels of an experiment seldom lie so; points
B (i, j) / N of the zone lattice B always do, and they keep the symmetry of the crystal. One lattice of N x N
matrices gives all zones, and any grid of pixels (size, centre, rotation, shear) is read from it by interpolation,
with the derivative in closed form. At the border of two zones the lists of beams differ, so that neighbouring
points carry different errors of truncation; they fall with the number of beams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL, BeamList, select_beams
from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.geometry.folding import fold_tilts
from lacbed.geometry.frame import Frame
from lacbed.geometry.symmetry import Reduction, pattern_operations, reduce_pairs
from lacbed.geometry.wave import electron_wave
from lacbed.invert.sampling import TAPS, binned_sigma
from lacbed.invert.structure import State, Structure, coefficients, direct_basis, make_structure, wave_number
from lacbed.invert.waves import Layout, Matrices, make_layout
from lacbed.potential import Absorption
from lacbed.solvers.problem import _unique_differences, build_problem

ROOM = 1.05
"""The lattice reaches this times the half-width, so that the grid may grow and move while it is fitted."""

SHARPEST = 0.45
"""Pixels from one lattice point to the next where nothing blurs fringes that pixels cannot resolve."""

Sampling = Literal["lattice", "pixels"]


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
        layout: tilts, matrices and pairs.
        reduced: q of every matrix in units of `basis`: (matrix, 2).
        anchor: G of every tilt in units of `basis`: (tilt, 2).
        basis: two reciprocal vectors of the zone (h, k, l): (2, 3).
        group: matrix of every tilt: (tilt,).
        source: the pair that gives each value, or one past the last for 0: (reflection, point).
        pixel: the pixel of every tilt, empty on a lattice: (tilt,).
        divisions: N; 0 if the points are the pixels themselves.
        table: number of the point at (i, j) - `corner` of the lattice: (rows, columns).
        corner: least i and j.
        energy: E of the weak beams in 1/Å², see `lacbed.invert.waves.Matrices`.
        margin: see `Problem.tail_margin`; 0 without absorption or for the exact general eigenproblem.
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
    layout: Layout
    reduced: Tensor
    anchor: Tensor
    basis: Tensor
    group: Tensor
    source: Tensor
    pixel: Tensor
    divisions: int
    table: Tensor
    corner: tuple[int, int]
    energy: float
    margin: float
    excitation_error: float
    binning: int


def make_plan(
    crystal: Crystal,
    frame: Frame,
    reflections: tuple[HKL, ...],
    pixels: int,
    state: State,
    *,
    beams: int,
    weak_beams: int = 0,
    factors: str = "kirkland",
    absorption: Absorption = None,
    sampling: Sampling = "lattice",
    divisions: int | None = None,
    exact: bool = False,
    binning: int = 1,
) -> Plan:
    """Choose beams, points and matrices for a crystal near a state.

    Args:
        crystal: the crystal.
        frame: its orientation; the foil must be flat.
        reflections: wanted reflections.
        pixels: of a side of the images.
        state: first values, which decide which beams take part and how far the points reach.
        beams: number of beams, completed to a whole shell.
        weak_beams: number of further beams that enter by perturbation.
        factors: scattering factors.
        absorption: model of absorption.
        sampling: "lattice" (fast) or "pixels" (every pixel is computed).
        divisions: N; default as many as make the points no further apart than the blur, at most one pixel.
        binning: pixels of the experiment along a side of one pixel here.
        exact: no separation of weakly excited waves where there is absorption.

    Raises:
        SettingError: on a foil that is not flat.
    """
    if not frame.is_flat:
        raise SettingError("refinement needs the foil normal along the zone axis; leave the foil normal out")
    energy, half = float(state.energy), float(state.half_width)
    folding = fold_tilts(crystal, frame, np.zeros((1, 2)))
    vectors = frame.vectors(folding.basis)[:, :2].T
    if sampling == "lattice":
        if divisions is None:
            softness = min(1.0, max(SHARPEST, float(binned_sigma(state.blur, binning))))
            pitch = 2.0 * half / pixels * softness
            divisions = max(4, math.ceil(float(np.linalg.norm(vectors, axis=0).max()) / pitch))
        points, table, corner = _lattice_points(vectors, divisions, half, state.tilt.numpy())
        operations = pattern_operations(crystal, frame, zolz_only=True)
    else:
        divisions = 0
        points = pixel_positions(state, pixels).detach().numpy()
        table, corner = np.zeros((1, 1), dtype=np.int64), (0, 0)
        operations = pattern_operations(crystal, frame, zolz_only=True)[:1]
    reduction = reduce_pairs(crystal, frame, points, reflections, operations, by_zone=True)
    wave = electron_wave(energy)
    anchors = reduction.folding.anchor
    chosen = select_beams(
        crystal, frame, wave, reduction.tilts, np.unique(anchors, axis=0), count=beams, weak=weak_beams
    )
    pixel = np.zeros(0, dtype=np.int64) if divisions else _pixel_of_tilt(reduction)
    reduction, source = _within(reduction, chosen)
    problem = build_problem(
        crystal, frame, wave, chosen, reduction, np.array([100.0]), factors, absorption, refraction=True
    )
    difference, index = _unique_differences(chosen.hkl)
    number, first = _groups(reduction, vectors, divisions)
    total = len(chosen.hkl)
    wide = 8 if problem.is_real and absorption is None else 32
    layout = make_layout(
        chosen.strong, number, problem.anchor.numpy(), reduction.pair_tilt, problem.pair_out.numpy(), wide
    )
    inverse = np.linalg.inv(vectors).T
    return Plan(
        structure=make_structure(crystal, difference, factors, absorption),
        frame=frame,
        reflections=reflections,
        pixels=pixels,
        lookup=torch.as_tensor(index.reshape(total, total)),
        zero=int(np.flatnonzero(np.all(difference == 0, axis=1))[0]),
        gauge=problem.gauge,
        beams=chosen.hkl,
        layout=layout,
        reduced=torch.as_tensor(reduction.folding.reduced[first] @ inverse),
        anchor=torch.as_tensor(np.round(frame.vectors(anchors)[:, :2] @ inverse)),
        basis=torch.as_tensor(folding.basis, dtype=torch.float64),
        group=torch.as_tensor(number),
        source=torch.as_tensor(source),
        pixel=torch.as_tensor(pixel),
        divisions=divisions,
        table=torch.as_tensor(table),
        corner=corner,
        energy=-2.0 / 3.0 * half**2,
        margin=0.0 if exact or absorption is None else problem.tail_margin(),
        excitation_error=chosen.excitation_error,
        binning=binning,
    )


def _within(reduction: Reduction, beams: BeamList) -> tuple[Reduction, np.ndarray]:
    """The pairs whose diffracted wave is among the beams, and `source` among these.

    The other waves q + h are so long that they are far from every Bragg condition on the grid: their intensity is
    taken as 0 (the number one past the last pair).
    """
    outgoing = beams.index(reduction.folding.anchor[reduction.pair_tilt] + reduction.pair_hkl)
    kept = (outgoing >= 0) & (outgoing < beams.strong)
    number = np.where(kept, np.cumsum(kept) - 1, kept.sum())
    smaller = replace(reduction, pair_tilt=reduction.pair_tilt[kept], pair_hkl=reduction.pair_hkl[kept])
    return smaller, number[reduction.source]


def _lattice_points(
    vectors: np.ndarray, divisions: int, half: float, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Points of the lattice that interpolation within the grid may need, and their number by (i, j)."""
    pitch = float(np.linalg.norm(vectors, axis=0).max()) / divisions
    reach = half * ROOM + TAPS / 2 * pitch
    span = reach + float(np.abs(centre).max())
    bound = np.ceil(divisions * np.abs(np.linalg.inv(vectors)).sum(axis=1) * span).astype(int) + TAPS
    i, j = np.meshgrid(*(np.arange(-b, b + 1) for b in bound), indexing="ij")
    steps = np.stack([i.ravel(), j.ravel()], axis=1)
    places = steps @ vectors.T / divisions
    wanted = np.all(np.abs(places - centre) <= reach, axis=1)
    table = np.full(i.shape, -1, dtype=np.int64)
    table.ravel()[wanted] = np.arange(wanted.sum())
    return places[wanted], table, (-int(bound[0]), -int(bound[1]))


def _groups(reduction: Reduction, vectors: np.ndarray, divisions: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrix of every tilt, and the first tilt of every matrix."""
    if not divisions:
        number = np.arange(len(reduction.tilts))
        return number, number
    steps = np.round(reduction.folding.reduced @ np.linalg.inv(vectors).T * divisions).astype(np.int64)
    _, first, number = np.unique(steps, axis=0, return_index=True, return_inverse=True)
    return number.reshape(-1), first


def _pixel_of_tilt(reduction: Reduction) -> np.ndarray:
    """The pixel of every tilt; without symmetry each pixel is one tilt."""
    order = np.empty(len(reduction.tilts), dtype=np.int64)
    order[reduction.pair_tilt[reduction.source[0]]] = np.arange(reduction.source.shape[1])
    return order


def pixel_positions(state: State, pixels: int) -> Tensor:
    """K of the pixels in 1/Å, ky slow: (pixel, 2)."""
    steps = (torch.arange(pixels, dtype=torch.float64) - pixels / 2 + 0.5) * (2.0 / pixels)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    angle, stretch, shear = state.turn[0], state.turn[1], state.turn[2]
    cosine, sine = torch.cos(angle), torch.sin(angle)
    along, across = (1.0 + stretch) * x + shear * y, (1.0 - stretch) * y + shear * x
    moved = torch.stack([cosine * along - sine * across, sine * along + cosine * across], dim=-1)
    return state.half_width * moved.reshape(-1, 2) + state.tilt


def zone_vectors(plan: Plan, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The zone lattice as columns in the plane of the tilts, and the beams h there, in 1/Å: (2, 2), (n, 2)."""
    direct = direct_basis(cell)
    reciprocal = torch.linalg.inv(direct).T
    z = direct @ torch.tensor(plan.frame.zone_axis, dtype=torch.float64)
    z = z / torch.linalg.vector_norm(z)
    x = reciprocal @ torch.tensor(plan.frame.x_direction, dtype=torch.float64)
    x = x - (x @ z) * z
    x = x / torch.linalg.vector_norm(x)
    rows = torch.stack([x, torch.linalg.cross(z, x)]) @ reciprocal
    return rows @ plan.basis.T, torch.as_tensor(plan.beams, dtype=torch.float64) @ rows.T


def geometry(plan: Plan, state: State, mean_u: Tensor) -> tuple[Tensor, Tensor]:
    """|q + h|² of every matrix and τ = π t / K_n of every tilt: (matrix, n), (tilt,).

    Args:
        plan: the plan.
        state: the state.
        mean_u: U_0 in 1/Å².
    """
    lattice, beams = zone_vectors(plan, state.cell)
    if plan.divisions:
        reduced = plan.reduced @ lattice.T
        tilts = reduced[plan.group] + plan.anchor @ lattice.T
    else:
        tilts = pixel_positions(state, plan.pixels)[plan.pixel]
        reduced = tilts - plan.anchor @ lattice.T
    diagonal = torch.square(reduced[:, None, :] + beams[None]).sum(dim=2)
    along = torch.sqrt(torch.square(wave_number(state.energy)) - torch.square(tilts).sum(dim=1) + mean_u)
    return diagonal, math.pi * state.thickness / along


def matrices(plan: Plan, state: State) -> tuple[Matrices, Tensor]:
    """The matrices of a state and τ of every tilt."""
    potential, absorptive, diagonal, phase = numbers(plan, state)
    return Matrices(potential, absorptive, diagonal, plan.layout.beams, plan.energy, border(plan, state)), phase


def numbers(plan: Plan, state: State) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """U, U', |q + h|² and τ: everything that the waves depend on, differentiable in the state."""
    elastic, absorptive = coefficients(plan.structure, state)
    diagonal, phase = geometry(plan, state, elastic[plan.zero].real)
    potential = _matrix(plan, elastic)
    potential = potential - torch.diag(potential.diagonal())  # U_0 is in K
    return potential, None if absorptive is None else _matrix(plan, absorptive), diagonal, phase


def _matrix(plan: Plan, values: Tensor) -> Tensor:
    matrix = values[plan.lookup]
    if plan.gauge is None:
        return matrix
    return (plan.gauge[:, None] * matrix * plan.gauge.conj()).real


def border(plan: Plan, state: State) -> float | None:
    """Eigenvalue below which waves are hardly excited, or None."""
    if not plan.margin:
        return None
    return -(2.0 * (ROOM * float(state.half_width.detach())) ** 2 + plan.margin)
