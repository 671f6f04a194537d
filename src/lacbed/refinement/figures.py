"""Pictures of fits and refinements: reflections as measured, simulated and their difference; Z over thickness.

As everywhere, the difference is simulated - measured: red where the simulation is brighter, blue where darker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from lacbed.crystals.cell import FloatArray
from lacbed.patterns.figures import style
from lacbed.patterns.result import hkl_label
from lacbed.patterns.schema import axis_step, caption, hkl_math, number_text

if TYPE_CHECKING:
    from lacbed.refinement.fit import FitResult
    from lacbed.refinement.profile import Profile
    from lacbed.refinement.result import RefinedStack, Refinement

_MARGIN, _GAP, _BAND, _BETWEEN, _HEAD, _FOOT = 0.22, 0.03, 0.20, 0.16, 0.24, 0.34


@dataclass(frozen=True, eq=False)
class Pair:
    """A measured image, what the model says of it in counts, and the text above both."""

    measured: FloatArray
    model: FloatArray
    text: str


def fit_montage(result: FitResult) -> Figure:
    """Draw measured image, simulation and difference of every used reflection of a fit, with its Z.

    The simulation is as aligned for its reflection, with the fitted scale and background.
    """
    rows = zip(result.merits.labels, result.experiment.images, result.merits.matches, strict=True)
    pairs = [
        Pair(image, m.model, f"{hkl_math(label)}   Z {100 * m.z_aligned:.3g} %") for label, image, m in rows if m
    ]
    pattern = result.experiment.pattern
    foot = (
        f"{caption(pattern.attrs)}   {number_text(result.thickness)} Å   mean Z "
        f"{100 * result.merits.mean_z:.3g} %, aligned {100 * result.merits.mean_z_aligned:.3g} %"
    )
    return montage_of_pairs(pairs, foot, pattern)


def comparison_figure(result: RefinedStack, z: np.ndarray) -> Figure:
    """Draw measured image, simulation (scaled, moved) and difference of every reflection of a refined stack.

    Args:
        result: the stack.
        z: of every reflection, aligned: (g,).
    """
    measured, models = result.measured, result.fit_aligned.model.numpy()
    pairs = [
        Pair(measured.images[i], models[i], f"{hkl_math(hkl_label(hkl))}   Z {100 * z[i]:.3g} %")
        for i, hkl in enumerate(measured.hkl)
    ]
    return montage_of_pairs(
        pairs, f"{number_text(float(result.state.thickness))} Å   mean Z {100 * z.mean():.3g} %"
    )


def montage_of_pairs(pairs: Sequence[Pair], foot: str, scaled: xr.DataArray | None = None) -> Figure:
    """Draw measured images, models and differences in triples.

    Measured and simulated images share their greys; the difference has limits of half their range.

    Args:
        pairs: one for each triple.
        foot: text below.
        scaled: a pattern whose axes give the scale bar of the first image.
    """
    across = _triples_across(len(pairs))
    down = math.ceil(len(pairs) / across)
    width = float(np.clip(11.5 / (3 * across), 0.5, 1.6))
    triple = 3 * (width + _GAP) + _BETWEEN
    row = width + _BAND + _GAP
    size = max(2 * _MARGIN + across * triple - _BETWEEN, 4.2), _MARGIN + _HEAD + down * row + _FOOT
    figure = style.new_figure(*size)
    for column in range(min(across, len(pairs))):
        for i, text in enumerate(("measured", "simulated", "difference")):
            middle = _MARGIN + column * triple + i * (width + _GAP) + width / 2
            style.add_text(figure, middle, _MARGIN + 0.1, text, ha="center", color=style.QUIET, fontsize=6.0)
    for number, pair in enumerate(pairs):
        line, column = divmod(number, across)
        left, top = _MARGIN + column * triple, _MARGIN + _HEAD + line * row
        style.add_text(figure, left, top + 0.09, pair.text, fontsize=6.5)
        _draw(figure, left, top + _BAND, width, pair, scaled if number == 0 else None)
    style.add_text(figure, _MARGIN, size[1] - 0.17, foot, color=style.QUIET, fontsize=7.0)
    return figure


def fit_scan_figure(result: FitResult) -> Figure:
    """Draw the mean Z of the scan of a fit against thickness."""
    title = f"{caption(result.experiment.pattern.attrs)}   best {number_text(result.thickness)} Å"
    return _scan(np.array(sorted(result.scan)), result.thickness, title)


def scan_figure(result: RefinedStack) -> Figure:
    """Draw the mean Z of the scan before refinement against thickness, and where the refinement ended."""
    thickness = float(result.state.thickness)
    return _scan(result.start.scan, thickness, f"before refinement   refined {number_text(thickness)} Å")


def _scan(table: FloatArray, found: float, title: str) -> Figure:
    figure, axes = _chart("thickness (Å)", "mean Z (%)", title)
    axes.plot(table[:, 0], 100 * table[:, 1], color=style.INK, lw=1.2, marker="o", ms=2.5)
    axes.axvline(found, color=style.ACCENT, lw=0.9)
    axes.set_ylim(bottom=0)
    return figure


def profile_figure(found: Profile) -> Figure:
    """Draw the rise of the sum of squares along one parameter, the parabola of its uncertainty, the interval."""
    figure, axes = _chart(f"{found.name} ({found.unit})" if found.unit else found.name, "rise", "interval of 68 %")
    axes.plot(found.values, found.rise, ls="", marker="o", ms=3.5, color=style.INK)
    fine = np.linspace(found.values[0], found.values[-1], 101)
    axes.plot(fine, np.square((fine - found.best) / found.uncertainty), color=style.QUIET, lw=0.9)
    axes.axhline(1.0, color=style.EDGE, lw=0.9)
    for end in (found.low, found.high):
        if math.isfinite(end):
            axes.axvline(end, color=style.ACCENT, lw=0.9)
    axes.set_ylim(bottom=0)
    return figure


def _chart(across: str, up: str, title: str) -> tuple[Figure, Any]:
    """An empty chart in the style of all."""
    figure = style.new_figure(5.2, 3.2)
    axes = figure.add_axes((0.13, 0.17, 0.83, 0.73))
    axes.set_facecolor(style.PAPER)
    axes.set_xlabel(across, color=style.INK, fontsize=8)
    axes.set_ylabel(up, color=style.INK, fontsize=8)
    axes.tick_params(colors=style.QUIET, labelsize=7)
    for spine in axes.spines.values():
        spine.set_color(style.EDGE)
    style.add_text(figure, 0.68, 0.14, title, color=style.QUIET, fontsize=7.0)
    return figure, axes


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


def deformation_figure(result: Refinement, x: FloatArray, density: FloatArray, repeat: float) -> Figure:
    """Draw the density of the electrons less that of neutral atoms, projected along the zone axis.

    Args:
        result: the refinement.
        x: positions along x and along y in Å.
        density: in electrons per Å²: (y, x).
        repeat: along the zone axis in Å.
    """
    side = 4.2
    figure = style.new_figure(side + 0.6, side + 0.85)
    panel = style.add_panel(figure, 0.3, 0.2, side, side)
    half = 0.5 * float(x[1] - x[0])
    extent = (float(x[0]) - half, float(x[-1]) + half) * 2
    reach = float(np.abs(density).max()) or 1.0
    panel.imshow(density, origin="lower", extent=extent, cmap=style.DIFFERENCE, vmin=-reach, vmax=reach)
    levels = [level for level in np.linspace(-reach, reach, 11) if abs(level) > 1e-9 * reach]
    panel.contour(x, x, density, levels=levels, colors=style.INK, linewidths=0.35, alpha=0.6)
    crystal, frame = result.plan.structure.crystal, result.measured.frame
    shifts = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    places = ((crystal.atoms.xyz[None] + shifts).reshape(-1, 3) @ crystal.direct.T) @ frame.rotation[:2].T
    inside = places[np.all(np.abs(places) <= x[-1], axis=1)]
    panel.plot(*np.unique(np.round(inside, 4), axis=0).T, ls="", marker="o", ms=3.0, color=style.INK)
    width = round(float(x[-1] - x[0]), 1)
    text = (
        f"{number_text(width)} Å wide, {number_text(round(repeat, 2))} Å along the zone axis; up to "
        f"{number_text(float(f'{reach:.2g}'))} electrons per Å²"
    )
    style.add_text(figure, 0.3, side + 0.5, text, color=style.QUIET, fontsize=7.0)
    return figure


def _triples_across(count: int) -> int:
    """How many triples in a row make the page nearest to 4 : 3."""
    return min(
        range(1, max(1, count) + 1), key=lambda n: abs(math.log(3.2 * n / (1.25 * math.ceil(count / n)) / (4 / 3)))
    )


def _draw(figure: Figure, left: float, top: float, width: float, pair: Pair, scaled: xr.DataArray | None) -> None:
    low, high = style.limits(np.stack([pair.measured, pair.model]), 0.3)
    reach = 0.5 * (high - low)
    for i, image in enumerate((pair.measured, pair.model, pair.model - pair.measured)):
        panel = style.add_panel(figure, left + i * (width + _GAP), top, width, width)
        kind: dict[str, Any] = {"cmap": style.grey_map(), "vmin": low, "vmax": high}
        if i == 2:
            kind = {"cmap": style.DIFFERENCE, "vmin": -reach, "vmax": reach}
        panel.imshow(image, origin="lower", interpolation="antialiased", aspect="auto", **kind)
        if i == 0 and scaled is not None:
            span = axis_step(scaled["kx"]) * scaled.sizes["kx"]
            panel.set_xlim(-0.5, scaled.sizes["kx"] - 0.5)
            style.scale_bar(panel, span, "mrad", style.mrad_per_length(scaled), size=5.0)
