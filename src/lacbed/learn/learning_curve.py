"""Z against the number of training crystals, and the power law in it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacbed.errors import FileFormatError, SettingError
from lacbed.io.atomic import check_replaceable, replacing
from lacbed.io.lock import LOCK, OWNER, claimed
from lacbed.learn import data
from lacbed.learn.checkpoint import load_model
from lacbed.learn.config import TrainConfig
from lacbed.learn.distributed import Ranks
from lacbed.learn.losses import answer_of, pattern_errors, summary, truth_of
from lacbed.learn.train import train

POSTER_CRYSTALS = (470, 4698)
POSTER_Z = (0.298, 0.105)
POSTER_EXPONENTS = (0.44, 0.59)
"""Mean Z of the poster's autoencoder at a tenth and at all of its training crystals, and the range of exponents
that its records show."""

_BATCH = 16

_FILES = ("curve.json", "curve.md", "curve.png")


@dataclass(frozen=True)
class PowerLaw:
    """Z = Z_0 n^-exponent.

    Attributes:
        exponent: α.
        prefactor: Z_0, at n = 1.
        exponent_error: standard error of α; NaN for two points, which determine the line exactly.
        covariance: of (ln Z_0, α), four numbers by rows.
    """

    exponent: float
    prefactor: float
    exponent_error: float
    covariance: tuple[float, float, float, float]

    def at(self, n: Any) -> np.ndarray:
        """Z at n training crystals."""
        return np.asarray(self.prefactor * np.asarray(n, dtype=float) ** -self.exponent)

    def error_at(self, n: Any) -> np.ndarray:
        """Standard error of ln Z at n training crystals."""
        design = np.stack([np.ones_like(np.asarray(n, dtype=float)), -np.log(n)])
        matrix = np.array(self.covariance).reshape(2, 2)
        variance = np.einsum("i...,ij,j...->...", design, matrix, design)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    def crystals_for(self, z: float) -> float:
        """Training crystals at which the law reaches Z; infinite if it does not fall."""
        return (self.prefactor / z) ** (1.0 / self.exponent) if self.exponent > 0 else math.inf


def fit_power_law(n: Sequence[float], z: Sequence[float]) -> PowerLaw:
    """Least squares of ln Z against ln n; errors from the scatter about the line.

    Raises:
        SettingError: with fewer than two different n, or a number that is not positive.
    """
    x, y = np.asarray(n, dtype=float), np.asarray(z, dtype=float)
    if len(set(x.tolist())) < 2 or not (np.all(x > 0) and np.all(y > 0)):
        raise SettingError("a power law needs Z > 0 at two or more different numbers of crystals")
    design = np.stack([np.ones_like(x), -np.log(x)], axis=1)
    solution, *_ = np.linalg.lstsq(design, np.log(y), rcond=None)
    rest = np.log(y) - design @ solution
    spare = len(x) - 2
    variance = float(rest @ rest) / spare if spare else math.nan
    covariance = variance * np.linalg.inv(design.T @ design)
    a, b, c, d = (float(v) for v in covariance.ravel())
    return PowerLaw(
        float(solution[1]), float(np.exp(solution[0])), math.sqrt(d) if spare else math.nan, (a, b, c, d)
    )


def learning_curve(
    config: TrainConfig,
    training: Any,
    validation: Any,
    test: Any,
    folder: str | Path,
    fractions: Sequence[float],
    *,
    ranks: Ranks | None = None,
    report: Callable[[Mapping[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Train on growing shares of the training crystals and judge each on the test crystals.

    Each share has its own folder; one that is there is gone on with, so that a curve can be stopped and resumed.

    Args:
        config: of every run but for data.fraction.
        training: all training crystals.
        validation: the crystals that choose the epoch.
        test: the crystals to judge on.
        folder: of the curve.
        fractions: shares between 0 and 1.
        ranks: this process among all.
        report: called with the result of every share.

    Returns:
        for each share its number of crystals and the summary of its errors.

    Raises:
        FileFormatError: if the folder holds something else, another process is at it, or it cannot be written to.
    """
    ranks, folder = ranks or Ranks(), Path(folder)
    check_folder(folder)
    points = []
    with claimed(folder, "learning curve", inside=True) if ranks.is_first else nullcontext():
        for fraction in sorted(set(fractions)):
            share = replace(config, data=replace(config.data, fraction=fraction))
            run = folder / f"share-{fraction:g}"
            there = (run / "checkpoint.safetensors").is_file()
            train(share, training, validation, run, ranks=ranks, resume=there)
            count = len(data.subset(len(training), fraction, config.data.seed))
            points.append({"fraction": fraction, "crystals": count, **_test_errors(run, test)})
            if report is not None and ranks.is_first:
                report(points[-1])
        if ranks.is_first:
            _write(folder, config, points)
    return points


