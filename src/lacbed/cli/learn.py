"""lacbed train, learning-curve, evaluate and export: learned simulators from a data set to ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns, size_text
from lacbed.errors import SettingError

if TYPE_CHECKING:
    from lacbed.learn.config import TrainConfig


ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A .toml or .json file, or a packaged config: coefficients, downfold, downfold-fast, fno, inverse, "
        "unet, vae-seed, vae-symmetric.",
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


def train_command(
    config: ConfigArgument,
    data: DataOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the run.", show_default=False)
    ],
    catalog: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CATALOG]",
            help="With --stream: a catalogue (.parquet) to draw from; by default the data set's own.",
            show_default=False,
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Learn from crystals that are drawn and computed during training."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", "-j", metavar="N", help="With --stream: number of processes that compute; by default 1."
        ),
    ] = None,
    changes: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the checkpoint in the folder.")] = False,
    device: o.DeviceOption = "auto",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Train a model on a data set; writes checkpoints, metrics.jsonl and, at the end, model/ to the folder.

    Example: lacbed train vae-seed --data seed.zarr -o run

    With --stream the model learns from crystals that are drawn from the catalogue or generated, not from those of
    the data set, whose validation and test crystals only judge it. None of their compounds (or, split by
    prototype, of their prototypes) is drawn.

    Example: lacbed train coefficients --stream cubic.parquet --data seed.zarr -o run

    With several processes: torchrun --nproc-per-node 2 --no-python lacbed train ...
    """
    from lacbed.learn.checkpoint import check_model_folder
    from lacbed.learn.config import load_config
    from lacbed.learn.data import open_data
    from lacbed.learn.distributed import processes
    from lacbed.learn.export import finish
    from lacbed.learn.run import check_run_folder
    from lacbed.learn.train import train

    check_run_folder(out, resume)
    check_model_folder(out / "model")
    chosen = load_config(config, changes or ())
    check(chosen)
    chosen = streaming(chosen, stream, catalog, workers)
    validation = open_data(data, "validation", chosen.data.kind, chosen.data.seed, chosen.model["name"])
    training, title = _training(chosen, data, catalog, workers)
    with processes(device) as ranks:
        reporter = Reporter(quiet or not ranks.is_first, as_json and ranks.is_first)
        reporter.say(f"{chosen.model['name']} on {title}, validated on {len(validation)}")
        if chosen.training.precision == "bfloat16" and ranks.device.type == "cpu" and not _quick_bfloat16():
            reporter.say(
                "note: this processor has no instructions for bfloat16, which can take 20 times as long on it; "
                "use --set training.precision=float32"
            )
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


def streaming(config: TrainConfig, stream: bool, catalog: Path | None, workers: int | None) -> TrainConfig:
    """The config with what says how crystals are drawn, or without it if none are.

    Raises:
        SettingError: if something is given that only a stream takes.
    """
    from dataclasses import replace

    from lacbed.learn.draws import StreamSettings

    if stream:
        return replace(config, stream=config.stream or StreamSettings())
    for what, given in ((f"the catalogue {str(catalog)!r}", catalog), (f"--workers {workers}", workers)):
        if given is not None:
            raise SettingError(f"{what} is for --stream alone; add --stream, or leave it out")
    return replace(config, stream=None)


def _training(config: TrainConfig, data: Path, catalog: Path | None, workers: int | None) -> tuple[Any, str]:
    """The crystals to learn from, and how they are called."""
    from lacbed.datasets.workers import processes, worker_memory
    from lacbed.io.checks import check_whole
    from lacbed.learn.data import open_data

    kind, seed, model = config.data.kind, config.data.seed, config.model["name"]
    if config.stream is None:
        training = open_data(data, "train", kind, seed, model)
        return training, f"{len(training)} crystals"
    from lacbed.learn.stream import open_stream

    count = 1 if workers is None else check_whole("--workers", workers, 1, 1024)
    found = open_stream(
        config.stream, data, kind, seed, model, catalog, lambda: processes(count, worker_memory(), "cpu")
    )
    rows, made = len(found.draws.rows), len(found.draws.prototypes)
    return found, f"a stream from {rows} crystals of a catalogue and {made} prototypes"


def check(config: TrainConfig) -> None:
    """Refuse early what an absent extra would stop later."""
    if config.training.tensorboard:
        from lacbed.learn.progress import check_tensorboard

        check_tensorboard()


