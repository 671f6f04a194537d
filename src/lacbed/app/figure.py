"""A figure for a paper out of results that the page holds: panels, scale bar, colour bars, and a true caption."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.errors import SettingError
from lacbed.io.checks import check_number, check_one_of, check_whole, is_list, is_number, is_whole

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEDIA_TYPES = {".svg": "image/svg+xml", ".pdf": "application/pdf", ".png": "image/png"}
COLOURS = ("gray", "magma", "inferno", "viridis", "cividis", "twilight")
MAX_PANELS = 64
FIXED = {
    "format": tuple(MEDIA_TYPES),
    "colours": COLOURS,
    "contrast": ("each", "common"),
    "unit": ("mrad", "degree", "inverse", "nanometre"),
}
_UNITS = {
    "mrad": ("mrad", 1e3),
    "degree": ("°", math.degrees(1)),
    "inverse": ("Å⁻¹", 0.0),
    "nanometre": ("nm⁻¹", 0.0),
}
_FACTORS = {
    "kirkland": "Kirkland",
    "lobato": "Lobato",
    "peng": "Peng",
    "doyle-turner": "Doyle-Turner",
    "ionic": "ionic",
}
_INCH = 25.4
_GAP, _BAR, _MARGIN, _TEXT = 0.05, 0.07, 0.02, 0.36  # inches
_CLIP = 0.1
"""Percentage of the pixels at each end of a grey scale that may saturate."""


@dataclass(frozen=True)
class Layout:
    """What a figure shows, and how.

    Attributes:
        panels: reflection and thickness in Å of each panel, in reading order.
        columns: panels in a row.
        width: of the figure in mm.
        format: ".svg", ".pdf" or ".png".
        colours: colour map.
        inverted: whether it runs backwards.
        logarithmic: whether the scale is.
        smooth: whether pixels are interpolated.
        contrast: "each" panel has its own limits, or all have "common" ones.
        scale_bar: whether the first panel has one.
        colour_bar: whether the limits are drawn.
        indices: whether each panel names its reflection, and its thickness where that differs.
        unit: of the scale bar.
    """

    panels: tuple[tuple[tuple[int, int, int], float], ...]
    columns: int = 1
    width: float = 86.0
    format: str = ".svg"
    colours: str = "gray"
    inverted: bool = False
    logarithmic: bool = False
    smooth: bool = True
    contrast: str = "each"
    scale_bar: bool = True
    colour_bar: bool = True
    indices: bool = True
    unit: str = "mrad"


def parse_layout(data: Mapping[str, Any]) -> Layout:
    """A layout from what the page sent.

    Raises:
        SettingError: in plain words, naming what was expected.
    """
    panels = data.get("panels")
    if not isinstance(panels, list) or not 0 < len(panels) <= MAX_PANELS or not all(map(_is_panel, panels)):
        raise SettingError(f"a figure has 1 to {MAX_PANELS} panels, each a reflection and a thickness")
    chosen: dict[str, Any] = {}
    for key, offered in FIXED.items():
        chosen[key] = data.get(key, getattr(Layout, key))
        check_one_of(f"the {key} of a figure", chosen[key], offered)
    for key in ("inverted", "logarithmic", "smooth", "scale_bar", "colour_bar", "indices"):
        chosen[key] = data.get(key, getattr(Layout, key))
        if not isinstance(chosen[key], bool):
            raise SettingError(f"{key.replace('_', ' ')} must be true or false, got {chosen[key]!r:.40}")
    return Layout(
        tuple(((g[0], g[1], g[2]), float(t)) for g, t in panels),
        columns=check_whole("columns", data.get("columns", 1), 1, 16),
        width=check_number("the width of a figure", data.get("width", 86.0), 20.0, 400.0, unit="mm"),
        **chosen,
    )


def _is_panel(panel: Any) -> bool:
    if not isinstance(panel, list) or len(panel) != 2:
        return False
    return is_list(panel[0], lambda v: is_whole(v, -1000, 1000), 3) and is_number(panel[1], 0, 1e6)


def figure_bytes(
    patterns: Sequence[xr.DataArray], layout: Layout, b_iso: float | None = None
) -> tuple[bytes, str]:
    """The content of the file, and the caption, which is in the file's metadata too.

    Args:
        patterns: results of one view, which together hold all panels.
        layout: what is drawn.
        b_iso: B in Å² that was set for every site, or None for those of the crystal; for the caption.

    Raises:
        SettingError: if a panel is in none of the patterns.
    """
    import matplotlib as mpl

    images = [_image(patterns, hkl, thickness) for hkl, thickness in layout.panels]
    caption = caption_of([source for source, _ in images], layout, b_iso)
    content = io.BytesIO()
    with mpl.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "lacbed", "font.family": "DejaVu Sans"}):
        figure = _draw(images, layout)
        title = caption.partition(";")[0]
        kinds: dict[str, dict[str, Any]] = {
            ".svg": {"Title": title, "Description": caption, "Creator": "lacbed", "Date": None},
            ".pdf": {"Title": title, "Subject": caption, "Creator": "lacbed", "CreationDate": None},
            ".png": {"Title": title, "Description": caption, "Software": "lacbed"},
        }
        figure.savefig(content, format=layout.format[1:], dpi=600, metadata=kinds[layout.format])
    return content.getvalue(), caption


def _image(
    patterns: Sequence[xr.DataArray], hkl: tuple[int, int, int], thickness: float
) -> tuple[xr.DataArray, np.ndarray]:
    """The pattern that holds a panel, and its values."""
    label = ",".join(map(str, hkl))
    for pattern in patterns:
        away = np.abs(pattern["thickness"].values - thickness)
        if label in pattern["hkl"].values and away.min() <= 1e-6:
            return pattern, pattern.sel(hkl=label).values[int(away.argmin())]
    raise SettingError(f"the results have no reflection {label} at {thickness:g} Å; compute it, then draw it")


def _draw(images: Sequence[tuple[xr.DataArray, np.ndarray]], layout: Layout) -> Figure:
    from matplotlib.figure import Figure

    from lacbed.patterns.figures import style

    columns = min(layout.columns, len(images))
    rows = math.ceil(len(images) / columns)
    width = layout.width / _INCH
    common = layout.contrast == "common"
    beside = _BAR + _TEXT + _GAP if layout.colour_bar else 0.0
    bars = beside if common else columns * beside
    side = (width - 2 * _MARGIN - (columns - 1) * _GAP - bars) / columns
    if side < 0.25:
        raise SettingError(
            f"{columns} columns leave no room in {layout.width:g} mm; choose fewer, or a wider figure"
        )
    height = 2 * _MARGIN + rows * side + (rows - 1) * _GAP
    figure = Figure(figsize=(width, height), facecolor="white")
    together = style.limits(np.concatenate([values.ravel() for _, values in images]), _CLIP)
    pitch = side + _GAP + (0.0 if common else beside)
    for n, (pattern, values) in enumerate(images):
        row, column = divmod(n, columns)
        left, top = _MARGIN + column * pitch, _MARGIN + row * (side + _GAP)
        limits = together if common else style.limits(values, _CLIP)
        shown = _panel(figure, (left, top, side, side), values, limits, layout)
        _annotate(shown, pattern, layout, n, side)
        if layout.colour_bar and not common:
            _bar(figure, shown, (left + side + _GAP / 2, top, _BAR, side))
        elif layout.colour_bar and n == 0:
            _bar(figure, shown, (width - _MARGIN - beside + _GAP, _MARGIN, _BAR, height - 2 * _MARGIN))
    return figure


def _panel(
    figure: Figure,
    place: tuple[float, float, float, float],
    values: np.ndarray,
    limits: tuple[float, float],
    layout: Layout,
) -> Axes:
    from matplotlib.colors import LogNorm, Normalize

    axes = _axes(figure, place)
    low, high = limits
    if layout.logarithmic:
        floor = max(low, high * 1e-5, 1e-12)
        norm: Normalize = LogNorm(floor, max(high, floor * 1.0001), clip=True)
        values = np.maximum(values, floor)
    else:
        norm = Normalize(low, high)
    axes.imshow(
        values,
        origin="lower",
        cmap=layout.colours + ("_r" if layout.inverted else ""),
        norm=norm,
        interpolation="bilinear" if layout.smooth else "nearest",
        aspect="auto",
    )
    return axes


def _axes(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    """Empty axes at a place in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    left, top, wide, high = place
    axes = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
    return axes


