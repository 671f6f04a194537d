"""lacbed dataset build, verify, info, montage and split."""

import json
import re
from functools import partial

import pytest

from lacbed.catalog.files import table_of, write_catalog
from lacbed.datasets import workers
from lacbed.errors import SettingError

CONFIG = """
pixels = 16
potential_pixels = 16
absorption = "none"
tolerance_z = 0.2
tolerance_intensity = 0.5
max_beams = 400
"""


@pytest.fixture
def run(tmp_path, monkeypatch, lacbed, catalog):
    """Run `lacbed dataset WORDS` in a folder with a catalogue and a config, computing in this process."""
    monkeypatch.setattr(workers, "processes", lambda count, memory, device: workers.here(device))
    (tmp_path / "c.parquet").write_bytes(catalog.read_bytes())
    (tmp_path / "cheap.toml").write_text(CONFIG)
    return partial(lacbed, "dataset")


def test_from_catalogue_to_picture(run, tmp_path):
    build = ("build", "c.parquet", "-o", "d.zarr", "--config", "cheap.toml", "-n", 8, "--batch", 4)
    code, out, err = run(*build, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["crystals"], result["this_run"], result["failures"]) == (8, 8, [])
    assert result["crystals_per_second"] > 0
    code, out, _ = run(*build)
    assert code == 0
    assert out.startswith("8 crystals in d.zarr, 0 failed; 0 in this run\n")
    code, out, _ = run("info", "d.zarr", "--json")
    assert json.loads(out)["crystals"] == 8
    code, out, _ = run("info", "d.zarr")
    assert "8 of 8 crystals, 0 failed; finished" in out
    code, out, _ = run("verify", "d.zarr", "-n", 2)
    assert code == 0
    assert "2 crystals checked, 0 problems" in out
    assert run("montage", "d.zarr", "-o", "m.png")[0] == 0
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"
    code, out, _ = run("split", "d.zarr", "--kind", "row", "--json")
    assert code == 0
    assert json.loads(out) == {
        "path": "d.zarr",
        "kind": "row",
        "seed": 0,
        "leaks": True,
        "finished": True,
        "file": None,
        "counts": {"train": 6, "validation": 1, "test": 1},
    }


def test_a_build_without_any_crystal_fails_and_keeps_what_it_recorded(run, tmp_path, monkeypatch):
    def failing(crystal, *_):
        raise SettingError("no beams" if crystal.name != "Cu" else "too few")

    with monkeypatch.context() as patch:
        patch.setattr("lacbed.datasets.worker.compute_one", failing)
        build = ("build", "c.parquet", "-o", "d.zarr", "--config", "cheap.toml")
        code, out, err = run(*build, "--json")
        assert code == 2
        assert re.fullmatch(
            r"lacbed: no crystal of d.zarr could be computed; most often \(11 of 12\): no beams; .*\n", err
        )
        assert len(json.loads(out)["failures"]) == 12
        assert run(*build, "-q")[0] == 2  # nothing is left to compute, and still there is no crystal
    assert len(json.loads((tmp_path / "d.zarr" / "manifest.json").read_text())["failures"]) == 12
    assert run(*build, "-q", "--retry-failed")[0] == 0


def test_split_writes_the_rows(run, tmp_path):
    assert run("build", "c.parquet", "-o", "d.zarr", "--config", "cheap.toml", "-q")[0] == 0
    assert run("split", "d.zarr", "--kind", "prototype", "--seed", 3, "-o", "s.json")[0] == 0
    written = json.loads((tmp_path / "s.json").read_text())
    assert sorted(written["train"] + written["validation"] + written["test"]) == list(range(12))
    assert not written["leaks"]
    assert "leaks" in run("split", "d.zarr", "--kind", "row")[1]


def test_verify_fails_when_something_differs(run, tmp_path):
    run("build", "c.parquet", "-o", "d.zarr", "--config", "cheap.toml", "-n", 6, "-q")
    chunk = next((tmp_path / "d.zarr").glob("*/pattern/c/0/0/0"))
    chunk.write_bytes(chunk.read_bytes() + b"x")
    code, _, err = run("verify", "d.zarr", "-n", 0)
    assert code == 2
    assert "pattern/c/0/0/0 is missing or differs" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build", "none.parquet", "-o", "d.zarr"), "no such file"),
        (("build", "cheap.toml", "-o", "d.zarr"), "not a Parquet file"),
        (("build", "cut.parquet", "-o", "d.zarr"), "damaged or cut short"),
        (("build", "c.parquet", "-o", "d.nc"), ".zarr folder"),
        (("build", "c.parquet", "-o", "none/d.zarr"), "no such folder"),
        (("build", "c.parquet", "-o", "other.zarr"), "contains no Zarr store"),
        (("build", "c.parquet", "-o", "file.zarr"), "is a file"),
        (("build", "c.parquet", "-o", "d.zarr", "--preset", "big"), "seed, wide"),
        (("build", "c.parquet", "-o", "d.zarr", "--config", "none.toml"), "cannot read the config"),
        (("build", "c.parquet", "-o", "d.zarr", "--config", "bad.toml"), "no key 'pixel'"),
        (("build", "c.parquet", "-o", "d.zarr", "--config", "c.parquet"), ".toml or .json"),
        (("build", "c.parquet", "-o", "d.zarr", "--config", "cheap.toml", "--preset", "seed"), "not both"),
        (("build", "c.parquet", "-o", "d.zarr", "-n", "500"), "500 were requested"),
        (("build", "c.parquet", "-o", "d.zarr", "-n", "-5"), "count must be positive"),
        (("build", "c.parquet", "-o", "d.zarr", "-j", "0"), "--workers"),
        (("build", "c.parquet", "-o", "d.zarr", "--batch", "0"), "--batch"),
        (("build", "wrong.parquet", "-o", "d.zarr"), "1 of 2 rows cannot be used"),
        (("build", "c.parquet", "-o", "d.zarr", "--scheduler", "tcp://x:y"), "no Dask scheduler answers"),
        (("verify", "none.zarr"), "no such data set"),
        (("verify", "file.zarr"), "is a file"),
        (("info", "other.zarr"), "no Zarr store"),
        (("montage", "none.zarr", "-o", "m.png"), "no such data set"),
        (("montage", "other.zarr", "-o", "m.jpg"), ".png"),
        (("split", "none.zarr"), "no such data set"),
        (("split", "none.zarr", "-o", "s.txt"), ".json"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, tmp_path, rows, words, message):
    if "--scheduler" in words:
        pytest.importorskip("distributed")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "c.parquet").read_bytes()[:2000])
    (tmp_path / "bad.toml").write_text("pixel = 64\n")
    (tmp_path / "file.zarr").write_text("hello")
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "cat.jpg").write_text("meow")
    write_catalog(table_of([rows[0], {**rows[1], "a": -1.0}]), tmp_path / "wrong.parquet", "test")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, _, err = run(*words)
    assert code == 2
    assert message in err
    assert re.fullmatch(r"lacbed: [^\n]+\n", err)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "d.zarr").exists()
