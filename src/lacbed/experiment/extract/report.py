"""The report of an extraction: one page with numbers and pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from lacbed import report
from lacbed.experiment.extract import figures
from lacbed.experiment.extract.integrate import FLAGS
from lacbed.experiment.extract.look import Look
from lacbed.experiment.extract.pipeline import Extraction
from lacbed.io.atomic import replacing
from lacbed.patterns.figures import replace_figure
from lacbed.report import figure, finite, number, percent, table

SUMMARY = "extraction.json"
FRAMES, TRACK, INDICES, LINES, GROUND, IMAGES = (
    f"{name}.png" for name in ("frames", "track", "indices", "lines", "background", "images")
)
_FILES = (report.MARKDOWN, report.PAGE, FRAMES, TRACK, INDICES, LINES, GROUND, IMAGES)


def check_folder(folder: Path) -> Path:
    """Find out before the work whether the report can be written; an earlier one may be replaced.

    Raises:
        FileFormatError: if something else is there.
    """
    return report.check_folder(folder, "report of an extraction", (SUMMARY,), _FILES)


def write_look(look: Look, folder: Path, title: str) -> None:
    """Write the report of a first look alone."""
    folder.mkdir(exist_ok=True)
    _write_summary(folder, {"look": _look_numbers(look)})
    replace_figure(figures.frames_figure(look), folder / FRAMES)
    replace_figure(figures.track_figure(look), folder / TRACK)
    report.write_report(folder, title, [*_look_parts(look)], _look_facts(look), look.notes)


def write_extraction(extraction: Extraction, folder: Path) -> None:
    """Write the report of an extraction."""
    from lacbed.patterns.figures import montage

    folder.mkdir(exist_ok=True)
    experiment, look, grid = extraction.experiment, extraction.look, extraction.orientation.grid
    pictures = {
        FRAMES: figures.frames_figure(look),
        TRACK: figures.track_figure(look),
        INDICES: figures.indices_figure(extraction),
        LINES: figures.lines_figure(extraction),
        GROUND: figures.background_figure(extraction),
        IMAGES: montage(experiment.pattern),
    }
    for name, drawn in pictures.items():
        replace_figure(drawn, folder / name)
    facts = [
        ("reflections", str(len(experiment.hkl))),
        ("half-width / (1/Å)", f"{grid.half_width:.5g} ± {grid.uncertainty[0]:.1g}"),
        ("rotation / degrees", f"{grid.rotation:.2f} ± {grid.uncertainty[1]:.1g}"),
        ("counts per electron", number(extraction.stack.noise.gain)),
    ]
    parts = [*_look_parts(look), *_orientation_parts(extraction), *_image_parts(extraction)]
    summary = json.loads(str(experiment.pattern.attrs["extraction"])) | {"notes": list(experiment.notes)}
    _write_summary(folder, summary | {"look": _look_numbers(look)})
    title = f"{experiment.name}: extraction of a stack"
    report.write_report(folder, title, parts, facts, experiment.notes)


def _write_summary(folder: Path, content: dict[str, Any]) -> None:
    with replacing(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps(finite(content), indent=1), "utf-8")


def _look_numbers(look: Look) -> dict[str, Any]:
    return {
        "scan": list(look.scan.shape),
        "serpentine": look.scan.serpentine,
        "lattice": look.lattice.basis.tolist(),
        "discs": len(look.lattice.sites),
        "disc_radius": look.aperture.disc,
        "aperture": look.aperture.radius,
        "scatter": look.track.scatter,
        "notes": list(look.notes),
    }


def _look_facts(look: Look) -> list[tuple[str, str]]:
    rows, columns = look.scan.shape
    return [
        ("tilts", f"{rows} x {columns}"),
        ("disc radius / pixels", f"{look.aperture.disc:.2f}"),
        ("nearest discs / pixels", f"{look.lattice.nearest:.1f}"),
        ("discs on the camera", str(len(look.lattice.sites))),
    ]


def _look_parts(look: Look) -> list[str]:
    a, b = look.lattice.basis.tolist()
    rows = [
        (
            "basis vectors of the discs (row, column) / pixels",
            f"({a[0]:.2f}, {a[1]:.2f}) ({b[0]:.2f}, {b[1]:.2f})",
        ),
        ("radius at half height / pixels", f"{look.aperture.disc:.2f}"),
        (
            "aperture / pixels",
            f"{look.aperture.radius:.2f}, which takes in {percent(look.aperture.share)} of a disc",
        ),
        ("scatter of single frames around the track / pixels", f"{look.track.scatter:.2f}"),
        ("hot or dead pixels", str(int(look.camera.broken.sum()))),
        ("pixels behind a beam stop or mask", str(int(look.camera.blind.sum()))),
    ]
    return [
        "## Frames",
        figure(FRAMES, "Mean frame before and after correction of descan error and drift, and the mean disc."),
        table(("camera", "value"), rows, (0, 1)),
        figure(
            TRACK, "Where the pattern lay on the camera at every tilt, against its median, and the tilts used."
        ),
    ]


def _orientation_parts(extraction: Extraction) -> list[str]:
    o, grid = extraction.orientation, extraction.orientation.grid
    su, (shift, error) = grid.uncertainty, o.tilts.displacement
    bent = (number(shift, ".3f"), number(error, ".1g")) if shift else ("–", "–")
    rows = [
        ("half-width / (1/Å)", number(grid.half_width, ".6g"), number(su[0], ".1g")),
        (
            "rotation of the columns from the default x / degrees",
            number(grid.rotation, ".3f"),
            number(su[1], ".1g"),
        ),
        ("centre kx / (1/Å)", number(grid.center[0], ".5f"), number(su[2], ".1g")),
        ("centre ky / (1/Å)", number(grid.center[1], ".5f"), number(su[3], ".1g")),
        ("step down the rows over step along the columns, less 1", percent(grid.stretch), "–"),
        ("axes off the right angle / degrees", number(grid.shear, ".3f"), "–"),
        ("largest displacement by a smooth distortion / tilts", *bent),
        ("correlation of the images with their inversion", number(o.tilts.symmetry, ".3f"), "–"),
    ]
    chosen = "Two named spots decide the indices." if o.choice is None else f"Indices: {o.choice.why}."
    return [
        "## Indices and tilts",
        chosen + f" The shape of the lattice allows {o.ways} ways to index it.",
        figure(INDICES, "Mean frame with the indices of the discs."),
        "Every image is symmetric about the middle of its Bragg line; the lines follow from all of these centres.",
        figure(LINES, "Images over the scan with their Bragg lines; a cross marks the centre of the inversion."),
        table(("tilts", "value", "s.u."), rows),
    ]


def _image_parts(extraction: Extraction) -> list[str]:
    e = extraction.experiment
    flags = e.pattern["mask"].values
    noise, under = e.variance, e.background
    assert noise is not None
    assert under is not None
    rows = []
    for label, image, v, b in zip(e.labels, e.images, noise, under, strict=True):
        known = np.isfinite(image)
        mean, ground = float(image[known].mean()), float(b[known].mean())
        error = math.sqrt(float(v[known].mean()))
        rows.append((label, number(mean), number(ground), number(error), percent(1 - float(known.mean()))))
    reasons = [(text, str(int(((flags & flag) > 0).sum()))) for flag, text in FLAGS.items()]
    return [
        "## Images",
        figure(GROUND, "One image before and after the background was taken away."),
        figure(IMAGES, "The stack."),
        table(("hkl", "mean / e", "background / e", "typical s.u. / e", "masked"), rows),
        table(("masked because", "pixels"), reasons),
    ]
