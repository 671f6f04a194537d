"""Work cut into blocks that fit the memory, with progress between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from lacbed.errors import MemoryLimitError
from lacbed.io import sizes

Tick = Callable[[float], None]
"""Called with the fraction of the work that is done, 0 to 1; may have a method `describe`, see `describe_work`."""

_workers: ContextVar[int] = ContextVar("lacbed_workers", default=0)
"""Number of blocks side by side within `one_thread_each`; 0 outside."""

_gpu_processes = 1
_gpu_threads = 1

_CACHE_FRIENDLY = 48 * 2**20
"""Bytes of matrices in one block on a CPU; larger blocks gain nothing there."""

_SHARE = 0.5
"""Part of the free memory that one computation may take."""


def describe_work(tick: Tick | None, text: str) -> None:
    """Say in a few words what the work is at, if `tick` has a method `describe` that takes it."""
    describe = getattr(tick, "describe", None)
    if describe is not None:
        describe(text)


def part_of(tick: Tick | None, start: float, end: float) -> Tick | None:
    """What takes the fraction done of a part of the work, from `start` to `end` of the whole."""
    return None if tick is None else _Part(tick, start, end)


class _Part:
    """See `part_of`."""

    def __init__(self, tick: Tick, start: float, end: float) -> None:
        self._tick, self._start, self._end = tick, start, end

    def __call__(self, fraction: float) -> None:
        self._tick(self._start + fraction * (self._end - self._start))

    def describe(self, text: str) -> None:
        describe_work(self._tick, text)


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


def stack_rows(rows: Iterable[Tensor], count: int) -> Tensor:
    """Like torch.stack of `count` tensors of one shape, each of which is copied to its place when it comes.

    Small tensors that are kept while large ones come and go beside them would tear the heap to pieces: each of
    them can leave a hole of the size of a large one. Rows that carry gradients are kept nevertheless.
    """
    result, kept = torch.empty(0), list[Tensor]()
    for i, row in enumerate(rows):
        if kept or row.requires_grad:
            kept = [*(kept or result[:i]), row]
        else:
            result = row.new_empty((count, *row.shape)) if i == 0 else result
            result[i] = row
    return torch.stack(kept) if kept else result


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
    return sizes.free_memory()


def check_memory(need: int, device: torch.device, what: str, remedy: str = "") -> int:
    """Bytes that one computation may take; refuse one that needs more.

    Args:
        need: bytes that it needs at least.
        device: where.
        what: description of the request for the message.
        remedy: what would help.

    Raises:
        MemoryLimitError: with the estimate and what would help.
    """
    budget = int(_SHARE * free_memory(device))
    if need > budget:
        raise MemoryLimitError(
            f"{what} need about {gibibytes(need)} GiB, but only {gibibytes(budget)} GiB may be used on this "
            f"machine; ask for {remedy or 'fewer pixels, reflections, thicknesses or beams (g_max)'}"
        )
    return budget


def gibibytes(size: int) -> str:
    """Bytes as a number of GiB for people."""
    return f"{size / 2**30:.1f}" if size < 100 * 2**30 else f"{size / 2**30:.0f}"


def choose_block(
    count: int,
    fixed: int,
    each: int,
    device: torch.device,
    what: str,
    *,
    work: int = 0,
    aim: int | None = None,
    remedy: str = "",
) -> int:
    """Largest block of matrices that fits.

    Args:
        count: number of matrices in all.
        fixed: bytes needed whatever the block.
        each: bytes needed for each matrix of a block.
        device: where.
        what: description of the request for the message.
        work: bytes needed once in every thread.
        aim: number that is quickest on a CPU, if that is known.
        remedy: what would help if the memory does not last.

    Raises:
        MemoryLimitError: if not even a single matrix fits, with the estimate.
    """
    threads = side_by_side() if device.type == "cpu" else 1
    fixed += work * threads
    each *= threads
    budget = check_memory(fixed + each, device, what, remedy)
    fits = (budget - fixed) // max(1, each)
    if device.type == "cpu":
        fits = min(fits, quick_block(count, each, aim))
    return int(max(1, min(count, fits)))


def quick_block(count: int, each: int, aim: int | None = None) -> int:
    """Number of matrices that one thread of a CPU works on at once, where there is memory enough.

    Args:
        count: number of matrices in all.
        each: bytes needed for each of them, in all threads together.
        aim: number that is quickest, if that is known.
    """
    threads = side_by_side()
    quick = max(2, _CACHE_FRIENDLY // max(1, each))
    portions = 4 * threads
    if aim is not None:
        quick, portions = aim, threads * -(-count // (aim * threads))
    return max(1, min(quick, -(-count // portions)))
