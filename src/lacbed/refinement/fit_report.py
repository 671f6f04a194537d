"""What a fit leaves behind: tables as Markdown, CSV and JSON, pictures, and both stacks as patterns."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacbed.errors import FileFormatError
from lacbed.io.atomic import check_replaceable, holds_only, replacing
from lacbed.patterns.files import save_pattern
from lacbed.refinement.fit import FitResult

SUMMARY = "fit.json"
_FILES = ("report.md", "table.csv", "montage.png", "scan.png", "simulation.nc", "experiment.nc")
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
    "Z is 1 - zero-mean normalised cross-correlation over all unmasked pixels of a measured image: 0 perfect, 1 "
    "uncorrelated. `Z`: one common geometry for all reflections. `Z_aligned`: each simulated image also shifted "
    "separately. `Z_weighted`: the same with the weights and the background that were requested. `Z_stated`: "
    "geometry as stated by the experiment, without shifts."
)


def check_folder(folder: Path) -> Path:
    """Find out before the work whether a folder of results can be written; an earlier fit may be replaced.

    Raises:
        FileFormatError: if something else is there.
    """
    if not folder.parent.is_dir():
        raise FileFormatError(f"cannot write {str(folder)!r}: there is no folder {str(folder.parent)!r}; make it")
    if folder.exists() and not folder.is_dir():
        raise FileFormatError(f"cannot write {str(folder)!r}: it is a file; name a folder")
    check_replaceable(folder, lambda there: holds_only(there, (SUMMARY,), _FILES), "fit")
    return folder


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
        (temporary / SUMMARY).write_text(json.dumps(finite(found), ensure_ascii=False, indent=1) + "\n")
        (temporary / "report.md").write_text(markdown(result))
        _write_csv(result, temporary / "table.csv")
        save_figure(fit_montage(result), temporary / "montage.png")
        save_figure(fit_scan_figure(result), temporary / "scan.png")
        save_pattern(result.simulation, temporary / "simulation.nc")
        save_pattern(result.experiment.pattern, temporary / "experiment.nc")
        return sorted(p.name for p in temporary.iterdir())


def markdown(result: FitResult) -> str:
    """The report for people."""
    s = summary(result)
    lines = [
        f"# {s['experiment']} against {s['crystal']}",
        "",
        f"Thickness {s['thickness']:.4g} Å. Mean Z {_percent(s['mean_Z'])}, aligned "
        f"{_percent(s['mean_Z_aligned'])} over {sum(r['used'] for r in s['reflections'])} reflections; with the "
        f"geometry as stated {_percent(s['mean_Z_stated_geometry'])}.",
        "",
        _EXPLANATION,
        "",
        "| common geometry | |",
        "|---|---|",
        f"| half-width | {s['half_width']:.5g} 1/Å (x {s['half_width_scale']:.4f} of the stated) |",
        f"| tilt of the centre | {s['tilt'][0]:+.5f}, {s['tilt'][1]:+.5f} 1/Å |",
        f"| rotation | {s['rotation_degrees']:+.3f}° |",
        f"| blur | {s['blur_pixels']:.2f} pixels (σ), the average over a pixel included |",
        f"| beams | {s['beams']}; {s['convergence']} |",
        f"| Bragg lines | correlation {_number(s['bragg']['correlation'])}, best half-width x "
        f"{s['bragg']['best_scale']:.3f}, best orientation {s['bragg']['best_orientation']} |",
        f"| CPU time | {s['cpu_seconds']:.0f} s |",
        "",
        "![measured, simulated, difference](montage.png)",
        "",
        "![mean Z against thickness](scan.png)",
        "",
    ]
    if s["warnings"]:
        lines += ["## Warnings", "", *(f"- {w}" for w in s["warnings"]), ""]
    lines += ["## Reflections", "", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in s["reflections"]:
        cells = [str(row["hkl"]).replace(",", " "), *(_number(row.get(c)) for c in COLUMNS[1:])]
        lines.append("| " + " | ".join(cells) + (" |" if row["used"] else " | not used: no contrast"))
    return "\n".join(lines) + "\n"


def finite(value: Any) -> Any:
    """As JSON has it: NaN and infinity become null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def _percent(value: float) -> str:
    return "-" if not math.isfinite(value) else f"{100 * value:.2f} %"


def _number(value: Any) -> str:
    return "-" if not isinstance(value, int | float) or not math.isfinite(value) else f"{value:.4g}"
