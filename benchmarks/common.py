"""What all benchmarks share: measuring CPU and wall time, and writing Markdown tables."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import lacbed


def _machine() -> str:
    """Cores and processor, as far as the operating system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return f"{os.cpu_count()} cores, {names[0] if names else platform.processor() or 'unknown processor'}"


MACHINE = _machine()
FELIX_CPU_SECONDS = {100: 7.5 * 60, 200: 38 * 60, 500: 7 * 3600}
"""CPU time of Felix (Fortran) for 128 x 128 pixels, as quoted by its users; not measured here."""


@dataclass(frozen=True)
class Timing:
    """CPU and wall seconds of one call (all threads of the process), the median over several."""

    cpu: float
    wall: float
    low: float
    high: float


def measure(call: Callable[[], Any], repeats: int = 3, warm: bool = True) -> tuple[Timing, Any]:
    """Median CPU and wall seconds of a call, the spread of the CPU seconds, and the last result.

    One call beforehand is not counted unless `warm` is false: it pays for first use of the libraries.
    """
    result = call() if warm else None
    cpus, walls = [], []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        result = call()
        cpus.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
    return Timing(median(cpus), median(walls), min(cpus), max(cpus)), result


def simulate(crystal: lacbed.Crystal, **settings: Any) -> Callable[[], Any]:
    """A call of `lacbed.simulate` to be measured."""
    return lambda: lacbed.simulate(crystal, **settings)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(v) for v in row) + " |" for row in rows]
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits without exponent: 0.183, 1.71, 25200."""
    if value == 0 or not np.isfinite(value):
        return "-" if not np.isfinite(value) else "0"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"


def verdict(value: float, limit: float, most: bool = True) -> str:
    """Whether a number stays under (or, with `most` false, reaches) its target."""
    met = value <= limit if most else value >= limit
    return f"goal {'met' if met else 'NOT met'} ({'at most' if most else 'at least'} {limit:g})"


def provenance(machine: str) -> str:
    """When, where and with which versions the numbers were measured."""
    versions = [f"{name} {version(name)}" for name in ("lacbed", "torch", "numpy", "scipy")]
    return (
        f"Measured on {datetime.date.today().isoformat()} on {machine}; Python {platform.python_version()}, "
        f"{', '.join(versions)}; {torch.get_num_threads()} threads."
    )


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    options.add_argument("--output", type=Path, help="Markdown file to write the tables to as well")
    options.add_argument("--machine", default=MACHINE, help="how to describe the machine")
    options.add_argument("--repeats", type=int, default=3, help="measurements per number; the median counts")
    return options


def publish(title: str, parts: Sequence[str], options: argparse.Namespace) -> None:
    """Print the finished text and write it to `--output`."""
    text = "\n\n".join([f"# {title}", provenance(options.machine), *parts]) + "\n"
    print(text)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")


def finished(path: Path | None, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a file of results, one JSON object per line, has under a key, or what `make` gives, which is added."""
    lines = [] if path is None or not path.exists() else path.read_text(encoding="utf-8").splitlines()
    for one in map(json.loads, lines):
        if all(one.get(name) == value for name, value in key.items()):
            return dict(one)
    found = {**key, **make()}
    if path is not None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(found) + "\n")
    return found
