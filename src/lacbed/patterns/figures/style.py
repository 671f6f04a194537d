"""What all figures share: colours, text sizes, image panels, scale bars, and saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from lacbed.constants import wavelength
from lacbed.io.atomic import replacing
from lacbed.patterns.schema import axis_step, number_text, round_length

PAPER = "#0d0f12"
INK = "#e8e6e1"
QUIET = "#8d9096"
EDGE = "#2a2d33"
ACCENT = "#ffb454"
FONT: dict[str, Any] = {"family": "DejaVu Sans"}
DPI = 160
DIFFERENCE = LinearSegmentedColormap.from_list(
    "lacbed difference", ["#bfe6ff", "#3f8fd8", "#1b3a66", "#101216", "#6b2d16", "#e0702f", "#ffe3b8"]
).with_extremes(bad=PAPER)


def new_figure(width: float, height: float) -> Figure:
    """An empty dark figure of a size in inches, with its own canvas."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def add_panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Empty axes without ticks; the position in inches from the top left corner of the figure."""
    full_width, full_height = figure.get_size_inches()
    bottom = full_height - top - height
    panel = figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_facecolor(PAPER)
    for spine in panel.spines.values():
        spine.set_visible(False)
    return panel


def add_text(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Text at a position in inches from the top left corner."""
    width, height = figure.get_size_inches()
    look = {"color": INK, "fontsize": 8.0, "va": "center", **FONT, **style}
    figure.text(left / width, 1.0 - top / height, text, **look)


def add_foot(figure: Figure, text: str) -> None:
    """One quiet line at the lower edge: what is shown."""
    bottom = float(figure.get_size_inches()[1]) - 0.17
    add_text(figure, 0.22, bottom, text.strip(), color=QUIET, fontsize=7.0)


def grey_map() -> Colormap:
    """A colour map that leaves pixels outside a disc the colour of the paper."""
    return colormaps["gray"].with_extremes(bad=PAPER)


def limits(values: np.ndarray, clip: float = 0.1) -> tuple[float, float]:
    """Grey limits: the range of the finite values without `clip` percent at each end."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (clip, 100.0 - clip)))
    if not high - low > 1e-12 * max(abs(high), abs(low)):
        low, high = float(finite.min()), float(finite.max())
    if not high - low > 1e-12 * max(abs(high), abs(low)):
        return low - 0.5 * (abs(low) or 1.0), low + 0.5 * (abs(low) or 1.0)
    return low, high


def outlined(width: float = 1.6) -> list[Any]:
    """A dark rim that keeps light text and lines readable on a bright image."""
    return [withStroke(linewidth=width, foreground="#000000b0")]


def scale_bar(panel: Axes, span: float, unit: str, factor: float = 1.0, size: float = 7.0) -> None:
    """A bar of a round length in the lower left corner.

    Args:
        panel: axes with an image in data coordinates.
        span: width of the image in data coordinates.
        unit: of the label.
        factor: label unit per data unit, such as mrad per 1/Å.
        size: of the text in points.
    """
    length = round_length(0.34 * span * factor)
    fraction = length / (span * factor)
    figure = panel.get_figure()
    height = panel.get_position().height * (figure.get_figheight() if isinstance(figure, Figure) else 1.0)
    bar = Rectangle((0.05, 0.05), fraction, 0.022 / height, transform=panel.transAxes, color=INK, lw=0, zorder=5)
    bar.set_path_effects(outlined(1.2))
    panel.add_patch(bar)
    panel.text(
        0.05 + fraction / 2,
        0.05 + 0.045 / height,
        f"{number_text(length)} {unit}",
        transform=panel.transAxes,
        color=INK,
        fontsize=size,
        ha="center",
        va="bottom",
        path_effects=outlined(),
        zorder=6,
        **FONT,
    )


def mrad_per_length(data: xr.DataArray, axis: str = "kx") -> float:
    """λ in mrad Å, from the angles in the pattern or its energy; 0 if neither is known."""
    energy = data.attrs.get("energy")
    if isinstance(energy, int | float) and energy > 0:
        return 1e3 * wavelength(float(energy))
    if "alpha_x" in data.coords and data.sizes[axis] > 1:
        return axis_step(data["alpha_x"]) / axis_step(data[axis])
    return 0.0


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG; the file name's ending does not matter."""
    figure.savefig(path, format="png", facecolor=figure.get_facecolor(), metadata={"Software": "lacbed"})


def replace_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG in the place of an earlier one, whole or not at all.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    with replacing(path) as temporary:
        save_figure(figure, temporary)
