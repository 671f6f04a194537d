"""Workers: cancelling ends them, faults do not, and nobody gets another's answer."""

import asyncio
import os
from dataclasses import replace

import pytest

from lacbed.app.files import Results
from lacbed.app.limits import Limits, unpack
from lacbed.app.pool import BusyError, Pool, TaskError, WorkerError, converse
from lacbed.app.request import parse_view
from lacbed.app.server import _stream

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
        await cancelling_frees_the_processor(pool)
        await a_worker_that_is_told_to_stop_keeps_what_it_solved(pool)
        await too_many_are_refused(pool)
        await long_work_is_stopped_in_plain_words(pool)
        await a_death_is_explained(pool)
    finally:
        await pool.close()


async def facts(pool, name):
    async with pool.worker() as worker:
        answers = [header async for header, _ in converse(worker, request("describe", {"name": name}))]
    return answers[0]["name"]


async def an_error_is_survived(pool):
    with pytest.raises(TaskError, match="no built-in crystal"):
        await facts(pool, "Unobtainium")
    assert await facts(pool, "Si") == "Si"


async def leave(pool, view, enough):
    """Begin a computation and leave it when a message is `enough`; the worker that it had."""
    seen = asyncio.Event()
    used = []

    async def work():
        try:
            async with pool.worker(key=parse_view(view).zone_key) as worker:
                used.append(worker)
                async for header, _ in converse(worker, request("simulate", view)):
                    if enough(header):
                        seen.set()
        finally:
            seen.set()

    task = asyncio.create_task(work())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return used[0]


async def cancelling_frees_the_processor(pool):
    worker = await leave(pool, HEAVY, lambda header: header.get("phase") == "choosing the waves")
    assert await facts(pool, "Cu") == "Cu"  # of the one worker, or of the one in its place
    assert worker.process.returncode is not None or worker in pool._warm


async def a_worker_that_is_told_to_stop_keeps_what_it_solved(pool):
    view = {"name": "Si", "extent": 1, "detail": 16, "thickness": 300}
    worker = await leave(pool, view, lambda header: header["kind"] == "result")
    key = parse_view(view).zone_key
    async with pool.worker(key=key) as same:
        assert same is worker
        stages = [header["kind"] async for header, _ in converse(same, request("series", view))]
    assert "pattern" not in stages  # no preview: the zone is there
    assert "result" in stages


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


def test_quick_work_takes_the_turn_that_is_free_first():
    async def run():
        few, many = asyncio.Semaphore(1), asyncio.Semaphore(2)
        assert [await Pool._first_free(few, many) for _ in range(3)] == [few, many, many]
        late, gone = (asyncio.create_task(Pool._first_free(few, many)) for _ in range(2))
        await asyncio.sleep(0.01)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        many.release()
        assert await late is many
        for turn in (few, many, many):  # none was lost or taken twice
            turn.release()
        assert (few._value, many._value) == (1, 2)

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("steps", range(7))
def test_no_turn_is_lost_when_whoever_waits_goes_just_after_a_release(steps):
    async def run():
        few, many = asyncio.Semaphore(0), asyncio.Semaphore(0)
        waiter = asyncio.create_task(Pool._first_free(few, many))
        await asyncio.sleep(0.01)
        few.release()
        many.release()
        for _ in range(steps):
            await asyncio.sleep(0)
        waiter.cancel()
        (taken,) = await asyncio.gather(waiter, return_exceptions=True)
        await asyncio.sleep(0.01)
        if isinstance(taken, asyncio.Semaphore):
            taken.release()
        assert (few._value, many._value) == (1, 1)

    asyncio.run(asyncio.wait_for(run(), 60))
