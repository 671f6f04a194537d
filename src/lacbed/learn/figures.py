"""Figures of an evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lacbed.learn.evaluate import MODEL, Evaluation, calibration
from lacbed.patterns.figures import style
from lacbed.patterns.schema import number_text

_MARGIN, _GAP, _SIDE = 0.22, 0.06, 1.7


def examples_figure(rows: list[dict[str, Any]], predicts: str = "pattern") -> Figure:
    """What was given, truth, answer and difference, one line an example.

    Args:
        rows: each with "title", "formula", "thickness" (Å), "energy" (eV), "z", "given", "truth", "answer".
        predicts: what the answers are: "pattern" (the potential was given) or "potential" (the pattern was).
    """
    head, left = 0.34, 1.25
    width = 2 * _MARGIN + left + 4 * (_SIDE + _GAP)
    figure = style.new_figure(width, 2 * _MARGIN + head + len(rows) * (_SIDE + _GAP))
    given = "potential" if predicts == "pattern" else "pattern"
    for column, text in enumerate((given, "exact", "learned", "learned \N{MINUS SIGN} exact")):
        middle = _MARGIN + left + column * (_SIDE + _GAP) + _SIDE / 2
        style.add_text(figure, middle, _MARGIN + 0.12, text, ha="center", fontsize=8.5)
    for line, row in enumerate(rows):
        top = _MARGIN + head + line * (_SIDE + _GAP)
        _describe(figure, _MARGIN, top + _SIDE / 2, row)
        _line_of_images(figure, _MARGIN + left, top, row, predicts)
    return figure


def _describe(figure: Figure, left: float, middle: float, row: dict[str, Any]) -> None:
    style.add_text(figure, left, middle - 0.4, row["title"], fontsize=9.5)
    style.add_text(figure, left, middle - 0.16, row["formula"], fontsize=8.5)
    style.add_text(figure, left, middle + 0.08, f"Z {100 * row['z']:.3g} %", fontsize=8.0, color=style.ACCENT)
    where = f"{number_text(row['thickness'])} Å, {number_text(row['energy'] / 1e3)} kV"
    style.add_text(figure, left, middle + 0.28, where, fontsize=6.5, color=style.QUIET)


def _line_of_images(figure: Figure, left: float, top: float, row: dict[str, Any], predicts: str) -> None:
    truth, answer = row["truth"], row["answer"]
    low, high = style.limits(np.stack([truth, answer]))
    difference = answer - truth
    reach = float(np.abs(difference).max()) or 1e-12
    given, asked = ("magma", style.grey_map()) if predicts == "pattern" else (style.grey_map(), "magma")
    images = (
        (row["given"], {"cmap": given}),
        (truth, {"cmap": asked, "vmin": low, "vmax": high}),
        (answer, {"cmap": asked, "vmin": low, "vmax": high}),
        (difference, {"cmap": style.DIFFERENCE, "vmin": -reach, "vmax": reach}),
    )
    for column, (image, look) in enumerate(images):
        panel = style.add_panel(figure, left + column * (_SIDE + _GAP), top, _SIDE, _SIDE)
        panel.imshow(image, origin="lower", interpolation="antialiased", aspect="auto", **look)  # type: ignore[arg-type]
        if column == 3:
            note = f"±{reach:.2g}"
            panel.text(
                0.97,
                0.04,
                note,
                transform=panel.transAxes,
                color=style.INK,
                fontsize=6.5,
                ha="right",
                path_effects=style.outlined(),
                **style.FONT,
            )


def worst_figure(rows: list[dict[str, Any]]) -> Figure:
    """Pairs of exact and learned patterns, worst first, four pairs a line."""
    side, label, across = 1.05, 0.42, 4
    lines = -(-len(rows) // across)
    pair = 2 * side + 0.03
    figure = style.new_figure(2 * _MARGIN + across * (pair + 0.14), 2 * _MARGIN + lines * (side + label + 0.08))
    for number, row in enumerate(rows):
        left = _MARGIN + (number % across) * (pair + 0.14)
        top = _MARGIN + (number // across) * (side + label + 0.08)
        low, high = style.limits(np.stack([row["truth"], row["answer"]]))
        for column, image in enumerate((row["truth"], row["answer"])):
            panel = style.add_panel(figure, left + column * (side + 0.03), top, side, side)
            panel.imshow(image, origin="lower", cmap=style.grey_map(), vmin=low, vmax=high, aspect="auto")
        style.add_text(figure, left, top + side + 0.11, row["formula"], fontsize=6.5)
        z = f"Z {100 * row['z']:.3g} %"
        style.add_text(figure, left + pair, top + side + 0.11, z, fontsize=6.5, color=style.ACCENT, ha="right")
        where = f"{number_text(row['thickness'])} Å, exact and learned"
        style.add_text(figure, left, top + side + 0.26, where, fontsize=5.0, color=style.QUIET)
    return figure


def scatter_figure(evaluation: Evaluation) -> Figure:
    """Z against the distance to the training set, flagged predictions in another colour; and the calibration."""
    bins = calibration(evaluation)
    figure = style.new_figure(4.4 * (2 if bins else 1), 3.6)
    panel = _plot(figure, 0.75, 0.3, 3.4, 2.6)
    columns = evaluation.columns
    z, distance = 100 * columns[f"{MODEL} z"], columns["distance"]
    flagged = columns.get("flagged", np.zeros(len(z), dtype=bool))
    for rows, colour, label in ((~flagged, "#6fb1e8", "not flagged"), (flagged, style.ACCENT, "flagged")):
        if rows.any():
            panel.scatter(distance[rows] + 1e-4, z[rows] + 1e-6, s=6, color=colour, alpha=0.7, lw=0, label=label)
    _logarithmic(panel, "distance to the training set", "Z (%)")
    panel.legend(frameon=False, labelcolor=style.INK, fontsize=7)
    if bins:
        _calibration_panel(_plot(figure, 5.15, 0.3, 3.4, 2.6), bins)
    return figure


def _calibration_panel(panel: Axes, bins: list[dict[str, float]]) -> None:
    expected = np.array([b["expected"] for b in bins])
    actual = np.array([b["actual"] for b in bins])
    ends = np.array([min(expected.min(), actual.min()), max(expected.max(), actual.max())])
    panel.plot(ends, ends, color=style.QUIET, lw=0.8)
    panel.plot(expected, actual, "o-", color=style.ACCENT, ms=4, lw=1)
    _logarithmic(panel, "expected rms error of intensity", "actual rms error")


def curve_figure(curves: list[dict[str, Any]]) -> Figure:
    """Mean Z against the number of training crystals, with fitted power laws.

    Args:
        curves: each with "label", "n", "z" (fraction), and perhaps "fit" with "x", "y", "low", "high".
    """
    figure = style.new_figure(5.6, 4.2)
    panel = _plot(figure, 0.8, 0.3, 4.5, 3.2)
    for curve, colour in zip(curves, (style.ACCENT, "#6fb1e8", "#8fd694"), strict=False):
        n, z = np.asarray(curve["n"], dtype=float), 100 * np.asarray(curve["z"], dtype=float)
        panel.plot(n, z, "o", color=colour, ms=5, label=curve["label"])
        fit = curve.get("fit")
        if fit is not None:
            panel.plot(fit["x"], 100 * np.asarray(fit["y"]), color=colour, lw=1.2)
            band = (100 * np.asarray(fit["low"]), 100 * np.asarray(fit["high"]))
            panel.fill_between(fit["x"], *band, color=colour, alpha=0.18, lw=0)
    _logarithmic(panel, "training crystals", "mean Z (%)")
    panel.legend(frameon=False, labelcolor=style.INK, fontsize=7)
    return figure


def _plot(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    full_width, full_height = figure.get_size_inches()
    bottom = full_height - top - height
    panel = figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))
    panel.set_facecolor(style.PAPER)
    for spine in panel.spines.values():
        spine.set_color(style.EDGE)
    panel.tick_params(which="both", colors=style.QUIET, labelsize=7)
    panel.grid(color=style.EDGE, lw=0.5)
    return panel


def _logarithmic(panel: Axes, x: str, y: str) -> None:
    for axis, scale in ((panel.xaxis, panel.set_xscale), (panel.yaxis, panel.set_yscale)):
        scale("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(x, color=style.INK, fontsize=8)
    panel.set_ylabel(y, color=style.INK, fontsize=8)


def chosen_rows(evaluation: Evaluation) -> dict[str, int]:
    """The rows with the least Z, the Z nearest to the mean, and the largest."""
    z: npt.NDArray[np.float64] = evaluation.columns[f"{MODEL} z"]
    return {
        "best": int(np.argmin(z)),
        "average": int(np.argmin(np.abs(z - z.mean()))),
        "worst": int(np.argmax(z)),
    }
