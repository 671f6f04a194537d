"""Submissions of what this package has: answers that need no learning, and trained models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import resample

from lacbed.benchmark.submission import Card
from lacbed.benchmark.task_data import TaskData, open_task
from lacbed.datasets.config import DatasetConfig, Range
from lacbed.datasets.dataset import LacbedDataset
from lacbed.errors import SettingError
from lacbed.learn import baselines, data, inverse_baselines
from lacbed.learn.checkpoint import load_model
from lacbed.learn.models import needs_of, predicts
from lacbed.learn.surrogate import find_model

MEAN, NEAREST = "mean", "nearest"
BATCH = 16

Values = npt.NDArray[np.float32]
Tick = Callable[[float], None] | None


def answer(name: str, there: TaskData, progress: Tick = None) -> tuple[Card, Values, Values | None]:
    """What a model or baseline says about the test crystals of a task: its card, predictions, expected errors.

    Args:
        name: "mean", "nearest", the name of a packaged model, or the folder of a trained one.
        there: the test crystals.
        progress: called with the fraction done.

    Raises:
        FileFormatError: if there is no such model, or the data hold no training crystals for a baseline.
        SettingError: if the model does not predict what the task asks for.
    """
    if name in (MEAN, NEAREST):
        return _baseline(name, there, progress)
    return _model(name, there, progress)


def _card(there: TaskData, name: str, description: str) -> Card:
    return Card(there.definition.name, there.task.name, there.split, name, description)


def dataset(there: TaskData, model: str | None = None) -> LacbedDataset:
    """The crystals as what models of this package read."""
    found = LacbedDataset(there.store.path, absorptive=model is not None and "absorptive" in needs_of(model))
    found.rows = there.rows
    return found


def _batches(source: LacbedDataset, tick: Tick) -> Iterator[data.Batch]:
    """The crystals in order, a few at a time."""
    batches = list(data.in_order(len(source), BATCH))
    for number, batch in enumerate(data.load(source, batches), start=1):
        yield batch
        if tick is not None:
            tick(number / len(batches))


def _baseline(name: str, there: TaskData, tick: Tick) -> tuple[Card, Values, None]:
    learned = open_task(there.store.path, there.task.name, there.split, "train", there.benchmark)
    source, members = dataset(learned), np.arange(len(learned))
    title, what = (
        ("mean of the training set", f"the mean {there.task.predicts} of the training crystals, for every crystal")
        if name == MEAN
        else ("nearest neighbour", f"the {there.task.predicts} of the training crystal with the most similar ")
    )
    find = _mean if name == MEAN else _nearest
    if name == NEAREST:
        what += "potential" if there.task.predicts == "pattern" else "patterns of 000, thickness by thickness"
    card = replace(
        _card(there, title, what), training="the training side of the split", training_crystals=len(learned)
    )
    return card, find(there, learned, source, members, tick), None


def _mean(there: TaskData, learned: TaskData, *_: object) -> Values:
    total = np.zeros(there.shape)
    for item in learned:
        total += item[there.task.predicts]
    return np.broadcast_to((total / len(learned)).astype(np.float32), (len(there), *there.shape)).copy()


def _nearest(there: TaskData, learned: TaskData, source: LacbedDataset, members: np.ndarray, tick: Tick) -> Values:
    found: list[Values] = []
    if there.task.predicts == "potential":
        patterns = inverse_baselines.make_reference(source, members, there.shape[-1])
        for batch in _batches(dataset(there), tick):
            keys, count = inverse_baselines.shrink(batch["pattern"]), patterns.patterns.shape[0] // len(learned)
            table = patterns.patterns.reshape(len(learned), count, -1)
            apart = torch.stack([torch.cdist(keys[:, t], table[:, t]).square() for t in range(count)]).sum(dim=0)
            found += [learned.store.potential(int(learned.rows[i])) for i in apart.argmin(dim=1)]
    else:
        reference = baselines.make_reference(source, members)
        for batch in _batches(dataset(there), tick):
            apart = baselines.distances(reference, batch, with_lattice=False)
            found += [learned.store.pattern(int(learned.rows[i])) for i in apart.argmin(dim=1)]
    return np.stack(found)


def _model(name: str, there: TaskData, tick: Tick) -> tuple[Card, Values, Values | None]:
    folder = find_model(name)
    loaded = load_model(folder)
    model = loaded.record["config"]["model"]["name"]
    if predicts(model) != there.task.predicts:
        raise SettingError(
            f"{name} predicts the {predicts(model)}, and {there.task.name} asks for the {there.task.predicts}"
        )
    if there.task.predicts == "pattern" and len(there.config.hkl) > 1:
        raise SettingError(
            f"{name} predicts the reflection 000 only, and {there.task.name} asks for {len(there.config.hkl)}"
        )
    _check_learned(name, loaded.record, there)
    found: list[Values] = []
    sigmas: list[Values] = []
    seconds = []
    with torch.inference_mode():
        for batch in _batches(dataset(there, model), tick):
            start = time.perf_counter()
            output = loaded.model(batch)
            seconds.append((time.perf_counter() - start) / batch["thickness"].numel())
            found.append(output[there.task.predicts].float().numpy())
            if "log_sigma" in output:
                sigma = torch.exp(output["log_sigma"].float()).expand_as(output["pattern"])
                sigmas.append(sigma.square().mean(dim=(-2, -1)).sqrt().numpy())
    values = np.concatenate(found)
    values = values[:, :, None] if there.task.predicts == "pattern" else _as_fine(values.mean(axis=1), there.shape)
    if values.shape[1:] != there.shape:
        raise SettingError(
            f"{name} gives {values.shape[1:]} for a crystal, and {there.task.name} asks for {there.shape}"
        )
    trained = loaded.record.get("data", {})
    card = replace(
        _card(there, _title(name, model), f"{model}, a model of lacbed; see its card"),
        training=_training(loaded.record),
        training_crystals=int(trained.get("used_for_training", trained.get("crystals", 0))),
        parameters=sum(value.numel() for value in loaded.model.parameters()),
        milliseconds=round(1e3 * float(np.median(seconds)), 3),
    )
    return card, values, np.concatenate(sigmas)[:, :, None] if sigmas else None


def _as_fine(potential: Values, shape: tuple[int, ...]) -> Values:
    """Potentials on as many pixels as are asked for: a network gives fewer, with all coefficients it knows."""
    for axis in (1, 2):
        if potential.shape[axis] < shape[axis - 1]:
            potential = resample(potential, shape[axis - 1], axis=axis).astype(np.float32)
    return potential


def _check_learned(name: str, record: Mapping[str, Any], there: TaskData) -> None:
    """A model must have learned the thicknesses, voltage and absorption of the task; else its answer is worthless.

    Raises:
        SettingError: naming what it has not learned.
    """
    about = record.get("data")
    if not isinstance(about, Mapping) or not isinstance(about.get("config"), Mapping):
        return
    learned, asked = DatasetConfig.from_dict(about["config"]), there.config
    if learned.absorption != asked.absorption:
        has, wants = (one.absorption or "none" for one in (learned, asked))
        raise SettingError(f"{name} has learned absorption {has}, and {there.task.name} asks for {wants}")
    for what, unit in (("thicknesses", "Å"), ("energy", "eV")):
        known, wanted = (_values(getattr(config, what)) for config in (learned, asked))
        is_range = isinstance(getattr(learned, what), Range)
        if not all(known[0] <= v <= known[-1] if is_range else v in known for v in wanted):
            texts = [
                (" to " if is_range and v is known else ", ").join(f"{x:g}" for x in v) for v in (known, wanted)
            ]
            raise SettingError(
                f"{name} has learned {what} {texts[0]} {unit}, and {there.task.name} asks for {texts[1]} {unit}"
            )


def _values(value: float | tuple[float, ...] | Range) -> tuple[float, ...]:
    """All values, or the ends of a range, in ascending order."""
    if isinstance(value, Range):
        return value.low, value.high
    return tuple(sorted(value)) if isinstance(value, tuple) else (value,)


def _title(name: str, model: str) -> str:
    return f"{model} ({name})" if model not in name else name.rstrip("/").rpartition("/")[2]


def _training(record: dict[str, object]) -> str:
    about = record.get("data")
    made = about.get("made_by") if isinstance(about, dict) else None
    return f"a data set of its own ({made}), not the training side of this benchmark" if made else ""
