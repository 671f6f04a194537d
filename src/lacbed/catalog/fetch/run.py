"""A fetch from beginning to end: page after page, each kept, then one catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lacbed.catalog.duplicates import deduplicated
from lacbed.catalog.fetch.pages import Page, Pages, pages_for
from lacbed.catalog.fetch.source import Batch, Source
from lacbed.catalog.fetch.wanted import Wanted
from lacbed.catalog.files import check_output, write_catalog
from lacbed.catalog.imports import Imported, Progress
from lacbed.catalog.schema import Row, table_of
from lacbed.errors import CrystalError, FetchError, FileFormatError


@dataclass
class Fetched(Imported):
    """Rows, and what became no row.

    Attributes:
        unwanted: entries that the filters left out.
        kept: pages that an earlier, interrupted fetch had finished.
        pages: all pages.
        seen: rows before duplicates are left out.
    """

    unwanted: int = 0
    kept: int = 0
    pages: int = 0
    seen: list[Row] = field(default_factory=list)


def fetch_catalog(
    source: Source, wanted: Wanted, out: Path, restart: bool = False, progress: Progress | None = None
) -> Fetched:
    """Fetch what is wanted of a database and write it as one catalogue.

    A fetch that was interrupted, even by a kill or a power cut, goes on after its last finished page, and
    the catalogue is, byte for byte, the one of an uninterrupted fetch as long as the database stays the same.

    Args:
        source: the database.
        wanted: the filters.
        out: a .parquet file; what is there stays until the new file is complete.
        restart: throw away what an interrupted fetch left.
        progress: called with the fraction done, where the database says how much there is.

    Raises:
        FetchError: if the database cannot be reached, refuses, or answers in an unknown way.
        FileFormatError: if nothing could be used, or the file or the folder of pages cannot be written.
        MissingExtraError: if a package of the extra "fetch" is missing.
    """
    check_output(out)
    request = {"database": source.name, **source.request, **wanted.as_request()}
    with pages_for(out, request, restart) as pages:
        try:
            fetched = _all_pages(source, wanted, pages, progress)
        except FetchError as error:
            kept = pages.count()
            hint = f"; {kept} pages are kept, and the same command goes on after them" if kept else ""
            raise FetchError(f"{error}{hint}") from None
        if fetched.rows:
            settings = {**request, "count": wanted.count}
            write_catalog(table_of(fetched.rows), out, f"lacbed catalog fetch {source.name}", settings)
    if not fetched.rows:
        raise FileFormatError(_nothing(source, fetched))
    return fetched


def _all_pages(source: Source, wanted: Wanted, pages: Pages, progress: Progress | None) -> Fetched:
    fetched = Fetched()
    following: dict[str, Any] | None = {}
    for page in pages:
        _take(page, wanted, fetched)
        fetched.kept += 1
        following = page.following
        if following is None or _enough(wanted, fetched):
            break
    while following is not None and not _enough(wanted, fetched):
        batch = source.page(following or None, pages.folder)
        page = _finished(batch, source, wanted)
        pages.add(fetched.pages, page)
        _take(page, wanted, fetched)
        following = page.following
        if progress is not None:
            progress(_fraction(page, wanted, fetched))
    return fetched


def _finished(batch: Batch, source: Source, wanted: Wanted) -> Page:
    page = Page([], [], batch.unwanted, batch.following, batch.done)
    unwanted = 0
    for name, entry in batch.entries:
        try:
            if isinstance(entry, CrystalError):
                raise entry
            row = source.row(name, entry)
        except CrystalError as error:
            page.failures.append((name, str(error)))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            page.failures.append((name, f"not the answer expected: {type(error).__name__} {error}"))
        else:
            if wanted.admits(row):
                page.rows.append(row)
            else:
                unwanted += 1
    return Page(page.rows, page.failures, batch.unwanted + unwanted, batch.following, batch.done)


def _take(page: Page, wanted: Wanted, fetched: Fetched) -> None:
    """Add a page; duplicates are looked for only when their number decides whether to stop, or at the end."""
    fetched.seen += page.rows
    fetched.failures += page.failures
    fetched.unwanted += page.unwanted
    fetched.pages += 1
    if page.following is None or (wanted.count is not None and len(fetched.seen) >= wanted.count):
        rows, dropped = deduplicated(fetched.seen)
        fetched.rows = rows[: wanted.count]
        fetched.duplicates = [(row["source_id"], other["source_id"]) for row, other in dropped]


def _enough(wanted: Wanted, fetched: Fetched) -> bool:
    return wanted.count is not None and len(fetched.rows) >= wanted.count


def _fraction(page: Page, wanted: Wanted, fetched: Fetched) -> float:
    asked = 0.0 if wanted.count is None else len(fetched.seen) / wanted.count
    return min(1.0, max(asked, page.done or 0.0))


def _nothing(source: Source, fetched: Fetched) -> str:
    first = f": {': '.join(fetched.failures[0])}" if fetched.failures else ""
    return (
        f"{source.name} has nothing that fits: {fetched.unwanted} entries are left out by the filters and "
        f"{len(fetched.failures)} cannot be used{first}; nothing was written"
    )
