"""From items of a data set to batches of tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from lacbed.errors import FileFormatError, SettingError
from lacbed.learn.models import needs_of
from lacbed.learn.symmetry import OPERATIONS, apply_to_cell, apply_to_pattern, pattern_symmetry
from lacbed.solvers.blocks import free_memory

Batch = dict[str, Tensor]
NEEDED = ("potential", "pattern", "lattice_parameter", "thickness", "energy")


class PatternData(Protocol):
    """A map-style data set of crystals; `lacbed.datasets.LacbedDataset` is one.

    Each item is a dict with "potential" (1, n, n) in V, "pattern" (thickness, hkl, m, m) with 000 first,
    "lattice_parameter" in Å, "thickness" (thickness,) in Å, "energy" in eV, "index", and perhaps other scalars.
    """

    def __len__(self) -> int:
        """Number of crystals."""
        ...

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """One crystal."""
        ...


class EndlessData(PatternData, Protocol):
    """Crystals that are made while training goes by; `lacbed.learn.stream.Stream` is such data."""

    def running(self, folder: Path, epochs: int) -> AbstractContextManager[Any]:
        """What is entered while training goes by."""
        ...

    def draw(self, epoch: int) -> None:
        """Hold the crystals of an epoch."""
        ...

    def batches(self, epoch: int, batch: int, seed: int) -> list[list[int]]:
        """Positions, among those that are held, for the steps of an epoch."""
        ...

    def drawn(self, epochs: int) -> int:
        """Crystals that so many epochs have drawn."""
        ...

    def number_of(self, position: int) -> int:
        """The number of a crystal that is held, which never changes."""
        ...

    def record(self) -> dict[str, Any]:
        """What identifies the data."""
        ...


def endless(data: PatternData) -> EndlessData | None:
    """The data as such that are made while training goes by, if they are."""
    return cast("EndlessData", data) if hasattr(data, "draw") else None


def open_data(path: str | Path, split: str, kind: str, seed: int, model: str | None) -> Any:
    """A split of a data set, checked to have what learning needs.

    Args:
        path: of the data set.
        split: "train", "validation" or "test".
        kind: of the split: "row", "compound" or "prototype".
        seed: of the split.
        model: name of the model that is to take it, which may need further images, made anew from the atoms at
            some 15 ms a crystal; None for what is stored.

    Raises:
        FileFormatError: if it lacks a field; SettingError: if the split is empty.
    """
    from lacbed.datasets.dataset import LacbedDataset  # zarr takes its time

    absorptive = model is not None and "absorptive" in needs_of(model)
    data = LacbedDataset(path, split=split, kind=kind, seed=seed, absorptive=absorptive)
    check_data(data, f"the {split} split (by {kind}, seed {seed}) of {path}")
    return data


def check_data(data: PatternData, title: str) -> None:
    """Refuse a data set without crystals or without a needed field.

    Raises:
        FileFormatError: if it lacks a field; SettingError: if it is empty.
    """
    if len(data) == 0:
        raise SettingError(f"{title} is empty; it needs at least one crystal")
    item = data[0]
    missing = [name for name in NEEDED if name not in item]
    if missing:
        raise FileFormatError(f"{title} lacks the fields {', '.join(missing)}; build it with lacbed dataset build")
    pattern, potential = torch.as_tensor(item["pattern"]), torch.as_tensor(item["potential"])
    if pattern.ndim != 4 or pattern.shape[-1] != pattern.shape[-2] or potential.ndim != 3:
        raise FileFormatError(
            f"{title} needs patterns (thickness, hkl, m, m) and potentials (1, n, n), got "
            f"{tuple(pattern.shape)} and {tuple(potential.shape)}"
        )


def collate(items: Sequence[Mapping[str, Any]]) -> Batch:
    """Stack items: scalars become (B,), the reflection axis is reduced to 000, the symmetry (B, 8) is added."""
    batch: Batch = {}
    for name, first in items[0].items():
        if isinstance(first, str) or first is None:
            continue
        values = [torch.as_tensor(item[name]) for item in items]
        if any(v.shape != values[0].shape for v in values):
            raise FileFormatError(f"the crystals of a batch differ in the shape of {name!r}")
        stacked = torch.stack(values)
        batch[name] = stacked if name == "index" or not stacked.is_floating_point() else stacked.float()
    if "pattern" in batch:
        batch["pattern"] = batch["pattern"][:, :, 0]
    for name in ("lattice_parameter", "energy", "thickness"):
        batch[name] = batch[name].float()
    batch["symmetry"] = pattern_symmetry(batch["potential"])
    return batch


def subset(count: int, fraction: float, seed: int) -> np.ndarray:
    """Positions of a random share of `count` crystals, at least one; a smaller share is part of a larger one."""
    order = np.random.default_rng([seed, 77]).permutation(count)
    return np.sort(order[: max(1, round(fraction * count))])


def epoch_batches(members: np.ndarray, batch: int, seed: int, epoch: int) -> list[list[int]]:
    """The crystals of every step of an epoch, in an order that depends on seed and epoch alone.

    A last batch that is smaller than half is joined with the one before it.
    """
    order = members[np.random.default_rng([seed, epoch]).permutation(len(members))]
    batches = [order[start : start + batch].tolist() for start in range(0, len(order), batch)]
    if len(batches) > 1 and 2 * len(batches[-1]) < batch:
        last = batches.pop()
        batches[-1] += last
    return batches


def in_order(count: int, batch: int) -> Iterator[list[int]]:
    """All positions in rising order, in batches."""
    for start in range(0, count, batch):
        yield list(range(start, min(start + batch, count)))


def load(data: PatternData, batches: Sequence[list[int]], workers: int = 0) -> Iterator[Batch]:
    """The batches as tensors, read ahead by `workers` processes."""
    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
        cast("Any", data),  # a map-style data set is what has __len__ and __getitem__
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
    )
    return iter(loader)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def augment(batch: Batch, seed: int, step: int) -> Batch:
    """Another origin and orientation for every crystal: the potential moves, the pattern turns with it.

    What a crystal gets depends on seed, step and the crystal alone, so that any number of processes agree.
    """
    n = batch["potential"].shape[-1]
    images = [name for name in ("potential", "absorptive") if name in batch]
    moved: dict[str, list[Tensor]] = {name: [] for name in (*images, "pattern")}
    for number, index in enumerate(batch["index"].tolist()):
        rng = np.random.default_rng([seed, step, int(index)])
        operation = OPERATIONS[rng.integers(8)]
        shift = rng.integers(0, n, 2).tolist()
        for name in images:
            moved[name].append(apply_to_cell(batch[name][number], operation).roll(shift, dims=(-2, -1)))
        moved["pattern"].append(apply_to_pattern(batch["pattern"][number], operation))
    found = {name: torch.stack(values) for name, values in moved.items()}
    return {**batch, **found, "symmetry": pattern_symmetry(found["potential"])}


def choose_thicknesses(batch: Batch, count: int, seed: int, step: int) -> Batch:
    """A random choice of the thicknesses, the same for all crystals of a step."""
    total = batch["thickness"].shape[1]
    if not 0 < count < total:
        return batch
    chosen = torch.as_tensor(np.sort(np.random.default_rng([seed, step, 5]).permutation(total)[:count]))
    return batch | {n: batch[n][:, chosen] for n in ("thickness", "pattern", "inputs") if n in batch}


def data_record(data: Any) -> dict[str, Any]:
    """What identifies the data, for checkpoints and cards: crystals, config, licences, a digest of the values."""
    if (stream := endless(data)) is not None:
        return stream.record()
    if not hasattr(data, "store"):
        return {"crystals": len(data)}
    from lacbed.datasets.manifest import read_manifest

    manifest = read_manifest(data.store.path) or {}
    files = json.dumps(manifest.get("files", {}), sort_keys=True).encode()
    return {
        "crystals": len(data),
        "config": data.config.to_dict(),
        "made_by": manifest.get("software"),
        "crystals_in_all": manifest.get("crystals"),
        "licences": manifest.get("licences", []),
        "attribution": manifest.get("attribution", []),
        "files_sha256": hashlib.sha256(files).hexdigest(),
    }


def exact_seconds(data: Any) -> float | None:
    """Mean CPU seconds that the exact engine took for a crystal of the whole data set, if it is known."""
    if not hasattr(data, "store"):
        return None
    from lacbed.datasets.manifest import read_manifest

    manifest = read_manifest(data.store.path) or {}
    count, seconds = manifest.get("crystals"), manifest.get("cpu_seconds")
    return float(seconds) / count if count and seconds else None


LABELS = {
    "formula": "formula",
    "space_group": "space_group",
    "prototype": "anonymous_prototype",
    "atoms": "n_atoms_conv",
}
"""Names of labels, and the columns of a catalogue that hold them."""


def labels_of(data: Any) -> dict[str, np.ndarray]:
    """Formula, space group, prototype and number of atoms of every crystal, as far as the data set knows them."""
    if not hasattr(data, "store"):
        return {}
    table = data.store.catalog()
    return {
        name: np.array(table[column].to_pylist())[data.rows]
        for name, column in LABELS.items()
        if column in table.column_names
    }


Reader = Callable[[Sequence[list[int]]], Iterator[Batch]]
"""Gives the batches for lists of positions, one after the other."""

_SHARE = 0.5
"""Part of a device's free memory that crystals may take; the rest is for the model."""
_BLOCK = 256  # crystals decoded together


