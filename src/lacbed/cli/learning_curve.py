"""lacbed learning-curve: Z against the number of training crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter
from lacbed.cli.train import ConfigArgument, DataOption, SetOption, check
from lacbed.errors import SettingError

NAME = "learning-curve"


def command(
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
