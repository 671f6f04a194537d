"""The loop: same seed same curve, resumed equals uninterrupted, two processes equal one, NaN stops."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import chain
from multiprocessing import get_context

import numpy as np
import pytest
import torch
import train_script
from synthetic import SyntheticData, small_config

from lacbed.errors import FileFormatError, SettingError, TrainingError
from lacbed.io.tensors import read_tensors
from lacbed.learn import checkpoint, data
from lacbed.learn.config import TrainingSettings, config_from_dict
from lacbed.learn.data import hold, pick
from lacbed.learn.models import build_model
from lacbed.learn.train import learning_rate, train


def _train(folder, name="unet", resume=False, count=13, **training):
    config = config_from_dict(small_config(name, **training))
    return train(config, SyntheticData(count), SyntheticData(5, 100), folder, resume=resume)


def _weights(folder, group="best"):
    return read_tensors(folder / "checkpoint.safetensors", checkpoint.CHECKPOINT)[0][group]


def _curve(folder):
    """The lines of metrics without clocks."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "steps_per_second")} for line in lines]


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_helps(tmp_path):
    ended = _train(tmp_path / "run", epochs=12, learning_rate=3e-3)
    losses = [line["validation_loss"] for line in _curve(tmp_path / "run") if line["kind"] == "epoch"]
    assert len(losses) == 12
    assert min(losses) < 0.75 * losses[0]
    assert ended.best_loss == min(losses)
    assert ended.finished == "all 12 epochs done"


@pytest.mark.parametrize("name", ["vae", "fno"])
def test_same_seed_same_curve_another_seed_another(tmp_path, name):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        _train(tmp_path / folder, name, seed=seed, epochs=2)
    assert _curve(tmp_path / "a") == _curve(tmp_path / "b")
    assert _curve(tmp_path / "a") != _curve(tmp_path / "c")
    assert _same(_weights(tmp_path / "a"), _weights(tmp_path / "b"))