def check_folder(folder: Path) -> None:
    """Refuse, before any work, a folder that holds something else than a learning curve.

    Raises:
        FileFormatError: saying so.
    """
    if folder.is_file():
        raise FileFormatError(f"{folder} is a file; a learning curve is a folder")
    check_replaceable(folder, _is_curve, "learning curve")


def _is_curve(folder: Path) -> bool:
    names = [path.name for path in folder.iterdir()]
    return all(name in (*_FILES, LOCK, OWNER) or name.startswith("share-") for name in names)


@torch.no_grad()
def _test_errors(run: Path, test: Any) -> dict[str, float]:
    loaded = load_model(run / "checkpoint.safetensors")
    parts: dict[str, list[np.ndarray]] = {}
    for batch in data.load(test, list(data.in_order(len(test), _BATCH))):
        output = loaded.model(batch)
        errors = pattern_errors(answer_of(output), truth_of(output, batch))
        for name, value in errors.items():
            parts.setdefault(name, []).append(value.flatten().numpy())
    return summary({name: np.concatenate(values) for name, values in parts.items()})


def _write(folder: Path, config: TrainConfig, points: list[dict[str, Any]]) -> None:
    """curve.json, curve.md and curve.png."""
    from lacbed.learn.figures import curve_figure
    from lacbed.patterns.figures import replace_figure
    from lacbed.report import percent, table

    n = [p["crystals"] for p in points]
    own: dict[str, Any] = {"label": f"{config.model['name']} here", "n": n, "z": [p["z_mean"] for p in points]}
    lines, law = [], None
    if len(set(n)) > 1:
        law = fit_power_law(n, own["z"])
        own["fit"] = _band(law, n)
        lines.append(describe(law))
    poster: dict[str, Any] = {"label": "poster 295 (mmc2021)", "n": POSTER_CRYSTALS, "z": POSTER_Z}
    theirs = fit_power_law(POSTER_CRYSTALS, POSTER_Z)
    poster["fit"] = _band(theirs, POSTER_CRYSTALS)
    low, high = POSTER_EXPONENTS
    lines.append(
        f"Poster 295: mean Z {percent(POSTER_Z[0])} at {POSTER_CRYSTALS[0]} and {percent(POSTER_Z[1])} at "
        f"{POSTER_CRYSTALS[1]} crystals, n^-{theirs.exponent:.2f}; its records show exponents {low} to {high}."
    )
    rows = [
        [str(p["crystals"]), *(percent(p[k]) for k in ("z_median", "z_mean", "z_p90", "relative_l2_median"))]
        for p in points
    ]
    shares = table(["training crystals", "Z median", "Z mean", "Z p90", "rel. L2 median"], rows)
    text = "\n\n".join(["# Learning curve", shares, *lines, "![learning curve](curve.png)"]) + "\n"
    result = {"points": points, "law": None if law is None else law.__dict__}
    replace_figure(curve_figure([own, poster]), folder / "curve.png")
    with replacing(folder / "curve.md") as temporary:
        temporary.write_text(text, "utf-8")
    with replacing(folder / "curve.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def describe(law: PowerLaw) -> str:
    """The fit in a sentence."""
    error = "" if math.isnan(law.exponent_error) else f" ± {law.exponent_error:.2f}"
    reach = ", ".join(f"Z = {100 * z:g} % at {law.crystals_for(z):.3g}" for z in (0.05, 0.01))
    return (
        f"Here: mean Z = {100 * law.prefactor:.3g} % n^-({law.exponent:.2f}{error}); continued, {reach} crystals."
    )


def _band(law: PowerLaw, n: Sequence[float]) -> dict[str, np.ndarray]:
    x = np.geomspace(min(n) / 1.5, max(n) * 3.0, 60)
    y, error = law.at(x), np.nan_to_num(law.error_at(x))
    return {"x": x, "y": y, "low": y * np.exp(-error), "high": y * np.exp(error)}
