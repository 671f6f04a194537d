"""NumPy archives (.npz): plain arrays and one JSON text, never a pickle.

data = numpy.load("pattern.npz"); data["intensity"], data["ky"], data["kx"], data["thickness"], data["hkl"]
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr

from lacbed.errors import FileFormatError
from lacbed.io.sizes import COMPRESSED, EXPANSION, check_size
from lacbed.patterns.schema import labels_from_json, labels_to_json, rebuild

METADATA = "lacbed_metadata"


def write(array: xr.DataArray, path: Path) -> None:
    """Write one array and its coordinates under their names, not compressed."""
    name = str(array.name or "data")
    labels = labels_to_json(array, values=False, seal=True)
    members: dict[str, Any] = {METADATA: np.array(labels), name: array.values}
    for key, coordinate in array.coords.items():
        values = coordinate.values
        members[str(key)] = values.astype(str) if values.dtype.kind == "O" else values
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **members)


def read(path: Path) -> xr.DataArray:
    """Read what `write` wrote; nothing in the file is executed and nothing expands beyond reason.

    Raises:
        FileFormatError: if the archive is not one of ours.
    """
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, path.stat().st_size, EXPANSION)
        if f"{METADATA}.npy" not in archive.NameToInfo:
            raise FileFormatError("it was not written by lacbed")
        header = labels_from_json(str(read_member(archive, METADATA)))
        data = read_member(archive, str(header.get("name") or "data"))
        try:
            names = [str(name) for name in header["coords"]]
        except (KeyError, TypeError):
            raise FileFormatError("its metadata are damaged") from None
        return rebuild(data, header, {name: read_member(archive, name) for name in names})


def is_ours(path: Path) -> bool:
    """Whether an archive was written by `write`."""
    with zipfile.ZipFile(path) as archive:
        return f"{METADATA}.npy" in archive.NameToInfo


def check_archive(archive: zipfile.ZipFile, size: int, expansion: int = COMPRESSED) -> None:
    """Refuse archives that expand to far more than they are (zip bombs); measured images are mostly compressed."""
    check_size("its content", sum(info.file_size for info in archive.infolist()), size, expansion)


def read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One plain array of an archive.

    Raises:
        FileFormatError: if it is not there, is damaged or holds Python objects.
    """
    info = archive.NameToInfo.get(f"{name}.npy")
    if info is None:
        raise FileFormatError(f"{name} is missing; the file is damaged")
    with archive.open(info) as stream:
        _check_header(stream, info.file_size, name)
    with archive.open(info) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _check_header(stream: IO[bytes], size: int, name: str) -> None:
    """The array that the header announces must be the bytes that are there, and no Python objects."""
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise FileFormatError(f"{name} holds pickled Python objects, which are never loaded")
    if stream.tell() + math.prod(shape) * dtype.itemsize != size:
        raise FileFormatError(f"{name} does not have the size that it announces; the file is damaged")
