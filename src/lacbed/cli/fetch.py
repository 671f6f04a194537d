"""lacbed catalog fetch: catalogues from databases on the network."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, size_text
from lacbed.errors import LacbedError, SettingError

if TYPE_CHECKING:
    from lacbed.catalog.fetch.run import Fetched
    from lacbed.catalog.fetch.source import Source
    from lacbed.catalog.fetch.wanted import Wanted
    from lacbed.catalog.fetch.web import PoliteSession

NAME = "fetch"
app = typer.Typer(name=NAME, help="Fetch a catalogue from a database; an interrupted fetch goes on.")

OutOption = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE.parquet", help="Where to write.", show_default=False)
]
ElementsOption = Annotated[
    str, typer.Option("--elements", "-e", metavar="FE,O", help="Elements that must all be in a structure.")
]
OnlyOption = Annotated[str, typer.Option("--only", metavar="FE,O", help="Elements that may be in a structure.")]
CubicOption = Annotated[bool, typer.Option("--cubic/--all-systems", help="Cubic structures only, or all.")]
ExperimentalOption = Annotated[
    bool,
    typer.Option("--experimental", help="Only what was measured, or what the database links to a measurement."),
]
AtomsOption = Annotated[
    int | None, typer.Option("--max-atoms", metavar="N", help="Most atoms in the conventional cell.")
]
CountOption = Annotated[int | None, typer.Option("--count", "-n", metavar="N", help="Stop after N structures.")]
DelayOption = Annotated[
    float | None,
    typer.Option("--delay", metavar="SECONDS", help="Pause between requests; default what the database asks for."),
]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Throw away what an interrupted fetch left, and begin anew.")
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
    server: Annotated[str | None, typer.Option("--server", metavar="URL", help="A mirror of it.")] = None,
    delay: DelayOption = None,
    restart: RestartOption = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Crystallography Open Database: measured structures, in the public domain.

    Example: lacbed catalog fetch cod --only Ti,O --max-atoms 64 -o cod.parquet
    """
    wanted = _wanted(elements, only, cubic, experimental, max_atoms, count)

    def source(session: PoliteSession) -> Source:
        from lacbed.catalog.fetch.cod import SERVER, cod_source  # noqa: PLC0415

        return cod_source(wanted, session, _address(server or SERVER))

    _fetch(source, wanted, out, 1.0 if delay is None else delay, restart, Reporter(quiet, as_json))


