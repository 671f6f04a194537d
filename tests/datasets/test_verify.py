"""Verification finds what was changed."""

import json
import shutil

import numpy as np
import pytest
import zarr

from lacbed.datasets.verify import verify


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built[0], tmp_path / "data.zarr")
    return tmp_path / "data.zarr"


def test_a_good_data_set(built):
    found = verify(built[0], count=3)
    assert found.problems == []
    assert found.finished
    assert len(found.checks) == 3
    assert found.files == len(built[1].manifest["files"])
    assert all(0 < check.intensity_error <= 1e-5 for check in found.checks)


@pytest.mark.parametrize("pattern", ["*/pattern/c/0/0/0", "catalog.parquet", "*/potential_source/c/0/0"])
def test_a_changed_byte(copy, pattern):
    path = next(copy.glob(pattern))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = verify(copy, count=0)
    assert found.damaged == (str(path.relative_to(copy)),)


def test_a_missing_file(copy):
    path = next(copy.glob("*/scalars/c/0/0"))
    path.unlink()
    assert len(verify(copy, count=0).problems) == 1


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("pattern", lambda v: np.where(v > 30, v - 3, v + 3), "intensities differ"),
        ("potential", lambda v: np.where(v > 30, v - 1, v + 1), "potential differs"),
    ],
)
def test_values_that_are_not_what_the_config_gives(copy, name, change, message):
    for group in copy.glob("*mm-*"):
        array = zarr.open_array(group / name, mode="r+")
        array[...] = change(array[...])
    found = verify(copy, count=2)
    assert len(found.damaged) > 0
    assert all(message in check.problem for check in found.checks)


def test_a_config_that_was_changed_afterwards(copy):
    content = json.loads((copy / "zarr.json").read_text())
    content["attributes"]["lacbed_dataset"]["config"]["energy"] = 100e3
    (copy / "zarr.json").write_text(json.dumps(content))
    assert all("energy is 200000 and should be 100000" in check.problem for check in verify(copy, 2).checks)
