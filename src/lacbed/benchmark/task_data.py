"""The data of a task: built by one command, and read as plain arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lacbed.benchmark.definition import (
    DEFAULT,
    DRAWN,
    PROBE_BOUND,
    SPLITS,
    Definition,
    Entry,
    Task,
    drawn,
    entries,
    load_definition,
    probe,
    sides,
)
from lacbed.catalog.files import table_of
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.plan import Plan, Selection, make_plan
from lacbed.datasets.reader import Store
from lacbed.datasets.splits import KINDS, SIDES
from lacbed.errors import FileFormatError
from lacbed.io.checks import check_one_of

Values = npt.NDArray[np.float32]
MOST_NAMED = 3


def plan_of(definition: Definition, data: str, wanted: Sequence[Entry]) -> Plan:
    """What `lacbed.datasets.build.build` makes of some crystals.

    Raises:
        SettingError: if there are no such data.
    """
    check_one_of("the data", data, definition.data)
    return make_plan(table_of([entry.row() for entry in wanted]), definition.data[data], Selection())


def entries_on(definition: Definition, side: str) -> list[Entry]:
    """The crystals that are on a side of at least one of the three splits.

    Raises:
        SettingError: on an unknown side.
    """
    check_one_of("the side", side, SIDES)
    every = entries(definition)
    numbers = sorted({int(n) for kind in SPLITS if kind != DRAWN for n in sides(definition, kind)[side]})
    return [every[n] for n in numbers]


@dataclass(frozen=True, eq=False)
class TaskData:
    """The crystals of one side of a split with what is known of them and what is asked for.

    Attributes:
        definition, task: the benchmark and its task.
        split, side: which crystals.
        ids: of the crystals, in order.
        rows: of the data set, in the same order.
        store: the data set.
        lost: ids of crystals on this side that have no pattern in the data set, because they failed.
        seed: of a drawn test; None for the benchmark's own crystals.
        benchmark: what the definition was loaded by.
    """

    definition: Definition
    task: Task
    split: str
    side: str
    ids: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    store: Store
    lost: tuple[str, ...] = ()
    seed: int | None = None
    benchmark: str = DEFAULT

    def __len__(self) -> int:
        """Number of crystals."""
        return len(self.ids)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The crystals in order, each as `self[i]`."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One crystal: id, pattern (T, hkl, m, m), potential (n, n) in V, thickness (T,) in Å, energy in eV,
        lattice_parameter in Å, and the other numbers of the data set.
        """  # noqa: D205
        row = int(self.rows[index])
        numbers = dict(zip(self.store.quantities, self.store.scalars(row).tolist(), strict=True))
        thickness = [numbers.pop(f"thickness_{i}") for i in range(self.config.thickness_count)]
        return {
            "id": self.ids[index],
            "pattern": self.store.pattern(row),
            "potential": self.store.potential(row),
            "thickness": np.array(thickness, dtype=np.float32),
            **numbers,
        }

    @property
    def config(self) -> DatasetConfig:
        """How the data are computed."""
        return self.definition.data[self.task.data]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is asked for of each crystal: pattern (T, hkl, m, m) or potential (n, n)."""
        if self.task.predicts == "potential":
            return (self.config.potential_pixels,) * 2
        return (self.config.thickness_count, len(self.config.hkl), self.config.pixels, self.config.pixels)

    def truth(self) -> Values:
        """What is asked for of all crystals: (crystal, *shape)."""
        read = self.store.pattern if self.task.predicts == "pattern" else self.store.potential
        return np.stack([read(int(row)) for row in self.rows])


def open_task(
    path: str | Path, task: str, split: str = "compound", side: str = "test", benchmark: str = DEFAULT
) -> TaskData:
    """One side of a split of the data of a task, as `lacbed benchmark data` made them.

    Args:
        path: of the data set.
        task: "forward-000", "forward-ten", "inverse-000" or "inverse-ten".
        split: "row", "compound", "prototype", or "drawn" for crystals drawn by a seed, which are all test.
        side: "train", "validation" or "test".
        benchmark: name of a packaged benchmark, or a definition of your own (.toml).

    Raises:
        FileFormatError: if it is no data set, is not finished, or is not the data of the task.
        SettingError: on an unknown task, split or side.
    """
    definition = load_definition(benchmark)
    wanted = definition.task(task)
    check_one_of("the split", split, SPLITS)
    check_one_of("the side", side, SIDES)
    store = Store(path)
    store.check_finished(partial=False)
    config = definition.data[wanted.data]
    if store.config.digest != config.digest:
        raise FileFormatError(
            f"{str(path)!r} was not computed as {definition.name} defines the data {wanted.data!r} of {task}; "
            f"make them with lacbed benchmark data {wanted.data}"
        )
    names = [str(name) for name in store.catalog()["source_id"].to_pylist()]
    seed = _seed_of(definition, names)
    if (seed is not None) != (split == DRAWN):
        what = f"crystals of {definition.name}" if seed is None else f"crystals drawn by seed {seed}"
        raise FileFormatError(f"{str(path)!r} holds {what}, not those of the split {split!r}")
    if seed is not None:
        every, chosen = (
            drawn(definition, seed, len(names)),
            np.arange(len(names)) if side == "test" else np.arange(0),
        )
    else:
        every, chosen = entries(definition), sides(definition, split)[side]
    place = {name: row for row, name in enumerate(names)}
    _check_crystals(path, names, [entry.source_id for entry in every], [every[n].source_id for n in chosen], side)
    done = set(store.done_rows().tolist())
    pairs = [(every[n].id, place[every[n].source_id]) for n in chosen]
    kept = [(name, row) for name, row in pairs if row in done]
    lost = tuple(name for name, row in pairs if row not in done)
    rows = np.array([row for _, row in kept], dtype=np.int64)
    found = TaskData(
        definition, wanted, split, side, tuple(name for name, _ in kept), rows, store, lost, seed, benchmark
    )
    _check_probes(path, found, {entry.id: place.get(entry.source_id) for entry in every}, done)
    return found


def frozen_sides(path: str | Path, split: str, benchmark: str = DEFAULT) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of a data set on each side of a frozen split.

    Raises:
        FileFormatError: if it is no data set of the benchmark; SettingError: on an unknown split.
    """
    definition, store = load_definition(benchmark), Store(path)
    task = next(
        (t for t in definition.tasks.values() if definition.data[t.data].digest == store.config.digest), None
    )
    if task is None:
        raise FileFormatError(f"{str(path)!r} was not computed as any data of {definition.name}")
    names = SIDES if split in KINDS else ("test",)
    return {side: open_task(path, task.name, split, side, benchmark).rows for side in names}


