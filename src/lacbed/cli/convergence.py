"""lacbed convergence: how many beams are enough."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns
from lacbed.cli.simulate import grid, orientation

NAME = "convergence"


def command(
    crystal: o.CrystalArgument,
    zone: o.ZoneOption = "0,0,1",
    voltage: o.VoltageOption = 200.0,
    thickness: o.ThicknessOption = "600",
    hkl: o.HklOption = "0,0,0",
    pixels: o.PixelsOption = 24,
    extent: o.ExtentOption = None,
    k_max: o.KMaxOption = None,
    semi_angle: o.SemiAngleOption = None,
    shape: o.ShapeOption = "square",
    factors: o.FactorsOption = "kirkland",
    absorption: o.AbsorptionOption = "none",
    laue_zones: o.LaueOption = 0,
    foil_normal: o.FoilOption = None,
    x_direction: o.XDirectionOption = None,
    refraction: o.RefractionOption = True,
    device: o.DeviceOption = "auto",
    z: Annotated[float, typer.Option("--z", metavar="PERCENT", help="Largest change of Z in percent.")] = 0.1,
    intensity: Annotated[float, typer.Option("--intensity", help="Largest change of an intensity.")] = 0.01,
    max_beams: Annotated[int, typer.Option("--max-beams", help="Stop at this number of beams.")] = 6000,
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Increase the number of beams until the patterns stop changing, and show how they changed."""
    settings: dict[str, Any] = orientation(zone, foil_normal, x_direction) | {
        "energy": parse.energy(voltage),
        "thicknesses": parse.thicknesses(thickness),
        "hkl": parse.reflections(hkl),
        "absorption": parse.absorption(absorption),
        "laue_zones": laue_zones,
        "refraction": refraction,
        "factors": factors,
        "device": device,
        "grid": grid(pixels, extent, k_max, semi_angle, shape),
    }
    reporter = Reporter(quiet, as_json)

    import lacbed
    from lacbed.crystals.load import load_crystal

    structure = load_crystal(crystal, block)
    with reporter.progress("Choosing beams") as progress:
        report = lacbed.convergence(
            structure,
            tolerance_z=z / 100,
            tolerance_intensity=intensity,
            max_beams=max_beams,
            progress=progress,
            **settings,
        )
    rows = [("beams", "g_max (1/Å)", "Z", "max |dI|", "seconds")]
    for step in report.steps:
        score = "" if step.z != step.z else f"{100 * step.z:.4f} %"
        change = "" if step.max_difference != step.max_difference else f"{step.max_difference:.2e}"
        rows.append((str(step.beams), f"{step.g_max:.3f}", score, change, f"{step.seconds:.2f}"))
    for line in columns(rows):
        reporter.say(line)
    reporter.say(report.summary)
    reporter.finish(asdict(report))
