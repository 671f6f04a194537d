"""Crystals from the objects of ASE and pymatgen, which need not be installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lacbed.crystals.cell import Cell, FloatArray
from lacbed.crystals.cif_displacements import some
from lacbed.crystals.crystal import Crystal
from lacbed.crystals.site import B_PER_U, DEFAULT_B_ISO, NEUTRAL_ATOMS, Site
from lacbed.errors import CrystalError

_NO_SYMMETRY = "symmetry not searched; every atom is listed (P 1)"


def from_ase(atoms: Any, name: str | None = None) -> Crystal:
    """Convert an `ase.Atoms`, every atom a site of P 1.

    Mixed sites are read as ASE keeps them: `atoms.info["occupancy"]` maps each number (as text) of the array
    "spacegroup_kinds" to the occupancies of its elements, the symbol of the atom being the most frequent one.
    An atom with another symbol has been edited since: it is that element alone, with a note. B in Å² comes from
    the array "debye_waller_factors"; without it B = 0.5 Å² is assumed, with a note. ASE's symmetry is not used.

    Args:
        atoms: the object.
        name: what to call the crystal; its formula if None.

    Raises:
        CrystalError: if it has no three-dimensional cell or no atoms, or as `Crystal`.
    """
    lattice = _right_handed(np.asarray(atoms.cell), atoms.get_scaled_positions(wrap=False))
    symbols = list(atoms.get_chemical_symbols())
    shares, edited = _ase_shares(atoms, symbols)
    given = atoms.arrays.get("debye_waller_factors")
    b_iso: list[float | None] = [None] * len(symbols) if given is None else [float(b) for b in given]
    species = [[(element, share, 0) for element, share in part.items()] for part in shares]
    crystal = _assemble(name or str(atoms.get_chemical_formula()), lattice, species, b_iso, "ase.Atoms")
    if not edited:
        return crystal
    note = (
        f"symbols of {some(edited)} are not those of atoms.info['occupancy']: taken as edited, with occupancy 1; "
        "correct the table if they share their place"
    )
    return replace(crystal, notes=(*crystal.notes, note))


def _ase_shares(atoms: Any, symbols: list[str]) -> tuple[list[Mapping[str, float]], list[str]]:
    """Element and occupancy of each atom, and the atoms whose symbol is not the most frequent of their kind."""
    whole: list[Mapping[str, float]] = [{symbol: 1.0} for symbol in symbols]
    table = atoms.info.get("occupancy")
    kinds = atoms.arrays.get("spacegroup_kinds")
    if not table or kinds is None:
        return whole, []
    by_kind = {str(kind): shares for kind, shares in table.items()}
    edited: list[str] = []
    for number, (symbol, kind) in enumerate(zip(symbols, kinds, strict=True)):
        shares = by_kind.get(str(kind))
        if shares is None:
            continue
        if shares.get(symbol, 0.0) >= max(shares.values(), default=0.0) - 1e-6 and shares.get(symbol):
            whole[number] = shares
        else:
            edited.append(f"atom {number} ({symbol})")
    return whole, edited


def from_pymatgen(structure: Any, name: str | None = None) -> Crystal:
    """Convert a `pymatgen` Structure, every atom a site of P 1.

    Disordered sites and oxidation states are kept. B comes from a site property B_iso (Å²) or U_iso (Å²);
    without one B = 0.5 Å² is assumed, with a note.

    Args:
        structure: the object.
        name: what to call the crystal; its reduced formula if None.

    Raises:
        CrystalError: if it has no lattice, an atom is not an element, or as `Crystal`.
    """
    if not hasattr(structure, "lattice"):
        raise CrystalError(f"expected a periodic structure with a lattice, got {type(structure).__name__}")
    lattice = _right_handed(np.asarray(structure.lattice.matrix), structure.frac_coords)
    species = [
        [(_symbol(s), float(share), _whole(getattr(s, "oxi_state", None))) for s, share in site.species.items()]
        for site in structure
    ]
    b_iso = [_pymatgen_b(site.properties) for site in structure]
    title = name or str(structure.composition.reduced_formula)
    return _assemble(title, lattice, species, b_iso, "pymatgen.Structure")


def from_lattice(
    name: str, basis: FloatArray, points: FloatArray, shares: Iterable[Mapping[str, float]], source: str
) -> Crystal:
    """A crystal in P 1 from lattice vectors and atoms, as databases and programs give them; B is assumed.

    Args:
        name: what to call the crystal.
        basis: rows a, b, c in Å.
        points: fractional coordinates (atom, 3).
        shares: occupancy of each element, for every atom.
        source: where it comes from.

    Raises:
        CrystalError: if there are not three independent vectors, or as `Crystal`.
    """
    species = [[(element, share, 0) for element, share in part.items()] for part in shares]
    return _assemble(name, _right_handed(basis, points), species, [None] * len(species), source)


def _symbol(species: Any) -> str:
    """Chemical symbol of a pymatgen Element or Species; deuterium stays "D"."""
    return str(getattr(getattr(species, "element", species), "value", species.symbol))


def _whole(charge: float | None) -> int:
    return 0 if charge is None else round(charge)


def _pymatgen_b(properties: Mapping[str, Any]) -> float | None:
    found = {key.lower(): value for key, value in properties.items() if value is not None}
    if "b_iso" in found:
        return float(found["b_iso"])
    return B_PER_U * float(found["u_iso"]) if "u_iso" in found else None


def _right_handed(basis: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows a, b, c and fractional points; a left-handed basis and its points are both inverted.

    The crystal stays what it is, and lengths and angles of the cell do not change; without this a chiral
    crystal would turn into its mirror image.
    """
    basis, points = np.asarray(basis, dtype=float), np.asarray(points, dtype=float).reshape(-1, 3)
    if basis.shape != (3, 3) or not np.all(np.isfinite(basis)) or abs(np.linalg.det(basis)) < 1e-6:
        raise CrystalError("expected a cell of three independent vectors; a crystal repeats in three directions")
    return (basis, points) if np.linalg.det(basis) > 0 else (-basis, -points)


