"""Patterns and data sets with seeded damage: refused in one line, or read as they were written.

python tests/fuzz/damaged_containers.py --count 1000 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

sys.path.insert(0, str(Path(__file__).parent))
from damage import Tally, damage, verdict_of

from lacbed.catalog.files import table_of
from lacbed.catalog.rows import row_of
from lacbed.crystals import Crystal
from lacbed.datasets.build import _finish
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.dataset import LacbedDataset, metadata_table, open_dataset
from lacbed.datasets.manifest import Entry, append_entry
from lacbed.datasets.plan import make_plan
from lacbed.datasets.worker import Stored, quantities
from lacbed.datasets.writer import create, write_batch
from lacbed.errors import LacbedError
from lacbed.patterns import load_pattern, save_pattern

PATTERNS = ("p.nc", "p.npz", "p.tif", "p.zarr", "p.hspy")
DATASET = "data.zarr"
LIMIT = 20.0
"""Seconds after which an input counts as one that hangs."""


def small_pattern() -> xr.DataArray:
    """A pattern of all kinds of labels, with NaN outside a disc."""
    k = (np.arange(10) - 4.5) / 10
    values = np.random.default_rng(3).uniform(0.1, 1, (2, 2, 10, 10)).astype(np.float32)
    values[..., np.hypot(k[:, None], k[None, :]) > 0.5] = np.nan
    unit = {"units": "1/Å"}
    coords = {
        "thickness": ("thickness", [300.0, 600.5], {"units": "Å"}),
        "hkl": ("hkl", ["0,0,0", "-2,0,0"]),
        "h": ("hkl", [0, -2]),
        "ky": ("ky", k, unit),
        "kx": ("kx", k, unit),
    }
    attributes = {
        "crystal": "SrTiO₃",
        "zone_axis": [0, 0, 1],
        "energy": 200e3,
        "refraction": True,
        "notes": ["a", "B = 0"],
        "crystal_cif": "data_x\n_cell_length_a 3.905\n",
    }
    return xr.DataArray(values, coords, ("thickness", "hkl", "ky", "kx"), "intensity", attributes)


def small_dataset(folder: Path) -> None:
    """A finished data set of made-up values, in a few groups and batches."""
    rows = [
        row_of(
            Crystal.named(name),
            source="COD",
            source_id=name,
            licence="CC0-1.0",
            kind="experimental",
            experimentally_known=True,
        )
        for name in ("Cu", "Al", "Ni", "LiF", "FeSi")
    ]
    config = DatasetConfig(pixels=8, potential_pixels=8, absorption=None, max_beams=400)
    plan = make_plan(table_of(rows), config, batch=2)
    folder.mkdir()
    create(folder, plan)
    rng, entries = np.random.default_rng(4), []
    for batch in plan.batches():
        symmetry = plan.groups[batch.group].symmetry
        sizes = len(symmetry.pattern.first), len(symmetry.potential.first)
        stored: list[Stored | None] = [
            Stored(
                rng.integers(1, 60000, (config.thickness_count, sizes[0])).astype(np.uint16),
                rng.integers(1, 60000, sizes[1]).astype(np.uint16),
                rng.uniform(1, 5, len(quantities(config))),
            )
            for _ in batch.rows
        ]
        files = write_batch(folder, plan, batch, stored)
        entries.append(Entry(batch.group, batch.number, batch.rows, files, (), 1.0))
        append_entry(folder, entries[-1])
    _finish(folder, plan, entries)


def read_all(path: Path) -> Any:
    """Everything that a reader sees, in a form that can be compared."""
    if path.name != DATASET:
        found = load_pattern(path)
        return found.values.tobytes(), found.to_dict(data="list"), str(found.dtype)
    data = LacbedDataset(path)
    items = [{name: value.numpy().tobytes() for name, value in data[i].items()} for i in range(len(data))]
    whole = open_dataset(path).load()
    return items, {name: whole[name].values.tolist() for name in whole.variables}, metadata_table(path).to_pydict()


def same(first: Any, second: Any) -> bool:
    """Equality in which NaN equals NaN."""
    return repr(first) == repr(second)


def judge(path: Path, expected: Any) -> str:
    """Read one damaged input and say what became of it."""
    noise = io.StringIO()
    with contextlib.redirect_stderr(noise):
        verdict = verdict_of(
            lambda: "accepted equal" if same(read_all(path), expected) else "accepted but different",
            LIMIT,
            LacbedError,
        )
    if noise.getvalue().strip():
        sys.stdout.write(f"said on stderr: {noise.getvalue()[:200]}\n")
    return verdict


def run(count: int, seed: int, names: tuple[str, ...] = (*PATTERNS, DATASET)) -> Tally:
    """Damage and read `count` inputs in turn."""
    tally = Tally(("refused", "accepted equal"))
    with tempfile.TemporaryDirectory() as place:
        whole, hurt = Path(place) / "whole", Path(place) / "hurt"
        whole.mkdir()
        make: dict[str, Callable[[Path], object]] = dict.fromkeys(
            PATTERNS, lambda p: save_pattern(small_pattern(), p)
        )
        make[DATASET] = small_dataset
        expected = {}
        for name in names:
            make[name](whole / name)
            expected[name] = read_all(whole / name)
        for number in range(count):
            name = names[number % len(names)]
            shutil.rmtree(hurt, ignore_errors=True)
            hurt.mkdir()
            source = whole / name
            if source.is_dir():
                shutil.copytree(source, hurt / name)
            else:
                shutil.copyfile(source, hurt / name)
            how = damage(hurt / name, np.random.default_rng([seed, number]))
            start = time.monotonic()
            verdict = judge(hurt / name, expected[name])
            tally.add(verdict, f"{name}, number {number}, seed {seed}: {how}", time.monotonic() - start)
    return tally


def main() -> int:
    """Run as a program; exit code 1 if anything went wrong in silence or loudly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=(*PATTERNS, DATASET), default=(*PATTERNS, DATASET))
    arguments = parser.parse_args()
    return run(arguments.count, arguments.seed, tuple(arguments.only)).report()


if __name__ == "__main__":
    sys.exit(main())
