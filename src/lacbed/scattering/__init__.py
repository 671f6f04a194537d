"""Electron scattering factors of atoms and ions: elastic (four tables) and absorptive (thermal diffuse)."""

from lacbed.scattering._absorptive import absorptive_factor
from lacbed.scattering._charged import (
    has_valence,
    ionic_change,
    known_charges,
    species_name,
    valence_change,
    xray_factor,
)
from lacbed.scattering._einstein import einstein_absorptive_factor
from lacbed.scattering._elastic import elastic_factor
from lacbed.scattering._phases import phase_sums
from lacbed.scattering._tables import FACTOR_TABLES, FACTORS, covered_elements, neutral_symbol, validity_limit

__all__ = [
    "FACTORS",
    "FACTOR_TABLES",
    "absorptive_factor",
    "covered_elements",
    "einstein_absorptive_factor",
    "elastic_factor",
    "has_valence",
    "ionic_change",
    "known_charges",
    "neutral_symbol",
    "phase_sums",
    "species_name",
    "valence_change",
    "validity_limit",
    "xray_factor",
]
