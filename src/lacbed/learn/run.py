"""A training run and its folder: started, logged, saved, resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lacbed.errors import FileFormatError, TrainingError
from lacbed.io.atomic import reason, replacing
from lacbed.io.lock import is_empty
from lacbed.io.tensors import read_tensors, write_tensors
from lacbed.learn import checkpoint, data
from lacbed.learn.config import TrainConfig
from lacbed.learn.distributed import Ranks, barrier
from lacbed.learn.models import build_model
from lacbed.learn.progress import Progress, check_same_run, damaged, progress_of


@dataclass
class Run:
    """What the loop carries from step to step."""

    config: TrainConfig
    folder: Path
    ranks: Ranks
    record: dict[str, Any]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: dict[str, Tensor]
    best: dict[str, Tensor]
    progress: Progress


def check_run_folder(folder: Path, resume: bool) -> None:
    """Refuse, before any work, a folder that a run cannot begin in or be resumed from.

    Raises:
        FileFormatError: saying why.
    """
    path = folder / "checkpoint.safetensors"
    if folder.exists() and not folder.is_dir():
        raise FileFormatError(f"{folder} is a file; a run is a folder")
    if resume and not path.is_file():
        raise FileFormatError(f"there is no {path.name} in {str(folder)!r} to resume from")
    if not resume and not is_empty(folder):
        raise FileFormatError(f"{folder} is not empty; resume it (--resume), or choose another folder")


def start_run(config: TrainConfig, folder: Path, ranks: Ranks, record: dict[str, Any], resume: bool) -> Run:
    """A fresh run, or the one in the folder."""
    settings = config.training
    torch.manual_seed(settings.seed)
    model = build_model(config.model).to(ranks.device)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    ema = {n: v.detach().clone() for n, v in model.state_dict().items() if v.is_floating_point()}
    run = Run(config, folder, ranks, record, model, optimizer, ema if settings.ema else {}, {}, Progress())
    path = folder / "checkpoint.safetensors"
    if resume:
        _restore(run, path)
    elif path.exists() or (ranks.is_first and not is_empty(folder)):
        raise FileFormatError(f"{folder} is not empty; resume it (--resume), or choose another folder")
    barrier(ranks)
    return run


def _restore(run: Run, path: Path) -> None:
    groups, record = read_tensors(path, checkpoint.CHECKPOINT)
    check_same_run(run.record, record, path)
    run.progress = progress_of(record.get("progress"), path)
    checkpoint.load_weights(run.model, groups.get("model", {}), path)
    checkpoint.restore_optimizer(run.optimizer, groups.get("optimizer", {}), repr(str(path)))
    device, state = run.ranks.device, run.model.state_dict()
    for name, wanted in (("ema", run.ema), ("best", state if run.progress.best_epoch >= 0 else {})):
        found = {n: v.to(device) for n, v in groups.get(name, {}).items()}
        if found.keys() != wanted.keys() or any(found[n].shape != state[n].shape for n in found):
            raise damaged(path, f"its {name} weights are not those of the model")
        setattr(run, name, found)
    run.progress.finished = why_finished(run) if run.progress.batch == 0 else ""


def save_run(run: Run) -> None:
    """The checkpoint of this moment, in the place of the last one."""
    if not run.ranks.is_first:
        return
    groups = {
        "model": run.model.state_dict(),
        "optimizer": checkpoint.optimizer_tensors(run.optimizer),
        "ema": run.ema,
        "best": run.best,
    }
    state = asdict(run.progress) | {"best_loss": str(run.progress.best_loss)}
    record = {**run.record, "progress": state, "metrics": run.progress.validation}
    write_tensors(run.folder / "checkpoint.safetensors", checkpoint.CHECKPOINT, groups, record)


def not_a_number(run: Run, batch: data.Batch) -> TrainingError:
    """The error for a loss that is no number; the batch and the weights are written for a look at them."""
    at = run.progress
    path = run.folder / f"bad-batch-{run.ranks.rank}.safetensors"
    groups = {"batch": batch, "model": run.model.state_dict()}
    write_tensors(path, "lacbed-batch", groups, {"step": at.step, "epoch": at.epoch})
    return TrainingError(
        f"the loss or its gradient is not a number at step {at.step} (epoch {at.epoch}); the batch and the "
        f"weights are in {path}; lower training.learning_rate or set training.clip, and resume from the last "
        "checkpoint"
    )


def why_finished(run: Run) -> str:
    """Why there is no further epoch; "" if there is."""
    at, settings = run.progress, run.config.training
    if settings.patience and at.epoch - 1 - at.best_epoch >= settings.patience:
        return f"no better validation loss for {settings.patience} epochs"
    return f"all {settings.epochs} epochs done" if at.epoch >= settings.epochs else ""


def log_metrics(run: Run, values: Mapping[str, Any]) -> None:
    """One line of metrics.jsonl, and TensorBoard if asked for."""
    run.progress.lines += 1
    if not run.ranks.is_first:
        return
    at = run.progress
    line = {"step": at.step, "epoch": at.epoch, "time": round(time.time(), 1), **values}
    path = run.folder / "metrics.jsonl"
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
    except OSError as error:
        raise FileFormatError(f"cannot write {str(path)!r}: {reason(error)}") from None
    if run.config.training.tensorboard:
        from lacbed.learn.progress import write_scalars  # an optional extra

        write_scalars(run.folder, at.step, values)


def trim_metrics(run: Run) -> None:
    """Drop the lines that came after the checkpoint from which the run goes on."""
    path = run.folder / "metrics.jsonl"
    if path.exists():
        lines = path.read_text("utf-8").splitlines(keepends=True)[: run.progress.lines]
        with replacing(path) as temporary:
            temporary.write_text("".join(lines), "utf-8")
