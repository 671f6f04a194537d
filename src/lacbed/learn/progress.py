"""Where a training stands, and whether the run in a checkpoint can go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lacbed.errors import FileFormatError, MissingExtraError, SettingError
from lacbed.io.numbers import is_number, is_whole

_RUN_KEYS = ("epochs", "patience", "checkpoint_steps", "workers", "tensorboard")
"""What a resumed run may change."""


@dataclass
class Progress:
    """Where a run stands; everything but the tensors that resuming needs."""

    epoch: int = 0
    batch: int = 0  # next batch of the epoch
    step: int = 0
    loss_sum: float = 0.0  # over the batches of this epoch
    best_loss: float = math.inf
    best_epoch: int = -1
    lines: int = 0  # of metrics
    finished: str = ""  # why, once it is
    validation: dict[str, float] = field(default_factory=dict)


_COUNTS = {"epoch": 0, "batch": 0, "step": 0, "best_epoch": -1, "lines": 0}
"""Whole numbers of `Progress`, and the least that each can be."""


def progress_of(values: Any, path: Path) -> Progress:
    """Where a run stood, from the record of its checkpoint.

    Raises:
        FileFormatError: naming what is not what it must be.
    """
    if not isinstance(values, dict):
        raise damaged(path, f"progress must be an object of names and values, got {values!r:.60}")
    found: dict[str, Any] = {}
    for name, least in _COUNTS.items():
        value = values.get(name)
        if not is_whole(value, least, 2**53):
            raise damaged(path, f"progress.{name} must be a whole number from {least} on, got {value!r:.60}")
        found[name] = value
    try:
        found["best_loss"] = float(values["best_loss"])  # infinity is kept as text
    except (KeyError, TypeError, ValueError, OverflowError):
        found["best_loss"] = math.nan
    if math.isnan(found["best_loss"]):
        got = values.get("best_loss")
        raise damaged(path, f"progress.best_loss must be a number as text, got {got!r:.60}")
    found["loss_sum"] = values.get("loss_sum")
    if not is_number(found["loss_sum"]):
        raise damaged(path, f"progress.loss_sum must be a number, got {found['loss_sum']!r:.60}")
    found["validation"] = values.get("validation", {})
    if not isinstance(found["validation"], dict):
        raise damaged(path, f"progress.validation must be names and values, got {found['validation']!r:.60}")
    return Progress(**found)


def damaged(path: Path, what: str) -> FileFormatError:
    """What is said of a checkpoint from which no run can go on."""
    return FileFormatError(f"cannot resume from {str(path)!r}: {what}; train into another folder")


def check_same_run(mine: Mapping[str, Any], theirs: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with another config than `RUN_KEYS` allow, or with other data.

    Args:
        mine: the record of the run that is asked for.
        theirs: that of the checkpoint.
        path: of the checkpoint.

    Raises:
        SettingError: naming what differs.
        FileFormatError: if the record is damaged.
    """
    config = theirs.get("config")
    if not isinstance(config, dict) or not all(isinstance(section, dict) for section in config.values()):
        raise damaged(path, f"config must be tables of names and values, got {config!r:.60}")
    for section, values in mine["config"].items():
        for key, value in values.items():
            old = config.get(section, {}).get(key)
            if old != value and not (section == "training" and key in _RUN_KEYS):
                raise SettingError(
                    f"{path} was trained with {section}.{key} = {old!r:.60}, but the config now asks for "
                    f"{value!r}; resume with the config it had, or train into another folder"
                )
    if theirs.get("data") != mine["data"]:
        raise SettingError(f"{path} was trained on another data set or another split of it; resume with the same")


def check_tensorboard() -> None:
    """Refuse early if TensorBoard is not installed.

    Raises:
        MissingExtraError: naming the extra.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            'training.tensorboard needs TensorBoard; install it with pip install "lacbed[tensorboard]"'
        ) from None


@cache
def _writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))


def write_scalars(folder: Path, step: int, values: Mapping[str, Any]) -> None:
    """Add the numbers among the values at a step."""
    check_tensorboard()
    kind = values.get("kind", "step")
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            _writer(folder).add_scalar(f"{kind}/{name}", value, step)
    if kind == "epoch":
        _writer(folder).flush()
