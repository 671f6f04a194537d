"""Workers: cancelling ends them, faults do not, and nobody gets another's answer."""

import asyncio
import os
from dataclasses import replace

import pytest

from lacbed.app.files import Results
from lacbed.app.limits import Limits, unpack
from lacbed.app.pool import BusyError, Pool, TaskError, WorkerError
from lacbed.app.request import parse_view
from lacbed.app.server import _converse, _stream

HEAVY = {"name": "Mg2SiO4", "zone_axis": [1, 1, 0], "extent": 5.5, "detail": 256, "absorption": "thomas"}


def request(task, view, budget=2**30):
    return {"task": task, "view": view, "budget": budget}


def test_a_life_of_workers():
    asyncio.run(asyncio.wait_for(life(), 600))


async def life():
    pool = Pool(Limits(workers=1, spare=0, waiting=1))
    pool.open()
    try:
        assert (await pool.ready())["learned"] is True  # a model is packaged
        await an_error_is_survived(pool)
        await cancelling_ends_the_process(pool)
        await too_many_are_refused(pool)
        await long_work_is_stopped_in_plain_words(pool)
        await a_death_is_explained(pool)
    finally:
        await pool.close()


async def facts(pool, name):
    async with pool.worker() as worker:
        answers = [header async for header, _ in _converse(worker, request("describe", {"name": name}))]
    return answers[0]["name"]


async def an_error_is_survived(pool):
    with pytest.raises(TaskError, match="no built-in crystal"):
        await facts(pool, "Unobtainium")
    assert await facts(pool, "Si") == "Si"


async def cancelling_ends_the_process(pool):
    started = asyncio.Event()
    used = []

    async def work():
        async with pool.worker() as worker:
            used.append(worker)
            async for _ in _converse(worker, request("simulate", HEAVY)):
                started.set()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(used[0].process.wait(), 60) != 0
    assert await facts(pool, "Cu") == "Cu"


async def too_many_are_refused(pool):
    async with pool.worker():
        waiting = asyncio.create_task(facts(pool, "NaCl"))
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError, match="try again"):
            await facts(pool, "Si")
    assert await waiting == "NaCl"


async def long_work_is_stopped_in_plain_words(pool):
    pool.limits = replace(pool.limits, job_seconds=0.5)
    parts = [part async for part in _stream("simulate", parse_view(HEAVY), pool, Results(1000, 10.0))]
    header, _ = unpack(b"".join(parts))[-1]
    assert header["kind"] == "error"
    assert "stopped after 0.5 s" in header["message"]


async def a_death_is_explained(pool):
    async def die():
        async with pool.worker() as worker:
            os.kill(worker.process.pid, 9)
            await worker.receive()

    with pytest.raises(WorkerError, match="for lack of memory"):
        await die()


def test_a_worker_that_cannot_start_is_told(monkeypatch):
    async def run():
        monkeypatch.setattr("lacbed.app.pool.sys.executable", "/bin/false")
        pool = Pool(Limits(workers=1))
        pool.open()
        try:
            with pytest.raises(WorkerError):
                await pool.ready()
        finally:
            await pool.close()

    asyncio.run(asyncio.wait_for(run(), 120))
