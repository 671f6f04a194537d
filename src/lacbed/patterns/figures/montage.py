"""The montage of a pattern, all on one dark page, and two patterns side by side with their difference."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lacbed.errors import SettingError
from lacbed.patterns.figures import style
from lacbed.patterns.metrics import align_patterns, compare_patterns
from lacbed.patterns.schema import axis_step, caption, check_pattern, hkl_math, intensities, number_text

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
        style.add_foot(figure, caption(self.data.attrs))
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
                style.add_text(figure, *at, hkl_math(str(hkl)), ha="center", fontsize=self.text_size)
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


MAX_ROWS = 12
_HEADING, _SIDE, _LABELS = 0.34, 1.7, 0.95


def difference_figure(
    a: xr.DataArray,
    b: xr.DataArray,
    thickness: float | None = None,
    names: tuple[str, str] = ("A", "B"),
    intersect: bool = False,
) -> Figure:
    """Draw A, B and A - B for each reflection at one thickness, with Z and the largest difference.

    A and B share their greys; A - B is blue where A is darker and red where A is brighter, with symmetric limits
    written beside it. The twelve reflections with the largest Z are drawn if there are more.

    Args:
        a: a pattern.
        b: a pattern on the same grid.
        thickness: in Å; default the one with the largest mean Z.
        names: headings of the two patterns.
        intersect: compare what both have instead of refusing patterns with different reflections or thicknesses.

    Raises:
        SettingError: if they cannot be compared; see `compare_patterns`.
    """
    first, second = align_patterns(a, b, intersect)
    scores = compare_patterns(first, second)
    row = _choose(scores, thickness)
    order = np.argsort(-np.nan_to_num(scores["Z"].values[row]), kind="stable")[:MAX_ROWS]
    width = _MARGIN + _LABELS + 3 * (_SIDE + _GAP) + 0.62 + _MARGIN
    figure = style.new_figure(width, _MARGIN + _HEADING + len(order) * (_SIDE + _GAP) + _FOOT)
    _headings(figure, names)
    for line, index in enumerate(sorted(int(i) for i in order)):
        top = _MARGIN + _HEADING + line * (_SIDE + _GAP)
        _labels(figure, top, scores, row, index)
        _images(figure, top, first, second, (row, index), with_scale=line == 0)
    foot = f"{caption(first.attrs)}   {number_text(float(first['thickness'][row]))} Å"
    style.add_foot(figure, foot)
    return figure


def _choose(scores: xr.Dataset, thickness: float | None) -> int:
    if thickness is None:
        return int(np.argmax(np.nan_to_num(scores["Z"].values).mean(axis=1)))
    return int(np.argmin(np.abs(scores["thickness"].values - thickness)))


def _headings(figure: Figure, names: tuple[str, str]) -> None:
    for column, text in enumerate((*names, f"{names[0]} - {names[1]}".replace("-", "\N{MINUS SIGN}"))):
        middle = _MARGIN + _LABELS + column * (_SIDE + _GAP) + _SIDE / 2
        shown = text if len(text) <= 26 else text[:25] + "…"
        style.add_text(figure, middle, _MARGIN + 0.12, shown, ha="center", fontsize=8.5)


def _labels(figure: Figure, top: float, scores: xr.Dataset, row: int, index: int) -> None:
    hkl = hkl_math(str(scores["hkl"].values[index]))
    middle = top + _SIDE / 2
    style.add_text(figure, _MARGIN, middle - 0.22, hkl, fontsize=11.0)
    z = 100 * float(scores["Z"].values[row, index])
    style.add_text(figure, _MARGIN, middle + 0.04, f"Z {z:.3g} %", fontsize=7.5, color=style.ACCENT)
    largest = float(scores["max_difference"].values[row, index])
    style.add_text(figure, _MARGIN, middle + 0.22, f"max |Δ| {largest:.2g}", fontsize=6.5, color=style.QUIET)


def _images(
    figure: Figure, top: float, a: xr.DataArray, b: xr.DataArray, at: tuple[int, int], with_scale: bool
) -> None:
    images = [a.values[at], b.values[at]]
    low, high = style.limits(np.stack(images))
    difference = images[0] - images[1]
    finite = np.abs(difference[np.isfinite(difference)])
    reach = float(finite.max()) if finite.size and finite.max() > 0 else 1e-12
    for column, image in enumerate((*images, difference)):
        left = _MARGIN + _LABELS + column * (_SIDE + _GAP)
        panel = style.add_panel(figure, left, top, _SIDE, _SIDE)
        kind: dict[str, Any] = {"cmap": style.grey_map(), "vmin": low, "vmax": high}
        if column == 2:
            kind = {"cmap": style.DIFFERENCE, "vmin": -reach, "vmax": reach}
        panel.imshow(image, origin="lower", interpolation="antialiased", aspect="auto", **kind)
        if column == 0 and with_scale:
            _scale(panel, a)
    _key(figure, _MARGIN + _LABELS + 3 * (_SIDE + _GAP), top, reach)


def _key(figure: Figure, left: float, top: float, reach: float) -> None:
    """The colours of the difference, with their limits."""
    panel = style.add_panel(figure, left + 0.02, top, 0.07, _SIDE)
    ramp = np.linspace(-1, 1, 128)[:, None]
    panel.imshow(ramp, origin="lower", cmap=style.DIFFERENCE, aspect="auto")
    for text, at in ((f"+{reach:.1e}", 0.06), ("0", _SIDE / 2), (f"−{reach:.1e}", _SIDE - 0.06)):
        style.add_text(figure, left + 0.15, top + at, text, fontsize=5.5, color=style.QUIET)


def _scale(panel: Axes, a: xr.DataArray) -> None:
    step = axis_step(a["kx"])
    mrad = style.mrad_per_length(a)
    style.scale_bar(panel, step * a.sizes["kx"], "mrad" if mrad else "Å⁻¹", mrad or 1.0, size=6.5)
