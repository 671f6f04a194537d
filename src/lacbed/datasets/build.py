"""Building a data set: hand out rows, gather batches, write each one whole, go on where the last run stopped."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.datasets.consistency import record_problem
from lacbed.datasets.manifest import (
    JOURNAL,
    MANIFEST,
    Entry,
    append_entry,
    damaged_files,
    failure_of,
    read_journal,
    read_manifest,
    rewrite_journal,
    write_manifest,
)
from lacbed.datasets.plan import Batch, Plan
from lacbed.datasets.reader import Store
from lacbed.datasets.splits import BOUND, near_duplicates
from lacbed.datasets.worker import Outcome
from lacbed.datasets.workers import Job, WorkerPool, run
from lacbed.datasets.writer import (
    CATALOG,
    create,
    is_unfinished,
    places_of,
    read_record,
    remove_unfinished,
    write_batch,
)
from lacbed.errors import FileFormatError
from lacbed.io.atomic import reason
from lacbed.io.lock import LOCK, OWNER, claimed, is_empty, locked

_PRIOR, _WEIGHT = 0.5, 1.0
"""Exponent before anything is measured, and how many squared factors of e in cost outweigh it."""


class Forecast:
    """Work of crystals, taken as costᵖ.

    The estimated cost orders crystals well but exaggerates: each takes some time that does not grow with its size.
    As the largest come first, shares of the plain cost promise an end that is far too near. So p is fitted to the
    seconds that crystals took, as the slope of log t over log cost (ridge regression towards 1/2), between 0, all
    alike, and 1, as estimated.
    """

    def __init__(self, costs: Mapping[int, float]) -> None:
        """Take the estimated cost of every row that is to be computed."""
        self._logs = {row: math.log(max(cost, 1e-300)) for row, cost in costs.items()}
        self._all = np.array(list(self._logs.values()))
        self._done: list[float] = []
        self._times: list[tuple[float, float]] = []

    def add(self, row: int, seconds: float) -> None:
        """Note that a row is done and took `seconds`; 0 if that is not known."""
        self._done.append(self._logs[row])
        if seconds > 0:
            self._times.append((self._logs[row], math.log(seconds)))

    @property
    def exponent(self) -> float:
        """The p that the times so far suggest."""
        if len(self._times) < 2:
            return _PRIOR
        x, y = np.array(self._times).T
        x = x - x.mean()
        return float(np.clip((x @ y + _WEIGHT * _PRIOR) / (x @ x + _WEIGHT), 0.0, 1.0))

    @property
    def share(self) -> float:
        """Fraction of the work that is done."""
        if not self._done:
            return 0.0
        if len(self._done) == len(self._all):
            return 1.0
        p, top = self.exponent, self._all.max()
        return float(np.exp(p * (np.array(self._done) - top)).sum() / np.exp(p * (self._all - top)).sum())

    def left(self, elapsed: float) -> float | None:
        """Seconds to go after `elapsed` seconds; None before the first crystal."""
        share = self.share
        return elapsed * (1.0 / share - 1.0) if share > 0 else None


@dataclass
class Progress:
    """How far a build is.

    Attributes:
        rows, done, failed: crystals in all, finished (failures included), and failed.
        before: of those finished, how many an earlier run did.
        share: fraction of the estimated work of this run that is done.
        seconds: wall seconds since this run began to compute.
        left: seconds to go, estimated; None before the first crystal.
        peak_memory: largest resident memory of a worker so far, bytes.
        gpu_failures: why a GPU gave no answer and the CPU did: reason and number of crystals, of this run.
    """

    rows: int
    done: int = 0
    failed: int = 0
    before: int = 0
    share: float = 0.0
    seconds: float = 0.0
    left: float | None = None
    peak_memory: int = 0
    gpu_failures: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Crystals per second of this run."""
        return (self.done - self.before) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Built:
    """The end of a build: the manifest, and how it went."""

    manifest: dict[str, Any]
    progress: Progress


