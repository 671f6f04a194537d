"""A small catalogue and a cheap config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from dataset_helpers import CHEAP, NAMES

from lacbed.catalog.files import Row, table_of, write_catalog
from lacbed.catalog.rows import row_of
from lacbed.crystals import Crystal
from lacbed.datasets.build import Built, build
from lacbed.datasets.plan import Plan, make_plan
from lacbed.datasets.workers import here


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """Twelve small crystals in three symmetries."""
    licences = ("CC0-1.0", "CC-BY-4.0")
    return [
        row_of(
            Crystal.named(name),
            source="COD" if i % 2 == 0 else "OQMD",
            source_id=name,
            licence=licences[i % 2],
            kind="experimental",
            experimentally_known=i % 3 != 0,
        )
        for i, name in enumerate(NAMES)
    ]


@pytest.fixture(scope="session")
def table(rows: list[Row]) -> pa.Table:
    return table_of(rows)


@pytest.fixture(scope="session")
def catalog(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalog") / "small.parquet"
    write_catalog(table, path, "test")
    return path


@pytest.fixture
def plan(table: pa.Table) -> Plan:
    return make_plan(table, CHEAP, batch=3)


@pytest.fixture(scope="session")
def built(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    """The folder of a finished data set, not to be written to, and how the build ended."""
    folder = tmp_path_factory.mktemp("built") / "data.zarr"
    return folder, build(make_plan(table, CHEAP, batch=3), folder, here)


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """All files of a data set that must be equal between two builds of the same plan, with their bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        skipped = (".lock", ".owner", "journal.jsonl", "manifest.json")
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in skipped
        }

    return read
