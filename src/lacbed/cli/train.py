"""lacbed train: a learned simulator from a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, size_text

if TYPE_CHECKING:
    from lacbed.learn.config import TrainConfig

NAME = "train"

ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A .toml or .json file, or a packaged config: downfold, downfold-fast, fno, inverse, unet, vae-seed, "
        "vae-symmetric.",
        show_default=False,
    ),
]
DataOption = Annotated[
    Path, typer.Option("--data", "-d", metavar="DATA.zarr", help="The data set.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a value of the config. May be repeated."),
]


def command(
    config: ConfigArgument,
    data: DataOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the run.", show_default=False)
    ],
    changes: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the checkpoint in the folder.")] = False,
    device: o.DeviceOption = "auto",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Train a model on a data set; writes checkpoints, metrics.jsonl and, at the end, model/ to the folder.

    Example: lacbed train vae-seed --data seed.zarr -o run

    With several processes: torchrun --nproc-per-node 2 --no-python lacbed train ...
    """
    from lacbed.learn.checkpoint import check_model_folder
    from lacbed.learn.config import load_config
    from lacbed.learn.data import open_data
    from lacbed.learn.distributed import processes
    from lacbed.learn.package_model import finish
    from lacbed.learn.train import train

    chosen = load_config(config, changes or ())
    check(chosen)
    check_model_folder(out / "model")
    training, validation = (
        open_data(data, side, chosen.data.kind, chosen.data.seed, chosen.model["name"])
        for side in ("train", "validation")
    )
    with processes(device) as ranks:
        reporter = Reporter(quiet or not ranks.is_first, as_json and ranks.is_first)
        reporter.say(f"{chosen.model['name']} on {len(training)} crystals, validated on {len(validation)}")
        with reporter.progress("Training") as progress:
            ended = train(
                chosen,
                training,
                validation,
                out,
                ranks=ranks,
                resume=resume,
                report=lambda line: reporter.say(epoch_line(line)),
                progress=progress,
            )
        if not ranks.is_first:
            return
        folder = finish(out, chosen, training, validation)
    reporter.say(f"stopped: {ended.finished}; best epoch {ended.best_epoch}")
    reporter.say(f"  wrote {folder} ({size_text(folder)})")
    reporter.finish(
        {
            "model": str(folder),
            "epochs": ended.epoch,
            "steps": ended.step,
            "best_epoch": ended.best_epoch,
            "stopped": ended.finished,
            **ended.validation,
        }
    )


def check(config: TrainConfig) -> None:
    """Refuse early what an absent extra would stop later."""
    if config.training.tensorboard:
        from lacbed.learn.progress import check_tensorboard

        check_tensorboard()


def epoch_line(line: Mapping[str, Any]) -> str:
    """One epoch on one line."""
    return (
        f"epoch {line['epoch'] + 1}/{line['epochs']}: training loss {line['train_loss']:.4g}, validation loss "
        f"{line['validation_loss']:.4g}, Z mean {100 * line['validation_z_mean']:.3g} %, median "
        f"{100 * line['validation_z_median']:.3g} %{' *' if line['best'] else ''}"
    )
