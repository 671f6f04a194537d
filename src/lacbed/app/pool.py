"""Workers kept warm: one computation each, and an end to it at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from lacbed.app.limits import KEPT_ZONES, LENGTHS_SIZE, Limits, pack, unpack_lengths
from lacbed.errors import LacbedError

Header = dict[str, Any]

PATIENCE = 5.0
"""Seconds that a worker may take to give up its work before it is ended."""


def _give_back(turn: asyncio.Semaphore, waiter: asyncio.Task[Any]) -> None:
    """Release a turn that was taken although its waiter was to be cancelled."""
    if not waiter.cancelled():
        turn.release()


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
        keys: names of the zones that it has worked on, the last one last; it may keep what it solved of them.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.abilities: Header = {}
        self.keys: list[str] = []

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

    async def stop(self) -> None:
        """Make it give up what it does, without losing what it keeps.

        Raises:
            WorkerError: if the process has ended.
        """
        await self.send({"task": "stop"})
        while (await self.receive())[0]["kind"] != "stopped":
            pass

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


async def converse(worker: Worker, request: Header, payload: bytes = b"") -> AsyncIterator[tuple[Header, bytes]]:
    """All messages of a worker about one request.

    Raises:
        TaskError: with the worker's words, if it could not do it.
    """
    await worker.send(request, payload)
    while True:
        header, content = await worker.receive()
        if header["kind"] == "done":
            worker.keys = header.get("kept", worker.keys)
            return
        if header["kind"] == "error":
            raise TaskError(header["message"])
        yield header, content


class Pool:
    """Workers at work and some in reserve, so that ending one makes nobody wait, nor does quick work.

    Args:
        limits: how many, how long, how much.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._warm: list[Worker | WorkerError] = []
        self._ready = asyncio.Semaphore(0)
        self._turn = asyncio.Semaphore(limits.workers)
        self._quick_turn = asyncio.Semaphore(limits.spare) if limits.spare else self._turn
        self._waiting = 0
        self._stopping: set[Worker] = set()
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

    @property
    def is_busy(self) -> bool:
        """Whether a further computation has to wait."""
        return self._turn.locked()

    @property
    def waiting(self) -> int:
        """Computations that wait for a worker."""
        return self._waiting

    async def ready(self) -> Header:
        """Wait for the first worker; what it can do."""
        self._put(await self._take())
        return self.abilities

    @asynccontextmanager
    async def worker(self, quick: bool = False, key: str = "") -> AsyncIterator[Worker]:
        """A warm worker; it is ended and replaced if the block does not come to its end.

        Args:
            quick: whether the work takes a second at most; such work does not queue behind long computations, but
                is done by the workers in reserve, or by others that have nothing to do.
            key: names what the work is about; a worker that has done such work before is preferred.

        Raises:
            BusyError: if too many wait already.
        """
        if self.is_full:
            raise BusyError("too many computations are waiting on this machine; try again in a minute")
        self._waiting += 1
        try:
            turn = await self._first_free(*((self._quick_turn,) if quick else ()), self._turn)
        finally:
            self._waiting -= 1
        try:
            worker = await self._take(key, quick)
            try:
                yield worker
            except TaskError:
                self._put(worker)
                raise
            except BaseException:
                self._run(self._exchange(worker, PATIENCE if worker.keys or not quick else 0.1))
                raise
            self._put(worker)
        finally:
            turn.release()

    @staticmethod
    async def _first_free(*turns: asyncio.Semaphore) -> asyncio.Semaphore:
        """Acquire one of several turns, whichever is free first."""
        for turn in turns:
            if not turn.locked():
                await turn.acquire()
                return turn
        tasks = {asyncio.create_task(turn.acquire()): turn for turn in dict.fromkeys(turns)}
        kept = None
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            kept = done.pop()
        finally:  # without waiting, so that no cancellation comes in between
            for task, turn in tasks.items():
                if task is not kept:
                    task.cancel()
                    task.add_done_callback(partial(_give_back, turn))
        return tasks[kept]

    def _put(self, worker: Worker | WorkerError) -> None:
        self._warm.append(worker)
        self._ready.release()

    async def _returning(self, key: str) -> None:
        """Wait a little for a worker that knows about something and is about to give up what it does.

        The page that asks has just left the connection for which it works, which may not be known yet.
        """
        end = time.monotonic() + PATIENCE
        soon = end - PATIENCE + 0.2
        while True:
            away = [w for w in self._all if key in w.keys and w not in self._warm]
            now = time.monotonic()
            if not away or now > end or (now > soon and not any(w in self._stopping for w in away)):
                return
            await asyncio.sleep(0.01)

    async def _take(self, key: str = "", quick: bool = True) -> Worker:
        """The warm worker that knows most about something, or else the one that was not used for longest.

        Raises:
            WorkerError: if one could not be started; another is tried for the next who asks.
        """
        if not quick:
            await self._returning(key)
        await self._ready.acquire()
        known = [w for w in self._warm if key and isinstance(w, Worker) and key in w.keys]
        worker = known[0] if known else self._warm[0]
        self._warm.remove(worker)
        if isinstance(worker, WorkerError):
            self._run(self._start())
            raise worker
        if key and not quick:
            worker.keys = [*(k for k in worker.keys if k != key), key][-KEPT_ZONES:]
        return worker

    def _run(self, errand: Coroutine[None, None, None]) -> None:
        """Start something that nobody waits for."""
        if self._closed:
            errand.close()
            return
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _exchange(self, worker: Worker, patience: float) -> None:
        """Make a worker give up its work, or else end it and start another."""
        self._stopping.add(worker)
        try:
            async with asyncio.timeout(patience):
                await worker.stop()
        except (TimeoutError, OSError, LacbedError):
            pass
        else:
            self._put(worker)
            return
        finally:
            self._stopping.discard(worker)
        await worker.end()
        self._all.discard(worker)
        await self._start()

    async def _start(self) -> None:
        async with self._one_by_one:
            try:
                worker = await Worker.start(self.limits.job_bytes)
            except WorkerError as error:
                self._put(error)
                return
            self._all.add(worker)
            self.abilities = worker.abilities
            self._put(worker)
