"""Checking a data set: checksums of all files, and a random sample computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lacbed.datasets.compute import INTENSITY_BOUND, LEVELS
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.manifest import damaged_files, read_journal
from lacbed.datasets.reader import Store
from lacbed.datasets.worker import reduce_crystal
from lacbed.datasets.writer import CATALOG
from lacbed.errors import FileFormatError, LacbedError

SOLVER_BOUND = {"float64": 2e-5, "float32": 5e-4}
"""By so much in intensity may two machines (in float64 also two exact solvers) differ, by precision."""

RELATIVE_BOUND = 1e-6
"""The same for the potential, of its range, and for the numbers of a crystal."""

_DIAGNOSTIC = ("z_reached", "intensity_change_reached", "potential_offset", "potential_scale")


@dataclass(frozen=True)
class Check:
    """One row that was computed again.

    Attributes:
        row: which.
        formula: of the crystal.
        intensity_error: largest difference in intensity.
        potential_error: largest difference of the potential, in its own units of storage.
        problem: "" if all is within the bounds.
    """

    row: int
    formula: str
    intensity_error: float
    potential_error: float
    problem: str


@dataclass(frozen=True)
class Verified:
    """What was checked.

    Attributes:
        files: files whose checksum was compared.
        damaged: files that are missing or changed.
        checks: rows computed again.
        finished: whether the data set is complete.
        contradictions: what its record, places, journal and manifest say differently.
    """

    files: int
    damaged: tuple[str, ...]
    checks: tuple[Check, ...]
    finished: bool
    contradictions: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """A line for everything that is wrong."""
        problems = [f"{name} is missing or differs from its checksum" for name in self.damaged]
        problems += self.contradictions
        return problems + [f"row {c.row} ({c.formula}): {c.problem}" for c in self.checks if c.problem]


def verify(
    folder: str | Path, count: int = 10, seed: int = 0, progress: Callable[[float], None] | None = None
) -> Verified:
    """Compare all checksums, and recompute `count` random rows.

    A stored intensity may differ from the recomputed one by `codec.INTENSITY_BOUND` (rounding to 16 bits) and
    `SOLVER_BOUND` for the precision of the config; a potential by half a step of storage and 1e-6 of its range.

    Raises:
        FileFormatError: if it is no data set, or too damaged to be opened.
    """
    store = Store(folder, compare=False)
    entries = read_journal(store.path)
    damaged = [name for entry in entries.values() for name in damaged_files(store.path, entry)]
    manifest = store.manifest
    fixed = {} if manifest is None else manifest["files"]
    journaled = {name for entry in entries.values() for name in entry.files}
    damaged += [n for n, digest in fixed.items() if n not in journaled and _digest(store.path / n) != digest]
    if CATALOG in damaged:
        count = 0  # nothing says any more what the rows were
    rows = store.done_rows()
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))
    picked = store.catalog().take(chosen).to_pylist() if count else []
    checks = []
    for number, (row, values) in enumerate(zip(chosen.tolist(), picked, strict=True)):
        checks.append(_check(store, row, values))
        if progress is not None:
            progress((number + 1) / len(chosen))
    said = store.contradictions()
    if not entries:
        said.insert(0, "the journal lists no batch: there is nothing to verify")
    files = len(journaled | set(fixed))
    return Verified(files, tuple(sorted(damaged)), tuple(checks), manifest is not None, tuple(said))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _check(store: Store, row: int, values: dict[str, object]) -> Check:
    formula = str(values["formula"])
    try:
        codes, potential_codes = store.codes(row), store.potential_codes(row)
        stored = dict(zip(store.quantities, store.scalars(row).tolist(), strict=True))
        again = reduce_crystal(values, store.config)
    except FileFormatError as error:
        return Check(row, formula, np.nan, np.nan, problem=f"cannot be read: {error}")
    except LacbedError as error:
        return Check(row, formula, np.nan, np.nan, problem=f"cannot be recomputed: {error}")
    if codes.shape != again.pattern.shape or potential_codes.shape != again.potential.shape:
        return Check(row, formula, np.nan, np.nan, problem="has a different shape when recomputed")
    intensity = float(np.abs(codes / LEVELS - again.pattern).max())
    volts = potential_codes * stored["potential_scale"] + stored["potential_offset"]
    potential = float(np.abs(volts - again.potential).max()) / stored["potential_scale"]
    problem = _problem(store.config, intensity, potential, stored, again.scalars)
    return Check(row, formula, intensity, potential, problem)


def _problem(
    config: DatasetConfig, intensity: float, potential: float, stored: dict[str, float], again: dict[str, float]
) -> str:
    for name, value in again.items():
        if name not in _DIAGNOSTIC and not np.isclose(stored[name], value, rtol=RELATIVE_BOUND, atol=1e-9):
            return f"{name} is {stored[name]:g} and should be {value:g}"
    allowed = INTENSITY_BOUND + SOLVER_BOUND[config.dtype]
    if not intensity <= allowed:
        return f"intensities differ by {intensity:.2g}, at most {allowed:.2g} is allowed"
    if not potential <= 0.5 + RELATIVE_BOUND * LEVELS:
        return f"the potential differs by {potential:.2g} steps, at most half a step is allowed"
    return ""
