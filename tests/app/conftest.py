"""The server as users start it, and what speaks to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, int]]:
    """URL and process of a running `lacbed app`."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-c", "import sys; from lacbed.cli import main; sys.exit(main(sys.argv[1:]))"]
    process = subprocess.Popen([*words, "app", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "http://127.0.0.1:" in line
    yield line.split()[2].rstrip("/"), process.pid
    process.terminate()
    process.wait(timeout=120)
    process.stdout.close()


@pytest.fixture(scope="session")
def address(server: tuple[str, int]) -> str:
    """URL of the running server."""
    return server[0]
