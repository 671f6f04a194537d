"""What a data set holds: counts, failures, sizes, convergence, licences."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.catalog.summary import spread
from lacbed.datasets.compute import INTENSITY_BOUND, SCALARS
from lacbed.datasets.config import PRESETS, DatasetConfig
from lacbed.datasets.manifest import count_sources, read_journal, read_manifest
from lacbed.datasets.reader import Store
from lacbed.errors import FileFormatError, SettingError
from lacbed.patterns.schema import formula_text, number_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


_SIDE, _GAP, _LINE, _MARGIN, _FOOT = 1.75, 0.12, 0.22, 0.22, 0.34
MAX_COUNT = 400


def dataset_montage(path: str | Path, count: int = 20, seed: int = 0, columns: int = 5) -> Figure:
    """Draw patterns of different crystals, of different prototypes as far as there are enough.

    Shown is the first reflection at the thickest thickness, each image in its own grey scale.

    Args:
        path: of the data set, finished or not.
        count: how many.
        seed: another seed gives other crystals.
        columns: images in a row.

    Raises:
        SettingError: on an impossible number of images.
        FileFormatError: if it is no data set, or has no patterns yet.
    """
    from lacbed.patterns.figures import style  # matplotlib takes its time

    if not 1 <= count <= MAX_COUNT or columns < 1:
        raise SettingError(f"a montage has 1 to {MAX_COUNT} images in at least one column, got {count}, {columns}")
    store = Store(path)
    rows = _different(store, count, seed)
    if not rows:
        raise FileFormatError(f"{str(path)!r} has no patterns yet")
    columns = min(columns, len(rows))
    height = 2 * _MARGIN + math.ceil(len(rows) / columns) * (_SIDE + _LINE + _GAP) + _FOOT - _GAP
    figure = style.new_figure(2 * _MARGIN + columns * (_SIDE + _GAP) - _GAP, height)
    formulas = store.catalog()["formula"].to_pylist()
    lattice = store.quantities.index("lattice_parameter")
    for number, row in enumerate(rows):
        line, column = divmod(number, columns)
        left, top = _MARGIN + column * (_SIDE + _GAP), _MARGIN + line * (_SIDE + _LINE + _GAP)
        panel = style.add_panel(figure, left, top, _SIDE, _SIDE)
        image = store.pattern(row)[-1, 0]
        low, high = style.limits(image)
        panel.imshow(image, origin="lower", cmap=style.grey_map(), vmin=low, vmax=high)
        label = top + _SIDE + 0.11
        formula = formulas[row] if "." in formulas[row] else formula_text(formulas[row])
        style.add_text(figure, left, label, formula, fontsize=8.0)
        cell = f"{store.scalars(row)[lattice]:.3f} Å"
        style.add_text(figure, left + _SIDE, label, cell, ha="right", color=style.QUIET, fontsize=7.0)
    style.add_foot(figure, _foot(store.config))
    return figure


def _different(store: Store, count: int, seed: int) -> list[int]:
    """Rows in random order, the first of each prototype before all others, no compound twice."""
    rows = np.random.default_rng(seed).permutation(store.done_rows()).tolist()
    table = store.catalog()
    prototypes, compounds = (table[n].to_pylist() for n in ("anonymous_prototype", "compound_id"))
    seen: set[str] = set()
    kept: list[int] = []
    rest: list[int] = []
    for row in rows:
        if compounds[row] in seen:
            continue
        (rest if prototypes[row] in seen else kept).append(row)
        seen |= {compounds[row], prototypes[row]}
    return (kept + rest)[:count]


def _foot(config: DatasetConfig) -> str:
    zone = "".join(str(i) for i in config.zone_axis)
    energy = "" if not isinstance(config.energy, float) else f"  {number_text(config.energy / 1e3)} kV"
    fixed = isinstance(config.thicknesses, tuple)
    thickness = f"  {number_text(config.thicknesses[-1])} Å" if fixed else ""  # type: ignore[index]
    hkl = ",".join(str(i) for i in config.hkl[0])
    return f"LACBED {hkl}  [{zone}]{energy}{thickness}  ±{number_text(config.extent)} a*"
