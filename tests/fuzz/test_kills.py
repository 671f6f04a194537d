"""A few of the kills of `kills.py`, in a process of its own because that forks."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_killed_work_goes_on():
    words = [sys.executable, str(Path(__file__).parent / "kills.py"), "--count", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("dataset", "training", "refinement"):
        assert f"{kind}: 1 kills" in done.stdout
