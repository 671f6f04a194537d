"""Files of a refinement: its state on the way, and the results at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import FileFormatError
from lacbed.experiment.experiment import Experiment
from lacbed.io.atomic import replacing
from lacbed.io.checks import is_list, is_number, is_whole, read_json
from lacbed.patterns.files import save_pattern
from lacbed.refinement.charge import deformation_map
from lacbed.refinement.options import Progress, RefinementOptions, Start
from lacbed.refinement.problem import Measured
from lacbed.refinement.report import refined_cif, summary
from lacbed.refinement.report_text import numbered, write_text
from lacbed.refinement.result import RefinedStack, Refinement
from lacbed.report import MARKDOWN, PAGE, finite
from lacbed.settings import MAX_THICKNESS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATE = "state.json"
MOST_BEAMS = 20_000
_LARGEST = 10**8  # bytes


def fingerprint(measured: Measured | Sequence[Measured], crystal: Crystal, options: RefinementOptions) -> str:
    """Changes whenever the refinement would be another one, and not with the way in which a CIF is written."""
    digest, stacks = hashlib.sha256(), [measured] if isinstance(measured, Measured) else measured
    how = {key: value for key, value in asdict(options).items() if key != "profile"}  # comes after it
    structure = [
        crystal.cell,
        crystal.rotations.tolist(),
        np.round(crystal.translations, 9).tolist(),
        [(s.label, s.element, s.xyz, s.occupancy, s.u_iso, s.u_aniso) for s in crystal.sites],
    ]
    for one in stacks:
        for values in (one.images, one.variance):
            if values is not None:
                digest.update(np.ascontiguousarray(values).tobytes())
        rest = [one.hkl, one.energy, one.half_width, one.center, structure, how, *([one.cone] if one.cone else [])]
        digest.update(json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def save_progress(folder: Path, progress: Progress, mark: str) -> None:
    """Write the state, whole or not at all; the folder is made if it is not there."""
    folder.mkdir(exist_ok=True)
    first, *others = [_start_content(start) for start in progress.starts]
    content = {
        "fingerprint": mark,
        "stage": progress.stage,
        "values": progress.values.tolist(),
        **first,
        "history": [list(entry) for entry in progress.history],
        "notes": list(progress.notes),
        **({"others": others} if others else {}),
    }
    with replacing(folder / STATE) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _start_content(start: Start) -> dict[str, Any]:
    return {
        "thickness": start.thickness,
        "blur": start.blur,
        "beams": start.beams,
        "shifts": None if start.moves is None else start.moves.tolist(),
        "scan": start.scan.tolist(),
    }


Take = Callable[[dict[str, Any], str, str, Callable[[Any], bool]], Any]
"""Gives an entry of a mapping by its name, what is expected there, and whether a value is that."""


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

    def take(given: dict[str, Any], name: str, expected: str, good: Callable[[Any], bool]) -> Any:
        value = given.get(name)
        if not good(value):
            raise FileFormatError(
                f"cannot resume from {str(path)!r}: {name} must be {expected}, got {value!r:.60}; start again in "
                "another folder"
            )
        return value

    if take(content, "fingerprint", "a text", lambda v: isinstance(v, str)) != mark:
        raise FileFormatError(
            f"{str(path)!r} belongs to another experiment, crystal, settings or version of lacbed; choose another "
            "folder"
        )
    others = take(
        {"others": []} | content,
        "others",
        "a list of objects",
        lambda v: is_list(v, lambda x: isinstance(x, dict)),
    )
    return Progress(
        take(content, "stage", "a whole number from 0 on", lambda v: is_whole(v, 0, 100)),
        np.array(take(content, "values", "a list of numbers", lambda v: is_list(v, is_number)), dtype=float),
        tuple(_start_of(one, take) for one in (content, *others)),
        tuple(
            (n, float(z))
            for n, z in take(content, "history", "pairs of a stage and Z", lambda v: is_list(v, _is_entry))
        ),
        tuple(take(content, "notes", "a list of texts", lambda v: is_list(v, lambda x: isinstance(x, str)))),
    )


def _start_of(given: dict[str, Any], take: Take) -> Start:
    """Where one stack began."""
    moves = take(
        given, "shifts", "null, or two or six numbers for each image", lambda v: v is None or _is_moves(v)
    )
    scan = take(
        given, "scan", "pairs of a thickness and Z", lambda v: _is_table(v, lambda x: is_number(x) and x >= 0)
    )
    return Start(
        float(take(given, "thickness", f"a number above 0 and at most {MAX_THICKNESS:g} (Å)", _is_thickness)),
        float(
            take(given, "blur", "a number above 0 and at most 10 (pixels)", lambda v: is_number(v) and 0 < v <= 10)
        ),
        take(given, "beams", f"a whole number from 1 to {MOST_BEAMS}", lambda v: is_whole(v, 1, MOST_BEAMS)),
        None if moves is None else np.array(moves, dtype=float).reshape(len(moves), -1),
        np.array(scan, dtype=float).reshape(-1, 2),
    )


def _is_thickness(value: Any) -> bool:
    return is_number(value) and 0 < value <= MAX_THICKNESS


def _is_table(value: Any, good: Callable[[Any], bool]) -> bool:
    """Whether a value is a list of pairs."""
    return is_list(value, lambda row: is_list(row, good, 2))


def _is_moves(value: Any) -> bool:
    return (
        value is None
        or is_list(value, lambda row: is_list(row, is_number, 2))
        or is_list(value, lambda row: is_list(row, is_number, 6))
    )


def _is_entry(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and is_number(value[1])


def write_results(
    folder: Path,
    crystal: Crystal,
    experiment: Experiment | Sequence[Experiment],
    result: Refinement,
    options: RefinementOptions,
) -> tuple[dict[str, Any], list[Path]]:
    """All results into the folder: numbers and the files written."""
    from lacbed.patterns.figures import replace_figure

    given = [experiment] if isinstance(experiment, Experiment) else list(experiment)
    names = [one.name or crystal.name for one in given]
    numbers, written = summary(result, options, names), []

    def text(name: str, content: str) -> None:
        with replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written.append(folder / name)

    density = deformation_map(result)
    if density is not None:
        with replacing(folder / "deformation.npz") as temporary, temporary.open("wb") as stream:
            np.savez(stream, x=density[0], y=density[0], density=density[1], repeat=density[2])
        written.append(folder / "deformation.npz")
    for picture, figure in _pictures(result, numbers, density).items():
        replace_figure(figure, folder / picture)
        written.append(folder / picture)
    text("refined.cif", refined_cif(crystal, result))
    text("result.json", json.dumps(finite(numbers), indent=1, ensure_ascii=False))
    write_text(folder, " and ".join(dict.fromkeys(names)), numbers)
    written += [folder / MARKDOWN, folder / PAGE]
    for number, (one, stack) in enumerate(zip(given, result.stacks, strict=True), 1):
        written.append(folder / numbered("simulated.nc", number, len(given)))
        save_pattern(_simulated(one, stack, result.notes), written[-1])
    return numbers, written


def _pictures(
    result: Refinement, numbers: dict[str, Any], density: tuple[FloatArray, FloatArray, float] | None
) -> dict[str, Figure]:
    """Figures by the names of their files."""
    from lacbed.refinement.figures import (  # matplotlib is slow
        comparison_figure,
        correlation_figure,
        deformation_figure,
        profile_figure,
        scan_figure,
    )

    figures, count = {}, len(result.stacks)
    for number, stack in enumerate(result.stacks, 1):
        z = np.array([row["Z_aligned"] for row in numbers["reflections"] if row["stack"] == number])
        figures[numbered("comparison.png", number, count)] = comparison_figure(stack, z)
        if len(stack.start.scan) > 1:
            figures[numbered("thickness.png", number, count)] = scan_figure(stack)
    if len(result.parameters) > 1:
        figures["correlation.png"] = correlation_figure(**numbers["correlation"])
    if result.profile is not None:
        figures["profile.png"] = profile_figure(result.profile)
    if density is not None:
        figures["deformation.png"] = deformation_figure(result, *density)
    return figures


def _simulated(experiment: Experiment, stack: RefinedStack, notes: Sequence[str]) -> Any:
    """The model without moves as a pattern on the fitted grid, fractions of the incident intensity."""
    state = stack.state
    centre = float(state.tilt[0]), float(state.tilt[1])
    base = experiment.select(stack.measured.hkl).on_grid(float(state.half_width), centre).pattern
    pattern = base.copy(data=stack.fit.images.numpy()[None])
    pattern = pattern.assign_coords(thickness=("thickness", [float(state.thickness)], {"units": "Å"}))
    pattern.attrs = {
        **base.attrs,
        "kind": "simulated",
        "units": "fraction of the incident intensity",
        "long_name": "LACBED intensity",
        "notes": list(notes),
    }
    return pattern
