"""What elements are like (data/elements.json names its sources), and how a structure of them is called.

Labels: reduced formula, Wyckoff signature, prototype and the id of the compound.

Two descriptions of one structure get equal labels, whatever the origin: of all assignments of Wyckoff letters that
the Euclidean normaliser of the space group allows, the one that sorts first is taken.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from importlib.resources import files
from typing import Any

from lacbed.crystals.wyckoff import relabelings

TETRAHEDRAL = {
    **{"Be": 1.06, "B": 0.88, "C": 0.77, "N": 0.70, "O": 0.66, "Mg": 1.40, "Al": 1.26, "Si": 1.17, "P": 1.10},
    **{"S": 1.04, "Cl": 0.99, "Cu": 1.35, "Zn": 1.31, "Ga": 1.26, "Ge": 1.22, "As": 1.18, "Se": 1.14, "Br": 1.11},
    **{"Ag": 1.53, "Cd": 1.48, "In": 1.44, "Sn": 1.40, "Sb": 1.36, "Te": 1.32, "I": 1.28, "Hg": 1.48},
}
"""Covalent radii for four neighbours: Pauling, The Nature of the Chemical Bond (1960), table 7-13."""

OCTAHEDRAL = {
    **{"Fe": 1.23, "Co": 1.32, "Ni": 1.39, "Ru": 1.33, "Os": 1.33, "Pd": 1.31, "Pt": 1.31},
}
"""Covalent radii for six neighbours, M(II) and, for Pd and Pt, M(IV): Pauling (1960), table 7-15."""

OCTAHEDRAL_3 = {"Co": 1.22, "Rh": 1.32, "Ir": 1.32}
"""The same for M(III)."""


@cache
def _tables() -> Mapping[str, Any]:
    text = files("lacbed.catalog").joinpath("data", "elements.json").read_text(encoding="utf-8")
    tables: Mapping[str, Any] = json.loads(text)
    return tables


@cache
def electronegativity() -> Mapping[str, float]:
    """Pauling's electronegativity; infinite for noble gases that have none."""
    return {symbol: entry.get("X", math.inf) for symbol, entry in _tables()["elements"].items()}


def metallic_radius(element: str) -> float:
    """Radius of a metal atom with twelve neighbours."""
    return float(_tables()["elements"][element]["metallic"])


def atomic_volume(element: str) -> float:
    """Volume in Å³ per atom in a close packing of spheres: 4√2 r³."""
    return float(4.0 * 2.0**0.5 * metallic_radius(element) ** 3)


@cache
def ionic_radius(element: str, charge: int, neighbours: int) -> float | None:
    """Shannon's effective ionic radius for the number of neighbours, or for the nearest one tabulated.

    The radius of a cation is changed by 4 % per neighbour, over at most four neighbours; None if there is no such
    radius.
    """
    found = _tables()["shannon"].get(element, {}).get(str(charge), {})
    if not found:
        return None
    nearest = min((int(n) for n in found), key=lambda n: (abs(n - neighbours), n))
    radius = float(found[str(nearest)])
    if charge < 0 or nearest == neighbours:
        return radius
    return radius * (1.0 + 0.04 * (neighbours - nearest)) if abs(nearest - neighbours) <= 4 else None


@dataclass(frozen=True)
class Orbit:
    """One set of equivalent places: what fills them, their Wyckoff letter, how many they are in the cell."""

    shares: Mapping[str, float]
    letter: str
    multiplicity: int

    @property
    def species(self) -> str:
        """What fills the place: "Fe", or "Fe0.5/Mn0.5" if it is mixed."""
        return "/".join(_species(element, share) for element, share in sorted(self.shares.items()))


_POLYANION = 1.65  # largest difference of electronegativity within the bracket of A(BC4)2
_AS_MOLECULES = {"O": "O2", "N": "N2", "F": "F2", "Cl": "Cl2", "H": "H2"} | {
    f"{metal}O": f"{metal}2O2" for metal in ("Li", "Na", "K", "Rb", "Cs", "H")
}


