"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
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
    temporary = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(6)}{target.suffix}")
    try:
        yield temporary
        _flush(temporary)
        _move(temporary, target)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        raise FileFormatError(f"cannot write {str(target)!r}: {reason(error)}") from None
    finally:
        remove(temporary)


def reason(error: BaseException) -> str:
    """Why the operating system or a library refused, in one line without paths."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
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
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
