"""What a fit leaves behind: a report, tables as CSV and JSON, figures, and both stacks as patterns."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacbed import report
from lacbed.io.atomic import replacing
from lacbed.patterns.files import save_pattern
from lacbed.refinement.fit import FitResult
from lacbed.report import figure, number, percent, table

SUMMARY = "fit.json"
_FILES = (report.MARKDOWN, report.PAGE, "table.csv", "montage.png", "scan.png", "simulation.nc", "experiment.nc")
COLUMNS = (
    "hkl",
    "Z_stated",
    "Z",
    "Z_aligned",
    "Z_weighted",
    "shift_x",
    "shift_y",
    "scale",
    "background",
    "weight",
)


_EXPLANATION = (
    "Z is 1 \N{MINUS SIGN} zero-mean normalised cross-correlation over all unmasked pixels of a measured image: 0 "
    "is perfect, 1 is uncorrelated. Z: one common geometry for all reflections. Z aligned: each simulated image "
    "also shifted separately. Z weighted: the same with the weights and the background that were requested. Z "
    "stated: the geometry that the experiment states, without shifts."
)


def check_folder(folder: Path) -> Path:
    """Find out before the work whether a folder of results can be written; an earlier fit may be replaced.

    Raises:
        FileFormatError: if something else is there.
    """
    return report.check_folder(folder, "fit", (SUMMARY,), _FILES)


def summary(result: FitResult) -> dict[str, Any]:
    """Everything that was found, as plain numbers and text."""
    place, experiment = result.placement, result.experiment
    return {
        "experiment": experiment.name,
        "crystal": str(result.simulation.attrs["crystal"]),
        "thickness": result.thickness,
        "uncertainties": result.uncertainties,
        "mean_Z": result.merits.mean_z,
        "mean_Z_aligned": result.merits.mean_z_aligned,
        "mean_Z_weighted": result.merits.mean_z_weighted,
        "mean_Z_stated_geometry": result.stated.mean_z,
        "half_width": experiment.half_width,
        "half_width_scale": experiment.half_width / result.stated_half_width,
        "tilt": list(place.tilt),
        "rotation_degrees": math.degrees(place.rotation),
        "blur_pixels": place.blur,
        "beams": result.beams,
        "convergence": result.convergence,
        "bragg": {
            "correlation": result.bragg.stated,
            "best_orientation": result.bragg.orientation,
            "best_scale": result.bragg.scale,
        },
        "cpu_seconds": result.cpu_seconds,
        "warnings": list(result.warnings),
        "scan": [{"thickness": t, "mean_Z": z} for t, z in result.scan],
        "reflections": _rows(result),
    }


def write_report(result: FitResult, folder: Path, extra: Mapping[str, Any] | None = None) -> list[str]:
    """Write a folder with everything, whole or not at all, and say what is in it."""
    from lacbed.patterns.figures import save_figure
    from lacbed.refinement.figures import fit_montage, fit_scan_figure  # matplotlib takes its time

    with replacing(check_folder(folder)) as temporary:
        temporary.mkdir()
        found = {**summary(result), **(extra or {})}
        (temporary / SUMMARY).write_text(json.dumps(report.finite(found), ensure_ascii=False, indent=1) + "\n")
        _write_csv(result, temporary / "table.csv")
        save_figure(fit_montage(result), temporary / "montage.png")
        save_figure(fit_scan_figure(result), temporary / "scan.png")
        _write_text(result, temporary)
        save_pattern(result.simulation, temporary / "simulation.nc")
        save_pattern(result.experiment.pattern, temporary / "experiment.nc")
        return sorted(p.name for p in temporary.iterdir())


def _write_text(result: FitResult, folder: Path) -> None:
    """The report for people; its figures are in the folder."""
    s = summary(result)
    used = sum(row["used"] for row in s["reflections"])
    facts = [
        ("thickness", f"{s['thickness']:.4g} Å"),
        ("mean Z, each image shifted", percent(s["mean_Z_aligned"])),
        ("mean Z, one geometry for all", percent(s["mean_Z"])),
        ("mean Z, geometry as stated", percent(s["mean_Z_stated_geometry"])),
        ("reflections", str(used)),
    ]
    parts = [
        _EXPLANATION,
        figure(
            "montage.png",
            "Every reflection as measured and as simulated, and the difference simulated \N{MINUS SIGN} measured. "
            "Measured and simulated images share their greys.",
        ),
        "## Geometry",
        table(("common to all reflections", ""), _geometry(s), (0, 1)),
        "## Thickness",
        figure("scan.png", "Mean Z against the thickness; the line marks the best one."),
        "## Reflections",
        table([name.replace("_", " ") for name in COLUMNS], [_cells(row) for row in s["reflections"]]),
    ]
    report.write_report(folder, f"{s['experiment']} compared with {s['crystal']}", parts, facts, s["warnings"])


def _geometry(s: Mapping[str, Any]) -> list[tuple[str, str]]:
    bragg = s["bragg"]
    return [
        ("half-width", f"{s['half_width']:.5g} 1/Å ({s['half_width_scale']:.4f} times the stated one)"),
        ("tilt of the centre", f"{s['tilt'][0]:+.5f}, {s['tilt'][1]:+.5f} 1/Å"),
        ("rotation", f"{s['rotation_degrees']:+.3f}°"),
        ("blur", f"{s['blur_pixels']:.2f} pixels (σ), the average over a pixel included"),
        ("beams", f"{s['beams']}; {s['convergence']}"),
        (
            "Bragg lines",
            f"correlation {number(bragg['correlation'])}; best half-width {bragg['best_scale']:.3f} times the "
            f"stated one, best orientation {bragg['best_orientation']}",
        ),
        ("CPU time", f"{s['cpu_seconds']:.0f} s"),
    ]


def _cells(row: Mapping[str, Any]) -> list[str]:
    name = str(row["hkl"]).replace(",", " ")
    z = [percent(row.get(c, math.nan)) for c in COLUMNS[1:5]]
    shift = [number(row.get(c), "+.2f") for c in COLUMNS[5:7]]
    return [
        name if row["used"] else f"{name} (no contrast)",
        *z,
        *shift,
        *(number(row.get(c)) for c in COLUMNS[7:]),
    ]


def _rows(result: FitResult) -> list[dict[str, Any]]:
    stated = result.stated.z
    rows = result.merits.table()
    for row, z in zip(rows, stated, strict=True):
        if row["used"]:
            row["Z_stated"] = float(z)
    return rows


def _write_csv(result: FitResult, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_rows(result))
