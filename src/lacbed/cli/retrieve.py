"""lacbed retrieve: the projected potential from a 000 pattern."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter
from lacbed.errors import SettingError

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.retrieval.retrieve import Retrieval


def command(
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
            "--lattice", metavar="Å", help="Side of the square cell; by default that of the pattern's crystal."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", metavar="FILE", help="Initial potential, such as that of a similar crystal."),
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

    Example: lacbed potential BaTiO3 -o similar.nc && lacbed retrieve pattern.nc --start similar.nc -o retrieved
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
    )

    if (start is None) == (model is None):
        raise SettingError(
            "retrieval needs one start: the potential of a similar crystal (lacbed potential CRYSTAL -o "
            "similar.nc, then --start similar.nc), or a learned inverse (lacbed train inverse, then --model RUN)"
        )
    check_folder(out)
    data = load_experiment(pattern).pattern if pattern.is_dir() else load_pattern(pattern)
    target = target_of(data, thickness)
    foil = Foil(
        _lattice(lattice, data),
        _thickness(thickness, data),
        target.energy if voltage is None else parse.energy(voltage),
    )
    if model is not None:
        first = learned_potential(target, foil, load_inverse(model))
    else:
        assert start is not None
        first = given_potential(load_array(start))
    reporter = Reporter(quiet, as_json)
    reaches = [r for r in REACHES if r < reach] + [reach]
    with claimed(out, "retrieval", inside=False):
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
    _report(result, out, reporter)
    reporter.finish({"folder": str(out), **summary(result)})


def _thickness(asked: float | None, data: xr.DataArray) -> float:
    value = float(data["thickness"][0]) if asked is None else asked
    if not math.isfinite(value) or not 0 < value <= 1e5:
        raise SettingError(
            f"retrieval needs the thickness in Å (--thickness), above 0 and at most 1e5, got {value:g}"
        )
    return value


def _lattice(asked: float | None, data: xr.DataArray) -> float:
    """The side of the square cell, as asked or that of the crystal that made the pattern."""
    if asked is None:
        text = data.attrs.get("crystal_cif")
        if not text:
            raise SettingError("the pattern does not state its lattice parameter; give it in Å (--lattice)")
        from lacbed.crystals import Crystal
        from lacbed.learn.domain import is_cubic

        crystal = Crystal.from_cif_text(text)
        if not is_cubic(crystal) or [int(i) for i in data.attrs.get("zone_axis", (0, 0, 1))] != [0, 0, 1]:
            raise SettingError(
                "retrieval is for square zones: the pattern's crystal is not cubic along [001]; give the side of "
                "the square cell (--lattice) if its projection is a square"
            )
        asked = crystal.cell[0]
    if not math.isfinite(asked) or not 1.0 <= asked <= 40.0:
        raise SettingError(f"--lattice must be between 1 and 40 Å, got {asked:g}")
    return asked


def _report(result: Retrieval, out: Path, reporter: Reporter) -> None:
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
