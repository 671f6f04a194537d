"""What is wanted of a zone, as rows and columns of its matrices: beams that come in and go out at every tilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacbed.crystals.cell import FloatArray
from lacbed.engine.orbits import Operation, Orbits
from lacbed.geometry.frame import IntArray


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
class Group:
    """The tilts of one matrix that share a side: which rows and columns their amplitudes have.

    The beam of a row says which tilt it is of, as k = q + h; images of a tilt share a row.
    """

    tilts: IntArray
    swaps: bool
    first: IntArray  # tilts whose rows are computed
    row: IntArray  # of each tilt
    rows: IntArray  # beams
    column: NDArray[np.int32]  # beams: (tilt, reflection)


def beam_places(
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


def group_of(rows: NDArray[np.int32], columns: NDArray[np.int32], tilts: IntArray, swaps: bool) -> Group:
    """The tilts of one matrix."""
    mine = rows[tilts]
    first = np.full(int(mine.max()) + 1, -1)
    first[mine] = tilts
    beams = np.flatnonzero(first >= 0)
    position = np.cumsum(first >= 0) - 1
    return Group(tilts, swaps, first[beams], position[mine], beams, columns[tilts])


@dataclass(frozen=True, eq=False)
class Batch:
    """Groups of several matrices that are treated together, with as many rows for each as the longest has.

    Attributes:
        swaps: as in the groups.
        owner: the matrix of each group: (group,).
        rows: beams, the first one again where a group has fewer: (group, row).
        level, along: of the tilts whose rows these are: (group, row).
        tilts: of all groups: (tilt,).
        of, row: the group of each tilt, and its row in it: (tilt,).
        column: beams: (tilt, reflection).
    """

    swaps: bool
    owner: IntArray
    rows: IntArray
    level: FloatArray
    along: FloatArray
    tilts: IntArray
    of: IntArray
    row: IntArray
    column: NDArray[np.int32]


def batch_of(groups: list[list[Group]], swaps: bool, wanted: Wanted) -> Batch | None:
    """All groups of some matrices with the same `swaps`, or None if there are none."""
    mine = [(n, group) for n, some in enumerate(groups) for group in some if group.swaps == swaps]
    if not mine:
        return None
    counts = np.array([len(group.rows) for _, group in mine])
    filled = np.arange(counts.max()) < counts[:, None]

    def padded(parts: list[IntArray]) -> IntArray:
        table = np.repeat(np.array([part[0] for part in parts])[:, None], filled.shape[1], axis=1)
        table[filled] = np.concatenate(parts)
        return table

    first = padded([group.first for _, group in mine])
    tilts = [group.tilts for _, group in mine]
    return Batch(
        swaps,
        np.array([n for n, _ in mine]),
        padded([group.rows for _, group in mine]),
        wanted.level[first],
        wanted.along[first],
        np.concatenate(tilts),
        np.repeat(np.arange(len(mine)), [len(some) for some in tilts]),
        np.concatenate([group.row for _, group in mine]),
        np.concatenate([group.column for _, group in mine]),
    )


def used_beams(parts: Sequence[NDArray[Any]]) -> tuple[IntArray, IntArray]:
    """The beams that occur, and the place of each among them."""
    occurs = np.zeros(1 + max(int(part.max()) for part in parts), dtype=bool)
    for part in parts:
        occurs[part] = True
    return np.flatnonzero(occurs), np.cumsum(occurs) - 1
