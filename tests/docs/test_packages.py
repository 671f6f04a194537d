"""Wheel and sdist: built, installed into an empty environment, and the five-minute start run there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(words: list[str], folder: Path, **extra: str) -> str:
    """What a program prints; the test fails with all of it if the program does."""
    done = subprocess.run(words, cwd=folder, env={**CLEAN, **extra}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and an sdist of the tree, by the build program that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("packages")
    wanted = re.search(r'requires = \["(.+?)"\]', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert wanted is not None
    builder = folder / "builder"
    fetched = subprocess.run(
        [*PIP, "install", "--target", str(builder), wanted[1]], check=False, capture_output=True
    )
    if fetched.returncode:
        message = f"{wanted[1]} cannot be fetched, which builds the packages"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "sdist", "-t", "wheel"]
    run(words, ROOT, PYTHONPATH=str(builder))
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def environment(packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel; its dependencies are those of the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    run(
        [*PIP, "--python", str(folder / "bin" / "python"), "install", "--no-deps", "--no-index", str(packages[0])],
        ROOT,
    )
    site = next((folder / "lib").glob("python*/site-packages"))
    # A .pth in a folder that is named here is not followed, so that the tree of the tests stays out of it.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return folder


def blocks(page: str, kind: str) -> list[str]:
    """The code of one kind on a page of the documentation."""
    return re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"), re.M | re.S)


def test_the_five_minute_start_runs_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    python = str(environment / "bin" / "python")
    where = run([python, "-c", "import lacbed; print(lacbed.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(environment)
    commands = [line for block in blocks("start.md", "sh") for line in block.splitlines() if line]
    assert len(commands) >= 2
    for command in commands:
        run(["/bin/sh", "-ec", command], tmp_path, PATH=path)
    assert (tmp_path / "first.png").read_bytes().startswith(b"\x89PNG")
    code = blocks("start.md", "python")
    assert len(code) >= 2
    (tmp_path / "start.py").write_text("\n".join(code), "utf-8")
    assert "mrad" in run([python, "start.py"], tmp_path)
    assert "lacbed" in run(["lacbed", "--version"], tmp_path, PATH=path)


def test_the_wheel_has_all_that_the_package_reads(packages: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(packages[0]).namelist())
    tree = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "lacbed").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tree <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]


def test_the_sdist_builds_the_same_wheel(packages: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = packages
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path / "again"), "-t", "wheel"]
    run(words, tree, PYTHONPATH=str(wheel.parent / "builder"))
    (again,) = (tmp_path / "again").glob("*.whl")
    first, second = (
        {i.filename: i.CRC for i in zipfile.ZipFile(path).infolist() if not i.filename.endswith("/RECORD")}
        for path in (wheel, again)
    )
    assert first == second
