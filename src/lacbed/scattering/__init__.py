"""Electron scattering factors of neutral atoms: elastic (four tables) and absorptive (thermal diffuse)."""

from lacbed.scattering._absorptive import absorptive_factor
from lacbed.scattering._einstein import einstein_absorptive_factor
from lacbed.scattering._elastic import elastic_factor
from lacbed.scattering._tables import FACTOR_TABLES, covered_elements, neutral_symbol, validity_limit

__all__ = [
    "FACTOR_TABLES",
    "absorptive_factor",
    "covered_elements",
    "einstein_absorptive_factor",
    "elastic_factor",
    "neutral_symbol",
    "validity_limit",
]
