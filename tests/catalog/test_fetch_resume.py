"""A fetch that is interrupted goes on, and gives the same catalogue as one that is not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lacbed.catalog.fetch.pages import Query
from lacbed.catalog.files import table_of, write_catalog
from lacbed.errors import FetchError, FileFormatError

web = pytest.importorskip("lacbed.catalog.fetch.web", exc_type=ImportError)

from lacbed.catalog.fetch import cod, pages  # noqa: E402
from lacbed.catalog.fetch.run import fetch_catalog  # noqa: E402

QUERY = Query(only=("Si", "C", "Ge", "Cu", "Al", "Au", "Fe", "W"))


def source_of(stand_in, query=QUERY):
    return cod.cod_source(query, web.polite_session(0.0), f"{stand_in.url}/cod")


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(cod, "ENTRIES_PER_PAGE", 3)
    monkeypatch.setattr(web, "RETRIES", 0)


def whole(stand_in, folder, query=QUERY):
    out = folder / "whole.parquet"
    result = fetch_catalog(source_of(stand_in, query), query, out)
    return out.read_bytes(), result


def test_interrupted_everywhere_it_gives_the_same_bytes(stand_in, tmp_path):
    expected, result = whole(stand_in, tmp_path)
    requests = len(stand_in.asked)
    assert result.pages >= 3
    out = tmp_path / "cut.parquet"
    for cut in {1, 2, *range(3, requests, 4), requests - 1}:
        stand_in.asked.clear()
        stand_in.trouble.dead_after = cut
        with pytest.raises(FetchError, match="has a fault"):
            fetch_catalog(source_of(stand_in), QUERY, out)
        assert not out.exists()
        stand_in.trouble.dead_after = None
        resumed = fetch_catalog(source_of(stand_in), QUERY, out)
        assert out.read_bytes() == expected
        assert len(stand_in.asked) <= requests + 1 + cod.ENTRIES_PER_PAGE  # at most one page is asked for again
        assert resumed.rows == result.rows
        assert resumed.unwanted == result.unwanted
        assert not pages.folder_of(out).exists()
        out.unlink()


def test_page_after_page_with_a_new_program_each_time(stand_in, tmp_path):
    """A source keeps the list in memory; a new one finds it, and its place in it, again."""
    expected, result = whole(stand_in, tmp_path)
    assert result.pages >= 3
    stand_in.asked.clear()
    out = tmp_path / "cut.parquet"
    real, calls = pages.Pages.add, []

    def add_and_die(self, number, page):
        real(self, number, page)
        calls.append(number)
        raise KeyboardInterrupt

    for number in range(result.pages):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pages.Pages, "add", add_and_die)
            with pytest.raises(KeyboardInterrupt):
                fetch_catalog(source_of(stand_in), QUERY, out)
        assert calls[-1] == number
    again = fetch_catalog(source_of(stand_in), QUERY, out)
    assert out.read_bytes() == expected
    assert again.kept == again.pages == result.pages
    assert sum("/result" in path for path in stand_in.asked) == len(QUERY.only)  # once per search, not per page


PROGRAM = """
import sys
from lacbed.catalog.fetch import cod
from lacbed.cli import main
cod.ENTRIES_PER_PAGE = 3
sys.exit(main(sys.argv[1:]))
"""


def test_killed_at_once_it_loses_one_page_at_most(stand_in, tmp_path):
    expected, _ = whole(stand_in, tmp_path)
    stand_in.asked.clear()
    out = tmp_path / "killed.parquet"
    words = ["catalog", "fetch", "cod", "--server", f"{stand_in.url}/cod", "--only", ",".join(QUERY.only)]
    command = [sys.executable, "-c", PROGRAM, *words, "-o", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, "--delay", "0.1"], env=environment) as process:
        deadline = time.monotonic() + 60
        second = pages.folder_of(out) / "page-000001.json"
        while not second.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    kept = len(list(pages.folder_of(out).glob("page-*.json")))
    asked = [path for path in stand_in.asked if path.endswith(".cif")]
    assert len(asked) - 3 * kept <= 3
    result = fetch_catalog(source_of(stand_in), QUERY, out)
    assert result.kept == kept >= 2
    assert out.read_bytes() == expected
    again = [path for path in stand_in.asked if path.endswith(".cif")]
    assert len(again) - len(set(again)) <= 3


def test_two_at_once_refuse_each_other(stand_in, tmp_path):
    out = tmp_path / "c.parquet"
    request = {"database": "cod", **source_of(stand_in).request, **QUERY.as_request()}
    with pages.pages_for(out, request, False):
        pages.write_json(pages.folder_of(out) / "page-000000.json", {})
        with pytest.raises(FileFormatError, match="in use by another fetch"):
            fetch_catalog(source_of(stand_in), QUERY, out)


def interrupted(stand_in, out):
    stand_in.trouble.dead_after = len(stand_in.asked) + 12
    with pytest.raises(FetchError, match="finished pages are kept"):
        fetch_catalog(source_of(stand_in), QUERY, out)
    stand_in.trouble.dead_after = None


def test_another_request_does_not_go_on_with_these_pages(stand_in, tmp_path):
    out = tmp_path / "c.parquet"
    interrupted(stand_in, out)
    other = Query(only=QUERY.only, cubic=False)
    with pytest.raises(FileFormatError, match=r"cubic: True there, False here.*--restart"):
        fetch_catalog(source_of(stand_in, other), other, out)
    assert fetch_catalog(source_of(stand_in, other), other, out, restart=True).kept == 0


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"rows": 3'])
def test_a_damaged_page_is_named(stand_in, tmp_path, text):
    out = tmp_path / "c.parquet"
    interrupted(stand_in, out)
    (pages.folder_of(out) / "page-000000.json").write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match="--restart"):
        fetch_catalog(source_of(stand_in), QUERY, out)
    assert fetch_catalog(source_of(stand_in), QUERY, out, restart=True).rows


def test_a_folder_of_somebody_else_is_left_alone(stand_in, tmp_path):
    out = tmp_path / "c.parquet"
    mine = pages.folder_of(out)
    mine.mkdir()
    (mine / "precious.txt").write_text("x", encoding="utf-8")
    with pytest.raises(FileFormatError, match="not the folder of an unfinished fetch"):
        fetch_catalog(source_of(stand_in), QUERY, out, restart=True)
    assert (mine / "precious.txt").exists()


def test_what_was_there_stays_until_the_end(stand_in, tmp_path):
    out = tmp_path / "c.parquet"
    write_catalog(table_of([]), out, "old")
    old = out.read_bytes()
    interrupted(stand_in, out)
    assert out.read_bytes() == old
    fetch_catalog(source_of(stand_in), QUERY, out)
    assert len(out.read_bytes()) > len(old)


@pytest.mark.parametrize("count", [1, 3, 4, 100])
def test_a_limit_gives_the_first_of_all(stand_in, tmp_path, count):
    _, everything = whole(stand_in, tmp_path)
    query = Query(only=QUERY.only, count=count)
    _, some = whole(stand_in, tmp_path, query)
    assert some.rows == everything.rows[:count]


def test_the_same_structure_is_kept_once(stand_in, tmp_path):
    first = min(stand_in.world.cifs)
    stand_in.world.cifs["9999999"] = stand_in.world.cifs[first]
    stand_in.world.records.append({**stand_in.world.records[0], "file": "9999999"})
    _, result = whole(stand_in, tmp_path, Query(only=("Si",)))
    assert result.duplicates == [("9999999", first)]


def test_a_page_that_cannot_be_written_loses_nothing(stand_in, tmp_path, monkeypatch):
    out = tmp_path / "c.parquet"
    interrupted(stand_in, out)
    kept = pages.Pages(pages.folder_of(out)).count()

    def full(*_):
        raise FileFormatError("cannot write: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pages, "write_json", full)
        with pytest.raises(FileFormatError, match="No space"):
            fetch_catalog(source_of(stand_in), QUERY, out)
    assert fetch_catalog(source_of(stand_in), QUERY, out).kept == kept
