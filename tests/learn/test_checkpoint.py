"""Files of weights: the same back, and nothing that is damaged, foreign or of another version."""

import json

import pytest
import torch
from safetensors.torch import save_file
from synthetic import SMALL, SyntheticData

from lacbed.errors import FileFormatError
from lacbed.io.tensors import read_tensors, write_tensors
from lacbed.learn import checkpoint, data
from lacbed.learn.models import build_model


def _write(path, kind=checkpoint.CHECKPOINT):
    groups = {
        "model": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)},
        "ema": {"a": torch.ones(1).half()},
    }
    write_tensors(path, kind, groups, {"config": {"x": 1.5}, "text": "Å"})
    return groups


def test_round_trip(tmp_path):
    groups = _write(tmp_path / "c.safetensors")
    back, record = read_tensors(tmp_path / "c.safetensors", checkpoint.CHECKPOINT)
    assert record == {"config": {"x": 1.5}, "text": "Å"}
    for group, members in groups.items():
        for name, value in members.items():
            assert back[group][name].dtype == value.dtype
            assert torch.equal(back[group][name], value)
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize("where", [0.02, 0.5, 0.98])
def test_one_wrong_byte_is_noticed(tmp_path, where):
    path = tmp_path / "c.safetensors"
    _write(path)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(FileFormatError, match=r"damaged|format|expected"):
        read_tensors(path, checkpoint.CHECKPOINT)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_files_cut_short(tmp_path, keep):
    path = tmp_path / "c.safetensors"
    _write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match="damaged"):
        read_tensors(path, checkpoint.CHECKPOINT)


def test_other_kinds_and_versions(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    _write(path, checkpoint.MODEL)
    with pytest.raises(FileFormatError, match="is a lacbed-model, expected a lacbed-checkpoint"):
        read_tensors(path, checkpoint.CHECKPOINT)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(FileFormatError, match="foreign"):
        read_tensors(path, checkpoint.CHECKPOINT)
    with pytest.raises(FileFormatError, match="no such file"):
        read_tensors(tmp_path / "none", checkpoint.CHECKPOINT)
    _write(path)
    monkeypatch.setattr("lacbed.io.tensors.FORMAT_VERSION", 2)
    with pytest.raises(FileFormatError, match="format version 1, expected 2"):
        read_tensors(path, checkpoint.CHECKPOINT)


def test_model_folders(tmp_path):
    model = build_model(SMALL["fno"]).eval()
    record = {"config": {"model": SMALL["fno"]}, "code": "lacbed"}
    folder = tmp_path / "model"
    checkpoint.save_model(folder, model.state_dict(), {"rows": torch.ones(2, 3).half()}, record, "# card\n")
    assert sorted(p.name for p in folder.iterdir()) == ["card.md", "config.json", "model.safetensors"]
    loaded = checkpoint.load_model(folder)
    assert loaded.descriptors["rows"].shape == (2, 3)
    batch = data.collate([SyntheticData(1)[0]])
    assert torch.equal(loaded.model(batch)["pattern"], model(batch)["pattern"])

    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "config": {"model": {**SMALL["fno"], "width": 6}}}))
    with pytest.raises(FileFormatError, match="do not fit"):
        checkpoint.load_model(folder)
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 9}))
    with pytest.raises(FileFormatError, match="format version 9"):
        checkpoint.load_model(folder)
    (folder / "config.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(FileFormatError, match="not the config"):
        checkpoint.load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(FileFormatError, match="not JSON"):
        checkpoint.load_model(folder)
    with pytest.raises(FileFormatError, match="is not a model"):
        checkpoint.load_model(tmp_path / "nothing")


def test_optimizer_state_comes_back():
    model = build_model(SMALL["unet"])
    batch = data.collate([SyntheticData(1)[0]])
    optimizer = torch.optim.AdamW(model.parameters())
    model(batch)["pattern"].square().mean().backward()
    optimizer.step()
    other = torch.optim.AdamW(model.parameters())
    checkpoint.restore_optimizer(other, checkpoint.optimizer_tensors(optimizer))
    mine, theirs = optimizer.state_dict()["state"], other.state_dict()["state"]
    assert mine.keys() == theirs.keys()
    for number, state in mine.items():
        assert all(torch.equal(state[name], theirs[number][name]) for name in state)
