"""lacbed potential: the projected potential into files."""

from __future__ import annotations

from typing import Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, size_text

NAME = "potential"


def command(
    crystal: o.CrystalArgument,
    out: o.OutputOption,
    zone: o.ZoneOption = "0,0,1",
    pixels: o.PixelsOption = 128,
    g_max: Annotated[float, typer.Option("--g-max", metavar="1/Å", help="Largest |g| included.")] = 6.0,
    factors: o.FactorsOption = "kirkland",
    x_direction: o.XDirectionOption = None,
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Compute the projected potential of one unit cell.

    Example: lacbed potential GaAs --zone 1,1,0 -o potential.png
    """
    axis = parse.integers(zone, "--zone")
    across = None if x_direction is None else parse.numbers(x_direction, "--x-direction", 3)
    reporter = Reporter(quiet, as_json)

    from lacbed.crystals.load import load_crystal
    from lacbed.patterns.files import check_writable, save_array
    from lacbed.projection import projected_potential

    for path in out:
        check_writable(path)
    image = projected_potential(load_crystal(crystal, block), axis, pixels, g_max, factors, across)
    for path in out:
        save_array(image, path)
    a, b, c, d = image.attrs["cell"]
    reporter.say(
        f"{image.attrs['crystal']} [{','.join(map(str, axis))}]: mean inner potential "
        f"{image.attrs['mean_inner_potential']:.3f} V, period {image.attrs['period']:.4f} Å, "
        f"cell edges ({a:.4f}, {c:.4f}) and ({b:.4f}, {d:.4f}) Å"
    )
    for path in out:
        reporter.say(f"  wrote {path} ({size_text(path)})")
    kept = {key: value for key, value in image.attrs.items() if key != "crystal_cif"}
    reporter.finish({"files": [str(path) for path in out], "sizes": dict(image.sizes), **kept})
