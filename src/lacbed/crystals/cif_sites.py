"""The atoms of a CIF: positions, occupancies, elements, displacements."""

from __future__ import annotations

from collections import defaultdict

from gemmi import cif

from lacbed.crystals.cell import Cell
from lacbed.crystals.cif_displacements import read_displacements, some
from lacbed.crystals.cif_loops import Columns, atoms_of, value_of
from lacbed.crystals.cif_species import Species, formula_elements, shown, species_of
from lacbed.crystals.cif_text import number, text_of
from lacbed.crystals.expand import MAX_ATOMS, OCCUPANCY_TOLERANCE
from lacbed.crystals.site import NEUTRAL_ATOMS, Site
from lacbed.errors import CrystalError

_FORMULAS = ("_chemical_formula_sum", "_chemical_formula_structural", "_chemical_formula_moiety")
_COORDINATES = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")


def read_sites(data: cif.Block, cell: Cell, notes: list[str]) -> list[Site]:
    """The sites of the asymmetric unit, with notes on what was assumed.

    Raises:
        CrystalError: if there is none, or one has no element, no coordinates or an impossible number.
    """
    atoms = _atoms(data)
    labels = _labels(atoms)
    if len(labels) > MAX_ATOMS:
        raise CrystalError(f"more than {MAX_ATOMS} atoms in the list ({len(labels)}); that is not a crystal's CIF")
    known = formula_of(data)
    doubts: dict[str, list[str]] = defaultdict(list)
    kept, species = _kinds(atoms, labels, known, doubts)
    atoms = {tag: [values[i] for i in kept] for tag, values in atoms.items()}
    labels = [labels[i] for i in kept]
    points = [_point(atoms, i, label) for i, label in enumerate(labels)]
    _remark_on_species(labels, species, points, doubts)
    displacements = read_displacements(data, atoms, labels, cell, notes)
    sites = [
        Site(label, kind.element, xyz, _occupancy(atoms, i, label), moved.u_iso, moved.u_aniso, kind.charge)
        for i, (label, kind, xyz, moved) in enumerate(zip(labels, species, points, displacements, strict=True))
    ]
    notes.extend(_remarks(doubts))
    if not sites:
        raise CrystalError("no atoms; the _atom_site_ loop is empty or every occupancy is 0")
    return sites


def formula_of(data: cif.Block) -> frozenset[str]:
    """Elements of the chemical formula that the file gives; empty if it gives none."""
    formulas = (formula_elements(text_of(value_of(data, tag))) for tag in _FORMULAS)
    return next((elements for elements in formulas if elements), frozenset())


def _atoms(data: cif.Block) -> Columns:
    """The columns of the loop that holds the coordinates."""
    atoms = atoms_of(data)
    named = "_atom_site_label" in atoms or "_atom_site_type_symbol" in atoms or "_atom_site_id" in atoms
    if not named or not all(tag in atoms for tag in _COORDINATES):
        raise CrystalError(
            "no atoms; expected one loop with _atom_site_label or _type_symbol and _atom_site_fract_x, _y, _z"
        )
    return {tag: values for tag, values in atoms.items() if tag.startswith("_atom_site_")}


def _labels(atoms: Columns) -> list[str]:
    tags = ("_atom_site_label", "_atom_site_id", "_atom_site_type_symbol")
    return [text_of(value) for value in next(atoms[tag] for tag in tags if tag in atoms)]


def _value(atoms: Columns, name: str, index: int) -> str:
    """Raw value of a column; ? if there is none."""
    column = atoms.get(f"_atom_site_{name}")
    return "?" if column is None else column[index]


def _kinds(
    atoms: Columns, labels: list[str], known: frozenset[str], doubts: dict[str, list[str]]
) -> tuple[list[int], list[Species]]:
    """Rows that are atoms, and what they are; those that scatter nothing are left out and named."""
    kept: list[int] = []
    species: list[Species] = []
    for index, label in enumerate(labels):
        if text_of(_value(atoms, "calc_flag", index)).lower() == "dum":
            doubts["dummy"].append(label)
            continue
        if not label and not any(text_of(atoms[tag][index]) for tag in _COORDINATES):
            continue  # a row of question marks
        if number(_value(atoms, "occupancy", index), f"occupancy of atom {label}") == 0.0:
            doubts["empty"].append(label)
            continue
        kind = species_of(text_of(_value(atoms, "type_symbol", index)), label, known)
        if kind.element in ("H", "D") and not all(text_of(atoms[tag][index]) for tag in _COORDINATES):
            doubts["unlocated"].append(label)
        else:
            kept.append(index)
            species.append(kind)
    symbols = atoms.get("_atom_site_type_symbol", [])
    doubts["charge"] += [
        text_of(symbols[i]) or labels[i] for i, kind in zip(kept, species, strict=True) if kind.charge
    ]
    for i, kind in zip(kept, species, strict=True):
        if kind.remark == "isotope":
            doubts["isotope"].append(f"{text_of(_value(atoms, 'type_symbol', i)) or labels[i]} as {kind.element}")
        elif kind.remark == "doubtful":
            doubts["doubtful"].append(f"{text_of(_value(atoms, 'type_symbol', i)) or labels[i]} as {kind.element}")
    return kept, species


def _remark_on_species(
    labels: list[str],
    species: list[Species],
    points: list[tuple[float, float, float]],
    doubts: dict[str, list[str]],
) -> None:
    """Water whose hydrogens are not listed; labels that name another element, unless that shares the place."""
    hydrogen = any(kind.element in ("H", "D") for kind in species)
    here: dict[tuple[float, float, float], list[str]] = defaultdict(list)
    for kind, point in zip(species, points, strict=True):
        here[point].append(kind.element)
    for label, kind, point in zip(labels, species, points, strict=True):
        if kind.remark == "water" and not hydrogen:
            doubts["water"].append(label)
        elif kind.remark == "disagree" and not any(map(label.startswith, here[point])):
            doubts["disagree"].append(f"{shown(label)} ({kind.element})")


def _remarks(doubts: dict[str, list[str]]) -> list[str]:
    texts = {
        "dummy": "dummy atoms left out: {}",
        "empty": "occupancy 0 of {}: left out",
        "unlocated": "hydrogen without coordinates left out: {}",
        "water": "{} of water or hydroxyl read as O; its hydrogens are left out",
        "isotope": "isotopes scatter electrons alike: {}",
        "doubtful": "read {}; give another _atom_site_type_symbol if that is not meant",
        "disagree": "label and type symbol name different elements: {}; the type symbol is used",
        "charge": NEUTRAL_ATOMS + "{}",
    }
    return [text.format(some(doubts[key])) for key, text in texts.items() if doubts[key]]


def _point(atoms: Columns, index: int, label: str) -> tuple[float, float, float]:
    def coordinate(axis: str) -> float:
        value = number(_value(atoms, f"fract_{axis}", index), f"coordinate {axis} of atom {label}")
        if value is None:
            raise CrystalError(f"coordinate {axis} of atom {label}: expected a number, got none")
        return value

    return coordinate("x"), coordinate("y"), coordinate("z")


def _occupancy(atoms: Columns, index: int, label: str) -> float:
    """Occupancy; 1 where the file gives none, or a little more by rounding."""
    given = number(_value(atoms, "occupancy", index), f"occupancy of atom {label}")
    return 1.0 if given is None or 1.0 < given <= 1.0 + OCCUPANCY_TOLERANCE else given
