"""lacbed benchmark: data, submissions, scores and the table of a benchmark that anyone can enter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, columns, size_text
from lacbed.errors import FileFormatError, SettingError

if TYPE_CHECKING:
    from lacbed.benchmark.definition import Definition, Entry

NAME = "benchmark"
app = typer.Typer(
    name=NAME, help="Enter a benchmark of learned simulators, or score an entry.", no_args_is_help=True
)

BenchmarkOption = Annotated[
    str, typer.Option("--benchmark", metavar="NAME", help="LACBED-1, trial (tiny), or a definition (.toml).")
]
DataOption = Annotated[
    Path, typer.Option("--data", "-d", metavar="DATA.zarr", help="The data of the task.", show_default=False)
]


@app.command("data")
def data_command(
    data: Annotated[str, typer.Argument(metavar="DATA", help="000 or ten.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DATA.zarr", help="Folder to write.", show_default=False)
    ],
    side: Annotated[
        str | None,
        typer.Option(
            "--only", metavar="SIDE", help="Only crystals that are train, validation or test in some split."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--drawn", metavar="SEED", help="New test crystals drawn by this seed, in place of the benchmark's."
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many crystals to draw.")] = 200,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-j", metavar="N", help="Number of processes; by default one per core."),
    ] = None,
    benchmark: BenchmarkOption = "LACBED-1",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Make the data of a benchmark, the same on every machine; run the same command again to resume.

    Example: lacbed benchmark data 000 -o lacbed-1-000.zarr
    """
    from lacbed.benchmark.definition import load_definition
    from lacbed.benchmark.task_data import plan_of
    from lacbed.cli.building import report_built, workers_for
    from lacbed.cli.console import build_progress
    from lacbed.datasets.build import build, check_place

    definition = load_definition(benchmark)
    if data not in definition.data:
        raise SettingError(f"the data of {definition.name} are {' and '.join(definition.data)}, got {data!r:.60}")
    check_place(out)
    chosen, together = workers_for(workers, None, "cpu")
    reporter = Reporter(quiet, as_json)
    plan = plan_of(definition, data, _entries(definition, side, seed, count))
    with build_progress(quiet or as_json) as tell:
        built = build(plan, out, chosen, together=together, progress=tell)
    report_built(built, out, reporter)


def _entries(definition: Definition, side: str | None, seed: int | None, count: int) -> list[Entry]:
    from lacbed.benchmark.definition import drawn, entries
    from lacbed.benchmark.task_data import entries_on

    if seed is not None and side is not None:
        raise SettingError("give --only or --drawn, not both; drawn crystals are all for testing")
    if seed is not None:
        return list(drawn(definition, seed, count))
    return list(entries(definition)) if side is None else entries_on(definition, side)


