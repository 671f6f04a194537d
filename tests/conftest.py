"""Fixtures that several folders use."""

from __future__ import annotations

import os

# Before NumPy is loaded: threads inside the reference's small matrices only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine, and what else it does, than about the code.
settings.register_profile("lacbed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lacbed")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


class Outcome(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def lacbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs `lacbed WORDS` in an empty folder and in this process."""
    from lacbed.cli import main  # most tests need no command line

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Finds what lies beside the project; without it the test is skipped, but never in CI."""

    def find(part: str) -> Path:
        path = SHARED / part
        if path.exists():
            return path
        message = f"{part} is not on this machine"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    return find


@pytest.fixture(scope="session")
def reference_folder(shared: Callable[[str], Path]) -> Path:
    """Folder of reference patterns."""
    return shared("reference")


_FELIX = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def felix_table(request: pytest.FixtureRequest) -> list[str]:
    """Rows about the Felix sets, printed at the end of the run."""
    return request.config.stash.setdefault(_FELIX, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of the Felix sets."""
    rows = config.stash.get(_FELIX, [])
    if rows:
        terminalreporter.section("Felix reference patterns")
        terminalreporter.line(
            "Left: beams used here to converge, and Z in % (largest over reflections of mean intensity above "
            "1e-3) at 300 600 900 1200 1500 Å."
        )
        terminalreporter.line(
            "Right: Felix's own beams (in the zero-order zone), and max |dI| of 000 on just these beams."
        )
        for row in rows:
            terminalreporter.line(row)
