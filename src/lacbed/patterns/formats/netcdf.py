"""netCDF-4 (.nc), which xarray, netCDF4, MATLAB, Julia and HDF5 tools open.

The data variable has the name of the array; complex amplitudes are two variables, name_real and name_imag, as
netCDF has no complex numbers. The attributes are there twice: once natively for other programs, and once as
JSON in the scalar variable `lacbed_metadata`, from which they come back with their exact types. The JSON has a
checksum over all values and labels, and behind the end of HDF5 stands one over the whole file.
"""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lacbed.errors import FileFormatError, MissingExtraError
from lacbed.io.sizes import EXPANSION, check_size
from lacbed.patterns.schema import labels_from_json, labels_to_json, plain_attributes, rebuild

_SEAL = b"\nlacbed-sha256 "
_PART = 2**22
_HEAP = b"GCOL\x01\0\0\0"


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file, open for reading. What HDF5 has to say while it takes a damaged one apart is not shown."""
    import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]

    _check_seal(path)
    _check_heaps(path)
    with quiet(), h5py.File(path, "r") as file:
        yield file


def write_sealed(path: Path, content: memoryview) -> None:
    """Write an HDF5 file and behind it, where HDF5 does not look, a checksum over all of it.

    HDF5 may crash the process, or never end, while it reads a damaged file; so one is noticed before it is opened.
    """
    with path.open("wb") as stream:
        stream.write(content)
        stream.write(_SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n")


def _check_seal(path: Path) -> None:
    """Compare that checksum, if the file has one: earlier versions wrote none, and HDF5 removes it with a change.

    Raises:
        FileFormatError: if it differs.
    """
    length = path.stat().st_size - len(_SEAL) - 65
    if length < 0:
        return
    with path.open("rb") as stream:
        stream.seek(length)
        if stream.read(len(_SEAL)) != _SEAL:
            return
        wanted = stream.read(64)
        stream.seek(0)
        total, left = hashlib.sha256(), length
        while left and (part := stream.read(min(left, _PART))):
            total.update(part)
            left -= len(part)
    if total.hexdigest().encode() != wanted:
        raise FileFormatError("it is damaged: its content does not have the checksum that was written with it")


def _check_heaps(path: Path) -> None:
    """Refuse a file of which a heap of texts is damaged: HDF5 walks along it for ever if an entry has no length.

    A heap is "GCOL", version 1, its length, and entries: number (0 for what is free), references, length and
    content, in steps of 8 bytes; https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, III.E.

    Raises:
        FileFormatError: saying so.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_HEAP)
        while start >= 0:
            place = start + 16
            end = start + int.from_bytes(content[start + 8 : place], "little")
            if end > len(content):
                raise FileFormatError("it is cut short or damaged")
            while place + 16 <= end:
                size = int.from_bytes(content[place + 8 : place + 16], "little")
                free = content[place : place + 2] == b"\0\0"
                place += size if free else 16 + -(-size // 8) * 8
                if (free and size == 0) or place > end:
                    raise FileFormatError("its heap of texts is damaged")
            start = content.find(_HEAP, start + 8)


@contextmanager
def quiet() -> Iterator[None]:
    """Show no exceptions that nobody can catch, which HDF5 has when it lets go of a file it could not finish."""
    hooks = sys.unraisablehook, sys.excepthook  # Cython prints by the second before it calls the first
    sys.unraisablehook, sys.excepthook = (lambda *_: None), (lambda *_: None)
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = hooks


def read_values(group: Any, name: str, expansion: int = EXPANSION) -> np.ndarray:
    """The values of one array of numbers or texts; `expansion` as in `check_size`.

    Raises:
        FileFormatError: if it is something else, lies in another file, or asks for more memory than it should.
    """
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise FileFormatError(f"{name} lies in another file")
    array = group[name]
    if not isinstance(array, h5py.Dataset):
        raise FileFormatError(f"{name} is not an array")
    if array.external or array.is_virtual:
        raise FileFormatError(f"the values of {name} lie in another file")
    text = h5py.check_string_dtype(array.dtype) is not None
    if not text and array.dtype.kind not in "fiub":
        raise FileFormatError(f"{name} holds {array.dtype} where numbers should be")
    _check_storage(array, name, expansion)
    return np.asarray(array.asstr()[()] if text else array[()])


def _check_storage(array: Any, name: str, expansion: int) -> None:
    """HDF5 makes up what was never stored, of any size, as fill values."""
    stored, width = array.file.id.get_filesize(), array.dtype.itemsize
    check_size(name, array.size * width, stored, expansion)
    if array.chunks is None:
        complete = array.id.get_storage_size() >= array.size * width
    else:
        check_size(f"a chunk of {name}", math.prod(array.chunks) * width, stored, expansion)
        wanted = math.prod(math.ceil(n / c) for n, c in zip(array.shape, array.chunks, strict=True))
        complete = array.id.get_num_chunks() >= wanted
    if not complete:
        raise FileFormatError(f"values of {name} are missing; the file is damaged")


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
