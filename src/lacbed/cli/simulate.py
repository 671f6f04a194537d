"""lacbed simulate and lacbed convergence: patterns of a crystal, and how many beams they need."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns, size_text
from lacbed.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr


def simulate_command(
    crystal: o.CrystalArgument,
    out: o.OutputOption,
    zone: o.ZoneOption = "0,0,1",
    voltage: o.VoltageOption = 200.0,
    thickness: o.ThicknessOption = "600",
    hkl: o.HklOption = "0,0,0",
    pixels: o.PixelsOption = 128,
    extent: o.ExtentOption = None,
    k_max: o.KMaxOption = None,
    semi_angle: o.SemiAngleOption = None,
    shape: o.ShapeOption = "square",
    center: o.CenterOption = "0,0",
    factors: o.FactorsOption = "kirkland",
    absorption: o.AbsorptionOption = "none",
    beams: Annotated[
        str, typer.Option("--beams", metavar="auto|N", help="Number of beams; auto: what the tolerance needs.")
    ] = "auto",
    g_max: Annotated[
        float | None, typer.Option("--g-max", metavar="1/Å", help="Take all beams up to this length instead.")
    ] = None,
    sg_max: Annotated[
        float | None,
        typer.Option("--sg-max", metavar="1/Å", help="Take all beams up to this excitation error instead."),
    ] = None,
    weak: Annotated[
        int, typer.Option("--weak", metavar="N", help="Additional weak beams, by Bethe perturbation.")
    ] = 0,
    laue_zones: o.LaueOption = 0,
    foil_normal: o.FoilOption = None,
    x_direction: o.XDirectionOption = None,
    refraction: o.RefractionOption = True,
    paraxial: Annotated[
        bool, typer.Option("--paraxial/--no-paraxial", help="Neglect the term γ² of the wave equation.")
    ] = True,
    solver: Annotated[
        str, typer.Option("--solver", help="auto, reference, zone, tilted, chebyshev, fast or multislice.")
    ] = "auto",
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="DI",
            help="Largest error of an intensity, 1e-3 where nothing else chooses the beams; 0 for none.",
        ),
    ] = None,
    device: o.DeviceOption = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help="float64 or float32.")] = "float64",
    frozen_phonons: Annotated[
        int,
        typer.Option("--frozen-phonons", metavar="N", help="Frozen-phonon configurations (--solver multislice)."),
    ] = 0,
    b_iso: Annotated[
        float | None,
        typer.Option("--b-iso", metavar="Å²", help="Debye-Waller B for every atom, in place of its own."),
    ] = None,
    charges: Annotated[
        str | None,
        typer.Option("--charges", metavar="Sr=2,O=-2", help="Formal charges by element, for --factors ionic."),
    ] = None,
    output: Annotated[str, typer.Option("--output", help="intensity or (complex) amplitude.")] = "intensity",
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Simulate LACBED patterns of a crystal.

    Example: lacbed simulate SrTiO3 --thickness 300,600 --hkl "0,0,0 2,0,0" -o pattern.nc -o pattern.png
    """
    settings = orientation(zone, foil_normal, x_direction) | {
        "energy": parse.energy(voltage),
        "thicknesses": parse.thicknesses(thickness),
        "hkl": parse.reflections(hkl),
        "absorption": parse.absorption(absorption),
        "beams": parse.beams(beams),
        "g_max": g_max,
        "sg_max": sg_max,
        "weak_beams": weak,
        "laue_zones": laue_zones,
        "refraction": refraction,
        "paraxial": paraxial,
        "factors": factors,
        "solver": solver,
        "device": device,
        "dtype": dtype,
        "output": output,
        "frozen_phonons": frozen_phonons,
        "tolerance": tolerance,
    }
    middle = parse.numbers(center, "--center", 2)
    settings["grid"] = grid(pixels, extent, k_max, semi_angle, shape, middle)
    if charges is not None and factors != "ionic":
        raise SettingError(f"--charges are for --factors ionic, and --factors is {factors}")
    ions = {} if charges is None else parse.charges(charges)
    run(crystal, settings, out, Reporter(quiet, as_json), b_iso, block, ions)


def orientation(zone: str, foil_normal: str | None, x_direction: str | None) -> dict[str, Any]:
    """The arguments that orient the crystal."""
    return {
        "zone_axis": parse.integers(zone, "--zone"),
        "foil_normal": None if foil_normal is None else parse.numbers(foil_normal, "--foil-normal", 3),
        "x_direction": None if x_direction is None else parse.numbers(x_direction, "--x-direction", 3),
    }


def grid(
    pixels: int,
    extent: float | None,
    k_max: float | None,
    semi_angle: float | None,
    shape: str,
    center: tuple[float, ...] = (0.0, 0.0),
) -> Any:
    """The TiltGrid of the options."""
    from lacbed.geometry.tilts import TiltGrid

    return TiltGrid(pixels, k_max, semi_angle, extent, shape, center)  # type: ignore[arg-type]


def run(
    crystal: str,
    settings: dict[str, Any],
    out: list[Path],
    reporter: Reporter,
    b_iso: float | None = None,
    block: str | None = None,
    charges: Mapping[str, int] | None = None,
) -> None:
    """Check the places, simulate, and write every file."""
    import lacbed
    from lacbed.crystals.load import load_crystal
    from lacbed.forecast import forecast
    from lacbed.patterns.files import check_writable, save_pattern
    from lacbed.settings import Settings

    for path in out:
        check_writable(path, complex_values=settings["output"] == "amplitude")
    structure = load_crystal(crystal, block)
    if b_iso is not None:
        structure = structure.with_b_iso(b_iso)
    if charges:
        structure = structure.with_charges(charges)
    if settings["solver"] != "multislice":
        reporter.remark(forecast(structure, Settings(**settings)).note())
    start = time.perf_counter()
    with reporter.progress("Simulating") as progress:
        pattern = lacbed.simulate(structure, **settings, progress=progress)
    seconds = time.perf_counter() - start
    for path in out:
        save_pattern(pattern, path)
    _report(pattern, out, seconds, reporter)


def _report(pattern: xr.DataArray, out: list[Path], seconds: float, reporter: Reporter) -> None:
    attributes = pattern.attrs
    zone = ",".join(str(i) for i in attributes["zone_axis"])
    sizes = dict(pattern.sizes)
    reporter.say(f"{attributes['crystal']} [{zone}] {attributes['energy'] / 1e3:g} kV, {seconds:.2f} s")
    shape = (
        f"{sizes['thickness']} thickness(es) x {sizes['hkl']} reflection(s), {sizes['ky']} x {sizes['kx']} pixels"
    )
    reporter.say(f"  {shape}, {attributes.get('beams', '?')} beams")
    for note in attributes.get("notes", []):
        reporter.say(f"  note: {note}")
    for path in out:
        reporter.say(f"  wrote {path} ({size_text(path)})")
    reporter.finish(
        {
            "files": [str(path) for path in out],
            "seconds": seconds,
            "sizes": sizes,
            "thickness": pattern["thickness"].values,
            "hkl": pattern["hkl"].values,
            **{key: value for key, value in attributes.items() if key != "crystal_cif"},
        }
    )


def convergence_command(
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
    """Increase the number of beams until the patterns stop changing, and show the change at every step."""
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
