"""Work cut into blocks that fit the memory, with progress between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from lacbed.errors import MemoryLimitError

Tick = Callable[[float], None]
"""Called with the fraction of the work that is done, 0 to 1."""

_workers: ContextVar[int] = ContextVar("lacbed_workers", default=0)
"""Number of blocks side by side within `one_thread_each`; 0 outside."""

_gpu_processes = 1
_gpu_threads = 1

_CACHE_FRIENDLY = 48 * 2**20
"""Bytes of matrices in one block on a CPU; larger blocks gain nothing there."""

_SHARE = 0.5
"""Part of the free memory that one computation may take."""


def solve_blocks(
    group: Tensor,
    count: int,
    block: int,
    thicknesses: int,
    dtype: torch.dtype,
    body: Callable[[Tensor, Tensor], Tensor],
    tick: Tick | None,
) -> Tensor:
    """Run `body` on blocks of matrices and collect the amplitudes of their pairs.

    Args:
        group: the matrix (or tilt) that each pair belongs to: (pair,).
        count: number of matrices.
        block: matrices in one block.
        thicknesses: number of thicknesses.
        dtype: complex type of the result.
        body: takes the matrices (block,) and the positions of their pairs (m,), returns (thickness, m).
        tick: told the fraction done after every block.

    Returns:
        (thickness, pair).
    """
    order = torch.argsort(group, stable=True)
    starts = torch.arange(0, count + block, block, device=group.device)
    bounds = torch.searchsorted(group[order], starts).tolist()

    def one(number: int) -> Tensor:
        first = number * block
        matrices = torch.arange(first, min(first + block, count), device=group.device)
        return body(matrices, order[bounds[number] : bounds[number + 1]])

    blocks = range(-(-count // block))
    pieces = []
    with one_thread_each(group.device) as workers, ThreadPoolExecutor(workers) as pool:
        for piece in pool.map(one, blocks) if workers > 1 else map(one, blocks):
            pieces.append(piece)
            if tick is not None:
                tick(len(pieces) / len(blocks))
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return torch.cat(pieces, dim=1)[:, inverse].to(dtype)


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[int]:
    """Let every block (and all set-up within) run on one thread, and say how many blocks may run side by side.

    Threads inside one small diagonalisation mostly wait for each other (and can take a hundred times as long
    when they share a core); threads that each work on their own block do not. Nested uses keep the number that
    the outermost one found.
    """
    if device.type != "cpu":
        yield 1
        return
    threads = side_by_side()
    token = _workers.set(threads)
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        _workers.reset(token)
        torch.set_num_threads(1 if _workers.get() else threads)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Queue what follows in this thread beside what others queue on a GPU; nothing on a CPU.

    It starts after all that was queued before on the device's usual stream, and what is queued there later waits
    for it.
    """
    if device.type != "cuda":
        yield
        return
    usual = torch.cuda.current_stream(device)
    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        yield
    usual.wait_stream(stream)


def side_by_side() -> int:
    """How many blocks may run at once on the CPU: the number of threads that the caller gave torch."""
    return _workers.get() or torch.get_num_threads()


def share_gpu(processes: int) -> None:
    """Count, from now on, on one part in `processes` of a GPU's free memory, as each of the others does."""
    global _gpu_processes  # noqa: PLW0603  for good, and for all threads
    _gpu_processes = processes


@contextmanager
def gpu_threads(count: int) -> Iterator[None]:
    """Let each of so many threads of this process count on one part of its share of a GPU."""
    global _gpu_threads  # noqa: PLW0603  threads of a pool would not see a context variable
    before, _gpu_threads = _gpu_threads, count
    try:
        yield
    finally:
        _gpu_threads = before


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; of a GPU the share of one of its users (`share_gpu`, `gpu_threads`)."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept) // (_gpu_processes * _gpu_threads)
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def check_result_size(pixels: int, reflections: int, thicknesses: int, word: int) -> None:
    """Refuse a result that cannot be held, before anything is computed.

    Counts the amplitudes and values of all pixels (four copies at worst) and the tables of symmetry.

    Raises:
        MemoryLimitError: with the estimate.
    """
    need = pixels * reflections * (4 * thicknesses * 2 * word + 160) + 400 * pixels
    budget = int(_SHARE * free_memory(torch.device("cpu")))
    if need > budget:
        raise MemoryLimitError(
            f"{pixels} pixels, {reflections} reflections and {thicknesses} thicknesses need about "
            f"{need / 2**30:.1f} GiB, but only {budget / 2**30:.1f} GiB may be used on this machine; ask "
            "for fewer pixels, reflections or thicknesses"
        )


def choose_block(count: int, fixed: int, each: int, device: torch.device, what: str) -> int:
    """Largest block of matrices that fits.

    Args:
        count: number of matrices in all.
        fixed: bytes needed whatever the block.
        each: bytes needed for each matrix of a block.
        device: where.
        what: description of the request for the message.

    Raises:
        MemoryLimitError: if not even a single matrix fits, with the estimate.
    """
    budget = int(_SHARE * free_memory(device))
    each *= side_by_side() if device.type == "cpu" else 1
    if fixed + each > budget:
        raise MemoryLimitError(
            f"{what} needs about {(fixed + each) / 2**30:.1f} GiB, but only {budget / 2**30:.1f} GiB may be "
            "used on this machine; ask for fewer pixels, reflections, thicknesses or beams"
        )
    fits = (budget - fixed) // max(1, each)
    if device.type == "cpu":
        fits = min(fits, max(2, _CACHE_FRIENDLY // max(1, each)), -(-count // (4 * side_by_side())))
    return int(max(1, min(count, fits)))
