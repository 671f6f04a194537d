"""Catalogues as Parquet files: read in whole or in part, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lacbed.catalog.schema import REQUIRED, SCHEMA, Row, conform, metadata_of, with_metadata
from lacbed.errors import FileFormatError
from lacbed.io.atomic import check_may_write, check_replaceable, reason, replacing
from lacbed.io.checks import regular_file
from lacbed.io.sizes import COMPRESSED, check_size

_COMPRESSION_LEVEL = 9
_LARGEST = 2**40
_ROW = 200
"""Bytes that a row takes in memory at least."""


def read_catalog(
    path: str | Path, columns: Sequence[str] | None = None, filters: pc.Expression | None = None
) -> pa.Table:
    """Read a catalogue, or some columns and rows of it.

    Args:
        path: the Parquet file.
        columns: names of the columns; default all that the file has.
        filters: rows to keep, such as `pc.field("space_group") == 225`.

    Returns:
        a table with the types of `lacbed.catalog.schema.SCHEMA`.

    Raises:
        FileFormatError: if the file does not exist, is not Parquet, is damaged, or is not a catalogue.
    """
    path = Path(path)
    available = _columns_of(path)
    for name in columns or ():
        if name not in available:
            raise FileFormatError(f"{path}: no column {name!r}; it has {', '.join(available)}")
    names = list(columns) if columns is not None else [field.name for field in SCHEMA if field.name in available]
    try:
        with path.open("rb") as stream:
            table = pq.read_table(stream, columns=names, filters=filters)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise FileFormatError(f"cannot read {str(path)!r}: {reason(error)}") from None
    metadata_of(table)
    return conform(table, str(path)).select(names)


def _columns_of(path: Path) -> list[str]:
    """Names of the columns of a file that is a catalogue."""
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder; expected a Parquet file")
    size = regular_file(path, "the catalogue", _LARGEST, FileFormatError)
    try:
        found = pq.read_metadata(path)
        names = list(found.schema.to_arrow_schema().names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileFormatError(
            f"{path} is not a Parquet file, or is damaged or cut short: {reason(error)}"
        ) from None
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise FileFormatError(f"{path} is not a catalogue of crystals: it lacks the columns {', '.join(missing)}")
    unpacked = sum(found.row_group(i).total_byte_size for i in range(found.num_row_groups))
    try:
        check_size("its table", max(unpacked, found.num_rows * _ROW), size, COMPRESSED)
    except FileFormatError as error:
        raise FileFormatError(f"cannot read {str(path)!r}: {error}") from None
    return names


def check_output(path: str | Path) -> None:
    """Refuse a path to which no catalogue can be written, before any work.

    Raises:
        FileFormatError: if the ending is not .parquet, it is a folder or another file, it is the catalogue of a
            data set, or its folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() != ".parquet":
        raise FileFormatError(f"a catalogue is a .parquet file, got {str(path)!r}")
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise FileFormatError(f"no such folder: {path.parent}")
    check_replaceable(path, lambda there: bool(_columns_of(there)), "catalogue")
    try:
        check_may_write(path.parent)
    except OSError as error:
        raise FileFormatError(f"cannot write {str(path)!r}: {reason(error)}") from None


def write_catalog(
    table: pa.Table, path: str | Path, generator: str, settings: dict[str, Any] | None = None
) -> None:
    """Write a catalogue, compressed with zstd; the same rows give the same bytes.

    Args:
        table: with all columns of the schema.
        path: a .parquet file; what is there stays until the new file is complete.
        generator: what made it, for the record in the file.
        settings: everything that changes the rows, for the record.

    Raises:
        FileFormatError: if the columns do not fit or the operating system refuses.
    """
    check_output(path)
    missing = [name for name in REQUIRED if name not in table.column_names]
    if missing:
        raise FileFormatError(f"cannot write a catalogue without the columns {', '.join(missing)}")
    full = with_metadata(conform(table, str(path)), generator, settings)
    with replacing(path) as temporary:
        pq.write_table(full, temporary, compression="zstd", compression_level=_COMPRESSION_LEVEL)


def rows_of(table: pa.Table, batch: int = 1024) -> Iterator[Row]:
    """The rows one by one, without holding all of them as Python objects."""
    for part in table.to_batches(max_chunksize=batch):
        yield from part.to_pylist()
