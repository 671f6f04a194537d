"""How much of this machine a build may use."""

from __future__ import annotations

import os

import torch

from lacbed.solvers.blocks import free_memory

_SHARE = 0.8
"""Part of the free memory that the crystals in work may need together."""

GPU_TOGETHER = 8
"""Crystals that a worker with a GPU computes at once."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def worker_memory() -> float:
    """Bytes that all workers together may need."""
    return _SHARE * free_memory(torch.device("cpu"))


def build_device(name: str, solver: str) -> str:
    """What a build computes on if it was asked for `name`: of "auto" the solver `fast` makes the CPU.

    Its work is many small diagonalisations and their preparation. 16 cores were as fast at them as an H100 with
    six processes beside it, and more than twice as fast as one with a single process.
    """
    return "cpu" if name == "auto" and solver == "fast" else name
