"""HDF5, the container of .nc and .hspy, read without trust in it.

The HDF5 library may crash the process, or never end, while it takes a damaged file apart. So what lacbed writes
has a checksum behind the end of HDF5, and a file without one is first read by a process of its own.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.errors import FileFormatError
from lacbed.io.sizes import EXPANSION, check_size

_SEAL = b"\nlacbed-sha256 "
_PART = 2**22
_CRASH = "HDF5 crashes on it, or does not come to an end"
_HIGHEST_EXIT = 255  # beyond it, Windows has the codes of crashes
_HEAP = b"GCOL\x01\0\0\0"
_PATIENCE = 120.0  # seconds until a process that reads a file is given up; it has 20 s of the processor

_LOOK = """
import os, sys
sys.path[:] = sys.argv[2:]
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
except (ImportError, OSError, ValueError):
    pass
try:
    import h5py
    left = 2**28
    most = max(2**26, 250 * os.path.getsize(sys.argv[1]))
    def look(name, item):
        global left
        dict(item.attrs)
        if not isinstance(item, h5py.Dataset) or item.shape is None or item.is_virtual or item.external:
            return
        if item.nbytes > most:
            return
        parts = [()]
        if item.nbytes > 2**24:
            parts = item.iter_chunks() if item.chunks else range(item.shape[0])
        for part in parts:
            left -= getattr(item[part], "nbytes", 0)
            if left < 0:
                return
    with h5py.File(sys.argv[1], "r") as file:
        dict(file.attrs)
        file.visititems(look)
except BaseException:
    pass
"""
"""Read a file, up to 256 MiB of values. Errors do not matter: whoever reads it next meets and reports them."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file, open for reading. What HDF5 has to say while it takes a damaged one apart is not shown."""
    import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]

    check_file(path)
    with quiet(), h5py.File(path, "r") as file:
        yield file


def check_file(path: Path) -> None:
    """Make sure that HDF5 can be trusted with a file: by its checksum, or by a process that reads it first.

    Raises:
        FileFormatError: if the checksum differs, or the reader crashed or did not end.
    """
    if not _check_seal(path):
        _check_heaps(path)
        status = path.stat()
        if problem := _first_reader(str(path), status.st_size, status.st_mtime_ns, status.st_ino):
            raise FileFormatError(f"it is damaged: {problem}")


@lru_cache(maxsize=64)
def _first_reader(path: str, *_: int) -> str:
    """What becomes of a process that reads a file; "" if it ends, or none can be started."""
    if not sys.executable or getattr(sys, "frozen", False):
        return ""
    command = [sys.executable, "-I", "-S", "-c", _LOOK, os.path.abspath(path), *filter(None, sys.path)]
    silent, threads = subprocess.DEVNULL, {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        code = subprocess.run(
            command,
            stdin=silent,
            stdout=silent,
            stderr=silent,
            timeout=_PATIENCE,
            env=os.environ | threads,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return _CRASH
    except (OSError, ValueError):
        return ""
    return _CRASH if code < 0 or code > _HIGHEST_EXIT else ""


def write_sealed(path: Path, content: memoryview) -> None:
    """Write an HDF5 file and behind it, where HDF5 does not look, a checksum over all of it.

    HDF5 may crash the process, or never end, while it reads a damaged file; so one is noticed before it is opened.
    """
    with path.open("wb") as stream:
        stream.write(content)
        stream.write(_SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n")


def _check_seal(path: Path) -> bool:
    """Compare that checksum, if the file has one: earlier versions wrote none, and HDF5 removes it with a change.

    Returns:
        Whether it has one.

    Raises:
        FileFormatError: if it differs.
    """
    length = path.stat().st_size - len(_SEAL) - 65
    if length < 0:
        return False
    with path.open("rb") as stream:
        stream.seek(length)
        if stream.read(len(_SEAL)) != _SEAL:
            return False
        wanted = stream.read(64)
        stream.seek(0)
        total, left = hashlib.sha256(), length
        while left and (part := stream.read(min(left, _PART))):
            total.update(part)
            left -= len(part)
    if total.hexdigest().encode() != wanted:
        raise FileFormatError("it is damaged: its content does not have the checksum that was written with it")
    return True


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