@app.command("answer")
def answer_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="mean, nearest, a packaged model, or the folder of a model.", show_default=False
        ),
    ],
    data: DataOption,
    task: Annotated[str, typer.Option("--task", metavar="TASK", help="Such as forward-000.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="The submission.", show_default=False)
    ],
    split: Annotated[str, typer.Option("--split", help="row, compound, prototype or drawn.")] = "compound",
    benchmark: BenchmarkOption = "LACBED-1",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Write the submission of a baseline, or of a model trained with lacbed.

    Example: lacbed benchmark answer nearest --data lacbed-1-000.zarr --task forward-000 -o nearest
    """
    from lacbed.benchmark.answers import answer
    from lacbed.benchmark.submission import check_place, write_submission
    from lacbed.benchmark.task_data import open_task
    from lacbed.io.lock import claimed

    check_place(out)
    reporter = Reporter(quiet, as_json)
    with claimed(out, "submission", inside=False):
        there = open_task(data, task, split, "test", benchmark)
        with reporter.progress("Predicting") as progress:
            card, values, sigma = answer(model, there, progress)
        write_submission(out, card, there, values, sigma)
    reporter.say(f"{card.name}: predictions for {len(there)} crystals")
    reporter.say(f"  wrote {out} ({size_text(out)})")
    reporter.finish({"folder": str(out), "crystals": len(there), "name": card.name})


@app.command("score")
def score_command(
    submission: Annotated[
        Path,
        typer.Argument(metavar="SUBMISSION", help="A folder with predictions and card.toml.", show_default=False),
    ],
    data: DataOption,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.json", help="Also write the score, for the table.")
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(
            "--training",
            metavar="DATA.zarr",
            help="For a drawn test: the benchmark's data, to find near duplicates.",
        ),
    ] = None,
    benchmark: BenchmarkOption = "LACBED-1",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Judge predictions: Z and absolute errors with 95 % intervals, calibration, leaks, and a row for the table.

    Nothing in the submission is run, and no pickle is loaded.

    Example: lacbed benchmark score nearest --data lacbed-1-000.zarr
    """
    import json

    from lacbed.benchmark.score import score
    from lacbed.benchmark.table import read_score
    from lacbed.io.atomic import check_replaceable, replacing
    from lacbed.report import finite

    if out is not None:
        if out.suffix.lower() != ".json":
            raise FileFormatError(f"a score is written as .json, got {str(out)!r}")
        if not out.parent.is_dir():
            raise FileFormatError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}; make it")
        check_replaceable(out, lambda path: bool(read_score(path)), "score")
    reporter = Reporter(quiet, as_json)
    with reporter.progress("Scoring") as progress:
        found = score(submission, data, benchmark=benchmark, training=training, progress=progress)
    if out is not None:
        with replacing(out) as temporary:
            temporary.write_text(json.dumps(finite(found), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for line in _lines(found):
        reporter.say(line)
    for line in _doubts(found):
        reporter.warn(line)
    if out is not None:
        reporter.say(f"  wrote {out}")
    reporter.finish({**found, "warnings": _doubts(found)})


_TITLES = {
    "z_mean": "Z mean",
    "z_median": "Z median",
    "z_p90": "Z p90",
    "z_max": "Z max",
    "below_1_percent": "Z < 1 %",
    "below_5_percent": "Z < 5 %",
    "relative_l2_mean": "rel. L2 mean",
    "relative_l2_median": "rel. L2 median",
    "r_median": "R median",
    "max_difference_median": "max |ΔI| median",
}


def _lines(found: dict[str, Any]) -> list[str]:
    from lacbed.benchmark.table import HEAD, row

    metrics, spread = found["metrics"], found["intervals"]
    where = f"split by {found['split']}" if found["seed"] is None else f"crystals drawn by seed {found['seed']}"
    lines = [
        f"{found['name']}: {found['benchmark']}, {found['task']}, {where}; {found['crystals']} crystals, "
        f"{metrics['images']:g} images",
        "",
    ]
    rows = [("", "", "95 % interval")]
    for name, title in _TITLES.items():
        if name == "max_difference_median" and found["unit"] == "V":
            continue
        low, high = (100 * value for value in spread[name])
        rows.append((title, f"{100 * metrics[name]:.3g} %", f"{low:.3g} to {high:.3g} %"))
    lines += [*columns(rows), ""]
    for part, key, unit in (("by_thickness", "thickness", " Å"), ("by_reflection", "hkl", "")):
        shown = [one for one in found.get(part, []) if one["z_mean"] is not None]
        if len(shown) > 1:
            lines.append(
                "Z mean: " + ", ".join(f"{_short(o[key])}{unit} {100 * o['z_mean']:.3g} %" for o in shown)
            )
    if found["calibration"] is not None:
        sure = found["calibration"]
        lines.append(
            f"expected errors: {100 * sure['within_1_sigma']:.3g} % of the pixels within 1 sigma (68.3 % if "
            f"normal), {100 * sure['within_2_sigma']:.3g} % within 2 (95.4 %)"
        )
    near = found["leaks"]["near_duplicates"]
    if near is not None:
        rest = found["leaks"]["without_them"]
        z = f"; Z mean without them {100 * rest['z_mean']:.3g} %" if rest and rest["images"] else ""
        lines.append(
            f"near duplicates (Z < 0.1 %) among the training crystals: {near} of {found['crystals']} crystals{z}"
        )
    lines += ["", f"| {' | '.join(HEAD)} |", f"| {' | '.join(row(found))} |"]
    return lines


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _doubts(found: dict[str, Any]) -> list[str]:
    doubts = []
    copies = found["leaks"]["copies_of_the_truth"]
    if copies:
        doubts.append(f"of {found['crystals']} predictions, {copies} equal the labels to rounding")
    if found["leaks_by_design"]:
        doubts.append("with a split by row the same compound is on both sides: the test set leaks")
    if found["leaks"]["near_duplicates"] is None:
        hint = "give --training" if found["seed"] is not None else "the data hold test crystals only"
        doubts.append(f"near duplicates among the training crystals were not looked for: {hint}")
    if found["lost"]:
        doubts.append(f"crystals that could not be computed and were left out: {len(found['lost'])}")
    return doubts


@app.command("card")
def card_command(
    scores: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SCORE.json]...", help="Scores to add to the packaged ones.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.md", help="Also write the table.")
    ] = None,
    benchmark: BenchmarkOption = "LACBED-1",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Show the table of a benchmark: every measured model, and what has not been measured.

    Example: lacbed benchmark card mine.json
    """
    from lacbed.benchmark.definition import load_definition
    from lacbed.benchmark.table import packaged_scores, read_score, table
    from lacbed.io.atomic import check_replaceable, replacing

    definition = load_definition(benchmark)
    if out is not None:
        if out.suffix.lower() != ".md":
            raise FileFormatError(f"the table is written as .md, got {str(out)!r}")
        if not out.parent.is_dir():
            raise FileFormatError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}; make it")
        check_replaceable(out, lambda path: path.read_text("utf-8").startswith(f"# {definition.name}"), "table")
    found = packaged_scores(benchmark)
    for path in scores or ():
        one = read_score(path)
        if one["benchmark"] != definition.name or one["task"] not in definition.tasks:
            raise SettingError(f"{path} is a score of {one['benchmark']!r:.60}, not of {definition.name}")
        found.append(one)
    text = table(found, definition)
    if out is not None:
        with replacing(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    reporter = Reporter(quiet, as_json)
    reporter.say(text.rstrip())
    if out is not None:
        reporter.say(f"wrote {out}")
    reporter.finish({"benchmark": definition.name, "scores": found, "file": None if out is None else str(out)})
