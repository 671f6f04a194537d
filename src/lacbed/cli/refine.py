"""lacbed refine: from a measured stack to thickness, displacements, positions, occupancies, with uncertainties."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns
from lacbed.errors import SettingError

if TYPE_CHECKING:
    from lacbed.crystals import Crystal
    from lacbed.experiment.experiment import Experiment
    from lacbed.refinement.options import Progress, RefinementOptions

USUAL = "thickness,half_width,tilt,rotation,stretch,shear,blur,B,bonding,absorption,electronic"
"""What is free if nothing is said; the last two only where there is a model of absorption."""


def command(
    experiment: Annotated[
        list[Path],
        typer.Argument(
            metavar="EXPERIMENT...",
            help="A file made by lacbed experiment import, or a folder; several of one crystal (other zones, "
            "thicknesses, voltages) are refined together.",
            show_default=False,
        ),
    ],
    crystal: o.CrystalArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.", show_default=False)
    ],
    free: Annotated[
        str,
        typer.Option(
            "--free",
            metavar="LIST",
            help="Parameters to refine: thickness, half_width, tilt, rotation, stretch, shear, blur, voltage, "
            "absorption, electronic, spread, tail, B, U, x, occupancy, cell, strain, factor, kappa, ionicity, "
            "Ug:h,k,l, bonding; B:LABEL for a single site, strain:33 for one component; default stands for all "
            "that are free by default.",
        ),
    ] = USUAL,
    fix: Annotated[
        str,
        typer.Option("--fix", metavar="LIST", help="Parameters of --free that are kept fixed all the same."),
    ] = "",
    prior: Annotated[
        str,
        typer.Option(
            "--prior",
            metavar="NAME=WIDTH,...",
            help="Standard deviations of priors: Ug (fraction of what the atoms would scatter in phase), "
            "electronic, affine (distortion of each image), spread (fraction of the thickness), tail, strain "
            "(each component), kappa (of each element).",
        ),
    ] = "",
    thickness: o.ThicknessOption = "200:3000:25",
    absorption: o.AbsorptionOption = "thomas",
    factors: o.FactorsOption = "kirkland",
    beams: o.BeamsOption = "auto",
    method: Annotated[str, typer.Option("--method", help="lm (Levenberg-Marquardt) or lbfgs.")] = "lm",
    starts: Annotated[
        int, typer.Option("--starts", help="Number of minima of the thickness scan to refine from.")
    ] = 3,
    blur: o.BlurOption = None,
    align: o.AlignOption = "affine",
    no_align: o.NoAlignOption = False,
    max_shift: o.MaxShiftOption = 3.0,
    border: Annotated[
        float, typer.Option("--border", metavar="PERCENT", help="Width of the border that is left out.")
    ] = 4.0,
    background: o.BackgroundOption = "constant",
    robust: o.RobustOption = False,
    poisson: Annotated[
        bool, typer.Option("--poisson", help="Values are electron counts: weight by Poisson statistics.")
    ] = False,
    common_scale: Annotated[
        bool, typer.Option("--common-scale", help="Use one scale for all images and no background.")
    ] = False,
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="Likelihood along this parameter: refine all others again at several of its values.",
        ),
    ] = "",
    steps: Annotated[int, typer.Option("--steps", help="Maximum number of evaluations per stage.")] = 12,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the interrupted refinement in FOLDER.")] = False,
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Refine a crystal and the geometry against one measured LACBED stack, or several together.

    Example: lacbed refine measured.nc GaAs --free thickness,B,half_width,tilt,blur -o refined
    """
    from lacbed.refinement.options import RefinementOptions
    from lacbed.refinement.parameters import split_names

    if method not in ("lm", "lbfgs"):
        raise SettingError(f"--method must be lm or lbfgs, got {method!r}")
    for name, value, low, high in (("--starts", starts, 1, 20), ("--steps", steps, 1, 500)):
        if not low <= value <= high:
            raise SettingError(f"{name} must be between {low} and {high}, got {value}")
    model = parse.absorption(absorption)
    options = RefinementOptions(
        free=() if free == USUAL else split_names(free),
        fixed=split_names(fix, "--fix") if fix else (),
        priors=parse.widths(prior),
        border=border,
        thicknesses=parse.thicknesses(thickness),
        beams=parse.beams(beams),
        absorption=model,
        factors=factors,
        method=method,  # type: ignore[arg-type]
        starts=starts,
        align=parse.align(align, no_align),
        weights="poisson" if poisson else "auto",
        common_scale=common_scale,
        robust=robust,
        blur=blur,
        steps=steps,
        max_shift=max_shift,
        background=background,  # type: ignore[arg-type]
        profile=profile,
    )
    run(experiment, crystal, options, out, resume, Reporter(quiet, as_json), block)


