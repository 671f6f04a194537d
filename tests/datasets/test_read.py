"""A data set as tensors, as labelled arrays, and as a table."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lacbed import LacbedDataset, open_dataset
from lacbed.catalog.rows import crystal_of
from lacbed.datasets.compute import INTENSITY_BOUND
from lacbed.datasets.dataset import metadata_table, sides_of
from lacbed.datasets.orbits import symmetry_of
from lacbed.datasets.reader import Store
from lacbed.datasets.worker import reduce_crystal
from lacbed.errors import FileFormatError, SettingError


@pytest.fixture(scope="session")
def folder(built):
    return built[0]


def test_items(folder, rows):
    data = LacbedDataset(folder)
    assert len(data) == 12
    item = data[0]
    assert item["potential"].shape == (1, 16, 16)
    assert item["pattern"].shape == (1, 1, 16, 16)
    assert item["potential"].dtype == item["pattern"].dtype == torch.float32
    assert item["thickness"].tolist() == [600.0]
    assert item["index"].item() == 0
    assert item["space_group"].item() == rows[0]["space_group"]
    assert item["lattice_parameter"].item() == pytest.approx(rows[0]["a"])
    assert item["energy"].item() == 200e3
    assert item["atoms"].item() == rows[0]["n_atoms_conv"]
    assert item["mean_b_iso"].item() == pytest.approx(rows[0]["sites"][0]["u_iso"] * 8 * np.pi**2, rel=1e-5)


def test_values_are_those_computed(folder, rows):
    data = LacbedDataset(folder)
    for row in (0, 8, 10):
        again = reduce_crystal(rows[row], data.config)
        item = data[row]
        symmetry = symmetry_of(crystal_of(rows[row]), data.config)
        pattern = symmetry.pattern.fold(item["pattern"].numpy())
        assert np.abs(pattern - again.pattern).max() <= INTENSITY_BOUND + 1e-7
        assert item["potential"].mean().item() == pytest.approx(again.scalars["mean_inner_potential"], rel=1e-4)


def test_loader_with_workers_gives_the_same(folder):
    data = LacbedDataset(folder, cache_bytes=1)
    alone = [data[i]["pattern"] for i in range(len(data))]
    for batch in DataLoader(data, batch_size=5, num_workers=2):
        for pattern, index in zip(batch["pattern"], batch["index"], strict=True):
            assert torch.equal(pattern, alone[int(index)])


def test_the_cache_is_bounded(folder):
    data = LacbedDataset(folder, cache_bytes=3000)
    whole = LacbedDataset(folder)
    for _ in range(2):
        for i in np.random.default_rng(0).permutation(12):
            assert torch.equal(data[i]["pattern"], whole[i]["pattern"])
            assert data.store._held <= 3000 or len(data.store._chunks) == 1
            assert data.store._held == sum(chunk.nbytes for chunk in data.store._chunks.values())


def test_travels_without_what_is_open(folder):
    data = LacbedDataset(folder)
    size = len(pickle.dumps(data))
    data[3]
    assert len(pickle.dumps(data)) <= size + 100
    assert torch.equal(pickle.loads(pickle.dumps(data))[3]["pattern"], data[3]["pattern"])


@pytest.mark.parametrize("kind", ["row", "compound", "prototype"])
def test_splits(folder, kind):
    parts = [LacbedDataset(folder, split, kind, seed=2).rows for split in ("train", "validation", "test")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(12))
    sides = sides_of(Store(folder), kind, 2)
    assert all(np.array_equal(a, b) for a, b in zip(parts, sides.values(), strict=True))


def test_a_data_set_that_is_not_finished(folder, tmp_path):
    part = tmp_path / "data.zarr"
    shutil.copytree(folder, part)
    (part / "manifest.json").unlink()
    lines = (part / "journal.jsonl").read_text().splitlines(keepends=True)
    (part / "journal.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(FileFormatError, match="not finished"):
        LacbedDataset(part)
    data = LacbedDataset(part, partial=True)
    assert 0 < len(data) < 12
    assert len(LacbedDataset(part, "train", partial=True)) < len(data)
    with pytest.raises(FileFormatError, match=r"not finished \(\d+ of 12 crystals\).* partial=True"):
        open_dataset(part)
    assert open_dataset(part, partial=True).sizes["row"] == len(data)


def test_xarray(folder):
    data, whole = open_dataset(folder), LacbedDataset(folder)
    assert dict(data.pattern.sizes) == {"row": 12, "thickness_number": 1, "hkl": 1, "ky": 16, "kx": 16}
    assert np.array_equal(data.pattern[3, 0, 0], whole[3]["pattern"][0, 0])
    picked = data.pattern.isel(row=[5, 2], ky=slice(3, 9, 2), kx=4)
    assert np.array_equal(picked[:, 0, 0], [whole[i]["pattern"][0, 0, 3:9:2, 4] for i in (5, 2)])
    assert np.array_equal(data.potential.sel(row=7), whole[7]["potential"][0])
    assert data.kx.values[0] == -3.75
    assert str(data.formula.values[0]) == "Cu"
    assert data.thickness.values.tolist() == [[600.0]] * 12
    assert float(data.pattern.mean()) == pytest.approx(
        np.mean([whole[i]["pattern"].mean().item() for i in range(12)]), rel=1e-5
    )


def test_table(folder, rows):
    table = metadata_table(folder)
    assert table.num_rows == 12
    assert table["formula"].to_pylist() == [row["formula"] for row in rows]
    assert {"compound_id", "anonymous_prototype", "source", "licence", "space_group"} <= set(table.column_names)
    assert min(table["beams"].to_pylist()) >= 40
    assert max(table["z_reached"].to_pylist()) <= 0.2


@pytest.mark.parametrize("name", ["zarr.json", "place/c/0/0", "catalog.parquet", "journal.jsonl"])
def test_damaged_data_sets(folder, tmp_path, name):
    broken = tmp_path / "data.zarr"
    shutil.copytree(folder, broken)
    whole = (broken / name).read_bytes()
    (broken / name).write_bytes(whole[: len(whole) // 2] + b"\n")
    with pytest.raises(FileFormatError):
        LacbedDataset(broken, "train")[0]


def test_a_damaged_chunk(folder, tmp_path):
    broken = tmp_path / "data.zarr"
    shutil.copytree(folder, broken)
    for chunk in broken.rglob("pattern/c/0/0/0"):
        chunk.write_bytes(b"nonsense")
    data = LacbedDataset(broken)
    with pytest.raises(FileFormatError, match="cannot read"):
        [data[i] for i in range(12)]


def test_what_is_no_data_set(tmp_path, folder):
    (tmp_path / "file.zarr").write_text("x")
    (tmp_path / "empty.zarr").mkdir()
    for name, message in (("none.zarr", "no such"), ("file.zarr", "is a file"), ("empty.zarr", "no Zarr store")):
        with pytest.raises(FileFormatError, match=message):
            LacbedDataset(tmp_path / name)
    with pytest.raises(FileFormatError, match="not a data set of lacbed"):
        LacbedDataset(folder / next(folder.glob("4mm-*")).name)
    with pytest.raises(SettingError, match="train, validation, test"):
        LacbedDataset(folder, "testing")
    with pytest.raises(SettingError, match="row, compound, prototype"):
        LacbedDataset(folder, "test", "element")