def _annotate(axes: Axes, pattern: xr.DataArray, layout: Layout, n: int, side: float) -> None:
    from lacbed.patterns.figures import style
    from lacbed.patterns.schema import axis_step, hkl_math, number_text

    size = float(np.clip(3.5 + 3.0 * side, 4.5, 8.0))
    look: dict[str, Any] = {"fontsize": size, "color": "white", "path_effects": style.outlined(1.4)}
    inset = 0.05 / side
    hkl, thickness = layout.panels[n]
    if layout.indices:
        text = hkl_math(",".join(map(str, hkl)))
        axes.text(inset, 1 - inset, text, transform=axes.transAxes, va="top", ha="left", **look)
        if len({t for _, t in layout.panels}) > 1:
            words = f"{number_text(thickness)} Å"
            axes.text(1 - inset, 1 - inset, words, transform=axes.transAxes, va="top", ha="right", **look)
    if layout.scale_bar and n == 0:
        unit, factor = _UNITS[layout.unit]
        per_length = (
            factor * float(pattern.attrs["wavelength"]) or {"inverse": 1.0, "nanometre": 10.0}[layout.unit]
        )
        # Axes of an image count in pixels.
        style.scale_bar(axes, pattern.sizes["kx"], unit, per_length * axis_step(pattern["kx"]), size)


