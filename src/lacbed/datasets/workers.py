"""Who computes: this process, processes on this machine, or a cluster, all behind one interface.

`run` hands out rows in order, never more at once than the workers and the memory can take, and yields outcomes as
they come. A worker that dies takes nothing with it: its rows are handed out again, one at a time on this machine,
so that a row that kills its worker is found out and recorded.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any

import torch

from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.worker import Outcome, compute_rows
from lacbed.errors import LacbedError
from lacbed.io.atomic import reason
from lacbed.patterns.result import software
from lacbed.solvers.blocks import free_memory, share_gpu

Compute = Callable[..., list[Outcome]]
"""Rows, config, program and device to outcomes, like `lacbed.datasets.worker.compute_rows`."""

_DEATHS = 2
"""Times that a row may lose its worker while it runs alone."""


@dataclass(frozen=True)
class Job:
    """Rows to compute in one piece: number and catalogue row of each, and the bytes that the largest needs."""

    rows: tuple[tuple[int, Mapping[str, Any]], ...]
    memory: float

    @property
    def number(self) -> int:
        """Of its first row, which stands for the job."""
        return self.rows[0][0]

    def apart(self) -> list[Job]:
        """One job for each row."""
        return [Job((row,), self.memory) for row in self.rows]


@dataclass
class WorkerPool:
    """Workers.

    Attributes:
        executor: takes work; replaced when its processes die.
        width: how many rows may be out at once.
        memory: bytes that rows on this machine may need together; None if that is not ours to mind.
        renew: makes a new executor after the old one broke; None if it mends itself.
        device: what the workers compute on, by the name that `lacbed.simulate` takes.
    """

    executor: Executor
    width: Callable[[], int]
    memory: float | None = None
    renew: Callable[[], Executor] | None = None
    device: str = "auto"


class SerialExecutor(Executor):
    """Computes in this process, for tests and debuggers."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run at once."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # as every executor does
            future.set_exception(error)
        return future


def run(
    pool: WorkerPool, jobs: Iterator[Job], config: DatasetConfig, compute: Compute = compute_rows
) -> Iterator[Outcome]:
    """Outcomes of all jobs, in the order in which they come.

    Args:
        pool: who computes.
        jobs: what.
        config: how.
        compute: what a worker does; a function that it can import.

    Raises:
        LacbedError: if a worker has another version, or the cluster is gone.
    """
    out: dict[Future[list[Outcome]], Job] = {}
    queue = _Queue(jobs, pool)
    while True:
        while (job := queue.next(list(out.values()))) is not None:
            out[_submit(pool, job, config, compute)] = job
        if not out:
            return
        lost: list[Job] = []
        for future in wait(out, return_when=FIRST_COMPLETED).done:
            job = out.pop(future)
            error = CancelledError("cancelled") if future.cancelled() else future.exception()
            if error is None:
                yield from future.result()
            elif isinstance(error, BrokenExecutor) and pool.renew is not None:
                lost.append(job)
            elif type(error).__name__ == "KilledWorker":  # Dask has tried it on several workers
                yield from _died(job)
            else:
                raise error if isinstance(error, LacbedError) else workers_lost(error)
        if lost and pool.renew is not None:  # all processes of a pool go together
            lost += out.values()
            out.clear()
            pool.executor = pool.renew()
            for job in queue.take_back(lost):
                yield from _died(job)


