"""What a data set holds: counts, failures, sizes, convergence, licences."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.catalog.summary import spread
from lacbed.datasets.codec import INTENSITY_BOUND
from lacbed.datasets.compute import SCALARS
from lacbed.datasets.manifest import count_sources, read_journal, read_manifest
from lacbed.datasets.presets import PRESETS
from lacbed.datasets.store import Store


def summarise_dataset(path: str | Path) -> dict[str, Any]:
    """Counts and spreads of a data set, finished or not, as plain values.

    Raises:
        FileFormatError: if it is no data set, or a damaged one.
    """
    store = Store(path)
    rows, entries = store.done_rows(), read_journal(store.path).values()
    manifest, record = read_manifest(store.path), store.record
    failures = [failure for entry in entries for failure in entry.failures]
    scalars = np.array([store.scalars(row) for row in store.by_place(rows)]).reshape(-1, len(store.quantities))
    table = store.catalog()
    files = [file for file in store.path.rglob("*") if file.is_file()]
    named = [name for name, config in PRESETS.items() if config.digest == record["config_digest"]]
    return {
        "path": str(store.path),
        "finished": manifest is not None,
        "rows": record["rows"],
        "crystals": len(rows),
        "failed": len(failures) + len(record["invalid"]),
        "failures": dict(Counter(f.reason for f in failures) + Counter(record["invalid"].values())),
        "prototypes": len({table["anonymous_prototype"][int(row)].as_py() for row in rows}),
        "compounds": len({table["compound_id"][int(row)].as_py() for row in rows}),
        "symmetries": {name: int(np.sum(store.places[rows, 0] == i)) for i, name in enumerate(record["groups"])},
        "preset": named[0] if named else None,
        "config": record["config"],
        "config_digest": record["config_digest"],
        "selection": record["selection"],
        "software": record["software"],
        "bytes": sum(file.stat().st_size for file in files),
        "files": len(files),
        "intensity_bound": INTENSITY_BOUND,
        "cpu_seconds": round(sum(entry.seconds for entry in entries), 3),
        "spread": {name: spread(scalars[:, store.quantities.index(name)]) for name in SCALARS if len(rows)},
        "near_duplicates": None if manifest is None else _duplicates(manifest["duplicates"]),
        "sources": count_sources(table),
        "attribution": [] if manifest is None else manifest["attribution"],
    }


def _duplicates(found: dict[str, Any]) -> dict[str, Any]:
    sizes = [len(group) for group in found["groups"]]
    return {"bound": found["bound"], "groups": len(sizes), "rows": sum(sizes), "largest": max(sizes, default=0)}
