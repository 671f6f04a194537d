"""The Crystallography Open Database: measured structures, in the public domain (CC0-1.0).

Protocol, https://wiki.crystallography.net/RESTful_API/: `result?format=json&el1=Fe&el2=O&strictmin=1&strictmax=2`
lists what the database knows of every entry with all the elements el1 ... el8 and at least `strictmin`, at most
`strictmax` different ones; `NUMBER.cif` is one entry. The list has no pages and is not sorted; a page here is
`ENTRIES_A_PAGE` files of the sorted list, which is kept until the fetch is complete. The database cannot be asked
for everything, nor for a space group alone: elements must be given. Who wants all of it should take its rsync or
Subversion mirror, as its makers ask, and `lacbed catalog import`.

Tested against a stand-in only (tests/catalog/cod_server.py), which answers as described above; the limits that
the real server sets to a list, and its speed, are not known here.

Cite Grazulis et al., J. Appl. Cryst. 42, 726 (2009) and Nucleic Acids Res. 40, D420 (2012).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lacbed.catalog.fetch.pages import read_json, write_json
from lacbed.catalog.fetch.source import Batch, Cursor, Source
from lacbed.catalog.fetch.wanted import Wanted
from lacbed.catalog.fetch.web import PoliteSession
from lacbed.catalog.imports import Provenance, row_of_cif
from lacbed.catalog.schema import Row
from lacbed.crystals.cif import MAX_BYTES
from lacbed.crystals.cif_text import decode_cif
from lacbed.errors import CrystalError, FetchError, SettingError

SERVER = "https://www.crystallography.net/cod"
GAP = 1.0
"""Seconds between requests."""

ENTRIES_A_PAGE = 20
MOST_ELEMENTS = 8
"""Elements that one search can name."""

LARGEST_LIST = 300 * 10**6
_CUBIC_CELL = 2e-3


def cod_source(wanted: Wanted, session: PoliteSession, server: str = SERVER) -> Source:
    """The database as a source.

    Args:
        wanted: with `contains` or `only`.
        session: asks the server.
        server: address under which `result` and `NUMBER.cif` are found.

    Raises:
        SettingError: if no elements are given, or more than a search can name.
    """
    searches(wanted)
    server = server.rstrip("/")
    listed: list[tuple[list[str], int]] = []

    def page(cursor: Cursor | None, folder: Path) -> Batch:
        if not listed:
            listed.append(_listing(wanted, session, server, folder))
        numbers, unwanted = listed[0]
        start = int(cursor["start"]) if cursor else 0
        stop = min(start + ENTRIES_A_PAGE, len(numbers))
        entries = [(number, _cif(session, server, number)) for number in numbers[start:stop]]
        following = {"start": stop} if stop < len(numbers) else None
        return Batch(entries, following, 0 if cursor else unwanted, stop / max(len(numbers), 1))

    def row(number: str, text: str) -> Row:
        made = row_of_cif(text, number, Provenance("COD", "CC0-1.0", "experimental"))
        return {**made, "source_id": number}

    return Source("cod", {"server": server}, page, row)


def searches(wanted: Wanted) -> list[dict[str, str]]:
    """Parameters of the searches whose results together hold everything wanted.

    Raises:
        SettingError: as `cod_source`.
    """
    if not wanted.contains and not wanted.only:
        raise SettingError(
            "the COD cannot be asked for everything; name elements with --elements or --only "
            "(for all of it take its rsync mirror and lacbed catalog import)"
        )
    if len(wanted.contains) > MOST_ELEMENTS:
        raise SettingError(f"the COD takes at most {MOST_ELEMENTS} elements at once, got {len(wanted.contains)}")
    together = [wanted.contains] if wanted.contains else [(symbol,) for symbol in wanted.only]
    size = {"strictmin": "1", "strictmax": str(len(wanted.only))} if wanted.only else {}
    return [
        {"format": "json", **{f"el{i}": symbol for i, symbol in enumerate(group, start=1)}, **size}
        for group in together
    ]


def _listing(wanted: Wanted, session: PoliteSession, server: str, folder: Path) -> tuple[list[str], int]:
    """Sorted numbers of the entries that may be wanted, and how many others the searches found.

    The result of each search is kept, so that a fetch that goes on sees the same list.
    """
    found: dict[str, bool] = {}
    for i, parameters in enumerate(searches(wanted)):
        kept = folder / f"search-{i:02d}.json"
        if not kept.exists():
            records = _search(session, server, parameters)
            write_json(kept, {str(record["file"]): may_be_wanted(record, wanted) for record in records})
        found |= read_json(kept)
    numbers = sorted(number for number, good in found.items() if good)
    return numbers, len(found) - len(numbers)


def _search(session: PoliteSession, server: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    answer = session.json_of(f"{server}/result", parameters, LARGEST_LIST)
    good = isinstance(answer, list) and all(
        isinstance(record, dict) and re.fullmatch(r"\d{7}", str(record.get("file"))) for record in answer
    )
    if not good:
        raise FetchError(f"{server}/result lists no entries with seven-digit numbers; its answers have changed")
    return list(answer)


def may_be_wanted(record: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether an entry of the list may be wanted; what the list does not say is left to the CIF.

    Entries without coordinates, retracted or faulty ones, duplicates and theoretical ones never are.
    """
    flags, status = str(record.get("flags") or ""), str(record.get("status") or "")
    if (flags and "has coordinates" not in flags) or re.search("retracted|error", status):
        return False
    if record.get("duplicateof") or "theoretical" in str(record.get("method") or ""):
        return False
    elements = set(re.findall(r"[A-Z][a-z]?", str(record.get("formula") or record.get("calcformula") or "")))
    return (not elements or wanted.elements_fit(elements)) and (not wanted.cubic or _may_be_cubic(record))


def _may_be_cubic(record: Mapping[str, Any]) -> bool:
    a, b, c, alpha, beta, gamma = (_number(record.get(k)) for k in ("a", "b", "c", "alpha", "beta", "gamma"))
    lengths = all(math.isnan(v) or abs(v - a) <= _CUBIC_CELL * a for v in (b, c)) or math.isnan(a)
    angles = all(math.isnan(v) or abs(v - 90) < 0.2 for v in (alpha, beta, gamma))
    number = _number(record.get("sgNumber"))
    return lengths and angles and (math.isnan(number) or Wanted().group_fits(int(number)))


def _number(value: Any) -> float:
    """A number of the list, which gives most as text; NaN if there is none."""
    try:
        return float(str(value).split("(")[0])
    except ValueError:
        return math.nan


def _cif(session: PoliteSession, server: str, number: str) -> str | CrystalError:
    try:
        content = session.bytes_of(f"{server}/{number}.cif", largest=MAX_BYTES, missing_ok=True)
    except FetchError as error:
        if "more than" in str(error):
            return CrystalError(f"larger than {MAX_BYTES // 10**6} MB; that is not a crystal's CIF")
        raise
    if content is None:
        return CrystalError("listed, but its CIF is not there")
    return decode_cif(content)
