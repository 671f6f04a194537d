"""PNG (.png): the figure that belongs to an array. It is for looking at and cannot be read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from lacbed.errors import FileFormatError

_PNG = b"\x89PNG\r\n\x1a\n"


def write(array: xr.DataArray, path: Path) -> None:
    """Draw a montage of a pattern, a CBED pattern, or a projected potential.

    Of a long series that a montage has no room for, evenly chosen thicknesses are drawn, first and last included,
    and the picture says so.

    Raises:
        FileFormatError: if there is no figure for such an array.
        SettingError: if the reflections alone are more than a montage takes.
    """
    from lacbed.patterns import figures  # matplotlib is slow to import

    if array.dims[-2:] == ("ky", "kx"):
        readable = _readable(array)
        figure = figures.montage(readable)
        shown, there = readable.sizes["thickness"], array.sizes["thickness"]
        if shown < there:
            said = f"{shown} of {there} thicknesses"
            figure.text(0.995, 0.004, said, ha="right", va="bottom", fontsize=8, color="0.4")
    elif array.dims[-2:] == ("qy", "qx"):
        figure = figures.cbed_figure(array)
    elif array.dims == ("v", "u"):
        figure = figures.potential_figure(array)
    else:
        raise FileFormatError(f"there is no figure for an array with dims {array.dims}")
    figures.save_figure(figure, path)


def is_ours(path: Path) -> bool:
    """Whether a picture was drawn here: it says which software made it (earlier ones: the library they used)."""
    with path.open("rb") as stream:
        start = stream.read(4096)
    return start.startswith(_PNG) and any(b"Software\0" + name in start for name in (b"lacbed", b"Matplotlib"))


def _readable(pattern: xr.DataArray) -> xr.DataArray:
    """The thicknesses for which a montage has room."""
    from lacbed.patterns.figures.montage import MAX_PANELS

    count, room = pattern.sizes["thickness"], max(1, MAX_PANELS // pattern.sizes["hkl"])
    if count <= room:
        return pattern
    chosen = np.linspace(0, count - 1, room) if room > 1 else np.array([count - 1])
    return pattern.isel(thickness=np.round(chosen).astype(int))
