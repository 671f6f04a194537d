"""lacbed catalog fetch: the command line, and OPTIMADE with its reference server."""

import json
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lacbed.catalog.files import metadata_of, read_catalog

web = pytest.importorskip("lacbed.catalog.fetch.web", exc_type=ImportError)


@pytest.fixture
def run(monkeypatch, lacbed):
    monkeypatch.setattr(web, "BACKOFF", 0.001)
    return partial(lacbed, "catalog", "fetch")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The reference server of OPTIMADE, in a process of its own."""
    for module in ("optimade.client", "fastapi", "mongomock", "uvicorn"):
        pytest.importorskip(module)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).with_name("optimade_server.py")
    command = [sys.executable, str(script), str(port), "CC-BY-4.0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _wait(port, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the reference server of OPTIMADE does not start")


def test_cod_and_what_is_printed(run, stand_in, tmp_path):
    words = ("cod", "--server", f"{stand_in.url}/cod", "--elements", "O", "--delay", 0, "-o", "c.parquet")
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert "3 structures fetched, 0 duplicates left out, 1 left out by the filters, 0 failed" in out
    table = read_catalog(tmp_path / "c.parquet")
    assert set(table["licence"].to_pylist()) == {"CC0-1.0"}
    made = metadata_of(table)
    assert (made["generator"], made["licences"]) == ("lacbed catalog fetch cod", ["CC0-1.0"])
    assert made["settings"]["contains"] == ["O"]
    stand_in.world.cifs["9000043"] = "hello"
    code, out, _ = run(*words, "--json")
    result = json.loads(out)
    assert [failure["name"] for failure in result["failures"]] == ["9000043"]
    assert result["rows"] + len(result["failures"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]


def test_an_error_keeps_what_came_and_says_so(run, stand_in, tmp_path, monkeypatch):
    from lacbed.catalog.fetch import cod

    monkeypatch.setattr(cod, "ENTRIES_PER_PAGE", 1)
    stand_in.trouble.dead_after = 3
    words = ("cod", "--server", f"{stand_in.url}/cod", "-e", "O", "--delay", 0, "-o", "c.parquet")
    code, out, err = run(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "2 finished pages are kept, and the same command continues" in err
    stand_in.trouble.dead_after = None
    code, out, _ = run(*words)
    assert code == 0
    assert "2 of 3 pages were already there from an interrupted fetch" in out


def test_optimade_page_by_page(run, database, tmp_path):
    pytest.importorskip("spglib")
    words = ("optimade", f"{database}/v1", "--delay", 0, "--page-size", 4, "--kind", "experimental")
    code, out, err = run(*words, "-o", "c.parquet", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["pages"], result["unwanted"], result["failures"]) == (4, 1, [])
    table = read_catalog(tmp_path / "c.parquet")
    assert set(zip(table["source"].to_pylist(), table["licence"].to_pylist(), strict=True)) == {
        ("Example database", "CC-BY-4.0")
    }
    assert set(table["kind"].to_pylist()) == {"experimental"}
    assert table["source_id"].to_pylist()[0] == "ex-000"
    code, out, _ = run(*words, "-o", "few.parquet", "--filter", "nelements=2", "--max-atoms", 2, "--json")
    assert read_catalog(tmp_path / "few.parquet")["formula"].to_pylist() == ["CsCl"]
    code, out, _ = run(*words, "-o", "all.parquet", "--all-systems", "-e", "O", "--json")
    assert set(read_catalog(tmp_path / "all.parquet")["formula"].to_pylist()) > {"MgO", "TiO2"}
    code, out, _ = run(*words, "-o", "only.parquet", "--only", "Ti,O,Mg,Si", "--json")
    assert sorted(read_catalog(tmp_path / "only.parquet")["formula"].to_pylist()) == ["MgO", "Si"]


def test_optimade_interrupted_gives_the_same_bytes(run, database, tmp_path, monkeypatch):
    pytest.importorskip("spglib")
    from lacbed.catalog.fetch import pages

    words = ("optimade", database, "--delay", 0, "--page-size", 5, "-q")
    assert run(*words, "-o", "whole.parquet")[0] == 0
    real = pages.Pages.add

    def add_and_die(self, number, page):
        real(self, number, page)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pages.Pages, "add", add_and_die)
        code, _, err = run(*words, "-o", "cut.parquet")
        assert code == 130
        assert "run the same command to continue" in err
        assert run(*words, "-o", "cut.parquet")[0] == 130
    assert run(*words, "-o", "cut.parquet")[0] == 0
    assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_database_that_gives_fewer_at_once(run, database):
    pytest.importorskip("spglib")
    code, out, err = run("optimade", database, "--delay", 0, "-o", "c.parquet", "--json")  # 100 are asked for
    assert (code, err) == (0, "")
    assert json.loads(out)["pages"] == 2


def test_optimade_says_why_it_refuses(run, database, stand_in, tmp_path):
    code, _, err = run("optimade", database, "--delay", 0, "-o", "c.parquet", "--filter", "_exmpl_no=1")
    assert (code, err.count("\n")) == (2, 1)
    assert "refuses (status 400): Bad Request: '_exmpl_no'" in err
    code, _, err = run("optimade", stand_in.url, "--delay", 0, "-o", "c.parquet")
    assert code == 2
    assert "status 404 to /v1/info" in err
    stand_in.trouble.html = True
    code, _, err = run("optimade", stand_in.url, "--delay", 0, "-o", "c.parquet")
    assert code == 2
    assert "not JSON" in err
    code, _, err = run("optimade", database, "--delay", 0, "-o", "c.parquet", "-e", "U")
    assert code == 2
    assert "no structure that matches" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cod", "-o", "c.parquet"), "name elements"),
        (("cod", "-e", "Fe"), "--out"),
        (("cod", "-e", "Xx", "-o", "c.parquet"), "chemical elements"),
        (("cod", "-e", "Fe", "--only", "O", "-o", "c.parquet"), "not among the elements allowed"),
        (("cod", "-e", "Fe", "-o", "c.csv"), ".parquet"),
        (("cod", "-e", "Fe", "-o", "none/c.parquet"), "no such folder"),
        (("cod", "-e", "Fe", "-n", "0", "-o", "c.parquet"), "at least 1"),
        (("cod", "-e", "Fe", "--delay", "-1", "-o", "c.parquet"), "pause"),
        (("cod", "-e", "Fe", "--server", "here", "-o", "c.parquet"), "https://"),
        (("cod", "-e", "Fe", "--server", "http://127.0.0.1:1", "-o", "c.parquet"), "cannot be reached"),
        (("optimade", "oqmd", "-o", "c.parquet"), "https://"),
        (("optimade", "http://127.0.0.1:1", "--experimental", "-o", "c.parquet"), "--filter"),
        (("optimade", "http://127.0.0.1:1", "--filter", "a ==", "-o", "c.parquet"), "is not a filter of OPTIMADE"),
        (("optimade", "http://127.0.0.1:1", "--page-size", "0", "-o", "c.parquet"), "page size"),
        (("optimade", "http://127.0.0.1:1", "-o", "c.parquet"), "cannot be reached"),
        (("mp", "--include-gnome", "-o", "c.parquet"), "optimade https://optimade.materialsproject.org -o"),
        (("mp", "--help"), "optimade https://optimade.materialsproject.org -o"),
        (("jarvis",), "optimade https://jarvis.nist.gov/optimade/jarvisdft -o"),
        (("icsd", "-o", "c.parquet"), "icsd"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, words, message):
    pytest.importorskip("optimade.client")
    code, out, err = run(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lacbed.catalog.fetch.web", None)
    monkeypatch.delitem(sys.modules, "lacbed.catalog.fetch.web")
    monkeypatch.setitem(sys.modules, "requests", None)
    code, _, err = run("cod", "-e", "Fe", "-o", "c.parquet")
    assert code == 2
    assert "lacbed[fetch]" in err


@pytest.mark.parametrize("name", ["cod", "optimade"])
def test_every_database_has_help_with_an_example(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "Example" in out
    assert "--restart" in out