def _cell_of(basis: FloatArray) -> Cell:
    a, b, c = basis
    lengths = np.linalg.norm(basis, axis=1)

    def angle(u: FloatArray, v: FloatArray) -> float:
        cosine = float(u @ v) / float(np.linalg.norm(u) * np.linalg.norm(v))
        return round(float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))), 10)

    return float(lengths[0]), float(lengths[1]), float(lengths[2]), angle(b, c), angle(a, c), angle(a, b)


def _assemble(
    name: str,
    lattice: tuple[FloatArray, FloatArray],
    species: Iterable[list[tuple[str, float, int]]],
    b_iso: list[float | None],
    source: str,
) -> Crystal:
    """A crystal in P 1 from a basis and points, and the species and B of every point."""
    basis, points = lattice
    notes = [_NO_SYMMETRY]
    sites: list[Site] = []
    for number, (point, parts, b) in enumerate(zip(points.tolist(), species, b_iso, strict=True), start=1):
        x, y, z = point
        for element, share, charge in parts:
            u_iso = (DEFAULT_B_ISO if b is None else b) / B_PER_U
            sites.append(Site(f"{element}{number}", element, (x, y, z), share, u_iso, None, charge))
    lacking = sum(b is None for b in b_iso)
    if lacking:
        notes.append(f"no Debye-Waller factor for {lacking} atoms; B = {DEFAULT_B_ISO} Å² assumed")
    if any(site.charge for site in sites):
        notes.append(NEUTRAL_ATOMS + "charged atoms")
    return Crystal(name, _cell_of(basis), tuple(sites), space_group="P 1", notes=tuple(notes), source=source)
