"""lacbed evaluate: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, columns

NAME = "evaluate"


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a model or run.", show_default=False)],
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
    from lacbed.learn.report import check_folder, percent, write_report
    from lacbed.setup import choose_device

    check_folder(out)
    reporter = Reporter(quiet, as_json)
    with claimed(out, "evaluation", inside=False):
        chosen = choose_device(device)
        loaded = load_model(model)
        trained = build_section(DataSettings, loaded.record["config"].get("data", {}), "config.data")
        by, number = kind or trained.kind, trained.seed if seed is None else seed
        test = open_data(data, split, by, number, loaded.record["config"]["model"]["name"])
        training = open_data(data, "train", by, number, None)  # the baselines need no further images
        same = (by, number) == (trained.kind, trained.seed)
        members = subset(len(training), trained.fraction if same else 1.0, number)
        notes = [
            f"Model {model.name} on the {split} split of {data.name} by {by}, seed {number}: {len(test)} crystals."
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
