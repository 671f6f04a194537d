"""Files of a refinement: its state on the way, and the results at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacbed.crystals import Crystal
from lacbed.errors import FileFormatError
from lacbed.experiment.experiment import Experiment
from lacbed.io.atomic import replacing
from lacbed.io.checks import is_list, is_number, is_whole, read_json
from lacbed.patterns.files import save_pattern
from lacbed.refinement.charge import deformation_map
from lacbed.refinement.objective import make_target, z_of
from lacbed.refinement.options import Progress, RefinementOptions
from lacbed.refinement.problem import Measured
from lacbed.refinement.refine import Refinement
from lacbed.refinement.report import refined_cif, summary, write_text
from lacbed.report import MARKDOWN, PAGE, finite
from lacbed.settings import MAX_THICKNESS

STATE = "state.json"
MOST_BEAMS = 20_000
_LARGEST = 10**8  # bytes


def fingerprint(measured: Measured, crystal: Crystal, options: RefinementOptions) -> str:
    """Changes whenever the refinement would be another one, and not with the way in which a CIF is written."""
    digest = hashlib.sha256()
    for values in (measured.images, measured.variance):
        if values is not None:
            digest.update(np.ascontiguousarray(values).tobytes())
    structure = [
        crystal.cell,
        crystal.rotations.tolist(),
        np.round(crystal.translations, 9).tolist(),
        [(s.label, s.element, s.xyz, s.occupancy, s.u_iso, s.u_aniso) for s in crystal.sites],
    ]
    rest = [measured.hkl, measured.energy, measured.half_width, measured.center, structure, asdict(options)]
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
        "shifts": None if progress.moves is None else progress.moves.tolist(),
        "scan": progress.scan.tolist(),
        "history": [list(entry) for entry in progress.history],
        "notes": list(progress.notes),
    }
    with replacing(folder / STATE) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def load_progress(folder: Path, mark: str) -> Progress:
    """The state that an interrupted refinement left.

    Raises:
        FileFormatError: if it is damaged, impossible, or belongs to another refinement.
    """
    path = folder / STATE
    try:
        content = read_json(path, "the state of a refinement", _LARGEST, FileFormatError)
    except FileFormatError as error:
        raise FileFormatError(f"{error}; it is damaged, start again in another folder") from None

    def part(name: str, expected: str, good: Callable[[Any], bool]) -> Any:
        value = content.get(name)
        if not good(value):
            raise FileFormatError(
                f"cannot resume from {str(path)!r}: {name} must be {expected}, got {value!r:.60}; start again in "
                "another folder"
            )
        return value

    if part("fingerprint", "a text", lambda v: isinstance(v, str)) != mark:
        raise FileFormatError(
            f"{str(path)!r} belongs to another experiment, crystal, settings or version of lacbed; choose another "
            "folder"
        )
    moves = part("shifts", "null, or two or six numbers for each image", lambda v: v is None or _is_moves(v))
    scan = part("scan", "pairs of a thickness and Z", lambda v: _is_table(v, lambda x: is_number(x) and x >= 0))
    return Progress(
        part("stage", "a whole number from 0 on", lambda v: is_whole(v, 0, 100)),
        np.array(part("values", "a list of numbers", lambda v: is_list(v, is_number)), dtype=float),
        float(part("thickness", f"a number above 0 and at most {MAX_THICKNESS:g} (Å)", _is_thickness)),
        float(part("blur", "a number above 0 and at most 10 (pixels)", lambda v: is_number(v) and 0 < v <= 10)),
        part("beams", f"a whole number from 1 to {MOST_BEAMS}", lambda v: is_whole(v, 1, MOST_BEAMS)),
        None if moves is None else np.array(moves, dtype=float).reshape(len(moves), -1),
        np.array(scan, dtype=float).reshape(-1, 2),
        tuple(
            (n, float(z)) for n, z in part("history", "pairs of a stage and Z", lambda v: is_list(v, _is_entry))
        ),
        tuple(part("notes", "a list of texts", lambda v: is_list(v, lambda x: isinstance(x, str)))),
    )


def _is_thickness(value: Any) -> bool:
    return is_number(value) and 0 < value <= MAX_THICKNESS


def _is_table(value: Any, good: Callable[[Any], bool]) -> bool:
    """Whether a value is a list of pairs."""
    return is_list(value, lambda row: is_list(row, good, 2))


def _is_moves(value: Any) -> bool:
    return is_list(value, lambda row: is_list(row, is_number, 2)) or is_list(
        value, lambda row: is_list(row, is_number, 6)
    )


def _is_entry(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and is_number(value[1])


def write_results(
    folder: Path, crystal: Crystal, experiment: Experiment, result: Refinement, options: RefinementOptions
) -> tuple[dict[str, Any], list[Path]]:
    """All results into the folder: numbers and the files written."""
    from lacbed.patterns.figures import replace_figure
    from lacbed.refinement.figures import (  # matplotlib is slow
        comparison_figure,
        correlation_figure,
        deformation_figure,
        scan_figure,
    )

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
    if len(result.parameters) > 1:
        figures["correlation.png"] = correlation_figure(**numbers["correlation"])
    density = deformation_map(result)
    if density is not None:
        figures["deformation.png"] = deformation_figure(result, *density)
        with replacing(folder / "deformation.npz") as temporary, temporary.open("wb") as stream:
            np.savez(stream, x=density[0], y=density[0], density=density[1], repeat=density[2])
        written.append(folder / "deformation.npz")
    for picture, figure in figures.items():
        replace_figure(figure, folder / picture)
        written.append(folder / picture)
    text("refined.cif", refined_cif(crystal, result))
    text("result.json", json.dumps(finite(numbers), indent=1, ensure_ascii=False))
    write_text(folder, name, numbers)
    written += [folder / MARKDOWN, folder / PAGE]
    save_pattern(_simulated(experiment, result), folder / "simulated.nc")
    written.append(folder / "simulated.nc")
    return numbers, written


def _simulated(experiment: Experiment, result: Refinement) -> Any:
    """The model without moves as a pattern on the fitted grid, fractions of the incident intensity."""
    state = result.state
    centre = float(state.tilt[0]), float(state.tilt[1])
    base = experiment.select(result.measured.hkl).on_grid(float(state.half_width), centre).pattern
    pattern = base.copy(data=result.fit.images.numpy()[None])
    pattern = pattern.assign_coords(thickness=("thickness", [float(state.thickness)], {"units": "Å"}))
    pattern.attrs = {
        **base.attrs,
        "kind": "simulated",
        "units": "fraction of the incident intensity",
        "long_name": "LACBED intensity",
        "notes": list(result.notes),
    }
    return pattern
