"""One writer at a time in one place, which is found to be writable before any long work.

The operating system releases a lock when its process ends in whatever way, so that none outlives its owner.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lacbed.errors import FileFormatError, LacbedError
from lacbed.io.atomic import reason
from lacbed.io.checks import read_json

LOCK, OWNER = ".lock", ".owner"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a data set, whose folder must exist; `.owner` says who was there last.

    Raises:
        FileFormatError: if another process holds it, saying which; or the folder cannot be written to.
    """
    with _held(folder / LOCK, folder / OWNER, folder, "build"):
        yield


@contextmanager
def claimed(folder: Path, what: str, *, inside: bool) -> Iterator[None]:
    """Hold the place of results from before the work until they are written, and leave no lock behind.

    Args:
        folder: of the results.
        what: is computed, for the message of the next one who wants the place: "refinement".
        inside: whether the results go into the folder one by one, which is then made, and removed if it is still
            empty in the end; else it appears whole, and the lock lies beside it.

    Raises:
        FileFormatError: if another process holds it, saying which; or the place cannot be written to.
    """
    place = folder if inside else folder.parent
    lock, owner = (place / (name if inside else f".{folder.name}{name}") for name in (LOCK, OWNER))
    made = inside and not folder.exists()
    if inside:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileFormatError(f"cannot make the folder {str(folder)!r}: {reason(error)}") from None
    try:
        with _held(lock, owner, folder, what):
            try:
                yield
            finally:  # while it is still held
                for path in (owner, lock):
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
    finally:
        if made:
            with suppress(OSError):  # what holds results is not empty
                folder.rmdir()


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but the lock of a process that was killed, or is not there."""
    return not folder.is_dir() or all(path.name in (LOCK, OWNER) for path in folder.iterdir())


@contextmanager
def _held(lock: Path, owner: Path, folder: Path, what: str) -> Iterator[None]:
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise FileFormatError(f"another {what} is writing to {str(folder)!r}: {_owner(owner)}") from None
    except (OSError, NotImplementedError) as error:
        raise FileFormatError(f"cannot lock {str(folder)!r}: {reason(error)}") from None
    try:
        try:
            known = json.dumps({"process": os.getpid(), "host": socket.gethostname()})
            owner.write_text(known + "\n", encoding="utf-8")
        except OSError as error:
            raise FileFormatError(f"cannot write to {str(folder)!r}: {reason(error)}") from None
        yield
    finally:
        held.release()


def _owner(path: Path) -> str:
    with suppress(LacbedError):
        known = read_json(path, "the owner of a lock", 4096, FileFormatError)
        process, host = known.get("process"), known.get("host")
        if isinstance(process, int) and isinstance(host, str):
            return f"process {process} on {host[:80]}"
    return "an unknown process"
