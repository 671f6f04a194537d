"""What a worker process does: a crystal of the catalogue to the codes that are stored."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.catalog.rows import crystal_of
from lacbed.crystals.cell import FloatArray
from lacbed.datasets.compute import (
    SCALARS,
    Codes,
    Computed,
    Conditions,
    compute_one,
    conditions_of,
    encode_intensity,
    encode_potential,
)
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.orbits import Symmetry, symmetry_of
from lacbed.errors import LacbedError, MemoryLimitError
from lacbed.io.atomic import reason
from lacbed.patterns.result import software

if TYPE_CHECKING:
    import torch

SCALE_NAMES = ("potential_offset", "potential_scale")


def quantities(config: DatasetConfig) -> tuple[str, ...]:
    """Names of the numbers that are stored for each crystal, in order."""
    thicknesses = (f"thickness_{i}" for i in range(config.thickness_count))
    return (*SCALARS, *SCALE_NAMES, *thicknesses)


@dataclass(frozen=True, eq=False)
class Stored:
    """One crystal as it is stored.

    Attributes:
        pattern: (thickness, stored).
        potential: (stored,).
        scalars: (quantity,), in the order of `quantities`.
    """

    pattern: Codes
    potential: Codes
    scalars: FloatArray


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one row: `stored`, or the reason why there is nothing.

    Attributes:
        row: number of the row in the data set.
        stored: None for a failure.
        reason: "" for a success.
        explained: whether the failure is one that this package foresees.
        of_device: whether the failure may be the device's: too little memory, or an error that is not foreseen.
        gpu_failure: why a GPU gave no answer, if the CPU gave it instead; otherwise "".
        seconds: CPU seconds that it took.
        peak_memory: of the worker process so far, in bytes.
    """

    row: int
    stored: Stored | None
    reason: str = ""
    explained: bool = True
    of_device: bool = False
    gpu_failure: str = ""
    seconds: float = 0.0
    peak_memory: int = 0


@dataclass(frozen=True, eq=False)
class Reduced:
    """What `compute_one` gives, reduced by symmetry: pattern (thickness, stored), potential (stored,), numbers."""

    pattern: FloatArray
    potential: FloatArray
    scalars: dict[str, float]


def reduce_crystal(row: Mapping[str, Any], config: DatasetConfig, device: str = "auto") -> Reduced:
    """Compute a row of the catalogue and keep its asymmetric part.

    Raises:
        LacbedError: if the row is no crystal or cannot be computed.
    """
    crystal = crystal_of(row, config.default_b_iso)
    conditions = conditions_of(config, str(row["compound_id"]))
    computed = compute_one(crystal, config, conditions, device)
    return reduced(computed, conditions, symmetry_of(crystal, config))


def reduced(computed: Computed, conditions: Conditions, symmetry: Symmetry) -> Reduced:
    """What was computed of a crystal, without what its symmetry repeats."""
    scalars = computed.scalars | {f"thickness_{i}": t for i, t in enumerate(conditions.thicknesses)}
    return Reduced(symmetry.pattern.fold(computed.pattern), symmetry.potential.fold(computed.potential), scalars)


def store_crystal(row: Mapping[str, Any], config: DatasetConfig, device: str = "auto") -> Stored:
    """Compute a row of the catalogue and encode it.

    Raises:
        LacbedError: if the row is no crystal or cannot be computed.
    """
    return encoded(reduce_crystal(row, config, device), config)


def encoded(values: Reduced, config: DatasetConfig) -> Stored:
    """A crystal as it is stored.

    Raises:
        SettingError: if an intensity lies outside [0, 1], or a value is not finite.
    """
    pattern = encode_intensity(values.pattern)
    potential, offset, scale = encode_potential(values.potential)
    numbers = values.scalars | dict(zip(SCALE_NAMES, (offset, scale), strict=True))
    return Stored(pattern, potential, np.array([numbers[name] for name in quantities(config)]))


