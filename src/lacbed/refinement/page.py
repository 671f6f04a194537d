"""The report of a refinement as one HTML file: pictures within, light and dark, nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.image import imsave

from lacbed.crystals.cell import FloatArray
from lacbed.patterns.figures.style import limits
from lacbed.refinement.refine import Refinement
from lacbed.refinement.report import meaning
from lacbed.refinement.uncertainties import with_uncertainty

STYLE = Path(__file__).with_name("page.css")

DIFFERENCE = LinearSegmentedColormap.from_list(
    "difference", ["#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2182b"]
)
"""Blue where the simulation is darker than the measurement, red where it is brighter."""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM = 560.0, 230.0, 44.0, 18.0, 30.0  # of the drawing of the scan


def report_page(name: str, result: Refinement, numbers: dict[str, Any]) -> str:
    """The whole page.

    Args:
        name: of what was measured.
        result: the refinement.
        numbers: of `lacbed.refinement.report.summary`.
    """
    parts = [
        _head(name, numbers),
        _warnings(numbers["notes"]),
        "<div class='pair'>",
        _section("Refined", _parameters(numbers) + f"<p class='quiet'>{escape(meaning(numbers['weights']))}</p>"),
        _section("Thickness", _scan(numbers)) if len(numbers["scan"]) > 1 else "",
        "</div>",
        _section("Reflections", _key() + f"<div class='cards'>{''.join(_cards(result, numbers))}</div>"),
        _section("Correlation", _correlation(numbers["correlation"])),
        _section("How", _how(numbers)),
    ]
    title = escape(f"Refinement of {name}")
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(name: str, numbers: dict[str, Any]) -> str:
    facts = (
        ("mean Z, each image shifted", f"{100 * numbers['mean_Z_aligned']:.2f} %"),
        ("mean Z, not shifted", f"{100 * numbers['mean_Z']:.2f} %"),
        ("thickness", f"{_refined(numbers, 'thickness', numbers['thickness'])} Å"),
        ("reflections", str(len(numbers["reflections"]))),
        ("beams", str(numbers["beams"])),
    )
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>" for what, value in facts)
    return (
        f"<header><h1>{escape(name)}</h1><p class='quiet'>Refined against LACBED images. Z = 1 - "
        f"correlation: 0 is perfect.</p><div class='facts'>{cells}</div></header>"
    )


def _refined(numbers: dict[str, Any], name: str, value: float) -> str:
    row = numbers["free"].get(name)
    return f"{value:.6g}" if row is None else with_uncertainty(row["value"], row["uncertainty"])


def _warnings(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f"<ul class='warnings'>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _parameters(numbers: dict[str, Any]) -> str:
    rows = [
        (name, f"{row['start']:.6g}", with_uncertainty(row["value"], row["uncertainty"]), row["unit"])
        for name, row in numbers["free"].items()
    ]
    return _table(("parameter", "start", "refined", "unit"), rows)


def _scan(numbers: dict[str, Any]) -> str:
    """Mean Z over thickness as a drawing that takes the colours of the page."""
    thickness, z = np.array(numbers["scan"]).T
    low, high, top = float(thickness.min()), float(thickness.max()), 1.05 * float(z.max())
    across = (_WIDTH - _LEFT - _RIGHT) / (high - low)
    tall = _HEIGHT - _BOTTOM - 8.0

    def at(t: float, value: float) -> tuple[float, float]:
        return _LEFT + (t - low) * across, _HEIGHT - _BOTTOM - tall * value / top

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(t, v) for t, v in zip(thickness, z, strict=True)))
    found = at(float(np.clip(numbers["thickness"], low, high)), 0.0)[0]
    marks = []
    for t in _round_steps(low, high):
        x = at(t, 0.0)[0]
        marks.append(f"<text x='{x:.1f}' y='{_HEIGHT - 12:.0f}' text-anchor='middle'>{t:g}</text>")
    for value in _round_steps(0.0, top, 3):
        y = at(low, value)[1]
        marks.append(f"<path class='grid' d='M{_LEFT:.0f},{y:.1f}H{_WIDTH - _RIGHT:.0f}'/>")
        marks.append(f"<text x='{_LEFT - 6:.0f}' y='{y + 4:.1f}' text-anchor='end'>{value:g}</text>")
    return (
        f"<svg viewBox='0 0 {_WIDTH:.0f} {_HEIGHT:.0f}' role='img' aria-label='mean Z over thickness'>"
        f"{''.join(marks)}"
        f"<path class='found' d='M{found:.1f},8V{_HEIGHT - _BOTTOM:.0f}'/><polyline points='{line}'/></svg>"
        "<p class='quiet'>Mean Z against the thickness in Å before refinement; the line marks the refined one.</p>"
    )


def _round_steps(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two others."""
    rough = (high - low) / about
    size = 10.0 ** np.floor(np.log10(rough))
    step = size * next(f for f in (1.0, 2.0, 5.0, 10.0) if f * size >= rough)
    return [float(v) for v in np.arange(np.ceil(low / step) * step, high + 1e-9 * step, step)]


