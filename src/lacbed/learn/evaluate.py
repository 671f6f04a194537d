"""How good a model is, on crystals that it has not seen, beside answers that need no learning."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lacbed.learn import baselines, data, inverse_baselines, trust
from lacbed.learn.checkpoint import LoadedModel
from lacbed.learn.losses import answer_of, pattern_errors, summary, truth_of
from lacbed.learn.models import predicts
from lacbed.learn.symmetry import aligned
from lacbed.learn.trust import descriptor_table, signs_of

MODEL = "model"
BATCH = 16

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Errors of a model and of the baselines, one row a pattern (crystal and thickness).

    Attributes:
        columns: position (in the split), thickness, energy, lattice_parameter, the names of `lacbed.learn.trust`,
            sigma, rms, within_1, within_2 (shares of pixels within so many sigma), flagged, labels of the
            crystals, and for "model" and each baseline z, relative_l2 and max_difference, such as "model z".
        names: "model" and the baselines.
        speed: milliseconds a pattern in batches, and how measured.
        warning: how the warning does on these rows; empty if the model has none.
        predicts: "pattern" or "potential", what the errors are errors of.
    """

    columns: Columns
    names: tuple[str, ...]
    speed: dict[str, Any]
    warning: dict[str, Any]
    predicts: str = "pattern"

    def summary(self, name: str = MODEL, rows: npt.NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Percentiles and shares for the model or a baseline, over all rows or some."""
        chosen = slice(None) if rows is None else rows
        errors = ("z", "relative_l2", "max_difference")
        return summary({error: self.columns[f"{name} {error}"][chosen] for error in errors})


def evaluate(
    loaded: LoadedModel,
    test: data.PatternData,
    training: data.PatternData,
    *,
    members: npt.NDArray[np.int64] | None = None,
    device: torch.device | None = None,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Predict every pattern of a split, or the potential behind it, with the model and the baselines.

    Args:
        loaded: the model and its record.
        test: the crystals to judge on.
        training: those that the model has learned from, for the baselines and the distance to them.
        members: positions of the training crystals that it has used; default all.
        device: what the model computes on.
        progress: called with the fraction done.
    """
    device = device or torch.device("cpu")
    members = np.arange(len(training)) if members is None else members
    model = loaded.model.to(device).eval()
    compare, names = _comparison(loaded, training, members)
    parts: list[Columns] = []
    seconds = []
    batches = list(data.in_order(len(test), BATCH))
    for number, (positions, batch) in enumerate(zip(batches, data.load(test, batches), strict=True), start=1):
        if number == 1:
            _timed(model, batch, device)  # the first call sets things up
        output, took = _timed(model, batch, device)
        seconds.append(took / batch["thickness"].numel())
        parts.append(_rows(positions, batch, output, *compare(batch, output)))
        if progress is not None:
            progress(number / len(batches))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns |= {name: values[columns["position"]] for name, values in data.labels_of(test).items()}
    fitted = loaded.record.get("warning") or {}
    verdict: dict[str, Any] = {}
    if fitted:
        flagged = trust.is_flagged(fitted, columns)
        columns["flagged"] = flagged
        columns["predicted_z"] = trust.predicted_z(fitted, columns)
        verdict = trust.judge(columns["model z"], flagged)
    speed = speed_of(np.array(seconds), device)
    return Evaluation(columns, (MODEL, *names), speed, verdict, predicts(loaded.record["config"]["model"]["name"]))


Comparison = Callable[[data.Batch, Mapping[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor]]]


def _comparison(
    loaded: LoadedModel, training: data.PatternData, members: npt.NDArray[np.int64]
) -> tuple[Comparison, tuple[str, ...]]:
    """What gives the baselines' answers and the inputs of the warning for a batch, and the baselines' names."""
    model = loaded.record["config"]["model"]
    if predicts(model["name"]) == "potential":
        patterns = inverse_baselines.make_reference(training, members, int(model["image"]))

        def by_pattern(
            batch: data.Batch, output: Mapping[str, Tensor]
        ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            answers, distance = inverse_baselines.predict_baselines(patterns, batch)
            return answers, {"distance": distance}

        return by_pattern, inverse_baselines.NAMES
    reference = baselines.make_reference(training, members)
    table = loaded.descriptors or descriptor_table(training, members)

    def by_potential(
        batch: data.Batch, output: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return baselines.predict_baselines(reference, batch), signs_of(batch, output, table)

    return by_potential, baselines.NAMES


def _rows(
    positions: list[int],
    batch: data.Batch,
    output: Mapping[str, Tensor],
    others: Mapping[str, Tensor],
    trust: Mapping[str, Tensor],
) -> Columns:
    """The columns of one batch, crystals slow and thicknesses fast."""
    truth, answer = truth_of(output, batch), answer_of(output)
    t = truth.shape[1]
    columns: Columns = {
        "position": np.repeat(positions, t),
        "thickness": batch["thickness"].flatten().numpy(),
        "thickness_number": np.tile(np.arange(t), len(positions)),
        "energy": np.repeat(batch["energy"].numpy(), t),
        "lattice_parameter": np.repeat(batch["lattice_parameter"].numpy(), t),
    }
    for name, prediction in {MODEL: answer, **others}.items():
        right = truth if name == MODEL or "pattern" in output else aligned(truth, prediction)
        for error, value in pattern_errors(prediction, right).items():
            columns[f"{name} {error}"] = value.flatten().double().numpy()
    for name, value in trust.items():
        columns[name] = value.flatten().double().numpy()
    off = answer - truth
    columns["rms"] = off.square().mean(dim=(-2, -1)).sqrt().flatten().double().numpy()
    if "log_sigma" in output:
        sigma = torch.exp(output["log_sigma"].float()).expand_as(answer)
        columns["sigma"] = sigma.square().mean(dim=(-2, -1)).sqrt().flatten().double().numpy()
        for factor in (1, 2):
            inside = (off.abs() <= factor * sigma).float().mean(dim=(-2, -1))
            columns[f"within_{factor}"] = inside.flatten().double().numpy()
    return columns


def _timed(model: nn.Module, batch: data.Batch, device: torch.device) -> tuple[dict[str, Tensor], float]:
    """What a model makes of a batch, on the CPU, and the seconds from tensors to tensors on its device."""
    batch = data.to_device(batch, device)
    with torch.inference_mode():
        _wait_for(device)
        start = time.perf_counter()
        output = model(batch)
        _wait_for(device)
        seconds = time.perf_counter() - start
    return {name: value.cpu() for name, value in output.items()}, seconds


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def speed_of(seconds: npt.NDArray[np.float64], device: torch.device) -> dict[str, Any]:
    """Milliseconds a pattern over batches, given the seconds a pattern of each.

    A few large cells can make the mean much larger than the median.
    """
    return {
        "milliseconds_per_pattern": 1e3 * float(np.median(seconds)),
        "mean_milliseconds_per_pattern": 1e3 * float(seconds.mean()),
        "crystals_in_a_batch": BATCH,
        "batches": len(seconds),
        "device": str(device),
        "threads": torch.get_num_threads(),
    }


def groups(evaluation: Evaluation, name: str, at_most: int = 15) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Rows grouped by a label, the largest groups first; what is left over is one group.

    "atoms" is binned, and so are "thickness" and "energy" if they have many values.
    """
    column = evaluation.columns[name]
    edges = _EDGES.get(name)
    if name in _UNITS and name != "atoms" and len(np.unique(column)) <= at_most:
        factor, unit = _UNITS[name]  # a few fixed values need no bins
        return [(f"{factor * v:g}{unit}", column == v) for v in np.unique(column)]
    if edges is not None:
        bins = np.digitize(column.astype(float), edges)
        found = [(_bin_label(name, edges, i), bins == i) for i in range(len(edges) + 1)]
        return [(label, rows) for label, rows in found if rows.any()]
    values, counts = np.unique(column, return_counts=True)
    order = np.lexsort((values, -counts))
    chosen = [values[i] for i in order[:at_most]]
    found = [(str(value), column == value) for value in chosen]
    rest = ~np.isin(column, chosen)
    return found + ([(f"{len(values) - len(chosen)} others", rest)] if rest.any() else [])


_EDGES: dict[str, list[float]] = {
    "thickness": [200.0, 400.0, 600.0, 800.0, 1000.0, 1500.0, 2000.0],
    "energy": [80e3, 120e3, 200e3, 250e3],
    "atoms": [4.5, 8.5, 16.5, 32.5, 64.5, 128.5],
}
_UNITS = {"thickness": (1.0, " Å"), "energy": (1e-3, " kV"), "atoms": (1.0, "")}


def _bin_label(name: str, edges: list[float], number: int) -> str:
    factor, unit = _UNITS[name]
    whole = name == "atoms"
    low = None if number == 0 else edges[number - 1] * factor
    high = None if number == len(edges) else edges[number] * factor
    if whole:
        low, high = (None if v is None else v + s for v, s in ((low, 0.5), (high, -0.5)))
    if low is None:
        return f"{'up to' if whole else 'below'} {high:g}{unit}"
    if high is None:
        return f"{low:g}{unit} and more"
    return f"{low:g} to {'' if whole else 'below '}{high:g}{unit}"


def calibration(evaluation: Evaluation, bins: int = 8) -> list[dict[str, float]]:
    """Rows in bins of equal count by predicted sigma: expected against actual rms error; empty without sigma."""
    if "sigma" not in evaluation.columns:
        return []
    sigma, rms = evaluation.columns["sigma"], evaluation.columns["rms"]
    parts = np.array_split(np.argsort(sigma), min(bins, len(sigma)))
    return [
        {
            "patterns": len(part),
            "expected": float(np.sqrt(np.mean(sigma[part] ** 2))),
            "actual": float(np.sqrt(np.mean(rms[part] ** 2))),
        }
        for part in parts
    ]
