"""Pages of a database: as it gives them, and as they are kept beside the catalogue until it is complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lacbed.catalog.files import FORMAT_VERSION, Row
from lacbed.crystals.site import is_element
from lacbed.errors import FileFormatError, SettingError
from lacbed.io.atomic import reason, replacing
from lacbed.io.numbers import check_number

Cursor = dict[str, Any]
"""Where the next page begins, as JSON; a fetch goes on from the one in its last finished page."""


@dataclass(frozen=True)
class RawPage:
    """One page as the database gives it.

    Attributes:
        entries: id of every entry that may match, and what the database says of it, or why it cannot be read.
        following: where the next page begins; None after the last.
        unwanted: number of entries on the page that are known not to match.
        done: fraction fetched after this page; None if the database does not say how much there is.
    """

    entries: list[tuple[str, Any]]
    following: Cursor | None
    unwanted: int = 0
    done: float | None = None


@dataclass(frozen=True)
class Source:
    """A database.

    Attributes:
        name: of the command.
        request: everything that decides which entries come and how; no secrets.
        page: reads the page at a cursor (None for the first); may keep files in the folder that it is given.
        row: turns an entry into a row.
    """

    name: str
    request: Mapping[str, Any] = field(hash=False)
    page: Callable[[Cursor | None, Path], RawPage]
    row: Callable[[str, Any], Row]


@dataclass(frozen=True)
class Page:
    """What one page of a database became.

    Attributes:
        rows: structures that match.
        failures: id and reason of every entry that cannot be used.
        unwanted: number of entries that the filters leave out.
        following: where the next page begins; None after the last.
        done: fraction fetched after this page; None if unknown.
    """

    rows: list[Row]
    failures: list[tuple[str, str]]
    unwanted: int
    following: Cursor | None
    done: float | None


@dataclass(frozen=True)
class Pages:
    """The folder FILE.parquet.fetch of one fetch; a page is written whole or not at all."""

    folder: Path

    def __iter__(self) -> Iterator[Page]:
        """The finished pages in their order."""
        number = 0
        while (path := self._path(number)).exists():
            yield _read(path)
            number += 1

    def count(self) -> int:
        """Number of finished pages."""
        return sum(1 for _ in self.folder.glob("page-*.json"))

    def add(self, number: int, page: Page) -> None:
        """Keep a page.

        Raises:
            FileFormatError: if the operating system refuses, for example because the disk is full.
        """
        write_json(self._path(number), asdict(page))

    def _path(self, number: int) -> Path:
        return self.folder / f"page-{number:06d}.json"


def folder_of(out: Path) -> Path:
    """Where the pages of a catalogue are kept."""
    return out.with_name(out.name + ".fetch")


@contextmanager
def pages_for(out: Path, request: Mapping[str, Any], restart: bool) -> Iterator[Pages]:
    """The pages that an interrupted fetch of the same request left, if any; removed after success.

    Args:
        out: the catalogue that will be written.
        request: what is asked for; a different request cannot continue with these pages.
        restart: discard what an earlier fetch left.

    Raises:
        FileFormatError: if the folder belongs to another request, is something else, or is in use.
    """
    folder = folder_of(out)
    request = {**request, "lacbed": metadata.version("lacbed"), "format_version": FORMAT_VERSION}
    if folder.exists() and not _is_ours(folder):
        raise FileFormatError(
            f"{folder} is not the folder of an unfinished fetch; move it away, or write to another file"
        )
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FileFormatError(f"cannot make the folder {folder}: {reason(error)}") from None
    try:
        with _only_one(folder):
            if restart:
                _clear(folder)
            _same_request(folder, request)
            yield Pages(folder)
            _clear(folder)
    finally:
        if {path.name for path in folder.iterdir()} <= {"lock", "request.json"}:  # nothing worth keeping
            shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote.

    Raises:
        FileFormatError: if it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path} is damaged ({reason(error)}); start again with --restart") from None


def _read(path: Path) -> Page:
    content = read_json(path)
    try:
        return Page(**{**content, "failures": [(name, why) for name, why in content["failures"]]})
    except (KeyError, TypeError, ValueError):
        raise FileFormatError(
            f"{path} is not a page that this version of lacbed wrote; start again with --restart"
        ) from None


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    content = [path.name for path in folder.iterdir() if path.name != "lock"]
    return not content or "request.json" in content


def _same_request(folder: Path, request: Mapping[str, Any]) -> None:
    path = folder / "request.json"
    if not path.exists():
        write_json(path, request)
        return
    earlier = read_json(path)
    if earlier != request:
        keys = sorted({*earlier, *request}) if isinstance(earlier, dict) else []
        pairs = [(k, earlier.get(k), request.get(k)) for k in keys]
        other = [f"{k}: {there!r} there, {here!r} here" for k, there, here in pairs if there != here]
        raise FileFormatError(
            f"{folder} holds an unfinished fetch with other settings ({'; '.join(other)[:200]}); finish that one, "
            "or discard it with --restart"
        )


def _clear(folder: Path) -> None:
    """Remove all but the lock, the request last, so that a kill in between leaves a folder that is still ours."""
    for path in sorted(folder.iterdir(), key=lambda p: p.name == "request.json"):
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Refuse a second fetch into the same folder; the lock is released when its process ends, however it ends."""
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileFormatError(f"{folder} is in use by another fetch") from None
    try:
        yield
    finally:
        lock.release()


