"""From values to a labelled pattern that carries everything needed to compute it again."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.beams import HKL
from lacbed.constants import wavelength
from lacbed.crystals.site import NEUTRAL_ATOMS
from lacbed.geometry.frame import near_tie

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.crystals import Crystal
    from lacbed.crystals.cell import FloatArray
    from lacbed.geometry.frame import Frame
    from lacbed.settings import Settings


@cache  # looking it up reads a file, and every pattern asks
def software() -> str:
    """Name and version of this program, for metadata."""
    try:
        return f"lacbed {version('lacbed')}"
    except PackageNotFoundError:
        return "lacbed"


def hkl_label(hkl: HKL) -> str:
    """A reflection as the label that `pattern.sel(hkl=...)` takes: "2,0,0"."""
    return ",".join(str(i) for i in hkl)


def spread(values: np.ndarray, inside: np.ndarray, pixels: int) -> np.ndarray:
    """Values at the wanted pixels as full images, NaN elsewhere: (..., wanted) to (..., pixels, pixels)."""
    if inside.all():
        return values.reshape(*values.shape[:-1], pixels, pixels)
    full = np.full((*values.shape[:-1], len(inside)), np.nan, dtype=values.dtype)
    full[..., inside] = values
    return full.reshape(*values.shape[:-1], pixels, pixels)


def label_pattern(
    values: np.ndarray,
    inside: np.ndarray,
    hkl: tuple[HKL, ...],
    crystal: Crystal,
    frame: Frame,
    settings: Settings,
    extra: dict[str, Any],
    notes: list[str],
) -> xr.DataArray:
    """The pattern (thickness, hkl, ky, kx) of values (thickness, hkl, wanted pixel).

    Coordinates: thickness in Å; hkl as text, h, k, l as integers and gx, gy in 1/Å along hkl; kx, ky in 1/Å; and
    alpha_x, alpha_y = arcsin(λ k) in mrad along kx, ky.
    """
    import xarray as xr  # slow to import, and only results need it

    tie = near_tie(frame) if settings.x_direction is None else ""
    are_ions = settings.factors == "ionic"
    kx, ky = settings.grid.axes(frame, settings.energy)
    indices = np.array(hkl)
    vectors = frame.vectors(indices)
    angle = 1e3 * wavelength(settings.energy)
    coordinates = {
        "thickness": ("thickness", np.array(settings.thicknesses), {"units": "Å", "long_name": "thickness"}),
        "hkl": ("hkl", [hkl_label(g) for g in hkl], {"long_name": "reflection"}),
        **{name: ("hkl", indices[:, i], {"long_name": f"Miller index {name}"}) for i, name in enumerate("hkl")},
        "gx": ("hkl", vectors[:, 0], {"units": "1/Å"}),
        "gy": ("hkl", vectors[:, 1], {"units": "1/Å"}),
        "ky": ("ky", ky, {"units": "1/Å", "long_name": "incident wave vector along y"}),
        "kx": ("kx", kx, {"units": "1/Å", "long_name": "incident wave vector along x"}),
        "alpha_y": ("ky", _milliradians(ky, angle), {"units": "mrad"}),
        "alpha_x": ("kx", _milliradians(kx, angle), {"units": "mrad"}),
    }
    return xr.DataArray(
        spread(values, inside, settings.grid.pixels),
        coords=coordinates,
        dims=("thickness", "hkl", "ky", "kx"),
        name=settings.output,
        attrs={
            "software": software(),
            "kind": "simulated",
            "long_name": "LACBED intensity" if settings.output == "intensity" else "LACBED amplitude",
            "units": "fraction of the incident intensity" if settings.output == "intensity" else "1",
            "crystal": crystal.name,
            "formula": crystal.formula,
            "crystal_cif": crystal.to_cif(),
            "wavelength": wavelength(settings.energy),
            **settings.to_attributes(),
            "zone_axis": list(frame.zone_axis),
            "x_direction": list(frame.x_direction),
            **extra,
            "notes": [n for n in (*notes, tie) if n and not (are_ions and n.startswith(NEUTRAL_ATOMS))],
        },
    )


def _milliradians(k: FloatArray, scale: float) -> FloatArray:
    return np.asarray(1e3 * np.arcsin(k * scale / 1e3))
