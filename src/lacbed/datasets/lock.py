"""One build at a time in one folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lacbed.errors import FileFormatError
from lacbed.patterns.atomic import reason

LOCK, OWNER = ".lock", ".owner"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which must exist.

    The operating system releases it when the process ends in whatever way, so that no lock outlives its owner;
    `.owner` says who was there last.

    Raises:
        FileFormatError: if another process holds it, saying which; or the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FileFormatError(f"another build is writing to {str(folder)!r}: {_owner(folder)}") from None
    except (OSError, NotImplementedError) as error:
        raise FileFormatError(f"cannot lock {str(folder)!r}: {reason(error)}") from None
    try:
        owner = json.dumps({"process": os.getpid(), "host": socket.gethostname()})
        (folder / OWNER).write_text(owner + "\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def _owner(folder: Path) -> str:
    try:
        known = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {known['process']} on {known['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown process"
