"""Weights, records and disks that are not as they should be: one line, and nothing lost."""

import errno
import json
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from synthetic import SMALL, SyntheticData, small_config

from lacbed.errors import FileFormatError, SettingError
from lacbed.io import lock
from lacbed.learn import checkpoint
from lacbed.learn.config import config_from_dict, load_config
from lacbed.learn.models import build_model
from lacbed.learn.train import train


def _folder(path, change=None, **record):
    weights = build_model(SMALL["unet"]).state_dict()
    if change is not None:
        change(weights)
    config = {"config": {"model": SMALL["unet"]}}
    checkpoint.save_model(path, weights, {}, config | record, "# card\n")
    return path


def _set_nan(weights):
    next(iter(weights.values())).view(-1)[0] = torch.nan


def _drop(weights):
    weights.pop(next(iter(weights)))


def _other_shape(weights):
    name = next(iter(weights))
    weights[name] = weights[name][..., :1].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [(_set_nan, "NaN or infinity"), (_drop, "do not fit"), (_other_shape, "do not fit")],
)
def test_weights_that_are_not_the_models(tmp_path, change, message):
    folder = _folder(tmp_path / "model", change)
    with pytest.raises(FileFormatError, match=rf"model.safetensors.*{message}"):
        checkpoint.load_model(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 8,
        (2**62).to_bytes(8, "little") + b"{}",
        (10**9).to_bytes(8, "little") + b"{",
        b"\x80\x04\x95" + b"0" * 100,
        b"PK\x03\x04" + b"0" * 100,
    ],
)
def test_no_safetensors_at_all(tmp_path, content):
    folder = _folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"damaged or not a safetensors file"):
        checkpoint.load_model(folder)


def test_pipes_and_folders_in_the_place_of_weights(tmp_path):
    folder = _folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(FileFormatError, match="named pipe"):
        checkpoint.load_model(folder)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"domain": 3}, "domain must be an object"),
        ({"domain": {"zone_axis": [0, 0]}}, "domain.zone_axis must be three numbers"),
        ({"warning": {"signs": ["luck"]}}, "warning.signs must be a list of"),
        ({"warning": {"signs": [], "coefficients": [1.0, 2.0], "threshold": 0.0}}, "must be 1 numbers"),
        ({"config": {"model": {"name": ["unet"]}}}, "model name must be one of"),
        ({"config": {"model": {**SMALL["unet"], "width": 4 * 10**4}}}, "more than"),
        ({"config": {"model": {**SMALL["unet"], "levels": 10**5}}}, "levels must be at most"),
        ({"config": {"model": {**SMALL["unet"], "pixels": 10**30}}}, "pixels must be at most"),
        ({"config": {"model": SMALL["unet"], "data": {"fraction": -1}}}, "config.data|data.fraction"),
        ({"config": [1]}, "does not name the model"),
    ],
)
def test_records_that_cannot_be(tmp_path, record, message):
    folder = _folder(tmp_path / "model", **record)
    with pytest.raises(FileFormatError, match=message) as caught:
        checkpoint.load_model(folder)
    assert len(str(caught.value)) < 500


def _train(folder, resume=False, **training):
    config = config_from_dict(small_config("unet", **training))
    return train(config, SyntheticData(6), SyntheticData(3, 100), folder, resume=resume)


@pytest.mark.parametrize(
    "error", [SafetensorError("I/O error: No space left on device (os error 28)"), OSError(errno.ENOSPC, "full")]
)
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, error):
    folder = tmp_path / "run"
    _train(folder, epochs=1)
    before = (folder / "checkpoint.safetensors").read_bytes()

    def refuse(tensors, path, metadata=None):
        save_file(tensors, path, metadata=metadata)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", refuse)
        with pytest.raises(FileFormatError, match=r"cannot write '.*checkpoint.safetensors'"):
            _train(folder, resume=True, epochs=2)
    assert (folder / "checkpoint.safetensors").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint.safetensors", "metrics.jsonl"]
    assert _train(folder, resume=True, epochs=2).epoch == 2
    assert len((folder / "metrics.jsonl").read_text().splitlines()) >= 2


def test_two_trainings_in_one_folder_and_one_that_was_killed(tmp_path):
    folder = tmp_path / "run"
    with lock.claimed(folder, "training", inside=True), pytest.raises(FileFormatError, match="another training"):
        _train(folder)
    folder.mkdir()
    (folder / lock.LOCK).touch()  # what a kill leaves
    (folder / lock.OWNER).write_text(json.dumps({"process": 1, "host": "gone"}))
    assert _train(folder, epochs=1).epoch == 1
    assert not (folder / lock.LOCK).exists()


@pytest.mark.parametrize(
    "change",
    [
        "training.seed=1e30",
        "training.seed=-1",
        "data.seed=-1",
        "training.workers=100000",
        "loss.z=-1",
        "training.epochs=1e400",
        "training.batch=" + "9" * 400,
        "model.width=" + "9" * 400,
        "loss.z=" + "[" * 5000,
    ],
)
def test_numbers_that_no_training_can_use(change):
    with pytest.raises(SettingError, match="must") as caught:
        load_config("unet", [change])
    assert len(str(caught.value)) < 300
