"""How much memory a file may ask for, found out before it is read."""

from __future__ import annotations

import os

from lacbed.errors import FileFormatError
from lacbed.io.checks import readable

EXPANSION = 30
"""By so much may the values in a file be larger than the file; patterns compress to a half or a third."""

COMPRESSED = 250
"""The same for formats that are written compressed: an image that is zero everywhere comes down to that."""

SMALL = 64 * 2**20
"""Bytes that every file may ask for."""

_CHECKED = 2**29
_SHARE = 0.5


def free_memory() -> int:
    """Bytes of this machine's memory that are free; 4 GiB if that cannot be told."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def check_size(what: str, announced: int, stored: int, expansion: int = EXPANSION) -> None:
    """Refuse values that are much larger than the file they come from, or than the memory that is free.

    Args:
        what: that is to be read, for the message.
        announced: bytes that it will take.
        stored: bytes of the file or folder.
        expansion: largest ratio of the two.

    Raises:
        FileFormatError: with both sizes.
    """
    if announced > SMALL and announced > expansion * stored:
        raise FileFormatError(
            f"{what} is said to take {readable(announced)} in a file of {readable(stored)}; it is damaged or "
            "malicious"
        )
    if announced > _CHECKED:
        free = free_memory()
        if announced > _SHARE * free:
            raise FileFormatError(
                f"{what} takes {readable(announced)}, and {readable(free)} of memory are free; read it on a "
                "machine with more"
            )
