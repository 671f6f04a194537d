"""Whether a crystal can exist, and is the one that its row of a catalogue describes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from lacbed.crystals import Crystal
from lacbed.errors import CrystalError

ATOMIC_MASS = 1.66053907
"""g/cm³ of one atomic mass unit per Å³."""

SHORTEST_BOND = 0.6
"""Å; no two atoms come closer: the bond of H2, the shortest that there is, measures 0.74 Å."""

_HALF = 0.505
"""Places filled by more than half, up to rounding, cannot stand for either-or, so that both are there at once."""

_ATOMS, _DENSITY, _DISTANCE = 0.01, 0.1, 0.1
"""Largest relative difference of each quantity from what a row states."""


def check_stated(row: Mapping[str, Any], crystal: Crystal) -> None:
    """Compare a crystal with the columns of its row that it was not made from; columns that are null say nothing.

    Raises:
        CrystalError: if atoms are closer than any bond, or multiplicities, atoms per cell, density or shortest
            distance are not those of the row.
    """
    closest = nearest_distance(crystal)
    if closest < SHORTEST_BOND and (certain := nearest_distance(crystal, _HALF)) < SHORTEST_BOND:
        raise CrystalError(
            f"two atoms are {certain:.2f} Å apart, closer than any bond ({SHORTEST_BOND} Å); check the cell and "
            "the coordinates"
        )
    _check_multiplicities(row, crystal)
    atoms = crystal.atoms
    weights = [float(gemmi.Element(element).weight) for element in atoms.elements]
    for name, unit, found, tolerance in (
        ("n_atoms_conv", "", float(atoms.occupancy.sum()), _ATOMS),
        ("density", " g/cm³", float(atoms.occupancy @ weights) * ATOMIC_MASS / crystal.volume, _DENSITY),
        ("min_distance", " Å", closest, _DISTANCE),
    ):
        stated = row.get(name)
        if stated is not None and not abs(found - stated) <= tolerance * abs(stated):
            raise CrystalError(
                f"the row states {name} = {stated:.4g}{unit}, but its cell and sites give {found:.4g}{unit}; "
                "check the cell, the space group and the coordinates, or leave that column empty"
            )


def _check_multiplicities(row: Mapping[str, Any], crystal: Crystal) -> None:
    """Sites of the row that do not have the stated number of equivalent atoms in its space group."""
    counts = np.bincount(crystal.atoms.site, minlength=len(crystal.sites))
    for site, entry, count in zip(crystal.sites, row["sites"], counts.tolist(), strict=True):
        stated = entry.get("multiplicity")
        if stated is not None and stated != count:
            raise CrystalError(
                f"site {site.label} is stated to be Wyckoff position {stated}{entry.get('wyckoff') or ''}, but "
                f"has multiplicity {count} in space group {row['space_group']}; check the group and coordinates"
            )


def nearest_distance(crystal: Crystal, fuller_than: float = 0.0) -> float:
    """Shortest distance in Å between two places of the crystal, its lattice translations included.

    Args:
        crystal: whose atoms.
        fuller_than: only places whose occupancies sum to more than that.
    """
    atoms = crystal.atoms
    reach = max(1, math.ceil(3.0 / min(crystal.cell[:3])))
    steps = np.arange(-reach, reach + 1)
    shifts = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    centres, place = np.unique(np.round(atoms.xyz, 4) % 1.0, axis=0, return_inverse=True)
    centres = centres[np.bincount(place.ravel(), weights=atoms.occupancy) > fuller_than]
    near = (centres[None] + shifts[:, None]).reshape(-1, 3) @ crystal.direct.T
    gaps = cKDTree(near).query(centres @ crystal.direct.T, k=min(6, len(near)))[0] if len(near) else np.zeros(0)
    apart = gaps[gaps > 0.1]
    return float(apart.min()) if len(apart) else min(crystal.cell[:3])
