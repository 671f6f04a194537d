"""What one user of the page may ask of the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lacbed.errors import MemoryLimitError

MAX_CIF_BYTES = 1_000_000
MAX_THICKNESSES = 400
MAX_REFLECTIONS = 150
MAX_PIXELS = 512
_BASE = 400 * 2**20
"""Bytes that a worker holds before it computes anything."""


@dataclass(frozen=True)
class Limits:
    """Bounds on the work of the server.

    Attributes:
        body_bytes: largest request.
        upload_bytes: largest experiment.
        body_seconds: longest time that a request may take to arrive.
        job_seconds: longest computation.
        job_bytes: memory that one computation may take.
        workers: computations side by side.
        spare: workers in reserve, for quick work and in place of one that is ended.
        waiting: computations that may wait for a worker.
        kept_bytes: results kept for downloads, all users together.
        kept_seconds: how long a result is kept.
    """

    body_bytes: int = 2_000_000
    upload_bytes: int = 64_000_000
    body_seconds: float = 15.0
    job_seconds: float = 600.0
    job_bytes: int = 2 * 2**30
    workers: int = 2
    spare: int = 1
    waiting: int = 16
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
