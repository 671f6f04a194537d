"""The journal of a build and the manifest of a finished data set.

A batch counts when its line is in `journal.jsonl`, which is written after its chunks are on the disk. A line cut
short by a crash counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lacbed.catalog.summary import ATTRIBUTION
from lacbed.datasets.plan import Plan, describe_plan
from lacbed.datasets.writer import LARGEST_JSON, json_file, write_bytes
from lacbed.errors import FileFormatError
from lacbed.io.atomic import reason
from lacbed.io.checks import read_bytes, read_json_text, regular_file
from lacbed.io.numbers import is_number, is_whole
from lacbed.patterns.result import software

_FREE = ("CC0-1.0", "public domain")
JOURNAL, MANIFEST = "journal.jsonl", "manifest.json"
_SEAL = "sha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")

Manifest = dict[str, Any]
"""What `write_manifest` writes."""


@dataclass(frozen=True)
class Failure:
    """A row without a pattern, and why."""

    row: int
    formula: str
    source_id: str
    reason: str
    explained: bool


@dataclass(frozen=True)
class Entry:
    """One batch that is on the disk.

    Attributes:
        group, batch: which.
        rows: its rows in order.
        files: SHA-256 of each file.
        failures: rows without a pattern.
        seconds: CPU seconds that it took; not part of what must be equal between two runs.
    """

    group: int
    batch: int
    rows: tuple[int, ...]
    files: dict[str, str]
    failures: tuple[Failure, ...]
    seconds: float


def append_entry(folder: Path, entry: Entry) -> None:
    """Add a line to the journal and have it on the disk.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
    try:
        with (folder / JOURNAL).open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise FileFormatError(f"cannot write {str(folder / JOURNAL)!r}: {reason(error)}") from None


def read_journal(folder: Path) -> dict[tuple[int, int], Entry]:
    """The batches that count, by group and number; of a batch written twice the later line."""
    path = folder / JOURNAL
    if not path.exists():
        return {}
    found = {}
    size = regular_file(path, "the journal of a data set", LARGEST_JSON, FileFormatError)
    content = read_bytes(path, "the journal of a data set", size, FileFormatError)
    for line in content.splitlines(keepends=True):
        if line.endswith(b"\n"):
            entry = _entry(line, path)
            found[entry.group, entry.batch] = entry
    return found


def _entry(line: bytes, path: Path) -> Entry:
    try:
        values = read_json_text(line.decode(), "a line of the journal", FileFormatError)
        values["failures"] = tuple(_failure(failure) for failure in values["failures"])
        values["rows"] = tuple(_whole(row) for row in values["rows"])
        entry = Entry(**values)
        _whole(entry.group), _whole(entry.batch), _digests(entry.files)
        if not is_number(entry.seconds, 0):
            raise ValueError(entry.seconds)
        return entry
    except (ValueError, TypeError, KeyError, AttributeError):
        raise FileFormatError(f"{path} has a line that lacbed did not write; the data set is damaged") from None


def _whole(value: Any) -> Any:
    if not is_whole(value, 0, 2**31 - 1):
        raise ValueError(value)
    return value


def _failure(values: Any) -> Failure:
    failure = Failure(**values)
    _whole(failure.row)
    if not isinstance(failure.explained, bool):
        raise ValueError(failure.explained)
    if not all(isinstance(text, str) for text in (failure.formula, failure.source_id, failure.reason)):
        raise ValueError(failure.row)
    return failure


def _digests(files: Any) -> dict[str, str]:
    for name, digest in files.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest) or ".." in name or name.startswith("/"):
            raise ValueError(name)
    found: dict[str, str] = files
    return found


