"""lacbed experiment extract: from a tilt series of camera frames to a stack."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, size_text
from lacbed.errors import FileFormatError, SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lacbed.experiment.extract.pipeline import Extraction
    from lacbed.experiment.extract.settings import ExtractSettings

_SPOT = re.compile(r"\s*([^,=]+),([^,=]+)=([^=]+)")


def command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FRAMES",
            help="The series: .npy, HDF5, .zarr, TIFF, DM3, DM4, MIB, MRC, Blockfile, EMPAD, HyperSpy; or a "
            "folder with one TIFF or .npy file per frame.",
            show_default=False,
        ),
    ],
    crystal: o.CrystalArgument,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Experiment file (.nc, .zarr, .npz).", show_default=False
        ),
    ] = None,
    voltage: o.VoltageOption = 200.0,
    zone: o.ZoneOption = "0,0,1",
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FOLDER", help="Write a report with pictures.")
    ] = None,
    look: Annotated[
        bool,
        typer.Option(
            "--look", help="Only inspect the frames and write a report, to check them or to choose spots."
        ),
    ] = False,
    scan: Annotated[
        str | None, typer.Option("--scan", metavar="ROWSxCOLUMNS", help="Tilts of the scan; by default a square.")
    ] = None,
    order: Annotated[str, typer.Option("--order", help="Order of the rows: auto, raster or serpentine.")] = "auto",
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="NAME", help="Array in an HDF5 file; by default the largest."),
    ] = None,
    spot: Annotated[
        list[str] | None,
        typer.Option(
            "--spot", metavar="X,Y=H,K,L", help="A disc of the mean frame whose indices are known; give two."
        ),
    ] = None,
    beam: Annotated[
        str | None,
        typer.Option("--beam", metavar="X,Y", help="Direct beam in the mean frame, if it is not found."),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept the best indices where the data are not decisive.")
    ] = False,
    gain: Annotated[
        float | None,
        typer.Option("--gain", metavar="COUNTS", help="Counts per electron; by default found from the noise."),
    ] = None,
    readout: Annotated[
        float | None, typer.Option("--readout", metavar="COUNTS", help="Readout noise of a pixel (with --dark).")
    ] = None,
    dark: Annotated[
        str | None, typer.Option("--dark", metavar="FILE|COUNTS", help="Dark reference: an image or a number.")
    ] = None,
    gain_reference: Annotated[
        Path | None, typer.Option("--gain-reference", metavar="FILE", help="Image by which frames are divided.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", metavar="FILE", help="Mask image: pixels that are not 0 are left out.")
    ] = None,
    saturation: Annotated[
        float | None, typer.Option("--saturation", metavar="COUNTS", help="Counts at which a pixel saturates.")
    ] = None,
    vacuum: Annotated[
        Path | None,
        typer.Option(
            "--vacuum",
            metavar="FRAMES",
            help="The same scan without the sample; its direct beam shows the descan error.",
        ),
    ] = None,
    distortion: Annotated[
        bool,
        typer.Option("--distortion/--no-distortion", help="Find a smooth distortion of the tilts and correct it."),
    ] = True,
    radius: Annotated[
        float | None, typer.Option("--radius", metavar="PIXELS", help="Radius of the aperture around a disc.")
    ] = None,
    background: Annotated[
        str,
        typer.Option("--background", help="smooth (averaged over neighbouring tilts) or ring (of each frame)."),
    ] = "smooth",
    images: Annotated[
        int, typer.Option("--images", metavar="N", help="Keep only the N most significant images; 0 for all.")
    ] = 0,
    foil_normal: o.FoilOption = None,
    name: Annotated[str, typer.Option("--name", help="Name of the sample.")] = "",
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Extract a stack from a tilt series of camera frames.

    Example: lacbed experiment extract series.npy GaAs -V 200 --zone 1,1,0 -o GaAs.nc --report report
    """
    from lacbed.crystals.load import load_crystal
    from lacbed.experiment.extract import report as pages
    from lacbed.experiment.extract.frames import open_frames
    from lacbed.experiment.extract.settings import ExtractSettings
    from lacbed.patterns.files import check_writable

    if look and report is None:
        raise SettingError("--look writes only a report; say where with --report FOLDER")
    if not look and not out:
        raise SettingError("say where the stack is to be written, with -o FILE.nc; or use --look")
    for path in out or []:
        check_writable(path)
        if path.suffix.lower() not in (".nc", ".zarr", ".npz"):
            raise SettingError(
                f"a stack with variance and mask is written as .nc, .zarr or .npz, got {str(path)!r}"
            )
    if report is not None:
        pages.check_folder(report)
    shape = None if scan is None else _shape(scan)
    settings = ExtractSettings(
        scan=shape,
        order=order,  # type: ignore[arg-type]
        dark=_reference(dark, "--dark"),
        flat=1.0 if gain_reference is None else _image(gain_reference),
        mask=None if mask is None else _image(mask),
        saturation=saturation,
        gain=gain,
        readout=readout,
        vacuum=None if vacuum is None else open_frames(vacuum, shape, dataset),
        distortion=distortion,
        radius=radius,
        background=background,  # type: ignore[arg-type]
        beam=None if beam is None else _pair(beam, "--beam"),
        spots=tuple(_spot(text) for text in spot or []),
        accept=accept,
        images=images,
        foil_normal=None if foil_normal is None else _three(parse.numbers(foil_normal, "--foil-normal", 3)),
        name=name,
    )
    structure = load_crystal(crystal, block)
    energy, axis = parse.energy(voltage), parse.integers(zone, "--zone")
    series = open_frames(source, settings.scan, dataset)
    reporter = Reporter(quiet, as_json)
    reporter.say(f"{series.source}: {len(series)} frames of {series.camera[0]} x {series.camera[1]} pixels")
    if look:
        _look(series, settings, report, reporter)
        return
    from lacbed.experiment.extract.pipeline import extract

    with reporter.progress("Extracting") as bar:
        tell = _Stages(bar)
        found = extract(series, structure, axis, energy, settings, progress=tell)
    _finish(found, out or [], report, reporter)


