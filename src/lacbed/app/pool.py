"""Workers kept warm: one computation each, and an end to it at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from lacbed.app.limits import LENGTHS_SIZE, Limits, pack, unpack_lengths
from lacbed.errors import LacbedError

Header = dict[str, Any]


class BusyError(LacbedError):
    """Too many computations wait already."""


class WorkerError(LacbedError):
    """A worker that ended in the middle of its work."""


class TaskError(LacbedError):
    """What a worker could not do, in its words; the worker itself is well."""


class Worker:
    """One process and its pipes.

    Attributes:
        process: the process.
        abilities: what it said when it was ready.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.abilities: Header = {}

    @classmethod
    async def start(cls, memory: int) -> Worker:
        """Start a process and wait until it is warm."""
        pipe = asyncio.subprocess.PIPE
        # A worker that is ended must not leave children: it has none, its threads end with it.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lacbed.app.worker", str(memory), stdin=pipe, stdout=pipe, env=dict(os.environ)
        )
        worker = cls(process)
        try:
            worker.abilities, _ = await worker.receive()
        except BaseException:
            await worker.end()
            raise
        return worker

    async def send(self, header: Header, payload: bytes = b"") -> None:
        """Give it a request."""
        assert self.process.stdin is not None
        self.process.stdin.write(pack(header, payload))
        await self.process.stdin.drain()

    async def receive(self) -> tuple[Header, bytes]:
        """Its next message.

        Raises:
            WorkerError: if the process has ended.
        """
        stream = self.process.stdout
        assert stream is not None
        try:
            header, payload = unpack_lengths(await stream.readexactly(LENGTHS_SIZE))
            return json.loads(await stream.readexactly(header)), await stream.readexactly(payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise WorkerError(
                "the computation ended unexpectedly, probably for lack of memory; ask for fewer pixels"
            ) from None

    async def end(self) -> None:
        """End it now, whatever it does, and wait until nothing of it is left."""
        with suppress(ProcessLookupError):
            self.process.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        with suppress(ConnectionError):
            while await self.process.stdout.read(2**16):
                pass
        await self.process.wait()


class Pool:
    """Workers at work and some in reserve, so that ending one makes nobody wait, nor does quick work.

    Args:
        limits: how many, how long, how much.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._warm: asyncio.Queue[Worker | WorkerError] = asyncio.Queue()
        self._turn = asyncio.Semaphore(limits.workers)
        self._quick_turn = asyncio.Semaphore(limits.spare) if limits.spare else self._turn
        self._waiting = 0
        self._all: set[Worker] = set()
        self._errands: set[asyncio.Task[None]] = set()
        self._one_by_one = asyncio.Lock()
        self._closed = False
        self.abilities: Header = {}

    def open(self) -> None:
        """Begin to start the workers, one after the other, so that the first is ready soon."""
        for _ in range(self.limits.workers + self.limits.spare):
            self._run(self._start())

    async def close(self) -> None:
        """End everything."""
        self._closed = True
        for task in self._errands:
            task.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._all))

    @property
    def is_full(self) -> bool:
        """Whether no more computation may wait."""
        return self._waiting >= self.limits.waiting

    async def ready(self) -> Header:
        """Wait for the first worker; what it can do."""
        self._warm.put_nowait(await self._take())
        return self.abilities

    @asynccontextmanager
    async def worker(self, quick: bool = False) -> AsyncIterator[Worker]:
        """A warm worker; it is ended and replaced if the block does not come to its end.

        Args:
            quick: whether the work takes a second at most; such work does not queue behind long computations, but
                is done by the workers in reserve.

        Raises:
            BusyError: if too many wait already.
        """
        if self.is_full:
            raise BusyError("too many computations are waiting on this machine; try again in a minute")
        turn = self._quick_turn if quick else self._turn
        self._waiting += 1
        try:
            await turn.acquire()
        finally:
            self._waiting -= 1
        try:
            worker = await self._take()
            try:
                yield worker
            except TaskError:
                self._warm.put_nowait(worker)
                raise
            except BaseException:
                self._run(self._exchange(worker))
                raise
            self._warm.put_nowait(worker)
        finally:
            turn.release()

    async def _take(self) -> Worker:
        """The next warm worker.

        Raises:
            WorkerError: if one could not be started; another is tried for the next who asks.
        """
        worker = await self._warm.get()
        if isinstance(worker, WorkerError):
            self._run(self._start())
            raise worker
        return worker

    def _run(self, errand: Coroutine[None, None, None]) -> None:
        """Start something that nobody waits for."""
        if self._closed:
            errand.close()
            return
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _exchange(self, worker: Worker) -> None:
        """End a worker and start another."""
        await worker.end()
        self._all.discard(worker)
        await self._start()

    async def _start(self) -> None:
        async with self._one_by_one:
            try:
                worker = await Worker.start(self.limits.job_bytes)
            except WorkerError as error:
                self._warm.put_nowait(error)
                return
            self._all.add(worker)
            self.abilities = worker.abilities
            self._warm.put_nowait(worker)
