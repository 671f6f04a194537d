"""What a benchmark is: which crystals, how they are parted, what is computed of them, and what is asked.

The crystals are generated, so that nothing has to be downloaded and any machine makes the same ones. Some
compounds occur twice, with lattice parameters up to 2 % apart, as databases of measured and calculated cells have
them: this is what a split by row leaks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.catalog.files import Row
from lacbed.catalog.generate import Candidate, identity, ordered, row_of_candidate, uniform
from lacbed.catalog.prototypes import PROTOTYPES
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.splits import KINDS, SIDES, split_rows
from lacbed.errors import FileFormatError, SettingError
from lacbed.io.checks import check_whole, is_list, is_number
from lacbed.io.config_files import read_config, refuse_unknown

DEFAULT, DRAWN = "LACBED-1", "drawn"
PACKAGED = {"LACBED-1": "lacbed-1.toml", "trial": "trial.toml"}
PREDICTED = {"pattern": "fraction of the incident intensity", "potential": "V"}
"""What can be asked for, and its unit."""

SPLITS = (*KINDS, DRAWN)
LARGEST_STRAIN = 0.02
PROBE_BLOCKS = 4
PROBE_BOUND = 6e-4
"""Largest difference of a probe between two processors: in float32 intensities may differ by 5e-4."""


@dataclass(frozen=True)
class Task:
    """One task: which data, and whether "pattern" or "potential" is predicted."""

    name: str
    data: str
    predicts: str


@dataclass(frozen=True)
class Definition:
    """A benchmark.

    Attributes:
        name: "LACBED-1".
        prefix: of the ids of its crystals.
        licence: of the data.
        seed, rows, prototypes, strained, sha256: of the crystals; see the packaged definition.
        split_seed: of the splits.
        frozen: by kind of split, the side of each crystal as a digit; what is not frozen is found by the rule.
        data: how each data set is computed, by name.
        probes: by data set and id, block means of a pattern that every machine must find.
        tasks: by name.
    """

    name: str
    prefix: str
    licence: str
    seed: int
    rows: int
    prototypes: frozenset[str]
    strained: float
    sha256: str
    split_seed: int
    frozen: Mapping[str, str]
    data: Mapping[str, DatasetConfig]
    probes: Mapping[str, Mapping[str, tuple[float, ...]]]
    tasks: Mapping[str, Task]

    def task(self, name: str) -> Task:
        """A task by name.

        Raises:
            SettingError: if there is none, with the names.
        """
        if name not in self.tasks:
            raise SettingError(f"a task of {self.name} is one of {', '.join(self.tasks)}, got {name!r:.60}")
        return self.tasks[name]


@cache
def load_definition(name: str = DEFAULT) -> Definition:
    """A packaged benchmark by name, or one of your own from a .toml file of the same keys.

    Raises:
        FileFormatError: if there is none, or it cannot be read.
        SettingError: if a key or value is wrong.
    """
    if name in PACKAGED:
        path = Path(str(files("lacbed.benchmark").joinpath(PACKAGED[name])))
    elif name.lower().endswith(".toml"):
        path = Path(name)
    else:
        raise FileFormatError(f"no benchmark {name!r:.60}; the packaged ones are {', '.join(PACKAGED)}")
    try:
        return _definition(read_config(path))
    except KeyError as error:
        raise SettingError(f"{path}: the definition of a benchmark needs {error.args[0]}") from None


def _definition(values: Mapping[str, Any]) -> Definition:
    refuse_unknown(values, ("name", "prefix", "licence", "crystals", "splits", "data", "tasks"), "a benchmark")
    crystals = values["crystals"]
    refuse_unknown(crystals, ("seed", "rows", "prototypes", "strained", "sha256"), "[crystals]")
    for text in (values["name"], values["prefix"], values["licence"], crystals["sha256"]):
        if not isinstance(text, str) or not text or "/" in text:
            raise SettingError(
                f"name, prefix, licence and sha256 of a benchmark are short texts, got {text!r:.60}"
            )
    if not is_number(crystals["strained"], 0, 1):
        raise SettingError(f"crystals.strained must be between 0 and 1, got {crystals['strained']!r:.60}")
    data = {name: dict(entry) for name, entry in values["data"].items()}
    probes = {name: _probes(name, entry.pop("probes", {})) for name, entry in data.items()}
    tasks = {name: Task(name, str(t["data"]), str(t["predicts"])) for name, t in values["tasks"].items()}
    for task in tasks.values():
        if task.data not in data or task.predicts not in PREDICTED:
            raise SettingError(
                f"task {task.name} needs data among {', '.join(data)} and predicts pattern or potential"
            )
    return Definition(
        values["name"],
        values["prefix"],
        values["licence"],
        check_whole("crystals.seed", crystals["seed"], 0),
        check_whole("crystals.rows", crystals["rows"], 20, 100_000),
        _prototypes(crystals["prototypes"]),
        float(crystals["strained"]),
        crystals["sha256"],
        check_whole("splits.seed", values["splits"]["seed"], 0),
        _frozen(values["splits"], crystals["rows"]),
        {name: DatasetConfig.from_dict(entry) for name, entry in data.items()},
        probes,
        tasks,
    )


def _prototypes(names: Any) -> frozenset[str]:
    unknown = [name for name in names if name not in PROTOTYPES] if isinstance(names, list) else [names]
    if unknown or not names:
        raise SettingError(
            f"crystals.prototypes are some of {', '.join(PROTOTYPES)}, got {unknown[:1] or names!r:.60}"
        )
    return frozenset(names)


def _frozen(values: Mapping[str, Any], rows: int) -> dict[str, str]:
    refuse_unknown(values, ("seed", *KINDS), "[splits]")
    frozen = {kind: values[kind] for kind in KINDS if kind in values}
    for kind, text in frozen.items():
        if not isinstance(text, str) or len(text) != rows or not set(text) <= set("012"):
            raise SettingError(f"splits.{kind} must have a digit from 0 to 2 for each of the {rows} crystals")
    return frozen


def _probes(name: str, values: Any) -> dict[str, tuple[float, ...]]:
    good = isinstance(values, Mapping) and all(is_list(v, is_number, PROBE_BLOCKS**2) for v in values.values())
    if not good:
        raise SettingError(f"data.{name}.probes must be lists of {PROBE_BLOCKS**2} numbers by id")
    return {key: tuple(float(v) for v in numbers) for key, numbers in values.items()}


# -- crystals -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A crystal that is not made yet: its id, its candidate, and the factor of its lattice parameter."""

    id: str
    candidate: Candidate
    seed: int
    factor: float = 1.0

    @property
    def source_id(self) -> str:
        """What the catalogue of a data set calls it."""
        name = f"{identity(self.candidate)}/{self.seed}"
        return name if self.factor == 1.0 else f"{name}/a*{self.factor:.5f}"

    def row(self) -> Row:
        """Its row in a catalogue."""
        candidate = replace(self.candidate, a=round(self.candidate.a * self.factor, 4))
        return row_of_candidate(candidate, self.seed) | {"source_id": self.source_id}


