"""Amplitudes of many tilts and reflections from the matrices of a model.

The amplitude of a pair with K_n = K of its tilt is ⟨out| exp(2πi (A(q) - |q|² + |k|²) t / 2K) |in⟩. Without
absorption A is diagonalised, once for all thicknesses. With it that takes about four times as long as an
exponential by products of matrices (`lacbed.engine.exponentials`), and is done where many thicknesses are wanted,
now or later.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lacbed.engine.exponentials import generator_of, taylor_series, whole_generator, whole_phase
from lacbed.engine.model import Model, polynomial
from lacbed.engine.orbits import Operation
from lacbed.engine.potential import ZonePotential
from lacbed.engine.wanted import Batch, Group, Wanted, batch_of, beam_places, group_of, used_beams
from lacbed.geometry.frame import IntArray
from lacbed.solvers.absorbing import absorbing_eigensystem
from lacbed.solvers.blocks import Tick, one_thread_each
from lacbed.solvers.eigen import eigensystem
from lacbed.solvers.exponential import propagators

_BYTES = 2**23
"""Matrices of about so many bytes are treated together."""

_TOGETHER = 2**15
"""Waves of pairs of beams that are turned together and fit the caches."""

_FEW = 3
"""With so many reflections or fewer, waves of pairs of beams are added up one by one."""

_KEPT = 2**30
"""Bytes of eigenvectors that are kept at most."""

_SHORT = (torch.float32, torch.complex64)

MANY = 8
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
    single: bool = False,
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
        accuracy: absolute error of the numerical work that is allowed in exponentials.
        single: whether eigenvectors in single precision will do, with errors of 1e-6 and at most some 3e-5.
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
    diagonal = model.damping is None or keep or len(wanted.thicknesses) >= MANY
    single = single if diagonal else accuracy >= 5e-5
    result = np.empty(shape, dtype=np.complex64 if single else np.complex128)

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

    starts = range(0, len(orbits.points), each)
    with one_thread_each(torch.device("cpu")) as workers, ThreadPoolExecutor(workers) as pool:
        done, jobs = 0, deque(pool.submit(block, start) for start in starts)
        try:
            while jobs:
                done += jobs.popleft().result()
                if tick is not None:
                    tick(done / len(orbits.points))
        finally:  # who gives up does not wait for what has not begun
            for job in jobs:
                job.cancel()
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
    systems = list(_eigen(model, q, codes, single, store))
    values = torch.stack([system[0] for system in systems])
    kind = torch.promote_types(systems[0][1].dtype, incoming.dtype)
    if single:
        kind = torch.complex64 if kind.is_complex else torch.float32
    incoming, outgoing = incoming.to(kind), outgoing.to(kind)
    for swaps in (False, True):
        batch = batch_of(groups, swaps, wanted)
        if batch is None:
            continue
        first, second = (outgoing, incoming) if swaps else (incoming, outgoing)
        left = first.new_empty(*batch.rows.shape, values.shape[1])
        right = first.new_empty(len(left), second.shape[1], values.shape[1])
        places = torch.as_tensor(place_of[batch.rows])
        for k, n in enumerate(batch.owner.tolist()):
            vectors, back = (part.to(kind) for part in systems[n][1:])  # of checks there may be more digits
            one, other = (vectors, back) if swaps else (back, vectors)
            torch.mm(first[n, places[k]], one, out=left[k])
            torch.mm(second[n], other, out=right[k])
        owner = torch.as_tensor(batch.owner)
        phase = _phase(wanted, values[owner], square[owner], batch)
        _place(wanted.thicknesses, (left, right, phase), batch, place_of, result)


def _phase(wanted: Wanted, values: Tensor, square: Tensor, batch: Batch) -> Tensor:
    """2πγ of the waves of every row in 1/Å: (group, row, m)."""
    along = torch.as_tensor(batch.along)[:, :, None]
    excess = values[:, None, :] + (torch.as_tensor(batch.level) - square[:, None])[:, :, None]
    if wanted.inside is None:
        return excess * (math.pi / along)
    return (2.0 * math.pi) * (torch.sqrt(along.square() + excess) - along)  # the forward root of γ² + 2 K_n γ


def _place(
    thicknesses: np.ndarray,
    waves: tuple[Tensor, Tensor, Tensor],
    batch: Batch,
    place_of: IntArray,
    result: np.ndarray,
) -> None:
    """Write Σ_j left_j exp(i phase_j t) right_j of every tilt, reflection and thickness.

    `waves` are left of every row, (group, row, m), right of every beam, (group, beam, m), and the phase of every
    row. Of few reflections the products left_j right_j are turned, once for all tilts that share them.
    """
    left, right, phase = waves
    column = place_of[batch.column]
    if column.shape[1] > _FEW:
        right = right.mT.to(torch.complex64 if left.dtype in _SHORT else torch.complex128)
        for n, turned in _turned(left, phase, thicknesses):
            found = (turned @ right).numpy()
            result[n, :, batch.tilts] = found[batch.of[:, None], batch.row[:, None], column]
        return
    rows, beams, size = left.shape[1], right.shape[1], left.shape[2]
    pairs, back = np.unique(((batch.of * rows + batch.row)[:, None] * beams + column), return_inverse=True)
    row = torch.as_tensor(pairs // beams)
    beam = torch.as_tensor(pairs // (beams * rows) * beams + pairs % beams)
    found = np.empty((len(thicknesses), len(pairs)), dtype=result.dtype)
    left, right, phase = (part.flatten(0, 1) for part in waves)
    each = max(1, _TOGETHER // size)
    for some in (slice(n, n + each) for n in range(0, len(pairs), each)):
        start = left[row[some]] * right[beam[some]]
        for n, turned in _turned(start, phase[row[some]], thicknesses):
            found[n, some] = turned.sum(dim=-1).numpy()
    result[:, :, batch.tilts] = found[:, back.reshape(column.shape)].transpose(0, 2, 1)


def _turned(start: Tensor, phase: Tensor, thicknesses: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """Start · exp(i phase t) for every thickness, thin ones first; equal steps cost one product each.

    Yields:
        position of the thickness and the turned waves, which the next step overwrites.
    """
    kind = torch.complex64 if start.dtype in _SHORT else torch.complex128
    waves = start.to(kind, copy=True)
    reached, last, factor = 0.0, 0.0, torch.ones((), dtype=kind)
    for n in np.argsort(thicknesses).tolist():
        step = round(float(thicknesses[n]) - reached, 9)
        if step != last:
            factor, last = _turn(phase, step, kind), step
        if step:
            waves *= factor
            reached += step
        yield n, waves


def _turn(phase: Tensor, step: float, kind: torch.dtype) -> Tensor:
    """exp(i phase step), from angles that are reduced in double precision."""
    angle = (step / (2.0 * math.pi)) * phase.real
    angle = (angle - torch.round(angle)) * (2.0 * math.pi)
    size = torch.exp(phase.imag * -step) if phase.is_complex() else torch.ones_like(angle)
    if kind == torch.complex64:
        angle, size = angle.to(torch.float32), size.to(torch.float32)
    return torch.polar(size, angle)


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


def _eigen(
    model: Model, q: Tensor, codes: list[int], single: bool, store: Store | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What `Store` holds of the points, taken from it where it is there."""
    for n, code in enumerate(codes):
        if store is not None and code in store:
            yield store[code]
            continue
        found = _solved(model, q[n : n + 1], single)
        share = 1 if found[1] is found[2] else 2
        if store is not None and (len(store) + 1) * share * found[1].nbytes <= _KEPT:
            store[code] = found
        yield found


def _solved(model: Model, q: Tensor, single: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What `Store` holds of a point, laid out in memory as a file gives it back."""
    matrix = polynomial(model.matrix, q)[0]
    damping = None if model.damping is None else polynomial(model.damping, q)[0]
    if single and damping is not None:
        values, right, left = absorbing_eigensystem(matrix, damping)
    else:
        system = eigensystem(matrix, damping)
        values, right, left = system.values, system.right, system.left
        if single:
            kind = torch.complex64 if right.is_complex() else torch.float32
            right, left = right.to(kind), left.to(kind)
    vectors, back = right.contiguous(), left.mT
    return values, vectors, vectors if torch.equal(back, right) else back.contiguous()
