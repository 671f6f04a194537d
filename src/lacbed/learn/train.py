"""The training loop: read it from top to bottom.

Everything random is a function of the seed and the step, so that a run that was stopped and resumed, and one on
another number of processes, follow the same curve.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lacbed.errors import SettingError, TrainingError
from lacbed.io.lock import claimed
from lacbed.learn import data
from lacbed.learn.config import TrainConfig, TrainingSettings
from lacbed.learn.data import Reader, reader
from lacbed.learn.distributed import Ranks, barrier, parallel, share, sum_over
from lacbed.learn.losses import answer_of, loss_terms, pattern_errors, total_loss, truth_of
from lacbed.learn.progress import Progress
from lacbed.learn.run import Run, log_metrics, not_a_number, save_run, start_run, trim_metrics, why_finished
from lacbed.patterns.result import software

_LOOKED_AT = 512
"""Crystals that a model sees before the first step, if it asks for them."""

LOG_STEPS = 10
"""Steps between lines of metrics."""


def train(
    config: TrainConfig,
    training: data.PatternData,
    validation: data.PatternData,
    folder: str | Path,
    *,
    ranks: Ranks | None = None,
    resume: bool = False,
    report: Callable[[Mapping[str, Any]], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Progress:
    """Find the weights of a model; the folder gets checkpoint.safetensors and metrics.jsonl.

    Args:
        config: what to train and how.
        training: the crystals to learn from; those of `lacbed.learn.stream` are made meanwhile.
        validation: the crystals that decide which epoch is best and when to stop.
        folder: of the run.
        ranks: this process among all.
        resume: go on from the checkpoint in the folder.
        report: called with the metrics of every epoch.
        progress: called with the fraction of the work done.

    Returns:
        where the run ended; `checkpoint.load_model(folder)` has the best weights.

    Raises:
        SettingError: if the data do not fit the model, or the config is not that of the run to be resumed.
        TrainingError: if the loss stops being a number (the batch is saved), or further crystals cannot be made;
            the last checkpoint is still there.
        FileFormatError: if the folder cannot be used, another training is at it, or the disk is full; the last
            checkpoint is still there then.
    """
    ranks, settings, stream = ranks or Ranks(), config.training, data.endless(training)
    about = data.data_record(training)
    batches_of: Callable[[int], list[list[int]]]
    if stream is not None:
        _check_stream(settings, ranks)
        batches_of = lambda epoch: stream.batches(epoch, settings.batch, settings.seed)  # noqa: E731
    else:
        members = data.subset(len(training), config.data.fraction, config.data.seed)
        batches_of = partial(data.epoch_batches, members, settings.batch, settings.seed)
        about |= {"used_for_training": len(members)}
    record = {"config": config.to_dict(), "data": about, "code": software()}
    folder = Path(folder)
    with ExitStack() as held:
        if ranks.is_first:
            held.enter_context(claimed(folder, "training", inside=True))
        run = start_run(config, folder, ranks, record, resume)
        _check_fit(run.model, validation)
        if ranks.is_first:
            trim_metrics(run)
        if stream is not None:
            if not resume:
                save_run(run)  # so that what is drawn before the first step can be gone on with too
            held.enter_context(stream.running(folder, settings.epochs))
            stream.draw(max(0, run.progress.epoch - bool(run.progress.finished)))
        if run.progress.step == 0:
            _look_first(run, training, batches_of(0))
        wrapped = parallel(run.model, ranks)
        prepare = None if settings.augment else getattr(run.model, "prepare", None)
        learn_from, judge_on = (
            reader(rows, ranks.device, settings.workers, prepare) for rows in (training, validation)
        )
        while not run.progress.finished:
            if stream is not None:
                stream.draw(run.progress.epoch)
            batches = batches_of(run.progress.epoch)
            _epoch(run, wrapped, learn_from, batches, progress)
            metrics = _validate(run, judge_on, len(validation))
            if stream is not None:
                metrics["crystals"] = stream.drawn(run.progress.epoch + 1)
            _close_epoch(run, metrics, len(batches), report)
            save_run(run)
        barrier(ranks)
    return run.progress


def _look_first(run: Run, training: data.PatternData, batches: list[list[int]]) -> None:
    """Let a model that begins from what its data look like see the first of them."""
    begin = getattr(run.model, "begin", None)
    if begin is not None:
        chosen = sorted(dict.fromkeys(i for batch in batches for i in batch))
        chosen = chosen[:: -(-len(chosen) // _LOOKED_AT)]
        begin(data.to_device(data.collate([training[i] for i in chosen]), run.ranks.device))
        state = run.model.state_dict()
        run.ema = {name: state[name].detach().clone() for name in run.ema}


def _check_stream(settings: TrainingSettings, ranks: Ranks) -> None:
    if ranks.world > 1 or settings.workers:
        raise SettingError(
            "a stream is learned from in one process, without training.workers; its own workers (--workers) make "
            "the crystals"
        )


def _epoch(
    run: Run, wrapped: nn.Module, read: Reader, every: list[list[int]], tick: Callable[[float], None] | None
) -> None:
    """The batches of one epoch that are still to come."""
    settings, at = run.config.training, run.progress
    batches = [b for b in every if len(b) >= run.ranks.world]
    if not batches:
        crystals = sum(len(b) for b in every)
        raise SettingError(f"{crystals} training crystals are too few for {run.ranks.world} processes")
    mine = [share(b, run.ranks) for b in batches[at.batch :]]
    wrapped.train()
    started, first = time.perf_counter(), at.step
    for batch, whole in zip(read(mine), batches[at.batch :], strict=True):
        rate = learning_rate(settings, at.step, len(batches))
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        terms = _step(run, wrapped, batch, len(whole))
        at.step, at.batch, at.loss_sum = at.step + 1, at.batch + 1, at.loss_sum + terms["loss"]
        if at.step % LOG_STEPS == 0:
            speed = (at.step - first) / (time.perf_counter() - started)
            log_metrics(run, {"kind": "step", **terms, "learning_rate": rate, "steps_per_second": round(speed, 3)})
        if at.step % settings.checkpoint_steps == 0:
            save_run(run)
        if tick is not None:
            tick(at.step / (settings.epochs * len(batches)))


def _step(run: Run, wrapped: nn.Module, batch: data.Batch, whole: int) -> dict[str, float]:
    """Forward, backward, update; the terms of the loss over all processes."""
    settings, at = run.config.training, run.progress
    torch.manual_seed(_seed(settings.seed, at.step, run.ranks.rank))
    batch = data.choose_thicknesses(batch, settings.thicknesses, settings.seed, at.step)
    if settings.augment:
        batch = data.augment(batch, settings.seed, at.step)
    run.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(run.ranks.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        output = wrapped(batch)
    terms = loss_terms(output, truth_of(output, batch, learning=True))
    terms["loss"] = total_loss(terms, run.config.loss)
    # Processes average their gradients; weighted by their shares the mean is that over the whole batch.
    weight = len(batch["pattern"]) / whole
    torch.autograd.backward(terms["loss"] * weight * run.ranks.world)
    limit = settings.clip or math.inf
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), limit)
    means = sum_over(torch.stack([*terms.values()]).detach() * weight, run.ranks)
    if not bool(torch.isfinite(means).all() and torch.isfinite(norm)):
        raise not_a_number(run, batch)
    run.optimizer.step()
    with torch.no_grad():
        for name, value in run.model.state_dict().items():
            if name in run.ema:
                # Young averages forget faster, so that the first, random weights do not linger.
                run.ema[name].lerp_(value, 1.0 - min(settings.ema, (1.0 + at.step) / (10.0 + at.step)))
    return dict(zip(terms, means.tolist(), strict=True)) | {"gradient_norm": float(norm)}


@torch.no_grad()
def _validate(run: Run, read: Reader, count: int) -> dict[str, float]:
    """Loss and errors over the validation crystals, with the averaged weights if there are any."""
    settings, ranks = run.config.training, run.ranks
    kept = {name: value.clone() for name, value in run.model.state_dict().items()} if run.ema else {}
    if run.ema:
        run.model.load_state_dict(run.ema, strict=False)
    run.model.eval()
    judged = replace(run.config.loss, nll=0.0)  # how sure a model is of itself must not decide which is best
    rows = torch.zeros(count, 3, dtype=torch.float64, device=ranks.device)
    batches = list(data.in_order(count, settings.batch))[ranks.rank :: ranks.world]
    for positions, batch in zip(batches, read(batches), strict=True):
        with torch.autocast(ranks.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            output = run.model(batch)
        truth = truth_of(output, batch)
        loss = total_loss(loss_terms(output, truth), judged)
        errors = pattern_errors(answer_of(output), truth)
        means = torch.stack(
            [
                torch.full_like(errors["z"][:, 0], loss.item()),
                errors["z"].mean(dim=1),
                errors["relative_l2"].mean(dim=1),
            ],
            dim=1,
        )
        rows[positions] = means.double()
    rows = sum_over(rows, ranks)
    if kept:
        run.model.load_state_dict(kept)
    loss, z, relative = rows.T
    return {
        "validation_loss": float(loss.mean()),
        "validation_z_mean": float(z.mean()),
        "validation_z_median": float(z.median()),
        "validation_relative_l2_median": float(relative.median()),
    }


def _close_epoch(
    run: Run, metrics: dict[str, float], batches: int, report: Callable[[Mapping[str, Any]], None] | None
) -> None:
    """Keep the best weights, decide whether to go on, and write the line of the epoch."""
    at, settings = run.progress, run.config.training
    line = {"train_loss": at.loss_sum / max(1, min(at.batch, batches)), **metrics}
    if not math.isfinite(metrics["validation_loss"]):
        raise TrainingError(f"the validation loss is not a number after epoch {at.epoch}; lower the learning rate")
    better = metrics["validation_loss"] < at.best_loss
    if better:
        at.best_loss, at.best_epoch = metrics["validation_loss"], at.epoch
    # Of equal losses the latest weights: a model may have nothing to learn but how sure it is.
    if metrics["validation_loss"] <= at.best_loss:
        at.validation = metrics
        run.best = {n: v.detach().clone() for n, v in (run.model.state_dict() | run.ema).items()}
    log_metrics(run, {"kind": "epoch", **line, "best": better})
    if report is not None and run.ranks.is_first:
        report({"epoch": at.epoch, "epochs": settings.epochs, **line, "best": better})
    at.epoch, at.batch, at.loss_sum = at.epoch + 1, 0, 0.0
    at.finished = why_finished(run)


def learning_rate(settings: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    """The rate of a step: a linear rise over the warm-up, then constant or a cosine down to 1 %."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    total = max(1, settings.epochs * steps_per_epoch - settings.warmup)
    fraction = min(1.0, (step - settings.warmup) / total)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fraction)))


def _check_fit(model: nn.Module, validation: data.PatternData) -> None:
    """Refuse data of another size than the model's before any work."""
    wanted = getattr(getattr(model, "settings", None), "pixels", None)
    there = torch.as_tensor(validation[0]["pattern"]).shape[-1]
    if wanted is not None and wanted != there:
        raise SettingError(
            f"the patterns of the data set have {there} pixels per side and the model makes {wanted}; "
            f"set model.pixels = {there}"
        )


def _seed(*numbers: int) -> int:
    """A seed of 63 bits that depends on all the numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % (2**63 - 1)
    return seed