def reader(
    source: PatternData, device: torch.device, workers: int = 0, prepare: Callable[[Batch], Batch] | None = None
) -> Reader:
    """What reads the crystals of a split for a device.

    A GPU gets all of them at once, if half of its free memory holds them, and every batch is then picked there;
    otherwise, and on a CPU, each batch is read when it is due. Both give the same numbers. What a model prepares
    is held in the memory of the processor, in half precision, about 10 kB for each crystal and thickness.

    Args:
        source: the crystals.
        device: where the batches are needed.
        workers: processes that read, if each batch is read when it is due.
        prepare: of the model (`lacbed.learn.models`); each crystal is then read and prepared once, here.
    """
    if prepare is not None:
        held: dict[int, Batch] = {}
        return lambda batches: (_prepared(source, positions, device, prepare, held) for positions in batches)
    if device.type != "cuda" or endless(source) is not None or _bytes_of(source) > _SHARE * free_memory(device):
        return lambda batches: (to_device(batch, device) for batch in load(source, batches, workers))
    whole = hold(source, device)
    return lambda batches: pick(whole, batches)


def _prepared(
    source: PatternData,
    positions: list[int],
    device: torch.device,
    prepare: Callable[[Batch], Batch],
    held: dict[int, Batch],
) -> Batch:
    """A batch of prepared crystals; those that an endless source has forgotten are dropped."""
    endless_source = endless(source)
    numbers = positions if endless_source is None else [endless_source.number_of(p) for p in positions]
    missing = [(n, p) for n, p in dict(zip(numbers, positions, strict=True)).items() if n not in held]
    if missing:
        with torch.no_grad():
            found = prepare(to_device(collate([source[p] for _, p in missing]), device))
        for i, (number, _) in enumerate(missing):
            held[number] = {name: value[i].cpu().clone() for name, value in found.items()}
        if endless_source is not None:
            oldest = endless_source.number_of(0)
            for number in [n for n in held if n < oldest]:
                del held[number]
    chosen = [held[n] for n in numbers]
    batch = {name: torch.stack([one[name] for one in chosen]) for name in chosen[0]}
    full = {name: value.float() if value.dtype == torch.float16 else value for name, value in batch.items()}
    return to_device(full, device)


def hold(source: PatternData, device: torch.device) -> Batch:
    """Every crystal of a split as one batch on a device."""
    parts: dict[str, list[Tensor]] = {}
    for batch in load(source, list(in_order(len(source), _BLOCK))):
        for name, value in batch.items():
            parts.setdefault(name, []).append(value.to(device))
    return {name: torch.cat(values) for name, values in parts.items()}


def pick(held: Batch, batches: Sequence[list[int]]) -> Iterator[Batch]:
    """Batches of crystals that are held, by position."""
    for positions in batches:
        chosen = torch.tensor(positions, device=held["index"].device)
        yield {name: value[chosen] for name, value in held.items()}


def _bytes_of(source: PatternData) -> int:
    """Bytes of a whole split, as its first crystal has them."""
    one = collate([source[0]])
    return len(source) * sum(value.numel() * value.element_size() for value in one.values())
