"""Amplitudes of many tilts and reflections from the matrices of a model.

The amplitude of a pair with K_n = K of its tilt is ⟨out| exp(2πi (A(q) - |q|² + |k|²) t / 2K) |in⟩. Without
absorption A is diagonalised, once for all thicknesses. With it that takes about four times as long as an
exponential by products of matrices, and is done where many thicknesses are wanted, now or later. The exponentials
are those at the mean K; that K varies by about 1e-4 is put right by a Taylor series that acts on the incident
waves, long enough for any accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.engine.model import Model, polynomial
from lacbed.engine.orbits import Operation, Orbits
from lacbed.engine.potential import ZonePotential
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

_MOST_TERMS = 40

MANY = 16
"""With so many thicknesses or more, matrices with absorption are diagonalised."""

Store = dict[int, tuple[Tensor, Tensor, Tensor]]
"""Eigenvalues, eigenvectors as columns and the inverse of these, transposed, by the code of their point."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is wanted of a zone.

    Attributes:
        orbits: the tilts, sorted by their matrices.
        level: |k|² in 1/Å², times f in a tilted foil (see `lacbed.engine.foil`): (tilt,).
        along: K_n in 1/Å, likewise: (tilt,).
        rise: |k + g|² - |k|² of the reflections in 1/Å²: (tilt, reflection).
        reflections: coordinates of the reflections on the lattice of the zone: (reflection, 2).
        thicknesses: in Å: (thickness,).
        inside: K of all tilts in 1/Å where the terms in γ² are kept, or None.
    """

    orbits: Orbits
    level: FloatArray
    along: FloatArray
    rise: FloatArray
    reflections: IntArray
    thicknesses: FloatArray
    inside: float | None = None


@dataclass(frozen=True, eq=False)
class _Group:
    """The tilts of one matrix that share a side: which rows and columns their amplitudes have.

    The beam of a row says which tilt it is of, as k = q + h; images of a tilt share a row.
    """

    tilts: IntArray
    swaps: bool
    first: IntArray  # tilts whose rows are computed
    row: IntArray  # of each tilt
    rows: IntArray  # beams
    column: NDArray[np.int32]  # beams: (tilt, reflection)


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
    rows, columns = _beams(wanted, operations, seen)
    size = model.matrix.shape[1]
    each = max(1, _BYTES // (16 * size * size))
    shape = (len(wanted.thicknesses), len(wanted.reflections), len(wanted.level))
    single = accuracy >= 5e-5 and model.damping is not None
    result = np.empty(shape, dtype=np.complex64 if single else np.complex128)
    diagonal = model.damping is None or keep or len(wanted.thicknesses) >= MANY

    def block(start: int) -> int:
        stop = min(start + each, len(orbits.points))
        groups = [
            [
                _group(rows, columns, order[bounds[2 * n + k] : bounds[2 * n + k + 1]], k == 1)
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


def _beams(
    wanted: Wanted, operations: tuple[Operation, ...], places: IntArray
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Positions of the beams that come in and go out, moved to the matrices: (tilt,) and (tilt, reflection).

    The image of h is ±Rh, moved with q to the point of the matrix.
    """
    low = places.min(axis=0)
    table = np.full(np.ptp(places, axis=0) + 1, -1, dtype=np.int32)
    table[tuple((places - low).T)] = np.arange(len(places), dtype=np.int32)
    orbits = wanted.orbits
    rows = np.empty(len(orbits.matrix), dtype=np.int32)
    columns = np.empty((len(rows), len(wanted.reflections)), dtype=np.int32)
    for number, operation in enumerate(operations):
        mine = np.flatnonzero(orbits.operation == number)
        turn = -operation.turn if operation.swaps else operation.turn
        incident = orbits.anchor[mine] @ turn + orbits.move[mine] - low
        rows[mine] = _look_up(table, incident)
        for column, reflection in enumerate(wanted.reflections @ turn):
            columns[mine, column] = _look_up(table, incident + reflection)
    return rows, columns


def _look_up(table: NDArray[np.int32], places: IntArray) -> NDArray[np.int32]:
    if np.any(places < 0) or np.any(places >= table.shape):
        raise IndexError("a beam lies beyond those of the model")
    found = table[places[:, 0], places[:, 1]]
    if np.any(found < 0):
        raise IndexError("a beam lies beyond those of the model")
    return found


def _group(rows: NDArray[np.int32], columns: NDArray[np.int32], tilts: IntArray, swaps: bool) -> _Group:
    """The tilts of one matrix."""
    mine = rows[tilts]
    first = np.full(int(mine.max()) + 1, -1)
    first[mine] = tilts
    beams = np.flatnonzero(first >= 0)
    position = np.cumsum(first >= 0) - 1
    return _Group(tilts, swaps, first[beams], position[mine], beams, columns[tilts])


