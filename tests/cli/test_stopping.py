"""Ctrl-C and SIGTERM from the first moment on: the right exit code, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lacbed.cli import leaving

SCRIPT = "import sys; from lacbed.cli import run; sys.argv[0] = 'lacbed'; run()"
LISTENS = """
import sys
import lacbed.cli
from lacbed.cli import leaving
before = leaving.listen
def listen():
    undo = before()
    print("on", flush=True)
    return undo
leaving.listen = listen
sys.argv[0] = "lacbed"
lacbed.cli.run()
"""
SIMULATE = ("simulate", "GaAs", "-o", "x.nc", "--pixels", "301", "-t", "300", "--beams", "200", "--quiet")


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize(
    ("delay", "number", "code"),
    [(0.0, signal.SIGINT, 130), (0.25, signal.SIGINT, 130), (0.0, signal.SIGTERM, 143), (0.6, signal.SIGINT, 130)],
)
def test_stopped_while_it_starts(delay: float, number: int, code: int, tmp_path: Path) -> None:
    """From the moment on at which the program is listening, which is before anything slow is imported."""
    words = [sys.executable, "-c", LISTENS, *SIMULATE]
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        time.sleep(delay)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert errors == "lacbed: stopped; no unfinished file was left behind\n"
    assert list(tmp_path.iterdir()) == []


def test_no_exception_in_the_middle_of_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that a signal meets while it is imported is imported to its end."""
    (tmp_path / "slow_module.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\nDONE = True\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    undo = leaving.listen()

    def work() -> None:
        import slow_module

        assert slow_module.DONE
        seen.append(True)
        time.sleep(10)

    seen: list[bool] = []
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        undo()
    assert seen


def test_nothing_slow_is_imported_before_the_program_listens() -> None:
    code = "import sys\nimport lacbed.cli\nprint(*sorted({'typing', 'typer', 'threading'} & set(sys.modules)))"
    words = [sys.executable, "-S", "-c", code]  # what `site` imports is not ours
    environment = {**os.environ, "PYTHONPATH": str(Path(leaving.__file__).parents[2])}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == []


def test_a_full_output_is_said_in_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-c", SCRIPT, "crystals"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "lacbed: cannot use the output: No space left on device\n"
