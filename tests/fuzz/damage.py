"""Seeded damage to files and folders: what disks, copies and editors do to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

Random = np.random.Generator
_LONGEST_RUN = 64


def flip_bit(content: bytes, rng: Random) -> bytes:
    """Turn one bit."""
    out = bytearray(content)
    out[rng.integers(len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def change_byte(content: bytes, rng: Random) -> bytes:
    """Put any byte in the place of one."""
    out = bytearray(content)
    out[rng.integers(len(out))] = int(rng.integers(256))
    return bytes(out)


def change_bytes(content: bytes, rng: Random) -> bytes:
    """Put any bytes in the place of up to twenty, anywhere."""
    out = bytearray(content)
    for place in rng.integers(0, len(out), int(rng.integers(2, 21))):
        out[place] = int(rng.integers(256))
    return bytes(out)


def cut(content: bytes, rng: Random) -> bytes:
    """End too early."""
    return content[: int(rng.integers(len(content)))]


def zero_run(content: bytes, rng: Random) -> bytes:
    """Zeros in the place of a run of bytes, such as a lost sector."""
    start, length = _run(content, rng)
    return content[:start] + bytes(length) + content[start + length :]


def repeat_run(content: bytes, rng: Random) -> bytes:
    """A run of bytes twice."""
    start, length = _run(content, rng)
    return content[: start + length] + content[start:]


def drop_run(content: bytes, rng: Random) -> bytes:
    """A run of bytes left out."""
    start, length = _run(content, rng)
    return content[:start] + content[start + length :]


def change_number(content: bytes, rng: Random) -> bytes:
    """Another digit in a number of a text; any byte where there is none."""
    digits = [match.start() for match in re.finditer(rb"\d", content)]
    if not digits:
        return change_byte(content, rng)
    out = bytearray(content)
    place = digits[rng.integers(len(digits))]
    out[place] = ord("0") + (out[place] - ord("0") + int(rng.integers(1, 10))) % 10
    return bytes(out)


def odd_number(content: bytes, rng: Random) -> bytes:
    """A number of a text replaced by one that JSON or the reader may not expect."""
    numbers = list(re.finditer(rb"(?<=[\s:\[,])-?\d+(\.\d+)?(?=[\s,\]}])", content))
    if not numbers:
        return change_byte(content, rng)
    match = numbers[rng.integers(len(numbers))]
    odd = (
        b"NaN",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"null",
        b'"x"',
        b"[" * 3000 + b"]" * 3000,
        b"true",
        b"99999999999",
    )
    return content[: match.start()] + odd[rng.integers(len(odd))] + content[match.end() :]


def _run(content: bytes, rng: Random) -> tuple[int, int]:
    length = min(len(content), int(rng.integers(1, _LONGEST_RUN)))
    return int(rng.integers(len(content) - length + 1)), length


CONTENT: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bit,
    change_byte,
    change_bytes,
    cut,
    zero_run,
    repeat_run,
    drop_run,
    change_number,
    odd_number,
)
"""Kinds of damage to what is in a file."""


def damage_file(path: Path, rng: Random) -> str:
    """Damage a file in place and say how."""
    kind = CONTENT[rng.integers(len(CONTENT))]
    content = path.read_bytes()
    path.write_bytes(kind(content, rng) if content else b"\0")
    return kind.__name__


def damage_folder(folder: Path, rng: Random) -> str:
    """Damage one file of a folder, delete one, or swap two of the same name; say what was done to which."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    name = str(path.relative_to(folder))
    choice = rng.integers(5)
    if choice == 0:
        path.unlink()
        return f"delete {name}"
    if choice == 1:
        others = [other for other in files if other != path and other.name == path.name] or files
        other = others[rng.integers(len(others))]
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(first)
        return f"swap {name} and {other.relative_to(folder)}"
    return f"{damage_file(path, rng)} {name}"


def damage(path: Path, rng: Random) -> str:
    """Damage a file or a folder in place and say how."""
    return damage_folder(path, rng) if path.is_dir() else damage_file(path, rng)
