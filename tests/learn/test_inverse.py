"""The inverse: potentials modulo what 000 cannot tell, its baselines, and its way through the commands."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import EXTENT, PIXELS, SyntheticData

from lacbed.cli import main
from lacbed.errors import SettingError
from lacbed.learn import data, inverse_baselines
from lacbed.learn.config import load_config
from lacbed.learn.losses import answer_of, truth_of
from lacbed.learn.models import build_model, predicts
from lacbed.learn.symmetry import aligned, canonical, resampled, symmetrise
from lacbed.patterns.metrics import zncc_loss

SMALL = {"name": "inverse", "width": 8, "blocks": 1, "order": 4, "pixels": PIXELS, "extent": EXTENT, "image": 12}
SIDES = {"train": (12, 0), "validation": (4, 100), "test": (3, 200)}


def smooth(seed: int, pixels: int = 24, centred: bool = False) -> torch.Tensor:
    """A periodic image with Fourier coefficients up to 4: (1, n, n)."""
    rng = np.random.default_rng(seed)
    table = np.zeros((pixels, pixels), dtype=complex)
    for h in range(-4, 5):
        for k in range(-4, 5):
            table[k % pixels, h % pixels] = rng.normal() + (0 if centred else 1j * rng.normal())
    image = np.fft.ifft2(table).real
    return torch.as_tensor(image / image.std() + 3.0)[None]


def inverse(image: torch.Tensor) -> torch.Tensor:
    """V(-x)."""
    return image.flip(-2, -1).roll((1, 1), (-2, -1))


@settings(max_examples=20)
@given(seed=st.integers(0, 99), shift=st.tuples(st.integers(0, 23), st.integers(0, 23)), turned=st.booleans())
def test_aligned_undoes_shift_and_inversion(seed, shift, turned):
    image = smooth(seed)
    moved = (inverse(image) if turned else image).roll(shift, (-2, -1))
    torch.testing.assert_close(aligned(image, moved), moved, atol=1e-9, rtol=0.0)


def test_aligned_finds_shifts_between_the_pixels():
    fine = smooth(1, 48)
    half = resampled(fine.roll((1, 3), (-2, -1)), 24)  # by 1/2 and 3/2 pixels
    coarse = resampled(fine, 24)
    assert float(zncc_loss(aligned(coarse, half), half)) > 1e-3
    assert float(zncc_loss(aligned(coarse, half, grid=48), half)) < 1e-9


@settings(max_examples=20)
@given(seed=st.integers(0, 99), shift=st.tuples(st.integers(0, 23), st.integers(0, 23)), turned=st.booleans())
def test_the_representative_is_one_for_all_that_000_cannot_tell_apart(seed, shift, turned):
    image = smooth(seed, centred=True)
    moved = (inverse(image) if turned else image).roll(shift, (-2, -1))
    found = canonical(moved)
    torch.testing.assert_close(found, canonical(image), atol=1e-9, rtol=0.0)
    torch.testing.assert_close(found, inverse(found), atol=1e-9, rtol=0.0)
    centres = [found[0, y, x] for y in (0, 12) for x in (0, 12)]
    assert max(centres) == centres[0]


def test_resampling_keeps_a_smooth_image():
    image = smooth(2, 24)
    torch.testing.assert_close(resampled(resampled(image, 37), 24), image, atol=1e-9, rtol=0.0)
    torch.testing.assert_close(resampled(image, 48)[:, ::2, ::2], image, atol=1e-9, rtol=0.0)


def _batch(count=3):
    return data.collate([SyntheticData(count)[i] for i in range(count)])


def test_answers_are_centred_and_see_one_quadrant():
    torch.manual_seed(0)
    model, batch = build_model(SMALL), _batch()
    answer = model(batch)["potential"]
    assert answer.shape == (3, 2, 12, 12)
    torch.testing.assert_close(answer, inverse(answer), atol=1e-5, rtol=0.0)
    every = torch.ones(3, 8)
    every[:, 4:] = 0.0  # 2mm
    spoilt = batch["pattern"] + torch.randn(batch["pattern"].shape)
    whole = model({**batch, "pattern": spoilt})["potential"]
    folded = model({**batch, "pattern": symmetrise(spoilt, every)})["potential"]
    torch.testing.assert_close(whole, folded, atol=1e-4, rtol=1e-4)


def test_the_potential_scales_with_voltage_and_thickness_as_physics_says():
    """The same pattern, and the same λ t / a²: V is as v / σ t."""
    torch.manual_seed(0)
    model, batch = build_model(SMALL).eval(), _batch()
    thicker = {
        **batch,
        "thickness": 4.0 * batch["thickness"],
        "lattice_parameter": 2.0 * batch["lattice_parameter"],
    }
    torch.testing.assert_close(model(thicker)["potential"], model(batch)["potential"] / 4.0)


def test_truth_is_the_representative_in_training_and_the_nearest_in_judging():
    batch = _batch()
    answer = resampled(batch["potential"], 12).roll((2, 5), (-2, -1)).expand(-1, 2, -1, -1)
    output = {"potential": answer}
    assert torch.equal(answer_of(output), answer)
    assert float(zncc_loss(truth_of(output, batch), answer).max()) < 1e-5
    learned = truth_of(output, batch, learning=True)
    torch.testing.assert_close(learned[:, 0], canonical(resampled(batch["potential"], 12))[:, 0])
    assert truth_of({"pattern": batch["pattern"]}, batch) is batch["pattern"]


def test_a_training_pattern_finds_its_own_potential():
    source = SyntheticData(8)
    reference = inverse_baselines.make_reference(source, np.arange(8), 12)
    batch = data.collate([source[i] for i in (5, 2)])
    answers, distance = inverse_baselines.predict_baselines(reference, batch)
    assert tuple(answers) == inverse_baselines.NAMES
    truth = resampled(batch["potential"], 12).expand(-1, 2, -1, -1)
    for name in inverse_baselines.NAMES[1:]:
        torch.testing.assert_close(answers[name], truth)
    assert float(distance.max()) < 1e-2
    assert float(zncc_loss(answers["mean potential"], canonical(truth)).min()) > 0.0


def test_models_say_what_they_predict():
    assert predicts("inverse") == "potential"
    assert predicts("vae") == "pattern"
    assert load_config("inverse").model["order"] == 24
    for change, message in (({"image": 8}, "above 2 order"), ({"pixels": 7}, "even"), ({"width": 0}, "positive")):
        with pytest.raises(SettingError, match=message):
            build_model({**SMALL, **change})
    with pytest.raises(SettingError, match="takes patterns of 16 pixels"):
        build_model(SMALL)({**_batch(), "pattern": torch.zeros(3, 2, 18, 18)})


def test_train_and_evaluate(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "open_data", lambda path, split, *_: SyntheticData(*SIDES[split]))
    changes = [f"model.{k}={v}" for k, v in SMALL.items() if k != "name"] + [
        "training.epochs=12",
        "training.batch=4",
    ]
    words = [word for change in (*changes, "training.learning_rate=0.01") for word in ("--set", change)]
    assert main(["train", "inverse", "-d", "d.zarr", "-o", "run", "--quiet", *words]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    z = [line["validation_z_mean"] for line in lines if line["kind"] == "epoch"]
    assert z[-1] < 0.5 * z[0]
    card = (tmp_path / "run" / "model" / "card.md").read_text()
    assert "projected potential from a LACBED pattern" in card
    assert "nearest to the answer" in card
    capsys.readouterr()
    assert main(["evaluate", "run", "d.zarr", "-o", "report", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["summaries"]) == {"model", *inverse_baselines.NAMES}
    report = (tmp_path / "report" / "report.md").read_text()
    assert "relative L2 of the potential" in report
    assert "poster" not in report
    for command in (
        ["predict", "Si", "--model", "run", "-o", "a.nc"],
        ["export", "--model", "run", "-o", "a.onnx"],
    ):
        assert main(command) == 2
        assert capsys.readouterr().err.count("\n") == 1
