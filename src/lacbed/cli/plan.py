"""lacbed plan: which measurement would tell most, before it is made."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns
from lacbed.errors import FileFormatError, SettingError

if TYPE_CHECKING:
    from lacbed.refinement.design import Forecast

HEAD = "design,uncertainty of "
"""How the table of a plan begins."""

SHOWN = 12
"""Designs that are printed."""


def command(
    crystal: o.CrystalArgument,
    want: Annotated[
        str,
        typer.Option("--want", metavar="LIST", help="Parameters to measure, named as in refine --free."),
    ] = "thickness,B",
    zones: Annotated[
        str, typer.Option("--zones", metavar="LIST", help='Zone axes to choose from: "0,0,1 1,1,0".')
    ] = "0,0,1 1,1,0 1,1,1",
    thickness: o.ThicknessOption = "400,800",
    half_width: Annotated[
        str, typer.Option("--half-width", metavar="1/Å,...", help="Half-widths of the images to choose from.")
    ] = "0.5",
    voltage: Annotated[
        str, typer.Option("--voltage", "-V", metavar="KV,...", help="Voltages in kV to choose from.")
    ] = "200",
    images: Annotated[
        str,
        typer.Option("--images", metavar="N,...", help="Numbers of images to choose from, the brightest first."),
    ] = "12",
    dose: Annotated[
        float, typer.Option("--dose", metavar="ELECTRONS", help="Electrons per pixel in the incident beam.")
    ] = 1000.0,
    background: Annotated[
        float, typer.Option("--background", metavar="ELECTRONS", help="Background in electrons per pixel.")
    ] = 1.0,
    readout: Annotated[
        float, typer.Option("--readout", metavar="ELECTRONS", help="Readout noise of a pixel.")
    ] = 0.0,
    pixels: o.PixelsOption = 48,
    blur: Annotated[float, typer.Option("--blur", metavar="PIXELS", help="Blur (σ) of the images.")] = 0.5,
    together: Annotated[
        int, typer.Option("--together", metavar="N", help="2: also rank pairs of stacks that share the crystal.")
    ] = 1,
    absorption: o.AbsorptionOption = "thomas",
    factors: o.FactorsOption = "kirkland",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.csv", help="Write all forecasts as a table.")
    ] = None,
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Forecast the uncertainties of measurements that could be made, and rank them.

    Example: lacbed plan GaAs --want B --zones "0,0,1 1,1,0" --thickness 400,800,1200 --dose 500
    """
    from lacbed.crystals.load import load_crystal
    from lacbed.refinement.design import Design, judged_by, plan
    from lacbed.refinement.parameters import split_names

    if out is not None:
        _check_place(out)
    axes = [_axis(text) for text in zones.replace(";", " ").split()]
    designs = [
        Design(axis, t, half, parse.energy(kilovolts), count, pixels, blur, dose, background, readout)
        for axis, t, half, kilovolts, count in itertools.product(
            axes,
            parse.thicknesses(thickness),
            _several(half_width, "--half-width"),
            _several(voltage, "--voltage"),
            [parse.integers(text, "--images", 1)[0] for text in images.replace(",", " ").split()],
        )
    ]
    if not designs:
        raise SettingError("a plan needs a zone axis, a thickness, a half-width, a voltage and a number of images")
    structure, wanted = load_crystal(crystal, block), split_names(want, "--want")
    reporter = Reporter(quiet, as_json)
    with reporter.progress("Planning") as bar:
        found = plan(
            structure,
            designs,
            wanted,
            absorption=parse.absorption(absorption),
            factors=factors,
            together=together,
            progress=bar,
        )
    rows = [_row(one, wanted, judged_by(wanted, together)) for one in found]
    if out is not None:
        _write(rows, out)
    _report(rows, structure.name, out, reporter)


def _check_place(out: Path) -> None:
    """Find out before the work whether the table can be written; an earlier plan may be replaced."""
    from lacbed.io.atomic import check_may_write, check_replaceable, reason

    if out.suffix.lower() != ".csv":
        raise SettingError(f"a plan is written as .csv, got {str(out)!r}")
    check_replaceable(out, lambda path: path.read_bytes()[: len(HEAD)] == HEAD.encode(), "plan")
    try:
        check_may_write(out.parent)
    except OSError as error:
        raise FileFormatError(f"cannot write {str(out)!r}: {reason(error)}") from None


def _axis(text: str) -> tuple[int, int, int]:
    u, v, w = parse.integers(text, "--zones")
    return u, v, w


def _several(text: str, option: str) -> list[float]:
    return [parse.numbers(word, option, 1)[0] for word in text.replace(",", " ").split()]


def _row(one: Forecast, wanted: tuple[str, ...], judged: list[str]) -> dict[str, Any]:
    """A forecast as plain values."""
    names = {p.name: p for p in one.parameters}
    shown = [n for n, p in names.items() if p.kind in wanted or n in wanted]
    values = {n: s if math.isfinite(s) else None for n, s in one.uncertainties.items()}
    return {
        "design": " + ".join(d.label for d in one.designs),
        "score": one.score(judged),
        "wanted": {n: values[n] for n in shown},
        "units": {n: names[n].unit for n in shown},
        "correlated": {n: one.worst(n) for n in shown},
        "uncertainties": values,
        "hkl": [[list(g) for g in hkl] for hkl in one.hkl],
    }


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    from lacbed.io.atomic import replacing

    names = list(dict.fromkeys(n for row in rows for n in row["uncertainties"]))
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["design", *(f"uncertainty of {n}" for n in names)])
        for row in rows:
            values = (row["uncertainties"].get(n) for n in names)
            writer.writerow([row["design"], *("" if v is None else f"{v:.4g}" for v in values)])


def _report(rows: list[dict[str, Any]], name: str, out: Path | None, reporter: Reporter) -> None:
    best = rows[0]["score"]
    names = list(dict.fromkeys(n for row in rows[:SHOWN] for n in row["wanted"]))
    units = {n: unit for row in rows for n, unit in row["units"].items()}
    heads = [f"±{n}" + (f" / {units[n]}" if units[n] else "") for n in names]
    lines: list[tuple[str, ...]] = [("", "design", *heads, "relative", "strongest correlation")]
    for place, row in enumerate(rows[:SHOWN], 1):
        values = (row["wanted"].get(n) for n in names)
        tied = max(row["correlated"].items(), key=lambda item: abs(item[1][1]), default=("", ("", 0.0)))
        said = f"{tied[0]} and {tied[1][0]} {tied[1][1]:+.2f}" if tied[1][0] else "–"
        numbers = ("–" if v is None else f"{v:.3g}" for v in values)
        lines.append((str(place), row["design"], *numbers, f"{row['score'] / best:.2f}", said))
    reporter.say(f"{name}: standard uncertainties from counting alone, the best design first")
    for line in columns(lines):
        reporter.say(f"  {line}")
    if len(rows) > SHOWN:
        reporter.say(f"  and {len(rows) - SHOWN} more{'' if out else '; -o FILE.csv writes all'}")
    if out is not None:
        reporter.say(f"  wrote {out}")
    reporter.finish({"crystal": name, "forecasts": rows, "files": [] if out is None else [str(out)]})
