"""The folder of a solution: its state on the way, and map, columns, crystals and a report at the end."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lacbed import report
from lacbed.crystals.cell import FloatArray
from lacbed.errors import FileFormatError
from lacbed.experiment.experiment import Experiment
from lacbed.io.atomic import replacing
from lacbed.io.checks import is_list, is_number, is_whole, read_json
from lacbed.patterns.result import software
from lacbed.retrieval.columns import SHAPE_B, columns_of
from lacbed.retrieval.comparison import MOST_ABSORPTION, MOST_BLUR
from lacbed.retrieval.elements import UNDECIDED, Guess, by_element
from lacbed.retrieval.search import RESOLUTION, SearchState, Trial
from lacbed.retrieval.solution import Solution, SolveOptions

STATE, RESULT = "state.json", "solution.json"
SEARCH = 3
"""Counts the changes of what a search compares; its residuals say nothing to another one."""

_LARGEST = 10**7  # bytes
_MOST = 10_000  # trials, roots


def fingerprint(experiment: Experiment, cell: tuple[float, ...], options: SolveOptions) -> str:
    """Changes whenever the search would be another one; the time it may take is no part of it."""
    digest = hashlib.sha256(np.ascontiguousarray(experiment.images).tobytes())
    how = {k: v for k, v in asdict(options).items() if k not in ("seconds", "refined", "elements")}
    rest = [experiment.hkl, experiment.energy, experiment.half_width, experiment.center, list(cell), how]
    rest += [SEARCH, experiment.zone_axis, experiment.x_direction, experiment.foil_normal]
    if experiment.variance is not None:
        digest.update(np.ascontiguousarray(experiment.variance).tobytes())
    digest.update(json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def state_to_json(state: SearchState, mark: str) -> dict[str, Any]:
    """Where a search stands, as JSON holds it."""
    return {
        "fingerprint": mark,
        "round": state.round,
        "draws": state.draws,
        "cpu_seconds": state.cpu,
        "history": list(state.history),
        "trials": [
            {"values": t.columns.vector().tolist(), "R": t.residual, "roots": list(t.roots), "round": t.round}
            for t in state.trials
        ],
    }


def state_from_json(content: Mapping[str, Any], mark: str, name: str) -> SearchState:
    """Where an interrupted search stood.

    Args:
        content: what `state_to_json` made.
        mark: fingerprint of the search that goes on.
        name: of the place that it comes from, for messages.

    Raises:
        FileFormatError: if it is damaged, impossible, or belongs to another search.
    """
    if content.get("fingerprint") != mark:
        raise FileFormatError(
            f"{name} belongs to another experiment, cell, settings or version of lacbed; choose another folder"
        )
    good = (
        is_whole(content.get("round"), 0, 10**6)
        and is_whole(content.get("draws"), 0, 10**9)
        and is_number(content.get("cpu_seconds"), 0)
        and is_list(content.get("history"), lambda v: is_number(v, 0))
        and is_list(content.get("trials"), _is_trial)
        and len(content["trials"]) <= _MOST
    )
    if not good:
        raise FileFormatError(f"cannot resume from {name}: it is damaged; start again in another folder")
    trials = tuple(
        Trial(columns_of(np.array(t["values"], dtype=float)), float(t["R"]), tuple(t["roots"]), int(t["round"]))
        for t in content["trials"]
    )
    history = tuple(float(v) for v in content["history"])
    return SearchState(content["round"], content["draws"], trials, history, float(content["cpu_seconds"]))


def save_state(folder: Path, state: SearchState, mark: str) -> None:
    """Write where a search stands, whole or not at all."""
    with replacing(folder / STATE) as temporary:
        temporary.write_text(json.dumps(state_to_json(state, mark)), encoding="utf-8")


def load_state(folder: Path, mark: str) -> SearchState:
    """Where an interrupted search stood.

    Raises:
        FileFormatError: as `state_from_json` does.
    """
    path = folder / STATE
    content = read_json(path, "the state of a search", _LARGEST, FileFormatError)
    return state_from_json(content, mark, repr(str(path)))


def _is_trial(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    numbers = value.get("values")
    return (
        is_list(numbers, lambda v: is_number(v, -1e3, 1e3))
        and len(numbers) >= 7
        and len(numbers) % 4 == 3
        and all(-10 <= v <= 1 for v in numbers[(len(numbers) - 3) // 2 : 3 * (len(numbers) - 3) // 4])
        and 0 < numbers[-3] < 14
        and 0 <= numbers[-2] <= MOST_ABSORPTION
        and 0 <= numbers[-1] <= MOST_BLUR
        and is_number(value.get("R"), 0)
        and is_list(value.get("roots"), lambda v: is_whole(v, 0))
        and is_whole(value.get("round"), 0)
    )


def summary(solution: Solution) -> dict[str, Any]:
    """The numbers of a solution, as JSON holds them."""
    best, count = solution.best, len(solution.best.columns)
    spread = best.spread
    places = best.columns.places @ solution.cell.edges.T
    apart = _place_errors(solution)
    return {
        "software": software(),
        "solved": solution.solved,
        "score": solution.score,
        "R": best.residual,
        "R_held_out": best.held_out,
        "noise": best.noise,
        "gap": solution.gap,
        "met": len(best.roots),
        "thickness": solution.thickness,
        "thickness_of_columns": best.columns.thickness,
        "thickness_uncertainty": best.columns.thickness * float(spread[-3]),
        "absorption": best.columns.alpha,
        "absorption_uncertainty": float(spread[-2]),
        "blur": math.sqrt(best.columns.blur),  # standard deviation in pixels
        "half_width": best.half_width,
        "resolution": RESOLUTION,
        "plane_group": solution.plane_group,
        "operations": [
            {
                "kind": o.kind,
                "matrix": o.matrix.tolist(),
                "shift": o.shift.tolist(),
                "likeness": o.likeness,
            }
            for o in solution.operations
        ],
        "polarity": solution.polarity,
        "centring": solution.cell.centring,
        "columns": [
            {
                "u": float(best.columns.places[i, 0]),
                "v": float(best.columns.places[i, 1]),
                "x": float(places[i, 0]),
                "y": float(places[i, 1]),
                "position_uncertainty": float(apart[i]),
                "strength": float(best.columns.strength[i]),
                "strength_uncertainty": float(best.columns.strength[i] * spread[2 * count + i]),
                "width": float(best.columns.width[i]),
                "width_uncertainty": float(spread[3 * count + i]),
                "elements": [{"element": e, "probability": p} for e, p in by_element(solution.elements[i])],
                "decided": by_element(solution.elements[i])[0][1] >= UNDECIDED,
            }
            for i in range(count)
        ],
        "candidates": [
            {
                "space_group": c.crystal.space_group,
                "formula": c.crystal.formula,
                "Z_held_out": c.held_out,
                "thickness": None if c.refinement is None else float(c.refinement.state.thickness),
            }
            for c in solution.candidates
        ],
        "rivals": [
            {"R": r.residual, "thickness": r.columns.thickness, "columns": len(r.columns)} for r in solution.rivals
        ],
        "rounds": solution.search.round,
        "draws": solution.search.draws,
        "cpu_seconds_of_search": solution.search.cpu,
        "notes": list(solution.notes),
    }


def _place_errors(solution: Solution) -> FloatArray:
    """Standard uncertainty of the distance from the first column in Å, per axis: (k,)."""
    count = len(solution.best.columns)
    shares = np.stack([solution.best.spread[:count], solution.best.spread[count : 2 * count]], axis=1)
    return np.asarray(np.sqrt(np.square(shares * np.linalg.norm(solution.cell.edges, axis=0)).sum(axis=1) / 2))


def write_solution(solution: Solution, folder: str | Path, name: str = "") -> list[Path]:
    """Write map, columns, crystals, report and pictures; the folder may hold the state of the search.

    Args:
        solution: what to write.
        folder: where to; made if it is not there.
        name: of the experiment, for titles.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    from lacbed.patterns.figures import replace_figure
    from lacbed.patterns.files import save_array
    from lacbed.retrieval.solve_figures import images_figure, map_figure, search_figure

    out = Path(folder)
    out.mkdir(exist_ok=True)
    numbers = summary(solution)
    save_array(solution.potential(), out / "map.nc")
    replace_figure(map_figure(solution), out / "map.png")
    replace_figure(images_figure(solution), out / "images.png")
    replace_figure(search_figure(solution), out / "search.png")
    with replacing(out / "columns.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        heads = [k for k in numbers["columns"][0] if k not in ("elements", "decided")]
        writer.writerow([*heads, "elements"])
        for row in numbers["columns"]:
            odds = " ".join(f"{e['element']}:{e['probability']:.3f}" for e in row["elements"][:8])
            writer.writerow([*(f"{row[k]:.6g}" for k in heads), odds])
    for place, candidate in enumerate(solution.candidates, 1):
        with replacing(out / f"candidate-{place}.cif") as temporary:
            temporary.write_text(candidate.crystal.to_cif(), encoding="utf-8")
    with replacing(out / RESULT) as temporary:
        temporary.write_text(json.dumps(report.finite(numbers), indent=1, ensure_ascii=False) + "\n", "utf-8")
    _write_report(out, name or solution.experiment.name, solution, numbers)
    return sorted(p for p in out.iterdir() if p.name not in (STATE, ".lock", ".owner"))


def odds(column: tuple[Guess, ...], most: int = 4) -> str:
    """The elements of a column: "Ge 62 %, As 30 %", "undecidable: ..." where none is likely."""
    listed = ", ".join(f"{e} {100 * p:.0f} %" for e, p in by_element(column)[:most] if p > 0.005)
    return listed if by_element(column)[0][1] >= UNDECIDED else f"undecidable: {listed}"


def in_words(solution: Solution) -> str:
    """Whether the structure can be trusted, and what speaks for and against it."""
    best, met = solution.best, len(solution.best.roots)
    said = [
        f"its R beyond noise is {solution.gap:.2f} times that of the next answer",
        f"{met} independent starts led to it" if met > 1 else "only one start led to it",
        f"R is {best.residual:.3f}, and {best.held_out:.3f} at tilts that were held out",
    ]
    verdict = "Solved" if solution.solved else "Not solved: the structure must not be trusted"
    return f"{verdict} (score {solution.score:.2f} of 1, no calibrated probability): {', '.join(said)}."


def _write_report(folder: Path, name: str, solution: Solution, numbers: dict[str, Any]) -> None:
    facts = [
        ("", "solved" if solution.solved else "not solved"),
        ("score from 0 to 1 (not a calibrated probability)", f"{solution.score:.2f}"),
        ("columns", str(len(solution.best.columns))),
        ("thickness", f"{solution.thickness:.0f} Å"),
        ("plane group", solution.plane_group),
    ]
    columns = [
        (
            str(i + 1),
            f"{row['x']:.2f}, {row['y']:.2f} ± {row['position_uncertainty']:.2f}",
            f"{row['strength']:.4f} ± {row['strength_uncertainty']:.4f}",
            f"{row['width']:+.2f} ± {row['width_uncertainty']:.2f}",
            odds(solution.elements[i]),
        )
        for i, row in enumerate(numbers["columns"])
    ]
    crystals = [
        (
            str(place),
            c["space_group"],
            c["formula"],
            report.percent(c["Z_held_out"]),
            "–" if c["thickness"] is None else f"{c['thickness']:.0f}",
        )
        for place, c in enumerate(numbers["candidates"], 1)
    ]
    in_rounds = f"{numbers['rounds']} round{'' if numbers['rounds'] == 1 else 's'}"
    parts = [
        f"Searched by {numbers['software']} in {in_rounds} of {numbers['draws']} structures, "
        f"{numbers['cpu_seconds_of_search']:.0f} CPU seconds. R is the part of the contrast that is not "
        "explained; 0 is perfect.",
        report.figure(
            "map.png", f"Projected potential up to |g| = {RESOLUTION:g} 1/Å, four cells, and its columns."
        ),
        "## Columns",
        report.table(
            ("column", "x, y / Å", "strength / (1/Å²)", f"B / Å² beyond {SHAPE_B:g}", "elements"), columns, (0, 4)
        ),
        f"Thickness of the columns {numbers['thickness_of_columns']:.0f} ± "
        f"{numbers['thickness_uncertainty']:.0f} Å, absorption U' = ({numbers['absorption']:.3f} ± "
        f"{numbers['absorption_uncertainty']:.3f}) U, blur by the camera {numbers['blur']:.2f} pixels, half-width "
        f"{numbers['half_width']:.4f} 1/Å.",
        "## Confidence",
        f"{in_words(solution)} The inverted structure has {numbers['polarity']:.3f} times its R.",
        report.figure(
            "search.png",
            "Residuals of all minima in the order in which they were found, and R of the "
            "best structure against thickness.",
        ),
        "## Images",
        report.figure(
            "images.png", "Measured and simulated intensities, and their difference, at the same tilts."
        ),
        "## Symmetry",
        report.table(
            ("operation", "matrix", "likeness"),
            [(o["kind"], str(o["matrix"]), f"{o['likeness']:.4f}") for o in numbers["operations"]],
            (0, 1),
        ),
        "## Crystals",
        *(
            [report.table(("", "space group", "formula", "Z held out", "thickness / Å"), crystals, (0, 1, 2))]
            if crystals
            else ["No crystal of three dimensions was found that projects to these columns."]
        ),
    ]
    report.write_report(folder, f"Solution of {name}", parts, facts, solution.notes)