@app.command("mp")
def mp(
    out: OutOption,
    elements: ElementsOption = "",
    only: OnlyOption = "",
    cubic: CubicOption = True,
    experimental: ExperimentalOption = False,
    max_atoms: AtomsOption = None,
    count: CountOption = None,
    gnome: Annotated[
        bool, typer.Option("--include-gnome", help="Also the structures of GNoME, which are CC-BY-NC-4.0.")
    ] = False,
    server: Annotated[str | None, typer.Option("--server", metavar="URL", help="Address of the API.")] = None,
    delay: DelayOption = None,
    restart: RestartOption = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Materials Project: computed structures, CC-BY-4.0; needs an API key in MP_API_KEY.

    Example: lacbed catalog fetch mp --experimental --max-atoms 64 -o mp.parquet
    """
    wanted = _wanted(elements, only, cubic, experimental, max_atoms, count)

    def source(session: PoliteSession) -> Source:
        from lacbed.catalog.fetch.mp import SERVER, mp_source  # noqa: PLC0415

        return mp_source(wanted, session, _address(server or SERVER), gnome)

    _fetch(source, wanted, out, 0.5 if delay is None else delay, restart, Reporter(quiet, as_json))


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
        str, typer.Option("--filter", metavar="FILTER", help="A further filter in the language of OPTIMADE.")
    ] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence, if the database states none.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="Kind of the structures.")] = "unknown",
    page_size: Annotated[int, typer.Option("--page-size", metavar="N", help="Structures asked for at once")] = 100,
    delay: DelayOption = None,
    restart: RestartOption = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Any database that speaks OPTIMADE (see providers.optimade.org); its licence is recorded as it states it.

    Example: lacbed catalog fetch optimade https://oqmd.org/optimade --elements Fe,O -o oqmd.parquet
    """
    wanted = _wanted(elements, only, cubic, experimental, max_atoms, count)
    if page_size < 1:
        raise SettingError(f"the page size is a whole number from 1, got {page_size}")

    def source(session: PoliteSession) -> Source:
        from lacbed.catalog.fetch.optimade import optimade_source  # noqa: PLC0415

        return optimade_source(
            wanted, session, base_url, extra_filter=extra, licence=licence, kind=kind, entries_a_page=page_size
        )

    _fetch(source, wanted, out, 1.0 if delay is None else delay, restart, Reporter(quiet, as_json))


@app.command("jarvis")
def jarvis(
    out: OutOption,
    elements: ElementsOption = "",
    only: OnlyOption = "",
    cubic: CubicOption = True,
    experimental: ExperimentalOption = False,
    max_atoms: AtomsOption = None,
    count: CountOption = None,
    collection: Annotated[str, typer.Option("--collection", help="Name in jarvis-tools.")] = "dft_3d",
    server: Annotated[str | None, typer.Option("--server", metavar="URL", help="Address of the zip.")] = None,
    delay: DelayOption = None,
    restart: RestartOption = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """JARVIS-DFT of NIST: computed structures, CC-BY-4.0; one file of tens of MB is fetched.

    Example: lacbed catalog fetch jarvis --experimental -o jarvis.parquet
    """
    wanted = _wanted(elements, only, cubic, experimental, max_atoms, count)

    def source(session: PoliteSession) -> Source:
        from lacbed.catalog.fetch.jarvis import jarvis_source  # noqa: PLC0415

        return jarvis_source(wanted, session, collection, None if server is None else _address(server))

    _fetch(source, wanted, out, 1.0 if delay is None else delay, restart, Reporter(quiet, as_json))


def _wanted(
    contains: str, only: str, cubic: bool, experimental: bool, max_atoms: int | None, count: int | None
) -> Wanted:
    from lacbed.catalog.fetch.wanted import Wanted  # noqa: PLC0415

    return Wanted(_symbols(contains), _symbols(only), cubic, experimental, max_atoms, count)


def _symbols(text: str) -> tuple[str, ...]:
    """Elements of "Fe,O" or "Fe O", each once."""
    return tuple(dict.fromkeys(re.split(r"[\s,;]+", text.strip()))) if text.strip() else ()


def _address(url: str) -> str:
    if not re.match(r"https?://[^/\s]+", url):
        raise SettingError(f"an address begins with https:// or http://, got {url!r}")
    return url


def _fetch(
    source: Callable[[PoliteSession], Source],
    wanted: Wanted,
    out: Path,
    delay: float,
    restart: bool,
    reporter: Reporter,
) -> None:
    """Check, fetch, write, report."""
    from lacbed.catalog.files import check_output  # noqa: PLC0415

    check_output(out)
    if not 0.0 <= delay <= 3600.0:
        raise SettingError(f"the pause between requests is from 0 to 3600 s, got {delay:g}")
    from lacbed.catalog.fetch.pages import folder_of  # noqa: PLC0415
    from lacbed.catalog.fetch.run import fetch_catalog  # noqa: PLC0415
    from lacbed.catalog.fetch.web import polite_session  # noqa: PLC0415

    with polite_session(delay) as session, reporter.progress("Fetching") as progress:
        database = source(session)
        try:
            fetched = fetch_catalog(database, wanted, out, restart, progress)
        except LacbedError:
            raise
        except BaseException:
            if folder_of(out).exists():
                sys.stderr.write(f"lacbed: {folder_of(out)} keeps what was fetched; the same command goes on\n")
            raise
    _report(fetched, out, reporter)


def _report(fetched: Fetched, out: Path, reporter: Reporter) -> None:
    for failed, why in fetched.failures:
        reporter.say(f"  failed {failed}: {why}")
    if fetched.kept:
        reporter.say(f"{fetched.kept} of {fetched.pages} pages were there from an interrupted fetch")
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
