"""Whatever interrupts a build, the next run ends with the same chunks."""

import errno
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from dataset_helpers import CHEAP

from lacbed.catalog.files import table_of
from lacbed.datasets import build as building
from lacbed.datasets import manifest as manifests
from lacbed.datasets import worker as working
from lacbed.datasets import writer
from lacbed.datasets.build import build
from lacbed.datasets.manifest import read_journal, read_manifest
from lacbed.datasets.plan import make_plan
from lacbed.datasets.reader import Store
from lacbed.datasets.workers import here, processes
from lacbed.errors import CrystalError, FileFormatError, SettingError
from lacbed.io.lock import locked


@pytest.fixture(autouse=True, scope="module")
def computed_once():
    """Here it is tried what is done with patterns: none is computed twice in this process."""
    real, known = working.compute_one, {}

    def compute_one(crystal, *how):
        key = (crystal.name, crystal.cell, repr(how))
        if key not in known:
            known[key] = real(crystal, *how)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working, "compute_one", compute_one)
        yield


class Killed(BaseException):
    """Ends a build without any clean-up that catches exceptions."""


def test_everything_is_there(built, plan):
    folder, result = built
    assert result.manifest["crystals"] == 12
    assert result.manifest["failures"] == []
    assert result.progress.done == result.progress.rows == 12
    assert result.progress.share == pytest.approx(1.0)
    assert result.manifest["plan_digest"] == plan.digest
    assert result.manifest == read_manifest(folder)
    assert Store(folder).done_rows().tolist() == list(range(12))
    licences = {(s["source"], s["licence"]): s["rows"] for s in result.manifest["licences"]}
    assert licences == {("COD", "CC0-1.0"): 6, ("OQMD", "CC-BY-4.0"): 6}
    assert len(result.manifest["attribution"]) == 1
    assert result.manifest["attribution"][0].startswith("OQMD (CC-BY-4.0): Saal")


def test_batches_are_chunks_of_one_symmetry_by_falling_size(plan):
    batches = plan.batches()
    assert sorted(row for batch in batches for row in batch.rows) == list(range(12))
    assert all(1 <= len(batch.rows) <= 3 for batch in batches)
    costs = [batch.cost for batch in batches]
    assert costs == sorted(costs, reverse=True)
    for group in plan.groups:
        beams = [plan.size(int(row)).beams for row in group.rows]
        assert beams == sorted(beams, reverse=True)


@pytest.mark.parametrize("write", [1, 7, 13, 18, 20])
def test_killed_at_any_write(plan, built, contents, tmp_path, monkeypatch, write):
    folder = tmp_path / "data.zarr"
    count = 0
    real = writer.write_bytes

    def dying(path, content):
        nonlocal count
        count += 1
        if count == write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.0123456789ab").write_bytes(content[: len(content) // 2])
            raise Killed
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_bytes", dying)
        patch.setattr(manifests, "write_bytes", dying)
        with pytest.raises(Killed):
            build(plan, folder, here)
    result = build(plan, folder, here)
    assert contents(folder) == contents(built[0])
    assert result.manifest["files"] == built[1].manifest["files"]


def test_a_journal_cut_short(plan, built, contents, tmp_path):
    folder = tmp_path / "data.zarr"
    shutil.copytree(built[0], folder)
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    assert len(read_journal(folder)) == 2
    result = build(plan, folder, here)
    assert result.progress.before == sum(len(e.rows) for e in list(read_journal(folder).values())[:2])
    assert len(read_journal(folder)) == len(lines)
    assert contents(folder) == contents(built[0])


def test_a_damaged_chunk_is_computed_again(plan, built, contents, tmp_path):
    folder = tmp_path / "data.zarr"
    shutil.copytree(built[0], folder)
    chunk = next(folder.rglob("pattern/c/0/0/0"))
    chunk.write_bytes(chunk.read_bytes()[:-5])
    result = build(plan, folder, here)
    assert 0 < result.progress.done - result.progress.before <= 3
    assert contents(folder) == contents(built[0])


def test_nothing_is_done_twice(plan, built, monkeypatch):
    monkeypatch.setattr(working, "store_crystal", None)
    result = build(plan, built[0], here)
    assert result.progress.before == result.progress.done == 12
    assert result.manifest == built[1].manifest


@pytest.mark.slow
def test_two_processes_give_the_same(plan, built, contents, tmp_path):
    result = build(plan, tmp_path / "data.zarr", lambda: processes(2, 1e12))
    assert contents(tmp_path / "data.zarr") == contents(built[0])
    assert result.manifest["files"] == built[1].manifest["files"]


def test_rows_in_one_job_give_the_same(plan, built, contents, tmp_path):
    result = build(plan, tmp_path / "data.zarr", here, together=5)
    assert contents(tmp_path / "data.zarr") == contents(built[0])
    assert result.manifest["files"] == built[1].manifest["files"]


