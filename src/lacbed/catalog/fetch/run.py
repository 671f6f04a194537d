"""A fetch from beginning to end: page after page, each kept on disk, then one catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lacbed.catalog.fetch.pages import Cursor, Page, Pages, Query, RawPage, Source, pages_for
from lacbed.catalog.files import Row, check_output, table_of, write_catalog
from lacbed.catalog.imports import Imported, Progress
from lacbed.catalog.rows import deduplicated
from lacbed.errors import CrystalError, FetchError, FileFormatError


@dataclass
class Fetched(Imported):
    """Rows, and the entries that did not become rows.

    Attributes:
        unwanted: number of entries that the filters left out.
        kept: number of pages that an interrupted fetch had finished.
        pages: number of all pages.
        seen: rows before duplicates are left out.
    """

    unwanted: int = 0
    kept: int = 0
    pages: int = 0
    seen: list[Row] = field(default_factory=list)


def fetch_catalog(
    source: Source, query: Query, out: Path, restart: bool = False, progress: Progress | None = None
) -> Fetched:
    """Fetch what a query matches in a database and write it as one catalogue.

    A fetch that was interrupted, even by a kill or a power cut, continues after its last finished page. The
    catalogue is identical, byte for byte, to that of an uninterrupted fetch if the database has not changed.

    Args:
        source: the database.
        query: the filters.
        out: a .parquet file; what is there stays until the new file is complete.
        restart: discard what an interrupted fetch left.
        progress: called with the fraction done, where the database says how much there is.

    Raises:
        FetchError: if the database cannot be reached, refuses, or gives an unknown answer.
        FileFormatError: if nothing could be used, or the file or the folder of pages cannot be written.
        MissingExtraError: if a package of the extra "fetch" is missing.
    """
    check_output(out)
    request = {"database": source.name, **source.request, **query.as_request()}
    with pages_for(out, request, restart) as pages:
        try:
            fetched = _all_pages(source, query, pages, progress)
        except FetchError as error:
            kept = pages.count()
            hint = f"; {kept} finished pages are kept, and the same command continues after them" if kept else ""
            raise FetchError(f"{error}{hint}") from None
        if fetched.rows:
            settings = {**request, "count": query.count}
            write_catalog(table_of(fetched.rows), out, f"lacbed catalog fetch {source.name}", settings)
    if not fetched.rows:
        raise FileFormatError(_nothing(source, fetched))
    return fetched


def _all_pages(source: Source, query: Query, pages: Pages, progress: Progress | None) -> Fetched:
    fetched = Fetched()
    following: Cursor | None = {}
    for page in pages:
        _take(page, query, fetched)
        fetched.kept += 1
        following = page.following
        if following is None or _enough(query, fetched):
            break
    while following is not None and not _enough(query, fetched):
        page = _finished(source.page(following or None, pages.folder), source, query)
        pages.add(fetched.pages, page)
        _take(page, query, fetched)
        following = page.following
        if progress is not None:
            progress(_fraction(page, query, fetched))
    return fetched


def _finished(raw: RawPage, source: Source, query: Query) -> Page:
    rows: list[Row] = []
    failures: list[tuple[str, str]] = []
    unwanted = raw.unwanted
    for name, entry in raw.entries:
        try:
            if isinstance(entry, CrystalError):
                raise entry
            row = source.row(name, entry)
        except CrystalError as error:
            failures.append((name, str(error)))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            failures.append((name, f"not the answer expected: {type(error).__name__} {error}"))
        else:
            if query.matches(row):
                rows.append(row)
            else:
                unwanted += 1
    return Page(rows, failures, unwanted, raw.following, raw.done)


def _take(page: Page, query: Query, fetched: Fetched) -> None:
    """Add a page; duplicates are sought only where their number decides whether to stop, and at the end."""
    fetched.seen += page.rows
    fetched.failures += page.failures
    fetched.unwanted += page.unwanted
    fetched.pages += 1
    if page.following is None or (query.count is not None and len(fetched.seen) >= query.count):
        rows, dropped = deduplicated(fetched.seen)
        fetched.rows = rows[: query.count]
        fetched.duplicates = [(row["source_id"], other["source_id"]) for row, other in dropped]


def _enough(query: Query, fetched: Fetched) -> bool:
    return query.count is not None and len(fetched.rows) >= query.count


def _fraction(page: Page, query: Query, fetched: Fetched) -> float:
    asked = 0.0 if query.count is None else len(fetched.seen) / query.count
    return min(1.0, max(asked, page.done or 0.0))


def _nothing(source: Source, fetched: Fetched) -> str:
    first = f": {': '.join(fetched.failures[0])}" if fetched.failures else ""
    return (
        f"{source.name} has no structure that matches: {fetched.unwanted} entries were left out by the filters "
        f"and {len(fetched.failures)} cannot be used{first}; nothing was written"
    )
