"""Which of the symmetries that a CIF can mean: the one that gives the content that the file states."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import gemmi
import numpy as np
from gemmi import cif

from lacbed.crystals.cif_symmetry import Reading, Symmetry
from lacbed.crystals.cif_values import number, text_of
from lacbed.crystals.crystal import Crystal
from lacbed.errors import CrystalError

_TOLERANCE = 0.1  # of a number of atoms or a density; another setting gives half, twice or more
_DALTON_PER_A3 = 1.66053907  # g/cm³


def choose_symmetry(
    reading: Reading, build: Callable[[Symmetry], Crystal], data: cif.Block
) -> tuple[Symmetry, str]:
    """The likeliest symmetry, or the only other one that gives the stated content; and the note on it.

    Formula times Z, multiplicities and density are compared. An open choice whose atoms collide is no choice.

    Args:
        reading: the choices.
        build: makes the crystal of a choice.
        data: the data block.

    Raises:
        CrystalError: from `build`, if no choice is left.
    """
    first = reading.choices[0]
    usual = f"{reading.doubt}; {reading.verdict}" if reading.verdict else ""
    if len(reading.choices) == 1:
        return first, usual
    try:
        fails, why = contradictions(data, build(first)) > 0, "the content that the file states"
    except CrystalError:
        if not reading.is_open:
            raise
        fails, why = True, "a crystal without collisions"
    if not fails:
        return first, usual
    fitting = []
    for symmetry in reading.choices[1:]:
        try:
            found = contradictions(data, build(symmetry))
        except CrystalError:
            continue
        if found == 0 or (found < 0 and why != "the content that the file states"):
            fitting.append(symmetry)
    if len(fitting) != 1:
        return first, usual
    return fitting[0], f"{reading.doubt}; {fitting[0].symbol} is used, which alone gives {why}"


def contradictions(data: cif.Block, crystal: Crystal) -> int:
    """How many statements of the file about its content a crystal contradicts; -1 if it makes none."""
    atoms = crystal.atoms
    counts: Counter[str] = Counter()
    for element, occupancy in zip(atoms.elements, atoms.occupancy.tolist(), strict=True):
        counts[element] += occupancy
    verdicts = [
        _formula_differs(data, counts),
        _multiplicity_differs(data, crystal),
        _density_differs(data, counts, crystal.volume),
    ]
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) if known else -1


def _differ(value: float, stated: float) -> bool:
    return abs(value - stated) > _TOLERANCE * stated


def _formula_differs(data: cif.Block, counts: Counter[str]) -> bool | None:
    """Formula times Z; hydrogen, which is often not located, apart."""
    z = _positive(data, "_cell_formula_units_Z")
    text = text_of(data.find_value("_chemical_formula_sum"))
    parts = re.findall(r"([A-Z][a-z]?)([0-9]*\.?[0-9]*)", text)
    stated = {
        element: (z or 0.0) * float(n or 1) for element, n in parts if element not in ("H", "D") and n != "."
    }
    if not z or not stated or not set(stated) <= set(counts):
        return None
    return any(_differ(counts[element], n) for element, n in stated.items())


def _multiplicity_differs(data: cif.Block, crystal: Crystal) -> bool | None:
    labels = [text_of(value) for value in data.find_values("_atom_site_label")]
    for tag in ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity"):
        values = [text_of(value) for value in data.find_values(tag)]
        stated = {label: int(text) for label, text in zip(labels, values, strict=False) if text.isdecimal()}
        sizes = np.bincount(crystal.atoms.site, minlength=len(crystal.sites))
        pairs = [(int(n), stated[s.label]) for n, s in zip(sizes, crystal.sites, strict=True) if s.label in stated]
        if pairs:
            return any(made != said for made, said in pairs)
    return None


def _density_differs(data: cif.Block, counts: Counter[str], volume: float) -> bool | None:
    stated = _positive(data, "_exptl_crystal_density_diffrn")
    if not stated:
        return None
    mass = sum(gemmi.Element(element).weight * n for element, n in counts.items())
    return _differ(mass * _DALTON_PER_A3 / volume, stated)


def _positive(data: cif.Block, tag: str) -> float | None:
    try:
        value = number(data.find_value(tag), tag)
    except CrystalError:
        return None
    return value if value is not None and value > 0 else None
