"""The network without a solver: what is exact holds before and after training."""

import json

import pytest
import torch
from synthetic import PIXELS, SyntheticData

from lacbed.errors import SettingError
from lacbed.learn import data
from lacbed.learn.config import config_from_dict, load_config
from lacbed.learn.models import build_model, takes_conditions
from lacbed.learn.train import train
from lacbed.patterns.metrics import zncc_loss

SMALL = {"name": "coefficients", "width": 24, "blocks": 1, "reach": 4, "pixels": PIXELS}


@pytest.fixture
def batch():
    return data.collate([SyntheticData(6)[i] for i in range(6)])


@pytest.fixture
def model(batch):
    """With weights that are far from those it begins with."""
    torch.manual_seed(3)
    made = build_model(SMALL)
    made.begin(batch)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return made.eval()


def test_origin_and_symmetry(model, batch):
    answer = model(batch)["pattern"].detach()
    for shift in ((8, 8), (0, 8), (3, 5)):
        moved = {**batch, "potential": batch["potential"].roll(shift, (-2, -1))}
        assert torch.allclose(model(moved)["pattern"], answer, atol=2e-4)
    for same in (answer.flip(-1), answer.flip(-2), answer.transpose(-1, -2)):
        assert torch.allclose(same, answer, atol=1e-6)
    assert answer.shape == batch["pattern"].shape
    assert 0 <= float(answer.min()) < float(answer.max()) <= 1


def test_voltage_thickness_and_lattice_parameter_enter_by_v_and_f(model, batch):
    """Another voltage, with the potential and the lattice parameter that leave v and F as they are."""
    from lacbed.learn.features import interaction_constant, wavelength

    other = torch.full_like(batch["energy"], 100e3)
    weaker = interaction_constant(batch["energy"]) / interaction_constant(other)
    wider = torch.sqrt(wavelength(other) / wavelength(batch["energy"]))
    same = {
        **batch,
        "energy": other,
        "potential": batch["potential"] * weaker[:, None, None, None],
        "mean_absorptive_potential": batch["mean_absorptive_potential"] * 1.0,
        "lattice_parameter": batch["lattice_parameter"] * wider,
    }
    number = len(model.place) * 5
    one, two = (model.inputs(b) for b in (batch, same))
    assert torch.allclose(one[..., : number + 3], two[..., : number + 3], atol=1e-3)
    assert float((one - two)[..., number + 3 :].abs().max()) > 0.01  # absorption knows more


@torch.no_grad()
def test_it_begins_with_the_basis_of_the_first_patterns(batch):
    torch.manual_seed(0)
    made = build_model(SMALL)
    made.begin(batch)
    half = PIXELS // 2
    quadrants = batch["pattern"][..., half:, half:].flatten(0, 1).flatten(1)
    centred = quadrants - made.basis.bias
    left = centred - centred @ torch.linalg.pinv(made.basis.weight.T) @ made.basis.weight.T
    assert float(left.square().sum()) < 1e-4 * float(centred.square().sum())
    inputs = (made.inputs(batch).flatten(0, 1) - made.mean) / made.spread
    assert float(inputs.mean(dim=0).abs().max()) < 1e-3
    assert float(inputs.std(dim=0).max()) <= 1.1


def test_it_learns_and_is_kept_whole(tmp_path):
    config = config_from_dict(
        {"model": SMALL, "training": {"epochs": 12, "batch": 4, "learning_rate": 3e-3, "ema": 0.5}}
    )
    training, validation = SyntheticData(12), SyntheticData(4, 100)
    train(config, training, validation, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train_loss"] for line in lines if line["kind"] == "epoch"]
    assert losses[-1] < 0.5 * losses[0]
    from lacbed.learn.checkpoint import load_model

    loaded = load_model(tmp_path / "run").model
    assert float(loaded.mean.abs().max()) > 0  # the scale of the inputs is kept with the weights
    batch = data.collate([training[i] for i in range(12)])
    with torch.no_grad():
        assert float(zncc_loss(loaded(batch)["pattern"], batch["pattern"]).mean()) < 0.1


@torch.no_grad()
def test_a_prepared_batch_gives_the_quadrants(model, batch):
    prepared, half = model.prepare(batch), PIXELS // 2
    found, whole = model({**prepared, "inputs": prepared["inputs"].float()}), model(batch)
    assert torch.allclose(found["pattern"], whole["pattern"][..., half:, half:], atol=2e-3)  # inputs are halved
    assert torch.allclose(found["log_sigma"], whole["log_sigma"], atol=1e-2)
    quadrant = batch["pattern"][..., half:, half:]
    mirrored = torch.cat([quadrant.flip(-1), quadrant], dim=-1)
    mirrored = torch.cat([mirrored.flip(-2), mirrored], dim=-2)
    own = whole["pattern"][..., half:, half:]
    z = zncc_loss(own, quadrant), zncc_loss(whole["pattern"], mirrored)
    assert torch.allclose(*z, atol=1e-5)
    assert torch.allclose(prepared["pattern"].float(), quadrant, atol=5e-4)


def test_every_crystal_is_prepared_once(model):
    source, calls = SyntheticData(6), []

    def prepare(batch):
        calls.append(batch["index"].tolist())
        return model.prepare(batch)

    read = data.reader(source, torch.device("cpu"), prepare=prepare)
    batches = list(read([[0, 1, 2], [2, 1, 5, 2], [5, 0]]))
    assert calls == [[0, 1, 2], [5]]
    plain = model.prepare(data.collate([source[i] for i in (2, 1, 5, 2)]))
    for name, value in batches[1].items():
        assert torch.equal(value, plain[name].to(value.dtype))


@pytest.mark.parametrize(("key", "value"), [("width", 0), ("reach", 32), ("pixels", 7), ("dropout", 1.0)])
def test_sizes_that_cannot_be(key, value):
    with pytest.raises(SettingError, match=key):
        build_model({**SMALL, key: value})


def test_the_packaged_config_streams():
    config = load_config("coefficients")
    assert config.stream is not None
    assert takes_conditions("coefficients")
    assert not takes_conditions("vae")
