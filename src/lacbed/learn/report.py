"""The report of an evaluation: Markdown and one HTML file, figures, and the table of all rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lacbed import report
from lacbed.io.atomic import replacing
from lacbed.learn import data, figures
from lacbed.learn.checkpoint import LoadedModel
from lacbed.learn.evaluate import MODEL, Evaluation, calibration, groups
from lacbed.learn.losses import answer_of, truth_of
from lacbed.patterns.figures import save_figure
from lacbed.report import MARKDOWN, PAGE, figure, percent, table

NEIGHBOUR = "nearest neighbour"
WORST = 20
_GROUPS = (
    ("space_group", "space group"),
    ("prototype", "prototype"),
    ("thickness", "thickness"),
    ("energy", "voltage"),
    ("atoms", "atoms in the cell"),
)

POSTER = {
    "z_min": 0.0022,
    "z_median": 0.036,
    "z_mean": 0.096,
    "z_p90": 0.25,
    "z_max": 1.30,
    "to_neighbour": 0.82,
}
"""What poster 295 (mmc2021) and the test losses behind it say: Z as fractions, 263 crystals, split by row."""


QUANTITIES = {"pattern": ("intensity", "ΔI"), "potential": ("the potential", "ΔV in V")}
"""What the errors of a model are errors of."""


_MARKS, _PICTURES = (
    ("summary.json", MARKDOWN, PAGE, "rows.parquet"),
    ("examples.png", "worst.png", "scatter.png"),
)


def check_folder(folder: Path) -> None:
    """Refuse a place where no report can be written, or where something else stands, before any work.

    Raises:
        FileFormatError: saying why.
    """
    report.check_folder(folder, "report", _MARKS, _PICTURES)


def write_report(
    evaluation: Evaluation,
    loaded: LoadedModel,
    test: data.PatternData,
    folder: str | Path,
    title: str,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write report.md, report.html, rows.parquet, summary.json and figures into a folder that is replaced whole.

    Args:
        evaluation: what to report.
        loaded: the model, which draws the examples.
        test: the crystals of the evaluation.
        folder: where to.
        title: of the report.
        notes: sentences above the tables.

    Returns:
        what summary.json holds.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    check_folder(Path(folder))
    result = overview(evaluation, test)
    with replacing(folder) as temporary:
        temporary.mkdir()
        _draw(evaluation, loaded, test, temporary)
        parts = [*map(report.escape, notes), *report_parts(evaluation, result)]
        report.write_report(temporary, title, parts, _facts(result))
        (temporary / "summary.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        _write_rows(evaluation, temporary / "rows.parquet")
    return result


def overview(evaluation: Evaluation, test: data.PatternData) -> dict[str, Any]:
    """The numbers of the report as one dictionary."""
    summaries = {name: evaluation.summary(name) for name in evaluation.names}
    ratio = summaries[MODEL]["z_mean"] / max(summaries[NEIGHBOUR]["z_mean"], 1e-12)
    columns = evaluation.columns
    wins = float(np.mean(columns[f"{MODEL} z"] < columns[f"{NEIGHBOUR} z"]))
    found: dict[str, Any] = {
        "summaries": summaries,
        "z_mean_to_neighbour": ratio,
        "better_than_neighbour": wins,
        "speed": evaluation.speed,
        "exact_cpu_seconds_per_crystal": data.exact_seconds(test),
        "warning": evaluation.warning,
        "calibration": calibration(evaluation),
    }
    for factor in (1, 2):
        if f"within_{factor}" in columns:
            found[f"pixels_within_{factor}_sigma"] = float(columns[f"within_{factor}"].mean())
    return found


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    own = result["summaries"][MODEL]
    return [
        ("mean Z", percent(own["z_mean"])),
        ("median Z", percent(own["z_median"])),
        ("patterns", str(own["patterns"])),
        ("better than the nearest neighbour", percent(result["better_than_neighbour"])),
        ("ms per pattern", f"{result['speed']['milliseconds_per_pattern']:.3g}"),
    ]


def report_parts(evaluation: Evaluation, result: Mapping[str, Any]) -> list[str]:
    """The report in Markdown, part by part; figures lie beside it."""
    quantity = "pattern" if evaluation.predicts == "pattern" else "potential"
    given = "potential" if evaluation.predicts == "pattern" else "pattern"
    parts = [
        "Z is 1 \N{MINUS SIGN} zero-mean normalised cross-correlation: 0 is perfect, 1 is uncorrelated.",
        _main_table(evaluation, result),
        figure(
            "examples.png",
            f"The best, an average and the worst prediction. From left to right: the {given} that the model was "
            f"given, the exact {quantity}, the learned one, and the difference learned \N{MINUS SIGN} exact.",
        ),
    ]
    for name, heading in _GROUPS:
        if name in evaluation.columns:
            parts += [f"## By {heading}", _group_table(evaluation, name, heading)]
    scatter = (
        "Left: Z of every prediction against the distance to the nearest training crystal. Right: actual errors "
        "against those that the model expected."
    )
    parts += ["## Trust", *_trust(evaluation, result), figure("scatter.png", scatter)]
    parts += [f"## The {min(WORST, len(evaluation.columns['position']))} worst", _worst_table(evaluation)]
    worst = "The worst predictions, in the order of the table: exact on the left, learned on the right."
    return [*parts, figure("worst.png", worst), "## Speed", _speed(result)]


def _main_table(evaluation: Evaluation, result: Mapping[str, Any]) -> str:
    summaries = result["summaries"]
    quantity, difference = QUANTITIES[evaluation.predicts]
    lines = [
        ("Z min", "z_min"),
        ("Z median", "z_median"),
        ("Z mean", "z_mean"),
        ("Z p75", "z_p75"),
        ("Z p90", "z_p90"),
        ("Z p95", "z_p95"),
        ("Z max", "z_max"),
        ("share with Z < 5 %", "below_5_percent"),
        ("share with Z < 1 %", "below_1_percent"),
        (f"relative L2 of {quantity}, median", "relative_l2_median"),
        (f"relative L2 of {quantity}, mean", "relative_l2_mean"),
    ]
    rows = [[label, *(percent(summaries[name][key]) for name in evaluation.names)] for label, key in lines]
    for label in ("median", "max"):
        values = (f"{summaries[name][f'max_difference_{label}']:.3g}" for name in evaluation.names)
        rows.append([f"max abs {difference}, {label}", *values])
    neighbour = summaries[NEIGHBOUR]["z_mean"]
    ratios = [f"{summaries[name]['z_mean'] / max(neighbour, 1e-12):.3g}" for name in evaluation.names]
    rows.append(["mean Z relative to nearest neighbour", *ratios])
    count = summaries[MODEL]["patterns"]
    better = f"The model is better than the nearest neighbour on {percent(result['better_than_neighbour'])}"
    heading, remark = ["", *evaluation.names], ""
    if evaluation.predicts == "pattern":  # which the poster did too
        keys = [*(key for _, key in lines), "", "", "to_neighbour"]
        rows = [[*row, _poster(key)] for row, key in zip(rows, keys, strict=True)]
        heading, remark = [*heading, "poster 295"], " (the poster's autoencoder: 49 %)"
    return f"{table(heading, rows)}\n\n{count} patterns. {better} of them{remark}."


def _poster(key: str) -> str:
    if key == "to_neighbour":
        return f"{POSTER[key]:g}"
    return percent(POSTER[key]) if key in POSTER else ""


def _group_table(evaluation: Evaluation, name: str, heading: str) -> str:
    rows = []
    for label, members in groups(evaluation, name):
        own, other = evaluation.summary(MODEL, members), evaluation.summary(NEIGHBOUR, members)
        values = (own["z_median"], own["z_mean"], own["z_p90"], own["z_max"], own["relative_l2_median"])
        rows.append([label, str(own["patterns"]), *map(percent, values), percent(other["z_mean"])])
    head = [heading, "patterns", "Z median", "Z mean", "Z p90", "Z max", "rel. L2 median", "neighbour Z mean"]
    return table(head, rows)


def _trust(evaluation: Evaluation, result: Mapping[str, Any]) -> list[str]:
    parts = []
    if evaluation.warning:
        caught, others = evaluation.warning["caught"], evaluation.warning["flagged_of_others"]
        bad = "no prediction has Z above 10 %"
        bad = bad if caught is None else f"it catches {percent(caught)} of the predictions with Z above 10 %"
        good = "there are no others" if others is None else f"it flags {percent(others)} of the others"
        parts.append(f"The warning: {bad}; {good}.")
    else:
        parts.append("The model has no warning.")
    bins = result["calibration"]
    if not bins:
        return [*parts, "The model predicts no uncertainty."]
    inside = [f"{percent(result[f'pixels_within_{n}_sigma'])} within {n} σ" for n in (1, 2)]
    parts.append(f"Errors of pixels: {' and '.join(inside)} (a normal distribution: 68.3 % and 95.4 %).")
    rows = [
        [
            str(b["patterns"]),
            f"{b['expected']:.3g}",
            f"{b['actual']:.3g}",
            f"{b['actual'] / max(b['expected'], 1e-12):.3g}",
        ]
        for b in bins
    ]
    return [*parts, table(["patterns", "expected rms error", "actual", "ratio"], rows)]


def _worst_table(evaluation: Evaluation) -> str:
    columns, rows = evaluation.columns, []
    for row in worst_rows(evaluation):
        label = [str(columns[name][row]) if name in columns else "" for name in ("formula", "space_group")]
        rows.append(
            [
                label[0] or f"crystal {columns['position'][row]}",
                label[1],
                f"{columns['lattice_parameter'][row]:.4g}",
                f"{columns['thickness'][row]:g}",
                percent(columns[f"{MODEL} z"][row]),
                percent(columns[f"{NEIGHBOUR} z"][row]),
                f"{columns['distance'][row]:.3g}",
                _flag(columns, row),
            ]
        )
    head = ["crystal", "space group", "a (Å)", "thickness (Å)", "Z", "neighbour Z", "distance", "flagged"]
    return table(head, rows)


def _flag(columns: Mapping[str, Any], row: int) -> str:
    return "" if "flagged" not in columns else ("yes" if columns["flagged"][row] else "no")


def worst_rows(evaluation: Evaluation) -> list[int]:
    """The rows with the largest Z, worst first."""
    return [int(i) for i in np.argsort(-evaluation.columns[f"{MODEL} z"], kind="stable")[:WORST]]


def _speed(result: Mapping[str, Any]) -> str:
    speed, exact = result["speed"], result["exact_cpu_seconds_per_crystal"]
    learned = (
        f"{speed['milliseconds_per_pattern']:.3g} ms per pattern in the median of {speed['batches']} batches of "
        f"up to {speed['crystals_in_a_batch']} crystals, {speed['mean_milliseconds_per_pattern']:.3g} ms in the "
        f"mean, on {speed['device']} with {speed['threads']} threads, from tensors to tensors."
    )
    if exact is None:
        return learned
    times = exact / (1e-3 * speed["mean_milliseconds_per_pattern"])
    return (
        f"{learned} The exact engine took {exact:.3g} CPU seconds per crystal on average when the data set was "
        f"built (choice of the number of beams included): {times:.3g} times as long, on the machine that built "
        "it. Small cells are quicker and large ones slower than the average; for a single small cell the exact "
        "engine is the better choice."
    )


def _draw(evaluation: Evaluation, loaded: LoadedModel, test: data.PatternData, folder: Path) -> None:
    chosen = figures.chosen_rows(evaluation)
    examples = [_example(evaluation, loaded, test, row) | {"title": name} for name, row in chosen.items()]
    save_figure(figures.examples_figure(examples, evaluation.predicts), folder / "examples.png")
    worst = [_example(evaluation, loaded, test, row) for row in worst_rows(evaluation)]
    save_figure(figures.worst_figure(worst), folder / "worst.png")
    save_figure(figures.scatter_figure(evaluation), folder / "scatter.png")


def _example(evaluation: Evaluation, loaded: LoadedModel, test: data.PatternData, row: int) -> dict[str, Any]:
    columns = evaluation.columns
    device = next(loaded.model.parameters()).device
    batch = data.to_device(data.collate([test[int(columns["position"][row])]]), device)
    number = int(columns["thickness_number"][row])
    with torch.inference_mode():
        output = loaded.model(batch)
        truth, answer = (image[0, number].cpu().numpy() for image in (truth_of(output, batch), answer_of(output)))
    given = batch["potential"][0, 0] if evaluation.predicts == "pattern" else batch["pattern"][0, number]
    formula = str(columns["formula"][row]) if "formula" in columns else f"crystal {columns['position'][row]}"
    return {
        "formula": formula,
        "thickness": float(columns["thickness"][row]),
        "energy": float(columns["energy"][row]),
        "z": float(columns[f"{MODEL} z"][row]),
        "given": given.cpu().numpy(),
        "truth": truth,
        "answer": answer,
    }


def _write_rows(evaluation: Evaluation, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, npt.NDArray[Any]] = evaluation.columns
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
