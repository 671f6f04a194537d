"""Checkpoints and shipped models: safetensors and JSON, never pickle; written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lacbed.errors import FileFormatError, SettingError
from lacbed.io.atomic import check_replaceable, holds_only, reason, replacing
from lacbed.io.checks import read_json
from lacbed.io.tensors import FORMAT_VERSION, read_tensors, write_tensors
from lacbed.learn.models import build_model, complete_settings
from lacbed.learn.record import REMEDY, check_record

_MODEL_FILES = ("model.safetensors", "config.json", "card.md")
CHECKPOINT, MODEL = "lacbed-checkpoint", "lacbed-model"
_LARGEST_JSON = 10**8  # bytes


@dataclass(frozen=True)
class LoadedModel:
    """A model with its weights.

    Attributes:
        model: in evaluation mode, on the CPU.
        record: the JSON that came with it: "config", "data", "code", "metrics", "domain", "warning" ...
        descriptors: of training rows, for distances; see `lacbed.learn.trust`. Empty if there are none.
    """

    model: nn.Module
    record: dict[str, Any]
    descriptors: dict[str, Tensor]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as named tensors: "3.exp_avg" for that of parameter 3."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, entry in state.items() for name, value in entry.items()}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], source: str = "the checkpoint"
) -> None:
    """Give an optimiser back the state that `optimizer_tensors` read; its settings stay.

    Args:
        optimizer: to be set.
        tensors: its state.
        source: where that comes from, for the message.

    Raises:
        FileFormatError: if it is not the state of this optimiser.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        number, _, name = full.partition(".")
        known = number.isdecimal() and int(number) < len(weights)
        if not known or (name != "step" and value.shape != weights[int(number)].shape):
            raise FileFormatError(
                f"{source} holds {full!r:.60}, which does not belong to this optimiser; {REMEDY}"
            )
        state.setdefault(int(number), {})[name] = value
    if any({"step", "exp_avg", "exp_avg_sq"} - entry.keys() for entry in state.values()):
        raise FileFormatError(f"{source} holds only part of the state of its optimiser; {REMEDY}")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a model.

    Raises:
        FileFormatError: if names or shapes do not fit, or a weight is no finite number.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
            raise FileFormatError(f"cannot use the model {str(path)!r}: {name} holds NaN or infinity; {REMEDY}")
    try:
        model.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
        )
    except RuntimeError as error:
        raise FileFormatError(f"the weights in {path} do not fit its config: {reason(error)}; {REMEDY}") from None


def save_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    descriptors: Mapping[str, Tensor],
    record: Mapping[str, Any],
    card: str,
) -> None:
    """A folder with model.safetensors, config.json and card.md, which `load_model` reads.

    Raises:
        FileFormatError: if something else than a model is there, or the operating system refuses.
    """
    check_model_folder(folder)
    with replacing(folder) as temporary:
        temporary.mkdir()
        write_tensors(temporary / "model.safetensors", MODEL, {"model": weights, "descriptors": descriptors}, {})
        full = {"format": MODEL, "format_version": FORMAT_VERSION, **record}
        (temporary / "config.json").write_text(json.dumps(full, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (temporary / "card.md").write_text(card, "utf-8")


def check_model_folder(folder: Path) -> None:
    """Refuse, before any work, a place of a model where something else stands.

    Raises:
        FileFormatError: saying so.
    """
    check_replaceable(folder, lambda there: holds_only(there, ("config.json",), _MODEL_FILES), "model")


def load_model(path: str | Path) -> LoadedModel:
    """A model from its folder, from the folder of a run, or from a checkpoint (the best weights so far).

    Raises:
        FileFormatError: if there is none, or it is damaged, of another kind or another version.
    """
    path = Path(path)
    if path.is_file():
        return _from_checkpoint(path)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return _from_folder(folder)
    if (path / "checkpoint.safetensors").is_file():
        return _from_checkpoint(path / "checkpoint.safetensors")
    raise FileFormatError(f"{path} is not a model: expected a folder with config.json and model.safetensors")


def _from_folder(folder: Path) -> LoadedModel:
    record = read_json(
        folder / "config.json", "the config of a model", _LARGEST_JSON, FileFormatError, non_finite=True
    )
    if record.get("format") != MODEL:
        raise FileFormatError(f"{folder / 'config.json'} is not the config of a {MODEL}")
    if record.get("format_version") != FORMAT_VERSION:
        version = f"{record.get('format_version')!r:.60}"
        raise FileFormatError(f"{folder} has format version {version}, expected {FORMAT_VERSION}; update lacbed")
    groups, _ = read_tensors(folder / "model.safetensors", MODEL)
    return _loaded(groups.get("model", {}), record, folder / "model.safetensors", groups.get("descriptors", {}))


def _from_checkpoint(path: Path) -> LoadedModel:
    groups, record = read_tensors(path, CHECKPOINT)
    weights = groups.get("best") or groups.get("ema") or groups.get("model", {})
    return _loaded(weights, record, path)


def _loaded(
    weights: Mapping[str, Tensor], record: dict[str, Any], path: Path, descriptors: dict[str, Tensor] | None = None
) -> LoadedModel:
    config = record.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise FileFormatError(f"cannot use the model {str(path)!r}: its config does not name the model; {REMEDY}")
    check_record(record, descriptors or {}, path)
    there = sum(value.numel() for value in weights.values())
    try:
        model = build_model(config["model"], most=2 * there + 1_000_000)
    except SettingError as error:
        raise FileFormatError(f"cannot use the model {str(path)!r}: {error}; {REMEDY}") from None
    load_weights(model, weights, path)
    full = {**record, "config": {**config, "model": complete_settings(config["model"])}}
    return LoadedModel(model.eval(), full, descriptors or {})