def _look(series: Any, settings: ExtractSettings, report: Path | None, reporter: Reporter) -> None:
    from lacbed.experiment.extract import report as pages
    from lacbed.experiment.extract.look import look_at

    with reporter.progress("Looking at the frames") as bar:
        seen = look_at(series, settings, bar)
    assert report is not None
    pages.write_look(seen, report, f"{series.source}: first look")
    for note in seen.notes:
        reporter.say(f"  {note}")
    reporter.say(f"  wrote {report / 'report.html'}")
    reporter.finish({"notes": list(seen.notes), "files": [str(report)], "scan": list(seen.scan.shape)})


class _Stages:
    """The progress of several stages as one bar."""

    SHARES = (("looking at the frames", 0.3), ("summing the discs", 0.4), ("finding the indices", 0.3))

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def __call__(self, what: str, part: float) -> None:
        if self._bar is None:
            return
        before = 0.0
        for name, share in self.SHARES:
            if name == what:
                self._bar.describe(what.capitalize())
                self._bar(before + share * part)
                return
            before += share


def _finish(found: Extraction, out: list[Path], report: Path | None, reporter: Reporter) -> None:
    import json

    from lacbed.experiment.extract import report as pages
    from lacbed.patterns.files import save_pattern

    experiment, grid = found.experiment, found.orientation.grid
    for path in out:
        save_pattern(experiment.pattern, path)
    if report is not None:
        pages.write_extraction(found, report)
    su = grid.uncertainty
    reporter.say(
        f"{experiment.name} {list(experiment.zone_axis)} {experiment.energy / 1e3:g} kV: "
        f"{len(experiment.hkl)} reflections "
        f"of {experiment.pixels} x {experiment.pixels} pixels"
    )
    reporter.say(
        f"  half-width {grid.half_width:.5g}({su[0]:.1g}) 1/Å, centre ({grid.center[0]:.4f}, "
        f"{grid.center[1]:.4f}) "
        f"1/Å, x along {', '.join(f'{v:.4g}' for v in grid.x_direction)}, orientation {grid.orientation}"
    )
    for note in experiment.notes:
        reporter.say(f"  {note}")
    written = [*out, *([report / "report.html"] if report is not None else [])]
    for path in written:
        reporter.say(f"  wrote {path} ({size_text(path)})")
    reporter.finish(
        {
            "files": [str(p) for p in written],
            "hkl": [list(g) for g in experiment.hkl],
            "half_width": grid.half_width,
            "center": list(grid.center),
            "x_direction": list(grid.x_direction),
            "orientation": grid.orientation,
            "rotation": grid.rotation,
            "uncertainty": dict(zip(("half_width", "rotation", "center_x", "center_y"), su, strict=True)),
            "extraction": json.loads(str(experiment.pattern.attrs["extraction"])),
            "notes": list(experiment.notes),
        }
    )


def _shape(text: str) -> tuple[int, int]:
    words = text.lower().replace("x", ",").split(",")
    if len(words) != 2 or not all(w.strip().isdigit() for w in words):
        raise SettingError(f"--scan must be rows and columns of tilts such as 64x64, got {text!r}")
    return int(words[0]), int(words[1])


def _pair(text: str, option: str) -> tuple[float, float]:
    x, y = parse.numbers(text, option, 2)
    return x, y


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]


def _spot(text: str) -> tuple[tuple[float, float], tuple[int, int, int]]:
    found = _SPOT.fullmatch(text)
    if found is None:
        raise SettingError(f"--spot must be X,Y=H,K,L such as 71.5,40=2,0,0, got {text!r}")
    h, k, l = parse.integers(found[3], "--spot")  # noqa: E741
    return _pair(f"{found[1]},{found[2]}", "--spot"), (h, k, l)


def _image(path: Path) -> NDArray[Any]:
    """One image of a reference: (row, column)."""
    from lacbed.experiment.stack import read_images

    values = read_images(path)
    if values.ndim != 2:
        raise FileFormatError(f"{str(path)!r} holds {len(values)} images; a reference is one")
    return values


def _reference(text: str | None, option: str) -> NDArray[Any] | float:
    if text is None:
        return 0.0
    try:
        return float(text)
    except ValueError:
        return _image(Path(text))
