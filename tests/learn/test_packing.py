"""Weights of half precision give the same patterns, and a packaged name is found by its short form."""

import pytest
import torch

from lacbed.errors import FileFormatError, SettingError
from lacbed.learn import packing, surrogate
from lacbed.learn.checkpoint import load_model
from lacbed.learn.packing import pack
from lacbed.learn.surrogate import Surrogate, find_model


def test_packed_weights_are_half_as_large_and_as_good(trained, tmp_path):
    change = pack(trained, tmp_path / "packed")
    assert 0 < change <= 1e-3
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (trained / "model", tmp_path / "packed")]
    assert sizes[1] < 0.7 * sizes[0]
    before, after = load_model(trained), load_model(tmp_path / "packed")
    assert before.record == after.record
    assert all(value.dtype == torch.float32 for value in after.model.state_dict().values())
    assert "Weights in half precision" in (tmp_path / "packed" / "card.md").read_text()
    assert Surrogate.load(tmp_path / "packed").record["domain"] == before.record["domain"]


def test_too_large_a_change_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "TOLERANCE", 0.0)
    with pytest.raises(SettingError, match="in half precision an answer changes by"):
        pack(trained, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_short_names(trained, tmp_path, monkeypatch):
    with pytest.raises(FileFormatError, match="make weights"):
        find_model("vae")
    monkeypatch.setattr(surrogate, "WEIGHTS", tmp_path)
    pack(trained, tmp_path / "vae-symmetric")
    assert find_model("vae") == find_model("vae-symmetric") == tmp_path / "vae-symmetric"
