"""lacbed catalog fetch: catalogues from databases on the network."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, size_text
from lacbed.errors import LacbedError, SettingError
from lacbed.io.numbers import check_number

if TYPE_CHECKING:
    from lacbed.catalog.fetch.pages import Query, Source
    from lacbed.catalog.fetch.run import Fetched
    from lacbed.catalog.fetch.web import PoliteSession

NAME = "fetch"

_REPLACED = {
    "mp": ("the Materials Project", "https://optimade.materialsproject.org"),
    "jarvis": ("JARVIS-DFT", "https://jarvis.nist.gov/optimade/jarvisdft"),
}
"""Commands of earlier versions: the database, and its base URL for OPTIMADE."""


class _Databases(TyperGroup):
    """The commands, and what has replaced those of earlier versions."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _REPLACED:
            database, url = _REPLACED[cmd_name]
            raise SettingError(
                f"`fetch {cmd_name}` was removed; fetch {database} through OPTIMADE: "
                f"lacbed catalog fetch optimade {url} -o FILE.parquet"
            )
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    name=NAME, cls=_Databases, help="Fetch a catalogue from a database; an interrupted fetch can be continued."
)

OutOption = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE.parquet", help="Output file.", show_default=False)
]
ElementsOption = Annotated[
    str,
    typer.Option("--elements", "-e", metavar="FE,O", help="Elements that a structure must contain, all of them."),
]
OnlyOption = Annotated[
    str, typer.Option("--only", metavar="FE,O", help="The only elements that a structure may contain.")
]
CubicOption = Annotated[bool, typer.Option("--cubic/--all-systems", help="Only cubic structures, or all.")]
ExperimentalOption = Annotated[
    bool,
    typer.Option("--experimental", help="Only measured structures, or those linked to a measurement."),
]
AtomsOption = Annotated[
    int | None, typer.Option("--max-atoms", metavar="N", help="Largest number of atoms in the conventional cell.")
]
CountOption = Annotated[int | None, typer.Option("--count", "-n", metavar="N", help="Stop after N structures.")]
DelayOption = Annotated[
    float, typer.Option("--delay", metavar="SECONDS", help="Pause between requests; longer if the database asks.")
]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Discard what an interrupted fetch left, and start again.")
]


@app.command("cod")
def cod(
    out: OutOption,
    elements: ElementsOption = "",
    only: OnlyOption = "",
    cubic: CubicOption = True,
    experimental: ExperimentalOption = False,
    max_atoms: AtomsOption = None,
    count: CountOption = None,
    server: Annotated[str, typer.Option("--server", metavar="URL", help="The database or a mirror of it.")] = (
        "https://www.crystallography.net/cod"
    ),
    delay: DelayOption = 1.0,
    restart: RestartOption = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Crystallography Open Database: measured structures with their displacements, in the public domain.

    Example: lacbed catalog fetch cod --only Ti,O --max-atoms 64 -o cod.parquet
    """
    query = _query(elements, only, cubic, experimental, max_atoms, count)

    def source(session: PoliteSession) -> Source:
        from lacbed.catalog.fetch.cod import cod_source

        return cod_source(query, session, _address(server))

    _fetch(source, query, out, delay, restart, Reporter(quiet, as_json))


@app.command("optimade")
def optimade(
    base_url: Annotated[str, typer.Argument(metavar="URL", help="Base URL of the database.", show_default=False)],
    out: OutOption,
    elements: ElementsOption = "",
    only: OnlyOption = "",
    cubic: CubicOption = True,
    experimental: ExperimentalOption = False,
    max_atoms: AtomsOption = None,
    count: CountOption = None,
    extra: Annotated[
        str, typer.Option("--filter", metavar="FILTER", help="A further filter, in the language of OPTIMADE.")
    ] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence, if the database states none.")] = "",
    kind: Annotated[
        str, typer.Option("--kind", help="Kind of the structures, such as dft_relaxed_theoretical.")
    ] = "unknown",
    page_size: Annotated[int, typer.Option("--page-size", metavar="N", help="Structures per request.")] = 100,
    delay: DelayOption = 1.0,
    restart: RestartOption = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Any database that speaks OPTIMADE, such as the Materials Project, JARVIS-DFT or OQMD.

    The licence recorded is the one that the database states. Base URLs: https://optimade.materialsproject.org,
    https://jarvis.nist.gov/optimade/jarvisdft, https://oqmd.org/optimade; others at https://providers.optimade.org.

    Example: lacbed catalog fetch optimade https://oqmd.org/optimade --elements Fe,O -o oqmd.parquet
    """
    query = _query(elements, only, cubic, experimental, max_atoms, count)
    check_number("the page size", page_size, 1)

    def source(session: PoliteSession) -> Source:
        from lacbed.catalog.fetch.optimade import optimade_source

        return optimade_source(
            query, session, base_url, extra_filter=extra, licence=licence, kind=kind, entries_per_page=page_size
        )

    _fetch(source, query, out, delay, restart, Reporter(quiet, as_json))


def _query(
    contains: str, only: str, cubic: bool, experimental: bool, max_atoms: int | None, count: int | None
) -> Query:
    from lacbed.catalog.fetch.pages import Query

    return Query(_symbols(contains), _symbols(only), cubic, experimental, max_atoms, count)


def _symbols(text: str) -> tuple[str, ...]:
    """Elements of "Fe,O" or "Fe O", each once."""
    return tuple(dict.fromkeys(re.split(r"[\s,;]+", text.strip()))) if text.strip() else ()


def _address(url: str) -> str:
    if not re.match(r"https?://[^/\s]+", url):
        raise SettingError(f"an address begins with https:// or http://, got {url!r}")
    return url


def _fetch(
    source: Callable[[PoliteSession], Source],
    query: Query,
    out: Path,
    delay: float,
    restart: bool,
    reporter: Reporter,
) -> None:
    """Check, fetch, write, report."""
    from lacbed.catalog.files import check_output

    check_output(out)
    check_number("the pause between requests", delay, 0, 3600, unit="s")
    from lacbed.catalog.fetch.pages import folder_of
    from lacbed.catalog.fetch.run import fetch_catalog
    from lacbed.catalog.fetch.web import polite_session

    with polite_session(delay) as session, reporter.progress("Fetching") as progress:
        database = source(session)
        try:
            fetched = fetch_catalog(database, query, out, restart, progress)
        except LacbedError:
            raise
        except BaseException:
            if folder_of(out).exists():
                sys.stderr.write(
                    f"lacbed: the finished pages are kept in {folder_of(out)}; run the same command to continue\n"
                )
            raise
    _report(fetched, out, reporter)


def _report(fetched: Fetched, out: Path, reporter: Reporter) -> None:
    for failed, why in fetched.failures:
        reporter.say(f"  failed {failed}: {why}")
    if fetched.kept:
        reporter.say(f"{fetched.kept} of {fetched.pages} pages were already there from an interrupted fetch")
    reporter.say(
        f"{len(fetched.rows)} structures fetched, {len(fetched.duplicates)} duplicates left out, "
        f"{fetched.unwanted} left out by the filters, {len(fetched.failures)} failed"
    )
    reporter.say(f"  wrote {out} ({size_text(out)})")
    reporter.finish(
        {
            "file": str(out),
            "rows": len(fetched.rows),
            "unwanted": fetched.unwanted,
            "duplicates": [{"id": a, "same_as": b} for a, b in fetched.duplicates],
            "failures": [{"name": name, "reason": why} for name, why in fetched.failures],
            "pages": fetched.pages,
            "pages_kept": fetched.kept,
        }
    )
