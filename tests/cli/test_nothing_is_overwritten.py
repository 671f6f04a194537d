"""No command replaces what is not its own kind of result: it says so in one line before it starts."""

import json

import numpy as np
import pytest
import xarray as xr

from lacbed.catalog.files import table_of, write_catalog
from lacbed.catalog.rows import row_of
from lacbed.crystals import Crystal
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.plan import make_plan
from lacbed.datasets.writer import create
from lacbed.patterns import save_pattern


@pytest.fixture
def places(tmp_path):
    """A data set, a model, a fit, a report, a retrieval, somebody's Zarr and files, and a pattern to work on."""
    row = row_of(
        Crystal.named("Cu"),
        source="COD",
        source_id="1",
        licence="CC0-1.0",
        kind="experimental",
        experimentally_known=True,
    )
    table = table_of([row])
    (tmp_path / "data.zarr").mkdir()
    create(tmp_path / "data.zarr", make_plan(table, DatasetConfig(pixels=8, potential_pixels=8, absorption=None)))
    write_catalog(table, tmp_path / "c.parquet", "test")
    xr.Dataset({"x": ("i", [1.0])}).to_zarr(tmp_path / "theirs.zarr", zarr_format=2)
    for folder, name in (
        ("model", "config.json"),
        ("fit", "fit.json"),
        ("report", "summary.json"),
        ("retrieved", "retrieval.json"),
        ("mine", "notes.txt"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("{}")
    (tmp_path / "mine.json").write_text('{"a": 1}')
    np.savez(tmp_path / "mine.npz", a=np.zeros(3))
    k = np.linspace(-0.5, 0.5, 8)
    pattern = xr.DataArray(
        np.random.default_rng(0).uniform(size=(1, 1, 8, 8)),
        {"thickness": [600.0], "hkl": ["0,0,0"], "ky": k, "kx": k},
        ("thickness", "hkl", "ky", "kx"),
        "intensity",
    )
    save_pattern(pattern, tmp_path / "p.nc")
    return tmp_path


COMMANDS = {
    "simulate": "simulate Cu -o",
    "predict": "predict Cu -o",
    "potential": "potential Cu -o",
    "cbed": "cbed p.nc -o",
    "fit": "fit p.nc Cu -o",
    "refine": "refine p.nc Cu -o",
    "retrieve": "retrieve p.nc --start v.nc -o",
    "solve": "solve p.nc --cell 4 -o",
    "evaluate": "evaluate model data.zarr -o",
    "learning-curve": "learning-curve vae-seed --data data.zarr -o",
    "train": "train vae-seed --data data.zarr -o",
    "experiment import": "experiment import p.nc -o",
}
FILES = ("simulate", "predict", "potential", "cbed", "experiment import")
OWN = {("fit", "fit"), ("report", "evaluate"), ("retrieved", "retrieve")}


def state(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_folders_stay(lacbed, places, command):
    before = state(places)
    for target in ("data.zarr", "theirs.zarr", "model", "fit", "report", "retrieved", "mine"):
        if (target, command) in OWN:
            continue
        found = lacbed(*COMMANDS[command].split(), target)
        assert (found.code, found.err.count("\n")) == (2, 1), f"{target}: {found}"
        assert state(places) == before, target


@pytest.mark.parametrize(
    "words",
    [
        "simulate Cu -o mine.npz",
        "cbed p.nc -o mine.npz",
        "dataset split data.zarr -o mine.json",
        "dataset split data.zarr -o data.zarr/zarr.json",
        "dataset split data.zarr -o model/config.json",
        "dataset build c.parquet -o theirs.zarr",
        "dataset build c.parquet -o mine",
        "catalog generate -n 5 -o data.zarr/catalog.parquet",
        "simulate Cu -o data.zarr/",
        "catalog import c.parquet -o data.zarr/catalog.parquet",
        "dataset build c.parquet -o p.zarr",
    ],
)
def test_files_and_parts_of_data_sets_stay(lacbed, places, words):
    from lacbed.patterns import load_pattern

    save_pattern(load_pattern(places / "p.nc"), places / "p.zarr")
    before = state(places)
    found = lacbed(*words.split())
    assert (found.code, found.err.count("\n")) == (2, 1), found
    assert state(places) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_the_place_is_looked_at_before_the_input_is_read(lacbed, places, command):
    """Inputs that are not there are not even looked for where the results cannot go."""
    words = COMMANDS[command]
    for name in ("p.nc", "data.zarr", "model ", "vae-seed", "Cu"):
        words = words.replace(name, name.strip() + "-absent ")
    found = lacbed(*words.split(), "mine")
    assert (found.code, found.err.count("\n")) == (2, 1), found
    assert "mine" in found.err
    assert "absent" not in found.err


def test_a_split_may_be_written_again(lacbed, places):
    from lacbed.cli.dataset import _is_split

    split = {"path": "x", "kind": "row", "seed": 0, "train": [1], "validation": [2], "test": [3]}
    (places / "split.json").write_text(json.dumps(split))
    assert _is_split(places / "split.json")
    assert not _is_split(places / "mine.json")
