"""Results as files, made in a folder of the worker's own; no name from the page reaches the file system."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.errors import SettingError
from lacbed.io.numbers import is_number

if TYPE_CHECKING:
    import xarray as xr

MEDIA_TYPES = {
    ".nc": "application/x-netcdf",
    ".tif": "image/tiff",
    ".npz": "application/x-npz",
    ".png": "image/png",
}


def rebuild_result(labels: str, payload: bytes) -> xr.DataArray:
    """The pattern that a worker sent as labels and float64 values."""
    import json

    from lacbed.patterns.schema import rebuild

    header = json.loads(labels)
    shape = [len(header["coords"][dim]["values"]) for dim in header["dims"]]
    return rebuild(np.frombuffer(payload, "<f8").reshape(shape), header)


def file_bytes(pattern: xr.DataArray, ending: str, thickness: float | None) -> bytes:
    """A pattern, or its image at one thickness, as the content of a file.

    Raises:
        SettingError: if the ending or the thickness is not on offer.
    """
    from lacbed.patterns.files import save_pattern

    if ending not in MEDIA_TYPES:
        raise SettingError(f"a file is one of {', '.join(MEDIA_TYPES)}, got {ending!r:.20}")
    if thickness is not None:
        near = int(np.abs(pattern["thickness"].values - thickness).argmin())
        if abs(float(pattern["thickness"][near]) - thickness) > 1e-6:
            raise SettingError(f"the result has no thickness {thickness:g} Å")
        pattern = pattern.isel(thickness=[near])
    elif ending == ".png" and pattern.sizes["thickness"] > 1:
        raise SettingError("a .png shows one thickness; choose it")
    with tempfile.TemporaryDirectory(prefix="lacbed-") as folder:
        return save_pattern(pattern, Path(folder) / f"pattern{ending}").read_bytes()


def parse_export(request: Mapping[str, Any]) -> tuple[str, float | None]:
    """Ending and thickness of a request for a file.

    Raises:
        SettingError: if they are not text and a number.
    """
    ending, thickness = request.get("format"), request.get("thickness")
    if not isinstance(ending, str) or ending not in MEDIA_TYPES:
        raise SettingError(f"the format of a file is one of {', '.join(MEDIA_TYPES)}")
    if thickness is not None and not is_number(thickness):
        raise SettingError("the thickness of a file is a number in Å")
    return ending, None if thickness is None else float(thickness)