@cache
def _candidates(seed: int, prototypes: frozenset[str]) -> tuple[Candidate, ...]:
    return tuple(ordered(seed, prototypes))


@cache
def _entries(prefix: str, seed: int, prototypes: frozenset[str], strained: float, rows: int) -> tuple[Entry, ...]:
    found: list[Entry] = []
    for candidate in _candidates(seed, prototypes):
        name = identity(candidate)
        factors = [1.0]
        if uniform(seed, name, "twice") < strained:
            factors.append(round(1.0 + LARGEST_STRAIN * (2.0 * uniform(seed, name, "strain") - 1.0), 5))
        found += [Entry(f"{prefix}-{len(found) + i:05d}", candidate, seed, f) for i, f in enumerate(factors)]
        if len(found) >= rows:
            return tuple(found[:rows])
    raise SettingError(f"{rows} crystals of a benchmark are asked for, but only {len(found)} can be generated")


def entries(definition: Definition) -> tuple[Entry, ...]:
    """The crystals of a benchmark, a strained one after its original.

    Raises:
        SettingError: if this version generates other crystals than the definition names.
    """
    d = definition
    found = _entries(d.prefix, d.seed, d.prototypes, d.strained, d.rows)
    digest = digest_of(found)
    if digest != d.sha256:
        raise SettingError(
            f"the crystals of {d.name} have the checksum {d.sha256:.12}, and this version of lacbed generates "
            f"others ({digest:.12}); use the version that the definition came with"
        )
    return found


def digest_of(found: Sequence[Entry]) -> str:
    """SHA-256 of the ids of crystals, one a line: what a definition freezes."""
    return hashlib.sha256("".join(f"{entry.source_id}\n" for entry in found).encode()).hexdigest()


def drawn(definition: Definition, seed: int, count: int) -> tuple[Entry, ...]:
    """Further crystals for a test that nobody could prepare for, drawn by a seed that is named after submission.

    None of them is a compound of the benchmark on whichever side. A longer draw begins with a shorter one.

    Raises:
        SettingError: if the seed is that of the benchmark, or there are not so many.
    """
    seed, count = check_whole("the seed", seed, 0), check_whole("the count", count, 1)
    if seed == definition.seed:
        raise SettingError(f"seed {seed} drew the crystals of {definition.name} itself; name another one")
    known = {entry.candidate for entry in entries(definition)}
    left = [one for one in _candidates(seed, definition.prototypes) if one not in known]
    if count > len(left):
        raise SettingError(f"at most {len(left)} crystals are left to be drawn, got {count}")
    return tuple(Entry(f"D{seed}-{i:05d}", candidate, seed) for i, candidate in enumerate(left[:count]))


def sides(definition: Definition, kind: str) -> dict[str, np.ndarray]:
    """The numbers of the crystals on each side of a split, by its name.

    Raises:
        SettingError: on an unknown kind.
    """
    if kind not in KINDS:
        raise SettingError(f"a split is by {', '.join(KINDS)}, got {kind!r:.60}")
    if kind in definition.frozen:
        side = np.array([int(digit) for digit in definition.frozen[kind]])
    else:
        side = split_by_rule(definition, kind)
    return {name: np.flatnonzero(side == i) for i, name in enumerate(SIDES)}


def split_by_rule(definition: Definition, kind: str) -> np.ndarray:
    """The side of each crystal, by the rule of `lacbed.datasets.splits`; patterns play no part in it."""
    column = KINDS[kind]
    groups = [str(entry.row()[column]) if column else "" for entry in entries(definition)]
    return split_rows(groups, kind=kind, seed=definition.split_seed)


def probe(pattern: np.ndarray) -> np.ndarray:
    """Means over 4 x 4 blocks of the last thickness, first reflection: (thickness, hkl, ky, kx) to (16,)."""
    image = np.asarray(pattern[-1, 0], dtype=float)
    rows = [np.array_split(part, PROBE_BLOCKS, axis=1) for part in np.array_split(image, PROBE_BLOCKS, axis=0)]
    return np.array([block.mean() for row in rows for block in row])
