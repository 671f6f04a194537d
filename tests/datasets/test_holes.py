"""A data set with a hole, or whose parts contradict each other, is noticed by whoever reads it."""

import hashlib
import json
import os
import shutil

import pytest

from lacbed import LacbedDataset, open_dataset
from lacbed.datasets.build import build
from lacbed.datasets.dataset import metadata_table
from lacbed.datasets.reader import Store
from lacbed.datasets.summary import dataset_montage, summarise_dataset
from lacbed.datasets.verify import verify
from lacbed.datasets.workers import here
from lacbed.errors import FileFormatError


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built[0], tmp_path / "data.zarr")
    return tmp_path / "data.zarr"


def read_tensors(folder):
    data = LacbedDataset(folder)
    return [data[i] for i in range(len(data))]


READERS = {
    "tensors": read_tensors,
    "xarray": lambda folder: open_dataset(folder).load(),
    "montage": lambda folder: dataset_montage(folder, 12),
    "table": metadata_table,
    "info": summarise_dataset,
}
USES = {
    "pattern/c/0/0/0": ("tensors", "xarray", "montage"),
    "pattern_source/c/0/0/0": ("tensors", "xarray", "montage"),
    "potential/c/0/0": ("tensors", "xarray"),
    "potential_source/c/0/0": ("tensors", "xarray"),
    "scalars/c/0/0": tuple(READERS),
    "scalars/zarr.json": tuple(READERS),
    "place/c/0/0": tuple(READERS),
    "catalog.parquet": ("tensors", "xarray", "table", "info", "montage"),
}


def refused(read, folder, match=""):
    with pytest.raises(FileFormatError, match=match or ".") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", USES)
def test_what_is_missing_or_changed_is_noticed_by_every_reader(copy, name):
    path = next(copy.rglob(name))
    whole = path.read_bytes()
    for content in (None, whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2]):
        path.unlink() if content is None else path.write_bytes(content)
        for reader in USES[name]:
            refused(READERS[reader], copy)
        problems = []
        try:
            problems = verify(copy, count=0).problems
        except FileFormatError as error:
            problems = [str(error)]
        assert problems
        path.write_bytes(whole)
    assert len(read_tensors(copy)) == 12


def test_chunks_that_changed_places(copy):
    first, second = sorted(copy.glob("*/pattern/c/*/0/0"))[:2]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    refused(read_tensors, copy, "differs from its checksum")


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"[]", b"null"])
@pytest.mark.parametrize("name", ["manifest.json", "journal.jsonl"])
def test_an_empty_manifest_or_journal_is_no_success(copy, name, content):
    (copy / name).write_bytes(content)
    refused(read_tensors, copy)
    try:
        problems = verify(copy, count=0).problems
    except FileFormatError as error:
        problems = [str(error)]
    assert problems


def test_a_data_set_without_any_batch_is_not_verified(copy):
    (copy / "manifest.json").unlink()
    (copy / "journal.jsonl").write_bytes(b"")
    assert verify(copy).problems == ["the journal lists no batch: there is nothing to verify"]


def test_a_finished_data_set_that_lost_lines_of_its_journal(copy):
    lines = (copy / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "journal.jsonl").write_bytes(b"".join(lines[1:]))
    refused(read_tensors, copy, "the journal has .* batches, and the data set")


# -- contradictions ------------------------------------------------------------------------------------

