"""Wyckoff positions of the 230 space groups, and how the normaliser exchanges their letters.

The table holds facts of International Tables for Crystallography, Volume A, in the reference setting (origin
choice 2, hexagonal axes): letter, multiplicity, oriented site symmetry and first coordinates of every position,
and the permutations of letters under the Euclidean normaliser of the group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import gemmi
import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.crystals.symmetry import find_space_group, matrices_of, operations_of
from lacbed.errors import CrystalError

ON_POSITION = 2e-3
"""Fraction of the cell within which a point is taken to lie on a special position."""


@dataclass(frozen=True)
class Position:
    """One Wyckoff position: the points M u + c, u free.

    Attributes:
        letter: its Wyckoff letter.
        multiplicity: points in the conventional cell.
        site_symmetry: oriented symbol.
        text: first coordinates such as "x,x,1/4".
    """

    letter: str
    multiplicity: int
    site_symmetry: str
    text: str

    def affine(self) -> tuple[FloatArray, FloatArray]:
        """M (3, 3) and c (3,)."""
        op = gemmi.Op(self.text.replace("2x", "2*x"))
        return np.array(op.rot) / gemmi.Op.DEN, np.array(op.tran) / gemmi.Op.DEN


@cache
def _tables() -> dict[int, tuple[tuple[Position, ...], tuple[str, ...]]]:
    text = files("lacbed.crystals").joinpath("data", "wyckoff.txt").read_text(encoding="utf-8")
    tables: dict[int, tuple[tuple[Position, ...], tuple[str, ...]]] = {}
    for block in text.split("# ")[1:]:
        number, *lines = block.splitlines()
        words = [line.split() for line in lines]
        positions = tuple(Position(w[0], int(w[1]), w[2], w[3]) for w in words if w[0] != "=")
        tables[int(number)] = (positions, tuple(next(w[1:] for w in words if w[0] == "=")))
    return tables


def positions_of(number: int) -> tuple[Position, ...]:
    """Wyckoff positions of a space group, the most special (a) first."""
    return _tables()[number][0]


def relabelings(number: int) -> tuple[dict[str, str], ...]:
    """The ways in which the normaliser exchanges letters, the identity first."""
    positions, targets = _tables()[number]
    return tuple(dict(zip((p.letter for p in positions), target, strict=True)) for target in targets)


@cache
def operations(number: int) -> tuple[FloatArray, FloatArray]:
    """Rotations (operation, 3, 3) and translations (operation, 3) of the reference setting."""
    rotations, translations = matrices_of(operations_of(find_space_group(number)))
    return rotations.astype(float), translations


def locate(number: int, point: tuple[float, float, float] | FloatArray) -> tuple[Position, FloatArray]:
    """The Wyckoff position of a point, and the image of the point that has the coordinates of the tables.

    The most special position that an image of the point lies on to within `ON_POSITION` is taken, and the
    image is put exactly onto it, in [0, 1).

    Raises:
        CrystalError: never for a finite point; a guard.
    """
    rotations, translations = operations(number)
    images = (rotations @ np.asarray(point, dtype=float) + translations) % 1.0
    shifted = (images[:, None, :] + _SHIFTS).reshape(-1, 3)  # (operation * shift, 3)
    for position in positions_of(number):
        matrix, origin = position.affine()
        onto = matrix @ np.linalg.pinv(matrix)
        placed = (shifted - origin) @ onto.T + origin
        away = np.abs(placed - shifted).max(axis=1)
        good = np.flatnonzero(away < ON_POSITION)
        if len(good):
            return position, _tidy(_preferred(placed[good]))
    raise CrystalError(f"the point {point} lies on no Wyckoff position of group {number}")


_SHIFTS = np.array([(i, j, k) for i in (-1.0, 0.0, 1.0) for j in (-1.0, 0.0, 1.0) for k in (-1.0, 0.0, 1.0)])


def _preferred(points: FloatArray) -> FloatArray:
    """The point nearest to the origin of those with all coordinates in [0, 1), so that the choice is unique."""
    inside = points[np.all((points > -1e-9) & (points < 1.0 - 1e-9), axis=1)]
    chosen = inside if len(inside) else points % 1.0
    keys = np.round(chosen, 5)
    order = np.lexsort((*keys.T[::-1], np.round((keys**2).sum(axis=1), 5)))
    return np.asarray(chosen[order[0]])


def _tidy(point: FloatArray) -> FloatArray:
    rounded = np.round(point, 12) % 1.0
    return np.asarray(rounded)
