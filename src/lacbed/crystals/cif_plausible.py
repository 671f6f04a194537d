"""What is possible in a crystal but unlikely, and so is named: all that checks a file that says nothing twice."""

from __future__ import annotations

import math
import re
from collections import defaultdict

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from lacbed.crystals.cell import Cell, FloatArray
from lacbed.crystals.cif_displacements import some
from lacbed.crystals.crystal import Crystal
from lacbed.crystals.expand import IntArray

_TOO_CLOSE = 0.6
"""Of the sum of covalent radii; in real crystals atoms that are there together are farther apart."""

_TOO_EMPTY = 3.5
"""Volume of a cell over that of cubes around its atoms; silicon, an open structure, has 1.7."""

_LEAST_CUBE = 12.0  # Å³, of oxygen; hydrogen takes about 5
_FULL = 0.99
_NEIGHBOURS = 16
_REACH = 3.0
_EQUAL = 1e-5  # relative, of lengths; 1e-3 degrees


def remarks_on_likelihood(crystal: Crystal, has_formula: bool) -> list[str]:
    """Notes on distances, a cell too regular and, if no formula counts the atoms, on what may be missing."""
    notes = _on_distances(crystal) + _on_regular_cell(crystal)
    return notes if has_formula else notes + _on_room(crystal) + _on_gaps([site.label for site in crystal.sites])


def images_within(crystal: Crystal, reach: float) -> tuple[FloatArray, IntArray]:
    """Cartesian points of the atoms of the cell and of all images within reach of it, and the atom of each."""
    margin = reach * np.linalg.norm(crystal.reciprocal, axis=0)
    count = np.ceil(margin).astype(int)
    steps = np.indices(2 * count + 1).reshape(3, -1).T - count
    points = crystal.atoms.xyz[None] + steps[:, None]
    near = np.all((points >= -margin) & (points <= 1.0 + margin), axis=-1)
    owner = np.broadcast_to(np.arange(len(crystal.atoms), dtype=np.int64), near.shape)[near]
    return points[near] @ crystal.direct.T, owner


def _on_distances(crystal: Crystal) -> list[str]:
    """Atoms that are there together and closer than any bond."""
    radius = {e: float(gemmi.Element(e).covalent_r) for e in set(crystal.atoms.elements)}
    reach = min(2 * _TOO_CLOSE * max(radius.values()), _REACH)
    points, owner = images_within(crystal, reach)
    home = crystal.atoms.xyz @ crystal.direct.T
    near = cKDTree(points).query(home, k=min(_NEIGHBOURS, len(points)), distance_upper_bound=reach)
    distance, neighbour = (np.reshape(part, (len(home), -1)) for part in near)
    first, column = np.nonzero((distance > 1e-6) & np.isfinite(distance))
    distance, second = distance[first, column], owner[neighbour[first, column]]
    radii = np.array([radius[e] for e in crystal.atoms.elements])
    together = crystal.atoms.occupancy[first] + crystal.atoms.occupancy[second] > 1.1
    close = together & (distance < _TOO_CLOSE * (radii[first] + radii[second]))
    found: dict[tuple[int, int], float] = {}
    for i, j, gap in zip(first[close], second[close], distance[close].tolist(), strict=True):
        one, other = sorted((int(crystal.atoms.site[i]), int(crystal.atoms.site[j])))
        found[one, other] = min(gap, found.get((one, other), math.inf))
    listed = [f"{crystal.sites[i].label}-{crystal.sites[j].label} {d:.2f} Å" for (i, j), d in found.items()]
    return [f"atoms closer than any bond: {some(listed, 4)}"] if listed else []


def _on_regular_cell(crystal: Crystal) -> list[str]:
    """A cell with the shape of a higher crystal system than that of the space group; P 1 lists any crystal."""
    group = gemmi.find_spacegroup_by_name(crystal.space_group) if crystal.space_group else None
    if group is None or group.number <= 2:
        return []
    shape, system = _shape(crystal.cell), group.crystal_system_str()
    order = ("monoclinic", "orthorhombic", "tetragonal", "cubic")
    if system not in order or shape not in order[2:] or order.index(shape) <= order.index(system):
        return []
    return [f"the cell has the shape of a {shape} one, but the space group {crystal.space_group} is {system}"]


def _shape(cell: Cell) -> str:
    lengths, angles = cell[:3], cell[3:]
    if any(abs(angle - 90.0) > 1e-3 for angle in angles):
        return "oblique"
    pairs = sum(math.isclose(lengths[i], lengths[j], rel_tol=_EQUAL) for i, j in ((0, 1), (0, 2), (1, 2)))
    return {0: "orthorhombic", 1: "tetragonal"}.get(pairs, "cubic")


def _on_room(crystal: Crystal) -> list[str]:
    """Cells with much empty space, or without a single place that is full."""
    atoms = crystal.atoms
    cubes = {
        e: 5.0 if e in ("H", "D") else max(_LEAST_CUBE, (2.0 * float(gemmi.Element(e).covalent_r)) ** 3)
        for e in set(atoms.elements)
    }
    filled = sum(cubes[e] * share for e, share in zip(atoms.elements, atoms.occupancy.tolist(), strict=True))
    notes = []
    if crystal.volume > _TOO_EMPTY * filled:
        share = crystal.volume / float(atoms.occupancy.sum())
        notes.append(f"much empty space: {share:.0f} Å³ for each atom; check cell, atoms and space group")
    places: dict[tuple[float, ...], float] = defaultdict(float)
    for point, occupancy in zip(map(tuple, atoms.xyz.round(3).tolist()), atoms.occupancy.tolist(), strict=True):
        places[point] += occupancy
    if max(places.values()) < _FULL:
        notes.append(
            f"no place of the crystal is full: occupancies up to {max(places.values()):g}; are they others?"
        )
    return notes


def _on_gaps(labels: list[str]) -> list[str]:
    """Labels that are numbered, in all or by element, with a number left out."""
    matched = [re.fullmatch(r"([A-Za-z]{1,2})(\d{1,4})", label) for label in labels]
    pairs = [(m.group(1), int(m.group(2))) for m in matched if m]
    if not pairs or len(pairs) < len(labels) or _is_run([number for _, number in pairs]):
        return []
    by_element: dict[str, list[int]] = defaultdict(list)
    for element, number in pairs:
        by_element[element].append(number)
    gaps = [f"{element}{_first_gap(found)}" for element, found in by_element.items() if not _is_run(found)]
    return [f"the labels leave out {some(gaps, 4)}; is an atom missing?"] if gaps else []


def _is_run(numbers: list[int]) -> bool:
    """Whether they are all numbers from 0 or 1 to the largest."""
    return set(numbers) | {0} == set(range(max(numbers) + 1))


def _first_gap(numbers: list[int]) -> int:
    return next(n for n in range(1, max(numbers) + 1) if n not in numbers)
