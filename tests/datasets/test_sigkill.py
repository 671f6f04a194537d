"""A build that is killed with SIGKILL, as a user would see it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from dataset_helpers import CHEAP

from lacbed.datasets.manifest import read_manifest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_killed_and_started_again(built, contents, catalog, tmp_path, lacbed):
    config, folder = tmp_path / "cheap.toml", tmp_path / "data.zarr"
    values = CHEAP.to_dict() | {"absorption": "none"}
    config.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in values.items()))
    words = [
        "dataset",
        "build",
        str(catalog),
        "-o",
        str(folder),
        "--config",
        str(config),
        "--batch",
        "3",
        "-j",
        "2",
    ]
    command = [sys.executable, "-c", "import sys, lacbed.cli; sys.exit(lacbed.cli.main())", *words]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    journal = folder / "journal.jsonl"
    _until(lambda: journal.exists() and journal.stat().st_size > 0)
    workers = _children(first.pid)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert workers
    _until(lambda: not any(map(_runs, workers)))
    assert read_manifest(folder) is None
    code, _, errors = lacbed(*words[:-1], "1")
    assert (code, errors) == (0, "")
    assert contents(folder) == contents(built[0])
    assert read_manifest(folder)["files"] == built[1].manifest["files"]


def _toml(value):
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def _children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as stream:
            found += [int(child) for child in stream.read().split()]
    return found


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