def test_a_failing_crystal_loses_nothing_else(plan, built, tmp_path, monkeypatch):
    folder = tmp_path / "data.zarr"
    real = working.compute_one

    def failing(crystal, config, conditions, device):
        if crystal.name == "Ni":
            raise SettingError("no\nbeams")
        if crystal.name == "V":
            raise ZeroDivisionError("division by zero")
        return real(crystal, config, conditions, device)

    with monkeypatch.context() as patch:
        patch.setattr(working, "compute_one", failing)
        result = build(plan, folder, here)
    failures = {f["formula"]: (f["reason"], f["explained"]) for f in result.manifest["failures"]}
    assert failures == {"Ni": ("no beams", True), "V": ("ZeroDivisionError: division by zero", False)}
    assert result.manifest["crystals"] == 10
    store, whole = Store(folder), Store(built[0])
    assert store.done_rows().tolist() == [row for row in range(12) if row not in (2, 7)]
    for row in store.done_rows():
        assert np.array_equal(store.pattern(row), whole.pattern(row))
    assert np.isnan(store.scalars(2)).all()
    assert build(plan, folder, here).manifest["crystals"] == 10
    again = build(plan, folder, here, retry_failed=True)
    assert again.manifest["failures"] == []
    assert again.manifest["files"] == built[1].manifest["files"]


def test_a_build_in_which_everything_fails_still_ends(plan, tmp_path, monkeypatch):
    def failing(*_):
        raise SettingError("no beams")

    monkeypatch.setattr(working, "compute_one", failing)
    result = build(plan, tmp_path / "data.zarr", here)
    assert result.manifest["crystals"] == 0
    assert {f["reason"] for f in result.manifest["failures"]} == {"no beams"}
    assert len(Store(tmp_path / "data.zarr").done_rows()) == 0


def test_a_full_disk_is_said_and_gone_on_from(plan, built, contents, tmp_path, monkeypatch):
    folder = tmp_path / "data.zarr"
    real, count = os.fsync, 0

    def full(descriptor):
        nonlocal count
        count += 1
        if count > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(writer.os, "fsync", full)
        with pytest.raises(FileFormatError, match="No space left on device"):
            build(plan, folder, here)
    assert not any(map(writer.is_unfinished, folder.rglob("*")))
    build(plan, folder, here)
    assert contents(folder) == contents(built[0])


def test_two_builds_of_one_folder(plan, tmp_path):
    folder = tmp_path / "data.zarr"
    folder.mkdir()
    with locked(folder), pytest.raises(FileFormatError, match=f"another build.*process {os.getpid()}"):
        build(plan, folder, here)
    build(plan, folder, here)


def test_another_plan_is_refused(table, plan, built, contents):
    before = contents(built[0])
    others = [
        make_plan(table, replace(CHEAP, extent=3.0), batch=3),
        make_plan(table.slice(0, 11), CHEAP, batch=3),
        make_plan(table, CHEAP, batch=4),
    ]
    assert len({p.digest for p in (plan, *others)}) == 4
    for other, message in zip(others, ("another config", "other crystals", "other crystals"), strict=True):
        with pytest.raises(FileFormatError, match=message):
            build(other, built[0], here)
    assert contents(built[0]) == before


def test_a_folder_that_is_something_else(plan, tmp_path):
    places = {name: tmp_path / name for name in ("file.zarr", "photos.zarr", "none/data.zarr", "data.nc")}
    places["file.zarr"].write_text("hello")
    places["photos.zarr"].mkdir()
    (places["photos.zarr"] / "cat.jpg").write_text("meow")
    messages = ("is a file", "contains no Zarr store", "no such folder", "is a .zarr folder")
    for place, message in zip(places.values(), messages, strict=True):
        with pytest.raises(FileFormatError, match=message):
            build(plan, place, here)
    assert [path.name for path in places["photos.zarr"].iterdir()] == ["cat.jpg"]
    (places["photos.zarr"] / ".lock").touch()
    with pytest.raises(FileFormatError, match="it holds 'cat"):
        build(plan, places["photos.zarr"], here)
    assert places["file.zarr"].read_text() == "hello"


def test_impossible_rows(rows, tmp_path):
    bad = [rows[0], {**rows[1], "a": -4.0}, {**rows[3], "a": 0.3}, rows[2]]
    with pytest.raises(CrystalError, match=r"2 of 4 rows cannot be used \(--skip-invalid.*Al"):
        make_plan(table_of(bad), CHEAP)
    result = build(make_plan(table_of(bad), CHEAP, skip_invalid=True), tmp_path / "data.zarr", here)
    assert result.manifest["crystals"] == 2
    assert [f["row"] for f in result.manifest["failures"]] == [1, 2]
    assert Store(tmp_path / "data.zarr").done_rows().tolist() == [0, 3]
    with pytest.raises(CrystalError, match="1 of 1"):
        make_plan(table_of(bad[1:2]), CHEAP, skip_invalid=True)


def test_the_journal_is_json(built):
    lines = [json.loads(line) for line in (built[0] / "journal.jsonl").read_text().splitlines()]
    assert sorted(row for line in lines for row in line["rows"]) == list(range(12))
    assert building.JOURNAL == "journal.jsonl"
