"""lacbed identify and lacbed retrieve: the crystal that explains a 000 pattern, and its potential."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns
from lacbed.errors import SettingError
from lacbed.io.checks import check_number

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.identification.identify import Identification
    from lacbed.identification.predictors import Predictor
    from lacbed.retrieval.retrieve import Retrieval


DOUBTFUL_Z = 0.05
"""Z of the best candidate from which a warning says so; 1,000 electrons per pixel alone give about 1 %."""


def identify_command(
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


def retrieve_command(
    pattern: Annotated[
        Path,
        typer.Argument(metavar="PATTERN", help="A pattern or experiment that includes 000.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.", show_default=False)
    ],
    thickness: Annotated[
        float | None,
        typer.Option("--thickness", "-t", metavar="Å", help="Thickness, if PATTERN does not state it."),
    ] = None,
    voltage: Annotated[
        float | None,
        typer.Option("--voltage", "-V", metavar="KV", help="Voltage, if it differs from that of PATTERN."),
    ] = None,
    lattice: Annotated[
        float | None,
        typer.Option(
            "--cell",
            "--lattice",
            metavar="Å",
            help="Side of the square cell; by default that of the pattern's crystal.",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            metavar="FILE",
            help="Initial potential; by default that of the known crystal with the most similar pattern.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", help="Start from the answer of this learned inverse."),
    ] = None,
    refined: Annotated[
        bool,
        typer.Option("--refine/--no-refine", help="Refine Fourier coefficients until they reproduce the pattern."),
    ] = True,
    absorption: Annotated[
        bool, typer.Option("--absorption/--no-absorption", help="Fit absorption as well.")
    ] = True,
    reach: Annotated[
        float, typer.Option("--reach", metavar="A*", help="Refine coefficients up to this |g|.")
    ] = 6.0,
    divisions: Annotated[int, typer.Option("--divisions", metavar="N", help="Pixels compared per a*.")] = 4,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Find the projected potential of a square zone, such as cubic [001], from its pattern of 000.

    Example: lacbed retrieve pattern.nc -o retrieved
    """
    from lacbed.experiment.folder import load_experiment
    from lacbed.identification.predictors import target_of
    from lacbed.io.lock import claimed
    from lacbed.patterns.files import load_array, load_pattern
    from lacbed.retrieval.files import check_folder, summary, write_retrieval
    from lacbed.retrieval.forward import Foil
    from lacbed.retrieval.retrieve import REACHES, retrieve
    from lacbed.retrieval.start import (
        given_potential,
        learned_potential,
        load_inverse,
        similar_potential,
    )

    if start is not None and model is not None:
        raise SettingError("give --start or --model, not both; without them the most similar crystal is the start")
    check_folder(out)
    reporter = Reporter(quiet, as_json)
    reaches = [r for r in REACHES if r < reach] + [reach]
    with claimed(out, "retrieval", inside=False):
        data = load_experiment(pattern).pattern if pattern.is_dir() else load_pattern(pattern)
        target = target_of(data, thickness)
        foil = Foil(
            _lattice(lattice, data),
            _thickness(thickness, data),
            target.energy if voltage is None else parse.energy(voltage),
        )
        if start is not None:
            first = given_potential(load_array(start))
        elif model is not None:
            first = learned_potential(target, foil, load_inverse(model))
        else:
            with reporter.progress("Comparing with known crystals") as progress:
                first, name = similar_potential(target, foil, progress)
            reporter.say(f"start: the potential of {name}, whose pattern is the most similar")
        with reporter.progress("Retrieving") as progress:
            result = retrieve(
                target,
                foil,
                first,
                refined=refined,
                absorption=absorption,
                reaches=reaches,
                divisions=divisions,
                progress=progress,
            )
        write_retrieval(result, out, pattern.stem)
    _report_retrieval(result, out, reporter)
    reporter.finish({"folder": str(out), **summary(result)})


def _thickness(asked: float | None, data: xr.DataArray) -> float:
    value = float(data["thickness"][0]) if asked is None else asked
    return check_number("retrieval needs the thickness (--thickness), which", value, above=0, high=1e5, unit="Å")


def _lattice(asked: float | None, data: xr.DataArray) -> float:
    """The side of the square cell, as asked or that of the crystal that made the pattern."""
    if asked is None:
        text = data.attrs.get("crystal_cif")
        if not text:
            raise SettingError("the pattern does not state its lattice parameter; give it in Å (--cell)")
        from lacbed.crystals import Crystal
        from lacbed.learn.domain import is_cubic

        crystal = Crystal.from_cif_text(text)
        if not is_cubic(crystal) or [int(i) for i in data.attrs.get("zone_axis", (0, 0, 1))] != [0, 0, 1]:
            raise SettingError(
                "retrieval is for square zones: the pattern's crystal is not cubic along [001]; give the side of "
                "the square cell (--cell) if its projection is a square"
            )
        asked = crystal.cell[0]
    return check_number("--cell", asked, 1, 40, unit="Å")


def _report_retrieval(result: Retrieval, out: Path, reporter: Reporter) -> None:
    foil = result.foil
    reporter.say(
        f"a {foil.lattice_parameter:.4f} Å, thickness {foil.thickness:g} Å, {foil.energy / 1e3:g} kV, "
        f"{len(result.symmetry)} symmetry operations kept"
    )
    reporter.say(f"Z of the pattern: start {100 * result.z[0]:.3g} %, refined {100 * result.z[-1]:.3g} %")
    reporter.say(
        f"{result.free} free coefficients; the potential is one of several that give the same pattern of 000"
    )
    reporter.say(f"  wrote {out}/potential.nc, start.nc, coefficients.csv, retrieval.png, retrieval.json")
