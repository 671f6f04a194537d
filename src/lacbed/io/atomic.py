"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lacbed.errors import FileFormatError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary sibling to write to; it takes the place of `path` only if the block succeeds.

    Works for a file and for a folder (.zarr). A symbolic link stays one: what it points to is replaced.
    Whatever goes wrong, an exception, Ctrl-C or a full disk, the temporary is removed and what was at `path`
    before is still there.

    Args:
        path: the file or folder to make or replace.

    Yields:
        a hidden path in the same folder with the same ending.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    _remove_leftovers(target)
    temporary = target.with_name(f".{target.stem[:80]}.{_token()}{target.suffix}")
    try:
        yield temporary
        _flush(temporary)
        _move(temporary, target)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        raise FileFormatError(f"cannot write {str(target)!r}: {reason(error)}") from None
    finally:
        remove(temporary)


def check_may_write(folder: Path) -> None:
    """Find out by trying whether a folder takes files: what the rights say is wrong on network disks and for root.

    Where the system can do that, the file that is tried has no name that a signal or a crash could leave behind.

    Raises:
        OSError: if it does not.
    """
    with tempfile.TemporaryFile(dir=folder, prefix=".lacbed."):
        pass


def check_replaceable(target: Path, is_ours: Callable[[Path], bool], what: str) -> None:
    """Refuse, before any work, a place where something stands that is not what is going to be written.

    Only files and folders that lacbed wrote, of the same kind, are ever replaced; an empty one counts as free.

    Args:
        target: the file or folder to make or replace.
        is_ours: whether one is of the kind to be written, judged by what it holds.
        what: the kind, for the message.

    Raises:
        FileFormatError: naming what is there.
    """
    if not target.exists():
        return
    there = "a folder" if target.is_dir() else "a file" if target.is_file() else "not a file (a pipe or a device)"
    if target.stat().st_size == 0 if target.is_file() else target.is_dir() and not any(target.iterdir()):
        return
    try:
        ours = (target.is_file() or target.is_dir()) and is_ours(target)
    except Exception:  # the readers of damaged and foreign files raise anything at all
        ours = False
    if is_dataset(target):
        ours, there = False, "a data set"
    elif is_dataset(target.parent):
        ours, there = False, "a part of a data set"
    if not ours:
        raise FileFormatError(
            f"cannot write {str(target)!r}: it is {there}, not a {what} written by lacbed; choose another name, "
            "or move it away"
        )


def holds_only(folder: Path, marks: Collection[str], others: Collection[str] = ()) -> bool:
    """Whether a folder holds all files named in `marks`, and besides them only such as are named in `others`."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return names >= set(marks) and names <= {*marks, *others}


def is_dataset(folder: Path) -> bool:
    """Whether a folder is a data set, or one that is being built."""
    return (folder / "catalog.parquet").is_file() and (folder / "zarr.json").is_file()


_LEFT = re.compile(r"([0-9a-f]{6})[0-9a-f]{6}")
_ERRNO = re.compile(r"errno = (\d{1,4})\b")
_TRIES = 20
_AGE = 3600.0
"""Seconds after which an unfinished file is nobody's, where the system does not tell who lives."""


def _token() -> str:
    """Twelve digits that no other process draws; the first six say which process it is."""
    return f"{os.getpid() % 16**6:06x}{secrets.token_hex(3)}"


def _remove_leftovers(target: Path) -> None:
    """Remove what processes left that were killed while they wrote to the same place.

    One that was killed between its two renames has put the old folder aside; that is put back.
    """
    prefix, suffix = f".{target.stem[:80]}.", target.suffix
    with suppress(OSError):
        for path in target.parent.iterdir():
            if not path.name.startswith(prefix):
                continue
            name = path.name.removeprefix(prefix)
            aside = name.endswith(".old")
            match = _LEFT.fullmatch(name.removesuffix(".old").removesuffix(suffix))
            if match is None or not _abandoned(path, int(match[1], 16)):
                continue
            if aside and not target.exists():
                os.replace(path, target)
            else:
                remove(path)


def _abandoned(path: Path, process: int) -> bool:
    if process == os.getpid():
        return False
    if os.name == "posix":
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    return time.time() - path.stat().st_mtime > _AGE


def reason(error: BaseException) -> str:
    """Why the operating system or a library refused, in one line without paths."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if code := _ERRNO.search(text):  # HDF5 says at length what the system said
        text = os.strerror(int(code[1]))
    return " ".join(text.split())[:160]


def _flush(path: Path) -> None:
    """Have the bytes on the disk before the name points to them, so that a full disk shows now."""
    if path.is_file():
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())


def _move(temporary: Path, target: Path) -> None:
    if not (target.is_dir() and not target.is_symlink()):
        os.replace(temporary, target)
        return
    old = target.with_name(f"{temporary.name}.old")  # a folder that is not empty cannot be replaced in one step
    os.replace(target, old)
    try:
        os.replace(temporary, target)
    except BaseException:
        os.replace(old, target)
        raise
    remove(old)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        for _ in range(_TRIES):  # a thread of a library may still be writing into it
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                return
            time.sleep(0.05)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