def amounts_of(orbits: Sequence[Orbit]) -> dict[str, float]:
    """Atoms of each element in the conventional cell, weighted by occupancy."""
    amounts: dict[str, float] = {}
    for orbit in orbits:
        for element, share in orbit.shares.items():
            amounts[element] = amounts.get(element, 0.0) + orbit.multiplicity * share
    return amounts


def reduced_formula(orbits: Sequence[Orbit]) -> str:
    """Formula by rising electronegativity, a common factor of the last two elements in brackets.

    Whole amounts are reduced: 16 Fe, 8 Ca and 32 S give "Ca(FeS2)2". Others are given for one formula unit, as
    many as all multiplicities have in common: "Zr0.65Ti0.35Pb1O3".
    """
    amounts = amounts_of(orbits)
    if any(abs(n - round(n)) > 1e-3 for n in amounts.values()):
        units = reduce(math.gcd, (orbit.multiplicity for orbit in orbits))
        return "".join(f"{e}{round(amounts[e] / units, 4):g}" for e in _ordered(amounts))
    whole = {element: round(n) for element, n in amounts.items() if round(n)}
    formula, _ = _reduce(whole)
    return _AS_MOLECULES.get(formula, formula)


def _reduce(whole: Mapping[str, int]) -> tuple[str, int]:
    factor = reduce(math.gcd, whole.values())
    order = _ordered(whole)
    tail = ""
    scale = electronegativity()
    if len(order) >= 3 and _scale(scale, order[-1]) - _scale(scale, order[-2]) < _POLYANION:
        inner, times = _reduce({element: whole[element] // factor for element in order[-2:]})
        if times != 1:
            order, tail = order[:-2], f"({inner}){times}"
    return "".join(f"{e}{_number(whole[e] / factor)}" for e in order) + tail, factor


def _ordered(amounts: Mapping[str, float]) -> list[str]:
    scale = electronegativity()
    return sorted(amounts, key=lambda element: (_scale(scale, element), element))


def _scale(scale: Mapping[str, float], element: str) -> float:
    return scale.get("H" if element == "D" else element, math.inf)


def _number(value: float) -> str:
    return "" if abs(value - 1) < 1e-8 else f"{round(value, 6):g}"


def _species(element: str, share: float) -> str:
    return element if abs(share - 1.0) < 1e-3 else f"{element}{round(share, 3):g}"


def wyckoff_signature(number: int, orbits: Sequence[Orbit]) -> str:
    """Elements and letters, such as "Ba:a-O:c-Ti:b", the smallest text that the normaliser allows."""
    named = [(orbit.species, orbit.letter) for orbit in orbits]
    return min("-".join(sorted(f"{name}:{change[w]}" for name, w in named)) for change in relabelings(number))


def anonymous_prototype(number: int, orbits: Sequence[Orbit]) -> str:
    """Stoichiometry, group and letters without the elements: "ABC3_221_a_b_c".

    Species (a mixed place is one) stand by rising number of places; among equal numbers, and under the
    normaliser, the smallest text is taken.
    """
    places: dict[str, int] = {}
    letters: dict[str, list[str]] = {}
    for orbit in orbits:
        places[orbit.species] = places.get(orbit.species, 0) + orbit.multiplicity
        letters.setdefault(orbit.species, []).append(orbit.letter)
    counts = sorted(set(places.values()))
    least = reduce(math.gcd, counts)
    texts = (_letters_text(letters, places, counts, change) for change in relabelings(number))
    names = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    amounts = (n // least for n in sorted(places.values()))
    stoichiometry = "".join(f"{name}{_number(n)}" for name, n in zip(names, amounts, strict=False))
    return f"{stoichiometry}_{number}_{min(texts)}"


def _letters_text(
    letters: Mapping[str, list[str]], places: Mapping[str, int], counts: Sequence[int], change: Mapping[str, str]
) -> str:
    """Letters of every species under one exchange; species with equal numbers of places in sorted order."""
    parts = {name: "".join(sorted(change[w] for w in letters[name])) for name in letters}
    return "_".join(part for n in counts for part in sorted(parts[name] for name in parts if places[name] == n))


def compound_id(number: int, formula: str, signature: str) -> str:
    """Twelve hexadecimal digits that are equal for equal group, formula and Wyckoff signature."""
    text = f"{number}|{formula}|{signature}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]
