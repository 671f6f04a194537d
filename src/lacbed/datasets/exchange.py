"""A data set as plain Parquet, laid out as the `datasets` library of Hugging Face reads it, and back; all offline.

| in the folder                | what                                                                        |
|------------------------------|-----------------------------------------------------------------------------|
| README.md                    | the card: what it is, how to read it, licences, who must be named           |
| data/train.parquet ...       | a row a crystal: its row of the catalogue, numbers, pattern and potential   |
| croissant.json               | the same in the Croissant vocabulary of MLCommons, with checksums           |
| .zenodo.json                 | what an archive that gives DOIs asks for                                    |
| lacbed/catalog.parquet       | the rows of the catalogue, those that failed too                            |
| lacbed/build.json            | config and failures, from which the data set is made again, bit for bit     |

Patterns and potentials are the stored whole numbers, unfolded: intensity = pattern / 65535, potential in V =
potential_offset + potential_scale * potential.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lacbed.catalog.files import Row, read_catalog
from lacbed.datasets.build import Built, Progress, build
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.croissant import CROISSANT, check_croissant, croissant, read_croissant
from lacbed.datasets.dataset_card import card, zenodo
from lacbed.datasets.manifest import read_journal, read_manifest
from lacbed.datasets.plan import Plan, Selection, make_plan
from lacbed.datasets.reader import Store
from lacbed.datasets.worker import Outcome, Stored, quantities
from lacbed.datasets.workers import WorkerPool
from lacbed.datasets.writer import CATALOG, json_file
from lacbed.errors import FileFormatError, LacbedError
from lacbed.io.atomic import check_replaceable, reason, replacing
from lacbed.io.checks import regular_file

DATA, OWN, BUILD = "data", "lacbed", "build.json"
_GROUP = 16
"""Crystals in a row group of a Parquet file."""

_HELD = 256 * 2**20
_LARGEST = 2**40
Sides = Mapping[str, npt.NDArray[np.int64]]


def check_place(folder: Path) -> None:
    """Refuse, before any work, a place where something else than an exported data set stands.

    Raises:
        FileFormatError: saying so.
    """
    if folder.suffix.lower() == ".zarr":
        raise FileFormatError(f"an exported data set is a plain folder, got {str(folder)!r}; leave the .zarr out")
    if not folder.parent.is_dir():
        raise FileFormatError(f"cannot write {str(folder)!r}: there is no folder {str(folder.parent)!r}; make it")
    check_replaceable(folder, is_exported, "Parquet export")


def is_exported(folder: Path) -> bool:
    """Whether a folder is one that `export` wrote."""
    return (folder / CROISSANT).is_file() and (folder / OWN / BUILD).is_file()


def export(
    path: str | Path,
    folder: Path,
    sides: Sides,
    about: Mapping[str, str],
    tick: Callable[[float], None] | None = None,
) -> dict[str, int]:
    """Write a finished data set as Parquet, with card and Croissant metadata; whole or not at all.

    Args:
        path: of the data set.
        folder: to write.
        sides: the rows of each side.
        about: "name" and "split" for the card, and perhaps "url".
        tick: called with the fraction done.

    Returns:
        crystals on each side.

    Raises:
        FileFormatError: if the data set is not finished or damaged, something else is at the place, or the
            operating system refuses.
    """
    store = Store(path)
    store.check_finished(partial=False)
    check_place(folder)
    total = sum(len(rows) for rows in sides.values()) or 1
    with replacing(folder) as temporary:
        for part in (DATA, OWN):
            (temporary / part).mkdir(parents=True)
        done = 0
        for side, rows in sides.items():
            for _ in _write_side(store, rows, temporary / DATA / f"{side}.parquet"):
                done += 1
                if tick is not None:
                    tick(done / total)
        shutil.copyfile(store.path / CATALOG, temporary / OWN / CATALOG)
        (temporary / OWN / BUILD).write_text(json.dumps(_build_record(store), indent=1) + "\n", encoding="utf-8")
        manifest = read_manifest(store.path) or {}
        counts = {side: len(rows) for side, rows in sides.items()}
        texts = {
            "README.md": card(store, manifest, counts, about),
            ".zenodo.json": json.dumps(zenodo(manifest, about), indent=1, ensure_ascii=False) + "\n",
        }
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
        described = croissant(temporary, manifest, about)
        (temporary / CROISSANT).write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return counts


def _write_side(store: Store, rows: npt.NDArray[np.int64], path: Path) -> Iterator[None]:
    """One Parquet file; yields after each crystal."""
    catalog = store.catalog()
    schema = _schema(store, catalog.schema)
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=9) as writer:
        for start in range(0, len(rows), _GROUP):
            entries = []
            for row, known in zip(
                rows[start : start + _GROUP].tolist(),
                catalog.take(pa.array(rows[start : start + _GROUP])).to_pylist(),
                strict=True,
            ):
                entries.append(_entry(store, row, known))
                yield
            writer.write_table(pa.Table.from_pylist(entries, schema=schema))
        if not len(rows):
            writer.write_table(schema.empty_table())


def _schema(store: Store, catalog: pa.Schema) -> pa.Schema:
    fields = [pa.field("row", pa.int64()), *catalog]
    fields += [pa.field(name, pa.float64()) for name in store.quantities]
    fields += [pa.field(name, pa.list_(pa.uint16())) for name in ("pattern", "potential")]
    return pa.schema(fields)


def _entry(store: Store, row: int, known: Row) -> dict[str, Any]:
    group = store.record["groups"][int(store.places[row, 0])]
    numbers = dict(zip(store.quantities, store.scalars(row).tolist(), strict=True))
    return {
        "row": row,
        **known,
        **numbers,
        "pattern": store.codes(row)[:, store.map(group, "pattern")].reshape(-1),
        "potential": store.potential_codes(row)[store.map(group, "potential")].reshape(-1),
    }


def _build_record(store: Store) -> dict[str, Any]:
    failures = [f for entry in read_journal(store.path).values() for f in entry.failures]
    seconds = sum(entry.seconds for entry in read_journal(store.path).values())
    names = ("config", "selection", "batch", "plan_digest", "software")
    return {
        **{name: store.record[name] for name in names},
        "invalid": sorted(int(row) for row in store.record["invalid"]),
        "failures": {str(f.row): [f.reason, f.explained] for f in failures},
        "cpu_seconds": round(seconds, 3),
    }


# -- back ---------------------------------------------------------------------------------------------------------


def restore(folder: Path, out: Path, progress: Callable[[Progress], None] | None = None) -> Built:
    """Make the data set again from an exported folder; nothing is computed, and every chunk is as it was.

    Args:
        folder: that `export` wrote.
        out: a new .zarr folder, or one of which a part has been restored.
        progress: called after every crystal.

    Raises:
        FileFormatError: if the folder is not an exported data set, or its parts disagree.
    """
    check_exported(folder)
    record = json_file(folder / OWN / BUILD, "the record of an exported data set")
    table = read_catalog(folder / OWN / CATALOG)
    try:
        config = DatasetConfig.from_dict(record["config"])
        selection = Selection(**record["selection"])
        plan = make_plan(
            table, config, selection, batch=int(record["batch"]), skip_invalid=bool(record["invalid"])
        )
        failures = {int(row): (str(why), bool(known)) for row, (why, known) in record["failures"].items()}
        share = float(record["cpu_seconds"]) / max(1, table.num_rows)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = str(error) if isinstance(error, LacbedError) else "it holds impossible values"
        raise FileFormatError(f"{str(folder / OWN / BUILD)!r} is not the record of a data set: {what}") from None
    if plan.digest != record.get("plan_digest"):
        raise FileFormatError(
            f"{str(folder)!r} is damaged: its catalogue and config are not those that its data were made from"
        )
    rows = _Rows(folder, plan)

    def outcome(row: int) -> Outcome:
        if row in failures:
            return Outcome(row, None, *failures[row], seconds=share)
        return Outcome(row, rows.stored(row), seconds=share)

    return build(plan, out, _reading(outcome), progress=progress)


def _reading(outcome: Callable[[int], Outcome]) -> Callable[[], AbstractContextManager[WorkerPool]]:
    """A crew that reads in place of computing."""

    class Reader(Executor):
        """Gives what is there."""

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            try:
                future.set_result([outcome(row) for row, _ in args[0]])
            except Exception as error:  # as every executor does
                future.set_exception(error)
            return future

    @contextmanager
    def crew() -> Iterator[WorkerPool]:
        yield WorkerPool(Reader(), lambda: 1)

    return crew


class _Rows:
    """The crystals of an exported folder by row, read a row group at a time."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._plan = plan
        self._group = {int(row): group for group in plan.groups for row in group.rows}
        self._files = {path: pq.ParquetFile(path) for path in sorted((folder / DATA).glob("*.parquet"))}
        self._place: dict[int, tuple[Path, int, int]] = {}
        for path, file in self._files.items():
            for number in range(file.num_row_groups):
                for at, row in enumerate(file.read_row_group(number, columns=["row"])["row"].to_pylist()):
                    self._place[int(row)] = path, number, at
        size = plan.config.thickness_count * len(plan.config.hkl) * plan.config.pixels**2 * 2 * _GROUP
        self._read = lru_cache(maxsize=max(2, _HELD // size))(self._read_group)

    def _read_group(self, path: Path, number: int) -> pa.Table:
        return self._files[path].read_row_group(number)

    def stored(self, row: int) -> Stored:
        """One crystal as it is stored.

        Raises:
            FileFormatError: if it is not there, or has another shape.
        """
        if row not in self._place:
            raise FileFormatError(
                f"row {row} has neither a pattern nor a reason why it failed; the export is damaged"
            )
        path, number, at = self._place[row]
        values = self._read(path, number).slice(at, 1).to_pydict()
        config, symmetry = self._plan.config, self._group[row].symmetry
        try:
            pattern, potential = (np.array(values[name][0], dtype=np.uint16) for name in ("pattern", "potential"))
            numbers = np.array([values[name][0] for name in quantities(config)], dtype=np.float64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FileFormatError(f"{path}: row {row} is not a crystal of a data set: {reason(error)}") from None
        shape = (config.thickness_count, len(config.hkl) * config.pixels**2)
        if pattern.size != shape[0] * shape[1] or potential.size != config.potential_pixels**2:
            raise FileFormatError(f"{path}: row {row} has {pattern.size} values of its pattern, expected {shape}")
        return Stored(
            pattern.reshape(shape)[:, symmetry.pattern.first], potential[symmetry.potential.first], numbers
        )


def check_exported(folder: Path) -> dict[str, int]:
    """Compare the Croissant metadata of an exported folder with its files: names, sizes, checksums, columns, rows.

    Returns:
        rows by file.

    Raises:
        FileFormatError: at the first thing that disagrees.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise FileFormatError(f"an exported data set is a folder; {str(folder)!r} {what}")
    if not (folder / CROISSANT).exists():
        raise FileFormatError(f"{str(folder)!r} is not an exported data set: it has no {CROISSANT}")
    for name in (BUILD, CATALOG):
        regular_file(folder / OWN / name, "a part of an exported data set", _LARGEST, FileFormatError)
    try:
        return check_croissant(folder, read_croissant(folder))
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"cannot read {str(folder)!r}: {reason(error)}") from None
