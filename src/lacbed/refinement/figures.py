"""Pictures of a refinement: experiment, simulation and difference of every reflection; Z over thickness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lacbed.patterns.figures import style
from lacbed.patterns.result import hkl_label
from lacbed.patterns.schema import hkl_math
from lacbed.refinement.refine import Refinement

_SIDE, _GAP, _TEXT, _MARGIN = 0.92, 0.04, 0.24, 0.2


def comparison_figure(result: Refinement, z: np.ndarray) -> Figure:
    """Experiment, simulation (scaled, shifted) and their difference for every reflection.

    The first two share their greys; the difference spans the same range about its middle.

    Args:
        result: the refinement.
        z: of every reflection, aligned: (g,).
    """
    measured = result.measured
    count = len(measured.hkl)
    columns = max(1, min(5, math.ceil(math.sqrt(count / 2.2))))
    rows = math.ceil(count / columns)
    wide, high = 3 * (_SIDE + _GAP) + 0.16, _SIDE + _TEXT + 0.06
    figure = style.new_figure(2 * _MARGIN + columns * wide, 2 * _MARGIN + 0.25 + rows * high)
    head = "each group: experiment, simulation, difference (orange: simulation too bright)"
    style.add_text(figure, _MARGIN, _MARGIN, head, color=style.QUIET, fontsize=7.0)
    fit = result.fit_aligned
    for i, hkl in enumerate(measured.hkl):
        left = _MARGIN + (i % columns) * wide
        top = _MARGIN + 0.25 + (i // columns) * high
        model = (fit.scale[i] * fit.images[i] + fit.background[i]).numpy()
        style.add_text(figure, left, top + 0.1, hkl_math(hkl_label(hkl)), fontsize=8.0)
        style.add_text(
            figure,
            left + wide - 0.2,
            top + 0.1,
            f"Z {100 * z[i]:.1f} %",
            fontsize=6.5,
            color=style.ACCENT,
            ha="right",
        )
        low, high_value = style.limits(measured.images[i], 0.3)
        greys: dict[str, Any] = {"cmap": style.grey_map(), "vmin": low, "vmax": high_value}
        span = 0.5 * (high_value - low)
        difference: dict[str, Any] = {"cmap": style.DIFFERENCE, "vmin": -span, "vmax": span}
        shown = ((measured.images[i], greys), (model, greys), (model - measured.images[i], difference))
        for column, (image, look) in enumerate(shown):
            panel = style.add_panel(figure, left + column * (_SIDE + _GAP), top + _TEXT, _SIDE, _SIDE)
            panel.imshow(image, origin="lower", interpolation="nearest", **look)
    return figure


def scan_figure(result: Refinement) -> Figure:
    """Mean Z over the scanned thickness, and where the refinement ended."""
    figure = style.new_figure(4.6, 2.8)
    panel = figure.add_axes((0.14, 0.18, 0.82, 0.74))
    panel.plot(result.progress.scan[:, 0], result.progress.scan[:, 1], color=style.ACCENT, lw=1.2)
    panel.axvline(float(result.state.thickness), color=style.INK, lw=0.8, ls=":")
    panel.set_facecolor(style.PAPER)
    panel.set_xlabel("thickness / Å", color=style.INK, fontsize=8)
    panel.set_ylabel("mean Z before refinement", color=style.INK, fontsize=8)
    panel.tick_params(colors=style.INK, labelsize=7)
    for spine in panel.spines.values():
        spine.set_color(style.QUIET)
    return figure


def correlation_figure(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> Figure:
    """The correlation matrix, blue for negative and orange for positive values.

    Args:
        names: of the parameters.
        matrix: (parameter, parameter).
    """
    count, left, cell = len(names), 0.3 + 0.075 * max(map(len, names)), 0.34
    side = count * cell
    figure = style.new_figure(left + side + 0.2, 0.8 * left + side + 0.15)
    panel = style.add_panel(figure, left, 0.15, side, side)
    panel.imshow(np.array(matrix), cmap=style.DIFFERENCE, vmin=-1.4, vmax=1.4, aspect="auto")
    for row in range(count):
        top = 0.15 + (row + 0.5) * cell
        style.add_text(figure, left - 0.08, top, names[row], ha="right", fontsize=7.0)
        foot = {"ha": "center", "va": "top", "rotation": 90, "fontsize": 7.0}
        style.add_text(figure, left + (row + 0.5) * cell, 0.22 + side, names[row], **foot)
        for column in range(count):
            style.add_text(
                figure,
                left + (column + 0.5) * cell,
                top,
                f"{matrix[row][column]:.2f}".replace("-", "\N{MINUS SIGN}"),
                ha="center",
                fontsize=5.5,
            )
    return figure
