"""A small pattern with every kind of label and metadata, made without a simulation."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lacbed.constants import wavelength

CELL = 4.0
REFLECTIONS = ((0, 0, 0), (2, 0, 0), (-1, 1, 0))


def build_pattern(
    pixels: int = 12,
    dtype: Any = np.float64,
    disc: bool = False,
    hkl: tuple[tuple[int, int, int], ...] = REFLECTIONS,
    thicknesses: tuple[float, ...] = (300.0, 600.5, 900.0),
    k_max: float = 0.5,
    seed: int = 0,
) -> xr.DataArray:
    k = (np.arange(pixels) - pixels / 2 + 0.5) * 2 * k_max / pixels
    kx, ky = np.meshgrid(k, k)
    values = np.random.default_rng(seed).uniform(0.1, 1, (len(thicknesses), len(hkl), pixels, pixels))
    values += kx + 2 * ky  # no symmetry, so that flips show
    if np.dtype(dtype).kind == "c":
        values = values * np.exp(7j * kx)
    if disc:
        values[..., kx**2 + ky**2 > k_max**2] = np.nan
    index = np.array(hkl)
    length = wavelength(200e3)
    per_angstrom = {"units": "1/Å"}
    coords = {
        "thickness": ("thickness", np.array(thicknesses), {"units": "Å", "long_name": "thickness"}),
        "hkl": ("hkl", [",".join(map(str, g)) for g in hkl], {"long_name": "reflection"}),
        **{name: ("hkl", index[:, i]) for i, name in enumerate("hkl")},
        "gx": ("hkl", index[:, 0] / CELL, per_angstrom),
        "gy": ("hkl", index[:, 1] / CELL, per_angstrom),
        "ky": ("ky", k, per_angstrom),
        "kx": ("kx", k, per_angstrom),
        "alpha_y": ("ky", 1e3 * np.arcsin(length * k), {"units": "mrad"}),
        "alpha_x": ("kx", 1e3 * np.arcsin(length * k), {"units": "mrad"}),
    }
    attributes = {
        "software": "lacbed 0.1.0",
        "kind": "simulated",
        "units": "1",
        "long_name": "intensity",
        "crystal": "SrTiO₃",
        "formula": "SrTiO3",
        "crystal_cif": "data_x\n_cell_length_a 3.905\n# Å é \"quoted\" 'text'\n" * 2000,
        "zone_axis": [0, 0, 1],
        "one": [5],
        "energy": 200e3,
        "wavelength": length,
        "grid": json.dumps({"pixels": pixels, "k_max": k_max}),
        "beams": 123,
        "refraction": True,
        "notes": ["B = 0.5 Å² assumed", "second"],
        "nothing": [],
        "empty": "",
        "weights": [0.1, 1e-300, 3.0],
    }
    name = "amplitude" if np.dtype(dtype).kind == "c" else "intensity"
    dims = ("thickness", "hkl", "ky", "kx")
    return xr.DataArray(values.astype(dtype), coords, dims, name, attributes)


@pytest.fixture
def make_pattern() -> Callable[..., xr.DataArray]:
    return build_pattern
