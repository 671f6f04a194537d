"""Pictures of a solution: map with columns, measured and simulated intensities, how the search went."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lacbed.retrieval.columns import ColumnModel
from lacbed.retrieval.comparison import Comparison
from lacbed.retrieval.points import make_points
from lacbed.retrieval.sharpen import REACH
from lacbed.retrieval.solution import Solution

_SHOWN = 5
"""Images that are shown."""


def map_figure(solution: Solution) -> Figure:
    """Four cells of the potential, with the columns numbered."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    image = np.tile(solution.potential(64).values, (2, 2))
    n = image.shape[0]
    grid = np.arange(n + 1) / (n / 2)
    u, v = np.meshgrid(grid, grid)
    x, y = np.einsum("ij,j...->i...", solution.cell.edges, np.stack([u, v]))
    shown = axes.pcolormesh(x, y, image, cmap="inferno", rasterized=True)
    figure.colorbar(shown, ax=axes, label="V")
    for i, place in enumerate(solution.best.columns.places, 1):
        at = solution.cell.edges @ (place % 1.0)
        axes.plot(*at, "o", mfc="none", mec="white", ms=12)
        axes.annotate(str(i), at, color="white", ha="center", va="center", fontsize=7)
    axes.set_aspect("equal")
    axes.set_xlabel("x / Å")
    axes.set_ylabel("y / Å")
    return figure


def images_figure(solution: Solution) -> Figure:
    """Measured, simulated, difference of the images with the most points, at scattered tilts."""
    scaled = solution.experiment.scaled(solution.best.half_width / solution.experiment.half_width)
    cell = solution.cell
    points = make_points(scaled, cell.basis, cell.indices, reach=REACH, matrices=16)
    measured, simulated, weight = Comparison(ColumnModel(points)).fitted(solution.best.columns)
    tilts = points.reduced[points.pairs[0]] + points.beams[points.pairs[1]] @ cell.basis.T
    count = np.bincount(points.pairs[3], minlength=points.images)
    chosen = np.sort(np.argsort(-count, kind="stable")[:_SHOWN])
    figure = Figure(figsize=(1.9 * len(chosen), 5.4), layout="constrained")
    axes = figure.subplots(3, len(chosen), squeeze=False)
    for column, number in enumerate(chosen.tolist()):
        mine = points.pairs[3] == number
        a, b = (np.asarray(values[mine] / weight[mine]) for values in (measured, simulated))
        low, high = np.percentile(np.concatenate([a, b]), (1, 99))
        reach = max(abs(low), abs(high)) or 1.0
        for row, (values, look) in enumerate(
            (
                (a, {"vmin": low, "vmax": high, "cmap": "gray"}),
                (b, {"vmin": low, "vmax": high, "cmap": "gray"}),
                (b - a, {"vmin": -reach, "vmax": reach, "cmap": "RdBu"}),
            )
        ):
            panel = axes[row][column]
            panel.scatter(tilts[mine, 0], tilts[mine, 1], c=values, s=9, **look)
            panel.set_aspect("equal")
            panel.set_xticks([])
            panel.set_yticks([])
            if not column:
                panel.set_ylabel(("measured", "simulated", "difference")[row])
    return figure


def search_figure(solution: Solution) -> Figure:
    """Residuals of the minima in the order in which they were found; R against thickness."""
    figure = Figure(figsize=(7.6, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    history = np.array(solution.search.history)
    left.plot(np.arange(1, len(history) + 1), history, ".", ms=4)
    if len(history):
        left.plot(np.arange(1, len(history) + 1), np.minimum.accumulate(history), "-", lw=1)
    left.set_xlabel("minimum")
    left.set_ylabel("R")
    cell = solution.cell
    points = make_points(solution.experiment, cell.basis, cell.indices)
    t = solution.best.columns.thickness * np.exp(np.linspace(-1.0, 0.7, 120))
    right.plot(t, Comparison(ColumnModel(points)).scan(solution.best.columns, t))
    right.axvline(solution.best.columns.thickness, lw=0.8, color="0.5")
    right.set_xlabel("thickness / Å")
    right.set_ylabel("R")
    return figure
