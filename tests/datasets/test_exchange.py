"""Export to Parquet and back, and Croissant metadata that agree with the files or are refused."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from lacbed.datasets.dataset import sides_of
from lacbed.datasets.exchange import check_exported, export, restore
from lacbed.datasets.manifest import read_manifest
from lacbed.datasets.reader import Store

ABOUT = {"name": "small", "split": "split by row"}


@pytest.fixture(scope="module")
def exported(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "small"
    store = Store(built[0])
    export(built[0], folder, sides_of(store, "row"), ABOUT)
    return folder


@pytest.fixture
def copy(exported, tmp_path):
    """A copy to be spoiled."""
    import shutil

    return shutil.copytree(exported, tmp_path / "small")


def test_there_and_back(built, exported, tmp_path, contents):
    out = tmp_path / "again.zarr"
    made = restore(exported, out)
    assert contents(out) == contents(built[0])
    before, after = read_manifest(built[0]), read_manifest(out)
    assert made.manifest == after
    changing = {"cpu_seconds", "sha256"}
    assert {k: v for k, v in before.items() if k not in changing} == {
        k: v for k, v in after.items() if k not in changing
    }


def test_anyone_can_read_it(built, exported):
    store = Store(built[0])
    config = store.config
    rows = [row for side in ("train", "validation", "test") for row in _rows(exported, side)]
    assert sorted(row["row"] for row in rows) == store.done_rows().tolist()
    row = rows[3]
    pattern = np.array(row["pattern"]).reshape(1, 1, config.pixels, config.pixels) / 65535
    assert np.allclose(pattern, store.pattern(row["row"]), atol=1e-7)
    potential = row["potential_offset"] + row["potential_scale"] * np.array(row["potential"])
    assert np.allclose(potential.reshape(16, 16), store.potential(row["row"]), atol=1e-4)
    assert row["licence"] in ("CC0-1.0", "CC-BY-4.0")
    card = (exported / "README.md").read_text("utf-8")
    front = card.split("---")[1]
    assert "path: data/test.parquet" in front
    assert "- cc-by-4.0" in front
    assert "Attribution required" in card
    assert json.loads((exported / ".zenodo.json").read_text())["license"] == "other-open"
    code = card.split("```python")[1].split("```")[0]
    names = {}
    exec(code.replace("data/test.parquet", str(exported / "data/test.parquet")), names)
    assert names["potential"].shape == (16, 16)


def _rows(folder, side):
    return pq.read_table(folder / "data" / f"{side}.parquet").to_pylist()


def test_croissant_describes_every_column(exported):
    found = json.loads((exported / "croissant.json").read_text())
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert [one["@id"] for one in found["recordSet"]] == ["test", "train", "validation"]
    columns = {field["source"]["extract"]["column"] for field in found["recordSet"][0]["field"]}
    assert columns == set(pq.read_schema(exported / "data/test.parquet").names) - {"sites"}
    assert sum(check_exported(exported).values()) == 12


def change(path, old, new):
    def spoil(folder):
        text = (folder / path).read_text("utf-8")
        assert old in text
        (folder / path).write_text(text.replace(old, new), "utf-8")

    return spoil


def remove(path):
    return lambda folder: (folder / path).unlink()


def other_column(folder):
    path = folder / "croissant.json"
    found = json.loads(path.read_text())
    found["recordSet"][0]["field"][0]["source"]["extract"]["column"] = "colour"
    path.write_text(json.dumps(found))


def other_values(folder):
    path = folder / "data" / "test.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "row", [[7] * table.num_rows]), path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change("croissant.json", '"column": "energy"', '"column": "volume"'), "column energy of"),
        (change("croissant.json", "croissant/1.0", "croissant/9.9"), "is not Croissant 1.0"),
        (change("croissant.json", '"@id": "test.parquet"', '"@id": "best.parquet"'), "described but not there"),
        (change("croissant.json", '"distribution"', '"contribution"'), "does not describe files"),
        (
            change(
                "croissant.json",
                "{",
                "",
            ),
            "croissant.json",
        ),
        (change("croissant.json", '"sc:Integer"', '"sc:Text"'), "not 'sc:Text'"),
        (other_column, "has no column 'colour'"),
        (other_values, "has"),
        (remove("data/train.parquet"), "train.parquet is described but not there"),
        (remove("croissant.json"), "it has no croissant.json"),
        (remove("lacbed/build.json"), "no such file"),
        (change("lacbed/build.json", '"batch": 3', '"batch": 4'), "are not those that its data were made from"),
        (change("lacbed/build.json", '"batch": 3', '"batch": "x"'), "impossible values"),
        (change("lacbed/build.json", '"pixels": 16', '"pixels": -1'), "pixels"),
    ],
)
def test_parts_that_disagree_are_refused(copy, lacbed, spoil, message):
    spoil(copy)
    code, out, err = lacbed("dataset", "import", copy, "-o", "d.zarr")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_commands(built, lacbed, tmp_path):
    code, out, err = lacbed("dataset", "export", built[0], "-o", "e", "--kind", "row")
    assert code == 0, err
    assert "train" in out
    code, out, err = lacbed("dataset", "verify", "e")
    assert code == 0, err
    assert "3 files checked, 0 problems" in out
    code, out, err = lacbed("dataset", "import", "e", "-o", "d.zarr")
    assert code == 0, err
    assert out.startswith("12 crystals in d.zarr")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    for place, why in (
        ("mine", "not a Parquet export"),
        ("x.zarr", "leave the .zarr out"),
        ("no/where", "no folder"),
    ):
        code, _, err = lacbed("dataset", "export", built[0], "-o", place)
        assert code == 2
        assert why in err
    assert lacbed("dataset", "import", "mine", "-o", "q.zarr")[0] == 2


@pytest.mark.oracle
def test_mlcroissant_reads_it(exported):
    mlcroissant = pytest.importorskip("mlcroissant")
    found = mlcroissant.Dataset(jsonld=str(exported / "croissant.json"))
    assert not found.metadata.issues.errors
    record = next(iter(found.records("train")))
    assert len(record["train/pattern"]) == 256
