"""How good a submission is: every metric with an interval, its own uncertainty judged, and signs of leaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lacbed.benchmark.definition import DRAWN, PREDICTED, load_definition
from lacbed.benchmark.submission import Submission, read_card, read_submission
from lacbed.benchmark.task_data import TaskData, open_task
from lacbed.datasets.manifest import read_manifest
from lacbed.datasets.reader import Store
from lacbed.datasets.splits import BOUND, LEAKING, near_duplicates
from lacbed.patterns.metrics import max_difference, r_factor, relative_l2, zncc_loss
from lacbed.patterns.result import hkl_label, software

FAINT = 1e-4
"""Reflections whose mean intensity is below this have no Z: forbidden ones are zero but for rounding."""

RESAMPLES, LEVEL = 1000, 0.95
_TOGETHER = 50  # resamples computed at once
COPIED = 3e-5
"""Predictions that are nowhere further from the truth than this are the truth, rounded."""

_BINS = 8
_BLOCK = 32
Columns = dict[str, npt.NDArray[np.float64]]


def score(
    folder: str | Path,
    data: str | Path,
    *,
    benchmark: str = "LACBED-1",
    training: str | Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Judge a submission; the same submission and data give the same numbers.

    Args:
        folder: of the submission.
        data: the data set of its task.
        benchmark: its name, or a definition of your own.
        training: for a drawn test, the data set with the crystals of the benchmark, which are compared with the
            drawn ones to find near duplicates; otherwise they are in `data`.
        progress: called with the fraction done.

    Returns:
        plain values: "metrics" and their "intervals" (95 %), "by_thickness", "by_reflection", "calibration",
        "leaks", "card", and what identifies benchmark, task, split and data.

    Raises:
        FileFormatError: if submission or data cannot be used; SettingError: if the card is wrong.
    """
    folder = Path(folder)
    definition = load_definition(benchmark)
    card = read_card(folder, definition)
    there = open_task(data, card.task, card.split, "test", benchmark)
    submission = read_submission(folder, card, there)
    columns = _errors(there, submission, progress)
    near = _near_training(there, training)
    found: dict[str, Any] = {
        "benchmark": definition.name,
        "task": card.task,
        "split": card.split,
        "leaks_by_design": card.split in LEAKING,
        "seed": there.seed,
        "name": card.name,
        "card": {key: value for key, value in vars(card).items() if value != ""},
        "crystals": len(there),
        "lost": list(there.lost),
        "unit": PREDICTED[there.task.predicts],
        "metrics": summarise(columns),
        "intervals": intervals(columns),
        "calibration": _calibration(columns),
        "leaks": _leaks(columns, near),
        "software": software(),
    }
    if there.task.predicts == "pattern":
        found |= _parts(there, columns)
    return found


def _errors(data: TaskData, submission: Submission, tick: Callable[[float], None] | None) -> Columns:
    """Errors of every crystal: (crystal, ...), NaN where there is nothing to compare."""
    parts: list[Columns] = []
    for start in range(0, len(data), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(data)))
        answer = submission.values[block]
        sigma = submission.sigma
        if sigma is not None and len(sigma) > 1:
            sigma = sigma[block]
        truth = _truth(data, answer, block)
        parts.append(_of_block(truth, answer, sigma))
        if tick is not None:
            tick(block.stop / len(data))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _truth(data: TaskData, answer: npt.NDArray[np.float32], block: slice) -> npt.NDArray[np.float32]:
    """What is right: of potentials that no pattern can tell apart, the one nearest to the answer."""
    rows = [int(row) for row in data.rows[block]]
    if data.task.predicts == "pattern":
        return np.stack([data.store.pattern(row) for row in rows])
    import torch  # takes its time

    from lacbed.learn.symmetry import aligned

    truth = torch.from_numpy(np.stack([data.store.potential(row) for row in rows]))
    return np.asarray(aligned(truth, torch.from_numpy(answer)).numpy(), dtype=np.float32)


