"""One process or several started by torchrun; everything here does nothing for one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lacbed.errors import SettingError
from lacbed.setup import choose_device


@dataclass(frozen=True)
class Ranks:
    """This process among all.

    Attributes:
        rank: number of this process.
        world: number of processes.
        device: what this process computes on.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0


@contextmanager
def processes(device: str = "auto") -> Iterator[Ranks]:
    """Join the other processes if torchrun started some (RANK, WORLD_SIZE), with NCCL on GPUs and gloo on CPUs.

    Raises:
        SettingError: if there is no such device.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(device=choose_device(device))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    chosen = choose_device(device)
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            raise SettingError(f"{local + 1} processes on this machine, but {torch.cuda.device_count()} GPUs")
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", rank=rank, world_size=world)
    try:
        yield Ranks(rank, world, chosen)
    finally:
        dist.destroy_process_group()


def share(batch: list[int], ranks: Ranks) -> list[int]:
    """The part of a batch that belongs to this process."""
    return batch[ranks.rank :: ranks.world]


def parallel(model: nn.Module, ranks: Ranks) -> nn.Module:
    """The model with gradients averaged over all processes."""
    if ranks.world == 1:
        return model
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    # A head whose loss has no weight gets no gradient, which must not stop the others.
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)


def sum_over(value: Tensor, ranks: Ranks) -> Tensor:
    """The sum of a tensor over all processes."""
    if ranks.world > 1:
        dist.all_reduce(value)
    return value


def barrier(ranks: Ranks) -> None:
    """Wait until every process is here."""
    if ranks.world > 1:
        dist.barrier()
