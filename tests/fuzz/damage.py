"""Seeded damage to files and folders, as disks, copies and editors do it; and what became of it, counted."""

from __future__ import annotations

import contextlib
import faulthandler
import re
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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


class Hangs(BaseException):
    """The time is over."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise when the time is over; end the process where not even that helps."""

    def stop(*_: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def verdict_of(read: Callable[[], str], seconds: float, refusal: type[Exception]) -> str:
    """What became of one input: what `read` says, or "refused", "hang", "traceback (...)"."""
    try:
        with limited(seconds):
            return read()
    except refusal as error:
        return "refused" if "\n" not in str(error) else "refused in more than one line"
    except Hangs:
        return "hang"
    except Exception as error:
        return f"traceback ({type(error).__name__})"


@dataclass
class Tally:
    """What became of the inputs: how many became what, a line for each that is not fine, and the slowest."""

    fine: tuple[str, ...]
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, what: str, where: str, seconds: float) -> None:
        """Count one input."""
        self.counts[what] += 1
        self.slowest = max(self.slowest, seconds)
        if what not in self.fine:
            self.bad.append(f"{what}: {where}")

    def report(self) -> int:
        """Print it; exit code 1 if anything went wrong in silence or loudly."""
        for line in self.bad:
            sys.stdout.write(line + "\n")
        for what, n in sorted(self.counts.items()):
            sys.stdout.write(f"{n:6d} {what}\n")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        sys.stdout.write(f"slowest {self.slowest:.2f} s; peak memory {peak:.2f} GiB\n")
        return int(bool(self.bad))
