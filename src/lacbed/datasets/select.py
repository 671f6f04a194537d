"""Which rows of a catalogue become a data set."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lacbed.errors import SettingError
from lacbed.io.numbers import number, whole


@dataclass(frozen=True)
class Selection:
    """What to take of a catalogue; every condition is optional.

    Attributes:
        count: random sample of so many rows. With the same seed, a smaller sample is part of a larger one.
        seed: another seed gives another sample.
        max_atoms: most atoms per conventional cell.
        known: only what is known from experiment.
        per_prototype: most rows of one prototype, drawn by the seed.

    Raises:
        SettingError: on a number that is not positive, or a negative seed.
    """

    count: int | None = None
    seed: int = 0
    max_atoms: float | None = None
    known: bool = False
    per_prototype: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("count", "max_atoms", "per_prototype"):
            value = getattr(self, name)
            if value is not None:
                number(name, value, above=0)
        whole("seed", self.seed, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def select_rows(table: pa.Table, selection: Selection) -> pa.Table:
    """The wanted rows, in the order of the catalogue.

    Args:
        table: a catalogue with the columns that `catalog.schema.REQUIRED` names.
        selection: what to take.

    Raises:
        SettingError: if nothing is left, or less than the count.
    """
    keep = np.ones(table.num_rows, dtype=bool)
    if selection.max_atoms is not None:
        keep &= np.array(table["n_atoms_conv"].to_pylist(), dtype=float) <= selection.max_atoms
    if selection.known:
        if "experimentally_known" not in table.column_names:
            raise SettingError("the catalogue does not state what is known from experiment")
        keep &= np.array([value is True for value in table["experimentally_known"].to_pylist()])
    chosen = np.flatnonzero(keep)
    order = chosen[np.argsort(_lots(table, selection.seed)[chosen], kind="stable")]
    if selection.per_prototype is not None:
        order = _first_of_each(order, table["anonymous_prototype"].to_pylist(), selection.per_prototype)
    if selection.count is not None:
        if len(order) < selection.count:
            raise SettingError(
                f"{len(order)} of the {table.num_rows} rows of the catalogue meet the conditions, "
                f"but {selection.count} were requested"
            )
        order = order[: selection.count]
    if len(order) == 0:
        raise SettingError(f"none of the {table.num_rows} rows of the catalogue meets the conditions")
    return table.take(pa.array(np.sort(order)))


def _lots(table: pa.Table, seed: int) -> np.ndarray:
    """A number for each row that decides whether it is drawn; it depends on the row and the seed alone."""
    names = ("source", "source_id", "compound_id")
    keys = zip(*(table[name].to_pylist() for name in names), strict=True)
    return np.array(
        [int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8]) for key in keys], dtype=np.uint64
    )


def _first_of_each(order: np.ndarray, groups: list[str], most: int) -> np.ndarray:
    seen: Counter[str] = Counter()
    kept = []
    for row in order.tolist():
        seen[groups[row]] += 1
        if seen[groups[row]] <= most:
            kept.append(row)
    return np.array(kept, dtype=np.int64)
