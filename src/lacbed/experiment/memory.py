"""Whether what a file announces is plausible and fits into the memory, found out before it is read."""

from __future__ import annotations

import math
from typing import IO, Any

import numpy as np

from lacbed.errors import FileFormatError
from lacbed.io.checks import readable
from lacbed.io.sizes import free_memory

LARGEST = 4 * 2**30
"""Bytes of a file, above which it is no stack of LACBED patterns."""
_COPIES = 4  # of the float64 images, while an experiment is made of them


def check_memory(pixels: int) -> None:
    """Refuse more pixels than the memory holds while an experiment is made of them.

    Raises:
        FileFormatError: with the estimate.
    """
    need = 8 * _COPIES * pixels
    free = free_memory()
    if need > free:
        raise FileFormatError(
            f"it announces {pixels} pixels, which need about {readable(need)} of memory, and {readable(free)} are "
            "free; bin the images or take fewer of them"
        )


def array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in NumPy's format that a stream begins with; what follows is not read.

    Raises:
        FileFormatError: if it holds Python objects, or more pixels than the memory holds.
    """
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise FileFormatError("it holds pickled Python objects, which are never loaded")
    check_memory(math.prod(shape))
    return shape, dtype
