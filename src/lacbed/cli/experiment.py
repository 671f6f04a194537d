"""lacbed experiment: extract, import and show measured stacks."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import extract, parse
from lacbed.cli import options as o
from lacbed.cli.console import Reporter, size_text
from lacbed.errors import SettingError

if TYPE_CHECKING:
    from lacbed.crystals import Crystal
    from lacbed.experiment.bragg import BraggCheck
    from lacbed.experiment.experiment import Experiment

NAME = "experiment"
app = typer.Typer(name=NAME, help="Extract, import and inspect measured stacks.", no_args_is_help=True)
app.command("extract")(extract.command)


@app.command("import")
def import_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of images named by reflection (DM3, DM4, TIFF, HyperSpy, .img, .bin), one file with "
            "all images, an .npz, arrays of PyLARBED or PyExtal, or a folder with experiment.json.",
            show_default=False,
        ),
    ],
    out: o.OutputOption,
    voltage: Annotated[
        float | None, typer.Option("--voltage", "-V", metavar="KV", help="Accelerating voltage in kV.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", "-z", metavar="U,V,W", help="Zone axis; the beam travels along it.")
    ] = None,
    x_direction: Annotated[
        str | None, typer.Option("--x-direction", metavar="H,K,L", help="Reflection along +x.")
    ] = None,
    half_width: Annotated[
        str | None,
        typer.Option(
            "--half-width",
            metavar="1/Å|fit",
            help="Half the width of an image, or fit: by the symmetry of the images (needs --crystal).",
        ),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(
            "--orientation",
            metavar="ROWS+COLUMNS",
            help="Directions of k down the rows and along the columns, such as -y+x; or fit (needs --crystal).",
        ),
    ] = None,
    crystal: Annotated[
        str | None, typer.Option("--crystal", help="The crystal: a CIF or a built-in name.")
    ] = None,
    foil_normal: o.FoilOption = None,
    hkl: Annotated[
        str | None,
        typer.Option(
            "--hkl", metavar="LIST", help="Reflections in the order of the images (file 2 before file 10)."
        ),
    ] = None,
    crop: Annotated[
        int | None, typer.Option("--crop", metavar="PIXELS", help="Crop each image to a square around its centre.")
    ] = None,
    saturation: Annotated[
        float | None, typer.Option("--saturation", metavar="COUNTS", help="Exclude pixels at or above this value.")
    ] = None,
    mask_zeros: Annotated[
        bool, typer.Option("--mask-zeros", help="Exclude pixels that are exactly zero, as not recorded.")
    ] = False,
    name: Annotated[str, typer.Option("--name", help="Name of the sample.")] = "",
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Import a measured stack into one labelled file.

    Example: lacbed experiment import dm3/ -V 200 --zone 1,-1,0 --x-direction 0,0,-1 --half-width 0.66
    --orientation fit --crystal Ge.cif -o Ge.nc
    """
    from lacbed.experiment.experiment import crystal_of
    from lacbed.experiment.folder import load_experiment
    from lacbed.patterns.files import check_writable, save_pattern

    for path in out:
        check_writable(path)
    structure = _crystal(crystal, block)
    if _stands(source):
        _refuse({"--hkl": hkl, "--crop": crop, "--saturation": saturation, "--foil-normal": foil_normal}, source)
        experiment = _changed(
            load_experiment(source), voltage, zone, x_direction, half_width, orientation, structure
        )
    else:
        experiment = _assemble(
            source,
            structure,
            (voltage, zone, x_direction, half_width, orientation, foil_normal, hkl, name),
            crop,
            saturation,
        )
    if name:
        experiment = experiment.annotated(crystal=name)
    if mask_zeros:
        experiment = experiment.masked(experiment.images != 0)
    experiment, check = _fitted(experiment, structure, half_width, orientation)
    for path in out:
        save_pattern(experiment.pattern, path)
    _report(experiment, structure or crystal_of(experiment), check, out, Reporter(quiet, as_json))


def _crystal(text: str | None, block: str | None) -> Crystal | None:
    """The crystal of --crystal, and of --block if that is a CIF with several."""
    from lacbed.crystals.load import load_crystal

    if text is None and block is not None:
        raise SettingError(f"--block {block} goes with --crystal, which names the CIF")
    return None if text is None else load_crystal(text, block)


