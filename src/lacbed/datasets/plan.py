"""What will be computed and where it will stand, settled before any work starts.

Rows keep the order of the catalogue. Those of one symmetry class stand together in a group, by falling size, and
are cut into batches, one chunk of each array. Places depend on the rows and the config alone, so that the
result does not depend on who computes what when.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lacbed.beams import zone_area
from lacbed.catalog.files import Row, rows_of
from lacbed.catalog.rows import crystal_of
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.orbits import Symmetry, symmetry_of
from lacbed.errors import CrystalError, SettingError
from lacbed.geometry.frame import make_frame
from lacbed.io.checks import check_number, check_whole


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
                check_number(name, value, above=0)
        check_whole("seed", self.seed, 0)

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


FORMAT_VERSION = 1
BATCH = 16
"""Crystals of a batch, by default."""

_TYPICAL_G_MAX = 3.5
"""1/Å; how far beams reach in a typical converged pattern, for estimates of size only."""

_FIXED_BYTES = 400 * 2**20
_MATRICES = 8 * 16
"""Bytes for each element of a matrix: some eight complex copies."""


@dataclass(frozen=True)
class Size:
    """How much a crystal asks for, estimated: beams, bytes while it is computed, and cost in arbitrary units."""

    beams: float
    memory: float
    cost: float


@dataclass(frozen=True, eq=False)
class Group:
    """The rows that are stored alike.

    Attributes:
        symmetry: the maps of its images.
        rows: row numbers in the order of their places.
    """

    symmetry: Symmetry
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """One chunk of each array of a group.

    Attributes:
        group: number of the group.
        number: of the chunk within the group.
        rows: its rows, in order.
        cost: estimated.
    """

    group: int
    number: int
    rows: tuple[int, ...]
    cost: float

    @property
    def key(self) -> tuple[int, int]:
        """What identifies it."""
        return self.group, self.number


@dataclass(frozen=True, eq=False)
class Plan:
    """A data set before it is computed.

    Attributes:
        config: how.
        selection: what was asked of the catalogue.
        table: the rows, columns of a catalogue.
        groups: by name.
        sizes: of each row; None for a row that is no crystal.
        invalid: reason of each row that is no crystal.
        batch: rows in a batch.
    """

    config: DatasetConfig
    selection: Selection
    table: pa.Table
    groups: tuple[Group, ...]
    sizes: tuple[Size | None, ...]
    invalid: dict[int, str]
    batch: int = BATCH
    _digest: list[str] = field(default_factory=list, repr=False)

    def row(self, number: int) -> Row:
        """One row of the catalogue."""
        found: Row = self.table.slice(number, 1).to_pylist()[0]
        return found

    def batches(self) -> list[Batch]:
        """All batches, the most expensive first, so that no large crystal is left for the end."""
        found = []
        for index, group in enumerate(self.groups):
            for number in range(math.ceil(len(group.rows) / self.batch)):
                rows = tuple(int(r) for r in group.rows[number * self.batch : (number + 1) * self.batch])
                found.append(Batch(index, number, rows, sum(self.size(r).cost for r in rows)))
        return sorted(found, key=lambda b: (-b.cost, b.group, b.number))

    def size(self, row: int) -> Size:
        """Estimated size of a row that is a crystal."""
        size = self.sizes[row]
        if size is None:
            raise KeyError(row)
        return size

    @property
    def digest(self) -> str:
        """SHA-256 of all that settles the content: config, rows, batches, format."""
        if not self._digest:
            text = json.dumps([FORMAT_VERSION, self.config.digest, self.batch, sorted(self.invalid)])
            content = hashlib.sha256(text.encode())
            for row in rows_of(self.table):
                content.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
            self._digest.append(content.hexdigest())
        return self._digest[0]


def make_plan(
    table: pa.Table,
    config: DatasetConfig,
    selection: Selection | None = None,
    *,
    batch: int = BATCH,
    skip_invalid: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Plan:
    """Check every row and give it its place.

    Args:
        table: the selected rows of a catalogue.
        config: how they will be computed.
        selection: how they were selected, for the record.
        batch: rows in a batch.
        skip_invalid: leave rows out that are no crystal, and record them as failures.
        progress: called with the fraction done.

    Raises:
        CrystalError: if rows are no crystals, with their number and the first reason, unless they are skipped.
    """
    shapes = Shapes(config)
    sizes: list[Size | None] = []
    invalid: dict[int, str] = {}
    members: dict[str, list[int]] = {}
    for number, row in enumerate(rows_of(table)):
        try:
            symmetry, size = shapes.of(row)
            members.setdefault(symmetry.name, []).append(number)
            sizes.append(size)
        except CrystalError as error:
            invalid[number] = " ".join(str(error).split())
            sizes.append(None)
        if progress is not None:
            progress((number + 1) / table.num_rows)
    if invalid and (not skip_invalid or len(invalid) == table.num_rows):
        first = next(iter(invalid.values()))
        raise CrystalError(
            f"{len(invalid)} of {table.num_rows} rows cannot be used (--skip-invalid skips them): {first}"
        )
    groups = tuple(_group(shapes.known[name], members[name], sizes) for name in sorted(members))
    return Plan(config, selection or Selection(), table, groups, tuple(sizes), invalid, batch)


def _group(symmetry: Symmetry, rows: list[int], sizes: list[Size | None]) -> Group:
    beams = np.array([(sizes[r] or Size(0, 0, 0)).beams for r in rows])
    return Group(symmetry, np.array(rows, dtype=np.int64)[np.argsort(-beams, kind="stable")])


class Shapes:
    """Symmetry and size of rows; for cubic cells both follow from the space group, so that each is found once."""

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config
        self.known: dict[str, Symmetry] = {}
        self._cubic: dict[int, tuple[Symmetry, float]] = {}

    def of(self, row: Row) -> tuple[Symmetry, Size]:
        """The symmetry of a row and how much it asks for.

        Raises:
            CrystalError: if it is no crystal.
        """
        crystal = crystal_of(row, self.config.default_b_iso)
        cubic = all(row.get(name) is None for name in ("b", "c", "alpha", "beta", "gamma"))
        group = int(row["space_group"])
        if not (cubic and group in self._cubic):
            symmetry, area = (
                symmetry_of(crystal, self.config),
                zone_area(crystal, make_frame(crystal, self.config.zone_axis)),
            )
            symmetry = self.known.setdefault(symmetry.name, symmetry)
            if not cubic:
                return symmetry, _size(area, self.config.max_beams)
            self._cubic[group] = symmetry, area * crystal.cell[0] ** 2
        symmetry, scaled = self._cubic[group]
        return symmetry, _size(scaled / crystal.cell[0] ** 2, self.config.max_beams)


def _size(area: float, max_beams: int) -> Size:
    beams = min(math.pi * _TYPICAL_G_MAX**2 / area, 1.5 * max_beams)
    return Size(beams, _FIXED_BYTES + _MATRICES * beams**2, beams**2 + beams**3 * area)


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The record of a plan that is kept with the data."""
    return {
        "format": "lacbed-dataset",
        "format_version": FORMAT_VERSION,
        "config": plan.config.to_dict(),
        "config_digest": plan.config.digest,
        "plan_digest": plan.digest,
        "selection": plan.selection.to_dict(),
        "rows": plan.table.num_rows,
        "batch": plan.batch,
        "groups": [group.symmetry.name for group in plan.groups],
        "invalid": {str(row): why for row, why in plan.invalid.items()},
    }
