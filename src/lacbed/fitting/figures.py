"""Pictures of a fit: every reflection as measured, simulated and their difference; the thickness scan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lacbed.crystals.cell import FloatArray
from lacbed.fitting.align import Match
from lacbed.fitting.fit import FitResult
from lacbed.patterns.figures import style
from lacbed.patterns.schema import axis_step, caption, hkl_math, number_text

_MARGIN, _GAP, _BAND, _BETWEEN, _HEAD, _FOOT = 0.22, 0.03, 0.20, 0.16, 0.24, 0.34


def fit_montage(result: FitResult, side: float | None = None) -> Figure:
    """Draw measured image, simulation and difference of every used reflection, with its Z.

    The simulation is as aligned for its reflection, with the fitted scale and background. Measured and simulated
    images share their greys; the difference, measured less simulated, is red where the measured one is brighter,
    with limits of half the range of greys.

    Args:
        result: of `lacbed.fitting.fit.fit`.
        side: of one image in inches.
    """
    used = [(n, m) for n, m in zip(result.merits.labels, result.merits.matches, strict=True) if m is not None]
    across = _triples_across(len(used))
    down = math.ceil(len(used) / across)
    width = side or float(np.clip(11.5 / (3 * across), 0.5, 1.6))
    triple = 3 * (width + _GAP) + _BETWEEN
    row = width + _BAND + _GAP
    figure = style.new_figure(
        max(2 * _MARGIN + across * triple - _BETWEEN, 4.2), _MARGIN + _HEAD + down * row + _FOOT
    )
    _headings(figure, min(across, len(used)), triple, width)
    images = dict(zip(result.experiment.labels, result.experiment.images, strict=True))
    for number, (label, match) in enumerate(used):
        line, column = divmod(number, across)
        left, top = _MARGIN + column * triple, _MARGIN + _HEAD + line * row
        text = f"{hkl_math(label)}   Z {100 * match.z_aligned:.3g} %"
        style.add_text(figure, left, top + 0.09, text, fontsize=6.5)
        _draw(figure, left, top + _BAND, width, images[label], match, result if number == 0 else None)
    foot = (
        f"{caption(result.experiment.pattern.attrs)}   {number_text(result.thickness)} Å   mean Z "
        f"{100 * result.merits.mean_z:.3g} %, aligned {100 * result.merits.mean_z_aligned:.3g} %"
    )
    style.add_text(
        figure, _MARGIN, float(figure.get_size_inches()[1]) - 0.17, foot, color=style.QUIET, fontsize=7.0
    )
    return figure


def scan_figure(result: FitResult) -> Figure:
    """Draw the mean Z of the scan against thickness."""
    figure = style.new_figure(5.2, 3.2)
    axes = figure.add_axes((0.13, 0.17, 0.83, 0.73))
    axes.set_facecolor(style.PAPER)
    thickness, z = np.array(sorted(result.scan)).T
    axes.plot(thickness, 100 * z, color=style.INK, lw=1.2, marker="o", ms=2.5)
    axes.axvline(result.thickness, color=style.ACCENT, lw=0.9)
    axes.set_xlabel("thickness (Å)", color=style.INK, fontsize=8)
    axes.set_ylabel("mean Z (%)", color=style.INK, fontsize=8)
    axes.set_ylim(bottom=0)
    axes.tick_params(colors=style.QUIET, labelsize=7)
    for spine in axes.spines.values():
        spine.set_color(style.EDGE)
    title = f"{caption(result.experiment.pattern.attrs)}   best {number_text(result.thickness)} Å"
    style.add_text(figure, 0.68, 0.14, title, color=style.QUIET, fontsize=7.0)
    return figure


def _triples_across(count: int) -> int:
    """How many triples in a row make the page nearest to 4 : 3."""
    return min(
        range(1, max(1, count) + 1), key=lambda n: abs(math.log(3.2 * n / (1.25 * math.ceil(count / n)) / (4 / 3)))
    )


def _headings(figure: Figure, across: int, triple: float, width: float) -> None:
    for column in range(across):
        for i, text in enumerate(("measured", "simulated", "difference")):
            middle = _MARGIN + column * triple + i * (width + _GAP) + width / 2
            style.add_text(figure, middle, _MARGIN + 0.1, text, ha="center", color=style.QUIET, fontsize=6.0)


def _draw(
    figure: Figure, left: float, top: float, width: float, measured: FloatArray, match: Match, scaled: Any
) -> None:
    model = match.model
    low, high = style.limits(np.stack([measured, model]), 0.3)
    reach = 0.5 * (high - low)
    for i, image in enumerate((measured, model, measured - model)):
        panel = style.add_panel(figure, left + i * (width + _GAP), top, width, width)
        kind: dict[str, Any] = {"cmap": style.grey_map(), "vmin": low, "vmax": high}
        if i == 2:
            kind = {"cmap": style.DIFFERENCE, "vmin": -reach, "vmax": reach}
        panel.imshow(image, origin="lower", interpolation="antialiased", aspect="auto", **kind)
        if i == 0 and scaled is not None:
            pattern = scaled.experiment.pattern
            span = axis_step(pattern["kx"]) * pattern.sizes["kx"]
            panel.set_xlim(-0.5, pattern.sizes["kx"] - 0.5)
            style.scale_bar(panel, span, "mrad", style.mrad_per_length(pattern), size=5.0)
