"""The learned picture of a view, where the packaged model holds."""

from __future__ import annotations

import time
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.app.request import View
from lacbed.errors import LacbedError

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.crystals import Crystal


@cache
def surrogate() -> Any | None:
    """The packaged model, loaded once; None if this installation has none."""
    try:
        return import_module("lacbed.learn.surrogate").Surrogate.load()
    except (ImportError, AttributeError, LacbedError, OSError):
        return None


def learned_pattern(crystal: Crystal, view: View) -> tuple[xr.DataArray, dict[str, Any]] | None:
    """Learned pattern of a view at its thickness, with what it says about itself.

    Args:
        crystal: the crystal of the view.
        view: what is asked for; the model knows one extent, of which a part may be asked for, and one kind of
            absorption. Its pattern is interpolated to other pixels than its own.

    Returns:
        the pattern and "seconds", "expected_z" (one value, or none) and "remarks"; None where no model holds.
    """
    model = surrogate()
    if model is None or not _same_settings(model.domain, view):
        return None
    low, high = model.domain["thickness"]
    if not low <= view.thickness <= high:
        return None
    start = time.perf_counter()
    try:
        pattern = model.predict(
            crystal,
            thicknesses=[view.thickness],
            energy=view.voltage * 1e3,
            zone_axis=view.zone_axis,
            hkl=[view.hkl],
        )
    except LacbedError:
        return None  # outside what it was trained on
    seconds = time.perf_counter() - start
    remarks = [str(v) for v in pattern.attrs.get("warnings", ())]
    if (view.pixels, view.extent) != (pattern.sizes["kx"], model.domain["extent"]):
        remarks.append(f"interpolated from {pattern.sizes['kx']} x {pattern.sizes['ky']} pixels")
        pattern = _on_grid(pattern, view, model.domain["extent"])
    expected = [float(v) for v in pattern.attrs.get("expected_z", ())]
    return pattern, {"seconds": seconds, "expected_z": expected, "remarks": remarks}


def _on_grid(pattern: xr.DataArray, view: View, extent: float) -> xr.DataArray:
    """A pattern of half-width `extent` at the pixels of a view, by cubic splines.

    Pixels of the view beyond the outermost centres, by less than half a pixel, get the values at these.
    """
    import xarray as xr
    from scipy.interpolate import RectBivariateSpline

    from lacbed.patterns.schema import axis_step

    half = 0.5 * axis_step(pattern["kx"]) * pattern.sizes["kx"] * view.extent / extent
    k = (np.arange(view.pixels) + 0.5) * (2.0 * half / view.pixels) - half
    own = pattern["kx"].values
    values = np.stack([RectBivariateSpline(own, own, image)(k, k) for image in pattern.values[:, 0]])[:, None]
    coordinates = {name: pattern.coords[name] for name in ("thickness", "h", "k", "l", "gx", "gy")}
    return xr.DataArray(values, coordinates | {"ky": k, "kx": k}, pattern.dims, attrs=pattern.attrs)


def _same_settings(domain: dict[str, Any], view: View) -> bool:
    """Whether the model was trained with what the view asks for, and at least its half-width."""
    absorption = domain["absorption"]
    if isinstance(absorption, list):
        absorption = tuple(absorption)
    if (
        view.laue_zones
        or view.foil_normal
        or view.x_direction
        or view.factors != domain.get("factors", "kirkland")
    ):
        return False
    return bool(view.extent < domain["extent"] + 1e-9 and absorption == view.absorption)
