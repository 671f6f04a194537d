"""lacbed crystals: the built-in crystals as a table."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, columns

NAME = "crystals"


def command(
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
