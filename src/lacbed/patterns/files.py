"""Saving and loading: the ending of the path chooses the format, and a file appears whole or not at all.

| ending       | what                                     | comes back                    |
|--------------|------------------------------------------|-------------------------------|
| .nc          | netCDF-4 (HDF5)                          | exactly                       |
| .zarr        | Zarr folder                              | exactly                       |
| .npz         | NumPy archive, no pickle                 | exactly                       |
| .tif, .tiff  | ImageJ hyperstack, calibrated            | values as float32, rest exact |
| .hspy, .zspy | HyperSpy signal (extra "hyperspy")       | exactly                       |
| .png         | figure                                   | no                            |

A folder of Felix's images is read too; see `lacbed.patterns.formats.felix`.
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import xarray as xr

from lacbed.errors import FileFormatError, LacbedError
from lacbed.io.atomic import check_may_write, check_replaceable, reason, replacing
from lacbed.io.checks import regular_file
from lacbed.patterns.schema import check_pattern

FORMATS = {
    ".nc": "netcdf",
    ".zarr": "zarr_folder",
    ".npz": "npz",
    ".tif": "imagej",
    ".tiff": "imagej",
    ".hspy": "hyperspy",
    ".zspy": "hyperspy",
    ".png": "picture",
}
_REAL_ONLY = (".tif", ".tiff", ".png")
_FOLDERS = (".zarr", ".zspy")
_LARGEST = 2**43  # bytes of a file; each format sees for itself what its values take


def save_pattern(pattern: xr.DataArray, path: str | Path) -> Path:
    """Write a pattern in the format that the ending of the path names.

    A file or folder of the same format that lacbed wrote is replaced; anything else that is there stays.

    Args:
        pattern: (thickness, hkl, ky, kx) as `lacbed.simulate` returns it.
        path: where to; the folder must exist.

    Returns:
        the path.

    Raises:
        SettingError: if it is not a pattern.
        FileFormatError: if the ending is unknown, the place cannot be written to or holds something else, or the
            format cannot hold the pattern (complex amplitudes in a TIFF).
        MissingExtraError: if the format needs an extra that is not installed.
    """
    return save_array(check_pattern(pattern), path)


def load_pattern(path: str | Path, block: str | None = None) -> xr.DataArray:
    """Read a pattern that `save_pattern` wrote, with its coordinates and metadata.

    Args:
        path: of the file or folder.
        block: data block of the felix.cif beside images of Felix, if that has several crystals.

    Raises:
        FileFormatError: if there is no such file, or it is damaged, or no pattern of lacbed is in it.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    array = load_array(path, block)
    try:
        return check_pattern(array)
    except LacbedError as error:
        raise FileFormatError(f"cannot use {str(path)!r}: {error}") from None


def save_array(array: xr.DataArray, path: str | Path) -> Path:
    """Like `save_pattern` for any labelled image of this package: CBED patterns, projected potentials."""
    target = check_writable(path, complex_values=array.dtype.kind == "c")
    writer = _module(target)
    with replacing(target) as temporary:
        writer.write(array, temporary)
    return target


def load_array(path: str | Path, block: str | None = None) -> xr.DataArray:
    """Like `load_pattern` for any labelled image of this package."""
    source = Path(path)
    felix = _felix(source)
    reader = felix or _reader(source)
    if not hasattr(reader, "read"):
        raise FileFormatError(f"{str(source)!r} is a picture; patterns can be read from {_list_readable()} files")
    if not _exists(source):
        raise FileFormatError(f"no such file: {str(source)!r}")
    if not source.is_dir():
        regular_file(source, "the pattern", _LARGEST, FileFormatError)
    try:
        array: xr.DataArray = felix.read(source, block) if felix else reader.read(source)
        return array
    except LacbedError as error:
        if isinstance(error, FileFormatError):
            raise FileFormatError(f"cannot read {str(source)!r}: {error}") from None
        raise
    except MemoryError:
        raise FileFormatError(f"cannot read {str(source)!r}: not enough memory for what it announces") from None
    except Exception as error:  # the readers of damaged files raise anything at all
        detail = (
            reason(error)
            if isinstance(error, OSError) and error.errno
            else "damaged, cut short or in another format"
        )
        raise FileFormatError(f"cannot read {str(source)!r} as {source.suffix}: {detail}") from None


def check_writable(path: str | Path, complex_values: bool = False) -> Path:
    """Find out before a long computation whether its result can be written.

    Args:
        path: where to write.
        complex_values: whether the result is complex amplitudes.

    Returns:
        the path.

    Raises:
        FileFormatError: on an unknown ending, a missing or write-protected folder, something in the way that is
            no pattern or picture of lacbed (a data set, say), or complex amplitudes for a format of real images.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    target = Path(path)
    writer = _module(target)
    if complex_values and target.suffix.lower() in _REAL_ONLY:
        raise FileFormatError(
            f"{target.suffix} holds no complex amplitudes; choose .nc, .zarr or .npz, or intensities"
        )
    if writer.__name__.endswith("hyperspy"):
        writer.require(target)
    elif writer.__name__.endswith("netcdf"):
        writer.require()
    try:
        _check_place(target)
    except (OSError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"cannot write {str(target)!r}: {reason(error)}") from None
    return target


def _module(path: Path) -> Any:
    """The module for the ending of a path, imported only now so that nobody waits for formats not used."""
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        ending = f"the ending {path.suffix!r}" if path.suffix else "no ending"
        raise FileFormatError(f"{str(path)!r} has {ending}; expected one of {', '.join(FORMATS)}")
    return importlib.import_module(f"lacbed.patterns.formats.{name}")


def _reader(path: Path) -> Any:
    """The module that reads a file, or a folder that is one file to its readers."""
    if not path.suffix and not _exists(path):
        raise FileFormatError(f"no such file or folder: {str(path)!r}")
    if path.is_dir() and path.suffix.lower() not in _FOLDERS:
        raise FileFormatError(f"{str(path)!r} is a folder without Felix images; expected a pattern file")
    return _module(path)


def _felix(path: Path) -> Any:
    """The reader of Felix's images for a folder that holds some, else None."""
    if path.suffix.lower() in FORMATS or not path.is_dir():
        return None
    module = importlib.import_module("lacbed.patterns.formats.felix")
    return module if module.holds_images(path) else None


def _list_readable() -> str:
    return ", ".join(ending for ending in FORMATS if ending != ".png")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _check_place(target: Path) -> None:
    folder = target.parent
    if not folder.exists():
        raise FileFormatError(f"cannot write {str(target)!r}: there is no folder {str(folder)!r}; make it first")
    if not folder.is_dir():
        raise FileFormatError(f"cannot write {str(target)!r}: {str(folder)!r} is not a folder")
    with suppress(FileNotFoundError):
        os.lstat(target)  # says so if the name is too long or impossible
    if target.is_dir() and target.suffix.lower() not in _FOLDERS:
        raise FileFormatError(f"cannot write {str(target)!r}: it is a folder")
    if target.suffix.lower() in _FOLDERS and target.is_file():
        raise FileFormatError(f"cannot write {str(target)!r}: a {target.suffix} is a folder, and there is a file")
    check_replaceable(target, _is_ours, "pattern or picture")
    if target.is_file() and not os.access(target, os.W_OK):
        raise FileFormatError(f"cannot write {str(target)!r}: the file is write-protected")
    check_may_write(folder)


def _is_ours(target: Path) -> bool:
    """Whether a file or folder is of the format that its ending names, and lacbed wrote it."""
    found: bool = _module(target).is_ours(target)
    return found