def _key() -> str:
    return (
        "<p class='quiet'>Measured, simulated with the shift of each image, and their difference: "
        "<span class='bright'>simulation too bright</span>, <span class='dark'>too dark</span>, the ends of the "
        "scale being half the range of greys.</p>"
    )


def _cards(result: Refinement, numbers: dict[str, Any]) -> Iterable[str]:
    fit = result.fit_aligned
    for i, row in enumerate(numbers["reflections"]):
        measured = result.measured.images[i]
        model = (fit.scale[i] * fit.images[i] + fit.background[i]).numpy()
        low, high = limits(measured, 0.3)
        span = 0.5 * (high - low)
        grey = colormaps["gray"]
        name = row["hkl"].replace(",", " ")
        pictures = "".join(
            f"<img alt='{what}' src='{_picture(image, colours, *ends)}'>"
            for what, image, colours, ends in (
                ("measured", measured, grey, (low, high)),
                ("simulated", model, grey, (low, high)),
                ("difference", model - measured, DIFFERENCE, (-span, span)),
            )
        )
        shift = f"shift {row['shift_x']:+.2f}, {row['shift_y']:+.2f} px"
        yield (
            f"<figure><figcaption><b>{escape(name)}</b><span>Z {100 * row['Z_aligned']:.1f} % "
            f"<i>({100 * row['Z']:.1f})</i></span><span class='quiet'>{shift}</span></figcaption>"
            f"<div class='three'>{pictures}</div></figure>"
        )


def _picture(image: FloatArray, colours: Colormap, low: float, high: float) -> str:
    """A PNG as an address; ky points up, as in all figures."""
    stream = io.BytesIO()
    imsave(stream, np.ma.masked_invalid(image), cmap=colours, vmin=low, vmax=high, origin="lower", format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _correlation(correlation: dict[str, Any]) -> str:
    names, matrix = correlation["names"], correlation["matrix"]
    head = "<th></th>" + "".join(f"<th class='up'><span>{escape(n)}</span></th>" for n in names)
    rows = []
    for name, row in zip(names, matrix, strict=True):
        cells = "".join(
            f"<td class='{'plus' if v >= 0 else 'minus'}' style='--c:{min(1.0, abs(v)):.2f}'>{v:+.2f}</td>"
            for v in row
        )
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f"<div class='wide'><table class='matrix'><tr>{head}</tr>{''.join(rows)}</table></div>"


def _how(numbers: dict[str, Any]) -> str:
    return (
        f"<p>{numbers['beams']} beams in {numbers['bloch_waves']} Bloch waves, {numbers['matrices']} matrices. "
        f"With {numbers['check_beams']} beams, {numbers['check_bloch_waves']} waves and finer points intensities "
        f"change by at most {numbers['check_max_difference']:.2g} and mean Z by "
        f"{numbers['check_mean_Z_change']:+.4f}; the resulting change of each parameter is part of its "
        f"uncertainty. Scattering factors "
        f"{escape(str(numbers['factors']))}, absorption {escape(str(numbers['absorption']))}. "
        f"{escape(str(numbers['software']))}.</p>"
    )
