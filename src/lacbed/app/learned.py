"""The learned simulator, if there is one and it holds for what is asked."""

from __future__ import annotations

import time
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def predict(crystal: Crystal, view: View) -> tuple[xr.DataArray, dict[str, Any]] | None:
    """Learned pattern of a view at its thickness, with what it says about itself.

    Args:
        crystal: the crystal of the view.
        view: what is asked for; the model knows one extent and one kind of absorption.

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
    said = {
        "seconds": time.perf_counter() - start,
        "expected_z": [float(v) for v in pattern.attrs.get("expected_z", ())],
        "remarks": [str(v) for v in pattern.attrs.get("warnings", ())],
    }
    return pattern, said


def _same_settings(domain: dict[str, Any], view: View) -> bool:
    """Whether the model was trained with the half-width and the absorption of the view."""
    absorption = domain["absorption"]
    if isinstance(absorption, list):
        absorption = tuple(absorption)
    return bool(abs(domain["extent"] - view.extent) < 1e-9 and absorption == view.absorption)
