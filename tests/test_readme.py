"""The README's Python runs as it stands, block after block, and does what its comments say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    simulated, fitted = BLOCKS
    _run(simulated)
    assert (tmp_path / "pattern.nc").is_file()
    assert _run(fitted)["t"].item() == pytest.approx(520, abs=0.5)


def _run(code: str) -> dict[str, Any]:
    """The names after a block, which stands by itself."""
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    return names
