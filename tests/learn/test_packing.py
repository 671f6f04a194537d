"""Weights of half precision give the same patterns, and a packaged name is found by its short form."""

import json

import pytest
import torch

import lacbed
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


def test_short_names():
    assert find_model("vae") == find_model("vae-symmetric") == surrogate.WEIGHTS / "vae-symmetric"
    with pytest.raises(FileFormatError, match="the packaged models are coefficients, default, fast, vae-s"):
        find_model("vae-unknown")


NETWORKS = [folder.name for folder in sorted(surrogate.WEIGHTS.glob("vae-*"))]


def test_the_packaged_networks_are_small_and_come_with_their_cards():
    assert "vae-symmetric" in NETWORKS
    folders = [surrogate.WEIGHTS / name for name in NETWORKS]
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) <= 6e6
    for folder in folders:
        card, record = (folder / "card.md").read_text(), json.loads((folder / "config.json").read_text())
        assert "CC-BY-4.0" in card
        assert "Weights in half precision" in card
        assert record["data"]["used_for_training"] == 10450


@pytest.mark.parametrize("name", NETWORKS)
def test_a_packaged_network_knows_crystals_like_its_data_and_warns_of_others(name):
    known, other = (
        [lacbed.Crystal.named(formula) for formula in ("InSb", "PbTe", "BaTiO3")],
        lacbed.Crystal.named("CeO2"),
    )
    *predicted, strange = Surrogate.load(name).predict([*known, other], (600.0,))
    for crystal, pattern in zip(known, predicted, strict=True):
        grid = lacbed.TiltGrid(128, extent=4.0)
        exact = lacbed.simulate(crystal, thicknesses=(600.0,), grid=grid, absorption="thomas", tolerance=1e-2)
        scores = lacbed.compare_patterns(pattern, exact)
        assert float(scores["Z"].max()) < 0.15
        assert name == "vae-seed" or float(scores["relative_l2"].max()) < 0.4  # its loss leaves brightness open
    assert any("outside its training range" in warning for warning in strange.attrs["warnings"])


def test_the_packaged_network_without_a_solver_is_near_what_is_computed():
    names = ("InSb", "GaAs", "BaTiO3", "FeSi")
    crystals = [lacbed.Crystal.named(name) for name in (*names, "Bi4Ge3O12")]
    *predicted, strange = Surrogate.load("coefficients").predict(crystals, (600.0,))
    for crystal, pattern in zip(crystals, predicted, strict=False):
        grid = lacbed.TiltGrid(128, extent=4.0)
        exact = lacbed.simulate(crystal, thicknesses=(600.0,), grid=grid, absorption="thomas", tolerance=1e-2)
        scores = lacbed.compare_patterns(pattern, exact)
        assert float(scores["Z"].max()) < 0.03
        assert float(scores["relative_l2"].max()) < 0.15
    assert any("outside its training range" in warning for warning in strange.attrs["warnings"])
    with pytest.raises(SettingError, match="600"):
        Surrogate.load("coefficients").predict(crystals[0], (900.0,))
