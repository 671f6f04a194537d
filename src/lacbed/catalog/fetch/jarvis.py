"""JARVIS-DFT of NIST: structures relaxed with the functional OptB88vdW; CC-BY-4.0, as its deposit states.

`jarvis-tools` knows the address of the current file of each collection; the file (a zip of one JSON list, tens of
MB) is fetched here, because the client neither checks nor resumes a download, and is read entry after entry,
because the whole list takes gigabytes. Deposit: https://doi.org/10.6084/m9.figshare.6815699 (dft_3d).

"Experimental" means that the entry is linked to the ICSD; its coordinates are computed all the same.

Tested against a stand-in for the file server (tests/catalog/stand_in.py) with entries as the real list has
them; the real deposit could not be tried.

Cite Choudhary et al., npj Comput. Mater. 6, 173 (2020).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from lacbed.catalog.fetch.download import download
from lacbed.catalog.fetch.source import Batch, Cursor, Origin, Source, lacking, numbers, row_of_lattice
from lacbed.catalog.fetch.wanted import Wanted
from lacbed.catalog.fetch.web import PoliteSession
from lacbed.catalog.schema import Row
from lacbed.errors import FetchError, MissingExtraError, SettingError

GAP = 1.0
ENTRIES_A_PAGE = 1000
COLLECTION = "dft_3d"
_NEEDED = ("jid", "atoms")
_UNKNOWN = ("na", "", "[]", "None", None)


def jarvis_source(
    wanted: Wanted, session: PoliteSession, collection: str = COLLECTION, address: str | None = None
) -> Source:
    """A collection as a source.

    Args:
        wanted: the filters.
        session: fetches the file.
        collection: its name in jarvis-tools, such as dft_3d or dft_3d_2021.
        address: of the zip; default where jarvis-tools says.

    Raises:
        SettingError: if there is no such collection.
        MissingExtraError: if jarvis-tools or ijson is not installed.
    """
    known, member = _where(collection)
    url = address or known
    state: dict[str, Any] = {}

    def page(cursor: Cursor | None, folder: Path) -> Batch:
        start = int(cursor["start"]) if cursor else 0
        if "reader" not in state or state["at"] != start:
            state["reader"] = _Reader.open(download(session, url, folder / f"{collection}.zip"), member, start)
        reader: _Reader = state["reader"]
        entries = reader.take(ENTRIES_A_PAGE)
        missing = lacking(entries, _NEEDED) if entries else []
        if missing:
            raise FetchError(f"{url} has entries without {', '.join(missing)}; it is not what it was")
        state["at"] = start + len(entries)
        good = [entry for entry in entries if _may_be_wanted(entry, wanted)]
        following = {"start": state["at"]} if len(entries) == ENTRIES_A_PAGE else None
        named = [(str(entry.get("jid")), entry) for entry in good]
        return Batch(named, following, len(entries) - len(good), reader.done())

    def row(name: str, entry: Mapping[str, Any]) -> Row:
        return _row(name, entry, collection)

    return Source("jarvis", {"address": url, "collection": collection}, page, row)


def _where(collection: str) -> tuple[str, str]:
    """Address of the zip of a collection, and the name of the list in it."""
    try:
        import ijson  # noqa: F401, PLC0415  optional
        from jarvis.db.figshare import get_db_info  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError(
            "JARVIS needs jarvis-tools and ijson; install them with: pip install 'lacbed[fetch]'"
        ) from None
    collections = get_db_info()
    if collection not in collections:
        usable = ", ".join(name for name in collections if name.startswith("dft_3d"))
        raise SettingError(f"JARVIS has no collection {collection!r}; those of bulk crystals are {usable}")
    address, member = collections[collection][:2]
    return str(address), str(member)


@dataclass
class _Reader:
    """The entries of the list in a zip, read one after the other."""

    stream: IO[bytes]
    size: int
    entries: Iterator[Any]
    path: Path

    @classmethod
    def open(cls, path: Path, member: str, start: int) -> _Reader:
        """The entries from number `start`."""
        import ijson  # noqa: PLC0415  optional

        try:
            archive = zipfile.ZipFile(path)
            names = [name for name in archive.namelist() if name.endswith(".json")]
            name = member if member in names else (names or [member])[0]
            stream, size = archive.open(name), archive.getinfo(name).file_size
        except (zipfile.BadZipFile, KeyError, OSError):
            _give_up(path)
        reader = cls(stream, size, ijson.items(stream, "item", use_float=True), path)
        reader.take(start)
        return reader

    def take(self, count: int) -> list[Any]:
        """The next entries, fewer at the end."""
        import ijson  # noqa: PLC0415  optional

        try:
            return [entry for _, entry in zip(range(count), self.entries, strict=False)]
        except (ijson.JSONError, zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError):
            _give_up(self.path)

    def done(self) -> float:
        """Fraction of the list that has been read."""
        return min(1.0, self.stream.tell() / max(self.size, 1))


def _give_up(path: Path) -> NoReturn:
    """Remove a file that is not what it should be, so that the next fetch gets it anew."""
    with suppress(OSError):
        path.unlink()
    raise FetchError(
        "the file that was fetched is no zip of a list of structures, or is damaged; it was removed, "
        "and the same command fetches it anew"
    )


def _may_be_wanted(entry: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether an entry may be wanted, by what it says without its symmetry being searched."""
    group = str(entry.get("spg_number") or "")
    elements = {str(symbol).strip() for symbol in (entry.get("atoms") or {}).get("elements") or ()}
    return (
        wanted.group_fits(int(group) if group.isdigit() else None)
        and (not elements or wanted.elements_fit(elements))
        and (not wanted.experimental or _is_known(entry))
    )


def _is_known(entry: Mapping[str, Any]) -> bool:
    return entry.get("icsd") not in _UNKNOWN and entry.get("icsd") != []


def _row(name: str, entry: Mapping[str, Any], collection: str) -> Row:
    atoms = entry["atoms"]
    basis = numbers(atoms["lattice_mat"], "lattice_mat")
    points = numbers(atoms["coords"], "coords")
    if atoms.get("cartesian"):
        points = points @ np.linalg.inv(basis)
    known = _is_known(entry)
    origin = Origin(
        source="JARVIS-DFT",
        source_id=name,
        licence="CC-BY-4.0",
        kind="dft_relaxed_known" if known else "dft_relaxed_theoretical",
        experimentally_known=True if known else None,
        note={"collection": collection, "functional": entry.get("func") or "unknown"},
    )
    return row_of_lattice(basis, points, [{str(symbol).strip(): 1.0} for symbol in atoms["elements"]], origin)
