"""Zarr (.zarr), a folder of compressed chunks that xarray and cloud tools open.

Laid out as in `netcdf`, except that Zarr has complex numbers, so amplitudes are one variable. Written in Zarr
format 2, the one that all readers know and that has a stable specification for text.
"""

from __future__ import annotations

from pathlib import Path

import xarray as xr
import zarr

from lacbed.errors import FileFormatError
from lacbed.patterns.formats.netcdf import from_dataset, to_dataset


def write(array: xr.DataArray, path: Path) -> None:
    """Write one array."""
    data = to_dataset(array, split_complex=False)
    encoding = {str(n): {"_FillValue": None} for n in data.variables if data[n].dtype.kind not in "UO"}
    data.to_zarr(path, mode="w", zarr_format=2, consolidated=True, encoding=encoding, write_empty_chunks=True)


def read(path: Path) -> xr.DataArray:
    """Read what `write` wrote.

    Raises:
        FileFormatError: if the folder is not one of ours.
    """
    if not path.is_dir():
        raise FileFormatError("a .zarr is a folder, and this is a file")
    if not is_store(path):
        raise FileFormatError("it is a folder without a Zarr store in it")
    zarr.open_group(path, mode="r")
    _check_chunks(path)
    with xr.open_zarr(path, decode_cf=False, chunks=None) as data:
        return from_dataset(data)


def is_store(path: Path) -> bool:
    """Whether a folder holds a Zarr store."""
    return any((path / name).is_file() for name in (".zgroup", ".zmetadata", "zarr.json"))


def _check_chunks(path: Path) -> None:
    """Zarr reads a chunk that is missing as its fill value, silently; a copy cut short must not pass."""
    for name, array in zarr.open_group(path, mode="r").arrays():
        if array.nchunks_initialized != array.nchunks:
            raise FileFormatError(f"chunks of {name} are missing; the folder was not copied completely")
