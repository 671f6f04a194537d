"""How reflections, crystals and axes are written out."""

from __future__ import annotations

import math
from typing import Any

import xarray as xr

_OVERBAR = "̅"


def hkl_text(hkl: str) -> str:
    """A reflection for plain text, with combining overbars: "-2,0,12" becomes "2̅ 0 12"."""
    parts = [p.strip() for p in hkl.split(",")]
    shown = ["".join(c + _OVERBAR for c in p[1:]) if p.startswith("-") else p for p in parts]
    return _join(shown, parts)


def hkl_label(hkl: str) -> str:
    r"""A reflection for a figure, as matplotlib mathtext: "-2,0,12" becomes $\bar{2}\,0\,\overline{12}$."""
    parts = [p.strip() for p in hkl.split(",")]
    return "$" + _join([_math_index(p) for p in parts], parts, r"\,\,") + "$"


def _math_index(index: str) -> str:
    if not index.startswith("-"):
        return index
    digits = index[1:]
    return rf"\bar{{{digits}}}" if len(digits) == 1 else rf"\overline{{{digits}}}"


def _join(shown: list[str], parts: list[str], gap: str = " ") -> str:
    """Single digits stand together, as crystallographers write them; longer ones need a gap."""
    return (gap if any(len(p.lstrip("-")) > 1 for p in parts) else "").join(shown)


def number_text(value: float, digits: int = 4) -> str:
    """A number without needless zeros: 300.0 becomes "300"."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def caption(attributes: dict[Any, Any]) -> str:
    """Crystal, zone axis and voltage on one quiet line, as far as they are known."""
    parts = []
    name = str(attributes.get("crystal", "")).strip()
    formula = str(attributes.get("formula", "")).strip()
    title = name or formula
    if formula and name and formula.lower() not in name.lower():
        title = f"{name} ({formula})"
    if title:
        parts.append(title if len(title) <= 60 else title[:57] + "...")
    zone = attributes.get("zone_axis")
    if zone is not None and len(zone) == 3:
        parts.append("[" + hkl_text(",".join(str(int(i)) for i in zone)) + "]")
    energy = attributes.get("energy")
    if isinstance(energy, int | float) and math.isfinite(energy):
        parts.append(f"{number_text(energy / 1e3)} kV")
    return "   ".join(parts)


def round_length(limit: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `limit`, for scale bars."""
    power = 10.0 ** math.floor(math.log10(limit) + 1e-12)
    return max(step * power for step in (1, 2, 5) if step * power <= limit * (1 + 1e-12))


def axis_step(coordinate: xr.DataArray) -> float:
    """Distance between neighbouring values of an ascending axis; 1 for a single value."""
    values = coordinate.values
    return float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 1.0