def compute_rows(
    rows: Sequence[tuple[int, Mapping[str, Any]]], config: DatasetConfig, made_by: str, device: str = "auto"
) -> list[Outcome]:
    """The outcomes of some rows: one after the other on a CPU, on one thread; at once on a GPU.

    A crystal at which a GPU fails (its memory may not last for several, or for several processes) gets it alone,
    and if that fails too, the CPU.

    Args:
        rows: number and catalogue row of each.
        config: how they are computed.
        made_by: program and version of whoever asks; an answer from another version would mix two programs in
            one data set.
        device: as for `lacbed.simulate`.

    Raises:
        LacbedError: if this worker has another version.
        SettingError: if it has no such device.
    """
    import torch  # slow to import, and the command line reads this module

    from lacbed.setup import choose_device

    if made_by != software():
        raise LacbedError(f"a worker has {software()}, the build {made_by}; install the same version on both")
    torch.set_num_threads(1)
    chosen = choose_device(device)
    if chosen.type != "cuda":
        return [_outcome(number, row, config, device) for number, row in rows]
    outcomes = _at_once(rows, config, device, chosen)
    if any(outcome.of_device for outcome in outcomes):
        with suppress(Exception):  # a device that has failed may refuse this too
            torch.cuda.empty_cache()
    for position, entry in enumerate(rows):
        tries = [outcomes[position]]
        if tries[-1].of_device and len(rows) > 1:
            tries.append(_outcome(*entry, config, device))
        if tries[-1].of_device:
            on_cpu = _outcome(*entry, config, "cpu")
            tries.append(replace(on_cpu, gpu_failure=tries[-1].reason if on_cpu.stored is not None else ""))
        outcomes[position] = replace(tries[-1], seconds=sum(one.seconds for one in tries))
    return outcomes


def _at_once(
    rows: Sequence[tuple[int, Mapping[str, Any]]], config: DatasetConfig, device: str, chosen: torch.device
) -> list[Outcome]:
    """The outcomes of rows that a GPU has at the same time.

    One that has a single small crystal mostly waits. So each row gets a thread, which prepares it, and a stream of
    its own; rows of similar size, as the plan orders them, end together.
    """
    from lacbed.solvers.blocks import gpu_threads, own_stream  # imports torch

    def on_a_stream(entry: tuple[int, Mapping[str, Any]]) -> Outcome:
        try:
            with own_stream(chosen):
                return _outcome(*entry, config, device, time.thread_time)
        except Exception as error:  # of the device, before or after the crystal
            return Outcome(entry[0], None, f"{type(error).__name__}: {reason(error)}", False, of_device=True)

    with gpu_threads(len(rows)), ThreadPoolExecutor(len(rows)) as pool:
        return list(pool.map(on_a_stream, rows))


def _outcome(
    number: int,
    row: Mapping[str, Any],
    config: DatasetConfig,
    device: str,
    clock: Callable[[], float] = time.process_time,
) -> Outcome:
    return outcome_of(number, lambda: store_crystal(row, config, device), clock)


def outcome_of(
    number: int, store: Callable[[], Stored], clock: Callable[[], float] = time.process_time
) -> Outcome:
    """What became of a crystal, whatever goes wrong with it."""
    start, of_device = clock(), False
    try:
        stored, why, explained = store(), "", True
    except LacbedError as error:
        stored, why, explained = None, " ".join(str(error).split()), True
        of_device = isinstance(error, MemoryLimitError)
    except Exception as error:  # whatever goes wrong with one crystal must not stop the others
        stored, why, explained = None, f"{type(error).__name__}: {reason(error)}", False
        of_device = True
    return Outcome(number, stored, why, explained, of_device, seconds=clock() - start, peak_memory=_peak_memory())


def _peak_memory() -> int:
    """Largest resident memory of this process so far in bytes; 0 where that is not known."""
    if os.name != "posix":
        return 0
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
