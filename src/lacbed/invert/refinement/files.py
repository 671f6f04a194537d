"""Files of a refinement: its state on the way, and the results at the end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacbed.crystals import Crystal
from lacbed.errors import FileFormatError
from lacbed.invert.experiment import Experiment
from lacbed.invert.refinement.measured import Measured
from lacbed.invert.refinement.objective import make_target, z_of
from lacbed.invert.refinement.options import Options, Progress
from lacbed.invert.refinement.refine import Refinement
from lacbed.invert.refinement.report import refined_cif, report_text, summary
from lacbed.patterns.atomic import replacing
from lacbed.patterns.files import save_pattern
from lacbed.patterns.lock import is_empty

STATE = "state.json"


def measured_of(experiment: Experiment, crystal: Crystal) -> Measured:
    """An experiment as refinement takes it."""
    return Measured(
        experiment.images, experiment.hkl, experiment.frame(crystal), experiment.energy, experiment.half_width,
        experiment.center,
    )  # fmt: skip


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds something else, before any long work.

    Raises:
        FileFormatError: if it exists and is not empty, cannot be made, or there is nothing to resume.
    """
    if resume and not (folder / STATE).is_file():
        raise FileFormatError(f"there is no {STATE} in {str(folder)!r} to resume from")
    if folder.exists() and not folder.is_dir():
        raise FileFormatError(f"{str(folder)!r} is a file; the results of a refinement go to a folder")
    if not resume and not is_empty(folder):
        raise FileFormatError(
            f"the folder {str(folder)!r} is not empty; choose a new one, or --resume what is there"
        )
    if not folder.parent.is_dir():
        raise FileFormatError(f"cannot write {str(folder)!r}: there is no folder {str(folder.parent)!r}; make it")


def fingerprint(measured: Measured, crystal: Crystal, options: Options) -> str:
    """Changes whenever the refinement would be another one."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(measured.images).tobytes())
    rest = [measured.hkl, measured.energy, measured.half_width, measured.center, crystal.to_cif(), asdict(options)]
    digest.update(json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def save_progress(folder: Path, progress: Progress, mark: str) -> None:
    """Write the state, whole or not at all; the folder is made if it is not there."""
    folder.mkdir(exist_ok=True)
    content = {
        "fingerprint": mark,
        "stage": progress.stage,
        "values": progress.values.tolist(),
        "thickness": progress.thickness,
        "blur": progress.blur,
        "beams": progress.beams,
        "shifts": None if progress.shifts is None else progress.shifts.tolist(),
        "scan": progress.scan.tolist(),
        "history": [list(entry) for entry in progress.history],
        "notes": list(progress.notes),
    }
    with replacing(folder / STATE) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def load_progress(folder: Path, mark: str) -> Progress:
    """The state that an interrupted refinement left.

    Raises:
        FileFormatError: if it is damaged or belongs to another refinement.
    """
    try:
        content: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if content["fingerprint"] != mark:
            raise FileFormatError(
                f"{str(folder / STATE)!r} is of another experiment, crystal or settings; choose another folder"
            )
        shifts = None if content["shifts"] is None else np.array(content["shifts"], dtype=float)
        return Progress(
            int(content["stage"]), np.array(content["values"], dtype=float), float(content["thickness"]),
            float(content["blur"]), int(content["beams"]), shifts,
            np.array(content["scan"], dtype=float).reshape(-1, 2),
            tuple((str(name), float(z)) for name, z in content["history"]),
            tuple(str(note) for note in content["notes"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{str(folder / STATE)!r} is damaged; start again in another folder") from None


def write_results(
    folder: Path, crystal: Crystal, experiment: Experiment, result: Refinement, options: Options
) -> tuple[dict[str, Any], list[Path]]:
    """All results into the folder: numbers and the files written."""
    from lacbed.invert.refinement.figures import comparison_figure, scan_figure  # noqa: PLC0415  matplotlib is slow
    from lacbed.invert.refinement.page import report_page  # noqa: PLC0415
    from lacbed.patterns.figures import save_figure  # noqa: PLC0415

    numbers, name = summary(result, options), experiment.name or crystal.name
    written = []

    def text(name: str, content: str) -> None:
        with replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written.append(folder / name)

    target = make_target(torch.as_tensor(result.measured.images))
    z = z_of(result.fit_aligned.images, target).numpy()
    figures = {"comparison.png": comparison_figure(result, z)}
    if len(result.progress.scan) > 1:
        figures["thickness.png"] = scan_figure(result)
    for picture, figure in figures.items():
        with replacing(folder / picture) as temporary:
            save_figure(figure, temporary)
        written.append(folder / picture)
    text("refined.cif", refined_cif(crystal, result))
    text("result.json", json.dumps(_plain(numbers), indent=1, ensure_ascii=False))
    text("report.md", report_text(name, numbers, list(figures)))
    text("report.html", report_page(name, result, numbers))
    save_pattern(_simulated(experiment, result), folder / "simulated.nc")
    written.append(folder / "simulated.nc")
    return numbers, written


def _plain(value: Any) -> Any:
    """NaN and infinity, which JSON lacks, become null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _simulated(experiment: Experiment, result: Refinement) -> Any:
    """The model without shifts as a pattern on the fitted grid, fractions of the incident intensity."""
    state = result.state
    centre = float(state.tilt[0]), float(state.tilt[1])
    base = experiment.select(result.measured.hkl).on_grid(float(state.half_width), centre).pattern
    pattern = base.copy(data=result.fit.images.numpy()[None])
    pattern = pattern.assign_coords(thickness=("thickness", [float(state.thickness)], {"units": "Å"}))
    pattern.attrs = {
        **base.attrs, "kind": "simulated", "units": "fraction of the incident intensity",
        "long_name": "LACBED intensity", "notes": list(result.notes),
    }  # fmt: skip
    return pattern