@app.command("info")
def info(
    file: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="A file or folder of an experiment.", show_default=False)
    ],
    crystal: Annotated[
        str | None, typer.Option("--crystal", help="Check the geometry against the Bragg lines of this crystal.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE.png", help="Plot the images.")] = None,
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Show reflections and geometry of a measured stack, checked by Bragg lines and the symmetry of the images."""
    from lacbed.experiment.bragg import check_bragg
    from lacbed.experiment.experiment import crystal_of
    from lacbed.experiment.folder import load_experiment
    from lacbed.patterns.files import check_writable, save_pattern

    if png is not None:
        if png.suffix.lower() != ".png":
            raise SettingError(f"the picture of an experiment is a .png, got {str(png)!r}")
        check_writable(png)
    experiment = load_experiment(file)
    structure = _crystal(crystal, block) or crystal_of(experiment)
    check = None if structure is None else check_bragg(experiment, structure)
    if png is not None:
        save_pattern(experiment.pattern, png)
    _report(experiment, structure, check, [] if png is None else [png], Reporter(quiet, as_json))


def _refuse(options: dict[str, Any], source: Path) -> None:
    """Refuse options that are for images which do not say how they were taken."""
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise SettingError(f"{source.name} states its own geometry; {', '.join(given)} cannot change it")


def _stands(source: Path) -> bool:
    """Whether a source says itself how it was taken."""
    if source.is_dir():
        return os.path.lexists(source / "experiment.json") or source.suffix.lower() == ".zarr"
    return source.suffix.lower() in (".nc", ".zarr")


def _changed(
    experiment: Experiment,
    voltage: float | None,
    zone: str | None,
    x_direction: str | None,
    half_width: str | None,
    orientation: str | None,
    crystal: Crystal | None,
) -> Experiment:
    """An experiment with what the options say otherwise."""
    from lacbed.experiment.assembly import geometry_of, with_geometry

    changes: dict[str, Any] = {}
    if voltage is not None:
        changes["energy"] = parse.energy(voltage)
    if zone is not None:
        changes["zone_axis"] = parse.integers(zone, "--zone")
    if x_direction is not None:
        changes["x_direction"] = parse.numbers(x_direction, "--x-direction", 3)
    if half_width not in (None, "fit"):
        changes["half_width"] = parse.numbers(str(half_width), "--half-width", 1)[0]
    if orientation not in (None, "fit"):
        changes["orientation"] = str(orientation)
    if not changes and crystal is None:
        return experiment
    return with_geometry(experiment, replace(geometry_of(experiment), **changes), crystal)


def _assemble(
    source: Path,
    crystal: Crystal | None,
    options: tuple[Any, ...],
    crop: int | None,
    saturation: float | None,
) -> Experiment:
    """An experiment of images that do not say how they were taken."""
    from lacbed.experiment.assembly import Geometry, make_experiment
    from lacbed.experiment.stack import read_measured

    voltage, zone, x_direction, half_width, orientation, foil_normal, hkl, name = options
    needed = {"--voltage": voltage, "--zone": zone, "--x-direction": x_direction, "--half-width": half_width}
    missing = [option for option, value in needed.items() if value is None]
    if missing:
        raise SettingError(f"{source.name} does not state its geometry; give {', '.join(missing)}")
    listed = None if hkl is None else parse.reflections(hkl, once=False)
    if listed == "all" or (listed is not None and listed[0] == "all"):
        raise SettingError('--hkl of an experiment is a list in the order of the images, such as "0,0,0 2,2,0"')
    stack = read_measured(source, listed, crop)  # type: ignore[arg-type]
    u, v, w = parse.integers(zone, "--zone")
    h, k, l = parse.numbers(x_direction, "--x-direction", 3)  # noqa: E741
    normal = None if foil_normal is None else parse.numbers(foil_normal, "--foil-normal", 3)
    geometry = Geometry(
        parse.energy(voltage),
        (u, v, w),
        (h, k, l),
        _guess_half_width(stack.hkl, crystal) if half_width == "fit" else _length(half_width),
        "-y+x" if orientation in (None, "fit") else orientation,
        None if normal is None else (normal[0], normal[1], normal[2]),
    )
    title = name or (crystal.name if crystal else source.stem)
    return make_experiment(
        stack.images,
        stack.hkl,
        geometry,
        crystal=crystal,
        name=title,
        source=source.name,
        saturation=stack.saturation if saturation is None else saturation,
        files=stack.files,
        notes=stack.notes,
        variance=stack.variance,
    )


def _length(text: str) -> float:
    return parse.numbers(text, "--half-width", 1)[0]


def _guess_half_width(hkl: tuple[tuple[int, int, int], ...], crystal: Crystal | None) -> float:
    """A start for the fit: Bragg lines lie at |g| / 2, so that the furthest is still in the image."""
    import numpy as np

    if crystal is None:
        raise SettingError("--half-width fit needs --crystal, whose Bragg lines set the scale")
    return 0.5 * float(np.linalg.norm(np.array(hkl) @ crystal.reciprocal.T, axis=1).max()) or 1.0


def _fitted(
    experiment: Experiment, crystal: Crystal | None, half_width: str | None, orientation: str | None
) -> tuple[Experiment, BraggCheck | None]:
    """With half-width and orientation fitted to the Bragg lines where asked, and checked in any case."""
    from lacbed.experiment.bragg import check_bragg, fit_bragg
    from lacbed.experiment.experiment import crystal_of

    known = crystal_of(experiment) if crystal is None else crystal
    asked = [n for n, v in (("half_width", half_width), ("orientation", orientation)) if v == "fit"]
    if known is None:
        if asked:
            raise SettingError("fitting the geometry needs --crystal, whose Bragg lines show it")
        return experiment, None
    if asked:
        experiment = fit_bragg(experiment, known, "half_width" in asked, "orientation" in asked)
    check = check_bragg(experiment, known)
    warnings = [w for w in check.warnings(experiment) if w not in experiment.notes]
    return (experiment.annotated(*warnings) if warnings else experiment), check


def _table(experiment: Experiment) -> list[dict[str, Any]]:
    """Which file became which reflection, and the mean of its counts, so that a wrong assignment is seen."""
    import numpy as np

    files = experiment.files or ("",) * len(experiment.hkl)
    rows = zip(experiment.hkl, files, experiment.images, strict=True)
    return [
        {"hkl": list(g), "file": file, "mean": float(np.nanmean(image)) if np.isfinite(image).any() else math.nan}
        for g, file, image in rows
    ]


def _report(
    experiment: Experiment,
    crystal: Crystal | None,
    check: BraggCheck | None,
    files: list[Path],
    reporter: Reporter,
) -> None:
    from lacbed.experiment.reciprocity import reciprocity_geometry

    geometry = None if crystal is None else reciprocity_geometry(experiment, crystal)
    say = reporter.say
    zone = ",".join(str(i) for i in experiment.zone_axis)
    say(f"{experiment.name} [{zone}] {experiment.energy / 1e3:g} kV: {len(experiment.hkl)} reflections")
    images = _table(experiment)
    if experiment.files:
        wide = [max(map(len, texts)) for texts in (experiment.files, experiment.labels)]
        for row, label in zip(images, experiment.labels, strict=True):
            say(f"  {row['file']:<{wide[0]}} -> {label:<{wide[1]}}  (mean {row['mean']:.6g})")
    else:
        say(f"  {'  '.join(experiment.labels)}")
    say(
        f"  {experiment.pixels} x {experiment.pixels} pixels, half-width {experiment.half_width:.5g} 1/Å "
        f"({experiment.pixel_size:.4g} 1/Å per pixel), orientation {experiment.orientation}"
    )
    masked = 1 - float(experiment.mask.mean())
    say(f"  {100 * masked:.3g} % of the pixels are excluded")
    warnings = list(experiment.notes)
    if check is not None:
        say(
            f"  Bragg lines: correlation {check.stated:.2f}; best orientation {check.orientation}, "
            f"half-width {check.scale * experiment.half_width:.4g} 1/Å ({check.best:.2f})"
        )
        warnings += [w for w in check.warnings(experiment) if w not in warnings]
    if geometry is not None:
        half, (x, y) = geometry.factor * experiment.half_width, geometry.center
        says = f"half-width {half:.5g} ± {half * geometry.uncertainty:.1g} 1/Å, centre ({x:.4f}, {y:.4f}) 1/Å"
        says += f", turned by {geometry.rotation:.2f}°"
        say(
            f"  symmetry about the middles of the Bragg lines: correlation {geometry.symmetry:.2f}; "
            + (says if geometry.is_sure else "not conclusive")
        )
    for warning in warnings:
        reporter.warn(warning)
    for path in files:
        say(f"  wrote {path} ({size_text(path)})")
    reporter.finish(
        {
            "files": [str(path) for path in files],
            "name": experiment.name,
            "hkl": [list(g) for g in experiment.hkl],
            "images": images,
            "energy": experiment.energy,
            "zone_axis": list(experiment.zone_axis),
            "x_direction": list(experiment.x_direction),
            "pixels": experiment.pixels,
            "half_width": experiment.half_width,
            "orientation": experiment.orientation,
            "masked": masked,
            "bragg": None
            if check is None
            else {
                "correlation": check.stated,
                "orientation": check.orientation,
                "scale": check.scale,
                "best": check.best,
            },
            "symmetry": None if geometry is None else asdict(geometry) | {"is_sure": geometry.is_sure},
            "warnings": warnings,
        }
    )
