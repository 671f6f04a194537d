"""netCDF-4 (.nc), which xarray, netCDF4, MATLAB, Julia and HDF5 tools open.

The data variable has the name of the array; complex amplitudes are two variables, name_real and name_imag, as
netCDF has no complex numbers. The attributes are there twice: once natively for other programs, and once as
JSON in the scalar variable `lacbed_metadata`, from which they come back with their exact types. The JSON has a
checksum over all values and labels, and behind the end of HDF5 stands one over the whole file (see `hdf5`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lacbed.errors import FileFormatError, MissingExtraError
from lacbed.patterns.formats.hdf5 import opened, read_values, write_sealed
from lacbed.patterns.schema import labels_from_json, labels_to_json, plain_attributes, rebuild

METADATA = "lacbed_metadata"


def require() -> None:
    """Check that HDF5 is there.

    Raises:
        MissingExtraError: if not.
    """
    try:
        import h5netcdf  # noqa: F401
        import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
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
    write_sealed(path, buffer.getbuffer())


def read(path: Path) -> xr.DataArray:
    """Read what `write` wrote. By h5py alone, since h5netcdf complains on stderr about files that are damaged.

    Raises:
        FileFormatError: if the file is not one of ours, or asks for more memory than such a file needs.
    """
    require()
    with opened(path) as file:
        return from_variables(set(file), lambda name: read_values(file, name))


def is_ours(path: Path) -> bool:
    """Whether a file was written by `write`, whole or not."""
    require()
    with opened(path) as file:
        return METADATA in file


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
    data[METADATA] = ((), labels_to_json(array, values=False, seal=True))
    return data


def from_variables(names: Collection[str], values: Callable[[str], np.ndarray]) -> xr.DataArray:
    """The array that `to_dataset` took apart, from the names and the values of its variables.

    Raises:
        FileFormatError: if it did not.
    """
    if METADATA not in names:
        raise FileFormatError("it was not written by lacbed")
    header = labels_from_json(_text(values(METADATA)))
    name = header.get("name") or "data"
    coordinates = header.get("coords")
    parts = [name] if name in names else [f"{name}_real", f"{name}_imag"]
    for needed in (*parts, *(coordinates if isinstance(coordinates, dict) else ())):
        if needed not in names:
            raise FileFormatError(f"{needed} is missing; the file is damaged")
    data = values(name) if name in names else _complex(values(parts[0]), values(parts[1]))
    return rebuild(data, header, {key: values(key) for key in coordinates or ()})


def _complex(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    if real.shape != imaginary.shape or real.dtype.kind != "f" or imaginary.dtype != real.dtype:
        raise FileFormatError("its real and imaginary parts do not fit together; the file is damaged")
    data = np.empty(real.shape, dtype=np.result_type(real.dtype, np.complex64))
    data.real, data.imag = real, imaginary  # unlike real + 1j * imaginary, keeps -0.0 and NaN as they are
    return data


def _text(value: np.ndarray) -> str:
    if value.size != 1:
        raise FileFormatError("its metadata are damaged")
    item = value.item()
    return item.decode() if isinstance(item, bytes) else str(item)


def _native(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes for other programs: no bool and nothing empty, which netCDF does not have."""
    out: dict[str, Any] = {}
    for key, value in plain_attributes(attributes).items():
        if value in ("", []):
            continue
        out[key] = int(value) if isinstance(value, bool) else value
    return out
