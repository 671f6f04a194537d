"""SIGKILL at random moments: what was begun is gone on with, and ends as if nothing had happened.

`python tests/fuzz/kills.py --count 20` kills a data set, a training and a refinement 20 times each. A child of
this process works; it is killed, its folder must hold something whole, and the next child goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401  here, so that no child has to
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "learn"))
sys.path.insert(0, str(Path(__file__).parents[1] / "experiment"))
sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))

from dataset_helpers import CHEAP, NAMES
from experiment_helpers import HALF_WIDTH, exact_stack, write_folder
from synthetic import SyntheticData, small_config

from lacbed.catalog.files import table_of
from lacbed.catalog.rows import row_of
from lacbed.cli.program import main as command
from lacbed.crystals import Crystal
from lacbed.datasets.build import build
from lacbed.datasets.manifest import read_manifest
from lacbed.datasets.plan import make_plan
from lacbed.datasets.workers import here
from lacbed.experiment.experiment import pattern_to_images
from lacbed.io.tensors import read_tensors
from lacbed.learn import checkpoint
from lacbed.learn.config import config_from_dict
from lacbed.learn.train import train
from lacbed.refinement import files, refine  # noqa: F401

Work = Callable[[Path], None]


class DataSet:
    """Six crystals in batches of two."""

    def __init__(self, _: Path) -> None:
        rows = [
            row_of(
                Crystal.named(n),
                source="COD",
                source_id=n,
                licence="CC0-1.0",
                kind="experimental",
                experimentally_known=True,
            )
            for n in NAMES[:6]
        ]
        self.plan = make_plan(table_of(rows), CHEAP, batch=2)

    def work(self, folder: Path) -> None:
        """Begin, or go on."""
        build(self.plan, folder / "data.zarr", here)

    def check(self, folder: Path) -> None:
        """A manifest is written last, and then it is whole."""
        read_manifest(folder / "data.zarr") if (folder / "data.zarr").exists() else None

    def result(self, folder: Path) -> Any:
        """Checksums of everything that was computed."""
        return read_manifest(folder / "data.zarr")["files"]


class Training:
    """A U-Net of a few hundred weights, with a checkpoint after every second step."""

    def __init__(self, _: Path) -> None:
        self.config = config_from_dict(small_config("unet", augment=True, epochs=6))
        self.rows = SyntheticData(13), SyntheticData(5, 100)

    def work(self, folder: Path) -> None:
        """Begin, or go on."""
        resume = (folder / "run" / "checkpoint.safetensors").exists()
        train(self.config, *self.rows, folder / "run", resume=resume)

    def check(self, folder: Path) -> None:
        """A checkpoint that is there can be read."""
        if (folder / "run" / "checkpoint.safetensors").exists():
            checkpoint.load_model(folder / "run")

    def result(self, folder: Path) -> Any:
        """The best weights."""
        path = folder / "run" / "checkpoint.safetensors"
        groups = read_tensors(path, checkpoint.CHECKPOINT)[0]
        return {name: value.numpy().tobytes() for name, value in groups["best"].items()}


class Refinement:
    """Thickness, B and blur of GaAs against eight small images."""

    def __init__(self, place: Path) -> None:
        stack = 1e3 * exact_stack(absorption=None, beams=30, finer=1)[:, 7:15, 7:15]
        self.experiment = write_folder(
            place / "experiment", pattern_to_images(stack, "-x+y"), half_width_inv_A=HALF_WIDTH * 8 / 22
        )

    def work(self, folder: Path) -> None:
        """Begin, or go on."""
        words = ["refine", str(self.experiment), "GaAs", "--free", "thickness,B,blur", "-t", "420:500:20"]
        words += ["--absorption", "none", "--beams", "30", "--starts", "1", "--steps", "4", "--quiet"]
        resume = ["--resume"] if (folder / "out" / "state.json").exists() else []
        code = command([*words, *resume, "-o", str(folder / "out")])
        if code:
            raise RuntimeError(f"refine ended with {code}")

    def check(self, folder: Path) -> None:
        """A state that is there can be read."""
        if (folder / "out" / "state.json").exists():
            json.loads((folder / "out" / "state.json").read_text(encoding="utf-8"))

    def result(self, folder: Path) -> Any:
        """The thickness to a tenth of an Å; the path to the minimum may differ."""
        return round(json.loads((folder / "out" / "result.json").read_text(encoding="utf-8"))["thickness"], 1)


KINDS = {"dataset": DataSet, "training": Training, "refinement": Refinement}


def started(work: Work, folder: Path) -> int:
    """The process that works."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.stderr = (folder / "stderr").open("a", encoding="utf-8")
        work(folder)
        code = 0
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """Exit code of a child, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(kind: str, count: int, rng: random.Random, place: Path) -> tuple[int, int, list[str]]:
    """Kill the work of a kind so many times.

    Returns:
        how many kills hit work that was going on, how many runs were finished after them, and what went wrong.
    """
    job, wrong = KINDS[kind](place), []
    reference, folder, runs, hits = place / "reference", place / "run0", 0, 0
    reference.mkdir()
    begin = time.monotonic()
    if ended(started(job.work, reference)):
        return 0, 0, [(reference / "stderr").read_text()]
    whole, expected = time.monotonic() - begin, job.result(reference)

    def compare() -> None:
        if job.result(folder) != expected:
            wrong.append(f"{folder.name}: another result than without kills")
        left = [path.name for path in folder.rglob(".*") if path.name not in (".lock", ".owner")]
        if left:
            wrong.append(f"{folder.name}: left behind {left[:3]}")

    folder.mkdir()
    while hits < count and not wrong:
        child = started(job.work, folder)
        time.sleep(rng.uniform(0.02, 0.8) * whole)
        os.kill(child, signal.SIGKILL)
        code = ended(child)
        hits += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            wrong.append(f"{folder.name}: {(folder / 'stderr').read_text()}")
        job.check(folder)
        if code == 0:
            compare()
            runs += 1
            folder = place / f"run{runs}"
            folder.mkdir()
    if not wrong:
        if ended(started(job.work, folder)):
            wrong.append(f"{folder.name}: {(folder / 'stderr').read_text()}")
        else:
            compare()
    return hits, runs + 1, wrong


def main() -> None:
    """Kill, and say what came of it; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    failed = False
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory() as place:
            hits, runs, wrong = kill(kind, asked.count, random.Random(f"{kind} {asked.seed}"), Path(place))
        print(f"{kind}: {hits} kills, {runs} runs finished, {len(wrong)} wrong", *wrong, sep="\n  ")
        failed = failed or bool(wrong) or hits < asked.count
    sys.exit(failed)


if __name__ == "__main__":
    main()
