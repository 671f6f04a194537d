"""Which elements fit a column: its potential compared with the scattering factors of atoms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np
import torch

from lacbed.constants import relativistic_gamma
from lacbed.crystals.cell import FloatArray
from lacbed.crystals.site import is_element
from lacbed.errors import SettingError
from lacbed.retrieval.columns import Columns, form_factor
from lacbed.scattering import elastic_factor

COMPARED = (0.35, 0.7, 1.05, 1.4)
"""|g| in 1/Å at which a column is compared with atoms."""

ERROR = 0.15
"""Relative error that a column is taken to have at each of them; coefficients of a search are effective ones."""

TYPICAL_B, SPREAD_B = 0.5, 0.7
"""B of an atom in Å², and the standard deviation of its logarithm."""

CLOSEST = 1.3
"""Distance of atoms in a column in Å, at the least."""

HEAVIEST = 94
UNDECIDED = 0.6
"""Probability of the most likely element below which the elements of a column are undecidable."""


@dataclass(frozen=True)
class Guess:
    """An element that a column may be.

    Attributes:
        element: symbol.
        count: atoms in a period of the column.
        b_iso: B in Å².
        probability: among all that were considered.
    """

    element: str
    count: int
    b_iso: float
    probability: float


def check_elements(elements: Sequence[str]) -> tuple[str, ...]:
    """The elements that may be in a crystal; all for none.

    Raises:
        SettingError: if one is no symbol of an element with scattering factors.
    """
    names = tuple(dict.fromkeys(elements)) or tuple(gemmi.Element(z).name for z in range(1, HEAVIEST + 1))
    for name in names:
        if not is_element(name) or gemmi.Element(name).atomic_number > 103:
            raise SettingError(f"elements are symbols such as Ga,As; got {name!r}")
    return names


def guesses(
    columns: Columns, volume: float, period: float, energy: float, elements: Sequence[str]
) -> tuple[tuple[Guess, ...], ...]:
    """For every column the elements that it may be, the most likely first.

    A column of n atoms of an element has U_g = γ n f_e(|g|/2) exp(-B |g|²/4) / (π Ω).

    Args:
        columns: what was found.
        volume: Ω of the primitive cell in Å³.
        period: along the beam in Å.
        energy: of the electrons in eV.
        elements: those that are considered.
    """
    g = np.array(COMPARED)
    most = max(1, int(period / CLOSEST))
    scale = relativistic_gamma(energy) / (math.pi * volume)
    found = []
    for strength, width in zip(columns.strength, columns.width, strict=True):
        seen = np.log(strength * form_factor(g)) - 0.25 * width * g**2
        rows = []
        for element in elements:
            for count in range(1, most + 1):
                atom = np.log(scale * count) + _log_factor(element)
                cost, b = _match(seen - atom, g)
                rows.append((cost, element, count, b))
        rows.sort()
        weight = np.exp(-0.5 * (np.array([r[0] for r in rows]) - rows[0][0]))
        weight /= weight.sum()
        found.append(
            tuple(
                Guess(element, count, b, float(w))
                for (_, element, count, b), w in zip(rows, weight, strict=True)
                if w > 1e-3
            )
        )
    return tuple(found)


def by_element(column: Sequence[Guess]) -> list[tuple[str, float]]:
    """Probability of every element, whatever the number of atoms, the most likely first."""
    total: dict[str, float] = {}
    for guess in column:
        total[guess.element] = total.get(guess.element, 0.0) + guess.probability
    return sorted(total.items(), key=lambda pair: -pair[1])


def _match(difference: FloatArray, g: FloatArray) -> tuple[float, float]:
    """χ² of ln(column / atom) = -B g²/4 at the best B, which is held near what is typical, and that B."""
    grid = np.geomspace(0.08, 3.0, 40)
    rest = difference[None] + 0.25 * grid[:, None] * g**2
    cost = np.square(rest / ERROR).sum(axis=1) + np.square(np.log(grid / TYPICAL_B) / SPREAD_B)
    best = int(cost.argmin())
    return float(cost[best]), float(grid[best])


@cache
def _log_factor(element: str) -> FloatArray:
    s = torch.as_tensor(0.5 * np.array(COMPARED))
    return np.asarray(np.log(elastic_factor(element, s).numpy()))
