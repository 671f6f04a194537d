"""The montage: every thickness and reflection of a pattern on one dark page."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lacbed.errors import SettingError
from lacbed.patterns.figures import style
from lacbed.patterns.labels import axis_step, caption, hkl_label, number_text
from lacbed.patterns.schema import check_pattern, intensities

Scale = Literal["each", "reflection", "shared"]
MAX_PANELS = 400
_WIDE = 9  # reflections in one row before they wrap
_MARGIN, _GAP, _BETWEEN, _HEAD, _FOOT = 0.22, 0.05, 0.35, 0.24, 0.34


def montage(
    pattern: xr.DataArray,
    scale: Scale = "each",
    columns: int | None = None,
    clip: float = 0.1,
    panel_size: float | None = None,
) -> Figure:
    """Draw a pattern as a grid of images, thicknesses from top to bottom and reflections from left to right.

    x points right and y up. More than nine reflections wrap into several rows, under a heading for each
    thickness. Each image is labelled with its reflection, the first has a scale bar in mrad.

    Args:
        pattern: (thickness, hkl, ky, kx); of complex amplitudes |A|² is shown.
        scale: which images share their black and white: "each" (none), "reflection" (all thicknesses of one
            reflection) or "shared" (all).
        columns: images in a row; default all reflections, or a near-square block when there are more than nine.
        clip: percentage of the pixels at each end of the range that may saturate.
        panel_size: side of one image in inches.

    Returns:
        a matplotlib Figure; see `save_figure`.

    Raises:
        SettingError: if it is not a pattern, or has more than 400 images.
    """
    data = intensities(check_pattern(pattern))
    rows, count = data.sizes["thickness"], data.sizes["hkl"]
    if rows * count > MAX_PANELS:
        raise SettingError(
            f"a montage of {rows} x {count} images is not readable; select at most {MAX_PANELS} of them, for "
            "example pattern.isel(thickness=[-1])"
        )
    if scale not in ("each", "reflection", "shared"):
        raise SettingError(f"scale must be 'each', 'reflection' or 'shared', got {scale!r}")
    across = min(count, columns or (count if count <= _WIDE else _block_width(count)))
    down = math.ceil(count / across)
    beside = 1 if down == 1 else _blocks_beside(rows, across, down)
    side = panel_size or _panel_side(across * beside, -(-rows // beside) * down)
    return _Page(data, scale, clip, across, down, beside, side).draw()


def _block_width(count: int) -> int:
    return max(_WIDE - 2, math.ceil(math.sqrt(count)))


def _blocks_beside(blocks: int, across: int, down: int) -> int:
    """How many blocks side by side make the page nearest to 4 : 3."""

    def off(beside: int) -> float:
        return abs(math.log((beside * across) / (1.2 * math.ceil(blocks / beside) * down) / (4 / 3)))

    return min(range(1, blocks + 1), key=off)


def _panel_side(across: int, down: int) -> float:
    return float(np.clip(min(11.0 / across, 15.0 / down), 0.75, 2.6))


class _Page:
    """Positions of the images, in inches from the top left corner."""

    def __init__(
        self, data: xr.DataArray, scale: Scale, clip: float, across: int, down: int, beside: int, side: float
    ) -> None:
        self.data, self.across, self.down, self.beside, self.side = data, across, down, beside, side
        self.limits = _grey_limits(data.values, scale, clip)
        step_x, step_y = axis_step(data["kx"]), axis_step(data["ky"])
        self.extent = (
            float(data["kx"][0]) - step_x / 2,
            float(data["kx"][-1]) + step_x / 2,
            float(data["ky"][0]) - step_y / 2,
            float(data["ky"][-1]) + step_y / 2,
        )
        self.height = side * (self.extent[3] - self.extent[2]) / (self.extent[1] - self.extent[0])
        self.wrapped = down > 1
        self.text_size = float(np.clip(3.5 + 3.0 * side, 5.0, 9.5))
        self.band = 0.028 * self.text_size  # room for a line of text, inches

    def draw(self) -> Figure:
        left = _MARGIN if self.wrapped else _MARGIN + 0.30
        block = self.down * (self.height + self.band) + _GAP + (_HEAD if self.wrapped else 0.0)
        rows = math.ceil(self.data.sizes["thickness"] / self.beside)
        if not self.wrapped:
            block = self.height + _GAP
        top = _MARGIN if self.wrapped else _MARGIN + self.band
        shift = self.across * (self.side + _GAP) + _BETWEEN
        width = left + self.beside * shift - _BETWEEN - _GAP + _MARGIN
        figure = style.new_figure(max(width, 2.6), top + rows * block + _FOOT)
        for index in range(self.data.sizes["thickness"]):
            line, column = divmod(index, self.beside)
            self._draw_thickness(figure, index, left + column * shift, top + line * block)
        self._draw_caption(figure, left)
        return figure

    def _draw_thickness(self, figure: Figure, row: int, left: float, top: float) -> None:
        thickness = float(self.data["thickness"][row])
        text = "measured" if math.isnan(thickness) else f"{number_text(thickness)} Å"
        if self.wrapped:
            style.add_text(figure, left, top + 0.08, text, color=style.ACCENT, fontsize=9.0)
            top += _HEAD
        else:
            middle = top + self.height / 2
            look: dict[str, Any] = {"rotation": 90, "ha": "center", "color": style.QUIET, "fontsize": 8.0}
            style.add_text(figure, left - 0.16, middle, text, **look)
        for index, hkl in enumerate(self.data["hkl"].values):
            line, column = divmod(index, self.across)
            x = left + column * (self.side + _GAP)
            y = top + line * (self.height + self.band) + (self.band if self.wrapped else 0.0)
            panel = style.add_panel(figure, x, y, self.side, self.height)
            self._draw_image(panel, row, index)
            if self.wrapped or row == 0:
                at = (x + self.side / 2, y - 0.52 * self.band)
                style.add_text(figure, *at, hkl_label(str(hkl)), ha="center", fontsize=self.text_size)
            if row == 0 and index == 0:
                self._draw_scale(panel)

    def _draw_image(self, panel: Axes, row: int, index: int) -> None:
        low, high = self.limits[row, index]
        panel.imshow(
            self.data.values[row, index],
            origin="lower",
            extent=self.extent,
            cmap=style.grey_map(),
            vmin=low,
            vmax=high,
            interpolation="antialiased",
            aspect="auto",
        )

    def _draw_scale(self, panel: Axes) -> None:
        mrad = style.mrad_per_length(self.data)
        span = self.extent[1] - self.extent[0]
        unit, factor = ("mrad", mrad) if mrad else ("Å⁻¹", 1.0)
        style.scale_bar(panel, span, unit, factor, size=float(np.clip(self.text_size - 1.5, 4.5, 7.5)))

    def _draw_caption(self, figure: Figure, left: float) -> None:
        height = figure.get_size_inches()[1]
        text = caption(self.data.attrs)
        style.add_text(figure, left, height - 0.17, text, color=style.QUIET, fontsize=7.0)


def _grey_limits(values: np.ndarray, scale: Scale, clip: float) -> np.ndarray:
    """Black and white of each image: (thickness, hkl, 2)."""
    rows, count = values.shape[:2]
    out = np.empty((rows, count, 2))
    if scale == "shared":
        out[:] = style.limits(values, clip)
        return out
    for index in range(count):
        if scale == "reflection":
            out[:, index] = style.limits(values[:, index], clip)
            continue
        for row in range(rows):
            out[row, index] = style.limits(values[row, index], clip)
    return out
