"""Catalogues on the disk: one row per crystal structure, its asymmetric unit in the reference setting.

Setting: the conventional cell of International Tables A, origin choice 2, hexagonal axes, unique axis b; what
`gemmi.get_spacegroup_reference_setting(number)` gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lacbed.errors import FileFormatError
from lacbed.io.atomic import check_may_write, check_replaceable, reason, replacing
from lacbed.io.checks import regular_file
from lacbed.io.sizes import COMPRESSED, check_size

Row = dict[str, Any]
"""One structure: a value, or None, for every column."""

FORMAT, FORMAT_VERSION = "lacbed-catalog", 1
_METADATA_KEY = b"lacbed"

SITE = pa.struct(
    [
        ("element", pa.string()),
        ("wyckoff", pa.string()),
        ("multiplicity", pa.int64()),
        ("site_symmetry", pa.string()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("z", pa.float64()),
        ("occupancy", pa.float64()),
        ("u_iso", pa.float64()),  # Å², null if unknown; B = 8π² U
    ]
)

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("licence", pa.string()),
        ("kind", pa.string()),  # experimental, idealised_framework, dft_relaxed_..., generated
        ("experimentally_known", pa.bool_()),
        ("formula", pa.string()),
        ("anonymous_prototype", pa.string()),  # stoichiometry_group_letters
        ("space_group", pa.int16()),
        ("a", pa.float64()),  # Å
        ("b", pa.float64()),  # Å; b ... gamma are null for a cubic row
        ("c", pa.float64()),
        ("alpha", pa.float64()),  # degrees
        ("beta", pa.float64()),
        ("gamma", pa.float64()),
        ("n_atoms_conv", pa.float32()),  # weighted by occupancy
        ("n_sites_conv", pa.int32()),
        ("n_sites_prim", pa.int32()),
        ("n_asym", pa.int16()),
        ("ordered", pa.bool_()),
        ("elements", pa.list_(pa.string())),
        ("n_elements", pa.int8()),
        ("density", pa.float32()),  # g/cm³
        ("min_distance", pa.float32()),  # Å
        ("wyckoff_signature", pa.string()),
        ("compound_id", pa.string()),  # group by this, or by prototype, to split into training and test
        ("symprec", pa.float32()),  # Å at which the symmetry was found; 0 if built by hand
        ("has_u_iso", pa.bool_()),
        ("sites", pa.list_(SITE)),
        ("note", pa.string()),  # JSON
    ]
)

REQUIRED = (
    "source",
    "source_id",
    "licence",
    "kind",
    "formula",
    "anonymous_prototype",
    "space_group",
    "a",
    "n_atoms_conv",
    "elements",
    "wyckoff_signature",
    "compound_id",
    "sites",
)
"""A file without these columns is not a catalogue; the others may be absent and are read as null."""


def conform(table: pa.Table, name: str) -> pa.Table:
    """The columns of the table that belong to a catalogue, in order and with the types of `SCHEMA`.

    Raises:
        FileFormatError: if a column has a type that cannot be converted.
    """
    wanted = [field for field in SCHEMA if field.name in table.column_names]
    try:
        return pa.table(
            [table[field.name].cast(field.type) for field in wanted],
            schema=pa.schema(wanted, metadata=table.schema.metadata),
        )
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:160]
        raise FileFormatError(f"{name}: a column has the wrong type for a catalogue: {reason}") from None


def table_of(rows: list[Row]) -> pa.Table:
    """Rows as a table; a column that a row lacks is null.

    Raises:
        FileFormatError: if a value has the wrong type.
    """
    try:
        return pa.Table.from_pylist(rows, schema=SCHEMA)
    except (pa.ArrowException, TypeError) as error:
        raise FileFormatError(
            f"a value does not fit the catalogue: {' '.join(str(error).split())[:160]}"
        ) from None


def with_metadata(table: pa.Table, generator: str, settings: dict[str, Any] | None = None) -> pa.Table:
    """The table with a record of what made it and of its licences; nothing in it changes from run to run."""
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "generator": generator,
        "lacbed": metadata.version("lacbed"),
        "licences": sorted({value for value in table["licence"].to_pylist() if value}),
        "settings": settings or {},
    }
    text = json.dumps(record, ensure_ascii=False, sort_keys=True)
    return table.replace_schema_metadata({_METADATA_KEY: text.encode()})


def metadata_of(table: pa.Table) -> dict[str, Any]:
    """The record that `with_metadata` wrote; empty for a catalogue from elsewhere.

    Raises:
        FileFormatError: if a later, unknown version of the format wrote the record.
    """
    try:
        record = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
    except ValueError:
        return {}
    if not isinstance(record, dict):
        return {}
    version = record.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise FileFormatError(
            f"the catalogue has format version {version}, expected {FORMAT_VERSION}; update lacbed to read it"
        )
    return record


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
        a table with the types of `lacbed.catalog.files.SCHEMA`.

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
