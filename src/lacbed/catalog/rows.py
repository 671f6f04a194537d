"""Rows of a catalogue: from and to a `Crystal`, and one for each structure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from lacbed.catalog.chemistry import (
    Orbit,
    amounts_of,
    anonymous_prototype,
    compound_id,
    reduced_formula,
    wyckoff_signature,
)
from lacbed.catalog.files import Row
from lacbed.crystals import Crystal, Site
from lacbed.crystals.cell import Cell
from lacbed.crystals.site import B_PER_U, DEFAULT_B_ISO
from lacbed.crystals.symmetry import operations_of
from lacbed.crystals.wyckoff import Position, locate
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


_NEEDED = ("formula", "space_group", "a", "sites")

SAME_LENGTH = 0.02
"""Å; two rows of a compound whose cell lengths differ by no more than this are one structure."""

_PREFERENCE = ("experimental", "idealised_framework", "dft_relaxed_known", "dft_relaxed_theoretical", "generated")


def crystal_of(row: Mapping[str, Any], default_b_iso: float = DEFAULT_B_ISO) -> Crystal:
    """The crystal of a row; sites without U_iso get B = `default_b_iso` (Å²), with a note.

    What else the row states (multiplicities, atoms per cell, density, shortest distance) must be true of it.

    Args:
        row: with at least the columns formula, space_group, a and sites; b, c and the angles if not cubic.
        default_b_iso: in Å².

    Raises:
        CrystalError: if a value is missing, the geometry is impossible or not the one stated, naming the row.
    """
    title = f"{row.get('formula')} ({row.get('source')} {row.get('source_id')})"
    missing = [name for name in _NEEDED if row.get(name) is None]
    if missing:
        raise CrystalError(f"catalogue row {title} has no {', '.join(missing)}")
    try:
        sites = [_site(i, entry, default_b_iso) for i, entry in enumerate(row["sites"], start=1)]
        cell = cell_of(row)
        lacking = sum(entry.get("u_iso") is None for entry in row["sites"])
        notes = (f"no Debye-Waller factor for {lacking} sites; B = {default_b_iso:g} Å² assumed",)
        source = f"{row.get('source')} {row.get('source_id')} ({row.get('licence')})"
        crystal = Crystal.build(
            row["formula"], cell, int(row["space_group"]), sites, notes=notes if lacking else (), source=source
        )
        check_stated(row, crystal)
        return crystal
    except (CrystalError, KeyError, TypeError, ValueError) as error:
        text = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise CrystalError(f"catalogue row {title}: {text}") from None


def _site(number: int, entry: Mapping[str, Any], default_b_iso: float) -> Site:
    u_iso = entry.get("u_iso")
    return Site(
        f"{entry['element']}{number}",
        entry["element"],
        (entry["x"], entry["y"], entry["z"]),
        entry["occupancy"] if entry.get("occupancy") is not None else 1.0,
        default_b_iso / B_PER_U if u_iso is None else u_iso,
    )


def cell_of(row: Mapping[str, Any]) -> Cell:
    """a, b, c in Å and α, β, γ in degrees; what a row leaves out is that of a cubic cell."""
    a = float(row["a"])
    b, c = (float(row[name]) if row.get(name) is not None else a for name in ("b", "c"))
    alpha, beta, gamma = (
        float(row[name]) if row.get(name) is not None else 90.0 for name in ("alpha", "beta", "gamma")
    )
    return a, b, c, alpha, beta, gamma


def row_of(
    crystal: Crystal,
    *,
    source: str,
    source_id: str,
    licence: str,
    kind: str,
    experimentally_known: bool | None = None,
    symprec: float = 0.0,
    note: Mapping[str, Any] | None = None,
    known_u: bool = True,
) -> Row:
    """The row of a crystal that stands in the reference setting of its space group.

    Args:
        crystal: its sites are brought to the coordinates of International Tables.
        source: where it comes from.
        source_id: under which id.
        licence: of the data, an SPDX identifier if there is one.
        kind: experimental, idealised_framework, dft_relaxed_known, dft_relaxed_theoretical or generated.
        experimentally_known: None if unknown.
        symprec: distance in Å at which the symmetry was found.
        note: further facts, kept as JSON.
        known_u: False if the crystal's displacements are an assumption; they are then left out.

    Raises:
        CrystalError: if the operations are not those of a reference setting.
    """
    group = _reference_group(crystal)
    places = _places(crystal, group.number, known_u)
    orbits = [
        Orbit({s["element"]: s["occupancy"] for s in sites}, position.letter, position.multiplicity)
        for position, sites in places
    ]
    row = _labels(group.number, orbits) | _geometry(crystal, group, orbits)
    sites = sorted((s for _, group_sites in places for s in group_sites), key=_order)
    return row | {
        "source": source,
        "source_id": source_id,
        "licence": licence,
        "kind": kind,
        "experimentally_known": experimentally_known,
        "symprec": symprec,
        "has_u_iso": all(s["u_iso"] is not None for s in sites),
        "sites": sites,
        "note": json.dumps(dict(note or {}), ensure_ascii=False, sort_keys=True),
    }


def _order(site: Mapping[str, Any]) -> tuple[str, str, float, float, float]:
    return site["wyckoff"], site["element"], site["x"], site["y"], site["z"]


def _reference_group(crystal: Crystal) -> gemmi.SpaceGroup:
    group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(t) for t in crystal.operations]))
    if group is None or set(operations_of(group)) != set(crystal.operations) or not group.is_reference_setting():
        raise CrystalError(
            f"{crystal.name}: expected the reference setting of a space group, "
            f"got {crystal.space_group or 'another'}"
        )
    return group


def _places(crystal: Crystal, number: int, known_u: bool) -> list[tuple[Position, list[Row]]]:
    """Sites grouped by the place that they share, each with its Wyckoff position."""
    atoms = crystal.atoms
    places: dict[tuple[str, tuple[float, ...]], tuple[Position, list[Row]]] = {}
    for index, site in enumerate(crystal.sites):
        first = int(np.flatnonzero(atoms.site == index)[0])
        position, xyz = locate(number, atoms.xyz[first])
        x, y, z = (float(v) for v in np.round(xyz, 6) % 1.0)
        entry = {
            "element": site.element,
            "wyckoff": position.letter,
            "multiplicity": position.multiplicity,
            "site_symmetry": position.site_symmetry,
            "x": x,
            "y": y,
            "z": z,
            "occupancy": round(min(site.occupancy, 1.0), 6),
            "u_iso": round(float(atoms.b_iso[first]) / B_PER_U, 7) if known_u else None,
        }
        places.setdefault((position.letter, (round(x, 3), round(y, 3), round(z, 3))), (position, []))[1].append(
            entry
        )
    return list(places.values())


def _labels(number: int, orbits: Sequence[Orbit]) -> Row:
    formula, signature = reduced_formula(orbits), wyckoff_signature(number, orbits)
    elements = sorted({element for orbit in orbits for element in orbit.shares})
    return {
        "formula": formula,
        "anonymous_prototype": anonymous_prototype(number, orbits),
        "space_group": number,
        "elements": elements,
        "n_elements": len(elements),
        "wyckoff_signature": signature,
        "compound_id": compound_id(number, formula, signature),
    }


def relabelled(row: Mapping[str, Any]) -> Row:
    """The row with the formula, prototype and compound that its group and sites say.

    Raises:
        CrystalError: if a site lacks its element, its place or its Wyckoff position.
    """
    shares: dict[tuple[str, int, float, float, float], dict[str, float]] = {}
    try:
        for site in row["sites"]:
            x, y, z = (round(float(site[name]), 3) for name in ("x", "y", "z"))
            place = shares.setdefault((str(site["wyckoff"]), int(site["multiplicity"]), x, y, z), {})
            occupancy = site.get("occupancy")
            place[site["element"]] = place.get(site["element"], 0.0) + (1.0 if occupancy is None else occupancy)
        orbits = [Orbit(found, letter, number) for (letter, number, *_), found in shares.items()]
        return {**row, **_labels(int(row["space_group"]), orbits)}
    except (KeyError, TypeError, ValueError) as error:
        raise CrystalError(
            f"a row of the catalogue has no complete sites: {type(error).__name__} {error}"
        ) from None


def _geometry(crystal: Crystal, group: gemmi.SpaceGroup, orbits: Sequence[Orbit]) -> Row:
    amounts = amounts_of(orbits)
    sites = sum(orbit.multiplicity for orbit in orbits)
    mass = sum(n * float(gemmi.Element(element).weight) for element, n in amounts.items())
    lattice_points = len(list(group.operations().cen_ops))
    a, *rest = crystal.cell
    names = ("b", "c", "alpha", "beta", "gamma")
    return {
        "a": a,
        **dict(zip(names, [None] * 5 if group.number >= 195 else rest, strict=True)),
        "n_atoms_conv": sum(amounts.values()),
        "n_sites_conv": sites,
        "n_sites_prim": sites // lattice_points,
        "n_asym": len(orbits),
        "ordered": all(len(o.shares) == 1 and abs(sum(o.shares.values()) - 1) < 1e-3 for o in orbits),
        "density": mass * ATOMIC_MASS / crystal.volume,
        "min_distance": nearest_distance(crystal),
    }


def deduplicated(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """Rows without repetitions, in their order, and each row left out with the one that stands for it.

    Rows are one structure if space group, formula and Wyckoff signature are equal and no cell length differs
    by more than `SAME_LENGTH`. A measured row with U_iso is preferred, then a measured one, then the others.
    """
    ranked = sorted(range(len(rows)), key=lambda i: (_rank(rows[i]), i))
    kept: dict[str, list[int]] = {}
    dropped: list[tuple[int, int]] = []
    for i in ranked:
        same = next((j for j in kept.get(rows[i]["compound_id"], ()) if _same_cell(rows[i], rows[j])), None)
        if same is None:
            kept.setdefault(rows[i]["compound_id"], []).append(i)
        else:
            dropped.append((i, same))
    order = sorted(i for group in kept.values() for i in group)
    return [rows[i] for i in order], [(rows[i], rows[j]) for i, j in sorted(dropped)]


def _rank(row: Row) -> tuple[int, int]:
    kind = row["kind"]
    place = _PREFERENCE.index(kind) if kind in _PREFERENCE else len(_PREFERENCE)
    return place, 0 if row.get("has_u_iso") else 1


def _same_cell(one: Row, other: Row) -> bool:
    pairs = zip(cell_of(one)[:3], cell_of(other)[:3], strict=True)
    return all(abs(p - q) <= SAME_LENGTH + 1e-9 for p, q in pairs)
