"""Workers that die, are late, or are another version."""

import os
import signal
import threading
from collections import Counter
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import nullcontext

import pytest
from dataset_helpers import CHEAP

from lacbed.datasets import worker, workers
from lacbed.datasets.build import build
from lacbed.datasets.plan import make_plan
from lacbed.datasets.worker import Outcome, compute_rows
from lacbed.datasets.workers import Job, WorkerPool, build_device, here, processes, run
from lacbed.errors import CrystalError, LacbedError, MemoryLimitError
from lacbed.patterns.result import software

JOBS = [Job(((i, {}),), 1.0) for i in range(8)]


class Scripted(Executor):
    """Keeps what is submitted until `answer`; a deadly row takes all that is out with it, so many times."""

    def __init__(self, deadly):
        self.deadly, self.out, self.largest = deadly, [], 0.0

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.out.append((tuple(number for number, _ in args[0]), future))
        return future

    def answer(self):
        killers = [n for numbers, _ in self.out for n in numbers if self.deadly.get(n, 0) > 0]
        for number in killers:
            self.deadly[number] -= 1
        for numbers, future in list(self.out) if killers else [self.out.pop(0)]:
            if killers:
                future.set_exception(BrokenExecutor("a process died"))
            else:
                future.set_result([Outcome(number, "stored") for number in numbers])


@pytest.fixture
def scripted(monkeypatch):
    """Runs jobs with a scripted executor; returns the outcomes and which rows were out at each moment."""

    def go(jobs, deadly=(), width=3, memory=None):
        deadly, moments, real = dict(deadly), [], workers.wait
        pool = WorkerPool(Scripted(deadly), lambda: width, memory, lambda: Scripted(deadly))

        def wait(futures, return_when):
            moments.append([number for numbers, _ in pool.executor.out for number in numbers])
            pool.executor.answer()
            return real(futures, return_when=return_when)

        monkeypatch.setattr(workers, "wait", wait)
        return list(run(pool, iter(jobs), CHEAP)), moments

    return go


def test_every_worker_is_kept_busy(scripted):
    outcomes, moments = scripted(JOBS)
    assert [o.row for o in outcomes] == list(range(8))
    assert [len(out) for out in moments] == [3, 3, 3, 3, 3, 3, 2, 1]


def test_a_death_costs_nobody_anything(scripted):
    outcomes, moments = scripted(JOBS, {4: 1})
    assert {o.row: o.stored for o in outcomes} == dict.fromkeys(range(8), "stored")
    assert [4] in moments  # tried again, alone


def test_a_deadly_row_is_found_out(scripted):
    outcomes = {o.row: o for o in scripted(JOBS, {4: 99, 5: 1})[0]}
    assert sorted(outcomes) == list(range(8))
    assert outcomes[4].stored is None
    assert "died" in outcomes[4].reason
    assert all(outcomes[i].stored == "stored" for i in range(8) if i != 4)


def test_rows_that_were_together_are_tried_apart(scripted):
    jobs = [Job(tuple((i, {}) for i in range(start, start + 4)), 1.0) for start in (0, 4)]
    outcomes, moments = scripted(jobs, {5: 99}, width=1)
    found = {o.row: o for o in outcomes}
    assert sorted(found) == list(range(8))
    assert [row for row, o in found.items() if o.stored is None] == [5]
    assert moments[:2] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert all(len(out) == 1 for out in moments[2:])


def test_memory_bounds_what_is_out(scripted):
    sizes = [9.0, 4.0, 4.0, 1.0, 1.0, 1.0]
    outcomes, moments = scripted([Job(((i, {}),), m) for i, m in enumerate(sizes)], width=4, memory=8.0)
    assert [o.row for o in outcomes] == list(range(6))
    assert moments[0] == [0]  # larger than the bound, and therefore alone
    assert [sum(sizes[n] for n in out) for out in moments[1:]] == [8.0, 7.0, 3.0, 2.0, 1.0]


def test_another_version_is_refused(rows):
    with pytest.raises(LacbedError, match="install the same version"):
        compute_rows([(0, rows[0])], CHEAP, "lacbed 0.0.0")
    with here() as pool, pytest.raises(LacbedError, match="install"):
        _swap_version(pool, rows)


def _swap_version(pool, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "software", lambda: "lacbed 9")
        list(run(pool, iter([Job(((0, rows[0]),), 1.0)]), CHEAP))


@pytest.mark.slow
def test_a_process_killed_from_outside(rows):
    jobs = [Job(((i, row),), 1.0) for i, row in enumerate(rows)]
    with processes(1, 1e12) as pool:
        outcomes = run(pool, iter(jobs), CHEAP)
        first = next(outcomes)
        os.kill(next(iter(pool.executor._processes)), signal.SIGKILL)
        rest = list(outcomes)
    assert sorted(o.row for o in (first, *rest)) == list(range(12))
    assert all(o.stored is not None for o in rest)


