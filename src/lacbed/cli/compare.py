"""lacbed compare: how far two patterns are apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, columns
from lacbed.errors import FileFormatError, SettingError

if TYPE_CHECKING:
    import xarray as xr

NAME = "compare"
_METRICS = ("Z", "r_factor", "relative_l2", "max_difference")


def command(
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
    from lacbed.patterns.compare import align_patterns, compare_patterns
    from lacbed.patterns.files import check_writable, load_pattern

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
    from lacbed.io.atomic import replacing
    from lacbed.patterns.figures import difference_figure, save_figure

    with replacing(out) as temporary:
        save_figure(difference_figure(a, b, thickness, names), temporary)


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
