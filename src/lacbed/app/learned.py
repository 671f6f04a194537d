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
    """The model, loaded once; None if this installation has none."""
    try:
        return import_module("lacbed.learn.surrogate").Surrogate.load()
    except (ImportError, LacbedError, OSError):
        return None


def predict(crystal: Crystal, view: View) -> tuple[xr.DataArray, list[str], float] | None:
    """Learned pattern of a view with the model's remarks and the seconds it took; None where it does not hold."""
    model = surrogate()
    if model is None or view.hkl != (0, 0, 0):
        return None
    start = time.perf_counter()
    try:
        pattern = model.predict(crystal, thicknesses=view.thicknesses, energy=view.voltage * 1e3)
    except LacbedError:
        return None  # outside what it was trained on
    return pattern, [], time.perf_counter() - start
