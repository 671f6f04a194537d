"""Building a data set: crystals per second, peak memory, failures; and on paper the cost of a million crystals.

The build runs as a user runs it, `lacbed dataset build`, with the preset "seed" on a random sample of a catalogue.
The single writer is measured apart: the time that the process that gathers everything needs for one crystal,
checking it, writing its chunks and its line of the journal, with nothing to compute.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from common import number, parser, publish, table, verdict
from lacbed.catalog.files import read_catalog
from lacbed.datasets.config import SEED
from lacbed.datasets.manifest import Entry, append_entry
from lacbed.datasets.plan import Selection, make_plan, select_rows
from lacbed.datasets.reader import Store
from lacbed.datasets.worker import Stored, quantities
from lacbed.datasets.writer import create, write_batch

MILLION = 1_000_000
CORES_PER_NODE = 64
COMMAND = "import sys, lacbed.cli; sys.exit(lacbed.cli.main())"


def build(catalog: Path, folder: Path, words: list[str]) -> dict[str, Any]:
    """Run the command and return what it reports."""
    command = [
        sys.executable,
        "-c",
        COMMAND,
        "dataset",
        "build",
        str(catalog),
        "-o",
        str(folder),
        "--json",
        *words,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def writer_seconds(catalog: Path, count: int) -> tuple[float, float]:
    """Seconds for each crystal in the process that plans and that writes: (planning, writing)."""
    rows = select_rows(read_catalog(catalog), Selection(count=count))
    start = time.perf_counter()
    plan = make_plan(rows, SEED)
    planned = time.perf_counter() - start
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create(folder, plan)
        start = time.perf_counter()
        for batch in plan.batches():
            symmetry = plan.groups[batch.group].symmetry
            stored = [
                Stored(
                    rng.integers(0, 65535, (1, len(symmetry.pattern.first)), dtype=np.uint16),
                    rng.integers(0, 65535, len(symmetry.potential.first), dtype=np.uint16),
                    rng.random(len(quantities(SEED))),
                )
                for _ in batch.rows
            ]
            files = write_batch(folder, plan, batch, stored)
            append_entry(folder, Entry(batch.group, batch.number, batch.rows, files, (), 0.0))
        written = time.perf_counter() - start
    return planned / count, written / count


def paper(cpu: float, size: float, writer: float) -> str:
    """What a million crystals cost, from one core's seconds, bytes and writer's seconds for each."""
    rows = []
    for nodes in (1, 16, 256):
        cores = nodes * CORES_PER_NODE
        compute, write = MILLION * cpu / cores, MILLION * writer
        first = "computing" if compute > write else "the writer"
        rows.append(
            [nodes, cores, number(compute / 3600), number(write / 3600), number(max(compute, write) / 3600), first]
        )
    text = table(["nodes", "cores", "computing, h", "writing, h", "in all, h", "what limits"], rows)
    return (
        f"A million crystals like these, on paper: {number(MILLION * cpu / 3600)} core-hours and "
        f"{number(MILLION * size / 1e9)} GB. Nodes of {CORES_PER_NODE} cores as fast as those measured, work "
        f"shared evenly; {number(writer * 1e3)} ms for each crystal in the one process that plans and writes, so "
        f"that it is the first bottleneck from {number(cpu / writer)} cores on.\n\n{text}"
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("catalog", type=Path)
    options.add_argument("--folder", type=Path, help="where to build; default a temporary folder")
    options.add_argument("--count", type=int, default=1000)
    options.add_argument("--max-atoms", type=float)
    options.add_argument("--workers", type=int)
    chosen = options.parse_args()
    words = ["--preset", "seed", "--count", str(chosen.count)]
    words += ["--max-atoms", str(chosen.max_atoms)] if chosen.max_atoms else []
    words += ["--workers", str(chosen.workers)] if chosen.workers else []
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name) / "data.zarr"
        found = build(chosen.catalog, folder, words)
        store = Store(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / found["crystals"]
        beams = [store.scalars(row)[store.quantities.index("beams")] for row in store.done_rows()]
    planning, writing = writer_seconds(chosen.catalog, min(chosen.count, 1000))
    target = 2.0 if chosen.max_atoms and chosen.max_atoms <= 64 else 1.0
    rows = [
        ["crystals", found["crystals"]],
        ["crystals per second", f"{number(found['crystals_per_second'])}, {_verdict(found, target)}"],
        ["CPU seconds for each", number(found["cpu_seconds"] / found["crystals"])],
        ["beams, median and largest", f"{np.median(beams):.0f}, {max(beams):.0f}"],
        ["largest memory of a worker, MB", f"{found['peak_memory'] / 1e6:.0f}"],
        ["bytes for each, all files", f"{size:.0f}"],
        ["planning, ms for each", number(planning * 1e3)],
        ["writing, ms for each", number(writing * 1e3)],
        ["failures", len(found["failures"])],
        ["of them unexplained", sum(not f["explained"] for f in found["failures"])],
    ]
    reasons = Counter(f["reason"] for f in found["failures"])
    parts = [f"`lacbed dataset build {chosen.catalog.name} {' '.join(words)}`", table(["what", "measured"], rows)]
    parts += [table(["failures", "reason"], [[n, why] for why, n in reasons.most_common()])] if reasons else []
    parts.append(paper(found["cpu_seconds"] / found["crystals"], size, planning + writing))
    publish("Building a data set", parts, chosen)


def _verdict(found: dict[str, Any], target: float) -> str:
    return verdict(found["crystals_per_second"], target, most=False)


if __name__ == "__main__":
    main()