def _bar(figure: Figure, panel: Axes, place: tuple[float, float, float, float]) -> None:
    axes = _axes(figure, place)
    bar = figure.colorbar(panel.images[0], cax=axes)
    bar.outline.set_linewidth(0.4)
    axes.tick_params(labelsize=5.5, width=0.4, length=1.5, pad=1.5)
    bar.ax.yaxis.get_offset_text().set_fontsize(5.5)
    if axes.get_yscale() != "log":
        axes.locator_params(axis="y", nbins=5)


def caption_of(patterns: Sequence[xr.DataArray], layout: Layout, b_iso: float | None = None) -> str:
    """What the panels are, from the metadata of the patterns that they are of."""
    from lacbed.patterns.schema import axis_step, formula_text, hkl_text, number_text

    first = patterns[0]
    told = first.attrs
    formula = str(told.get("formula", ""))
    crystal = str(told["crystal"])
    lowered = formula_text(formula)
    name = (lowered or crystal) if formula in ("", crystal) else f"{crystal} ({lowered})"
    zone = hkl_text(",".join(str(int(v)) for v in told["zone_axis"]))
    half = 0.5 * axis_step(first["kx"]) * first.sizes["kx"]
    mrad = 1e3 * math.asin(min(1.0, half * float(told["wavelength"])))
    parts = [
        f"LACBED of {name} along [{zone}] at {number_text(float(told['energy']) / 1e3)} kV",
        _panels_text(layout),
        f"half-width {number_text(mrad, 3)} mrad ({number_text(half, 3)} 1/Å), x along the reflection "
        f"{_vector(told.get('x_direction'))}",
        _model_text(told, b_iso),
        _scale_text(layout),
    ]
    return (
        "; ".join(part for part in parts if part) + f". Computed with {told['software']}{_error_text(patterns)}."
    )


def _vector(values: Any) -> str:
    return " ".join(f"{float(v):g}" for v in values) if values is not None else "that is the shortest"


def _panels_text(layout: Layout) -> str:
    from lacbed.patterns.schema import hkl_text, number_text

    reflections = list(dict.fromkeys(hkl_text(",".join(map(str, g))) for g, _ in layout.panels))
    thicknesses = list(dict.fromkeys(f"{number_text(t)}" for _, t in layout.panels))
    what = f"reflection{'s' if len(reflections) > 1 else ''} {', '.join(reflections)}"
    return f"{what}, thickness {', '.join(thicknesses)} Å" + (
        ", from left to right and top to bottom" if len(layout.panels) > 1 else ""
    )


def _model_text(told: Mapping[str, Any], b_iso: float | None) -> str:
    import json

    from lacbed.patterns.schema import hkl_text

    absorption = told.get("absorption")
    found = json.loads(absorption) if isinstance(absorption, str) else absorption
    if isinstance(found, list):
        text = f"{found[1]:g} % proportional absorption"
    else:
        text = {None: "no absorption", "thomas": "absorption of Thomas et al. (2024)"}.get(found, str(found))
    zones, foil = int(told.get("laue_zones", 0)), told.get("foil_normal")
    words = [text, f"{_FACTORS.get(str(told['factors']), str(told['factors']))} scattering factors"]
    if b_iso is not None:
        words.append(f"B = {b_iso:g} Å² for every atom")
    if zones:
        words.append(f"Laue zones 0 to {zones}")
    if foil is not None and list(foil) != list(told["zone_axis"]):
        words.append(f"foil normal [{hkl_text(','.join(str(int(v)) for v in foil))}]")
    return ", ".join(words)


def _scale_text(layout: Layout) -> str:
    scale = "logarithmic" if layout.logarithmic else "linear"
    whose = "one scale for all panels" if layout.contrast == "common" else "each panel on its own scale"
    if len(layout.panels) == 1:
        whose = ""
    return ", ".join(
        p for p in (f"{scale} intensity, {_CLIP:g} % of the pixels saturated at each end", whose) if p
    )


def _error_text(patterns: Sequence[xr.DataArray]) -> str:
    errors = [float(p.attrs["error_estimate"]) for p in patterns if "error_estimate" in p.attrs]
    beams = sorted({int(p.attrs["beams"]) for p in patterns if p.attrs.get("beams")})
    words = f", {beams[0]} to {beams[-1]} beams" if len(beams) > 1 else f", {beams[0]} beams" if beams else ""
    return words + (f", estimated error of an intensity {max(errors):.1g}" if errors else "")
