"""Fixtures that several folders use."""

from __future__ import annotations

import os

# Before NumPy is loaded: threads inside the reference's small matrices only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lacbed.errors import LacbedError

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _every_error_is_documented() -> Iterator[None]:
    """Whatever error the program raised in any test of the run is on the page of errors.

    The page is made by a scan of the source; this is what tells when the scan misses something.
    """
    said: set[str] = set()

    def remember(self: LacbedError, *arguments: object, **named: object) -> None:
        if arguments and Path(sys._getframe(1).f_code.co_filename).is_relative_to(ROOT / "src"):
            said.add(" ".join(str(arguments[0]).split()))
        super(LacbedError, self).__init__(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LacbedError, "__init__", remember, raising=False)
        yield
    if not said:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        from lacbed_docs.error_messages import GAP, messages, pattern_of  # noqa: PLC0415

        known = {m.text for m in messages() if len(m.text.replace(GAP, "")) >= 10}  # shorter ones fit too much
    patterns = [pattern_of(text) for text in known]
    missing = sorted(text[:120] for text in said if not any(p.search(text) for p in patterns))
    assert not missing, f"not on the page of errors (docs/lacbed_docs/error_messages.py): {missing[:10]}"


@pytest.fixture
def lacbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `lacbed WORDS` in an empty folder: exit code, output, errors."""
    from lacbed.cli import main  # noqa: PLC0415  most tests need no command line

    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

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
