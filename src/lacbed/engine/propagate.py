"""Amplitudes of many tilts and reflections from the matrices of a model.

The amplitude of a pair with K_n = K of its tilt is ⟨out| exp(2πi (A(q) - |q|² + |k|²) t / 2K) |in⟩. Without
absorption A is diagonalised, once for all thicknesses. With it that takes about four times as long as an
exponential by products of matrices (`lacbed.engine.exponentials`), and is done where many thicknesses are wanted,
now or later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lacbed.engine.exponentials import generator_of, taylor_series, whole_generator, whole_phase
from lacbed.engine.model import Model, polynomial
from lacbed.engine.orbits import Operation
from lacbed.engine.potential import ZonePotential
from lacbed.engine.wanted import Group, Wanted, batch_of, beam_places, group_of, used_beams
from lacbed.geometry.frame import IntArray
from lacbed.solvers.blocks import Tick, one_thread_each
from lacbed.solvers.eigen import eigensystem
from lacbed.solvers.exponential import propagators

_BYTES = 2**23
"""Matrices of about so many bytes are treated together."""

_TOGETHER = 2**16
"""Numbers of waves, at several thicknesses, that are worked on together and fit the caches."""

_KEPT = 2**30
"""Bytes of eigenvectors that are kept at most."""

MANY = 16
"""With so many thicknesses or more, matrices with absorption are diagonalised."""

Store = dict[int, tuple[Tensor, Tensor, Tensor]]
"""Eigenvalues, eigenvectors as columns and the inverse of these, transposed, by the code of their point."""


def solve_pairs(
    model: Model,
    wanted: Wanted,
    operations: tuple[Operation, ...],
    potential: ZonePotential,
    *,
    accuracy: float,
    store: Store | None = None,
    keep: bool = False,
    tick: Tick | None = None,
) -> np.ndarray:
    """Complex amplitudes: (thickness, reflection, tilt).

    Args:
        model: the matrices.
        wanted: what is wanted.
        operations: those that the orbits were made with.
        potential: that the model was made of.
        accuracy: absolute error of the numerical work that is allowed.
        store: keeps eigenvectors from one call to the next.
        keep: whether further calls are likely, so that matrices with absorption are diagonalised as well.
        tick: told the fraction done.
    """
    orbits = wanted.orbits
    swaps = np.array([o.swaps for o in operations])[orbits.operation]
    side = 2 * orbits.matrix + swaps
    order = np.argsort(side, kind="stable")
    bounds = np.searchsorted(side[order], np.arange(2 * len(orbits.points) + 1))
    seen = potential.places[potential.aside :, :2][: model.outgoing.shape[1]]
    rows, columns = beam_places(wanted, operations, seen)
    size = model.matrix.shape[1]
    most = int(np.diff(bounds).max(initial=1))  # rows of a matrix
    each = max(1, _BYTES // (16 * size * (size + most)))
    shape = (len(wanted.thicknesses), len(wanted.reflections), len(wanted.level))
    single = accuracy >= 5e-5 and model.damping is not None
    result = np.empty(shape, dtype=np.complex64 if single else np.complex128)
    diagonal = model.damping is None or keep or len(wanted.thicknesses) >= MANY

    def block(start: int) -> int:
        stop = min(start + each, len(orbits.points))
        groups = [
            [
                group_of(rows, columns, order[bounds[2 * n + k] : bounds[2 * n + k + 1]], k == 1)
                for k in (0, 1)
                if bounds[2 * n + k] < bounds[2 * n + k + 1]
            ]
            for n in range(start, stop)
        ]
        numbers = range(start, stop)
        if diagonal:
            _solve_diagonal(model, wanted, groups, numbers, single, store, result)
        else:
            _solve_exponential(model, wanted, groups, numbers, accuracy, single, result)
        return stop - start

    done = 0
    with one_thread_each(torch.device("cpu")) as workers, ThreadPoolExecutor(workers) as pool:
        starts = range(0, len(orbits.points), each)
        for count in pool.map(block, starts) if workers > 1 else map(block, starts):
            done += count
            if tick is not None:
                tick(done / len(orbits.points))
    centre = np.zeros(2) if potential.shift is None else 0.5 * potential.basis @ potential.shift
    for number, operation in enumerate(operations):
        mine = np.flatnonzero(orbits.operation == number)
        turns = wanted.reflections @ operation.turn @ (operation.shift - centre)
        if len(mine) and np.any(np.abs(turns - np.round(turns)) > 1e-9):
            result[:, :, mine] *= np.exp(2j * np.pi * turns)[None, :, None]
    return result


def _solve_diagonal(
    model: Model,
    wanted: Wanted,
    groups: list[list[Group]],
    numbers: range,
    single: bool,
    store: Store | None,
    result: np.ndarray,
) -> None:
    """Fill in the amplitudes of the tilts of some matrices from their eigenvectors."""
    q = torch.as_tensor(wanted.orbits.points[numbers.start : numbers.stop] - model.centre)
    square = q.square().sum(dim=1)
    place_of, incoming, outgoing = _beams_in_waves(model, groups, q)
    codes = wanted.orbits.codes[numbers.start : numbers.stop].tolist()
    for n, system in enumerate(_eigen(model, q, codes, single, store)):
        for group in groups[n]:
            first, second = (
                side.to(system[1].dtype) for side in _sides(group, place_of, incoming[n], outgoing[n])
            )
            _diagonal(wanted, group, place_of, (first, second), system, float(square[n]), result)


def _beams_in_waves(model: Model, groups: list[list[Group]], q: Tensor) -> tuple[IntArray, Tensor, Tensor]:
    """The place of each beam among those that occur, and what these bring in and take out: (n, beam, m) each."""
    beams, place_of = used_beams(
        [part for mine in groups for group in mine for part in (group.rows, group.column)]
    )
    outgoing = polynomial(model.outgoing[:, beams], q)
    incoming = outgoing if model.incoming is model.outgoing else polynomial(model.incoming[:, beams], q)
    return place_of, incoming, outgoing


def _solve_exponential(
    model: Model,
    wanted: Wanted,
    groups: list[list[Group]],
    numbers: range,
    accuracy: float,
    single: bool,
    result: np.ndarray,
) -> None:
    """Fill in the amplitudes of the tilts of some matrices with absorption from exponentials."""
    q = torch.as_tensor(wanted.orbits.points[numbers.start : numbers.stop] - model.centre)
    square = q.square().sum(dim=1)
    place_of, incoming, outgoing = _beams_in_waves(model, groups, q)
    kind = torch.complex64 if single else torch.complex128
    outgoing, incoming = outgoing.to(kind), incoming.to(kind)
    middle = 0.5 * float(wanted.along.min() + wanted.along.max())
    centre = float(model.matrix[0].diagonal().real.mean())
    if wanted.inside is None:
        generator = generator_of(model, q, centre, math.pi / middle).to(kind)
    else:
        generator = whole_generator(model, q, square, centre, wanted.inside).to(kind)
    thickest = float(wanted.thicknesses.max())
    sides = []
    for swaps in (False, True):
        batch = batch_of(groups, swaps, wanted)
        if batch is None:
            continue
        owner = torch.as_tensor(batch.owner)
        first, second = (outgoing, incoming) if swaps else (incoming, outgoing)
        rows = first[owner[:, None], torch.as_tensor(place_of[batch.rows])]
        along, shift = torch.as_tensor(batch.along)[:, :, None], (centre - square[owner])[:, None, None]
        if wanted.inside is None:
            matrix = generator[owner] if swaps else generator[owner].mT
            level = torch.as_tensor(batch.level)[:, :, None] + shift
            series = taylor_series(level, along, rows, matrix, middle, thickest, accuracy)
        else:
            series = whole_phase(shift, along, rows, wanted.inside)
        sides.append((batch, owner, series, second[owner].mT))
    for place, step in propagators(generator, torch.as_tensor(wanted.thicknesses), fine=not single):
        for batch, owner, series, second in sides:
            moved = series.at(float(wanted.thicknesses[place])) @ (step[owner] if batch.swaps else step[owner].mT)
            found = (moved @ second).numpy()
            of = batch.of[:, None], batch.row[:, None], place_of[batch.column]
            result[place, :, batch.tilts] = found[of]


def _sides(group: Group, place_of: IntArray, incoming: Tensor, outgoing: Tensor) -> tuple[Tensor, Tensor]:
    """What the incident and all outgoing beams are in the waves, exchanged with reciprocity: two (beam, m)."""
    first, second = (outgoing, incoming) if group.swaps else (incoming, outgoing)
    return first[torch.as_tensor(place_of[group.rows])], second


def _place(result: np.ndarray, group: Group, place_of: IntArray, block: Tensor) -> None:
    """Write (thickness, row, column) amplitudes where the tilts of a group are."""
    found = block.numpy()[:, group.row[:, None], place_of[group.column]]
    result[:, :, group.tilts] = found.transpose(0, 2, 1)


def _eigen(
    model: Model, q: Tensor, codes: list[int], single: bool, store: Store | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What `Store` holds of the points, taken from it where it is there."""
    for n, code in enumerate(codes):
        if store is not None and code in store:
            yield store[code]
            continue
        matrix = polynomial(model.matrix, q[n : n + 1])[0]
        damping = None if model.damping is None else polynomial(model.damping, q[n : n + 1])[0]
        system = eigensystem(matrix, damping)
        vectors, inverse = system.right, system.left.mT
        if single:
            vectors, inverse = vectors.to(torch.complex64), inverse.to(torch.complex64)
        found = system.values, vectors, inverse
        if store is not None and (len(store) + 1) * 2 * vectors.nbytes <= _KEPT:
            store[code] = found
        yield found


