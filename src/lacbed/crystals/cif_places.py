"""Where the atoms of a CIF lie, compared with what it says: multiplicities, split positions, bonds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import gemmi
import numpy as np
from gemmi import cif
from scipy.spatial import cKDTree

from lacbed.crystals.cell import FloatArray
from lacbed.crystals.cif_displacements import some
from lacbed.crystals.cif_loops import Columns, atoms_of, columns_with
from lacbed.crystals.cif_plausible import images_within
from lacbed.crystals.cif_species import shown
from lacbed.crystals.cif_text import text_of
from lacbed.crystals.crystal import Crystal
from lacbed.crystals.expand import is_rounded, merged_orbit

_MULTIPLICITY_TAGS = ("_atom_site_site_symmetry_multiplicity", "_atom_site_symmetry_multiplicity")
_ORDER_TAG = "_atom_site_site_symmetry_order"
_WYCKOFF_TAGS = ("_atom_site_wyckoff_symbol", "_atom_site_wyckoff_label", "_atom_site_wyckoff_letter")

_FAR = 0.03
"""Å from a special position on which an atom is put without its being said."""

_REACH = 3.0
_MOST_BONDS = 3000


def settled(
    data: cif.Block, crystal: Crystal, fits: Callable[[Crystal], bool | None], notes: list[str]
) -> Crystal:
    """The crystal with every site that may be split or special decided by the file's multiplicities or formula.

    Args:
        data: the block.
        crystal: with such sites kept split (see `expand`).
        fits: whether formula and Z fit a crystal; None if the file does not give them.
        notes: what was decided without the file's saying is added to them.
    """
    made = _multiplicities(crystal)
    merged: dict[int, tuple[tuple[float, float, float], int]] = {}
    for index, site in enumerate(crystal.sites):
        if made[index] > 1 and site.occupancy <= 0.5:
            points = merged_orbit(site.xyz, crystal.rotations, crystal.translations, crystal.direct)
            if len(points) < made[index]:
                merged[index] = (_nearest(points, site.xyz, crystal), len(points))
    if not merged:
        return crystal
    said = said_multiplicities(data, crystal)
    by_tag = {i for i in merged if said.get(i) == merged[i][1]}
    undecided = [i for i in merged if i not in by_tag and said.get(i) != made[i]]
    crystal = _moved(crystal, {i: merged[i][0] for i in by_tag})
    if undecided:
        together = _moved(crystal, {i: merged[i][0] for i in undecided})
        if fits(crystal) is False and fits(together):
            crystal, by_tag = together, by_tag | set(undecided)
        elif not fits(crystal):
            names = some([crystal.sites[i].label for i in undecided])
            notes.append(
                f"{names}: images closer than 0.1 Å kept apart as a split position; occupancies fill it once"
            )
    if by_tag:
        notes.append(
            f"{some([crystal.sites[i].label for i in sorted(by_tag)])} put on the special position nearby"
        )
    return crystal


def _moved(crystal: Crystal, points: dict[int, tuple[float, float, float]]) -> Crystal:
    sites = tuple(replace(s, xyz=points[i]) if i in points else s for i, s in enumerate(crystal.sites))
    return replace(crystal, sites=sites) if points else crystal


def _nearest(points: FloatArray, xyz: tuple[float, float, float], crystal: Crystal) -> tuple[float, float, float]:
    """The image of a special position nearest to a point, in the cell of the point."""
    step = points - np.asarray(xyz)
    step -= np.round(step)
    x, y, z = np.asarray(xyz) + step[int(np.argmin(np.linalg.norm(step @ crystal.direct.T, axis=1)))]
    return float(x), float(y), float(z)


def _multiplicities(crystal: Crystal) -> list[int]:
    return [int(n) for n in np.bincount(crystal.atoms.site, minlength=len(crystal.sites))]


def _column(atoms: Columns, crystal: Crystal, *tags: str) -> dict[int, str]:
    """Raw values of the first of some columns, by site."""
    values = next((atoms[tag] for tag in tags if tag in atoms), None)
    names = next(
        (atoms[t] for t in ("_atom_site_label", "_atom_site_id", "_atom_site_type_symbol") if t in atoms), []
    )
    if values is None:
        return {}
    left = [(text_of(name), text_of(value)) for name, value in zip(names, values, strict=True)]
    found: dict[int, str] = {}
    start = 0
    for index, site in enumerate(crystal.sites):  # sites are rows in their order, some rows left out
        while start < len(left) and left[start][0] != site.label:
            start += 1
        if start == len(left):
            break
        found[index] = left[start][1]
        start += 1
    return found


def _whole(texts: dict[int, str]) -> dict[int, int]:
    return {i: int(float(t)) for i, t in texts.items() if re.fullmatch(r"[1-9]\d{0,2}(?:\.0*)?", t)}


def said_multiplicities(data: cif.Block, crystal: Crystal) -> dict[int, int]:
    """Multiplicities that the file states, the order of the site symmetry turned into one.

    Older files of SHELXL state that order under the name of the multiplicity; they are recognised by their 1s.
    """
    count, atoms = len(crystal.operations), atoms_of(data)
    said = _whole(_column(atoms, crystal, *_MULTIPLICITY_TAGS))
    made = _multiplicities(crystal)
    if said and any(said[i] != made[i] for i in said):
        as_order = {i: count // v for i, v in said.items() if count % v == 0}
        if len(as_order) == len(said) and all(as_order[i] == made[i] for i in said):
            return as_order
    if not said:
        orders = _whole(_column(atoms, crystal, _ORDER_TAG))
        said = {i: count // v for i, v in orders.items() if count % v == 0}
    if not said:
        words = _column(atoms, crystal, *_WYCKOFF_TAGS)
        said = _whole({i: re.sub(r"[A-Za-z'()\s]+$", "", word) for i, word in words.items()})
    return said


def remarks_on_places(data: cif.Block, crystal: Crystal) -> list[str]:
    """Notes on multiplicities, Wyckoff letters, attached hydrogens, shifts and bonds."""
    notes = remarks_on_multiplicities(data, crystal)
    atoms = atoms_of(data)
    attached = {
        i: float(cif.as_number(text))
        for i, text in _column(atoms, crystal, "_atom_site_attached_hydrogens").items()
    }
    bearing = [crystal.sites[i].label for i, n in attached.items() if n > 0]
    if bearing and not any("hydrogen" in note for note in crystal.notes):
        notes.append(f"hydrogen attached to {some(bearing)} is not among the atoms and is left out")
    notes += _on_shifts(crystal)
    wrong_bonds = _wrong_bonds(data, crystal)
    if wrong_bonds:
        notes.append(f"bonds in the file are not those of its atoms: {some(wrong_bonds, 3)}")
    return notes


def remarks_on_multiplicities(data: cif.Block, crystal: Crystal) -> list[str]:
    """Note on multiplicities or Wyckoff letters of the file that are not those of the crystal."""
    made, atoms = _multiplicities(crystal), atoms_of(data)
    if not any(tag in atoms for tag in (*_MULTIPLICITY_TAGS, _ORDER_TAG, *_WYCKOFF_TAGS)):
        return []
    given = _column(atoms, crystal, *_MULTIPLICITY_TAGS)
    odd = [
        f"{shown(crystal.sites[i].label)} {shown(t)}"
        for i, t in given.items()
        if t.strip("0.") and not _whole({i: t})
    ]
    if odd:
        return [f"multiplicities of the file are no whole numbers: {some(odd, 4)}; are columns interchanged?"]
    wrong = [
        f"{shown(crystal.sites[i].label)} {made[i]} instead of {said}"
        for i, said in said_multiplicities(data, crystal).items()
        if said != made[i]
    ]
    if wrong:
        return [f"multiplicities of the file are not those made: {some(wrong, 4)}; check symmetry and coordinates"]
    words = _column(atoms, crystal, *_WYCKOFF_TAGS)
    letters = _letters(crystal) if any(word[-1:].isalpha() for word in words.values()) else {}
    strange = [
        f"{shown(crystal.sites[i].label)} {made[i]}, position {shown(word)} has {letters.get(word[-1].lower(), 0)}"
        for i, word in words.items()
        if letters and word[-1:].isalpha() and letters.get(word[-1].lower()) != made[i]
    ]
    return [f"Wyckoff positions do not fit the multiplicities made: {some(strange, 4)}"] if strange else []


def _letters(crystal: Crystal) -> dict[str, int]:
    """Multiplicity of each Wyckoff letter in the crystal's cell; empty if the group is not known or is P 1."""
    from lacbed.crystals.wyckoff import positions_of  # a table that few files need

    group = gemmi.find_spacegroup_by_name(crystal.space_group) if crystal.space_group else None
    if group is None or group.number == 1:
        return {}
    positions = positions_of(group.number)
    largest = max(p.multiplicity for p in positions)
    return {p.letter: p.multiplicity * len(crystal.operations) // largest for p in positions}


def _on_shifts(crystal: Crystal) -> list[str]:
    """Atoms put on a special position that is too far away for rounded coordinates."""
    atoms = crystal.atoms
    step = atoms.xyz - np.array([site.xyz for site in crystal.sites])[atoms.site]
    step -= np.round(step)
    distance = np.linalg.norm(step @ crystal.direct.T, axis=1)
    order = np.lexsort((distance, atoms.site))
    nearest = order[np.unique(atoms.site[order], return_index=True)[1]]  # of each site
    moved = [
        f"{shown(crystal.sites[i].label)} by {distance[nearest[i]]:.2f} Å"
        for i in np.flatnonzero(distance[nearest] > _FAR).tolist()
        if not is_rounded(np.asarray(crystal.sites[i].xyz), step[nearest[i]])
    ]
    return [f"put on a special position nearby: {some(moved)}"] if moved else []


def _wrong_bonds(data: cif.Block, crystal: Crystal) -> list[str]:
    """Bonds of the file's table whose length no pair of atoms with these labels has."""
    table = columns_with(data, "_geom_bond_distance")
    names = [table.get(f"_geom_bond_atom_site_label_{n}", []) for n in (1, 2)]
    lengths = table.get("_geom_bond_distance", [])
    by_label: dict[str, list[int]] = {}
    for index, site in enumerate(crystal.sites):
        by_label.setdefault(site.label, []).append(index)
    if not lengths or not all(names) or len(lengths) > _MOST_BONDS or len(crystal.atoms) > _MOST_BONDS:
        return []
    points, owner = images_within(crystal, _REACH + 1.0)
    tree = cKDTree(points)
    wrong: list[str] = []
    for one, other, text in zip(*names, lengths, strict=True):
        pair = by_label.get(text_of(one), []), by_label.get(text_of(other), [])
        length = float(cif.as_number(text))
        if len(pair[0]) != 1 or len(pair[1]) != 1 or not 0.5 < length < _REACH:
            continue
        start = np.flatnonzero(crystal.atoms.site == pair[0][0])[0]
        around = np.array(tree.query_ball_point(crystal.direct @ crystal.atoms.xyz[start], length + 1.0))
        same = around[crystal.atoms.site[owner[around]] == pair[1][0]]
        made = np.linalg.norm(points[same] - crystal.direct @ crystal.atoms.xyz[start], axis=1)
        if not np.any(np.abs(made - length) < 0.03):
            wrong.append(f"{shown(text_of(one))}-{shown(text_of(other))} {length:g} Å")
    return wrong
