"""The table of a benchmark, from scores; those of this package's own models are packaged, as measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from lacbed.benchmark.definition import DEFAULT, SPLITS, Definition, Task, load_definition
from lacbed.errors import FileFormatError
from lacbed.io.checks import is_list, is_number, read_json
from lacbed.report import escape

PACKAGED = "scores.json"
NUMBERS = ("z_mean", "z_median", "z_p90", "relative_l2_median", "r_median", "below_1_percent")
HEAD = ("", "Z mean", "Z median", "Z p90", "rel. L2, median", "R, median", "Z < 1 %", "ms")
BASELINES = ("mean of the training set", "nearest neighbour")
OF_000 = ("vae-symmetric", "downfold (fast)", "downfold (default)")
"""Models of this package; they predict 000 only."""

_LARGEST = 10**8


def read_score(path: str | Path) -> dict[str, Any]:
    """A score as `lacbed benchmark score -o` wrote it.

    Raises:
        FileFormatError: if there is none, or it is something else.
    """
    found = read_json(Path(path), "a score", _LARGEST, FileFormatError)
    _check(found, str(path))
    return found


def packaged_scores(benchmark: str = DEFAULT) -> list[dict[str, Any]]:
    """The scores of this package's own models and baselines."""
    path = Path(str(files("lacbed.benchmark").joinpath(PACKAGED)))
    every = read_json(path, "the packaged scores", _LARGEST, FileFormatError)["scores"]
    name = load_definition(benchmark).name
    return [one for one in every if one["benchmark"] == name]


def _check(found: Mapping[str, Any], path: str) -> None:
    metrics, intervals = found.get("metrics"), found.get("intervals")
    good = all(isinstance(found.get(key), str) for key in ("benchmark", "task", "split", "name"))
    if not good or not isinstance(metrics, Mapping) or not isinstance(intervals, Mapping):
        raise FileFormatError(f"{path!r} is not a score of lacbed benchmark score")
    if not all(is_number(metrics.get(name)) for name in NUMBERS) or not is_list(
        intervals.get("z_mean"), is_number, 2
    ):
        raise FileFormatError(f"{path!r} is not a score of lacbed benchmark score: it lacks numbers of the table")


def row(found: Mapping[str, Any]) -> tuple[str, ...]:
    """One row of the table: the mean Z with its interval, and the other numbers."""
    metrics = found["metrics"]
    cells = [_percent(metrics[name]) for name in NUMBERS]
    low, high = found["intervals"]["z_mean"]
    cells[0] += f" ({100 * low:.3g} to {100 * high:.3g})"
    speed = found.get("card", {}).get("milliseconds")
    return (str(found["name"]), *cells, f"{speed:.3g}" if is_number(speed, 1e-12) else "")


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def table(scores: Iterable[Mapping[str, Any]], definition: Definition) -> str:
    """Everything that is known, in Markdown: one table for each task and split, the best first."""
    every = list(scores)
    parts = [f"# {definition.name}", ""]
    for task in definition.tasks.values():
        for split in SPLITS:
            mine = [one for one in every if (one["task"], one["split"]) == (task.name, split)]
            missing = [name for name in _expected(definition, task) if name not in {one["name"] for one in mine}]
            if mine:
                parts += [f"## {task.name}, split by {split}", "", *_table(mine), ""]
            if missing and split != "drawn":
                title = "Not measured yet" if mine else f"{task.name}, split by {split}: not measured yet"
                parts += [f"{title}: {', '.join(missing)}.", ""]
    return "\n".join(parts).rstrip() + "\n"


def _expected(definition: Definition, task: Task) -> tuple[str, ...]:
    """What every table should have; rows that nobody has measured are named."""
    if task.predicts == "potential":
        return (*BASELINES, "inverse")
    return (*BASELINES, *OF_000) if len(definition.data[task.data].hkl) == 1 else BASELINES


def _table(scores: list[Mapping[str, Any]]) -> list[str]:
    ordered = sorted(scores, key=lambda one: (float(one["metrics"]["z_mean"]), str(one["name"])))
    lines = [f"| {' | '.join(HEAD)} |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
    return lines + [f"| {' | '.join(escape(cell) for cell in row(one))} |" for one in ordered]
