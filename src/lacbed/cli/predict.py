"""lacbed predict: patterns by the learned simulator, or computed where it has learned nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, size_text

if TYPE_CHECKING:
    import xarray as xr


def command(
    crystal: o.CrystalArgument,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            show_default=False,
            help="Output file; the suffix sets the format: .nc .zarr .npz .tif .hspy .zspy .png. May be repeated.",
        ),
    ] = None,
    thickness: o.ThicknessOption = "600",
    voltage: o.VoltageOption = 200.0,
    zone: o.ZoneOption = "0,0,1",
    hkl: o.HklOption = "0,0,0",
    exact: Annotated[bool, typer.Option("--check", help="Also compute the pattern exactly, and print Z.")] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", help="A model or run; it refuses what it has not learned."),
    ] = None,
    device: o.DeviceOption = "cpu",
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Predict a LACBED pattern with the learned simulator (cubic crystals along [001], 000), or else compute it.

    Example: lacbed predict SrTiO3 --thickness 300,600 -o pattern.png --check
    """
    axis, energy, thicknesses = parse.integers(zone, "--zone"), parse.energy(voltage), parse.thicknesses(thickness)
    reflections: Any = parse.reflections(hkl)

    from lacbed.crystals.load import load_crystal
    from lacbed.learn.surrogate import predict
    from lacbed.patterns.files import check_writable, save_pattern

    files = out or []
    for path in files:
        check_writable(path)
    structure, reporter = load_crystal(crystal, block), Reporter(quiet, as_json)
    start = time.perf_counter()
    called = crystal if block is None else (crystal, "--block", block)
    with reporter.progress("Computing") as bar:
        pattern = predict(
            structure,
            thicknesses,
            energy,
            zone_axis=axis,
            hkl=reflections,
            model=model,
            device=device,
            called=called,
            progress=bar,
        )
    seconds = time.perf_counter() - start
    checked = _check(structure, pattern, axis, reporter) if exact else {}
    for path in files:
        save_pattern(pattern, path)
    _report(pattern, files, seconds, checked, reporter)


def _check(crystal: Any, pattern: xr.DataArray, axis: tuple[int, ...], reporter: Reporter) -> dict[str, Any]:
    """The exact answer with the same settings: the largest Z of each thickness, and the seconds."""
    import numpy as np

    import lacbed

    attributes = pattern.attrs
    grid, absorption = (json.loads(attributes[name]) for name in ("grid", "absorption"))
    indices = np.stack([pattern[name].values for name in "hkl"], axis=1)
    start = time.perf_counter()
    with reporter.progress("Simulating") as progress:
        truth = lacbed.simulate(
            crystal,
            axis,
            energy=attributes["energy"],
            thicknesses=pattern["thickness"].values.tolist(),
            grid=lacbed.TiltGrid(pixels=grid["pixels"], extent=grid["extent"]),
            hkl=indices.tolist(),
            absorption=tuple(absorption) if isinstance(absorption, list) else absorption,
            factors=attributes["factors"],
            progress=progress,
        )
    seconds = time.perf_counter() - start
    scores = lacbed.compare_patterns(pattern, truth)
    names = ("Z", "relative_l2", "max_difference")
    return {"exact_seconds": seconds, **{name: scores[name].max("hkl").values.tolist() for name in names}}


def _report(
    pattern: xr.DataArray, files: list[Path], seconds: float, checked: dict[str, Any], reporter: Reporter
) -> None:
    attributes = pattern.attrs
    learned = attributes["kind"] == "learned"
    how = f"by the model {attributes['model']}" if learned else "computed"
    reporter.say(f"{attributes['crystal']} {attributes['energy'] / 1e3:g} kV {how}, {seconds:.3f} s")
    if not learned:
        reporter.say(f"  {attributes['notes'][-1]}")
        reporter.say(f"  estimated error of an intensity {attributes['error_estimate']:.2g}")
    for remark in attributes.get("warnings", ()):
        reporter.warn(remark)
    for number, thickness in enumerate(pattern["thickness"].values):
        text = f"  {thickness:g} Å:"
        if "expected_rms_error" in attributes:
            text += f" expected rms error {attributes['expected_rms_error'][number]:.2g},"
        if "expected_z" in attributes:
            text += f" expected Z {100 * attributes['expected_z'][number]:.3g} %,"
        if checked:
            text += (
                f" Z {100 * checked['Z'][number]:.3g} %,"
                f" relative L2 {100 * checked['relative_l2'][number]:.3g} %,"
                f" max |dI| {checked['max_difference'][number]:.2g},"
            )
        if not text.endswith(":"):
            reporter.say(text.rstrip(","))
    if checked:
        reporter.say(
            f"  exact: {checked['exact_seconds']:.2f} s; {'learned' if learned else 'this'}: {seconds:.3f} s"
        )
    for path in files:
        reporter.say(f"  wrote {path} ({size_text(path)})")
    kept = {key: value for key, value in attributes.items() if key != "crystal_cif"}
    reporter.finish({"files": [str(p) for p in files], "seconds": seconds, **checked, **kept})
