"""Two patterns side by side with their difference and Z."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lacbed.patterns.compare import align_patterns, compare_patterns
from lacbed.patterns.figures import style
from lacbed.patterns.labels import axis_step, caption, hkl_label, number_text

MAX_ROWS = 12
_MARGIN, _GAP, _HEAD, _FOOT, _SIDE, _LABELS = 0.22, 0.06, 0.34, 0.34, 1.7, 0.95


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
    figure = style.new_figure(width, _MARGIN + _HEAD + len(order) * (_SIDE + _GAP) + _FOOT)
    _headings(figure, names)
    for line, index in enumerate(sorted(int(i) for i in order)):
        top = _MARGIN + _HEAD + line * (_SIDE + _GAP)
        _labels(figure, top, scores, row, index)
        _images(figure, top, first, second, (row, index), with_scale=line == 0)
    foot = f"{caption(first.attrs)}   {number_text(float(first['thickness'][row]))} Å"
    bottom = float(figure.get_size_inches()[1]) - 0.17
    style.add_text(figure, _MARGIN, bottom, foot.strip(), color=style.QUIET, fontsize=7.0)
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
    hkl = hkl_label(str(scores["hkl"].values[index]))
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
