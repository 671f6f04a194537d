"""Electronegativities and radii (in Å) of the elements; data/elements.json names its sources."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

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
