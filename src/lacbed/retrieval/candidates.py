"""Crystals in three dimensions whose projection is a set of columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import gemmi
import numpy as np

from lacbed.crystals import Crystal, Site
from lacbed.crystals.cell import FloatArray
from lacbed.crystals.site import B_PER_U
from lacbed.crystals.symmetry import check_metric, matrices_of, operations_of
from lacbed.crystals.wyckoff import positions_of
from lacbed.errors import CrystalError
from lacbed.retrieval.elements import Guess
from lacbed.retrieval.plane_group import LIKE, PlaneOperation
from lacbed.retrieval.projection_cell import ProjectedCell

DEPTHS = 24
"""Heights along the beam that are tried, in parts of the period."""

NEAR = 0.35
"""Å within which an atom lies on a column."""

MERGED = 0.6
"""Å within which images of an atom are taken to be one."""

APART = 1.4
"""Å; atoms are not nearer to each other."""

ASSIGNMENTS = 4
"""Sets of elements for which crystals are made."""

MOST = 6
"""Candidates that are given."""

ORIGINS, NODES = 60, 400
"""Places of the origin that are tried in a space group, and orbits that are combined at each."""


@dataclass(frozen=True, eq=False)
class Orbit:
    """An orbit that lies on columns.

    Attributes:
        xyz: of its first atom.
        atoms: all in the cell: (atom, 3).
        covered: atoms in the cell on every column: (k,).
    """

    xyz: FloatArray
    atoms: FloatArray
    covered: np.ndarray


def assignments(
    places: np.ndarray, elements: tuple[tuple[Guess, ...], ...], operations: Sequence[PlaneOperation]
) -> list[tuple[Guess, ...]]:
    """Sets of elements for the columns, the most likely first; columns that symmetry makes one are one element."""
    orbit = _columns_made_one(places, operations)
    groups = sorted(set(orbit))
    options: list[list[tuple[float, Guess]]] = []
    for group in groups:
        mine = [elements[i] for i in range(len(orbit)) if orbit[i] == group]
        total: dict[tuple[str, int], float] = {}
        for guess in mine[0]:
            chances = [
                next((g.probability for g in c if (g.element, g.count) == (guess.element, guess.count)), 1e-4)
                for c in mine
            ]
            total[guess.element, guess.count] = float(np.mean(np.log(chances)))
        best = sorted(mine[0], key=lambda g: -total[g.element, g.count])[:4]
        options.append([(total[g.element, g.count], g) for g in best])
    sets = sorted(itertools.product(*options), key=lambda s: -sum(p for p, _ in s))[:ASSIGNMENTS]
    return [tuple(s[groups.index(o)][1] for o in orbit) for s in sets]


def _columns_made_one(places: np.ndarray, operations: Sequence[PlaneOperation]) -> list[int]:
    """The first of the columns that the operations carry into each column."""
    number = list(range(len(places)))
    for operation in operations:
        if operation.likeness < LIKE:
            continue
        apart = (places @ operation.matrix.T + operation.shift)[:, None] - places[None]
        apart -= np.round(apart)
        near = np.abs(apart).sum(axis=2)
        for i, j in enumerate(near.argmin(axis=1).tolist()):
            if near[i, j] < 0.12:
                low, high = sorted((number[i], number[j]))
                number = [low if n == high else n for n in number]
    return number


def space_groups_of(cell: ProjectedCell) -> list[int]:
    """Numbers of the space groups that a lattice can have in their reference setting, the highest first."""
    found = []
    for number in range(230, 0, -1):
        group = gemmi.get_spacegroup_reference_setting(number)
        if group.hm[0] != cell.centring:
            continue
        with suppress(CrystalError):
            check_metric(cell.crystal.direct, matrices_of(operations_of(group))[0])
            found.append(number)
    system = gemmi.find_spacegroup_by_number(found[0]).crystal_system() if found else None
    return [n for n in found if gemmi.find_spacegroup_by_number(n).crystal_system() == system]


def crystals_of(
    cell: ProjectedCell,
    places: FloatArray,
    elements: Sequence[Guess],
    groups: Sequence[int],
) -> list[Crystal]:
    """Crystals whose projection has these columns, those of high symmetry and few sites first.

    One column is put on a position without free coordinates of each group in turn; the others take the depths
    along the beam that keep every image of an atom on a column of its element.

    Args:
        cell: the lattice.
        places: of the columns, in fractions of the projected cell: (k, 2).
        elements: of every column.
        groups: numbers of the space groups to be tried.
    """
    found: list[tuple[int, int, int, Crystal]] = []
    known: set[tuple[object, ...]] = set()
    for number in groups:
        operations = operations_of(gemmi.get_spacegroup_reference_setting(number))
        for orbits in _fillings(cell, places, elements, number, operations):
            crystal = _crystal(cell, number, operations, orbits, elements)
            if crystal is None:
                continue
            key = _mark(crystal)
            if key in known:
                continue
            known.add(key)
            found.append((-len(operations), len(orbits), -number, crystal))
        if len(found) >= MOST:
            break
    found.sort(key=lambda entry: (entry[1], *entry[:1], entry[2]))
    return [entry[3] for entry in found[:MOST]]


def _fillings(
    cell: ProjectedCell,
    places: FloatArray,
    elements: Sequence[Guess],
    number: int,
    operations: tuple[str, ...],
) -> Iterator[list[Orbit]]:
    """Sets of orbits that fill all columns, for origins that put the first column on a special point."""
    rotations, translations = matrices_of(operations)
    kinds = [guess.element for guess in elements]
    tried: set[tuple[int, ...]] = set()
    copies = round(cell.crystal.volume / cell.volume)
    atoms = copies * sum(guess.count for guess in elements)
    for position in positions_of(number):
        M, c = position.affine()
        if M.any() or position.multiplicity > atoms:
            continue
        for R, t in zip(rotations, translations, strict=True):
            for sign in (1.0, -1.0):
                shift = cell.hkl @ (R @ c + t) - sign * places[0]
                mark = (int(sign), *np.round(48 * (shift % 1.0)).astype(int) % 48)
                if mark in tried or len(tried) >= ORIGINS:
                    continue
                tried.add(mark)
                moved = (sign * places + shift) % 1.0
                orbits: list[list[Orbit]] = []
                for k in range(len(places)):  # one column without an orbit is enough
                    orbits.append(_orbits(cell, moved, kinds, k, rotations, translations))
                    if not orbits[-1]:
                        break
                else:
                    yield from itertools.islice(_covers(cell, orbits, elements), 2)


def _orbits(
    cell: ProjectedCell,
    places: FloatArray,
    kinds: Sequence[str],
    column: int,
    rotations: np.ndarray,
    translations: FloatArray,
) -> list[Orbit]:
    """Orbits through a column all of whose atoms lie on columns of its element."""
    zone = np.array(cell.frame.zone_axis, dtype=float)
    first = np.linalg.lstsq(cell.hkl.astype(float), places[column], rcond=None)[0]
    found: dict[frozenset[tuple[int, ...]], Orbit] = {}
    for depth in range(DEPTHS):
        xyz = first + depth / DEPTHS * zone
        images = rotations @ xyz + translations
        nearest, distance = _nearest(cell, images, places)
        if distance.max() > NEAR or any(kinds[n] != kinds[column] for n in set(nearest.tolist())):
            continue
        xyz = _on_special(cell, xyz, images)
        atoms = _distinct((rotations @ xyz + translations) % 1.0, cell)
        if _closest(atoms, atoms, cell) < APART:
            continue
        covered = np.bincount(_nearest(cell, atoms, places)[0], minlength=len(places))
        key = frozenset(map(tuple, (np.round(48 * atoms).astype(int) % 48).tolist()))
        found.setdefault(key, Orbit(xyz % 1.0, atoms, covered))
    return list(found.values())


def _nearest(cell: ProjectedCell, atoms: FloatArray, places: FloatArray) -> tuple[np.ndarray, FloatArray]:
    """The nearest column of every atom and its distance in Å."""
    apart = (atoms @ cell.hkl.T)[:, None] - places[None]
    apart -= np.round(apart)
    distance = np.linalg.norm(apart @ cell.edges.T, axis=2)
    return distance.argmin(axis=1), distance.min(axis=1)


def _on_special(cell: ProjectedCell, xyz: FloatArray, images: FloatArray) -> FloatArray:
    """The point moved onto the special position that it nearly lies on: the mean of its nearest images."""
    apart = images - xyz
    apart -= np.round(apart)
    near = np.linalg.norm(apart @ cell.crystal.direct.T, axis=1) < MERGED
    return np.asarray(xyz + apart[near].mean(axis=0))


def _covers(
    cell: ProjectedCell, orbits: Sequence[list[Orbit]], elements: Sequence[Guess]
) -> Iterator[list[Orbit]]:
    """Sets of orbits that put as many atoms on every column as it has."""
    copies = round(cell.crystal.volume / cell.volume)
    wanted = np.array([guess.count * copies for guess in elements])

    left = NODES

    def fill(chosen: list[Orbit], covered: np.ndarray) -> Iterator[list[Orbit]]:
        nonlocal left
        open_columns = np.flatnonzero(covered < wanted)
        if not len(open_columns):
            yield chosen
            return
        for orbit in orbits[int(open_columns[0])]:
            left -= 1
            if left < 0:
                return
            more = covered + orbit.covered
            if np.any(more > wanted) or any(_closest(orbit.atoms, o.atoms, cell) < APART for o in chosen):
                continue
            yield from fill([*chosen, orbit], more)

    yield from fill([], np.zeros(len(wanted), dtype=int))


def _crystal(
    cell: ProjectedCell,
    number: int,
    operations: tuple[str, ...],
    orbits: Sequence[Orbit],
    elements: Sequence[Guess],
) -> Crystal | None:
    sites = []
    for place, orbit in enumerate(orbits):
        guess = elements[int(np.flatnonzero(orbit.covered)[0])]
        x, y, z = (float(round(v * 48) / 48 if abs(v * 48 - round(v * 48)) < 0.12 else v) % 1.0 for v in orbit.xyz)
        sites.append(Site(f"{guess.element}{place + 1}", guess.element, (x, y, z), u_iso=guess.b_iso / B_PER_U))
    try:
        symbol = gemmi.get_spacegroup_reference_setting(number).xhm()
        crystal = Crystal("solved", cell.crystal.cell, tuple(sites), operations, symbol)
        return crystal if len(crystal.atoms) == sum(len(o.atoms) for o in orbits) else None
    except CrystalError:
        return None


def _distinct(images: FloatArray, cell: ProjectedCell) -> FloatArray:
    """Images of an atom, one of those that fall together."""
    apart = images[:, None] - images[None]
    apart -= np.round(apart)
    same = np.linalg.norm(apart @ cell.crystal.direct.T, axis=2) < 0.3
    return np.asarray(images[~np.any(np.tril(same, -1), axis=1)])


def _closest(first: FloatArray, second: FloatArray, cell: ProjectedCell) -> float:
    """Smallest distance in Å of two sets of atoms, an atom and itself left out."""
    apart = first[:, None] - second[None]
    apart -= np.round(apart)
    distance = np.linalg.norm(apart @ cell.crystal.direct.T, axis=2)
    if first is second:
        distance = distance + 1e3 * np.eye(len(first))
    return float(distance.min(initial=1e3))


def _mark(crystal: Crystal) -> tuple[object, ...]:
    """The same for crystals with the same atoms around each, wherever the origin is."""
    atoms = crystal.atoms
    apart = atoms.xyz[:, None] - atoms.xyz[None]
    apart -= np.round(apart)
    distance = np.round(np.linalg.norm(apart @ crystal.direct.T, axis=2), 1)
    rows = (tuple(sorted(zip(row.tolist(), atoms.elements, strict=True))) for row in distance)
    return tuple(sorted((e, r) for e, r in zip(atoms.elements, rows, strict=True)))
