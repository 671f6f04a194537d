"""Zarr (.zarr), a folder of compressed chunks that xarray and cloud tools open.

Laid out as in `netcdf`, except that Zarr has complex numbers, so amplitudes are one variable. Written in Zarr
format 2, the one that all readers know and that has a stable specification for text.
"""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from lacbed.errors import FileFormatError
from lacbed.io.checks import regular_file
from lacbed.io.sizes import COMPRESSED, check_size
from lacbed.patterns.formats.netcdf import METADATA, from_variables, to_dataset

MARKS = (".zgroup", ".zmetadata", "zarr.json")
"""Files of which each Zarr store has at least one."""

_CODECS = {"blosc", "zstd", "zlib", "gzip", "lz4", "bz2", "lzma", "crc32", "crc32c", "bytes", "transpose"}
_TEXT_CODECS = {"vlen-utf8"}
_LARGEST_FILE = 2**40


def write(array: xr.DataArray, path: Path) -> None:
    """Write one array."""
    data = to_dataset(array, split_complex=False)
    encoding = {str(n): {"_FillValue": None} for n in data.variables if data[n].dtype.kind not in "UO"}
    # In memory first: Zarr writes in many threads, which go on when a disk is full and one of them has failed.
    memory = MemoryStore()
    data.to_zarr(memory, mode="w", zarr_format=2, consolidated=True, encoding=encoding, write_empty_chunks=True)
    for name, content in bytes_of(memory).items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def bytes_of(store: MemoryStore) -> dict[str, bytes]:
    """The files of a store in memory."""
    return {name: value.to_bytes() for name, value in store._store_dict.items()}


def read(path: Path) -> xr.DataArray:
    """Read what `write` wrote.

    Raises:
        FileFormatError: if the folder is not one of ours, or asks for more memory than such a folder needs.
    """
    if not path.is_dir():
        raise FileFormatError("a .zarr is a folder, but this is a file")
    if not is_store(path):
        raise FileFormatError("it is a folder without a Zarr store in it")
    size = check_files(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about parts that it cannot read; the error says it
        arrays = dict(zarr.open_group(path, mode="r", use_consolidated=False).arrays())
    return from_variables(arrays, lambda name: read_array(arrays[name], name, size))


def check_files(folder: Path) -> int:
    """Size of a folder of regular files; a named pipe among them would block whoever opens it.

    Raises:
        FileFormatError: if one is something else.
    """
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return sum(regular_file(path, "a part of the folder", _LARGEST_FILE, FileFormatError) for path in files)


def is_store(path: Path) -> bool:
    """Whether a folder holds a Zarr store."""
    return any((path / name).is_file() for name in MARKS)


def is_ours(path: Path) -> bool:
    """Whether a folder holds what `write` writes, whole or not, and nothing else."""
    if not is_store(path) or not (path / METADATA / ".zarray").is_file():
        return False
    allowed = {*MARKS, ".zattrs"}
    return all(p.name in allowed or (p / ".zarray").is_file() for p in path.iterdir())


def read_array(array: Any, name: str, stored: int) -> np.ndarray:
    """All values of one array of a folder that takes `stored` bytes.

    Raises:
        FileFormatError: if chunks are missing, which Zarr would take for fill values; if it has codecs that could
            run what is in the file; or if it asks for more memory than it should.
    """
    check_codecs(array, name)
    width = array.dtype.itemsize
    check_size(name, math.prod(array.shape) * width, stored, COMPRESSED)
    check_size(f"a chunk of {name}", math.prod(array.chunks) * width, stored, COMPRESSED)
    if array.nchunks_initialized != array.nchunks:
        raise FileFormatError(f"chunks of {name} are missing; the folder was not copied completely")
    check_chunks(array, name)
    return np.asarray(array[...])


def check_chunks(array: Any, name: str) -> None:
    """Compare the sizes that Blosc wrote at the start of each chunk that is there with what they must be.

    Blosc itself believes them: it reads on behind the end of a chunk that is cut short, and fills values up with
    whatever is in memory. All other codecs notice. The header is 16 bytes, with the number of bytes of the values
    at 4 and that of the whole chunk at 12; https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst.

    Raises:
        FileFormatError: if they differ.
    """
    used = _codecs(array)
    if not used or used[-1] != "blosc":
        return
    counted = array.dtype.kind not in "OT"  # texts of any length
    expected = math.prod(array.chunks) * array.dtype.itemsize
    folder = Path(array.store.root) / array.path
    numbers = [range(-(-n // c)) for n, c in zip(array.shape, array.chunks, strict=True)]
    for chunk in itertools.product(*numbers):
        file = folder / array.metadata.encode_chunk_key(chunk)
        if not file.exists():
            continue
        with file.open("rb") as stream:
            head = stream.read(16)
        values, whole = (int.from_bytes(head[i : i + 4], "little") for i in (4, 12))
        if whole != file.stat().st_size or (counted and values != expected):
            raise FileFormatError(f"a chunk of {name} is damaged or cut short ({file.name!r} in {folder.name!r})")


def check_codecs(array: Any, name: str) -> None:
    """Refuse whatever is not plain compression: there are codecs that load Python objects (pickles)."""
    used = _codecs(array)
    text = array.dtype.kind in "OTU"
    strange = [codec for codec in used if codec not in _CODECS and not (text and codec in _TEXT_CODECS)]
    if strange or (array.dtype.kind == "O" and not set(used) & _TEXT_CODECS):
        raise FileFormatError(f"{name} is stored as {strange[0] if strange else 'objects'}, which is never loaded")


def _codecs(array: Any) -> list[str]:
    """Names of the codecs of an array in the order in which they write."""
    metadata = array.metadata
    if metadata.zarr_format == 2:
        return [codec.codec_id for codec in (*(metadata.filters or ()), metadata.compressor) if codec is not None]
    return [str(codec.to_dict()["name"]) for codec in metadata.codecs]
