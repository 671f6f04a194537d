"""TIFF (.tif, .tiff): a calibrated float32 hyperstack for ImageJ and Fiji.

Thickness is the time axis, the reflection is the channel, and every slice is labelled ("220  600 Å"). Pixels
are calibrated in 1/Å with the origin at k = 0, grey levels of each reflection are preset to its range.

Direction of y: an image file has its first row at the top, while ky is ascending and y points up. The rows are
therefore written in reverse, so that on the screen x points right and y points up as in the figures of this
package, and ImageJ is told so (inverty), so that it shows ky with its right sign. `read` turns them back.

Values are rounded to float32; everything else (labels, coordinates, metadata) comes back exactly from a JSON
text in ImageJ's "Info". It has a checksum over everything, which no longer counts once ImageJ has saved the file,
perhaps with other pixels.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr

from lacbed.errors import FileFormatError, without_log
from lacbed.io.sizes import check_size
from lacbed.patterns.schema import SEAL, axis_step, labels_from_json, labels_to_json, number_text, rebuild

_AXES = {"thickness": "T", "hkl": "C"}
_MIN_MAX = 1e-30
_VERSION = "1.11a"
"""Of ImageJ, as tifffile claims to be; ImageJ itself puts its own."""


def check_type(dtype: np.dtype[Any]) -> None:
    """Refuse complex numbers.

    Raises:
        FileFormatError: saying what to do.
    """
    if dtype.kind == "c":
        raise FileFormatError(
            'TIFF holds no complex amplitudes; choose .nc, .zarr or .npz, or simulate with output="intensity"'
        )


def write(array: xr.DataArray, path: Path) -> None:
    """Write one array whose last two dims are y and x."""
    check_type(array.dtype)
    data = np.ascontiguousarray(array.values[..., ::-1, :], dtype=np.float32)
    y, x = (array.coords[dim] for dim in array.dims[-2:])
    stored = array.astype(np.float32, keep_attrs=True)
    metadata: dict[str, Any] = {
        "axes": "".join(_AXES[str(dim)] for dim in array.dims[:-2]) + "YX",
        "mode": "grayscale",
        "Labels": _slice_labels(array),
        "Info": labels_to_json(stored, values=True, seal=True),
        "Ranges": _ranges(data),
        "min": float(_ranges(data)[0]),
        "max": float(_ranges(data)[1]),
    }
    resolution = None
    if units := str(x.attrs.get("units", "")):
        resolution = (1.0 / axis_step(x), 1.0 / axis_step(y))
        metadata |= {"unit": _escape(units), "inverty": True}
        metadata["xorigin"] = -float(x[0]) / axis_step(x)
        metadata["yorigin"] = float(y[-1]) / axis_step(y)
    metadata |= _time(array)
    extra: dict[str, Any] = {} if resolution is None else {"resolution": resolution, "resolutionunit": "NONE"}
    buffer = io.BytesIO()  # tifffile does not say why when a disk is full
    tifffile.imwrite(buffer, data, imagej=True, metadata=metadata, **extra)
    path.write_bytes(buffer.getbuffer())


def read(path: Path) -> xr.DataArray:
    """Read what `write` wrote, as float32, also after ImageJ has saved it again.

    Raises:
        FileFormatError: if the file is another TIFF.
    """
    with without_log("tifffile"), tifffile.TiffFile(path) as tiff:
        found = tiff.imagej_metadata or {}
        info = found.get("Info")
        if not isinstance(info, str):
            raise FileFormatError(
                "it is a TIFF without the metadata that lacbed writes; if it is a measured image, use lacbed "
                "experiment import"
            )
        header = labels_from_json(info)
        if found.get("ImageJ") != _VERSION:
            header.pop(SEAL, None)
        expected = _shape(header)
        _check_length(tiff, math.prod(expected))
        data = np.asarray(tiff.asarray())
    if data.size != math.prod(expected):
        raise FileFormatError("its labels do not fit its data; the file is damaged")
    return rebuild(data.reshape(expected)[..., ::-1, :].astype(np.float32), header)


def is_ours(path: Path) -> bool:
    """Whether a file was written by `write`."""
    with without_log("tifffile"), tifffile.TiffFile(path) as tiff:
        info = (tiff.imagej_metadata or {}).get("Info")
        return isinstance(info, str) and '"lacbed"' in info


def _check_length(tiff: tifffile.TiffFile, count: int) -> None:
    """Refuse a file that ends before its data do; tifffile would fill in zeros."""
    ends = [a + n for page in tiff.pages for a, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if tiff.series[0].dataoffset is not None:
        ends.append(tiff.series[0].dataoffset + 4 * count)
    if max(ends, default=0) > tiff.filehandle.size:
        raise FileFormatError("it is cut short")
    series = tiff.series[0]
    check_size("its images", math.prod(series.shape) * series.dtype.itemsize, tiff.filehandle.size)


def _shape(header: dict[str, Any]) -> tuple[int, ...]:
    try:
        return tuple(len(header["coords"][dim]["values"]) for dim in header["dims"])
    except (KeyError, TypeError):
        raise FileFormatError("its metadata are damaged") from None


def _slice_labels(array: xr.DataArray) -> list[str]:
    thicknesses = [f"{number_text(t, 6)} Å" for t in _values(array, "thickness")]
    reflections = [str(r).replace(",", " ") for r in _values(array, "hkl")]
    return ["  ".join(part for part in (r, t) if part) for t in thicknesses or [""] for r in reflections or [""]]


def _values(array: xr.DataArray, dim: str) -> list[Any]:
    return list(array.coords[dim].values) if dim in array.dims else []


def _ranges(data: np.ndarray) -> tuple[float, ...]:
    """Darkest and brightest grey of each channel, over all thicknesses."""
    channels = np.moveaxis(data, -3, 0).reshape(data.shape[-3], -1) if data.ndim == 4 else data.reshape(1, -1)
    ranges: list[float] = []
    for channel in channels:
        finite = channel[np.isfinite(channel)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        ranges += [low, high if high > low else low + _MIN_MAX + abs(low) * 1e-6]
    return tuple(ranges)


def _time(array: xr.DataArray) -> dict[str, Any]:
    """The step of the thicknesses as frame interval, where there is one step."""
    values = np.asarray(_values(array, "thickness"), dtype=float)
    steps = np.diff(values)
    if len(steps) == 0 or not np.allclose(steps, steps[0], rtol=1e-6):
        return {}
    return {"finterval": float(steps[0]), "tunit": _escape("Å")}


def _escape(text: str) -> str:
    r"""Text as ImageJ's description has it: ASCII with \uXXXX."""
    return text.encode("ascii", "backslashreplace").decode().replace("\\xc5", "\\u00C5")
