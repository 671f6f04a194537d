"""lacbed info: what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, size_text

if TYPE_CHECKING:
    import xarray as xr

NAME = "info"


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by lacbed.", show_default=False)],
    cif: Annotated[bool, typer.Option("--cif", help="Print only the CIF of the crystal.")] = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Show the contents of a pattern file and all settings that made it."""
    from lacbed.patterns.files import load_array

    array = load_array(file)
    reporter = Reporter(quiet, as_json)
    if cif and not as_json:
        reporter.say(str(array.attrs.get("crystal_cif", "")).rstrip("\n"))
        return
    reporter.say(f"{file} ({size_text(file)})")
    sizes = " x ".join(f"{size} {dim}" for dim, size in array.sizes.items())
    reporter.say(f"{array.name}: {sizes}, {array.dtype}")
    for dim in array.dims:
        reporter.say(f"  {dim}: {_range(array, str(dim))}")
    reporter.say(f"  values: {_values(array)}")
    for key, value in array.attrs.items():
        reporter.say(f"  {key}: {_attribute(key, value)}")
    reporter.finish(_summary(array, file))


def _range(array: xr.DataArray, dim: str) -> str:
    coordinate = array.coords[dim]
    values, units = coordinate.values, coordinate.attrs.get("units", "")
    if values.dtype.kind not in "fiu":
        shown = "  ".join(str(v) for v in values[:16])
        return shown if len(values) <= 16 else f"{shown}  ... ({len(values)})"
    if dim == "thickness":
        shown = ", ".join(f"{v:g}" for v in values[:12])
        return f"{shown}{', ...' if len(values) > 12 else ''} {units}"
    angle = {"kx": "alpha_x", "ky": "alpha_y", "qx": "alpha_x", "qy": "alpha_y"}.get(dim)
    text = f"{values[0]:.6g} to {values[-1]:.6g} {units}".rstrip()
    if angle in array.coords:
        mrad = array.coords[angle].values
        text += f" ({mrad[0]:.4g} to {mrad[-1]:.4g} mrad)"
    return text


def _statistics(array: xr.DataArray) -> dict[str, float]:
    import numpy as np

    values = np.abs(array.values) if array.dtype.kind == "c" else array.values
    known = values[np.isfinite(values)]
    if known.size == 0:
        return {"known": 0}
    return {
        "min": float(known.min()),
        "mean": float(known.mean()),
        "max": float(known.max()),
        "known": float(known.size / values.size),
    }


def _values(array: xr.DataArray) -> str:
    found = _statistics(array)
    if "min" not in found:
        return "none is a number"
    text = f"{found['min']:.4g} to {found['max']:.4g}, mean {found['mean']:.4g}"
    if array.dtype.kind == "c":
        text = f"|.| {text}"
    return text if found["known"] == 1 else f"{text}; {100 * (1 - found['known']):.1f} % outside the disc (NaN)"


def _attribute(key: str, value: Any) -> str:
    if key == "crystal_cif":
        return f"{len(str(value).splitlines())} lines (lacbed info --cif prints them)"
    if isinstance(value, list):
        return "; ".join(str(v) for v in value) if any(isinstance(v, str) for v in value) else str(value)
    return str(value)


def _summary(array: xr.DataArray, file: Path) -> dict[str, Any]:
    coordinates = {str(name): coordinate.values for name, coordinate in array.coords.items()}
    return {
        "file": str(file),
        "name": str(array.name),
        "dtype": str(array.dtype),
        "sizes": dict(array.sizes),
        "coords": coordinates,
        "statistics": _statistics(array),
        "attrs": dict(array.attrs),
    }
