"""Amplitudes of many tilts and reflections from the matrices of a model.

The amplitude of a pair with K_n = K of its tilt is ⟨out| exp(2πi (A(q) - |q|² + |k|²) t / 2K) |in⟩. Without
absorption A is diagonalised, once for all thicknesses. With it the exponentials come from products of matrices at
the mean K; that K varies by about 1e-4 is put right by a Taylor series that acts on the incident waves, long
enough for any accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.engine.model import Model, polynomial
from lacbed.engine.orbits import Operation, Orbits
from lacbed.engine.potential import ZonePotential
from lacbed.geometry.frame import IntArray
from lacbed.solvers.blocks import Tick, one_thread_each
from lacbed.solvers.exponential import propagators

_BYTES = 2**23
"""Matrices of about so many bytes are treated together."""

Store = dict[int, tuple[Tensor, Tensor]]
"""Eigenvalues and eigenvectors by the code of their point."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is wanted of a zone.

    Attributes:
        orbits: the tilts, sorted by their matrices.
        length: |k|² in 1/Å²: (tilt,).
        along: K_n in 1/Å: (tilt,).
        reflections: coordinates of the reflections on the lattice of the zone: (reflection, 2).
        thicknesses: in Å: (thickness,).
    """

    orbits: Orbits
    length: FloatArray
    along: FloatArray
    reflections: IntArray
    thicknesses: FloatArray


@dataclass(frozen=True, eq=False)
class _Group:
    """The tilts of one matrix that share a side: which rows and columns their amplitudes have."""

    tilts: IntArray
    swaps: bool
    first: IntArray  # tilts whose rows are computed
    row: IntArray  # of each tilt
    rows: IntArray  # beams
    columns: IntArray
    column: IntArray  # (tilt, reflection)


def solve_pairs(
    model: Model,
    wanted: Wanted,
    operations: tuple[Operation, ...],
    potential: ZonePotential,
    *,
    accuracy: float,
    store: Store | None = None,
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
        tick: told the fraction done.
    """
    lookup = _Lookup(potential.places[: model.outgoing.shape[1]])
    orbits = wanted.orbits
    order = np.argsort(orbits.matrix, kind="stable")
    bounds = np.searchsorted(orbits.matrix[order], np.arange(len(orbits.points) + 1))
    size = model.matrix.shape[1]
    each = max(1, _BYTES // (16 * size * size))
    shape = (len(wanted.thicknesses), len(wanted.reflections), len(wanted.length))
    single = accuracy >= 5e-5 and not model.is_hermitian
    result = np.empty(shape, dtype=np.complex64 if single else np.complex128)

    def block(start: int) -> int:
        stop = min(start + each, len(orbits.points))
        groups = [
            _groups(wanted, operations, lookup, order[bounds[n] : bounds[n + 1]]) for n in range(start, stop)
        ]
        _solve_block(model, wanted, groups, range(start, stop), accuracy, single, store, result)
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


class _Lookup:
    """Positions of beams by their coordinates."""

    def __init__(self, places: IntArray) -> None:
        self._low = places.min(axis=0)
        self._table = np.full(np.ptp(places, axis=0) + 1, -1, dtype=np.int64)
        self._table[tuple((places - self._low).T)] = np.arange(len(places))

    def __call__(self, places: IntArray) -> IntArray:
        found = places - self._low
        if np.any(found < 0) or np.any(found >= self._table.shape):
            raise IndexError("a beam lies beyond those of the model")
        index = np.asarray(self._table[found[..., 0], found[..., 1]])
        if np.any(index < 0):
            raise IndexError("a beam lies beyond those of the model")
        return index


def _groups(wanted: Wanted, operations: tuple[Operation, ...], lookup: _Lookup, tilts: IntArray) -> list[_Group]:
    """The tilts of one matrix, those joined with reciprocity by themselves."""
    orbits, found = wanted.orbits, []
    swaps = np.array([o.swaps for o in operations])[orbits.operation[tilts]]
    for kind in (False, True):
        mine = tilts[swaps == kind]
        if not len(mine):
            continue
        turns = np.stack([-o.turn if o.swaps else o.turn for o in operations])[orbits.operation[mine]]
        # The image of h is ±Rh, moved with q to the point of the matrix.
        incident = np.einsum("ti,tij->tj", orbits.anchor[mine], turns) + orbits.move[mine]
        out = incident[:, None, :] + np.einsum("gi,tij->tgj", wanted.reflections, turns)
        rows = lookup(incident)
        key = np.stack([rows, np.round(wanted.along[mine] * 1e10).astype(np.int64)], axis=1)
        _, first, row = np.unique(key, axis=0, return_index=True, return_inverse=True)
        columns, column = np.unique(lookup(out), return_inverse=True)
        found.append(
            _Group(mine, kind, mine[first], row.reshape(-1), rows[first], columns, column.reshape(out.shape[:2]))
        )
    return found


def _solve_block(
    model: Model,
    wanted: Wanted,
    groups: list[list[_Group]],
    numbers: range,
    accuracy: float,
    single: bool,
    store: Store | None,
    result: np.ndarray,
) -> None:
    """Fill in the amplitudes of the tilts of some matrices."""
    q = torch.as_tensor(wanted.orbits.points[numbers.start : numbers.stop])
    square = q.square().sum(dim=1)
    sides = [[_sides(model, group, q[n : n + 1]) for group in groups[n]] for n in range(len(q))]
    if model.is_hermitian:
        codes = wanted.orbits.codes[numbers.start : numbers.stop].tolist()
        for n, (values, vectors) in enumerate(_eigen(model, q, codes, store)):
            for group, side in zip(groups[n], sides[n], strict=True):
                _diagonal(wanted, group, side, values, vectors, float(square[n]), result)
        return
    middle = 0.5 * float(wanted.along.min() + wanted.along.max())
    matrices = polynomial(model.matrix, q)
    centre = float(model.matrix[0].diagonal().real.mean())
    matrices.diagonal(dim1=1, dim2=2).sub_(centre)
    series = _Series(wanted, model, middle, accuracy)
    rows = [
        [series.rows(side[0], matrix if g.swaps else matrix.mT) for g, side in zip(mine, ours, strict=True)]
        for matrix, mine, ours in zip(matrices, groups, sides, strict=True)
    ]
    generator = matrices * (1j * math.pi / middle)
    kind = torch.complex64 if single else torch.complex128
    for place, step in propagators(generator.to(kind), torch.as_tensor(wanted.thicknesses), fine=not single):
        for n in range(len(q)):
            for group, side, terms in zip(groups[n], sides[n], rows[n], strict=True):
                left = series.at(terms, group, place, centre - float(square[n])).to(kind)
                moved = left @ (step[n] if group.swaps else step[n].mT)
                _place(result, place, group, moved @ side[1].to(kind).mT)


def _sides(model: Model, group: _Group, q: Tensor) -> tuple[Tensor, Tensor]:
    """What the incident and the outgoing beams are in the waves, exchanged with reciprocity: two (beam, m)."""
    first, second = (model.outgoing, model.incoming) if group.swaps else (model.incoming, model.outgoing)
    rows, columns = torch.as_tensor(group.rows), torch.as_tensor(group.columns)
    return polynomial(first[:, rows], q)[0], polynomial(second[:, columns], q)[0]


def _place(result: np.ndarray, place: int, group: _Group, block: Tensor) -> None:
    result[place][:, group.tilts] = block.numpy()[group.row[:, None], group.column].T


def _eigen(model: Model, q: Tensor, codes: list[int], store: Store | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Eigenvalues and eigenvectors of the points, taken from the store where they are there."""
    for n, code in enumerate(codes):
        if store is not None and code in store:
            yield store[code]
            continue
        found = torch.linalg.eigh(polynomial(model.matrix, q[n : n + 1])[0])
        if store is not None:
            store[code] = (found[0], found[1])
        yield found[0], found[1]


def _diagonal(
    wanted: Wanted,
    group: _Group,
    side: tuple[Tensor, Tensor],
    values: Tensor,
    vectors: Tensor,
    square: float,
    result: np.ndarray,
) -> None:
    """Amplitudes from the eigenvectors of a Hermitian matrix."""
    back = vectors.conj()
    left, right = (side[0] @ vectors, side[1] @ back) if group.swaps else (side[0] @ back, side[1] @ vectors)
    shift = torch.as_tensor(wanted.length[group.first] - square)
    phase = (values[None] + shift[:, None]) * (math.pi / torch.as_tensor(wanted.along[group.first]))[:, None]
    right = right.mT.to(torch.complex128)
    for place, thickness in enumerate(wanted.thicknesses):
        angle = phase * float(thickness)
        turned = torch.complex(torch.cos(angle), torch.sin(angle)) * left
        _place(result, place, group, turned @ right)


class _Series:
    """exp(2πi t (1/2K - 1/2K̄) A) as a Taylor series acting on rows, and the phases that A leaves out."""

    def __init__(self, wanted: Wanted, model: Model, middle: float, accuracy: float) -> None:
        self._wanted, self._middle = wanted, middle
        change = np.abs(1.0 / wanted.along - 1.0 / middle).max(initial=0.0) * math.pi * wanted.thicknesses.max()
        energies = model.matrix[0].diagonal().real
        reach = 0.6 * float(energies.max() - energies.min()) + 1.0
        self._terms, term = 0, 1.0
        while term > 0.02 * accuracy and self._terms < 40:
            self._terms += 1
            term *= change * reach / self._terms

    def rows(self, rows: Tensor, matrix: Tensor) -> list[Tensor]:
        """The rows times powers of the matrix over factorials."""
        found = [rows.to(matrix.dtype)]
        for power in range(1, self._terms):
            found.append(found[-1] @ matrix / power)
        return found

    def at(self, terms: list[Tensor], group: _Group, place: int, shift: float) -> Tensor:
        """The sum for a thickness, with the phases."""
        thickness = float(self._wanted.thicknesses[place])
        along = torch.as_tensor(self._wanted.along[group.first])
        factor = (1j * math.pi * thickness) * (1.0 / along - 1.0 / self._middle)
        total, power = terms[0], torch.ones_like(factor)
        for term in terms[1:]:
            power = power * factor
            total = total + power[:, None] * term
        length = torch.as_tensor(self._wanted.length[group.first])
        return total * torch.exp((1j * math.pi * thickness) * (length + shift) / along)[:, None]
