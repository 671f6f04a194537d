"""How a worker talks to `peers.py`: one JSON line out for every line in. Needs NumPy only.

A worker runs in its own process, and if need be in its own environment, because the programs need different
versions of NumPy. It prepares everything that does not depend on the tilt, warms up, answers with a greeting,
and then measures whenever it is told to.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def serve(version: str, beams: int, work: Callable[[], np.ndarray]) -> None:
    """Measure `work`, which returns the intensities of 000 at the tilts of the job, once for every line read."""
    work()
    answer({"version": version, "beams": beams})
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        intensity = work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        answer({"cpu": cpu, "wall": wall, "intensity": np.asarray(intensity, dtype=float).ravel().tolist()})


def answer(content: dict[str, Any]) -> None:
    """One line of JSON to the caller, marked so that other output of a library does no harm."""
    print("@" + json.dumps(content), flush=True)


def read_job() -> dict[str, np.ndarray]:
    """The problem, from the file named on the command line: see `peers.write_job`."""
    with np.load(sys.argv[1]) as job:
        return dict(job)