RECORD, MANIFEST = "zarr.json", "manifest.json"
DEEP = "deep"
CHANGES = [
    (RECORD, ("rows",), 11),
    (RECORD, ("rows",), -1),
    (RECORD, ("rows",), 10**30),
    (RECORD, ("rows",), "12"),
    (RECORD, ("rows",), None),
    (RECORD, ("batch",), 0),
    (RECORD, ("batch",), 4),
    (RECORD, ("batch",), 2.5),
    (RECORD, ("groups",), ["../x"]),
    (RECORD, ("groups",), []),
    (RECORD, ("groups",), 3),
    (RECORD, ("quantities",), ["atoms"]),
    (RECORD, ("config",), {}),
    (RECORD, ("config", "pixels"), 17),
    (RECORD, ("config", "pixels"), float("nan")),
    (RECORD, ("config", "energy"), -1),
    (RECORD, ("config", "x"), 1),
    (RECORD, ("invalid",), {"3": "no"}),
    (RECORD, ("format_version",), True),
    (RECORD, ("format_version",), [9]),
    (RECORD, ("config",), DEEP),
    (MANIFEST, ("crystals",), 13),
    (MANIFEST, ("crystals",), -1),
    (MANIFEST, ("crystals",), float("inf")),
    (MANIFEST, ("crystals",), 10**40),
    (MANIFEST, ("files",), {}),
    (MANIFEST, ("files",), []),
    (MANIFEST, ("files", "place/c/0/0"), "0" * 64),
    (MANIFEST, ("files", "place/c/0/0"), 5),
    (MANIFEST, ("duplicates",), {}),
    (MANIFEST, ("duplicates",), {"bound": 1e-3, "groups": [[1, 99]]}),
    (MANIFEST, ("duplicates",), {"bound": 1e-3, "groups": [["a"]]}),
    (MANIFEST, ("failures",), [{"row": 1}]),
    (MANIFEST, ("plan_digest",), "0" * 64),
    (MANIFEST, ("cpu_seconds",), -3),
    (MANIFEST, ("rows",), 5),
    (MANIFEST, ("attribution",), [3]),
    (MANIFEST, ("licences",), [{"rows": -1}]),
    (MANIFEST, ("config",), DEEP),
]


@pytest.mark.parametrize(("file", "keys", "value"), CHANGES)
def test_json_that_contradicts_the_arrays_or_itself(copy, file, keys, value):
    content = json.loads((copy / file).read_text())
    content.pop("sha256", None)  # what an older version wrote
    place = content["attributes"]["lacbed_dataset"] if file == RECORD else content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    text = json.dumps(content).replace('"deep"', "[" * 5000 + "]" * 5000)
    (copy / file).write_text(text)
    if file == RECORD and (copy / MANIFEST).exists():
        manifest = json.loads((copy / MANIFEST).read_text())
        manifest.pop("sha256", None)
        manifest["files"]["zarr.json"] = hashlib.sha256(text.encode()).hexdigest()  # it must be wrong by itself
        (copy / MANIFEST).write_text(json.dumps(manifest))
    refused(Store, copy)
    refused(metadata_table, copy)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [5, 4, 3]},
        {"rows": [-1]},
        {"rows": "abc"},
        {"group": 9},
        {"batch": 77},
        {"group": -1},
        {"batch": float("nan")},
        {"files": {}},
        {"files": {"../../etc/passwd": "0" * 64}},
        {"seconds": -1.0},
        {"seconds": "long"},
        {"failures": [{"row": 3}]},
        {"extra": 1},
        {"rows": [10**30]},
        {"failures": [{"row": 99, "formula": "X", "source_id": "1", "reason": "no", "explained": True}]},
    ],
)
def test_a_journal_that_contradicts_the_arrays(copy, change):
    lines = (copy / "journal.jsonl").read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **change})
    (copy / "journal.jsonl").write_text("\n".join(lines) + "\n")
    (copy / "manifest.json").unlink()
    refused(lambda folder: LacbedDataset(folder, partial=True), copy)


def test_a_changed_manifest_is_damaged(copy):
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"cpu_seconds": ', '"cpu_seconds": 9'))
    refused(read_tensors, copy, "does not have the checksum")


def test_a_manifest_of_an_earlier_version_has_no_checksum_and_is_read(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["sha256"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert len(read_tensors(copy)) == 12
    assert verify(copy, count=0).problems == []


@pytest.mark.parametrize("name", ["manifest.json", "journal.jsonl", "zarr.json", "place/c/0/0", "place/zarr.json"])
def test_pipes_do_not_block(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    refused(read_tensors, copy, "named pipe")


def test_a_build_does_not_go_on_with_a_folder_that_lost_its_layout(plan, copy):
    next(copy.glob("*/pattern_source/c/0/0/0")).unlink()
    refused(lambda folder: build(plan, folder, here), copy, "pattern_source")
    (copy / "place" / "c" / "0" / "0").unlink()
    refused(lambda folder: build(plan, folder, here), copy, "place")


def test_rows_that_have_no_pattern_are_no_black_images(copy):
    (copy / "manifest.json").unlink()
    lines = (copy / "journal.jsonl").read_bytes().splitlines(keepends=True)
    missing = json.loads(lines[0])["rows"]
    (copy / "journal.jsonl").write_bytes(b"".join(lines[1:]))
    store = Store(copy)
    assert not set(missing) & set(store.done_rows().tolist())
    refused(lambda _: store.pattern(missing[0]), copy, "has no values yet")