def _seed_of(definition: Definition, names: Sequence[str]) -> int | None:
    """The seed of drawn crystals; None for those of the benchmark."""
    parts = names[0].split("/") if names else []
    seed = parts[2] if len(parts) > 2 and parts[2].isdecimal() else ""
    return None if not seed or int(seed) == definition.seed else int(seed)


def _check_crystals(path: str | Path, names: list[str], known: list[str], needed: list[str], side: str) -> None:
    strange = sorted(set(names) - set(known))
    missing = sorted(set(needed) - set(names))
    if strange:
        raise FileFormatError(f"{str(path)!r} is not the data of this benchmark: it holds {some(strange)}")
    if missing:
        raise FileFormatError(
            f"{str(path)!r} lacks {len(missing)} of the {len(needed)} crystals of the {side} side, such as "
            f"{some(missing)}; build them with lacbed benchmark data"
        )


def _check_probes(path: str | Path, data: TaskData, places: dict[str, int | None], done: set[int]) -> None:
    """Compare what every machine must find with what is there."""
    for name, expected in data.definition.probes[data.task.data].items():
        row = places.get(name)
        if row is None or row not in done:
            continue
        off = float(np.abs(probe(data.store.pattern(row)) - np.array(expected)).max())
        if not off <= PROBE_BOUND:
            raise FileFormatError(
                f"{str(path)!r} is not the data of {data.definition.name}: the intensity of {name} differs by "
                f"{off:.2g} from what every machine must find (to {PROBE_BOUND:g}); build the data again"
            )


def some(names: Sequence[str]) -> str:
    """A few of many names."""
    shown = ", ".join(repr(name)[:60] for name in names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
