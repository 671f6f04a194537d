"""One site of the asymmetric unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.errors import CrystalError

B_PER_U = 8.0 * math.pi**2
"""B = 8π² U."""

DEFAULT_B_ISO = 0.5
"""Å²; the Debye-Waller factor of an atom whose source gives none, typical of an inorganic solid at 300 K."""

STANDING_STILL = "B = 0 Å² set on every site"
"""Note of a crystal whose atoms are meant to stand still; in other CIFs U = 0 everywhere means "not known"."""

NEUTRAL_ATOMS = "scattering factors of neutral atoms used for "
"""How the note begins that names charged atoms; patterns with scattering factors of ions leave it out."""

MAX_U_ISO = 10.0
"""Å²; no atom of a crystal moves as far."""


def is_element(symbol: str) -> bool:
    """True for the exact symbol of an element or "D"; "si", "Fe3+" and "X" are none."""
    return isinstance(symbol, str) and symbol in _symbols()


@cache
def _symbols() -> frozenset[str]:
    known = (gemmi.Element(number).name for number in range(1, 119))
    return frozenset({*known, "D"})


@dataclass(frozen=True)
class Site:
    """An atom of the asymmetric unit.

    Attributes:
        label: name of the site, such as "Ti1".
        element: neutral chemical symbol; "D" is deuterium and scatters as H.
        xyz: fractional coordinates.
        occupancy: fraction of the site that this species fills, in (0, 1].
        u_iso: mean-square displacement in Å² (B = 8π² U); None if `u_aniso` is given.
        u_aniso: U11, U22, U33, U23, U13, U12 in Å² as a CIF defines them (on the reciprocal axes);
            None if isotropic.
        charge: formal charge, which scattering factors "ionic" take into account; others are of neutral atoms.
    """

    label: str
    element: str
    xyz: tuple[float, float, float]
    occupancy: float = 1.0
    u_iso: float | None = DEFAULT_B_ISO / B_PER_U
    u_aniso: tuple[float, float, float, float, float, float] | None = None
    charge: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be an atom."""
        for name in ("xyz", "u_aniso"):
            object.__setattr__(self, name, self._plain(name))
        if not is_element(self.element):
            raise CrystalError(
                f"site {self.label}: expected a chemical element such as 'Si' (capital first), "
                f"got {self.element!r}"
            )
        if len(self.xyz) != 3 or not all(math.isfinite(v) and abs(v) < 1e6 for v in self.xyz):
            raise CrystalError(
                f"site {self.label}: coordinates must be three finite fractions of the cell, got {self.xyz}"
            )
        if not (0.0 < self.occupancy <= 1.0 + 1e-6):
            raise CrystalError(f"site {self.label}: occupancy must be above 0 and at most 1, got {self.occupancy}")
        self._check_displacement()

    def _plain(self, name: str) -> tuple[float, ...] | None:
        """A field as a tuple of floats, whatever sequence of numbers was given."""
        values = getattr(self, name)
        try:
            return None if values is None and name != "xyz" else tuple(float(v) for v in values)
        except (TypeError, ValueError):
            raise CrystalError(f"site {self.label}: {name} must be numbers, got {values!r}") from None

    def _check_displacement(self) -> None:
        if (self.u_iso is None) == (self.u_aniso is None):
            raise CrystalError(f"site {self.label}: give either u_iso or u_aniso")
        if self.u_iso is not None and not (0.0 <= self.u_iso <= MAX_U_ISO):
            raise CrystalError(
                f"site {self.label}: U_iso must be between 0 and {MAX_U_ISO:g} Å² (B = 8π² U), got {self.u_iso}"
            )
        if self.u_aniso is not None and not _is_displacement(self.u_aniso):
            raise CrystalError(
                f"site {self.label}: U_ij must be six numbers, positive definite and below 10 Å², "
                f"got {self.u_aniso}"
            )

    @property
    def atomic_number(self) -> int:
        """Z of the element."""
        return gemmi.Element(self.element).atomic_number

    @property
    def b_iso(self) -> float | None:
        """B = 8π² U_iso in Å², None if anisotropic."""
        return None if self.u_iso is None else B_PER_U * self.u_iso

    def u_tensor(self) -> FloatArray:
        """The 3 x 3 matrix U_ij in Å² on the reciprocal axes, for an anisotropic site."""
        if self.u_aniso is None:
            raise CrystalError(f"site {self.label} is isotropic and has no U_ij")
        u11, u22, u33, u23, u13, u12 = self.u_aniso
        return np.array([[u11, u12, u13], [u12, u22, u23], [u13, u23, u33]])

    def beta(self, reciprocal: FloatArray) -> FloatArray:
        """β in the Debye-Waller factor exp(-hᵀ β h), h the integer indices; dimensionless 3 x 3.

        β_ij = 2π² a*_i a*_j U_ij for anisotropic sites (Trueblood et al., Acta Cryst. A52 (1996) 770),
        and 2π² U_iso a*_i · a*_j for isotropic ones, `reciprocal` holding a*, b*, c* as columns.
        """
        if self.u_iso is not None:
            return np.asarray(2.0 * math.pi**2 * self.u_iso * reciprocal.T @ reciprocal)
        lengths = np.linalg.norm(reciprocal, axis=0)
        return np.asarray(2.0 * math.pi**2 * np.outer(lengths, lengths) * self.u_tensor())


def _is_displacement(u: tuple[float, ...]) -> bool:
    """U_ij that an atom can have; an eigenvalue may be slightly negative, as refinements leave them."""
    if len(u) != 6 or not all(math.isfinite(v) and abs(v) <= 10.0 for v in u):
        return False
    u11, u22, u33, u23, u13, u12 = u
    values = np.linalg.eigvalsh([[u11, u12, u13], [u12, u22, u23], [u13, u23, u33]])
    return bool(values.min() >= -1e-4)
