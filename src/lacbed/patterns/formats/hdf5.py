"""Reading HDF5 that may be damaged or hostile: only what is inside the file, and no more memory than it needs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.errors import FileFormatError
from lacbed.patterns.sizes import EXPANSION, check_size


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file, open for reading. What HDF5 has to say while it takes a damaged one apart is not shown."""
    import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415

    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with h5py.File(path, "r") as file:
            yield file
    finally:
        sys.unraisablehook = before


def read(group: Any, name: str, expansion: int = EXPANSION) -> np.ndarray:
    """The values of one array of numbers or texts; `expansion` as in `check_size`.

    Raises:
        FileFormatError: if it is something else, lies in another file, or asks for more memory than it should.
    """
    import h5py  # noqa: PLC0415

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise FileFormatError(f"{name} lies in another file")
    array = group[name]
    if not isinstance(array, h5py.Dataset):
        raise FileFormatError(f"{name} is no array")
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