def _of_block(
    truth: npt.NDArray[np.float32], answer: npt.NDArray[np.float32], sigma: npt.NDArray[np.float32] | None
) -> Columns:
    """Z of each image; the other errors over all images of a crystal and thickness together."""
    a, b = answer.astype(float), truth.astype(float)
    if a.ndim == 3:  # potentials are one image each
        a, b = a[:, None, None], b[:, None, None]
    z = np.where(np.abs(b).mean(axis=(-2, -1)) > FAINT, zncc_loss(a, b), np.nan)
    wide = [images.reshape(*images.shape[:2], -1, images.shape[-1]) for images in (a, b)]
    found = {
        "z": z,
        "relative_l2": relative_l2(*wide),
        "r": r_factor(*wide),
        "max_difference": max_difference(*wide),
        "rms": np.sqrt(((wide[0] - wide[1]) ** 2).mean(axis=(-2, -1))),
    }
    if sigma is not None:
        spread = np.broadcast_to(sigma, answer.shape).astype(float).reshape(a.shape)
        off = np.abs(a - b)
        axes = (2, 3, 4)
        found |= {
            "sigma": np.sqrt((spread**2).mean(axis=axes)),
            "within_1": (off <= spread).mean(axis=axes),
            "within_2": (off <= 2 * spread).mean(axis=axes),
            "nll": (0.5 * (off / spread) ** 2 + np.log(spread) + 0.5 * np.log(2 * np.pi)).mean(axis=axes),
        }
    return found


def summarise(columns: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """The numbers of the table, over images (Z) or over crystals and thicknesses (the others)."""
    found = _summaries(columns, np.arange(len(columns["z"]))[None])
    return {name: int(value[0]) if name == "images" else float(value[0]) for name, value in found.items()}


def intervals(columns: Mapping[str, npt.NDArray[np.float64]], seed: int = 0) -> dict[str, list[float]]:
    """95 % intervals of the numbers of `summarise`: percentiles over crystals drawn with replacement."""
    count = len(columns["z"])
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[npt.NDArray[np.float64]]] = {}
    for _ in range(RESAMPLES // _TOGETHER):
        for name, values in _summaries(columns, rng.integers(0, count, (_TOGETHER, count))).items():
            drawn.setdefault(name, []).append(values)
    drawn.pop("images", None)
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    return {name: [float(v) for v in np.percentile(np.concatenate(all_), tails)] for name, all_ in drawn.items()}


def _summaries(
    columns: Mapping[str, npt.NDArray[np.float64]], chosen: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.float64]]:
    """The numbers of `summarise` for several choices of crystals, (choice, crystal) to (choice,) each."""
    z = np.sort(columns["z"][chosen].reshape(len(chosen), -1), axis=1)  # NaN last
    images = np.isfinite(z).sum(axis=1)
    if not images.all():
        return {"images": images.astype(float)}
    relative, r, largest = (
        np.sort(columns[name][chosen].reshape(len(chosen), -1), axis=1)
        for name in ("relative_l2", "r", "max_difference")
    )
    every = np.full(len(chosen), relative.shape[1])
    return {
        "images": images.astype(float),
        "z_mean": np.nansum(z, axis=1) / images,
        "z_median": _quantile(z, images, 0.5),
        "z_p90": _quantile(z, images, 0.9),
        "z_max": _quantile(z, images, 1.0),
        "below_1_percent": (z < 0.01).sum(axis=1) / images,
        "below_5_percent": (z < 0.05).sum(axis=1) / images,
        "relative_l2_mean": relative.mean(axis=1),
        "relative_l2_median": _quantile(relative, every, 0.5),
        "relative_l2_p90": _quantile(relative, every, 0.9),
        "r_mean": r.mean(axis=1),
        "r_median": _quantile(r, every, 0.5),
        "max_difference_median": _quantile(largest, every, 0.5),
        "max_difference_max": largest[:, -1],
    }


def _quantile(
    ordered: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], share: float
) -> npt.NDArray[np.float64]:
    """A quantile of the first `counts` values of each row, which rise: (row, value) to (row,)."""
    place = share * (counts - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, counts - 1)
    rows = np.arange(len(ordered))
    below, above = ordered[rows, low], ordered[rows, high]
    return np.asarray(below + (place - low) * (above - below))


