"""Weights small enough to travel with the package: half precision, where the patterns stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lacbed.errors import SettingError
from lacbed.learn.checkpoint import LoadedModel, load_model, save_model
from lacbed.learn.export import card_text, example_batch

TOLERANCE = 1e-3
"""Largest change of an intensity, or of a potential as a part of its range."""

MOST_ROWS = 6000
"""Training rows whose descriptors are kept: enough for distances, and half a megabyte less."""


def pack(source: str | Path, folder: Path) -> float:
    """Write a trained model with weights of half precision; `lacbed.learn.checkpoint.load_model` reads it.

    Args:
        source: folder of a trained model or run.
        folder: to write.

    Returns:
        the largest change of an answer, on a batch of made-up crystals.

    Raises:
        FileFormatError: if there is no such model, or something else is at the place.
        SettingError: if an answer changes by more than 1e-3.
    """
    loaded = load_model(source)
    state = loaded.model.state_dict()
    before = _answers(loaded)
    loaded.model.load_state_dict({name: _halved(value).to(value.dtype) for name, value in state.items()})
    change = float((_answers(loaded) - before).abs().max())
    if not change <= TOLERANCE:
        raise SettingError(f"in half precision an answer changes by {change:.2g}; allowed is {TOLERANCE:g}")
    weights = {name: _halved(value) for name, value in loaded.model.state_dict().items()}
    record = {key: value for key, value in loaded.record.items() if key not in ("format", "format_version")}
    card = card_text(record) + f"\nWeights in half precision: intensities change by at most {change:.1g}.\n"
    save_model(folder, weights, _fewer(loaded.descriptors), record, card)
    return change


def _halved(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value.clone()


def _fewer(descriptors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The descriptors of the first of the training rows, which are in random order."""
    return {name: value[:MOST_ROWS].clone() if name == "rows" else value for name, value in descriptors.items()}


@torch.no_grad()
def _answers(loaded: LoadedModel) -> Tensor:
    batch = example_batch(loaded, 4, seed=0)
    if "pattern" not in batch:
        batch["pattern"] = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    output = loaded.model(batch)
    answer: Tensor = output["pattern" if "pattern" in output else "potential"].float().clone()
    return answer if "pattern" in output else answer / (answer.max() - answer.min()).clamp(min=1e-12)