def _quick_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 itself, as far as PyTorch says; else it is emulated."""
    import torch

    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return asked is None or bool(asked())


def epoch_line(line: Mapping[str, Any]) -> str:
    """One epoch on one line."""
    return (
        f"epoch {line['epoch'] + 1}/{line['epochs']}: training loss {line['train_loss']:.4g}, validation loss "
        f"{line['validation_loss']:.4g}, Z mean {100 * line['validation_z_mean']:.3g} %, median "
        f"{100 * line['validation_z_median']:.3g} %{' *' if line['best'] else ''}"
    )


def learning_curve_command(
    config: ConfigArgument,
    data: DataOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.", show_default=False)
    ],
    fractions: Annotated[
        str, typer.Option("--fractions", metavar="F,...", help="Fractions of the training crystals.")
    ] = "0.05,0.1,0.2,0.5,1",
    changes: SetOption = None,
    device: o.DeviceOption = "auto",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Train on growing fractions of the data and fit a power law; run the same command again to resume.

    Example: lacbed learning-curve vae-seed --data seed.zarr -o curve
    """
    shares = shares_of(fractions)

    from lacbed.learn.config import load_config
    from lacbed.learn.data import open_data
    from lacbed.learn.distributed import processes
    from lacbed.learn.learning_curve import check_folder, describe, fit_power_law, learning_curve

    check_folder(out)
    chosen = load_config(config, changes or ())
    check(chosen)
    training, validation, test = (
        open_data(data, side, chosen.data.kind, chosen.data.seed, chosen.model["name"])
        for side in ("train", "validation", "test")
    )
    with processes(device) as ranks:
        reporter = Reporter(quiet or not ranks.is_first, as_json and ranks.is_first)
        points = learning_curve(
            chosen,
            training,
            validation,
            test,
            out,
            shares,
            ranks=ranks,
            report=lambda p: reporter.say(
                f"{p['crystals']} crystals: Z mean {100 * p['z_mean']:.3g} %, median {100 * p['z_median']:.3g} %"
            ),
        )
    law = None
    if len({p["crystals"] for p in points}) > 1:
        law = fit_power_law([p["crystals"] for p in points], [p["z_mean"] for p in points])
        reporter.say(describe(law))
    reporter.say(f"  wrote {out}/curve.md, curve.png, curve.json")
    reporter.finish({"folder": str(out), "points": points, "law": None if law is None else law.__dict__})


def shares_of(text: str) -> tuple[float, ...]:
    """Shares between 0 and 1.

    Raises:
        SettingError: if they are something else.
    """
    found = parse.numbers(text, "--fractions", len(text.replace(",", " ").split()))
    if not all(0 < f <= 1 for f in found):
        raise SettingError(f"--fractions must be above 0 and at most 1, got {text!r}")
    return found


def evaluate_command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Folder of a model or run, or a packaged model.", show_default=False),
    ],
    data: Annotated[Path, typer.Argument(metavar="DATA.zarr", help="The data set.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the report.", show_default=False)
    ],
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    kind: Annotated[
        str | None, typer.Option("--kind", help="Kind of split; by default that of the training.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--split-seed", help="Seed of the split; by default that of the training.")
    ] = None,
    device: o.DeviceOption = "cpu",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Report Z, absolute errors, uncertainty and speed of a model compared with baselines, in Markdown and HTML.

    Example: lacbed evaluate run seed.zarr -o report
    """
    from lacbed.io.config_files import build_section
    from lacbed.io.lock import claimed
    from lacbed.learn.checkpoint import load_model
    from lacbed.learn.config import DataSettings
    from lacbed.learn.data import open_data, subset
    from lacbed.learn.evaluate import evaluate
    from lacbed.learn.report import check_folder, write_report
    from lacbed.learn.surrogate import find_model
    from lacbed.report import percent
    from lacbed.setup import choose_device

    check_folder(out)
    reporter = Reporter(quiet, as_json)
    with claimed(out, "evaluation", inside=False):
        chosen = choose_device(device)
        loaded = load_model(find_model(model))
        trained = build_section(DataSettings, loaded.record["config"].get("data", {}), "config.data")
        by, number = kind or trained.kind, trained.seed if seed is None else seed
        test = open_data(data, split, by, number, loaded.record["config"]["model"]["name"])
        training = open_data(data, "train", by, number, None)  # the baselines need no further images
        same = (by, number) == (trained.kind, trained.seed)
        members = subset(len(training), trained.fraction if same else 1.0, number)
        notes = [
            f"Model {Path(model).name} on the {split} split of {data.name} by {by}, seed {number}: "
            f"{len(test)} crystals."
        ]
        if by == "row":
            notes.append("A split by row leaks: the same compounds are on both sides.")
        if not same:
            notes.append(
                f"The model was trained on the split by {trained.kind}, seed {trained.seed}: it may have seen "
                "crystals of this one."
            )
        title = f"{loaded.record['config']['model']['name']}: {split} split by {by}"
        with reporter.progress("Evaluating") as progress:
            found = evaluate(loaded, test, training, members=members, device=chosen, progress=progress)
        result = write_report(found, loaded, test, out, title, notes)
    rows = [("", "Z median", "Z mean", "Z p90", "Z < 5 %", "rel. L2 median")]
    for name, s in result["summaries"].items():
        values = ("z_median", "z_mean", "z_p90", "below_5_percent", "relative_l2_median")
        rows.append((name, *(percent(s[key]) for key in values)))
    for line in columns(rows):
        reporter.say(line)
    speed = result["speed"]
    reporter.say(
        f"{speed['milliseconds_per_pattern']:.3g} ms per pattern in the median batch, "
        f"{speed['mean_milliseconds_per_pattern']:.3g} ms in the mean, on {speed['device']}"
    )
    reporter.say(f"  wrote {out}/report.md, report.html, rows.parquet, summary.json")
    reporter.finish({"folder": str(out), **result})


def export_command(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.onnx", help="Output file.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", help="A model or run; by default the packaged model."),
    ] = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Export a learned simulator as ONNX, and check the file with onnxruntime.

    Example: lacbed export --model run -o simulator.onnx
    """
    from lacbed.io.lock import claimed
    from lacbed.learn.checkpoint import load_model
    from lacbed.learn.export import check_file, export_onnx
    from lacbed.learn.surrogate import find_model

    check_file(out)
    with claimed(out, "export", inside=False):
        difference = export_onnx(load_model(find_model(model)), out)
    reporter = Reporter(quiet, as_json)
    reporter.say(f"wrote {out} ({size_text(out)}); it differs from the model by at most {difference:.1e}")
    reporter.finish({"file": str(out), "max_difference": difference})
