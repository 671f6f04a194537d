"""Geometry of the unit cell: direct and reciprocal bases in one Cartesian crystal frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lacbed.errors import CrystalError

FloatArray = npt.NDArray[np.float64]
Cell = tuple[float, float, float, float, float, float]
"""a, b, c in Å and α, β, γ in degrees."""

MAX_LENGTH = 10_000.0
"""Å; a longer axis is a mistake of units."""

MIN_SPACING = 0.5
"""Å; lattice planes closer than this would put every atom on its own image."""


def direct_basis(cell: Cell) -> FloatArray:
    """Columns a, b, c in Å, in the CIF frame: a along x, b in the xy plane, c* along z.

    Raises:
        CrystalError: if the six numbers do not describe a cell of positive volume and of atomic size.
    """
    _check_numbers(cell)
    a, b, c, *angles = cell
    ca, cb, cg = (_cosine(v) for v in angles)
    sg = math.sqrt(1.0 - cg * cg)
    cy = (ca - cb * cg) / sg
    cz_squared = 1.0 - cb * cb - cy * cy
    if cz_squared <= 1e-8:
        raise CrystalError(
            f"cell angles {_plain(cell[3:])} enclose no volume: each must be less than the sum of the others "
            "and their sum less than 360 degrees"
        )
    cz = math.sqrt(cz_squared)
    direct = np.array([[a, b * cg, c * cb], [0.0, b * sg, c * cy], [0.0, 0.0, c * cz]])
    _check_spacing(cell, direct)
    return direct


def _plain(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:g}" for v in values)


def _check_numbers(cell: Cell) -> None:
    if len(cell) != 6:
        raise CrystalError(f"a cell is six numbers a, b, c, α, β, γ; got {len(cell)}")
    if (
        not all(math.isfinite(v) for v in cell)
        or min(cell) <= 0
        or max(cell[:3]) > MAX_LENGTH
        or min(cell[:3]) < MIN_SPACING
    ):
        raise CrystalError(
            f"cell lengths must be positive, {MIN_SPACING} to {MAX_LENGTH:g} Å, got {_plain(cell)}; "
            "check the cell and its units (Å and degrees)"
        )
    if min(cell[3:]) < 1.0 or max(cell[3:]) > 179.0:
        raise CrystalError(f"cell angles must be between 1 and 179 degrees, got {_plain(cell[3:])}")


def _check_spacing(cell: Cell, direct: FloatArray) -> None:
    spacing = 1.0 / np.linalg.norm(reciprocal_basis(direct), axis=0)
    if spacing.min() < MIN_SPACING:
        raise CrystalError(
            f"cell {_plain(cell)} has lattice planes only {spacing.min():.2g} Å apart, expected at least "
            f"{MIN_SPACING} Å; check the cell and its units (Å and degrees)"
        )


def _cosine(degrees: float) -> float:
    """Cosine that is exactly 0 at 90° and ±1/2 at 60° and 120°, so that symmetric cells stay symmetric."""
    exact = {90.0: 0.0, 60.0: 0.5, 120.0: -0.5}
    return exact.get(degrees, math.cos(math.radians(degrees)))


def reciprocal_basis(direct: FloatArray) -> FloatArray:
    """Columns a*, b*, c* in 1/Å (no 2π): the inverse transpose of the direct basis."""
    return np.asarray(np.linalg.inv(direct).T)


def volume(direct: FloatArray) -> float:
    """Volume of the unit cell in Å³."""
    return float(abs(np.linalg.det(direct)))