def _solve_diagonal(
    model: Model,
    wanted: Wanted,
    groups: list[list[_Group]],
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


def _beams_in_waves(model: Model, groups: list[list[_Group]], q: Tensor) -> tuple[IntArray, Tensor, Tensor]:
    """The place of each beam among those that occur, and what these bring in and take out: (n, beam, m) each."""
    beams, place_of = _used([part for mine in groups for group in mine for part in (group.rows, group.column)])
    outgoing = polynomial(model.outgoing[:, beams], q)
    incoming = outgoing if model.incoming is model.outgoing else polynomial(model.incoming[:, beams], q)
    return place_of, incoming, outgoing


def _solve_exponential(
    model: Model,
    wanted: Wanted,
    groups: list[list[_Group]],
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
        generator = _generator(model, q, centre, math.pi / middle).to(kind)
    else:
        generator = _whole_generator(model, q, square, centre, wanted.inside).to(kind)
    rows = []
    for n, mine in enumerate(groups):
        for group in mine:
            first, second = _sides(group, place_of, incoming[n], outgoing[n])
            shift = centre - float(square[n])
            if wanted.inside is None:
                matrix = generator[n] if group.swaps else generator[n].mT
                series = _series(wanted, group, first, matrix, middle, shift, accuracy)
            else:
                series = _whole(wanted, group, first, wanted.inside, shift)
            rows.append((n, group, series, second.mT))
    for place, step in propagators(generator, torch.as_tensor(wanted.thicknesses), fine=not single):
        for n, group, series, second in rows:
            moved = series.at(float(wanted.thicknesses[place])) @ (step[n] if group.swaps else step[n].mT)
            _place(result[place : place + 1], group, place_of, (moved @ second)[None])


def _generator(model: Model, q: Tensor, centre: float, factor: float) -> Tensor:
    """The matrices i (A(q) - centre) times a factor, for a model with absorption: (n, m, m)."""
    assert model.damping is not None
    hermitian, damping = polynomial(model.matrix, q), polynomial(model.damping, q)
    hermitian.diagonal(dim1=1, dim2=2).sub_(centre)
    if hermitian.is_complex():
        return hermitian.mul_(1j).sub_(damping).mul_(factor)
    return torch.complex(damping.mul_(-factor), hermitian.mul_(factor))


def _used(parts: Sequence[NDArray[Any]]) -> tuple[IntArray, IntArray]:
    """The beams that occur, and the place of each among them."""
    occurs = np.zeros(1 + max(int(part.max()) for part in parts), dtype=bool)
    for part in parts:
        occurs[part] = True
    return np.flatnonzero(occurs), np.cumsum(occurs) - 1


def _sides(group: _Group, place_of: IntArray, incoming: Tensor, outgoing: Tensor) -> tuple[Tensor, Tensor]:
    """What the incident and all outgoing beams are in the waves, exchanged with reciprocity: two (beam, m)."""
    first, second = (outgoing, incoming) if group.swaps else (incoming, outgoing)
    return first[torch.as_tensor(place_of[group.rows])], second


def _place(result: np.ndarray, group: _Group, place_of: IntArray, block: Tensor) -> None:
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
    group: _Group,
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


@dataclass(frozen=True, eq=False)
class _Series:
    """What becomes of rows besides the exponential that all share: a phase, and a power series in a factor.

    Attributes:
        phase: by Å of thickness: (row, 1).
        factor: by Å of thickness: (row, 1).
        terms: of the series: (row, m) each.
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


def _series(
    wanted: Wanted, group: _Group, rows: Tensor, matrix: Tensor, middle: float, shift: float, accuracy: float
) -> _Series:
    """exp(πi t (A + L) (1/K - 1/K̄)) as a Taylor series acting on rows, and the phase exp(πi t L / K̄).

    L = |k|² - |q|² belongs to the row. On what a tilt excites A + L is of the order of U, so that a few terms do.
    """
    level = torch.as_tensor(wanted.level[group.first])[:, None] + shift
    along = torch.as_tensor(wanted.along[group.first])[:, None]
    turn = ((1j * math.pi / middle) * level).to(rows.dtype)
    factor = middle / along - 1.0
    terms = [rows]
    change = float(factor.abs().max()) * float(wanted.thicknesses.max())
    size = 1.0
    while size > 0.2 * accuracy and len(terms) < _MOST_TERMS:
        last, power = terms[-1], len(terms)
        terms.append((last @ matrix + turn * last) / power)
        size = change**power * float(torch.view_as_real(terms[-1]).abs().max())
    return _Series((math.pi / middle) * level, factor, terms)


def _whole_generator(model: Model, q: Tensor, square: Tensor, centre: float, inside: float) -> Tensor:
    """The matrices 2πi [sqrt(K² + A - |q|²) - sqrt(K² + c - |q|²)]: (n, m, m), with c = `centre`.

    The root is a power series in X = (A - c) / (K² + c - |q|²), which is small.
    """
    root = torch.sqrt(inside**2 + centre - square)[:, None, None]
    step = _generator(model, q, centre, 1.0) * (-1j / root.square())
    size = float(torch.linalg.matrix_norm(step).max())
    total, power, weight = 0.5 * step, step, 0.5
    for n in range(2, _MOST_TERMS):
        weight *= (1.5 - n) / n
        if abs(weight) * size**n * inside < 1e-10:
            break
        power = power @ step
        total = total + weight * power
    return total * (2j * math.pi * root)


def _whole(wanted: Wanted, group: _Group, rows: Tensor, inside: float, shift: float) -> _Series:
    """The phase that `_whole_generator` leaves out, where all terms in γ² are kept."""
    along = torch.as_tensor(wanted.along[group.first])[:, None]
    return _Series((2.0 * math.pi) * (math.sqrt(inside**2 + shift) - along), torch.zeros_like(along), [rows])
