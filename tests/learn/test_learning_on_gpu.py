"""Training, evaluation and prediction on a CUDA device; without one there is nothing to test."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from synthetic import SyntheticData, small_config

import lacbed
from lacbed.learn.checkpoint import load_model
from lacbed.learn.config import config_from_dict
from lacbed.learn.distributed import Ranks
from lacbed.learn.evaluate import evaluate
from lacbed.learn.surrogate import Surrogate
from lacbed.learn.train import train

if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

GPU = torch.device("cuda")


def _train(folder, name, device, resume=False, **training):
    config = config_from_dict(small_config(name, **training))
    return train(
        config, SyntheticData(13), SyntheticData(5, 100), folder, ranks=Ranks(device=device), resume=resume
    )


def _losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["validation_loss"] for line in lines if line["kind"] == "epoch"]


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("name", ["unet", "fno"])
def test_a_run_follows_the_curve_of_the_cpu(tmp_path, name, augment):
    """The VAE draws random numbers, which devices do differently."""
    for folder, device in (("cpu", torch.device("cpu")), ("gpu", GPU)):
        _train(tmp_path / folder, name, device, augment=augment)
    assert np.allclose(_losses(tmp_path / "cpu"), _losses(tmp_path / "gpu"), rtol=0.02)


def test_a_run_on_a_gpu_can_be_stopped_and_resumed(tmp_path):
    _train(tmp_path / "whole", "vae", GPU, epochs=4)
    _train(tmp_path / "parts", "vae", GPU, epochs=2)
    _train(tmp_path / "parts", "vae", GPU, epochs=4, resume=True)
    assert np.allclose(_losses(tmp_path / "whole"), _losses(tmp_path / "parts"), rtol=1e-3)


def test_evaluation_gives_the_same_errors(trained):
    test, training = SyntheticData(6, 200), SyntheticData(12)
    on_cpu, on_gpu = (
        evaluate(load_model(trained), test, training, device=device) for device in (torch.device("cpu"), GPU)
    )
    assert np.allclose(on_cpu.columns["model z"], on_gpu.columns["model z"], atol=1e-3)
    assert on_gpu.speed["device"].startswith("cuda")


@pytest.mark.parametrize("name", ["default", "fast"])
def test_the_packaged_models_answer_alike(name):
    crystals = [lacbed.Crystal.named(n) for n in ("Cu", "NaCl", "FeS2", "GaAs")]
    answers = [
        Surrogate.load(name, device).predict(crystals, thicknesses=(300.0, 900.0)) for device in ("cpu", "cuda")
    ]
    for on_cpu, on_gpu in zip(*answers, strict=True):
        assert np.abs(on_cpu.values - on_gpu.values).max() < 2e-3
