"""The site builds without a warning, asks nobody for anything, and shows what the program has."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS, ROOT

GALLERY_BYTES = 4_000_000
_LOADED = re.compile(r'<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)="([^"]*)"')


def _need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        message = f"{module} is not installed (extra docs)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _need("material")
    folder = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    return folder


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = _LOADED.findall(page.read_text(encoding="utf-8"))
        outside = [url for url in loaded if url.startswith(("http:", "https:", "//"))]
        assert not outside, page
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", styles)


def test_formulas_are_drawn_without_a_script(site: Path) -> None:
    physics = (site / "physics.html").read_text(encoding="utf-8")
    assert physics.count("<math ") > 20
    assert "arithmatex" not in physics
    assert "\\mathbf" not in physics


def test_every_command_is_in_the_reference(site: Path) -> None:
    import typer

    from lacbed.cli.program import app

    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        assert f'id="{name}"' in text
        for inner in getattr(command, "commands", {}):
            assert f'id="{name}-{inner}"' in text
    for parameter in root.commands["simulate"].params:
        assert parameter.opts[0] in text or parameter.name.upper() in text


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    import lacbed

    text = (site / "reference" / "api.html").read_text(encoding="utf-8")
    missing = [name for name in lacbed.__all__ if f"lacbed.{name}" not in text and f".{name}" not in text]
    assert not missing


def test_the_gallery_is_whole_and_small() -> None:
    sys.path.insert(0, str(DOCS))
    try:
        from lacbed_docs.gallery import PICTURES
    finally:
        sys.path.remove(str(DOCS))
    names = [picture.name for picture in PICTURES]
    assert len(set(names)) == len(names) >= 24
    files = {path.stem: path.stat().st_size for path in (DOCS / "gallery").glob("*.png")}
    assert set(files) == set(names)
    assert sum(files.values()) < GALLERY_BYTES


def test_a_picture_of_the_gallery_is_what_the_program_computes() -> None:
    import numpy as np
    from matplotlib.image import imread

    sys.path.insert(0, str(DOCS))
    try:
        from lacbed_docs.gallery import PICTURES, draw
    finally:
        sys.path.remove(str(DOCS))
    picture = next(p for p in PICTURES if p.name == "gaas-011-p")  # no symmetry that could hide a mistake
    image = draw(picture, 48)
    stored = imread(DOCS / "gallery" / f"{picture.name}.png")[::-1]
    if stored.ndim == 3:
        stored = stored[..., 0]
    coarse = stored.reshape(48, 8, 48, 8).mean(axis=(1, 3))
    agreement = np.corrcoef(np.clip(image, 0, None).ravel() ** 0.8, coarse.ravel())[0, 1]
    assert agreement > 0.97


def test_the_notebooks_run(tmp_path: Path) -> None:
    """One after the other in one kernel, which forgets each before the next."""
    _need("nbclient")
    _need("ipykernel")
    # The one that is made from a page has the page's code, which another test runs.
    paths = sorted(path for path in (DOCS / "notebooks").glob("*.ipynb") if path.stem != "benchmark")
    assert len(paths) >= 3
    for path in paths:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert all(cell.get("outputs", []) == [] for cell in cells)
    code = (
        "import sys, nbformat\nfrom nbclient import NotebookClient\n"
        "books = [nbformat.read(path, as_version=4) for path in sys.argv[1:]]\n"
        "whole = nbformat.v4.new_notebook(metadata=books[0].metadata)\n"
        "for book in books:\n"
        "    whole.cells += [nbformat.v4.new_code_cell('%reset -f'), *book.cells]\n"
        "NotebookClient(whole, timeout=300, kernel_name='python3').execute()\n"
        "for book in books:\n    print(sum(bool(cell.get('outputs')) for cell in book.cells))"
    )
    environment = {**os.environ, "MPLBACKEND": "agg", "IPYTHONDIR": str(tmp_path), "JUPYTER_PLATFORM_DIRS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, paths)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    shown = [int(line) for line in run.stdout.split()]
    assert len(shown) == len(paths)
    assert min(shown) >= 1  # figures show nothing under agg


def test_the_notebooks_are_the_ones_written_in_the_script() -> None:
    _need("nbformat")
    sys.path.insert(0, str(DOCS))
    try:
        from lacbed_docs.notebooks import NOTEBOOKS, notebook
    finally:
        sys.path.remove(str(DOCS))
    assert "".join(NOTEBOOKS["benchmark"]).count("!lacbed") == 5
    for name, cells in NOTEBOOKS.items():
        assert (DOCS / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8") == notebook(cells)


def test_where_a_change_goes() -> None:
    """Every path in the table of the contributing page exists, and holds the name that stands before it."""
    page = (DOCS / "contributing.md").read_text(encoding="utf-8")
    table = page.split("## Where a change goes")[1].split("\n\n")[2]
    rows = [line for line in table.splitlines()[2:] if line.startswith("|")]
    assert len(rows) >= 10
    for row in rows:
        paths = re.findall(r"`([\w./]+(?:\.py|\.json|\.md|/))`", row)
        assert paths, row
        for path in paths:
            assert (ROOT / path if path.startswith("docs/") else ROOT / "src" / "lacbed" / path).exists(), path
        for name, path in re.findall(r"`(\w+)` in `([\w./]+\.py)`", row):
            source = ROOT / path if path.startswith("docs/") else ROOT / "src" / "lacbed" / path
            assert re.search(rf"^(?:def |class )?{name}\b", source.read_text(encoding="utf-8"), re.MULTILINE), row
