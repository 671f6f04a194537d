"""lacbed catalog: make and show catalogues of crystals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, columns, size_text
from lacbed.errors import FileFormatError

if TYPE_CHECKING:
    from lacbed.catalog.imports import Imported
    from lacbed.catalog.summary import Summary

NAME = "catalog"
app = typer.Typer(name=NAME, help="Make and inspect catalogues of crystals.", no_args_is_help=True)

_MOST_SHOWN = 20

CatalogOutput = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE.parquet", help="Output file.", show_default=False)
]


@app.command("info")
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A catalogue (.parquet).", show_default=False)],
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE.png", help="Also plot the counts.")] = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Show the sources and licences, space groups, elements, lattice parameters and prototypes of a catalogue."""
    from lacbed.catalog.summary import summarise
    from lacbed.patterns.files import check_writable

    if png is not None:
        if png.suffix.lower() != ".png":
            raise FileFormatError(f"the figure of a catalogue is written as .png, got {str(png)!r}")
        check_writable(png)
    summary = summarise(file)
    if png is not None:
        _draw(summary, file.name, png)
    reporter = Reporter(quiet, as_json)
    _print(summary, reporter)
    if png is not None:
        reporter.say(f"wrote {png}")
    reporter.finish(_as_dict(summary, file, png))


def _draw(summary: Summary, title: str, path: Path) -> None:
    from lacbed.catalog.summary import summary_figure
    from lacbed.patterns.figures import replace_figure

    replace_figure(summary_figure(summary, title), path)


def _print(summary: Summary, reporter: Reporter) -> None:
    from lacbed.catalog.summary import spread

    say = reporter.say
    say(f"{summary.rows} structures, {summary.compounds} compounds, {summary.formulas} formulas")
    made = summary.record
    if made:
        say(f"made by {made.get('generator')} (lacbed {made.get('lacbed')}) {made.get('settings') or ''}".rstrip())
    rows = [("source", "licence", "rows")]
    rows += [(source, licence, str(n)) for (source, licence), n in summary.sources.items()]
    for line in ("", *columns(rows), ""):
        say(line)
    for name, values, unit in (("a", summary.a, " Å"), ("atoms per cell", summary.atoms, "")):
        text = ", ".join(f"{key} {value:.4g}" for key, value in spread(values).items())
        say(f"{name}{unit}: {text}")
    for title, counts in (
        ("kinds", summary.kinds),
        ("space groups", summary.space_groups),
        ("elements", summary.elements),
        ("prototypes", summary.prototypes),
    ):
        listed = [f"{key} {n}" for key, n in list(counts.items())[:_MOST_SHOWN]]
        more = len(counts) - len(listed)
        say(f"{len(counts)} {title}: {', '.join(listed)}" + (f", and {more} more" if more else ""))
    lines = summary.attributions()
    say("attribution required:" if lines else "no attribution required")
    for line in lines:
        say(f"  {line}")


def _as_dict(summary: Summary, file: Path, png: Path | None) -> dict[str, object]:
    from lacbed.catalog.summary import spread

    return {
        "file": str(file),
        "rows": summary.rows,
        "compounds": summary.compounds,
        "formulas": summary.formulas,
        "sources": [{"source": s, "licence": v, "rows": n} for (s, v), n in summary.sources.items()],
        "attribution": summary.attributions(),
        "kinds": summary.kinds,
        "space_groups": summary.space_groups,
        "elements": summary.elements,
        "prototypes": summary.prototypes,
        "a": spread(summary.a),
        "atoms": spread(summary.atoms),
        "made": summary.record,
        "picture": None if png is None else str(png),
    }


@app.command("import")
def import_command(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A catalogue, or a folder or zip of CIFs.", show_default=False),
    ],
    out: CatalogOutput,
    name: Annotated[str, typer.Option("--source", help="Name of the collection, for CIFs.")] = "CIF",
    licence: Annotated[str, typer.Option("--licence", help="Licence of the data, for CIFs.")] = "unknown",
    kind: Annotated[str, typer.Option("--kind", help="Kind of the structures, for CIFs.")] = "experimental",
    strict: Annotated[bool, typer.Option("--strict", help="Write nothing if any structure fails.")] = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Import structures; CIFs are converted to the standard setting, and each failure is listed.

    Rows of a catalogue keep their source, licence and kind. Each data block of a CIF that contains atoms is one
    structure.

    The exit code is 0 if at least one structure was imported, and 2 if none was, or if one failed with --strict.
    """
    from lacbed.catalog.files import check_output, table_of, write_catalog
    from lacbed.catalog.imports import Provenance, import_source

    check_output(out)
    reporter = Reporter(quiet, as_json)
    with reporter.progress("Importing") as progress:
        imported = import_source(source, Provenance(name, licence, kind), progress)
    refused = not imported.rows or (strict and bool(imported.failures))
    if not refused:
        settings = {"from": source.name}
        if source.suffix.lower() != ".parquet":  # whose rows have their own
            settings |= {"source": name, "licence": licence, "kind": kind}
        write_catalog(table_of(imported.rows), out, "lacbed catalog import", settings)
    _report(imported, None if refused else out, reporter)
    if not _total(imported):
        raise FileFormatError(f"{source} contains no structures; nothing was written")
    if refused:
        reasons = f"{len(imported.failures)} of {_total(imported)} structures of {source} cannot be used"
        first = f": {': '.join(imported.failures[0])}" if imported.failures else ""
        raise FileFormatError(f"{reasons}; nothing was written{first}")


def _total(imported: Imported) -> int:
    return len(imported.rows) + len(imported.duplicates) + len(imported.failures)


def _report(imported: Imported, out: Path | None, reporter: Reporter) -> None:
    for failed, why in imported.failures:
        reporter.say(f"  failed {failed}: {why}")
    reporter.say(
        f"{len(imported.rows)} structures imported, {len(imported.duplicates)} duplicates left out, "
        f"{len(imported.failures)} failed"
    )
    if out is not None:
        reporter.say(f"  wrote {out} ({size_text(out)})")
    reporter.finish(
        {
            "file": None if out is None else str(out),
            "rows": len(imported.rows),
            "duplicates": [{"id": a, "same_as": b} for a, b in imported.duplicates],
            "failures": [{"name": name, "reason": why} for name, why in imported.failures],
        }
    )


@app.command("generate")
def generate(
    out: CatalogOutput,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="Number of structures.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", "-s", metavar="S", help="Seed of the random choice.")] = 0,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Make a catalogue by filling cubic prototypes with elements; the same count and seed give the same rows.

    Example: lacbed catalog generate --count 1000 --seed 1 -o crystals.parquet
    """
    from lacbed.catalog.files import check_output, table_of, write_catalog
    from lacbed.catalog.generate import GENERATOR, VERSION, generate_rows, largest_count

    check_output(out)
    reporter = Reporter(quiet, as_json)
    with reporter.progress("Generating") as progress:
        rows = generate_rows(count, seed, progress)
    settings = {"count": count, "seed": seed, "version": VERSION}
    write_catalog(table_of(rows), out, GENERATOR, settings)
    prototypes = len({row["anonymous_prototype"] for row in rows})
    reporter.say(f"{len(rows)} structures of {prototypes} prototypes, out of {largest_count()} that can be made")
    reporter.say(f"  wrote {out} ({size_text(out)})")
    reporter.finish({"file": str(out), "rows": len(rows), "prototypes": prototypes, "largest": largest_count()})