FIRST_CUBIC = 195
"""The cubic space groups are 195 to 230."""


@dataclass(frozen=True)
class Query:
    """The filters of a fetch.

    Attributes:
        contains: elements that a structure must contain, all of them.
        only: elements that a structure may contain; empty for any.
        cubic: cubic structures only.
        experimental: only measured structures, or those that the database links to a measurement.
        max_atoms: largest number of atoms in the conventional cell; None for no limit.
        count: number of structures after which to stop; None for all.

    Raises:
        SettingError: if a symbol is not an element, or the filters contradict each other.
    """

    contains: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    cubic: bool = True
    experimental: bool = False
    max_atoms: int | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no structure can satisfy."""
        for symbol in (*self.contains, *self.only):
            if not is_element(symbol):
                raise SettingError(f"expected chemical elements such as Fe,O, got {symbol!r}")
        outside = [symbol for symbol in self.contains if self.only and symbol not in self.only]
        if outside:
            raise SettingError(
                f"{', '.join(outside)} is required (--elements) but not among the elements allowed (--only)"
            )
        for name, value in (("atoms per cell", self.max_atoms), ("structures", self.count)):
            if value is not None:
                check_number(f"the number of {name}", value, 1)

    def as_request(self) -> dict[str, Any]:
        """The filters that tell two fetches apart; `count` does not, it only ends one earlier."""
        return {
            "contains": sorted(self.contains),
            "only": sorted(self.only),
            "cubic": self.cubic,
            "experimental": self.experimental,
            "max_atoms": self.max_atoms,
        }

    def allows_elements(self, elements: Collection[str]) -> bool:
        """Whether a structure of these elements may match; deuterium counts as hydrogen."""
        present = _as_hydrogen(elements)
        if not _as_hydrogen(self.contains) <= present:
            return False
        return not self.only or present <= _as_hydrogen(self.only)

    def allows_space_group(self, number: int | None) -> bool:
        """Whether a structure of this space group may match; one of unknown space group (None) may."""
        return not self.cubic or number is None or number >= FIRST_CUBIC

    def matches(self, row: Row) -> bool:
        """Whether a finished row passes every filter."""
        measured = row["kind"] == "experimental" or row["experimentally_known"] is True
        return (
            self.allows_elements(row["elements"])
            and self.allows_space_group(row["space_group"])
            and (self.max_atoms is None or row["n_atoms_conv"] <= self.max_atoms + 1e-6)
            and (measured or not self.experimental)
        )


def _as_hydrogen(elements: Collection[str]) -> set[str]:
    return {"H" if symbol == "D" else symbol for symbol in elements}
