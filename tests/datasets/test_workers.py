"""Workers that die, are late, or are another version."""

import os
import signal
import threading
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import nullcontext

import pytest
from dataset_helpers import CHEAP

from lacbed.datasets import worker, workers
from lacbed.datasets.limits import build_device
from lacbed.datasets.worker import Outcome, compute_rows
from lacbed.datasets.workers import Crew, Job, here, processes, run
from lacbed.errors import LacbedError
from lacbed.result import software

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
        crew = Crew(Scripted(deadly), lambda: width, memory, lambda: Scripted(deadly))

        def wait(futures, return_when):
            moments.append([number for numbers, _ in crew.executor.out for number in numbers])
            crew.executor.answer()
            return real(futures, return_when=return_when)

        monkeypatch.setattr(workers, "wait", wait)
        return list(run(crew, iter(jobs), CHEAP)), moments

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
    with here() as crew, pytest.raises(LacbedError, match="install"):
        _swap_version(crew, rows)


def _swap_version(crew, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "software", lambda: "lacbed 9")
        list(run(crew, iter([Job(((0, rows[0]),), 1.0)]), CHEAP))


@pytest.mark.slow
def test_a_process_killed_from_outside(rows):
    jobs = [Job(((i, row),), 1.0) for i, row in enumerate(rows)]
    with processes(1, 1e12) as crew:
        outcomes = run(crew, iter(jobs), CHEAP)
        first = next(outcomes)
        os.kill(next(iter(crew.executor._processes)), signal.SIGKILL)
        rest = list(outcomes)
    assert sorted(o.row for o in (first, *rest)) == list(range(12))
    assert all(o.stored is not None for o in rest)


def test_a_gpu_gets_rows_at_once_and_those_it_has_no_memory_for_alone(monkeypatch):
    """With stand-ins for the device and its streams, since there may be no GPU."""
    import torch  # noqa: PLC0415  the other tests need none

    import lacbed.simulation  # noqa: PLC0415

    names = [str(i) for i in range(4)]
    meeting, seen = threading.Barrier(len(names), timeout=60), []

    def store(row, config, device):
        if row not in seen:
            seen.append(row)
            meeting.wait()  # passes only if all are computed at the same time
            if row == "2":
                raise torch.OutOfMemoryError("CUDA out of memory")
        elif row == "3":
            raise AssertionError("computed twice")
        return f"{row} on {device}"

    monkeypatch.setattr(lacbed.simulation, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("lacbed.solvers.blocks.own_stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: seen.append("emptied"))
    monkeypatch.setattr(worker, "store_crystal", store)
    outcomes = compute_rows(list(enumerate(names)), CHEAP, software(), "cuda")
    assert [(o.row, o.stored) for o in outcomes] == [(i, f"{i} on cuda") for i in range(4)]
    assert sorted(seen) == [*names, "emptied"]


def test_users_of_a_gpu_share_its_memory(monkeypatch):
    """With a stand-in for the device; 4 of the 10 bytes that this process holds are not in use."""
    import torch  # noqa: PLC0415  the other tests need none

    from lacbed.solvers import blocks  # noqa: PLC0415

    for name, value in (("mem_get_info", (60, 80)), ("memory_reserved", 10), ("memory_allocated", 6)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(blocks, "_gpu_users", 1)
    assert blocks.free_memory(torch.device("cuda")) == 64
    blocks.share_gpu(16)
    assert blocks.free_memory(torch.device("cuda")) == 4


def test_auto_is_the_cpu_for_small_diagonalisations_and_a_gpu_otherwise():
    assert build_device("auto", "fast") == "cpu"
    assert build_device("auto", "chebyshev") == "auto"
    assert build_device("cuda", "fast") == "cuda"