def _parts(data: TaskData, columns: Columns) -> dict[str, list[dict[str, Any]]]:
    """Z by thickness and by reflection."""
    z = columns["z"]
    numbers = data.store.quantities.index("thickness_0")
    thickness = np.array([data.store.scalars(int(row))[numbers:][: z.shape[1]] for row in data.rows])
    fixed = bool(np.all(thickness == thickness[0]))
    by_thickness = [{"thickness": float(thickness[0, t]), **_short(z[:, t])} for t in range(z.shape[1]) if fixed]
    by_reflection = [{"hkl": hkl_label(hkl), **_short(z[:, :, i])} for i, hkl in enumerate(data.config.hkl)]
    return {"by_thickness": by_thickness, "by_reflection": by_reflection}


def _short(z: npt.NDArray[np.float64]) -> dict[str, Any]:
    kept = z[np.isfinite(z)]
    if not len(kept):
        return {"images": 0, "z_mean": None, "z_median": None}
    return {"images": len(kept), "z_mean": float(kept.mean()), "z_median": float(np.median(kept))}


def _calibration(columns: Columns) -> dict[str, Any] | None:
    """How the expected errors compare with the actual ones; None if none were given."""
    if "sigma" not in columns:
        return None
    sigma, rms = columns["sigma"].ravel(), columns["rms"].ravel()
    parts = np.array_split(np.argsort(sigma, kind="stable"), min(_BINS, len(sigma)))
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (sigma, rms)]
    known = len(sigma) > 2 and np.ptp(sigma) > 0 and np.ptp(rms) > 0
    return {
        "within_1_sigma": float(columns["within_1"].mean()),
        "within_2_sigma": float(columns["within_2"].mean()),
        "negative_log_likelihood": float(columns["nll"].mean()),
        "rank_correlation": float(np.corrcoef(np.stack(ranks)).ravel()[1]) if known else None,
        "bins": [
            {
                "patterns": len(part),
                "expected": float(np.sqrt((sigma[part] ** 2).mean())),
                "actual": float(np.sqrt((rms[part] ** 2).mean())),
            }
            for part in parts
        ],
    }


def _leaks(columns: Columns, near: npt.NDArray[np.bool_] | None) -> dict[str, Any]:
    """Predictions that are the labels, and crystals whose pattern is nearly that of a training crystal."""
    copied = columns["max_difference"].max(axis=1) <= COPIED
    found: dict[str, Any] = {"copies_of_the_truth": int(copied.sum()), "near_duplicates": None}
    if near is not None:
        apart = {name: values[~near] for name, values in columns.items()}
        found |= {
            "near_duplicates": int(near.sum()),
            "bound": BOUND,
            "without_them": summarise(apart) if not near.all() else None,
        }
    return found


def _near_training(data: TaskData, training: str | Path | None) -> npt.NDArray[np.bool_] | None:
    """Which test crystals have a pattern with Z < 0.1 % to one on the training side; None if that is not there."""
    if data.split == DRAWN:
        return None if training is None else _near_other(data, training)
    try:
        learned = open_task(data.store.path, data.task.name, data.split, "train", data.benchmark)
    except ValueError:  # a data set of the test side alone
        return None
    members = set(learned.rows.tolist())
    manifest = read_manifest(data.store.path)
    groups: Sequence[Sequence[int]] = manifest["duplicates"]["groups"] if manifest else []
    near = {row for group in groups if members & set(group) for row in group}
    return np.array([int(row) in near for row in data.rows])


def _near_other(data: TaskData, training: str | Path) -> npt.NDArray[np.bool_]:
    """The same for drawn crystals, which are compared with those of another data set."""
    learned = open_task(training, data.task.name, "compound", "train", data.benchmark)
    stores: tuple[Store, Store] = (data.store, learned.store)
    places = [(0, int(row)) for row in data.rows] + [(1, int(row)) for row in learned.rows]
    groups = near_duplicates(range(len(places)), lambda place: stores[places[place][0]].pattern(places[place][1]))
    near = {one for group in groups if any(places[i][0] for i in group) for one in group}
    return np.array([i in near for i in range(len(data))])
