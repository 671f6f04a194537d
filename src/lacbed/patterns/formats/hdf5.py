"""Reading HDF5 that may be damaged or hostile: only what is inside the file, and no more memory than it needs."""

from __future__ import annotations

import hashlib
import math
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.errors import FileFormatError
from lacbed.io.sizes import EXPANSION, check_size

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


def read(group: Any, name: str, expansion: int = EXPANSION) -> np.ndarray:
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
