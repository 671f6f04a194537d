"""One of the kills of `kills.py`, in a process of its own because that forks.

A data set and a training that are killed have tests of their own in `tests/datasets` and `tests/learn`.
"""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_killed_work_goes_on():
    words = [sys.executable, str(Path(__file__).parent / "kills.py"), "--count", "1", "--kinds", "refinement"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refinement: 1 kills" in done.stdout
