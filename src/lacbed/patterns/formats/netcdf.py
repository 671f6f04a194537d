"""netCDF-4 (.nc), which xarray, netCDF4, MATLAB, Julia and HDF5 tools open.

The data variable has the name of the array; complex amplitudes are two variables, name_real and name_imag, as
netCDF has no complex numbers. The attributes are there twice: once natively for other programs, and once as
JSON in the scalar variable `lacbed_metadata`, from which they come back with their exact types. The data carry
a checksum (Fletcher 32), so that damage is found on reading.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lacbed.errors import FileFormatError, MissingExtraError
from lacbed.patterns.schema import labels_from_json, labels_to_json, plain_attributes, rebuild

METADATA = "lacbed_metadata"


def require() -> None:
    """Check that HDF5 is there.

    Raises:
        MissingExtraError: if not.
    """
    try:
        import h5netcdf  # noqa: F401, PLC0415
        import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401, PLC0415
    except ImportError:
        raise MissingExtraError('.nc files need HDF5: pip install "h5py>=3.8", or choose .npz') from None


def write(array: xr.DataArray, path: Path) -> None:
    """Write one array."""
    require()
    data = to_dataset(array)
    encoding: dict[str, dict[str, Any]] = {str(name): {"_FillValue": None} for name in data.variables}
    for name in data.data_vars:
        if data[name].ndim:
            encoding[str(name)]["fletcher32"] = True
    for name in data.variables:
        if data[name].dtype.kind in "UO":
            encoding[str(name)] = {}
    # In memory first: HDF5 may crash the whole process when a disk runs full under it.
    buffer = io.BytesIO()
    data.to_netcdf(buffer, engine="h5netcdf", encoding=encoding)
    path.write_bytes(buffer.getbuffer())


def read(path: Path) -> xr.DataArray:
    """Read what `write` wrote.

    Raises:
        FileFormatError: if the file is not one of ours.
    """
    require()
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False, cache=False) as data:
        return from_dataset(data)


def to_dataset(array: xr.DataArray, split_complex: bool = True) -> xr.Dataset:
    """The array as a Dataset with its metadata in JSON, real and imaginary parts apart if asked."""
    name = str(array.name or "data")
    native = _native(array.attrs)
    parts = {name: array.values}
    if split_complex and array.dtype.kind == "c":
        parts = {f"{name}_real": array.values.real, f"{name}_imag": array.values.imag}
    data = xr.Dataset({key: (array.dims, values, native) for key, values in parts.items()})
    for key, coordinate in array.coords.items():
        data = data.assign_coords({key: (coordinate.dims, coordinate.values, _native(coordinate.attrs))})
    data[METADATA] = ((), labels_to_json(array, values=False))
    return data


def from_dataset(data: xr.Dataset) -> xr.DataArray:
    """The array that `to_dataset` took apart.

    Raises:
        FileFormatError: if it did not.
    """
    if METADATA not in data.variables:
        raise FileFormatError("it was not written by lacbed")
    header = labels_from_json(_text(data[METADATA].values))
    name = str(header.get("name") or "data")
    try:
        if name in data.variables:
            values = data[name].values
        else:
            values = _complex(data[f"{name}_real"].values, data[f"{name}_imag"].values)
        return rebuild(values, header, {key: data[key].values for key in header["coords"]})
    except KeyError as error:
        raise FileFormatError(f"{error.args[0]} is missing; the file is damaged") from None


def _complex(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    values = np.empty(real.shape, dtype=np.result_type(real.dtype, np.complex64))
    values.real, values.imag = real, imaginary  # unlike real + 1j * imaginary, keeps -0.0 and NaN as they are
    return values


def _text(value: Any) -> str:
    item = np.asarray(value).item()
    return item.decode() if isinstance(item, bytes) else str(item)


def _native(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes for other programs: no bool and nothing empty, which netCDF does not have."""
    out: dict[str, Any] = {}
    for key, value in plain_attributes(attributes).items():
        if value in ("", []):
            continue
        out[key] = int(value) if isinstance(value, bool) else value
    return out