@pytest.fixture
def stand_in_gpu(monkeypatch):
    """A device that is there in name only, since there may be no GPU; returns what was emptied."""
    import torch  # the other tests need none

    import lacbed.setup

    emptied = []
    monkeypatch.setattr(lacbed.setup, "choose_device", torch.device)
    monkeypatch.setattr("lacbed.solvers.blocks.own_stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    return emptied


def test_a_gpu_gets_rows_at_once_and_those_it_has_no_memory_for_alone(monkeypatch, stand_in_gpu):
    import torch  # the other tests need none

    from lacbed.solvers import blocks

    names = [str(i) for i in range(4)]
    meeting, seen = threading.Barrier(len(names), timeout=60), []

    def store(row, config, device):
        if row not in seen:
            seen.append(row)
            meeting.wait()  # passes only if all are computed at the same time
            assert blocks._gpu_threads == 4
            if row == "2":
                raise torch.OutOfMemoryError("CUDA out of memory")
        elif row == "3":
            raise AssertionError("computed twice")
        else:
            assert blocks._gpu_threads == 1
        return f"{row} on {device}"

    monkeypatch.setattr(worker, "store_crystal", store)
    outcomes = compute_rows(list(enumerate(names)), CHEAP, software(), "cuda")
    assert [(o.row, o.stored, o.gpu_failure) for o in outcomes] == [(i, f"{i} on cuda", "") for i in range(4)]
    assert sorted(seen) == names
    assert stand_in_gpu == [True]


def _broken(*arguments):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


FAULTS = {
    "1": MemoryLimitError("needs 9 GiB"),
    "2": RuntimeError("CUSOLVER_STATUS_INTERNAL_ERROR"),
    "3": CrystalError("two atoms on one site"),
}


@pytest.mark.parametrize("count", [1, 4])
def test_what_a_gpu_fails_at_is_left_to_the_cpu(monkeypatch, stand_in_gpu, count):
    """But not what fails for a reason of its own."""
    tried = Counter()

    def store(row, config, device):
        tried[row, device] += 1
        if row in FAULTS and (device == "cuda" or row == "3"):
            raise FAULTS[row]
        return f"{row} on {device}"

    monkeypatch.setattr(worker, "store_crystal", store)
    rows = list(enumerate("0123"))
    outcomes = [
        o for i in range(0, 4, count) for o in compute_rows(rows[i : i + count], CHEAP, software(), "cuda")
    ]
    assert [o.stored for o in outcomes] == ["0 on cuda", "1 on cpu", "2 on cpu", None]
    reasons = ["", "needs 9 GiB", "RuntimeError: CUSOLVER_STATUS_INTERNAL_ERROR", ""]
    assert [o.gpu_failure for o in outcomes] == reasons
    assert outcomes[3].reason == "two atoms on one site"
    assert outcomes[3].explained
    on_gpu = min(count, 2)  # with others and alone, or alone only
    assert tried == {
        ("0", "cuda"): 1,
        ("1", "cuda"): on_gpu,
        ("1", "cpu"): 1,
        ("2", "cuda"): on_gpu,
        ("2", "cpu"): 1,
        ("3", "cuda"): 1,
    }


def test_the_time_of_every_try_counts(monkeypatch, stand_in_gpu):
    def attempt(number, row, config, device, clock=None):
        failed = device == "cuda"
        return Outcome(number, None if failed else "stored", "no memory" * failed, of_device=failed, seconds=1.0)

    monkeypatch.setattr(worker, "_outcome", attempt)
    outcomes = compute_rows([(0, "a"), (1, "b")], CHEAP, software(), "cuda")
    assert [(o.seconds, o.gpu_failure) for o in outcomes] == [(3.0, "no memory")] * 2  # together, alone, on CPU


def test_what_fails_on_the_cpu_too_is_no_setback_but_a_failure(monkeypatch, stand_in_gpu):
    def store(row, config, device):
        raise ValueError("wrong anywhere")

    monkeypatch.setattr(worker, "store_crystal", store)
    (outcome,) = compute_rows([(0, "a")], CHEAP, software(), "cuda")
    assert (outcome.stored, outcome.reason, outcome.gpu_failure) == (None, "ValueError: wrong anywhere", "")


@pytest.mark.parametrize("streams", [True, False])
def test_a_gpu_that_fails_at_everything_costs_nothing_but_time(
    tmp_path, stand_in_gpu, table, monkeypatch, streams
):
    """SerialExecutor there is no driver behind the stand-in, so that every crystal falls to the CPU."""
    if not streams:  # nor can it free memory
        monkeypatch.setattr("lacbed.solvers.blocks.own_stream", _broken)
        monkeypatch.setattr("torch.cuda.empty_cache", _broken)
    plan = make_plan(table.slice(0, 4), CHEAP)
    on_cpu = build(plan, tmp_path / "cpu.zarr", lambda: here("cpu")).manifest
    built = build(plan, tmp_path / "gpu.zarr", lambda: here("cuda"), together=4)
    assert built.manifest["files"] == on_cpu["files"]
    assert not built.manifest["failures"]
    assert sum(built.progress.gpu_failures.values()) == 4


def test_users_of_a_gpu_share_its_memory(monkeypatch):
    """With a stand-in for the device; 4 of the 10 bytes that this process holds are not in use."""
    import torch  # the other tests need none

    from lacbed.solvers import blocks

    for name, value in (("mem_get_info", (60, 80)), ("memory_reserved", 10), ("memory_allocated", 6)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(blocks, "_gpu_processes", 1)
    gpu = torch.device("cuda")
    assert blocks.free_memory(gpu) == 64
    blocks.share_gpu(2)
    assert blocks.free_memory(gpu) == 32
    with blocks.gpu_threads(8):
        assert blocks.free_memory(gpu) == 4
    assert blocks.free_memory(gpu) == 32


def test_auto_is_the_cpu_for_small_diagonalisations_and_a_gpu_otherwise():
    assert build_device("auto", "fast") == "cpu"
    assert build_device("auto", "chebyshev") == "auto"
    assert build_device("cuda", "fast") == "cuda"
