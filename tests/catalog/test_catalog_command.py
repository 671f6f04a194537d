"""lacbed catalog info, import and generate."""

import json

import pytest

from lacbed.catalog.files import read_catalog, table_of, write_catalog
from lacbed.catalog.summary import summarise, summary_figure
from lacbed.crystals import Crystal


@pytest.fixture
def run(lacbed):
    return lacbed


def test_generate_then_info(run, tmp_path):
    code, out, err = run("catalog", "generate", "--count", 30, "--seed", 2, "-o", "c.parquet", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["rows"] == 30
    first = (tmp_path / "c.parquet").read_bytes()
    assert run("catalog", "generate", "-n", 30, "-s", 2, "-o", "c.parquet")[0] == 0
    assert (tmp_path / "c.parquet").read_bytes() == first
    code, out, _ = run("catalog", "info", "c.parquet", "--png", "c.png")
    assert code == 0
    assert "30 structures" in out
    assert "no attribution required" in out
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    code, out, _ = run("catalog", "info", "c.parquet", "--json")
    summary = json.loads(out)
    assert summary["rows"] == sum(summary["space_groups"].values()) == 30
    assert summary["made"]["settings"]["seed"] == 2
    assert summary["sources"] == [{"source": "lacbed generate", "licence": "CC0-1.0", "rows": 30}]


@pytest.mark.parametrize("source", ["OQMD", "The Open Quantum Materials Database (OQMD)"])
def test_info_names_what_must_be_attributed(run, rows, source):
    table = table_of([{**rows[0], "source": source, "licence": "CC-BY-4.0"}, rows[1]])
    write_catalog(table, "c.parquet", "test")
    _, out, _ = run("catalog", "info", "c.parquet")
    assert f"{source} (CC-BY-4.0): Saal" in out
    assert "Materials Project" not in out


def test_import_lists_failures(run, tmp_path):
    pytest.importorskip("spglib")
    folder = tmp_path / "cifs"
    folder.mkdir()
    (folder / "si.cif").write_text(Crystal.named("Si").to_cif(), encoding="utf-8")
    (folder / "bad.cif").write_text("hello\n", encoding="utf-8")
    code, out, _ = run("catalog", "import", folder, "-o", "c.parquet", "--licence", "CC0-1.0")
    assert code == 0
    assert "failed bad.cif: " in out
    assert read_catalog(tmp_path / "c.parquet").num_rows == 1
    (tmp_path / "c.parquet").unlink()
    code, out, err = run("catalog", "import", folder, "-o", "c.parquet", "--strict", "--json")
    assert code == 2
    assert json.loads(out)["failures"][0]["name"] == "bad.cif"
    assert "1 of 2 structures" in err
    assert not (tmp_path / "c.parquet").exists()
    (folder / "si.cif").unlink()
    assert run("catalog", "import", folder, "-o", "c.parquet")[0] == 2
    assert not (tmp_path / "c.parquet").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "none.parquet"), "no such file"),
        (("info", "."), "folder"),
        (("import", "none", "-o", "c.parquet"), "no such file"),
        (("import", ".", "-o", "c.parquet"), "holds no .cif files"),
        (("generate", "-n", "0", "-o", "c.parquet"), "whole number from 1"),
        (("generate", "-n", "10000000", "-o", "c.parquet"), "at most"),
        (("generate", "-n", "5", "-s", "-3", "-o", "c.parquet"), "seed"),
        (("generate", "-n", "5", "-o", "c.csv"), ".parquet"),
        (("generate", "-n", "5", "-o", "none/c.parquet"), "no such folder"),
        (("generate", "-n", "5"), "--out"),
        (("fetch",), "fetch"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, words, message):
    code, _, err = run("catalog", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_picture_shows_space_groups_and_licences_and_round_numbers(rows, tmp_path):
    write_catalog(
        table_of([{**rows[0], "source": "OQMD", "licence": "CC-BY-4.0"}, *rows[1:]]), tmp_path / "c.parquet", ""
    )
    summary = summarise(tmp_path / "c.parquet")
    figure = summary_figure(summary, "c.parquet")
    figure.draw_without_rendering()
    ticks = {axis.get_xlabel(): [t.get_text() for t in axis.get_xticklabels()] for axis in figure.axes}
    assert ticks["space group"] == [str(group) for group in summary.space_groups]
    a = ticks["lattice parameter a (Å)"]
    assert 3 <= len(a) <= 9
    assert all(f"{float(text):g}" == text for text in a)
    sources = next(axis for axis in figure.axes if axis.get_title() == "2 sources and licences")
    assert [t.get_text() for t in sources.get_yticklabels()] == ["lacbed generate\nCC0-1.0", "OQMD\nCC-BY-4.0"]


@pytest.mark.parametrize("a", [2.0, 5.431, 13.5, 999.0])
def test_the_picture_of_one_structure(rows, tmp_path, a):
    write_catalog(table_of([{**rows[0], "a": a}]), tmp_path / "c.parquet", "")
    figure = summary_figure(summarise(tmp_path / "c.parquet"), "one")
    figure.draw_without_rendering()
    assert len([t for t in figure.axes[0].get_xticklabels() if t.get_text()]) >= 3


def test_an_imported_catalogue_keeps_what_its_rows_say(run, rows):
    write_catalog(
        table_of([{**rows[0], "source": "OQMD", "licence": "CC-BY-4.0"}, *rows[1:3]]), "c.parquet", "test"
    )
    assert run("catalog", "import", "c.parquet", "-o", "d.parquet", "--licence", "MIT")[0] == 0
    summary = json.loads(run("catalog", "info", "d.parquet", "--json")[1])
    assert summary["made"]["settings"] == {"from": "c.parquet"}
    sources = {(s["source"], s["licence"]) for s in summary["sources"]}
    assert sources == {("OQMD", "CC-BY-4.0"), ("lacbed generate", "CC0-1.0")}


def test_import_of_an_empty_catalogue(run):
    write_catalog(table_of([]), "c.parquet", "test")
    code, _, err = run("catalog", "import", "c.parquet", "-o", "d.parquet")
    assert (code, err) == (2, "lacbed: c.parquet contains no structures; nothing was written\n")


def test_info_of_an_empty_catalogue(run):
    write_catalog(table_of([]), "c.parquet", "test")
    code, _, err = run("catalog", "info", "c.parquet")
    assert code == 2
    assert "without rows" in err
