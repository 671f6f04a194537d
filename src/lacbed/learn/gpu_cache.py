"""Crystals that stay on a GPU: a step there takes less time than a CPU needs to decode its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lacbed.learn import data
from lacbed.solvers.blocks import free_memory

Reader = Callable[[Sequence[list[int]]], Iterator[data.Batch]]
"""Gives the batches for lists of positions, one after the other."""

_SHARE = 0.5
"""Part of a device's free memory that crystals may take; the rest is for the model."""
_BLOCK = 256  # crystals decoded together


def reader(source: data.PatternData, device: torch.device, workers: int = 0) -> Reader:
    """What reads the crystals of a split for a device.

    A GPU gets all of them at once, if half of its free memory holds them, and every batch is then picked there;
    otherwise, and on a CPU, each batch is read when it is due. Both give the same numbers.

    Args:
        source: the crystals.
        device: where the batches are needed.
        workers: processes that read, if each batch is read when it is due.
    """
    if device.type != "cuda" or _bytes_of(source) > _SHARE * free_memory(device):
        return lambda batches: (data.to_device(batch, device) for batch in data.load(source, batches, workers))
    held = hold(source, device)
    return lambda batches: pick(held, batches)


def hold(source: data.PatternData, device: torch.device) -> data.Batch:
    """Every crystal of a split as one batch on a device."""
    parts: dict[str, list[Tensor]] = {}
    for batch in data.load(source, list(data.in_order(len(source), _BLOCK))):
        for name, value in batch.items():
            parts.setdefault(name, []).append(value.to(device))
    return {name: torch.cat(values) for name, values in parts.items()}


def pick(held: data.Batch, batches: Sequence[list[int]]) -> Iterator[data.Batch]:
    """Batches of crystals that are held, by position."""
    for positions in batches:
        chosen = torch.tensor(positions, device=held["index"].device)
        yield {name: value[chosen] for name, value in held.items()}


def _bytes_of(source: data.PatternData) -> int:
    """Bytes of a whole split, as its first crystal has them."""
    one = data.collate([source[0]])
    return len(source) * sum(value.numel() * value.element_size() for value in one.values())
