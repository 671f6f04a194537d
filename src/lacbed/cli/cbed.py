"""lacbed cbed: a CBED pattern from a LACBED pattern."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, size_text

NAME = "cbed"


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A pattern file.", show_default=False)],
    out: o.OutputOption,
    semi_angle: Annotated[
        float | None,
        typer.Option(
            "--semi-angle", metavar="MRAD", help="Convergence semi-angle; by default the largest possible."
        ),
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option("--pixels", "-n", help="Pixels per side; by default the pixel size of the pattern."),
    ] = None,
    thickness: Annotated[
        str | None,
        typer.Option("--thickness", "-t", metavar="Å,...", help="Thicknesses to use; by default all."),
    ] = None,
    resampling: Annotated[str, typer.Option("--resampling", help="bilinear or nearest.")] = "bilinear",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Assemble the discs of a pattern into a CBED pattern; overlapping discs are added.

    Example: lacbed simulate Si --hkl all --semi-angle 8 -o si.nc && lacbed cbed si.nc --semi-angle 5 -o si.png
    """
    wanted = None if thickness is None else parse.thicknesses(thickness)

    from lacbed.patterns.cbed import assemble_cbed
    from lacbed.patterns.files import check_writable, load_pattern, save_array

    for path in out:
        check_writable(path)
    image = assemble_cbed(load_pattern(file), semi_angle, pixels, wanted, resampling)  # type: ignore[arg-type]
    for path in out:
        save_array(image, path)
    reporter = Reporter(quiet, as_json)
    reporter.say(
        f"{image.sizes['thickness']} CBED pattern(s), {image.attrs['semi_angle']:.4g} mrad, "
        f"{image.attrs['reflections']} discs, {image.sizes['qy']} x {image.sizes['qx']} pixels"
    )
    for path in out:
        reporter.say(f"  wrote {path} ({size_text(path)})")
    kept = {key: value for key, value in image.attrs.items() if key != "crystal_cif"}
    reporter.finish({"files": [str(path) for path in out], "sizes": dict(image.sizes), **kept})
