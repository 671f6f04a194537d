"""lacbed identify: which crystal of a catalogue made a pattern."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns
from lacbed.errors import SettingError
from lacbed.io.numbers import check_number

if TYPE_CHECKING:
    from lacbed.identification.identify import Identification
    from lacbed.identification.predictors import Predictor

DOUBTFUL_Z = 0.05
"""Z of the best candidate from which a warning says so; 1,000 electrons a pixel alone make some 1 %."""


def command(
    pattern: Annotated[
        Path,
        typer.Argument(metavar="PATTERN", help="A pattern or experiment that includes 000.", show_default=False),
    ],
    catalog: Annotated[
        Path,
        typer.Option(
            "--catalog", "-c", metavar="FILE.parquet", help="Catalogue of candidates.", show_default=False
        ),
    ],
    thickness: o.ThicknessOption = "100:1000:25",
    at: Annotated[
        float | None, typer.Option("--at", metavar="Å", help="Thickness to identify, if PATTERN is simulated.")
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option("--zone", "-z", metavar="U,V,W", help="Zone axis, if it differs from that of PATTERN."),
    ] = None,
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", help="Number of candidates to simulate exactly.")
    ] = 5,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Number of candidates to list.")] = 10,
    absorption: o.AbsorptionOption = "thomas",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Learned simulator for the first ranking, a path or a packaged name; crystals outside its range "
            "(or all, with 'none') are simulated with few beams.",
        ),
    ] = "fast",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Rank the crystals of a catalogue by how well they explain a 000 pattern.

    Example: lacbed identify pattern.nc --catalog cubic.parquet --thickness 300:800:25
    """
    from dataclasses import replace

    from lacbed.catalog.files import read_catalog
    from lacbed.catalog.rows import crystal_of
    from lacbed.experiment.folder import load_experiment
    from lacbed.identification.identify import identify
    from lacbed.identification.predictors import exact, few_beams, learned_where_known, target_of
    from lacbed.patterns.files import load_pattern

    for option, value in (("--keep", keep), ("--top", top)):
        check_number(option, value, 1)
    final = exact(parse.absorption(absorption))
    thicknesses = parse.thicknesses(thickness)
    data = load_experiment(pattern).pattern if pattern.is_dir() else load_pattern(pattern)
    target = target_of(data, at)
    if zone is not None:
        target = replace(target, zone_axis=parse.integers(zone, "--zone"))
    rows = read_catalog(catalog).to_pylist()
    if not rows:
        raise SettingError(f"the catalogue {str(catalog)!r} has no crystals")
    predictor: Predictor = few_beams if model == "none" else learned_where_known(model)
    reporter = Reporter(quiet, as_json)
    with reporter.progress("Identifying") as progress:
        found = identify(
            target,
            [crystal_of(row) for row in rows],
            thicknesses,
            keep=keep,
            predictor=predictor,
            final=final,
            progress=progress,
        )
    _report(found, rows, top, reporter)


def _report(found: Identification, rows: list[dict[str, Any]], top: int, reporter: Reporter) -> None:
    shown = found.candidates[:top]
    lines: list[tuple[str, ...]] = [("", "crystal", "space group", "a", "Z", "thickness", "first look")]
    for n, c in enumerate(shown, 1):
        row = rows[c.index]
        lines.append(
            (
                f"{n}",
                f"{row['formula']} ({row['source_id']})",
                str(row["space_group"]),
                f"{row['a']:.4f} Å",
                f"{100 * c.z:.2f} %" if math.isfinite(c.z) else "-",
                f"{c.thickness:g} Å",
                f"{100 * c.z_first:.2f} %",
            )
        )
    for line in columns(lines):
        reporter.say(line)
    best = min((c.z for c in shown if math.isfinite(c.z)), default=math.nan)
    if best > DOUBTFUL_Z:
        reporter.warn(
            f"no crystal explains the pattern well; the best Z is {100 * best:.2g} %: the pattern is "
            "very noisy, or its crystal is not in the catalogue"
        )
    for name, why in found.failures[:5]:
        reporter.warn(f"{name} was left out: {why}")
    if len(found.failures) > 5:
        reporter.warn(f"{len(found.failures) - 5} more were left out")
    keys = ("formula", "source", "source_id", "space_group", "a")
    reporter.finish(
        {
            "candidates": [
                {key: rows[c.index].get(key) for key in keys}
                | {"Z": c.z if math.isfinite(c.z) else None, "thickness": c.thickness, "Z_first": c.z_first}
                for c in shown
            ],
            "failures": [{"name": name, "reason": why} for name, why in found.failures],
        }
    )
