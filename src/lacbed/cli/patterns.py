"""lacbed compare, cbed, potential and info: what becomes of patterns and potentials that are computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns, size_text
from lacbed.errors import FileFormatError, SettingError

if TYPE_CHECKING:
    import xarray as xr


_METRICS = ("Z", "r_factor", "relative_l2", "max_difference")


def compare_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="A pattern file.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="The reference.", show_default=False)],
    intersect: Annotated[
        bool,
        typer.Option("--intersect", help="Compare only the reflections and thicknesses that both files have."),
    ] = False,
    thickness: Annotated[
        float | None, typer.Option("--thickness", "-t", metavar="Å", help="Thickness to plot.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.png", help="Plot A, B and A - B.")
    ] = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Compare two patterns: Z, R factor, relative L2 and max |dI| for each thickness and reflection."""
    from lacbed.patterns.files import check_writable, load_pattern
    from lacbed.patterns.metrics import align_patterns, compare_patterns

    if thickness is not None and out is None:
        raise SettingError("--thickness selects what is plotted; add -o FILE.png")
    if out is not None:
        if out.suffix.lower() != ".png":
            raise FileFormatError(f"the picture of a comparison is a .png, got {str(out)!r}")
        check_writable(out)
    first, second = align_patterns(load_pattern(a), load_pattern(b), intersect)
    scores = compare_patterns(first, second)
    if out is not None:
        _draw(first, second, thickness, (a.name, b.name), out)
    reporter = Reporter(quiet, as_json)
    _print(scores, reporter)
    if out is not None:
        reporter.say(f"wrote {out}")
    reporter.finish(_summary(scores, a, b, out))


def _draw(a: xr.DataArray, b: xr.DataArray, thickness: float | None, names: tuple[str, str], out: Path) -> None:
    from lacbed.patterns.figures import difference_figure, replace_figure

    replace_figure(difference_figure(a, b, thickness, names), out)


def _print(scores: xr.Dataset, reporter: Reporter) -> None:
    rows: list[tuple[str, ...]] = [
        ("thickness", "hkl", "Z", "R", "relative L2", "max |dI|", "mean I (A)", "mean I (B)")
    ]
    for i, thickness in enumerate(scores["thickness"].values):
        for j, hkl in enumerate(scores["hkl"].values):
            values = [float(scores[name].values[i, j]) for name in (*_METRICS, "mean_a", "mean_b")]
            first = f"{100 * values[0]:.4f} %"
            rest = [f"{value:.3e}" for value in values[1:]]
            rows.append((f"{thickness:g} Å", str(hkl).replace(",", " "), first, *rest))
    for line in columns(rows):
        reporter.say(line)
    mean, worst = float(scores["Z"].mean()), float(scores["Z"].max())
    largest = float(scores["max_difference"].max())
    reporter.say(f"Z: mean {100 * mean:.4f} %, largest {100 * worst:.4f} %; largest |dI| {largest:.3e}")


def _summary(scores: xr.Dataset, a: Path, b: Path, out: Path | None) -> dict[str, object]:
    table = [
        {"thickness": float(thickness), "hkl": str(hkl)}
        | {name: float(scores[name].values[i, j]) for name in (*_METRICS, "mean_a", "mean_b")}
        for i, thickness in enumerate(scores["thickness"].values)
        for j, hkl in enumerate(scores["hkl"].values)
    ]
    return {
        "a": str(a),
        "b": str(b),
        "Z_mean": float(scores["Z"].mean()),
        "Z_max": float(scores["Z"].max()),
        "max_difference": float(scores["max_difference"].max()),
        "patterns": table,
        "picture": None if out is None else str(out),
    }


def cbed_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A pattern file.", show_default=False)],
    out: o.OutputOption,
    semi_angle: Annotated[
        float | None,
        typer.Option(
            "--semi-angle", metavar="MRAD", help="Convergence semi-angle; by default the largest possible."
        ),
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option("--pixels", "-n", help="Pixels per side; by default the pixel size of the pattern."),
    ] = None,
    thickness: Annotated[
        str | None,
        typer.Option("--thickness", "-t", metavar="Å,...", help="Thicknesses to use; by default all."),
    ] = None,
    resampling: Annotated[str, typer.Option("--resampling", help="bilinear or nearest.")] = "bilinear",
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Assemble the discs of a pattern into a CBED pattern; overlapping discs are added.

    Example: lacbed simulate Si --hkl all --semi-angle 8 -o si.nc && lacbed cbed si.nc --semi-angle 5 -o si.png
    """
    wanted = None if thickness is None else parse.thicknesses(thickness)

    from lacbed.patterns.cbed import assemble_cbed
    from lacbed.patterns.files import check_writable, load_pattern, save_array

    for path in out:
        check_writable(path)
    image = assemble_cbed(load_pattern(file), semi_angle, pixels, wanted, resampling)  # type: ignore[arg-type]
    for path in out:
        save_array(image, path)
    reporter = Reporter(quiet, as_json)
    reporter.say(
        f"{image.sizes['thickness']} CBED pattern(s), {image.attrs['semi_angle']:.4g} mrad, "
        f"{image.attrs['reflections']} discs, {image.sizes['qy']} x {image.sizes['qx']} pixels"
    )
    _finish_image(image, out, reporter)


def potential_command(
    crystal: o.CrystalArgument,
    out: o.OutputOption,
    zone: o.ZoneOption = "0,0,1",
    pixels: o.PixelsOption = 128,
    g_max: Annotated[float, typer.Option("--g-max", metavar="1/Å", help="Largest |g| included.")] = 6.0,
    factors: o.FactorsOption = "kirkland",
    x_direction: o.XDirectionOption = None,
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Compute the projected potential of one unit cell.

    Example: lacbed potential GaAs --zone 1,1,0 -o potential.png
    """
    axis = parse.integers(zone, "--zone")
    across = None if x_direction is None else parse.numbers(x_direction, "--x-direction", 3)
    reporter = Reporter(quiet, as_json)

    from lacbed.crystals.load import load_crystal
    from lacbed.patterns.files import check_writable, save_array
    from lacbed.projection import projected_potential

    for path in out:
        check_writable(path)
    image = projected_potential(load_crystal(crystal, block), axis, pixels, g_max, factors, across)
    for path in out:
        save_array(image, path)
    a, b, c, d = image.attrs["cell"]
    reporter.say(
        f"{image.attrs['crystal']} [{','.join(map(str, axis))}]: mean inner potential "
        f"{image.attrs['mean_inner_potential']:.3f} V, period {image.attrs['period']:.4f} Å, "
        f"cell edges ({a:.4f}, {c:.4f}) and ({b:.4f}, {d:.4f}) Å"
    )
    _finish_image(image, out, reporter)


def _finish_image(image: xr.DataArray, out: list[Path], reporter: Reporter) -> None:
    """Say what was written, and end with the labels of an image but for its crystal."""
    for path in out:
        reporter.say(f"  wrote {path} ({size_text(path)})")
    kept = {key: value for key, value in image.attrs.items() if key != "crystal_cif"}
    reporter.finish({"files": [str(path) for path in out], "sizes": dict(image.sizes), **kept})


def info_command(
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
    reporter.finish(_contents(array, file))


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


def _contents(array: xr.DataArray, file: Path) -> dict[str, Any]:
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
