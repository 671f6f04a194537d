"""PNG (.png): the figure that belongs to an array. It is for looking at and cannot be read back."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from lacbed.errors import FileFormatError


def write(array: xr.DataArray, path: Path) -> None:
    """Draw a montage of a pattern, a CBED pattern, or a projected potential.

    Raises:
        FileFormatError: if there is no figure for such an array.
    """
    from lacbed.patterns import figures  # noqa: PLC0415  matplotlib is slow to import

    if array.dims[-2:] == ("ky", "kx"):
        figure = figures.montage(array)
    elif array.dims[-2:] == ("qy", "qx"):
        figure = figures.cbed_figure(array)
    elif array.dims == ("v", "u"):
        figure = figures.potential_figure(array)
    else:
        raise FileFormatError(f"there is no figure for an array with dims {array.dims}")
    figures.save_figure(figure, path)