def _diagonal(
    wanted: Wanted,
    group: Group,
    place_of: IntArray,
    side: tuple[Tensor, Tensor],
    system: tuple[Tensor, Tensor, Tensor],
    square: float,
    result: np.ndarray,
) -> None:
    """Amplitudes from the eigenvectors of a matrix."""
    values, vectors, back = system
    left, right = (side[0] @ vectors, side[1] @ back) if group.swaps else (side[0] @ back, side[1] @ vectors)
    along = torch.as_tensor(wanted.along[group.first])[:, None]
    excess = values[None] + torch.as_tensor(wanted.level[group.first] - square)[:, None]
    if wanted.inside is None:
        phase = excess * (math.pi / along)
    else:  # the forward root of γ² + 2 K_n γ
        phase = (2.0 * math.pi) * (torch.sqrt(along.square() + excess) - along)
    right = right.mT if right.dtype == torch.complex64 else right.mT.to(torch.complex128)
    thicknesses = torch.as_tensor(wanted.thicknesses)
    for part in torch.split(torch.arange(len(thicknesses)), max(1, _TOGETHER // phase.numel())):
        angle = phase.real * thicknesses[part, None, None]
        turned = torch.complex(torch.cos(angle), torch.sin(angle))
        if phase.is_complex():
            turned *= torch.exp(phase.imag * -thicknesses[part, None, None])
        turned = turned.to(right.dtype) * left
        _place(result[int(part[0]) : int(part[-1]) + 1], group, place_of, turned @ right)
