"""lacbed convert and lacbed crystals: crystals and inputs of other programs, and the crystals built in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, columns, size_text
from lacbed.errors import SettingError

if TYPE_CHECKING:
    from lacbed.felix.input import FelixInput


def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FELIX", help="felix.inp, its folder, or a folder of Felix images.", show_default=False
        ),
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", metavar="FILE", help="Simulate and write the patterns; may be repeated."),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Convert the images that Felix computed, instead of simulating.")
    ] = False,
    unit: Annotated[
        str,
        typer.Option(
            "--unit", metavar="1/A|g", help="Unit of the convergence angle in felix.inp: g before about 2019."
        ),
    ] = "1/A",
    solver: Annotated[str, typer.Option("--solver", help="auto, or the name of a solver.")] = "auto",
    block: o.BlockOption = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Translate Felix input into a shell command and Python; with -o, also simulate the patterns.

    Example: lacbed convert SrTiO3/felix.inp -o pattern.nc && lacbed compare pattern.nc SrTiO3/ --intersect
    """
    from lacbed.patterns.files import check_writable

    reporter = Reporter(quiet, as_json)
    for path in out or []:
        check_writable(path)
    if unit not in ("1/A", "1/Å", "g"):
        raise SettingError(f"--unit must be 1/A or g, got {unit!r}")
    if images:
        _write_images(source, out or [], block, reporter)
        return
    _convert(source, out or [], unit == "g", solver, block, reporter)


def _convert(
    source: Path, out: list[Path], counts_g: bool, solver: str, block: str | None, reporter: Reporter
) -> None:
    from lacbed.cli.simulate import run
    from lacbed.felix.input import read_felix
    from lacbed.felix.recipe import crystal_of, in_inverse_angstrom, python_text, settings_of, shell_text
    from lacbed.settings import Settings

    felix = read_felix(source)
    crystal, b_iso = crystal_of(felix, block)
    if counts_g:
        felix = in_inverse_angstrom(felix, crystal)
    settings, left_out = settings_of(felix, crystal)
    Settings(**settings, solver=solver)  # a mistake shows before anything is printed
    cif = os.path.relpath(felix.cif)
    shell, python = (text(cif, settings, b_iso, solver, block) for text in (shell_text, python_text))
    remarks = [*felix.remarks, *left_out]
    reporter.say(_summary(felix))
    for remark in remarks:
        reporter.say(f"  note: {remark}")
    reporter.say(f"\n{shell}\n\n{python}")
    reporter.finish({"shell": shell, "python": python, "notes": remarks, "files": [str(path) for path in out]})
    if out:
        rest = {"beams": "auto", "solver": solver, "output": "intensity"}
        run(cif, settings | rest, out, Reporter(not reporter.talks, False), b_iso, block)


def _summary(felix: FelixInput) -> str:
    zone = ",".join(str(i) for i in felix.zone_axis)
    return (
        f"Felix: {felix.cif.name} [{zone}] {felix.voltage:g} kV, {len(felix.thicknesses)} thickness(es), "
        f"{len(felix.hkl)} reflection(s), {felix.pixels} x {felix.pixels} pixels, "
        f"half-width {felix.half_width:.5g} 1/Å"
    )


def _write_images(source: Path, out: list[Path], block: str | None, reporter: Reporter) -> None:
    from lacbed.patterns.files import load_pattern, save_pattern

    if not out:
        raise SettingError("--images needs -o, such as -o felix.nc")
    pattern = load_pattern(source.parent if source.is_file() else source, block)
    for path in out:
        save_pattern(pattern, path)
    sizes = dict(pattern.sizes)
    reporter.say(
        f"{sizes['thickness']} thickness(es) x {sizes['hkl']} reflection(s), {sizes['ky']} x {sizes['kx']} pixels"
    )
    for path in out:
        reporter.say(f"  wrote {path} ({size_text(path)})")
    reporter.finish({"files": [str(path) for path in out], "sizes": sizes})


def crystals_command(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT]", help="Show only crystals with this text in their name, formula or space group."
        ),
    ] = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """List the built-in crystals, with the source of their cells and Debye-Waller factors."""
    from lacbed.crystals.named import named_rows

    rows = [row for row in named_rows() if text is None or _matches(row, text)]
    reporter = Reporter(quiet, as_json)
    lines = [("name", "formula", "space group", "cell (Å, °)", "B (Å²)", "source")]
    lines += [(r.name, r.formula, r.space_group, _cell(r.cell), _b_factors(r.b_iso), r.source) for r in rows]
    for line in columns(lines):
        reporter.say(line)
    if text is not None and not rows:
        reporter.warn(f"no built-in crystal has {text!r} in its name, formula or space group")
    names = ("name", "aliases", "formula", "space_group", "cell", "b_iso", "source")
    reporter.finish({"crystals": [{name: getattr(row, name) for name in names} for row in rows]})


def _matches(row: Any, text: str) -> bool:
    words = (row.name, row.formula, row.space_group, *row.aliases)
    return any(text.lower() in word.lower() for word in words)


def _cell(cell: tuple[float, ...]) -> str:
    """The cell with what is equal left out: "3.905" for a cubic one."""
    a, b, c, *angles = cell
    lengths = [a] if a == b == c else [a, c] if a == b else [a, b, c]
    if all(angle == 90 for angle in angles):
        return " ".join(f"{v:g}" for v in lengths)
    return " ".join(f"{v:g}" for v in (*lengths, *angles))


def _b_factors(values: dict[str, float]) -> str:
    parts = [f"{label} {value:.2f}" for label, value in values.items()]
    return ", ".join(parts) if len(parts) <= 4 else f"{', '.join(parts[:3])}, ..."
