"""Data without end: nothing that judges is drawn; who computes, or how often it stops, changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from stream_rows import CONFIG, SMALL

from lacbed.catalog.files import table_of, write_catalog
from lacbed.datasets.compute import decode_intensity
from lacbed.datasets.config import DatasetConfig, Range
from lacbed.datasets.dataset import LacbedDataset
from lacbed.datasets.workers import here, processes
from lacbed.errors import FileFormatError, SettingError, TrainingError
from lacbed.learn import labels as labelling
from lacbed.learn import stream as module
from lacbed.learn.config import config_from_dict, load_config
from lacbed.learn.data import reader
from lacbed.learn.draws import Draws, StreamSettings
from lacbed.learn.export import finish
from lacbed.learn.stream import open_stream
from lacbed.learn.train import train


@pytest.fixture
def opened(data):
    def open_it(model="unet", kind="compound", crew=here, catalogue=None, **changes):
        return open_stream(StreamSettings(**{**SMALL, **changes}), data, kind, 0, model, catalogue, crew)

    return open_it


# -- what is computed -------------------------------------------------------------------------------------------


def test_items_are_those_of_a_data_set(opened, data, tmp_path):
    stream = opened()
    with stream.running(tmp_path, 1):
        stream.draw(0)
    item, like = stream[1], LacbedDataset(data)[0]
    assert item.keys() == like.keys()
    assert all(item[name].dtype == like[name].dtype for name in item)
    assert item["pattern"].shape == (2, 1, 16, 16)
    assert stream.config.thicknesses == Range(100.0, 400.0, 2, 0)
    energies = {float(stream[i]["energy"]) for i in range(4)}
    assert len(energies) == 4
    assert all(60e3 <= e <= 300e3 for e in energies)
    assert opened("vae").config == CONFIG  # which takes neither thickness nor voltage
    with pytest.raises(IndexError):
        stream[4]


@pytest.mark.parametrize(("labels", "bound"), [("fast", 5e-3), ("default", 2e-3)])
def test_cheap_labels_are_near_exact_ones(labels, bound, rows):
    """Four crystals each; the potential is that of the data set."""
    config = replace(CONFIG, extent=4.0, tolerance_z=1e-3, tolerance_intensity=1e-2, max_beams=2000)
    for number in range(4):
        cheap, exact = (
            labelling._labelled(number, rows[5 * number], config, "cpu", how) for how in (labels, "exact")
        )
        a, b = (torch.as_tensor(decode_intensity(one.pattern)) for one in (cheap, exact))
        relative = float((a - b).square().sum() / b.square().sum()) ** 0.5
        assert relative < 0.1
        assert float(1 - torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < bound
        assert np.array_equal(cheap.potential, exact.potential)


def test_any_number_of_workers_makes_the_same(opened, tmp_path):
    found = []
    for name, crew in (("here", here), ("two", partial(processes, 2, 1e12, "cpu"))):
        (tmp_path / name).mkdir()
        stream = opened(crew=crew)
        with stream.running(tmp_path / name, 2):
            stream.draw(0)
            stream.draw(1)
            found.append([stream[i] for i in range(8)])
    for one, two in zip(*found, strict=True):
        assert all(torch.equal(one[k].nan_to_num(-1), two[k].nan_to_num(-1)) for k in one)


def test_old_crystals_are_forgotten_and_written_ones_read(opened, tmp_path, monkeypatch):
    stream = opened()
    with stream.running(tmp_path, 4):
        for epoch in range(4):
            stream.draw(epoch)
            assert len(stream) == (4 if epoch == 0 else 8)
        last = [stream[i] for i in range(8)]
    assert [p.stem for p in sorted((tmp_path / "stream").iterdir())] == ["000002", "000003"]
    again = opened()
    monkeypatch.setattr(module, "run", None)  # nothing is computed
    with again.running(tmp_path, 4):
        again.draw(3)
    assert all(torch.equal(one["pattern"], again[i]["pattern"]) for i, one in enumerate(last))
    other = opened(seed=1)
    with other.running(tmp_path, 4), pytest.raises(FileFormatError, match="belongs to another stream"):
        other.draw(3)


def test_crystals_drawn_ahead_are_there_from_the_first_epoch(opened, tmp_path):
    ahead, plain = opened(ahead=1, keep=100), opened(keep=100)
    assert ahead.digest == plain.digest
    with ahead.running(tmp_path, 2):
        ahead.draw(0)
        assert len(ahead) == ahead.drawn(1) == 8
        seen = {i for batch in ahead.batches(0, 5, seed=0) for i in batch}
        assert {4, 5, 6, 7} < seen <= set(range(8))
        ahead.draw(1)
    with plain.running(tmp_path, 3):
        plain.draw(2)
    assert len(ahead) == len(plain) == 12
    assert all(torch.equal(ahead[i]["pattern"], plain[i]["pattern"]) for i in range(12))
    assert [plain.number_of(i) for i in (0, 11)] == [0, 11]


def test_prepared_crystals_that_the_stream_forgets_are_dropped(opened, tmp_path):
    stream, seen = opened(), []

    def prepare(batch):
        seen.extend(batch["index"].tolist())
        return {name: batch[name] for name in ("index", "pattern")}

    read = reader(stream, torch.device("cpu"), prepare=prepare)
    with stream.running(tmp_path, 3):
        for epoch in range(3):
            stream.draw(epoch)
            (batch,) = read([list(range(len(stream)))])
            assert batch["index"].tolist() == [stream.number_of(i) for i in range(len(stream))]
    assert seen == list(range(12))  # each once
    (held,) = (cell.cell_contents for cell in read.__closure__ if isinstance(cell.cell_contents, dict))
    assert sorted(held) == list(range(4, 12))


def test_batches_have_every_new_crystal(opened, tmp_path):
    stream = opened(uses=3)
    with stream.running(tmp_path, 2):
        stream.draw(0)
        stream.draw(1)
    batches = stream.batches(1, 5, seed=0)
    assert sum(map(len, batches)) == 12
    assert {4, 5, 6, 7} <= {i for batch in batches for i in batch} <= set(range(8))
    assert batches == stream.batches(1, 5, seed=0) != stream.batches(1, 5, seed=1)


# -- what goes wrong --------------------------------------------------------------------------------------------


def test_a_crystal_that_fails_is_replaced_by_the_next_try(opened, tmp_path, monkeypatch):
    whole, label = opened(), labelling._labelled
    with whole.running(tmp_path, 1):
        whole.draw(0)
    (tmp_path / "other").mkdir()

    def sometimes(number, row, *rest):
        if number == 2 and row == whole._held[0].rows[2]:
            raise SettingError("too many beams")
        return label(number, row, *rest)

    monkeypatch.setattr(labelling, "_labelled", sometimes)
    stream = opened()
    with stream.running(tmp_path / "other", 1):
        stream.draw(0)
    same = [a == b for a, b in zip(stream._held[0].rows, whole._held[0].rows, strict=True)]
    assert same == [True, True, False, True]


def test_labels_that_all_fail_end_it(opened, tmp_path, monkeypatch):
    def never(*_):
        raise RuntimeError("no memory\nat all")

    monkeypatch.setattr(labelling, "_labelled", never)
    stream = opened()
    said = r"^crystal \d of the stream: 20 draws in a row could not be computed, .* because RuntimeError: no mem"
    with stream.running(tmp_path, 1), pytest.raises(TrainingError, match=said):
        stream.draw(0)


def test_labels_of_another_kind_of_data_set_must_be_exact(rows, tmp_path):
    config = DatasetConfig(**{**CONFIG.__dict__, "hkl": ((0, 0, 0), (2, 0, 0))})
    with pytest.raises(SettingError, match=r"set stream.labels = exact"):
        module._config(StreamSettings(), config, "unet")
    with pytest.raises(SettingError, match=r"over ±4 a\*"):
        module._config(StreamSettings(), CONFIG, "unet")
    assert module._config(StreamSettings(labels="exact"), config, "vae") == config


# -- training ---------------------------------------------------------------------------------------------------

MODEL = {"name": "unet", "width": 4, "levels": 1, "pixels": 16, "extent": 2.0, "reach": 2}


def _run(opened, data, folder, resume=False, stream=None, **training):
    values = {"batch": 4, "epochs": 2, "checkpoint_steps": 1, **training}
    config = config_from_dict({"model": MODEL, "training": values, "stream": SMALL})
    source = opened() if stream is None else stream
    validation = LacbedDataset(data, "validation")
    ended = train(config, source, validation, folder, resume=resume)
    return ended, config, source, validation


def _curve(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "steps_per_second")} for line in lines]


def test_resumed_in_the_middle_of_an_epoch_equals_one_run(opened, data, tmp_path, monkeypatch):
    _run(opened, data, tmp_path / "whole", epochs=3)
    from lacbed.learn import train as loop

    step, count = loop._step, []

    def stops(*arguments):
        count.append(1)
        if len(count) == 4:  # in the second epoch
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(loop, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        _run(opened, data, tmp_path / "parts", epochs=3)
    monkeypatch.setattr(loop, "_step", step)
    ended, config, source, validation = _run(opened, data, tmp_path / "parts", resume=True, epochs=3)
    assert _curve(tmp_path / "parts") == _curve(tmp_path / "whole")
    assert ended.validation["crystals"] == 12
    folder = finish(tmp_path / "parts", config, source, validation)
    record = json.loads((folder / "config.json").read_text())
    assert record["data"]["used_for_training"] == 12
    assert record["domain"]["thickness"] == [100.0, 400.0]
    assert "12 training crystals, drawn while training went by" in (folder / "card.md").read_text()
    # finished already: nothing is drawn anew, and the model can be written again
    *_, source, validation = _run(opened, data, tmp_path / "parts", resume=True, epochs=3)
    finish(tmp_path / "parts", config, source, validation)
    with pytest.raises(SettingError, match="another data set"):
        _run(opened, data, tmp_path / "parts", resume=True, epochs=4, stream=opened(seed=3))


def test_a_stream_that_fails_keeps_the_checkpoint(opened, data, tmp_path, monkeypatch):
    draw = Draws.row

    def fails(self, number, first=0):
        if number >= 4:
            raise OSError("the table\nis gone")
        return draw(self, number, first)

    monkeypatch.setattr(Draws, "row", fails)
    with pytest.raises(
        TrainingError, match=r"^the stream of crystals ended: crystal 4 could not be drawn: OSError: "
    ):
        _run(opened, data, tmp_path / "run")
    monkeypatch.setattr(Draws, "row", draw)
    ended = _run(opened, data, tmp_path / "run", resume=True)[0]
    assert (ended.epoch, ended.step) == (2, 4)


def test_a_stream_that_fails_at_once_can_be_resumed(opened, data, tmp_path, monkeypatch):
    draw = Draws.row
    monkeypatch.setattr(Draws, "row", lambda *_: 1 / 0)
    with pytest.raises(TrainingError, match=r"crystal 0 could not be drawn: ZeroDivisionError"):
        _run(opened, data, tmp_path / "run", epochs=1)
    monkeypatch.setattr(Draws, "row", draw)
    _run(opened, data, tmp_path / "run", resume=True, epochs=1)
    _run(opened, data, tmp_path / "whole", epochs=1)
    assert _curve(tmp_path / "run") == _curve(tmp_path / "whole")


def test_the_command(lacbed, data, rows, tmp_path, monkeypatch):
    monkeypatch.setattr("lacbed.datasets.workers.processes", lambda *_: here())  # which another test starts
    write_catalog(table_of(rows), tmp_path / "c.parquet", "test")
    sets = [f"model.{k}={v}" for k, v in MODEL.items() if k != "name"]
    sets += [f"stream.{k}={v}" for k, v in SMALL.items()] + ["training.epochs=1", "training.batch=4"]
    words = [word for change in sets for word in ("--set", change)]
    code, out, err = lacbed("train", "unet", "--stream", "c.parquet", "--data", data, "-o", "run", *words)
    assert (code, err) == (0, ""), err
    assert "on a stream from" in out
    assert (tmp_path / "run" / "model" / "card.md").is_file()
    for more, said in (
        (["c.parquet"], "is for --stream alone"),
        (["-j", "2"], "--workers 2 is for --stream alone"),
        (["--stream", "nowhere.parquet"], "nowhere.parquet"),
        (["--stream", "-j", "0"], "--workers"),
        (["--stream", "--set", "stream.labels=guess"], "stream.labels"),
        (["--stream", "--set", "stream.speed=1"], "no key 'speed'"),
        (["--stream", "--set", "training.workers=2"], "without training.workers"),
    ):
        code, _, err = lacbed("train", "unet", "--data", data, "-o", "new", *words, *more)
        assert (code, err.count("\n")) == (2, 1), err
        assert said in err


def test_a_config_without_a_stream_is_the_old_one():
    assert "stream" not in load_config("unet").to_dict()
    assert load_config("unet", ["stream.fresh=64"]).to_dict()["stream"]["fresh"] == 64
