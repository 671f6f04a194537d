"""The same build on a Dask cluster of two workers, one of which is killed."""

import os
import signal
import socket
import threading
import time

import pytest

from lacbed.datasets.build import build
from lacbed.datasets.cluster import cluster
from lacbed.errors import SettingError


@pytest.fixture(autouse=True, scope="module")
def distributed():
    """When a test of this file runs, and not when every process collects it."""
    return pytest.importorskip("distributed")


@pytest.mark.slow
# Dask leaves sockets and tasks of a dead worker behind, and says so when they are collected.
@pytest.mark.filterwarnings("ignore")
def test_two_workers_of_which_one_is_killed(distributed, plan, built, contents, tmp_path):
    folder = tmp_path / "data.zarr"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        pids = [worker.pid for worker in local.workers.values()]

        def kill_one():
            journal = folder / "journal.jsonl"
            while not (journal.exists() and journal.stat().st_size):
                time.sleep(0.01)
            os.kill(pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        result = build(plan, folder, lambda: cluster(local.scheduler_address))
        killer.join()
        assert pids[0] not in [worker.pid for worker in local.workers.values()]
        assert result.progress.done == 12
    assert contents(folder) == contents(built[0])
    assert result.manifest["files"] == built[1].manifest["files"]


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_does_not_answer(monkeypatch):
    monkeypatch.setattr("lacbed.datasets.cluster.CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(SettingError, match="no Dask scheduler answers at 'tcp"),
        cluster("tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.filterwarnings("ignore")
def test_a_port_that_is_open_and_silent(monkeypatch):
    monkeypatch.setattr("lacbed.datasets.cluster.CONNECT_SECONDS", 0.5)
    begun = time.monotonic()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SettingError, match=r"no answer for 0\.5 s; check the address"), cluster(address):
            pass
    assert time.monotonic() - begun < 10.0