@pytest.mark.parametrize("name", ["vae", "unet"])
def test_more_epochs_after_resuming_equal_one_run(tmp_path, name):
    _train(tmp_path / "whole", name, epochs=4, augment=True)
    _train(tmp_path / "parts", name, epochs=2, augment=True)
    _train(tmp_path / "parts", name, epochs=4, augment=True, resume=True)
    assert _curve(tmp_path / "whole") == _curve(tmp_path / "parts")
    for group in ("model", "ema", "best", "optimizer"):
        assert _same(_weights(tmp_path / "whole", group), _weights(tmp_path / "parts", group))


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    """SIGKILL after a checkpoint in the middle of an epoch, twice."""
    training, validation = SyntheticData(13), SyntheticData(5, 100)
    config = config_from_dict(small_config("unet", augment=True, clip=1.0))
    train(config, training, validation, tmp_path / "whole")
    folder, context = tmp_path / "killed", get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo"])  # the optimizer imports it
    for wanted in (2, 5):
        process = context.Process(target=train_script.main, args=(folder, wanted > 2, train_script.Slow))
        process.start()
        _wait_for_step(folder, wanted, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        checkpoint.load_model(folder)  # what is there is whole
    train(config, training, validation, folder, resume=True)
    assert _curve(folder) == _curve(tmp_path / "whole")
    assert _same(_weights(folder), _weights(tmp_path / "whole"))
    assert _same(_weights(folder, "optimizer"), _weights(tmp_path / "whole", "optimizer"))


def _wait_for_step(folder, wanted, process):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.is_alive():
        path = folder / "checkpoint.safetensors"
        if path.exists():
            record = read_tensors(path, checkpoint.CHECKPOINT)[1]
            if record["progress"]["step"] >= wanted:
                return
        time.sleep(0.02)
    pytest.fail(f"no checkpoint of step {wanted}; exit code {process.exitcode}")


def test_two_processes_equal_one(tmp_path):
    config = config_from_dict(small_config("unet", augment=True, clip=1.0))  # as in the script
    train(config, SyntheticData(13), SyntheticData(5, 100), tmp_path / "one")
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    words += ["--rdzv-endpoint", "localhost:0", train_script.__file__, str(tmp_path / "two")]
    two = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert two.returncode == 0, two.stderr
    for a, b in zip(_curve(tmp_path / "one"), _curve(tmp_path / "two"), strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert b[name] == (pytest.approx(value, rel=1e-3, abs=1e-5) if isinstance(value, float) else value), (
                name
            )
    torch.manual_seed(0)
    first, second = _weights(tmp_path / "one", "model"), _weights(tmp_path / "two", "model")
    start = build_model(small_config("unet")["model"]).state_dict()
    moved = sum(float((first[n] - start[n]).square().sum()) for n in first)
    apart = sum(float((first[n] - second[n]).square().sum()) for n in first)
    assert apart < 1e-3 * moved  # Adam makes steps of rounding errors where a gradient is practically zero


def test_a_number_that_is_none_stops_with_the_batch_saved(tmp_path):
    training = SyntheticData(8)
    training.items[3] = {**training.items[3], "pattern": training.items[3]["pattern"] * torch.nan}
    config = config_from_dict(small_config("unet", epochs=1))
    with pytest.raises(TrainingError, match=r"not a number at step \d+ .*bad-batch-0.safetensors"):
        train(config, training, SyntheticData(3, 50), tmp_path / "run")
    groups, record = read_tensors(tmp_path / "run" / "bad-batch-0.safetensors", "lacbed-batch")
    assert 3 in groups["batch"]["index"]
    assert bool(groups["batch"]["pattern"].isnan().any())
    assert record["epoch"] == 0


def test_early_stopping(tmp_path):
    ended = _train(tmp_path / "run", epochs=50, patience=2, learning_rate=1e-12, ema=0.0, count=4)
    assert ended.epoch < 50
    assert "no better validation loss for 2 epochs" in ended.finished
    again = _train(tmp_path / "run", epochs=50, patience=2, learning_rate=1e-12, ema=0.0, count=4, resume=True)
    assert again.epoch == ended.epoch


def test_what_is_refused(tmp_path):
    _train(tmp_path / "run", epochs=1)
    with pytest.raises(FileFormatError, match=r"not empty; resume it"):
        _train(tmp_path / "run", epochs=1)
    with pytest.raises(SettingError, match=r"training.batch = 4, but the config now asks for 5"):
        _train(tmp_path / "run", epochs=2, batch=5, resume=True)
    with pytest.raises(SettingError, match="another data set"):
        _train(tmp_path / "run", epochs=2, count=9, resume=True)
    with pytest.raises(FileFormatError, match="no such file"):
        _train(tmp_path / "new", resume=True)
    config = config_from_dict(small_config("unet"))
    wide = replace(config, model={**config.model, "pixels": 32})
    with pytest.raises(SettingError, match=r"set model.pixels = 16"):
        train(wide, SyntheticData(4), SyntheticData(2), tmp_path / "wide")


def test_bfloat16_and_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    _train(tmp_path / "run", "fno", epochs=1, precision="bfloat16", tensorboard=True, thicknesses=1)
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    assert np.isfinite(
        [line["validation_loss"] for line in _curve(tmp_path / "run") if line["kind"] == "epoch"]
    ).all()


def test_learning_rate():
    settings = TrainingSettings(epochs=10, learning_rate=1.0, schedule="cosine", warmup=4)
    rates = [learning_rate(settings, step, 10) for step in range(100)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0.01 <= rates[-1] < 0.02
    assert {learning_rate(TrainingSettings(learning_rate=0.3), step, 10) for step in range(50)} == {0.3}


def test_batches_cover_every_crystal_once_in_a_new_order_each_epoch():
    members = data.subset(50, 0.5, seed=3)
    orders = [_order(members, epoch) for epoch in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == members.tolist()
    assert orders[0] != orders[1]
    assert orders[0] == _order(members, 0)


def _order(members, epoch):
    return list(chain.from_iterable(data.epoch_batches(members, 8, seed=1, epoch=epoch)))


def test_smaller_shares_are_part_of_larger_ones():
    small, large = (set(data.subset(200, f, seed=1).tolist()) for f in (0.1, 0.4))
    assert small < large
    assert (len(small), len(large)) == (20, 80)
    assert small != set(data.subset(200, 0.1, seed=2).tolist())


def test_crystals_that_stay_on_the_device_are_those_that_are_read():
    source, batches = SyntheticData(11), [[3, 0, 10], [7], [1, 2, 3, 4]]
    held = pick(hold(source, torch.device("cpu")), batches)
    for kept, read in zip(held, data.load(source, batches), strict=True):
        assert _same(kept, read)


def test_a_run_with_crystals_that_stay_is_the_same_run(tmp_path, monkeypatch):
    _train(tmp_path / "read", "vae", epochs=2, augment=True)
    keep = lambda source, device, workers, prepare: partial(pick, hold(source, device))  # noqa: E731
    monkeypatch.setattr("lacbed.learn.train.reader", keep)
    _train(tmp_path / "held", "vae", epochs=2, augment=True)
    assert _curve(tmp_path / "read") == _curve(tmp_path / "held")
    assert _same(_weights(tmp_path / "read"), _weights(tmp_path / "held"))
