"""Physical constants (CODATA 2022, https://physics.nist.gov/cuu/Constants) and the electron wave.

Lengths are in Å, reciprocal lengths in 1/Å without 2π, energies in eV.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Number = TypeVar("Number", float, "Tensor", "float | Tensor")
"""A number, or a tensor through which gradients flow."""

PLANCK_TIMES_C = 12398.419843320026
"""h c in eV Å (exact in the SI of 2019)."""

ELECTRON_REST_ENERGY = 510998.95069
"""m_e c² in eV."""

BOHR_RADIUS = 0.529177210544
"""a_0 in Å."""

MOTT_BETHE = 1.0 / (8.0 * math.pi**2 * BOHR_RADIUS)
"""C in 1/Å of f_e [Å] = C (Z - f_x) / s² [1/Å²], see `lacbed.xray`."""

H2_OVER_2M = PLANCK_TIMES_C**2 / (2.0 * ELECTRON_REST_ENERGY)
"""h² / (2 m_e) in eV Å²: a potential of V volts is V / H2_OVER_2M in 1/Å² for γ = 1."""


def relativistic_gamma(energy: Number) -> Number:
    """Lorentz factor γ = 1 + E / (m_e c²) of electrons of kinetic energy E in eV."""
    return 1.0 + energy / ELECTRON_REST_ENERGY


def wavelength(energy: float) -> float:
    """Relativistic electron wavelength λ = h c / sqrt(E (E + 2 m_e c²)) in Å, for E in eV."""
    return PLANCK_TIMES_C / math.sqrt(energy * (energy + 2.0 * ELECTRON_REST_ENERGY))


def beta_squared(energy: Number) -> Number:
    """(v / c)² = 1 - 1 / γ² of electrons of kinetic energy E in eV."""
    return 1.0 - 1.0 / relativistic_gamma(energy) ** 2


def interaction_constant(energy: float) -> float:
    """Interaction constant σ = 2π m e λ / h² = π γ λ / (h² / 2 m_e), in rad / (V Å)."""
    return math.pi * relativistic_gamma(energy) * wavelength(energy) / H2_OVER_2M
