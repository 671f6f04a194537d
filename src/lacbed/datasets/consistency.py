"""Whether the record, the places, the journal and the manifest of a data set say the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lacbed.datasets.config import HASH_VERSION
from lacbed.datasets.manifest import Entry, Failure, Manifest
from lacbed.datasets.writer import ARRAYS, CATALOG, chunk_name

Entries = Mapping[tuple[int, int], Entry]
_NAME = re.compile(r"[A-Za-z0-9_][\w.+-]*")
_RECORD = {
    "rows": int,
    "batch": int,
    "groups": list,
    "quantities": list,
    "config": dict,
    "invalid": dict,
    "selection": dict,
    "config_digest": str,
    "plan_digest": str,
    "software": str,
}
MOST_ROWS, MOST_BATCH = 10**9, 4096


def record_problem(record: Mapping[str, Any]) -> str:
    """What is wrong with the record in the root of a data set, taken by itself; "" if nothing."""
    for name, kind in _RECORD.items():
        if type(record.get(name)) is not kind:
            return f"its record has no {name}"
    rows, batch, groups = (record[name] for name in ("rows", "batch", "groups"))
    for name, value, most in (("rows", rows, MOST_ROWS), ("batch", batch, MOST_BATCH)):
        if not 0 < value <= most:
            return f"{name} is {value} in its record, which is impossible"
    if not all(isinstance(g, str) and _NAME.fullmatch(g) for g in groups) or len(set(groups)) < len(groups):
        return "its record names impossible groups"
    invalid = record["invalid"].items()
    if not all(isinstance(why, str) and row.isdecimal() and int(row) < rows for row, why in invalid):
        return "its record lists impossible rows that are not crystals"
    return ""


def config_changed(record: Mapping[str, Any]) -> bool:
    """Whether the config in a record is not the one that the data set was built with."""
    text = json.dumps([HASH_VERSION, record["config"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest() != str(record["config_digest"])


def members(record: Mapping[str, Any], places: npt.NDArray[np.int32]) -> list[npt.NDArray[np.int64]]:
    """The rows of each group in the order of their places."""
    found = []
    for group in range(len(record["groups"])):
        rows = np.nonzero(places[:, 0] == group)[0]
        found.append(rows[np.argsort(places[rows, 1], kind="stable")])
    return found


def contradictions(
    record: Mapping[str, Any], places: npt.NDArray[np.int32], entries: Entries, manifest: Manifest | None
) -> list[str]:
    """A line for everything in which the parts of a data set contradict each other."""
    groups = members(record, places)
    problems = list(_places(record, places, groups))
    if not problems:
        problems += _journal(record, groups, entries)
    if manifest is not None and not problems:
        problems += _manifest(record, groups, entries, manifest)
    return problems


def _places(
    record: Mapping[str, Any], places: npt.NDArray[np.int32], groups: list[npt.NDArray[np.int64]]
) -> Iterator[str]:
    outside = np.nonzero((places[:, 0] < -1) | (places[:, 0] >= len(groups)))[0]
    if len(outside):
        yield f"place puts row {outside[0]} into group {places[outside[0], 0]}, which does not exist"
    absent = {str(row) for row in np.nonzero(places[:, 0] == -1)[0]}
    if absent != set(record["invalid"]):
        yield f"place has {len(absent)} rows that are not crystals, and the record {len(record['invalid'])}"
    for name, rows in zip(record["groups"], groups, strict=True):
        if not np.array_equal(places[rows, 1], np.arange(len(rows))):
            yield f"place gives the rows of {name} impossible places"


def _journal(record: Mapping[str, Any], groups: list[npt.NDArray[np.int64]], entries: Entries) -> Iterator[str]:
    batch = record["batch"]
    for (group, number), entry in entries.items():
        rows = groups[group][number * batch : (number + 1) * batch] if group < len(groups) else ()
        if not len(rows) or list(entry.rows) != list(rows):
            yield f"the journal gives batch {number} of group {group} rows that it does not have"
        elif set(entry.files) != {chunk_name(record["groups"][group], name, number) for name in ARRAYS}:
            yield f"the journal lists different files for batch {number} of {record['groups'][group]} than it has"
        elif not {failure.row for failure in entry.failures} <= set(entry.rows):
            yield f"the journal lists failures in batch {number} of group {group} that are not in it"


def _manifest(
    record: Mapping[str, Any], groups: list[npt.NDArray[np.int64]], entries: Entries, manifest: Manifest
) -> Iterator[str]:
    wanted = {
        (group, number) for group, rows in enumerate(groups) for number in range(-(-len(rows) // record["batch"]))
    }
    if set(entries) != wanted:
        yield f"the journal has {len(entries)} batches, and the data set, which is finished, {len(wanted)}"
        return
    for name in ("plan_digest", "config_digest", "rows", "batch", "groups", "config"):
        if manifest.get(name) != record[name]:
            yield f"the manifest and the record differ in {name}"
    failures = {f.row: f for entry in entries.values() for f in entry.failures}
    listed = {f["row"]: Failure(**f) for f in manifest["failures"]}
    invalid = {int(row) for row in record["invalid"]}
    if {row: f for row, f in listed.items() if row not in invalid} != failures or not invalid <= set(listed):
        yield "the manifest and the journal list different failures"
    if manifest["crystals"] != record["rows"] - len(listed):
        yield f"the manifest counts {manifest['crystals']} crystals, there are {record['rows'] - len(listed)}"
    near = [row for group in manifest["duplicates"]["groups"] for row in group]
    if len(set(near)) < len(near) or not all(0 <= row < record["rows"] and row not in listed for row in near):
        yield "the manifest lists near duplicates that are not crystals of the data set"
    yield from _files(record, entries, manifest["files"])


def _files(record: Mapping[str, Any], entries: Entries, files: Mapping[str, str]) -> Iterator[str]:
    for entry in entries.values():
        for name, digest in entry.files.items():
            if files.get(name) != digest:
                yield f"the manifest and the journal have different checksums for {name}"
    needed = {CATALOG, "zarr.json", "place/zarr.json", "place/c/0/0"}
    for group in record["groups"]:
        needed |= {f"{group}/{array}/zarr.json" for array in (*ARRAYS, "pattern_source", "potential_source")}
        needed |= {f"{group}/pattern_source/c/0/0/0", f"{group}/potential_source/c/0/0"}
    for name in sorted(needed - set(files)):
        yield f"the manifest has no checksum of {name}"
