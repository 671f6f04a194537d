"""Bringing a crystal to the reference setting of its space group, with spglib.

Togo, Shinohara & Tanaka, Sci. Technol. Adv. Mater. Methods 4 (2024) 2384822.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from lacbed.crystals import Crystal, Site
from lacbed.crystals.cell import Cell, FloatArray
from lacbed.crystals.site import B_PER_U
from lacbed.crystals.wyckoff import operations
from lacbed.errors import CrystalError, MissingExtraError

SYMPREC, LOOSE_SYMPREC = 0.01, 0.1
"""Å; the second is tried where the first finds less symmetry than the source states."""

_Kind = tuple[tuple[str, float], ...]


def standardised(crystal: Crystal) -> tuple[Crystal, float]:
    """The crystal in the reference setting of its space group, with the symmetry that its atoms have.

    Mixed places stay mixed; displacements become isotropic, averaged over equivalent atoms.

    Returns:
        the crystal, and the distance in Å at which its symmetry was found.

    Raises:
        MissingExtraError: if spglib is not installed.
        CrystalError: if no symmetry can be found.
    """
    spglib = _spglib()
    xyz, kinds, b_iso = _places(crystal)
    numbers = _numbers(kinds)
    structure = (crystal.direct.T, xyz, numbers)
    stated = len(crystal.operations) / _translations(crystal.rotations)
    for symprec in (SYMPREC, LOOSE_SYMPREC):
        found = _dataset(spglib, structure, symprec)
        if found is not None and len(found.rotations) / _translations(found.rotations) >= stated - 1e-6:
            break
    if found is None:
        raise CrystalError(f"{crystal.name}: spglib finds no symmetry; check that no atom is listed twice")
    standard = _dataset(spglib, structure, symprec, _hall_number(found.number))
    if standard is None:
        raise CrystalError(f"{crystal.name}: group {found.number} cannot be brought to its reference setting")
    return _build(crystal, standard, kinds, b_iso), symprec


def _spglib() -> Any:
    try:
        import spglib  # optional
    except ImportError:
        raise MissingExtraError(
            "standardising crystals needs spglib; install it with: pip install 'lacbed[catalog]'"
        ) from None
    return spglib


def _dataset(spglib: Any, structure: Any, symprec: float, hall_number: int = 0) -> Any:
    """The data set of spglib, or None if it finds none; its newer versions raise, the older return None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # spglib 2.7 announces that it will raise
            return spglib.get_symmetry_dataset(structure, symprec=symprec, hall_number=hall_number)
    except Exception as error:
        if type(error).__module__.startswith("spglib"):
            return None
        raise


def _places(crystal: Crystal) -> tuple[FloatArray, list[_Kind], FloatArray]:
    """Places of the cell (place, 3), what fills each, and its mean B in Å²."""
    atoms = crystal.atoms
    first: dict[tuple[int, ...], int] = {}
    members: list[list[int]] = []
    for i, point in enumerate(np.round(atoms.xyz * 1000).astype(int) % 1000):
        place = first.setdefault(tuple(point.tolist()), len(members))
        if place == len(members):
            members.append([])
        members[place].append(i)
    kinds = [tuple(sorted((atoms.elements[i], round(float(atoms.occupancy[i]), 4)) for i in m)) for m in members]
    weights = [atoms.occupancy[m] / atoms.occupancy[m].sum() for m in members]
    b_iso = np.array([float(w @ atoms.b_iso[m]) for w, m in zip(weights, members, strict=True)])
    return atoms.xyz[[m[0] for m in members]], kinds, b_iso


def _numbers(kinds: list[_Kind]) -> list[int]:
    order = {kind: i for i, kind in enumerate(sorted(set(kinds)), start=1)}
    return [order[kind] for kind in kinds]


def _translations(rotations: Any) -> int:
    """How many operations are pure translations: the lattice points per cell."""
    return int(np.all(np.asarray(rotations) == np.eye(3, dtype=int), axis=(1, 2)).sum())


@cache
def _hall_number(number: int) -> int:
    """Spglib's number of the setting whose operations are those of the reference setting."""
    spglib = _spglib()
    reference = _keys(*operations(number))
    for hall in range(1, 531):
        if _number_of_setting(hall) == number:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                found = spglib.get_symmetry_from_database(hall)
            if _keys(found["rotations"], found["translations"]) == reference:
                return hall
    raise CrystalError(f"spglib lacks the reference setting of group {number}")


def _number_of_setting(hall: int) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return int(_spglib().get_spacegroup_type(hall).number)


def _keys(rotations: Any, translations: Any) -> set[tuple[int, ...]]:
    steps = np.rint(np.asarray(translations) * 24).astype(int) % 24
    whole = np.rint(rotations).astype(int).reshape(-1, 9)
    return {tuple(row) for row in np.concatenate([whole, steps], axis=1).tolist()}


def _build(crystal: Crystal, found: Any, kinds: list[_Kind], b_iso: FloatArray) -> Crystal:
    orbit_of = np.asarray(found.crystallographic_orbits)
    primitive = {int(p): i for i, p in reversed(list(enumerate(found.mapping_to_primitive)))}
    sites: list[Site] = []
    done: set[int] = set()
    for point, p in zip(found.std_positions, found.std_mapping_to_primitive, strict=True):
        orbit = int(orbit_of[primitive[int(p)]])
        if orbit in done:
            continue
        done.add(orbit)
        mean = float(b_iso[orbit_of == orbit].mean())
        x, y, z = (float(v) for v in point)
        sites += [
            Site(f"{element}{len(done)}", element, (x, y, z), min(share, 1.0), mean / B_PER_U)
            for element, share in kinds[orbit]
        ]
    cell = _cell(np.asarray(found.std_lattice), found.number)
    return Crystal.build(crystal.name, cell, int(found.number), sites, notes=crystal.notes, source=crystal.source)


def _cell(lattice: FloatArray, number: int) -> Cell:
    """Cell of the rows of a lattice; the lengths of a cubic cell exactly equal."""
    a, b, c = (float(v) for v in np.linalg.norm(lattice, axis=1))
    if number >= 195:
        a = b = c = (a + b + c) / 3
    elif number >= 75:
        a = b = (a + b) / 2

    def angle(i: int, j: int) -> float:
        cosine = lattice[i] @ lattice[j] / (np.linalg.norm(lattice[i]) * np.linalg.norm(lattice[j]))
        return round(float(np.degrees(np.arccos(cosine))), 6)

    return round(a, 6), round(b, 6), round(c, 6), angle(1, 2), angle(0, 2), angle(0, 1)
