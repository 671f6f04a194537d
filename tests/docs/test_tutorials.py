"""What the documentation tells people to type works as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import DOCS, blocks, run_page

CHAINS = (
    ("start",),
    ("tutorials/pattern",),
    ("tutorials/series",),
    ("tutorials/beams",),
    ("tutorials/absorption",),
    ("tutorials/compare",),
    ("tutorials/dataset", "tutorials/train", "tutorials/predict"),
    ("tutorials/benchmark",),
    ("tutorials/extract",),
    ("tutorials/fit",),
    ("tutorials/retrieve",),
    ("tolerance",),
    ("questions",),
    ("coming-from",),
    ("reference/api",),
)
"""Pages that run one after the other in one folder."""


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain[-1])
def test_the_code_of_a_page_runs(chain: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    names: dict[str, object] = {"__name__": "page"}
    for page in chain:
        assert blocks(DOCS / f"{page}.md")
        run_page(DOCS / f"{page}.md", names)


def test_every_page_with_code_is_run() -> None:
    run = {f"{page}.md" for chain in CHAINS for page in chain}
    elsewhere = {"datasets.md", "contributing.md"}  # a cluster and a checkout; nothing a test could run
    with_code = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if blocks(path)}
    assert with_code <= run | elsewhere