def run(
    experiments: Sequence[Path],
    crystal: str,
    options: RefinementOptions,
    out: Path,
    resume: bool,
    reporter: Reporter,
    block: str | None = None,
) -> None:
    """Read, check, refine, write."""
    from lacbed.crystals.load import load_crystal
    from lacbed.experiment.folder import load_experiment
    from lacbed.io.lock import claimed
    from lacbed.refinement import files
    from lacbed.refinement.joint import checked_stacks
    from lacbed.report import check_resumable

    check_resumable(out, "refinement", files.STATE, resume)
    with claimed(out, "refinement", inside=True):
        stacks, structure = [load_experiment(path) for path in experiments], load_crystal(crystal, block)
        mark = files.fingerprint(checked_stacks(stacks, structure)[0], structure, options)
        start = files.load_progress(out, mark) if resume else None
        _refine(structure, stacks, options, out, mark, start, reporter)


def _refine(
    structure: Crystal,
    stacks: Sequence[Experiment],
    options: RefinementOptions,
    out: Path,
    mark: str,
    start: Progress | None,
    reporter: Reporter,
) -> None:
    """Refine from a state or from the beginning, and write what was found."""
    from lacbed.refinement import files
    from lacbed.refinement.refine import refine

    clock, cpu = time.perf_counter(), time.process_time()
    told: set[str] = set()
    with reporter.progress("Refining") as bar:

        def tell(what: str, fraction: float) -> None:
            if bar is not None:
                bar(fraction)
            elif what not in told:
                told.add(what)
                reporter.say(f"  {what}")

        try:
            result = refine(
                stacks,
                structure,
                options,
                resume=start,
                on_progress=tell,
                on_checkpoint=lambda progress: files.save_progress(out, progress, mark),
            )
        except BaseException as error:
            if not isinstance(error, Exception) and (out / files.STATE).is_file():  # Ctrl-C, SIGTERM
                sys.stderr.write(
                    f"lacbed: the best state is in {out / files.STATE}; continue from it with --resume\n"
                )
            raise
    numbers, written = files.write_results(out, structure, stacks, result, options)
    seconds = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
    _report(structure.name, numbers, written, seconds, reporter)


def _report(
    name: str, numbers: dict[str, Any], written: list[Path], seconds: dict[str, float], reporter: Reporter
) -> None:
    from lacbed.refinement.uncertainties import with_uncertainty

    reporter.say(
        f"{name}: mean Z {numbers['mean_Z_aligned']:.4f} aligned, {numbers['mean_Z']:.4f} not, over "
        f"{len(numbers['reflections'])} reflections; {seconds['cpu_seconds']:.0f} CPU seconds"
    )
    several = len(numbers["stacks"]) > 1
    for number, one in enumerate(numbers["stacks"], 1) if several else ():
        reporter.say(f"  stack {number}: {one['name']}, mean Z {one['mean_Z_aligned']:.4f} aligned")
    rows: list[tuple[str, ...]] = [("parameter", "start", "refined", "unit")]
    for label, row in numbers["free"].items():
        rows.append(
            (label, f"{row['start']:.6g}", with_uncertainty(row["value"], row["uncertainty"]), row["unit"])
        )
    for line in columns(rows):
        reporter.say(f"  {line}")
    if numbers["profile"] is not None:
        found = numbers["profile"]
        reporter.say(
            f"  {found['name']}: interval of 68 % from {found['low']:.6g} to {found['high']:.6g} {found['unit']}"
        )
    for number, one in enumerate(numbers["stacks"], 1):
        which = f"stack {number}: " if several else ""
        reporter.say(
            f"  {which}{one['beams']} beams; {one['check_beams']} change intensities by at most "
            f"{one['check_max_difference']:.2g}"
        )
    for note in numbers["notes"]:
        reporter.say(f"  note: {note}")
    for path in written:
        reporter.say(f"  wrote {path}")
    reporter.finish({**numbers, **seconds, "files": [str(path) for path in written]})
