"""Where the waves are computed: at every pixel, or on a lattice from which pixels are interpolated.

Tilts that differ by a reciprocal vector share their matrix. The pixels of an experiment seldom lie so; points
B (i, j) / N of the zone lattice B always do, and they keep the symmetry of the crystal. One lattice of N x N
matrices gives all zones, and any grid of pixels (size, centre, rotation, shear) is read from it by interpolation,
with the derivative in closed form. At the border of two zones the lists of beams differ, so that neighbouring
points carry different errors of truncation; they fall with the number of beams, which cost little here, for the
matrices stand in a basis of the Bloch waves that take part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL, BeamList, select_beams
from lacbed.crystals import Crystal
from lacbed.differentiable import binned_sigma
from lacbed.errors import SettingError
from lacbed.geometry.folding import fold_tilts
from lacbed.geometry.frame import Frame
from lacbed.geometry.interpolation import node_spacing
from lacbed.geometry.symmetry import PatternOperation, Reduction, pattern_operations, reduce_pairs
from lacbed.geometry.wave import electron_wave, wave_number
from lacbed.potential import Absorption
from lacbed.refinement.layout import make_layout
from lacbed.refinement.plan import TAPS, Plan, elastic_matrix, numbers, pixel_positions
from lacbed.refinement.structure import make_structure
from lacbed.solvers.problem import build_problem, unique_differences
from lacbed.solvers.subspace import wave_basis
from lacbed.state import ModelState

ROOM = 1.05
"""The lattice reaches this times the half-width, so that the grid may grow and move while it is fitted."""

COARSEST = 0.7
"""Pixels from one point of the lattice to the next at most, for a blur that may yet become less."""

MARGIN = 1.25
"""Transverse energy in 1/Å² above that of the highest tilt up to which Bloch waves are kept."""

Sampling = Literal["lattice", "pixels", "auto"]


def make_plan(
    crystal: Crystal,
    frame: Frame,
    reflections: tuple[HKL, ...],
    pixels: int,
    state: ModelState,
    *,
    beams: int,
    factors: str = "kirkland",
    absorption: Absorption = None,
    sampling: Sampling = "lattice",
    divisions: int | None = None,
    margin: float | None = MARGIN,
    binning: int = 1,
    finer: float = 1.0,
    symmetric: bool = True,
) -> Plan:
    """Choose beams, points, matrices and Bloch waves for a crystal near a state.

    Args:
        crystal: the crystal.
        frame: its orientation; the foil must be flat.
        reflections: wanted reflections.
        pixels: of a side of the images.
        state: first values, which decide which beams and waves take part and how far the points reach.
        beams: number of beams, completed to a whole shell.
        factors: scattering factors.
        absorption: model of absorption.
        sampling: "lattice", "pixels" (every pixel is computed), or "auto" for what takes fewer matrices.
        divisions: N; default as many as blur and thickness ask for, see `lattice_divisions`.
        margin: see `MARGIN`; None to keep all waves, so that nothing is left out.
        binning: pixels of the experiment along a side of one pixel here.
        finer: factor on the default of `divisions`.
        symmetric: whether the crystal keeps its symmetry whatever the parameters; a strained one does not.

    Raises:
        SettingError: on a foil that is not flat.
    """
    if not frame.is_flat:
        raise SettingError("refinement needs the foil normal along the zone axis; leave the foil normal out")
    energy, half = float(state.energy), float(state.half_width)
    folding = fold_tilts(crystal, frame, np.zeros((1, 2)))
    vectors = frame.vectors(folding.basis)[:, :2].T
    operations = pattern_operations(crystal, frame, zolz_only=True)
    if not symmetric:
        operations = tuple(o for o in operations if abs(abs(np.trace(o.plane)) - 2.0) < 1e-9)  # no turn, or a half
    divisions = divisions or math.ceil(finer * lattice_divisions(vectors, pixels, state, binning))
    if sampling == "pixels" or (sampling == "auto" and _dearer(divisions, operations, pixels)):
        divisions = 0
        points = pixel_positions(state, pixels).detach().numpy()
        table, corner = np.zeros((1, 1), dtype=np.int64), (0, 0)
        operations = operations[:1]
    else:
        points, table, corner = _lattice_points(vectors, divisions, half, state.tilt.numpy())
    reduction = reduce_pairs(crystal, frame, points, reflections, operations, by_zone=True)
    wave = electron_wave(energy)
    anchors = reduction.folding.anchor
    chosen = select_beams(crystal, frame, wave, reduction.tilts, np.unique(anchors, axis=0), count=beams)
    pixel = np.zeros(0, dtype=np.int64) if divisions else _pixel_of_tilt(reduction)
    highest = float(np.sum(reduction.tilts**2, axis=1).max())
    reduction, source = _within(reduction, chosen)
    problem = build_problem(
        crystal, frame, wave, chosen, reduction, np.array([100.0]), factors, absorption, refraction=True
    )
    difference, index = unique_differences(chosen.hkl)
    number, first = _groups(reduction, vectors, divisions)
    total = len(chosen.hkl)
    inverse = np.linalg.inv(vectors).T
    plan = Plan(
        structure=make_structure(crystal, difference, factors, absorption),
        frame=frame,
        reflections=reflections,
        pixels=pixels,
        lookup=torch.as_tensor(index.reshape(total, total)),
        zero=int(np.flatnonzero(np.all(difference == 0, axis=1))[0]),
        gauge=problem.gauge,
        beams=chosen.hkl,
        basis=torch.eye(total, dtype=problem.potential.dtype),
        layout=make_layout(total, number, problem.anchor.numpy(), reduction.pair_tilt, problem.pair_out.numpy()),
        reduced=torch.as_tensor(reduction.folding.reduced[first] @ inverse),
        anchor=torch.as_tensor(np.round(frame.vectors(anchors)[:, :2] @ inverse)),
        vectors=torch.as_tensor(folding.basis, dtype=torch.float64),
        group=torch.as_tensor(number),
        source=torch.as_tensor(source),
        pixel=torch.as_tensor(pixel),
        divisions=divisions,
        table=torch.as_tensor(table),
        corner=corner,
        excitation_error=chosen.excitation_error,
        binning=binning,
    )
    if margin is None:
        return plan
    basis = bloch_waves(plan, state, highest + margin)
    layout = make_layout(
        basis.shape[1], number, problem.anchor.numpy(), reduction.pair_tilt, problem.pair_out.numpy()
    )
    return replace(plan, basis=basis, layout=layout)


def lattice_divisions(vectors: np.ndarray, pixels: int, state: ModelState, binning: int) -> int:
    """Points of the lattice per reciprocal vector.

    They are no further apart than most of a pixel, nor than the blur, which hides finer fringes; nor need they be
    closer than the finest fringes of a foil so thick, half the distance of
    `lacbed.geometry.interpolation.node_spacing`, which is for amplitudes.
    """
    pixel = 2.0 * float(state.half_width) / pixels
    finest = 0.5 * node_spacing(1.0 / float(wave_number(state.energy)), float(state.thickness))
    coarsest = COARSEST if binning == 1 else 1.0  # binned images are for first steps
    pitch = pixel * min(coarsest, max(float(binned_sigma(state.blur, binning)), finest / pixel))
    return max(4, math.ceil(float(np.linalg.norm(vectors, axis=0).max()) / pitch))


def _dearer(divisions: int, operations: Sequence[PatternOperation], pixels: int) -> bool:
    """Whether a lattice takes more matrices than the pixels themselves."""
    return divisions**2 > pixels**2 * sum(not o.reversed for o in operations)


def bloch_waves(plan: Plan, state: ModelState, energy: float) -> Tensor:
    """V: the Bloch waves of a state up to a transverse energy in 1/Å², orthonormal columns: (n, m)."""
    found = numbers(plan, state)
    return wave_basis(elastic_matrix(plan, found), found.plane, energy)


def _within(reduction: Reduction, beams: BeamList) -> tuple[Reduction, np.ndarray]:
    """The pairs whose diffracted wave is among the beams, and `source` among these.

    The other waves q + h are so long that they are far from every Bragg condition on the grid: their intensity is
    taken as 0 (the number one past the last pair).
    """
    outgoing = beams.index(reduction.folding.anchor[reduction.pair_tilt] + reduction.pair_hkl)
    kept = outgoing >= 0
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