def check_place(folder: Path) -> None:
    """Refuse, before any work, a place that is not free and no data set, or cannot be written to.

    Raises:
        FileFormatError: saying what is there, which other build is at it, or why not.
    """
    if folder.suffix.lower() != ".zarr":
        raise FileFormatError(f"a data set is a .zarr folder, got {str(folder)!r}")
    if not folder.parent.is_dir():
        raise FileFormatError(f"no such folder: {str(folder.parent)!r}")
    if folder.exists() and not folder.is_dir():
        raise FileFormatError(f"{str(folder)!r} is a file; a data set is a folder")
    free = is_empty(folder)
    if not free and not (folder / LOCK).exists():
        read_record(folder)  # a data set that was copied without its lock is one too
    with claimed(folder, "build", inside=True) if free else locked(folder):  # which shows that it can be written
        pass


def build(
    plan: Plan,
    folder: str | Path,
    pool: Callable[[], AbstractContextManager[WorkerPool]],
    *,
    retry_failed: bool = False,
    together: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> Built:
    """Compute a data set, or what is missing of it.

    Args:
        plan: what to compute.
        folder: where; a new .zarr folder, or one of the same plan that is not finished.
        pool: makes the workers; see `lacbed.datasets.workers`.
        retry_failed: compute batches again in which a crystal failed.
        together: crystals of similar size that a worker gets at once, for GPUs.
        progress: called after every crystal.

    Raises:
        FileFormatError: if the place holds something else, another build is at it, or the disk is full.
        SettingError: if no scheduler answers.
    """
    folder = Path(folder)
    check_place(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FileFormatError(f"cannot make {str(folder)!r}: {reason(error)}") from None
    with locked(folder):
        _prepare(folder, plan)
        entries = _finished(folder, plan, retry_failed)
        state = Progress(plan.table.num_rows)
        missing = [batch for batch in plan.batches() if batch.key not in entries]
        _count(state, plan, list(entries.values()))
        state.before = state.done
        if missing:
            (folder / MANIFEST).unlink(missing_ok=True)
            with pool() as workers:
                _compute(folder, plan, missing, workers, entries, state, together, progress)
        manifest = read_manifest(folder) or _finish(folder, plan, list(entries.values()))
        return Built(manifest, state)


def _prepare(folder: Path, plan: Plan) -> None:
    """Lay the folder out, or check that it holds the same plan; remove what a killed run left unfinished."""
    if (folder / "zarr.json").exists():
        record = read_record(folder)
        if problem := record_problem(record):
            raise FileFormatError(f"{str(folder)!r} is damaged: {problem}")
        if record["plan_digest"] != plan.digest:
            same = record["config_digest"] == plan.config.digest
            what = "other crystals, another selection or another batch size" if same else "another config"
            raise FileFormatError(f"{str(folder)!r} was started with {what}; choose another folder, or remove it")
        remove_unfinished(folder)
        _check_layout(folder, plan)
        return
    strangers = [p.name for p in folder.iterdir() if p.name not in _own(plan) and not is_unfinished(p)]
    if strangers:
        raise FileFormatError(f"{str(folder)!r} is not a data set: it holds {sorted(strangers)[0]!r}")
    remove_unfinished(folder)
    create(folder, plan)


def _check_layout(folder: Path, plan: Plan) -> None:
    """Refuse to go on with a folder that has lost, or has otherwise, what was laid out before the first batch."""
    store = Store(folder, compare=False)
    whole = np.array_equal(store.places, places_of(plan))
    for group in plan.groups:
        maps = (("pattern", group.symmetry.pattern), ("potential", group.symmetry.potential))
        whole = whole and all(np.array_equal(store.map(group.symmetry.name, k), m.source) for k, m in maps)
    if not whole:
        raise FileFormatError(f"{str(folder)!r} is damaged: places or maps do not match its plan; build it again")


def _own(plan: Plan) -> set[str]:
    """Names that a build may leave when it is killed before the folder is laid out."""
    return {LOCK, OWNER, CATALOG, "place", *(group.symmetry.name for group in plan.groups)}


def _finished(folder: Path, plan: Plan, retry_failed: bool) -> dict[tuple[int, int], Entry]:
    """Batches that need not be computed: in the journal, undamaged, and not to be tried again."""
    entries = read_journal(folder)
    wanted = {batch.key: batch.rows for batch in plan.batches()}
    kept = {
        key: entry
        for key, entry in entries.items()
        if wanted.get(key) == entry.rows
        and not damaged_files(folder, entry)
        and not (retry_failed and entry.failures)
    }
    rewrite_journal(folder, kept.values())
    return kept


def _count(state: Progress, plan: Plan, entries: list[Entry]) -> None:
    state.done = len(plan.invalid) + sum(len(entry.rows) for entry in entries)
    state.failed = len(plan.invalid) + sum(len(entry.failures) for entry in entries)


def _compute(
    folder: Path,
    plan: Plan,
    missing: list[Batch],
    pool: WorkerPool,
    entries: dict[tuple[int, int], Entry],
    state: Progress,
    together: int,
    tell: Callable[[Progress], None] | None,
) -> None:
    """Compute and write the missing batches."""
    batch_of = {row: batch for batch in missing for row in batch.rows}
    waiting: dict[tuple[int, int], dict[int, Outcome]] = {}
    forecast = Forecast({row: plan.size(row).cost for row in batch_of})
    start = time.monotonic()
    for outcome in run(pool, _jobs(plan, missing, together), plan.config):
        batch = batch_of[outcome.row]
        gathered = waiting.setdefault(batch.key, {})
        gathered[outcome.row] = outcome
        state.done += 1
        state.failed += outcome.stored is None
        forecast.add(outcome.row, outcome.seconds)
        state.seconds = time.monotonic() - start
        state.share, state.left = forecast.share, forecast.left(state.seconds)
        state.peak_memory = max(state.peak_memory, outcome.peak_memory)
        if outcome.gpu_failure:
            state.gpu_failures[outcome.gpu_failure] += 1
        if len(gathered) == len(batch.rows):
            entries[batch.key] = _write(folder, plan, batch, waiting.pop(batch.key))
        if tell is not None:
            tell(state)


def _jobs(plan: Plan, missing: list[Batch], together: int) -> Iterator[Job]:
    """Rows of one batch have one symmetry and stand by falling size, so that neighbours cost about the same."""
    for batch in missing:
        for start in range(0, len(batch.rows), together):
            rows = batch.rows[start : start + together]
            yield Job(tuple((row, plan.row(row)) for row in rows), max(plan.size(row).memory for row in rows))


def _write(folder: Path, plan: Plan, batch: Batch, outcomes: dict[int, Outcome]) -> Entry:
    ordered = [outcomes[row] for row in batch.rows]
    files = write_batch(folder, plan, batch, [outcome.stored for outcome in ordered])
    failures = tuple(failure_of(plan, o.row, o.reason, o.explained) for o in ordered if o.stored is None)
    seconds = round(sum(outcome.seconds for outcome in ordered), 3)
    entry = Entry(batch.group, batch.number, batch.rows, files, failures, seconds)
    append_entry(folder, entry)
    return entry


def _finish(folder: Path, plan: Plan, entries: list[Entry]) -> dict[str, Any]:
    """Find near duplicates and write the manifest."""
    store = Store(folder)
    rows = store.by_place(store.done_rows())
    duplicates = {"bound": BOUND, "groups": near_duplicates(rows, store.pattern)}
    fixed = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (LOCK, OWNER, JOURNAL, MANIFEST) and not _is_chunk(path, folder)
    )
    return write_manifest(folder, plan, entries, fixed, duplicates)


def _is_chunk(path: Path, folder: Path) -> bool:
    """Whether a file is a chunk of the data, whose checksum the journal has."""
    parts = path.relative_to(folder).parts
    return len(parts) > 3 and parts[2] == "c" and parts[1] in ("pattern", "potential", "scalars")