class _Queue:
    """Jobs in the order in which they are handed out; those that lost their worker come first, and alone."""

    def __init__(self, jobs: Iterator[Job], pool: WorkerPool) -> None:
        self._jobs, self._crew = jobs, pool
        self._held: Job | None = None  # taken, but there was no room for it
        self._again: deque[Job] = deque()
        self._deaths: dict[int, int] = {}

    def next(self, out: list[Job]) -> Job | None:
        """The next job, if there is one and there is room for it beside those that are out."""
        if out and (self._again or any(job.number in self._deaths for job in out)):
            return None
        if self._again:
            return self._again.popleft()
        if len(out) >= self._crew.width():
            return None
        job, self._held = self._held or next(self._jobs, None), None
        limit = self._crew.memory
        if job is not None and out and limit is not None and sum(j.memory for j in (*out, job)) > limit:
            self._held = job
            return None
        return job

    def take_back(self, lost: list[Job]) -> list[Job]:
        """Queue jobs again whose workers died; returns those that have been their death alone."""
        guilty, alone = [], len(lost) == 1 and len(lost[0].rows) == 1
        for job in sorted((one for together in lost for one in together.apart()), key=lambda j: j.number):
            self._deaths[job.number] = self._deaths.get(job.number, 0) + alone
            if self._deaths[job.number] >= _DEATHS:
                guilty.append(job)
            else:
                self._again.append(job)
        return guilty


def _submit(pool: WorkerPool, job: Job, config: DatasetConfig, compute: Compute) -> Future[list[Outcome]]:
    arguments = list(job.rows), config, software(), pool.device
    try:
        return pool.executor.submit(compute, *arguments)
    except BrokenExecutor:  # a process died while nothing was asked of it
        if pool.renew is None:
            raise
        pool.executor = pool.renew()
        return pool.executor.submit(compute, *arguments)


def _died(job: Job) -> list[Outcome]:
    why = "its worker process died each time, probably for lack of memory"
    return [Outcome(number, None, why) for number, _ in job.rows]


def workers_lost(error: BaseException) -> LacbedError:
    """What to raise when the workers as a whole are lost."""
    what = f"{type(error).__name__}: {reason(error)}"
    return LacbedError(f"the workers no longer answer ({what}); run the same command to resume")


# -- crews on this machine; `lacbed.datasets.cluster` has the third kind ------------------------------------------
@contextmanager
def here(device: str = "auto") -> Iterator[WorkerPool]:
    """Work in this process."""
    yield WorkerPool(SerialExecutor(), lambda: 1, device=device)


@contextmanager
def processes(count: int, memory: float, device: str = "auto") -> Iterator[WorkerPool]:
    """Processes on this machine, one thread each.

    Args:
        count: how many.
        memory: bytes that rows may need together.
        device: see `WorkerPool`.
    """

    def start() -> Executor:
        # Spawned, not forked: a fork of a process with threads can hang, and would share the lock of the folder.
        return ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(count,)
        )

    pool = WorkerPool(start(), lambda: count, memory, start, device)
    try:
        with _one_thread_environment():
            yield pool
    finally:
        _stop(pool.executor)


@contextmanager
def _one_thread_environment() -> Iterator[None]:
    """Environment for processes started within; libraries read it when they are loaded."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker(count: int) -> None:
    """Leave Ctrl-C to the parent, end when it ends, even by SIGKILL, and share a GPU among `count` processes."""
    import signal  # only here

    share_gpu(count)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: Any) -> None:
    from multiprocessing.connection import wait as wait_for  # only here

    wait_for([sentinel])
    os._exit(1)


def _stop(executor: Executor) -> None:
    """End the processes at once; what they were at is computed again by the next run."""
    workers = list((getattr(executor, "_processes", None) or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()


_SHARE = 0.8
"""Part of the free memory that the crystals in work may need together."""

GPU_TOGETHER = 8
"""Crystals that a worker with a GPU computes at once."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def worker_memory() -> float:
    """Bytes that all workers together may need."""
    return _SHARE * free_memory(torch.device("cpu"))


def build_device(name: str, solver: str) -> str:
    """What a build computes on if it was asked for `name`: of "auto" the solver `fast` makes the CPU.

    Its work is many small diagonalisations and their preparation. 16 cores were as fast at them as an H100 with
    six processes beside it, and more than twice as fast as one with a single process.
    """
    return "cpu" if name == "auto" and solver == "fast" else name
