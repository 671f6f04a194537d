"""Parquet files: whole or not at all, read in part, and refused in one line if they are something else."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lacbed.catalog.files import SCHEMA, metadata_of, read_catalog, rows_of, table_of, write_catalog
from lacbed.errors import FileFormatError


@pytest.fixture
def file(tmp_path, rows):
    path = tmp_path / "c.parquet"
    write_catalog(table_of(rows), path, "test", {"seed": 3})
    return path


def test_what_is_written_is_read(file, rows):
    table = read_catalog(file)
    assert table.schema.names == SCHEMA.names
    for again, row in zip(rows_of(table), rows, strict=True):
        assert again["sites"] == row["sites"]
        assert again["compound_id"] == row["compound_id"]
        assert again["b"] is None
    made = metadata_of(table)
    assert made["generator"] == "test"
    assert made["licences"] == ["CC0-1.0"]
    assert made["settings"] == {"seed": 3}


def test_same_rows_same_bytes_and_zstd(file, rows, tmp_path):
    other = tmp_path / "d.parquet"
    write_catalog(table_of(rows), other, "test", {"seed": 3})
    assert other.read_bytes() == file.read_bytes()
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"


def test_columns_and_rows_are_chosen(file, rows):
    table = read_catalog(file, ["a", "formula"], pc.field("space_group") == 221)
    assert table.column_names == ["a", "formula"]
    assert table.num_rows == sum(row["space_group"] == 221 for row in rows)
    with pytest.raises(FileFormatError, match="no column 'colour'"):
        read_catalog(file, ["colour"])
    with pytest.raises(FileFormatError, match="cannot read"):
        read_catalog(file, ["a"], pc.field("colour") == 1)


def test_the_open_catalogue_fits(cubic):
    table = read_catalog(cubic)
    assert table.num_rows > 20_000
    assert all(table.schema.field(name).type == SCHEMA.field(name).type for name in table.schema.names)
    assert metadata_of(table) == {}


def test_foreign_and_damaged_files(file, tmp_path):
    content = file.read_bytes()
    cases = {
        "empty": b"",
        "text": b"hello\n",
        "cut": content[: len(content) // 2],
        "no footer": content[:-8],
        "headless": content[100:],
    }
    for name, data in cases.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(data)
        with pytest.raises(FileFormatError) as caught:
            read_catalog(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileFormatError, match="no such file"):
        read_catalog(tmp_path / "none.parquet")
    with pytest.raises(FileFormatError, match="folder"):
        read_catalog(tmp_path)


def test_damage_in_the_middle_is_said(file, tmp_path):
    content = bytearray(file.read_bytes())
    content[40:4000] = bytes(3960)
    path = tmp_path / "damaged.parquet"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="cannot read"):
        read_catalog(path)


def test_other_tables_are_refused(tmp_path, rows):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1.0]}), path)
    with pytest.raises(FileFormatError, match=r"lacks the columns source, source_id.*sites"):
        read_catalog(path)
    table = table_of(rows)
    words = pa.array(["long"] * len(rows))
    pq.write_table(table.set_column(table.column_names.index("a"), "a", words), path)
    with pytest.raises(FileFormatError, match="wrong type"):
        read_catalog(path)
    with pytest.raises(FileFormatError, match="does not fit"):
        table_of([{"a": "long"}])


def test_a_later_format_is_refused(file):
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({b"lacbed": b'{"format_version": 99}'}), file)
    with pytest.raises(FileFormatError, match="format version 99"):
        read_catalog(file)


def test_a_failed_write_leaves_what_was_there(file, rows, monkeypatch):
    before = file.read_bytes()

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(FileFormatError, match="No space left"):
        write_catalog(table_of(rows[:3]), file, "test")
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_places_that_cannot_be_written(tmp_path, rows):
    table = table_of(rows[:1])
    for path, message in (
        (tmp_path / "c.csv", "parquet"),
        (tmp_path / "none" / "c.parquet", "no such folder"),
    ):
        with pytest.raises(FileFormatError, match=message):
            write_catalog(table, path, "test")
    with pytest.raises(FileFormatError, match="without the columns"):
        write_catalog(table.select(["a"]), tmp_path / "c.parquet", "test")
