"""lacbed fit: figures of merit of a crystal against an experiment, and its thickness."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns
from lacbed.errors import SettingError
from lacbed.report import percent

if TYPE_CHECKING:
    from lacbed.refinement.fit import FitResult

GEOMETRY = "half_width,tilt,rotation,blur"


def command(
    experiment: Annotated[
        Path,
        typer.Argument(
            metavar="EXPERIMENT", help="A file made by lacbed experiment import, or a folder.", show_default=False
        ),
    ],
    crystal: o.CrystalArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Write a report to this folder."),
    ] = None,
    thickness: o.ThicknessOption = "200:2000:20",
    absorption: o.AbsorptionOption = "thomas",
    factors: o.FactorsOption = "kirkland",
    beams: o.BeamsOption = "auto",
    geometry: Annotated[
        str,
        typer.Option(
            "--geometry", metavar="LIST", help=f"Geometry common to all images to fit: none, or any of {GEOMETRY}."
        ),
    ] = GEOMETRY,
    blur: o.BlurOption = None,
    align: o.AlignOption = "shift",
    no_align: o.NoAlignOption = False,
    max_shift: o.MaxShiftOption = 3.0,
    background: o.BackgroundOption = "constant",
    robust: o.RobustOption = False,
    hkl: Annotated[str | None, typer.Option("--hkl", metavar="LIST", help="Use only these reflections.")] = None,
    mask_zeros: Annotated[
        bool, typer.Option("--mask-zeros", help="Exclude pixels that are exactly zero, as not recorded.")
    ] = False,
    device: o.DeviceOption = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32",
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Compare a crystal with an experiment: fit thickness and geometry, report Z of every reflection.

    Example: lacbed fit GaAs/ GaAs/crystal.cif --thickness 700:1200:20 -o fit-GaAs
    """
    from lacbed.crystals.load import load_crystal
    from lacbed.experiment.folder import load_experiment
    from lacbed.io.lock import claimed
    from lacbed.refinement.fit import fit
    from lacbed.refinement.fit_report import check_folder, summary, write_report
    from lacbed.refinement.options import FitSettings

    free = () if geometry.strip().lower() == "none" else tuple(geometry.replace(",", " ").split())
    settings = FitSettings(
        parse.thicknesses(thickness),
        parse.absorption(absorption),
        factors,
        parse.beams(beams),
        free,
        blur,
        parse.align(align, no_align),
        max_shift,
        background,  # type: ignore[arg-type]
        robust,
        device,
        dtype,
    )
    if out is not None:
        check_folder(out)
    reporter = Reporter(quiet, as_json)
    with nullcontext() if out is None else claimed(out, "fit", inside=False):
        measured = load_experiment(experiment)
        if hkl is not None:
            measured = measured.select(_listed(hkl))
        if mask_zeros:
            measured = measured.masked(measured.images != 0)
        structure = load_crystal(crystal, block)
        with reporter.progress("Fitting") as progress:
            result = fit(measured, structure, settings, progress)
        files = [] if out is None else write_report(result, out)
    _print(result, reporter)
    if out is not None:
        reporter.say(f"wrote {out}: {', '.join(files)}")
    reporter.finish({**summary(result), "folder": None if out is None else str(out), "files": files})


def _listed(text: str) -> tuple[tuple[int, ...], ...]:
    found = parse.reflections(text)
    if found == "all" or (len(found) == 2 and found[0] == "all"):
        raise SettingError('--hkl of a fit is a list of measured reflections, such as "0,0,0 2,2,0"')
    return found


def _print(result: FitResult, reporter: Reporter) -> None:
    from lacbed.refinement.uncertainties import with_uncertainty

    rows: list[tuple[str, ...]] = [("hkl", "Z stated", "Z", "Z aligned", "shift x, y (pixels)")]
    stated = result.stated.z
    for label, match, z in zip(result.merits.labels, result.merits.matches, stated, strict=True):
        name = label.replace(",", " ")
        if match is None:
            rows.append((name, "-", "-", "-", "no contrast, not used"))
            continue
        shift = f"{match.shift[0]:+.2f}, {match.shift[1]:+.2f}"
        rows.append((name, percent(float(z)), percent(match.z), percent(match.z_aligned), shift))
    for line in columns(rows):
        reporter.say(line)
    merits, place = result.merits, result.placement
    thickness = f"{result.thickness:.5g}"
    if "thickness" in result.uncertainties:
        thickness = with_uncertainty(result.thickness, result.uncertainties["thickness"])
    half, width_ratio = result.experiment.half_width, result.experiment.half_width / result.stated_half_width
    reporter.say(
        f"{result.experiment.name}: thickness {thickness} Å; mean Z {percent(merits.mean_z)}, aligned "
        f"{percent(merits.mean_z_aligned)}, with the geometry as stated {percent(result.stated.mean_z)}"
    )
    reporter.say(
        f"  half-width {half:.5g} 1/Å (x {width_ratio:.4f}), blur {place.blur:.2f} pixels, {result.beams} beams "
        f"({result.convergence}), {result.cpu_seconds:.0f} CPU s"
    )
    for warning in result.warnings:
        reporter.warn(warning)
