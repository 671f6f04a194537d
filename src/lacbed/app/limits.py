"""What one user of the page may ask of the machine, and the messages between page, server and workers."""

from __future__ import annotations

import ctypes
import json
import os
import select
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from lacbed.errors import FileFormatError, MemoryLimitError

MAX_CIF_BYTES = 1_000_000
MAX_THICKNESSES = 400
MAX_REFLECTIONS = 150
MAX_PIXELS = 512
MAX_VALUES = 3_000_000
"""Intensities of all reflections together."""

_BASE = 400 * 2**20
"""Bytes that a worker holds before it computes anything."""


@dataclass(frozen=True)
class Limits:
    """Bounds on the work of the server.

    Attributes:
        body_bytes: largest request.
        upload_bytes: largest experiment, or file of frames.
        body_seconds: longest time that a request may take to arrive.
        idle_seconds: longest time without a byte while a request arrives.
        job_seconds: longest computation.
        quick_seconds: longest time that quick work may hold a worker in reserve.
        job_bytes: memory that one computation may take.
        workers: computations side by side.
        spare: workers in reserve, for quick work and in place of one that is ended.
        waiting: computations that may wait for a worker.
        kept_bytes: results kept for downloads, all users together.
        kept_seconds: how long a result is kept.
    """

    body_bytes: int = 2_000_000
    upload_bytes: int = 64_000_000
    body_seconds: float = 60.0
    idle_seconds: float = 5.0
    job_seconds: float = 600.0
    quick_seconds: float = 10.0
    job_bytes: int = 2 * 2**30
    workers: int = 2
    spare: int = 1
    waiting: int = 64
    kept_bytes: int = 512 * 2**20
    kept_seconds: float = 3600.0


def fair_share(workers: int, free: int) -> int:
    """Bytes that each of several workers may take of the free memory, half of it in all, at most 4 GiB each."""
    return max(256 * 2**20, min(4 * 2**30, free // 2 // max(1, workers)))


def check_budget(pixels: int, reflections: int, thicknesses: int, budget: int) -> int:
    """Bytes that a result needs while it is computed: four copies of complex amplitudes at worst.

    Raises:
        MemoryLimitError: with the estimate, if that is more than `budget`.
    """
    need = pixels * pixels * reflections * (4 * thicknesses * 16 + 160)
    if need > budget:
        raise MemoryLimitError(
            f"{pixels} x {pixels} pixels, {reflections} reflection(s) and {thicknesses} thicknesses need about "
            f"{need / 2**30:.1f} GiB, but one computation may take {budget / 2**30:.1f} GiB here; ask for fewer "
            "pixels or thicknesses"
        )
    return need


def limit_memory(budget: int) -> None:
    """Let this process take no more than `budget` bytes beside what it holds already (Linux only)."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    held = _private_bytes()
    if held:
        resource.setrlimit(resource.RLIMIT_DATA, (held + _BASE + budget, resource.RLIM_INFINITY))


def _private_bytes() -> int:
    """Bytes of private memory that this process has mapped; 0 if that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as line:
            return int(line.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def return_memory() -> None:
    """Give back to the system what this process has freed, half of what it holds after a series (glibc only)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class StoppedError(Exception):
    """The page wants something else; the worker ends this and stays."""


def check_stop() -> None:
    """End the work of this worker if the server has written to it, which it does only for that (not on Windows).

    Raises:
        StoppedError: if so.
    """
    if watched and sys.platform != "win32" and select.select(watched, [], [], 0)[0]:
        raise StoppedError


watched: list[int] = []
"""The pipe by which a worker is told to stop; none in other processes."""


_LENGTHS = struct.Struct("<II")
LENGTHS_SIZE = _LENGTHS.size
MAX_HEADER = 64 * 2**20
MAX_PAYLOAD = 2**31

Header = dict[str, Any]

Send = Callable[[Header, bytes], None]
"""Takes a header and a payload to the page."""

KEPT_ZONES, KEPT_BYTES = 3, 512 * 2**20
"""Solved zones that one worker keeps at most, and bytes of their waves beyond which the oldest of them go, but for
the last one. It tells the pool which they are."""


def ticker(send: Send, what: str, piece: int = 0, pieces: int = 1) -> Callable[[float], None]:
    """Tells the page the fraction done, at most five times a second; ends the work if the page has gone."""
    last = 0.0

    def tick(fraction: float) -> None:
        nonlocal last
        check_stop()
        now = time.monotonic()
        if now - last > 0.2:
            last = now
            send({"kind": "progress", "phase": what, "fraction": (piece + fraction) / pieces}, b"")

    return tick


def pack(header: Header, payload: bytes = b"") -> bytes:
    """One message.

    Raises:
        ValueError: if the header holds NaN, which JSON lacks.
    """
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    return b"".join((_LENGTHS.pack(len(text), len(payload)), text, payload))


def unpack_lengths(lengths: bytes) -> tuple[int, int]:
    """Lengths of header and payload.

    Raises:
        FileFormatError: if they are impossible, so that the bytes are no message.
    """
    header, payload = _LENGTHS.unpack(lengths)
    if header > MAX_HEADER or payload > MAX_PAYLOAD:
        raise FileFormatError("a message is damaged: its lengths are impossible")
    return header, payload


def unpack(data: bytes) -> list[tuple[Header, bytes]]:
    """All messages of some bytes.

    Raises:
        FileFormatError: if the bytes end in the middle of one.
    """
    messages, place = [], 0
    while place < len(data):
        header, payload = unpack_lengths(data[place : place + LENGTHS_SIZE])
        place += LENGTHS_SIZE
        if place + header + payload > len(data):
            raise FileFormatError("a message is cut short")
        text = data[place : place + header]
        messages.append((json.loads(text), data[place + header : place + header + payload]))
        place += header + payload
    return messages


def read_message(stream: BinaryIO) -> tuple[Header, bytes] | None:
    """The next message of a pipe; None at its end."""
    lengths = stream.read(LENGTHS_SIZE)
    if len(lengths) < LENGTHS_SIZE:
        return None
    header, payload = unpack_lengths(lengths)
    return json.loads(stream.read(header)), stream.read(payload)
