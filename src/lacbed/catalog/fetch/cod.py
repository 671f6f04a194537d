"""The Crystallography Open Database: measured structures, in the public domain (CC0-1.0).

Protocol, https://wiki.crystallography.net/RESTful_API/: `result?format=json&el1=Fe&el2=O&strictmin=1&strictmax=2`
lists what the database knows of every entry with all the elements el1 ... el8 and between `strictmin` and
`strictmax` different elements; `NUMBER.cif` is one entry. The list comes unsorted and in one piece; a page here is
`ENTRIES_PER_PAGE` files of the sorted list, which is kept until the fetch is complete. The database cannot be
asked for everything, nor for a space group alone: elements must be given. Those who want all of it should use its
rsync or Subversion mirror, as its maintainers ask, and `lacbed catalog import`.

Tested only with a local server (tests/catalog/stand_in.py) that answers as described above; how long a list the
real server gives, and how fast, is not known here.

Cite Grazulis et al., J. Appl. Cryst. 42, 726 (2009) and Nucleic Acids Res. 40, D420 (2012).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacbed.catalog.fetch.pages import Cursor, Query, RawPage, Source, read_json, write_json
from lacbed.catalog.fetch.web import AnswerTooLargeError, PoliteSession
from lacbed.catalog.files import Row
from lacbed.catalog.imports import Provenance, row_of_cif
from lacbed.crystals.cif import MAX_BYTES
from lacbed.crystals.cif_text import decode_cif
from lacbed.errors import CrystalError, FetchError, SettingError

ENTRIES_PER_PAGE = 20
MOST_ELEMENTS = 8
"""Largest number of elements that one search can name."""

LARGEST_LIST = 300 * 10**6
_CUBIC_CELL = 2e-3


def cod_source(query: Query, session: PoliteSession, server: str) -> Source:
    """The database as a source.

    Args:
        query: with `contains` or `only`.
        session: asks the server.
        server: address of `result` and `NUMBER.cif`, such as https://www.crystallography.net/cod.

    Raises:
        SettingError: if no elements are given, or more than one search can name.
    """
    searches(query)
    server = server.rstrip("/")
    listed: list[tuple[list[str], int]] = []

    def page(cursor: Cursor | None, folder: Path) -> RawPage:
        if not listed:
            listed.append(_listing(query, session, server, folder))
        numbers, unwanted = listed[0]
        start = int(cursor["start"]) if cursor else 0
        stop = min(start + ENTRIES_PER_PAGE, len(numbers))
        entries = [(number, _cif(session, server, number)) for number in numbers[start:stop]]
        following = {"start": stop} if stop < len(numbers) else None
        return RawPage(entries, following, 0 if cursor else unwanted, stop / max(len(numbers), 1))

    def row(number: str, text: str) -> Row:
        made = row_of_cif(text, number, Provenance("COD", "CC0-1.0", "experimental"))
        return {**made, "source_id": number}

    return Source("cod", {"server": server}, page, row)


def searches(query: Query) -> list[dict[str, str]]:
    """Parameters of the searches whose results together hold every entry that matches.

    Raises:
        SettingError: as `cod_source`.
    """
    if not query.contains and not query.only:
        raise SettingError(
            "the COD cannot be asked for everything; name elements with --elements or --only "
            "(for all of it, copy its rsync mirror and run lacbed catalog import)"
        )
    if len(query.contains) > MOST_ELEMENTS:
        raise SettingError(f"the COD takes at most {MOST_ELEMENTS} elements per search, got {len(query.contains)}")
    groups = [query.contains] if query.contains else [(symbol,) for symbol in query.only]
    size = {"strictmin": "1", "strictmax": str(len(query.only))} if query.only else {}
    return [
        {"format": "json", **{f"el{i}": symbol for i, symbol in enumerate(group, start=1)}, **size}
        for group in groups
    ]


def _listing(query: Query, session: PoliteSession, server: str, folder: Path) -> tuple[list[str], int]:
    """Sorted numbers of the entries that may match, and how many others the searches found.

    The result of each search is kept, so that a fetch that is continued sees the same list.
    """
    found: dict[str, bool] = {}
    for i, parameters in enumerate(searches(query)):
        kept = folder / f"search-{i:02d}.json"
        if not kept.exists():
            records = _search(session, server, parameters)
            write_json(kept, {str(record["file"]): may_match(record, query) for record in records})
        found |= read_json(kept)
    numbers = sorted(number for number, good in found.items() if good)
    return numbers, len(found) - len(numbers)


def _search(session: PoliteSession, server: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    answer = session.json_of(f"{server}/result", parameters, LARGEST_LIST)
    good = isinstance(answer, list) and all(
        isinstance(record, dict) and re.fullmatch(r"\d{7}", str(record.get("file"))) for record in answer
    )
    if not good:
        raise FetchError(f"{server}/result does not list entries by seven-digit numbers; its answers have changed")
    return list(answer)


def may_match(record: Mapping[str, Any], query: Query) -> bool:
    """Whether an entry of the list may match; what the list does not say is left to the CIF.

    Entries that lack coordinates, are retracted, faulty, duplicate or theoretical never do.
    """
    flags, status = str(record.get("flags") or ""), str(record.get("status") or "")
    if (flags and "has coordinates" not in flags) or re.search("retracted|error", status):
        return False
    if record.get("duplicateof") or "theoretical" in str(record.get("method") or ""):
        return False
    elements = set(re.findall(r"[A-Z][a-z]?", str(record.get("formula") or record.get("calcformula") or "")))
    return (not elements or query.allows_elements(elements)) and (not query.cubic or _may_be_cubic(record))


def _may_be_cubic(record: Mapping[str, Any]) -> bool:
    a, b, c, alpha, beta, gamma = (_number(record.get(k)) for k in ("a", "b", "c", "alpha", "beta", "gamma"))
    lengths = all(math.isnan(v) or abs(v - a) <= _CUBIC_CELL * a for v in (b, c)) or math.isnan(a)
    angles = all(math.isnan(v) or abs(v - 90) < 0.2 for v in (alpha, beta, gamma))
    number = _number(record.get("sgNumber"))
    return lengths and angles and (math.isnan(number) or Query().allows_space_group(int(number)))


def _number(value: Any) -> float:
    """A number from the list, where most are text; NaN if there is none."""
    try:
        return float(str(value).split("(")[0])
    except ValueError:
        return math.nan


def _cif(session: PoliteSession, server: str, number: str) -> str | CrystalError:
    try:
        content = session.bytes_of(f"{server}/{number}.cif", largest=MAX_BYTES, missing_ok=True)
    except AnswerTooLargeError:
        return CrystalError(f"larger than {MAX_BYTES // 10**6} MB; that is not a crystal's CIF")
    if content is None:
        return CrystalError("listed, but its CIF does not exist")
    return decode_cif(content)
