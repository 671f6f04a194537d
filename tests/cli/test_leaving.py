"""How the installed program leaves: with the right code, whatever libraries it has loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["crystals"], 0),
        (["catalog", "info", "nothing.parquet"], 2),
        (["catalog", "generate", "--count", "3", "-o", "few.parquet"], 0),
    ],
)
def test_exit_code_and_output_survive_the_quick_exit(words: list[str], code: int, tmp_path) -> None:
    program = [sys.executable, "-c", "import sys; from lacbed.cli import run; sys.argv[0] = 'lacbed'; run()"]
    ended = subprocess.run(
        [*program, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == code
    assert (ended.stdout or ended.stderr).strip()  # flushed before leaving, to a pipe too
