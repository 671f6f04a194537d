"""Data without end: crystals drawn and their patterns made while training goes by.

An epoch brings `StreamSettings.fresh` new crystals, the first those of `ahead` more. Workers make those of the
next epoch meanwhile. What is drawn depends on the seed and the number of the crystal alone, so that any number of
workers, and a run that was resumed, see the same. Every epoch's crystals are written into the folder of the run;
resuming reads what is there and makes what is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lacbed.catalog.files import Row, read_catalog, rows_of
from lacbed.catalog.rows import crystal_of
from lacbed.datasets.compute import SCALARS, decode_intensity, decode_potential
from lacbed.datasets.config import DatasetConfig, Range
from lacbed.datasets.orbits import Symmetry
from lacbed.datasets.plan import Shapes
from lacbed.datasets.worker import Outcome, Stored, quantities
from lacbed.datasets.workers import Job, WorkerPool, here, run
from lacbed.errors import FileFormatError, LacbedError, SettingError, TrainingError
from lacbed.io.atomic import reason
from lacbed.io.tensors import read_tensors, write_tensors
from lacbed.learn.draws import Draws, Forbidden, StreamSettings, draws_from
from lacbed.learn.labels import label_rows
from lacbed.learn.models import needs_of, takes_conditions
from lacbed.patterns.result import software
from lacbed.projection import mean_absorptive_potential

if TYPE_CHECKING:
    from lacbed.crystals import Crystal
    from lacbed.datasets.dataset import LacbedDataset

Crew = Callable[[], AbstractContextManager[WorkerPool]]
FOLDER, KIND = "stream", "lacbed-stream"
MOST_TRIES = 20
"""Draws in a row for one crystal that may fail, before something is wrong with more than a crystal."""

_WIDTH = 4
"""Half-width in a* of the patterns for which their errors are known; they err more over fewer tilts."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """The crystals of an epoch: row and stored values of each, in order; and the CPU seconds that they took."""

    rows: tuple[Row, ...]
    stored: tuple[Stored, ...]
    seconds: float = 0.0


class Stream:
    """Crystals without end for `lacbed.learn.train.train`; those that are held are items like `LacbedDataset`'s.

    Args:
        draws: which crystals.
        config: how their patterns are computed.
        absorptive: whether items have "absorptive" too.
        crew: who computes; see `lacbed.datasets.workers`.
    """

    def __init__(
        self, draws: Draws, config: DatasetConfig, *, absorptive: bool = False, crew: Crew = here
    ) -> None:
        self.draws, self.config, self.absorptive, self.crew = draws, config, absorptive, crew
        self.settings = draws.settings
        self._shapes = Shapes(config)
        self._symmetries: dict[int, Symmetry] = {}
        self._held: dict[int, Chunk] = {}
        self._next: tuple[int, Future[Chunk]] | None = None
        self._pool: WorkerPool | None = None
        self._stopped = False
        text = json.dumps([draws.digest, config.digest, software()])
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    @contextmanager
    def running(self, folder: Path, epochs: int) -> Iterator[Stream]:
        """Within, crystals can be drawn; workers start and end with it.

        Args:
            folder: of the run; the crystals are written into a folder there.
            epochs: beyond which nothing is made.
        """
        self._folder, self._epochs, self._stopped = folder / FOLDER, epochs, False
        self._folder.mkdir(exist_ok=True)
        with ThreadPoolExecutor(1) as self._thread, self.crew() as self._pool:
            try:
                yield self
            finally:
                self._stopped, self._pool.renew, self._next = True, None, None

    def draw(self, epoch: int) -> None:
        """Hold the crystals that an epoch learns from, and have those of the next one made.

        Raises:
            TrainingError: if crystals cannot be drawn or computed.
            FileFormatError: if what was written is damaged or of another run.
        """
        last = epoch + self.settings.ahead
        first = max(0, last + 1 - max(1, self.settings.keep // self.settings.fresh))
        self._held = {number: self._held.get(number) or self._take(number) for number in range(first, last + 1)}
        for old in self._folder.glob("*.safetensors"):
            if old.stem.isdecimal() and int(old.stem) < first:
                old.unlink()
        if epoch + 1 < self._epochs and (self._next is None or self._next[0] != last + 1):
            self._next = last + 1, self._thread.submit(self._made, last + 1)

    def batches(self, epoch: int, batch: int, seed: int) -> list[list[int]]:
        """Positions for the steps of an epoch: every new crystal once, and others at random."""
        rng, fresh = np.random.default_rng([seed, epoch, 11]), self.settings.fresh
        held, more = len(self), fresh * (self.settings.uses - 1)
        passes = [rng.permutation(held) for _ in range(-(-more // held))]
        chosen = np.concatenate([np.arange(held - fresh, held), *passes])[: fresh + more]
        rng.shuffle(chosen)
        return [chosen[start : start + batch].tolist() for start in range(0, len(chosen), batch)]

    def __len__(self) -> int:
        """Crystals that are held."""
        return len(self._held) * self.settings.fresh

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """One of them, by its position among them."""
        number = self.number_of(position)
        chunk, within = divmod(number, self.settings.fresh)
        if chunk not in self._held:
            raise IndexError(position)
        row, stored = (getattr(self._held[chunk], name)[within] for name in ("rows", "stored"))
        return item_of(number, row, stored, self._symmetry(row), self.config, self.absorptive)

    def number_of(self, position: int) -> int:
        """Number in the stream of the crystal at a position among those that are held."""
        return min(self._held, default=0) * self.settings.fresh + int(position)

    def _symmetry(self, row: Row) -> Symmetry:
        """Of a cubic cell it follows from the space group."""
        group = int(row["space_group"])
        if group not in self._symmetries:
            self._symmetries[group] = self._shapes.of(row)[0]
        return self._symmetries[group]

    def drawn(self, epochs: int) -> int:
        """Crystals that so many epochs have drawn."""
        return (epochs + self.settings.ahead) * self.settings.fresh

    def record(self) -> dict[str, Any]:
        """What identifies the data, for checkpoints and cards."""
        return {
            "crystals": 0,  # known when it ends
            "config": self.config.to_dict(),
            "stream": asdict(self.settings),
            "files_sha256": self.digest,
            "made_by": software(),
            "licences": sorted({str(row["licence"]) for row in self.draws.rows}),
        }

    # -- making -----------------------------------------------------------------------------------------------
    def _take(self, number: int) -> Chunk:
        """A chunk that is being made, was written, or is made now."""
        if self._next is not None and self._next[0] == number:
            return self._next[1].result()
        path = self._folder / f"{number:06d}.safetensors"
        return self._read(path) if path.is_file() else self._made(number)

    def _made(self, number: int) -> Chunk:
        """Draw and compute the crystals of an epoch, and write them."""
        path = self._folder / f"{number:06d}.safetensors"
        if path.is_file():
            return self._read(path)
        first, count = number * self.settings.fresh, self.settings.fresh
        found: dict[int, tuple[Row, Stored]] = {}
        wanted, seconds = dict.fromkeys(range(first, first + count), 0), 0.0
        for tried in range(1, MOST_TRIES + 1):
            drawn: dict[int, tuple[Row, int]] = {}
            again: dict[int, int] = {}
            for outcome in self._outcomes(wanted, drawn):
                row, attempt = drawn.pop(outcome.row)
                seconds += outcome.seconds
                if outcome.stored is not None:
                    found[outcome.row] = row, outcome.stored
                elif tried == MOST_TRIES:
                    raise _failed(outcome.row, outcome.reason)
                else:
                    again[outcome.row] = attempt + 1
            wanted = again
        pairs = [found[n] for n in sorted(found)]
        chunk = Chunk(tuple(row for row, _ in pairs), tuple(stored for _, stored in pairs), seconds)
        self._write(path, chunk)
        return chunk

    def _outcomes(self, wanted: Mapping[int, int], drawn: dict[int, tuple[Row, int]]) -> Iterator[Outcome]:
        """What becomes of the next draws; `drawn` gets them as they are handed out."""

        def jobs() -> Iterator[Job]:
            for number, first in wanted.items():
                if self._stopped:
                    return
                row, attempt = self._row(number, first)
                drawn[number] = row, attempt
                yield Job(((number, row),), self._shapes.of(row)[1].memory)

        assert self._pool is not None
        compute = partial(label_rows, labels=self.settings.labels)
        try:
            yield from run(self._pool, jobs(), self.config, compute)
        except LacbedError as error:
            raise TrainingError(f"the stream of crystals ended: {error}") from None
        if self._stopped:
            raise TrainingError("the stream of crystals was stopped")

    def _row(self, number: int, first: int) -> tuple[Row, int]:
        try:
            return self.draws.row(number, first)
        except LacbedError:
            raise
        except Exception as error:  # whatever a generator may do, in one line
            raise TrainingError(
                f"crystal {number} could not be drawn: {type(error).__name__}: {reason(error)}"
            ) from None

    # -- on the disk ------------------------------------------------------------------------------------------
    def _write(self, path: Path, chunk: Chunk) -> None:
        tensors = {
            str(i): {
                "pattern": torch.from_numpy(one.pattern.view(np.int16)),
                "potential": torch.from_numpy(one.potential.view(np.int16)),
                "scalars": torch.from_numpy(one.scalars),
            }
            for i, one in enumerate(chunk.stored)
        }
        write_tensors(path, KIND, tensors, {"stream": self.digest, "rows": chunk.rows, "seconds": chunk.seconds})

    def _read(self, path: Path) -> Chunk:
        groups, record = read_tensors(path, KIND)
        rows, count = record.get("rows"), self.settings.fresh
        whole = isinstance(rows, list) and len(rows) == count and groups.keys() == {str(i) for i in range(count)}
        if record.get("stream") != self.digest or not whole:
            raise FileFormatError(
                f"{path} belongs to another stream or is damaged; remove it, and it is made again"
            )
        values = [{name: value.numpy() for name, value in groups[str(i)].items()} for i in range(count)]
        try:
            stored = tuple(
                Stored(v["pattern"].view(np.uint16), v["potential"].view(np.uint16), v["scalars"]) for v in values
            )
            return Chunk(tuple(rows or ()), stored, float(record["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{path} is damaged: {reason(error)}; remove it, and it is made again") from None


def _failed(number: int, why: str) -> TrainingError:
    return TrainingError(
        f"crystal {number} of the stream: {MOST_TRIES} draws in a row could not be computed, the last one because "
        f"{why}"
    )


def open_stream(
    settings: StreamSettings,
    data: str | Path,
    kind: str,
    seed: int,
    model: str,
    catalogue: str | Path | None = None,
    crew: Crew = here,
) -> Stream:
    """A stream beside a data set: like its crystals, but none of its validation and test compounds.

    Args:
        settings: how crystals are drawn.
        data: the data set, whose validation and test crystals judge; its config says how patterns are made.
        kind: of its split; by prototype, no prototype of validation and test is drawn either.
        seed: of its split.
        model: name of the model, which decides whether thickness and energy vary.
        catalogue: a .parquet file to draw from; default the crystals of the data set itself.
        crew: who computes.

    Raises:
        FileFormatError: if data set or catalogue cannot be read.
        SettingError: if nothing can be drawn, or the labels not be made as the data set's were.
    """
    from lacbed.datasets.dataset import LacbedDataset  # zarr takes its time

    judged = [row for side in ("validation", "test") for row in _rows(LacbedDataset(data, side, kind, seed))]
    training = LacbedDataset(data, "train", kind, seed)
    config = _config(settings, training.config, model)
    listed = _rows(training) if catalogue is None else list(rows_of(read_catalog(catalogue)))
    draws = draws_from(settings, listed, Forbidden.by(kind, judged))
    return Stream(draws, config, absorptive="absorptive" in needs_of(model), crew=crew)


def _rows(data: LacbedDataset) -> list[Row]:
    """The rows of the catalogue behind a side of a data set."""
    found: list[Row] = data.store.catalog().take(data.rows).to_pylist()
    return found


def _config(settings: StreamSettings, config: DatasetConfig, model: str) -> DatasetConfig:
    """That of the data set, with thickness and energy at random if the model takes them."""
    s = settings
    on_the_zone = (config.zone_axis, config.hkl) == ((0, 0, 1), ((0, 0, 0),))
    plain = on_the_zone and config.laue_zones == 0 and config.refraction and config.paraxial
    whole = config.extent == int(config.extent) and config.pixels % (2 * int(config.extent)) == 0
    if s.labels != "exact" and not (plain and whole and config.extent >= _WIDTH):
        raise SettingError(
            f"stream.labels = {s.labels!r} makes patterns of 000 at [001] in the zero-order Laue zone, over "
            f"±{_WIDTH} a* or more, with a whole number of pixels per a*; this data set has others: set "
            "stream.labels = exact"
        )
    if s.vary and takes_conditions(model):
        thicknesses = Range(s.thinnest, s.thickest, s.thicknesses, s.seed)
        return replace(config, thicknesses=thicknesses, energy=Range(s.lowest_energy, s.highest_energy, 1, s.seed))
    return config


def item_of(
    number: int, row: Row, stored: Stored, symmetry: Symmetry, config: DatasetConfig, absorptive: bool
) -> dict[str, Tensor]:
    """A crystal in the layout of `lacbed.datasets.dataset.LacbedDataset`; its index is its number."""
    numbers = dict(zip(quantities(config), stored.scalars.tolist(), strict=True))
    potential = decode_potential(stored.potential, numbers["potential_offset"], numbers["potential_scale"])
    thickness = [numbers[f"thickness_{i}"] for i in range(config.thickness_count)]
    item = {
        "potential": torch.from_numpy(potential[symmetry.potential.source])[None],
        "pattern": torch.from_numpy(decode_intensity(stored.pattern)[:, symmetry.pattern.source]),
        "thickness": torch.tensor(thickness, dtype=torch.float32),
        "index": torch.tensor(number),
        "space_group": torch.tensor(int(row["space_group"])),
        **{name: torch.tensor(numbers[name], dtype=torch.float32) for name in SCALARS},
    }
    if absorptive:
        image = _absorptive(crystal_of(row, config.default_b_iso), config, numbers["energy"])
        item["absorptive"] = torch.from_numpy(image.astype(np.float32))[None]
    return item


def _absorptive(crystal: Crystal, config: DatasetConfig, energy: float) -> np.ndarray:
    how = config.zone_axis, config.potential_pixels, config.potential_g_max, config.factors
    return mean_absorptive_potential(crystal, energy, config.absorption, *how)
