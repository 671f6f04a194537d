"""The journal of a build and the manifest of a finished data set.

A batch counts when its line is in `journal.jsonl`, which is written after its chunks are on the disk. A line cut
short by a crash counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lacbed.catalog.summary import ATTRIBUTION
from lacbed.datasets.plan import Plan, describe_plan
from lacbed.datasets.storage import write_bytes
from lacbed.errors import FileFormatError
from lacbed.patterns.atomic import reason
from lacbed.result import software

_FREE = ("CC0-1.0", "public domain")
JOURNAL, MANIFEST = "journal.jsonl", "manifest.json"


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
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            entry = _entry(line, path)
            found[entry.group, entry.batch] = entry
    return found


def _entry(line: bytes, path: Path) -> Entry:
    try:
        values = json.loads(line)
        values["failures"] = tuple(Failure(**failure) for failure in values["failures"])
        values["rows"] = tuple(values["rows"])
        return Entry(**values)
    except (ValueError, TypeError, KeyError):
        raise FileFormatError(f"{path} has a line that is none of lacbed's; the data set is damaged") from None


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


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a data set, or None while it is not finished.

    Raises:
        FileFormatError: if it is damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise FileFormatError(f"cannot read {str(path)!r}: {reason(error)}") from None
    return manifest
