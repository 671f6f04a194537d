"""Rows of a catalogue from which the tests draw, and how their patterns are computed."""

from __future__ import annotations

from lacbed.datasets.config import DatasetConfig
from lacbed.learn.draws import Draws, Forbidden, StreamSettings, draws_from

CONFIG = DatasetConfig(
    pixels=16,
    extent=2.0,
    potential_pixels=16,
    absorption=None,
    tolerance_z=0.2,
    tolerance_intensity=0.5,
    max_beams=400,
    solver="fast",
    dtype="float32",
)
SMALL = {"fresh": 4, "keep": 8, "uses": 2, "atoms": 9.0, "thicknesses": 2, "thickest": 400.0, "labels": "exact"}
NAMES = (
    *("Cu", "Al", "Ni", "LiF", "MgO", "Fe", "Cr", "V", "SiC", "Cu3Au", "NaCl", "GaAs", "W", "Pt", "Au", "SrTiO3"),
    *("CsCl", "ZnS", "CaF2", "BaTiO3"),
)


def draws_of(rows, forbidden=Forbidden(), **changes) -> Draws:  # noqa: B008  frozen
    return draws_from(StreamSettings(**{**SMALL, **changes}), rows, forbidden)