def rewrite_journal(folder: Path, entries: Iterable[Entry]) -> None:
    """Replace the journal by these entries, so that a line cut short cannot run into the next one.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    lines = [json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries]
    try:
        write_bytes(folder / JOURNAL, "".join(lines).encode())
    except OSError as error:
        raise FileFormatError(f"cannot write {str(folder / JOURNAL)!r}: {reason(error)}") from None


def damaged_files(folder: Path, entry: Entry) -> list[str]:
    """Files of a batch that are missing or differ from their checksum."""
    return [name for name, digest in entry.files.items() if _digest(folder / name) != digest]


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def write_manifest(
    folder: Path, plan: Plan, entries: Sequence[Entry], fixed_files: Sequence[str], duplicates: dict[str, Any]
) -> dict[str, Any]:
    """Write the manifest of a data set that is complete, and return it.

    Args:
        folder: of the data set.
        plan: its plan.
        entries: of all batches.
        fixed_files: further files to take checksums of.
        duplicates: what is known about near duplicates.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    ordered = sorted(entries, key=lambda e: (e.group, e.batch))
    failures = [*_invalid(plan), *(failure for entry in ordered for failure in entry.failures)]
    manifest = {
        **describe_plan(plan),
        "software": software(),
        "crystals": plan.table.num_rows - len(failures),
        "failures": [asdict(f) for f in sorted(failures, key=lambda f: f.row)],
        "cpu_seconds": round(sum(entry.seconds for entry in ordered), 3),
        "licences": count_sources(plan.table),
        "attribution": [line for line in map(_attribution, count_sources(plan.table)) if line],
        "duplicates": duplicates,
        "files": {name: _digest(folder / name) for name in fixed_files}
        | {name: digest for entry in ordered for name, digest in entry.files.items()},
    }
    manifest[_SEAL] = _digest_of(manifest)
    try:
        write_bytes(folder / MANIFEST, (json.dumps(manifest, ensure_ascii=False, indent=1) + "\n").encode())
    except OSError as error:
        raise FileFormatError(f"cannot write {str(folder / MANIFEST)!r}: {reason(error)}") from None
    return manifest


def failure_of(plan: Plan, row: int, why: str, explained: bool) -> Failure:
    """The record of a row that failed."""
    values = plan.row(row)
    return Failure(row, str(values["formula"]), f"{values['source']} {values['source_id']}", why, explained)


def _invalid(plan: Plan) -> list[Failure]:
    return [failure_of(plan, row, why, explained=True) for row, why in plan.invalid.items()]


def count_sources(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of each source and licence, most frequent first."""
    pairs = Counter(zip(table["source"].to_pylist(), table["licence"].to_pylist(), strict=True))
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [{"source": source, "licence": licence, "rows": n} for (source, licence), n in ordered]


def _attribution(source: dict[str, Any]) -> str:
    """What the licence of a source asks to be said; "" if it asks for nothing."""
    if str(source["licence"]).startswith(_FREE):
        return ""
    return f"{source['source']} ({source['licence']}): {ATTRIBUTION.get(source['source'], 'name the source')}"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a data set, or None while it is not finished.

    Raises:
        FileFormatError: if it is damaged, lacks something or holds something impossible.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return None
    manifest = json_file(path, "the manifest of a data set")
    if _SEAL in manifest and manifest[_SEAL] != _digest_of(manifest):
        raise FileFormatError(f"{str(path)!r} does not have the checksum that was written with it; it is damaged")
    try:
        _check_manifest(manifest)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else "it holds impossible values"
        raise FileFormatError(f"{str(path)!r} is not the manifest of a data set, or is damaged: {what}") from None
    return manifest


def _check_manifest(manifest: Manifest) -> None:
    """Check what others rely on."""
    _whole(manifest["crystals"]), _digests(manifest["files"])
    for failure in manifest["failures"]:
        _failure(failure)
    for group in manifest["duplicates"]["groups"]:
        for row in group:
            _whole(row)
    if not 0 <= float(manifest["duplicates"]["bound"]) <= 1 or not float(manifest["cpu_seconds"]) >= 0:
        raise ValueError("a number")
    for source in manifest["licences"]:
        _whole(source["rows"])
    if not all(isinstance(line, str) for line in manifest["attribution"]):
        raise TypeError("attribution")


def _digest_of(manifest: Manifest) -> str:
    """SHA-256 of a manifest but for its own."""
    rest = {name: value for name, value in manifest.items() if name != _SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
