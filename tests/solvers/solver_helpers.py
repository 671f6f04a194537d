"""Shared by the tests of this folder: the matrix of hard cases, and comparison with the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

from lacbed import Crystal, TiltGrid, simulate

TOLERANCE = {"float64": 1e-5, "float32": 1e-3}
"""What every solver promises: largest |ΔI| from the reference."""


@dataclass(frozen=True)
class Case:
    """One hard case.

    Attributes:
        crystal: name of a built-in crystal.
        settings: arguments of `simulate`.
        without: solvers that must refuse it.
    """

    crystal: str
    settings: dict[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    def run(self, solver: str, **changes: Any) -> xr.DataArray:
        """The pattern of the case by one solver, on the CPU."""
        settings = {"device": "cpu", "beams": 40, "thicknesses": (300.0, 900.0)} | self.settings | changes
        return simulate(Crystal.named(self.crystal), solver=solver, **settings)


def case(crystal: str, *, without: tuple[str, ...] = (), **settings: Any) -> Case:
    """A case in keywords."""
    return Case(crystal, settings, frozenset(without))


EVEN = TiltGrid(pixels=4, extent=2.0)
NOT_FLAT = ("zone",)
ONLY_TILTED = ("zone", "chebyshev")
BIJVOET = ((0, 0, 0), (0, 0, 2), (0, 0, -2), (1, -1, 1), (1, -1, -1))

CASES: dict[str, Case] = {
    "Si [001], zone of equal steps": case("Si", grid=EVEN, thicknesses=(200.0, 400.0, 600.0, 800.0)),
    "Si [110], shifted origin": case("Si", grid=EVEN, zone_axis=(1, 1, 0), hkl=((0, 0, 0), (1, -1, 1))),
    "GaAs [001]": case("GaAs", grid=EVEN, hkl=((0, 0, 0), (2, 2, 0), (4, 0, 0))),
    "GaAs [110], polar": case("GaAs", grid=EVEN, zone_axis=(1, 1, 0), hkl=BIJVOET),
    "GaAs [110], odd pixels": case("GaAs", grid=TiltGrid(pixels=5, extent=2.5), zone_axis=(1, 1, 0), hkl=BIJVOET),
    "FeSi [001], 23": case("FeSi", grid=EVEN, hkl=((0, 0, 0), (1, 1, 0), (2, 0, 0), (0, 2, 0))),
    "FeSi [111], 23": case("FeSi", grid=TiltGrid(pixels=4, k_max=0.4), zone_axis=(1, 1, 1)),
    "Mn [001], 432": case("Mn", grid=EVEN, thicknesses=(77.0, 500.0, 650.0)),
    "FeS2 [001], m-3": case("FeS2", grid=EVEN, hkl=((0, 0, 0), (2, 0, 0), (0, 2, 0))),
    "GaN [001], hexagonal": case("GaN", grid=EVEN, hkl=((0, 0, 0), (1, 0, 0), (-1, 1, 0))),
    "GaN [100], polar": case("GaN", grid=EVEN, zone_axis=(1, 0, 0), hkl=((0, 0, 0), (0, 0, 2), (0, 0, -2))),
    "quartz [001], trigonal and chiral": case("SiO2", grid=EVEN, hkl=((0, 0, 0), (1, 0, 0), (-1, 0, 0))),
    "MgSiO3 [001], R-3 without mirrors": case("MgSiO3", grid=EVEN),
    "ZrO2 [010], monoclinic": case("ZrO2", grid=EVEN, zone_axis=(0, 1, 0), hkl=((0, 0, 0), (1, 0, 1))),
    "CuO [001], centred monoclinic": case("CuO", grid=EVEN, hkl=((0, 0, 0), (1, 1, 0))),
    "Al2SiO5 [100], triclinic": case("Al2SiO5", grid=EVEN, zone_axis=(1, 0, 0)),
    "off-centre grid": case("GaAs", grid=TiltGrid(pixels=4, extent=1.0, center=(2.3, -1.1))),
    "incommensurate grid": case("SrTiO3", grid=TiltGrid(pixels=5, k_max=0.37), hkl=((0, 0, 0), (1, 0, 0))),
    "disc in mrad": case("SrTiO3", grid=TiltGrid(pixels=6, semi_angle=11.0, shape="disc"), hkl=("all", 0.3)),
    "irregular and unsorted thicknesses": case("Au", grid=EVEN, thicknesses=(1234.5, 3.0, 500.0, 500.0, 77.0)),
    "descending equal steps, absorbing": case(
        "Au", grid=EVEN, thicknesses=(900.0, 600.0, 300.0), absorption="thomas"
    ),
    "GaAs, proportional absorption": case(
        "GaAs", grid=EVEN, zone_axis=(1, 1, 0), hkl=BIJVOET, absorption=("proportional", 10.0)
    ),
    "quartz, absorption of Thomas": case(
        "SiO2", grid=EVEN, zone_axis=(1, 0, 0), hkl=((0, 0, 0), (0, 1, 1)), absorption="thomas"
    ),
    "absorbing grid of odd pixels": case("FeS2", grid=TiltGrid(pixels=5, extent=1.5), absorption="thomas"),
    "tilted foil": case(
        "GaAs", without=NOT_FLAT, grid=EVEN, foil_normal=(0.1, 0.2, 1.0), hkl=((0, 0, 0), (2, 2, 0))
    ),
    "foil tilted in a mirror plane": case("SrTiO3", without=NOT_FLAT, grid=EVEN, foil_normal=(0.0, 0.2, 1.0)),
    "tilted foil, absorbing": case(
        "Au", without=NOT_FLAT, grid=EVEN, foil_normal=(0.1, 0.2, 1.0), absorption="thomas"
    ),
    "HOLZ": case("SrTiO3", without=NOT_FLAT, grid=EVEN, energy=30e3, laue_zones=1, beams=90),
    "HOLZ, chiral [111]": case(
        "FeSi",
        without=NOT_FLAT,
        grid=TiltGrid(pixels=4, k_max=0.3),
        zone_axis=(1, 1, 1),
        energy=30e3,
        laue_zones=1,
        beams=90,
        hkl=((0, 0, 0), (1, -1, 0), (-1, 1, 0)),
    ),
    "HOLZ, absorbing": case(
        "Si",
        without=NOT_FLAT,
        grid=EVEN,
        zone_axis=(1, 1, 1),
        energy=40e3,
        laue_zones=1,
        beams=70,
        absorption="thomas",
    ),
    "weak beams": case("GaAs", without=ONLY_TILTED, grid=EVEN, weak_beams=40, hkl=((0, 0, 0), (2, 2, 0))),
    "weak beams, absorbing": case("Au", without=ONLY_TILTED, grid=EVEN, weak_beams=40, absorption="thomas"),
    "everything at once": case(
        "FeSi",
        without=ONLY_TILTED,
        grid=TiltGrid(pixels=3, k_max=0.2, center=(0.1, -0.2)),
        laue_zones=1,
        energy=40e3,
        beams=70,
        weak_beams=30,
        foil_normal=(0.1, -0.1, 1.0),
        absorption="thomas",
        hkl=((0, 0, 0), (1, 1, 0)),
    ),
}

TIED: dict[str, Case] = {
    "FeS2 [111], odd pixels": case("FeS2", grid=TiltGrid(pixels=5, extent=2.5), zone_axis=(1, 1, 1)),
    "FeSi [111], odd pixels": case("FeSi", grid=TiltGrid(pixels=5, extent=2.5), zone_axis=(1, 1, 1)),
    "MgSiO3 [001], odd pixels": case("MgSiO3", grid=TiltGrid(pixels=5, extent=2.5)),
    "GaN [001], odd pixels, g > 0": case(
        "GaN", grid=TiltGrid(pixels=5, extent=1.7), hkl=("all", 0.4), thicknesses=(100.0, 1500.0)
    ),
    "CuO [001], odd pixels, g > 0": case("CuO", grid=TiltGrid(pixels=5, extent=2.0), hkl=("all", 0.4)),
}
"""Tilts as near to two reciprocal vectors of equal length: which of them is G is arbitrary."""


@cache
def reference(name: str) -> xr.DataArray:
    """The reference pattern of a case."""
    return (CASES | TIED)[name].run("reference")


def largest_difference(first: xr.DataArray, second: xr.DataArray) -> float:
    """Largest |difference|; infinite if NaN stands in one and not in the other."""
    if not np.array_equal(np.isnan(first.values), np.isnan(second.values)):
        return float("inf")
    return float(np.nanmax(np.abs(first.values - second.values)))
