"""A benchmark of two dozen small crystals, built in this process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lacbed.benchmark.definition import digest_of, entries, load_definition
from lacbed.benchmark.task_data import plan_of
from lacbed.datasets.build import build
from lacbed.datasets.workers import here

COMMON = """
pixels = 12
extent = 2.0
thicknesses = [200, 400]
absorption = "none"
solver = "fast"
dtype = "float32"
tolerance_z = 0.5
tolerance_intensity = 0.9
max_beams = 900
potential_pixels = 16
"""
TEXT = f"""
name = "tiny"
prefix = "X"
licence = "CC0-1.0"
[crystals]
seed = 5
rows = 26
prototypes = ["fcc", "bcc", "CsCl", "zinc blende", "ReO3"]
strained = 0.3
sha256 = "?"
[splits]
seed = 0
[data.000]
{COMMON}
[data.ten]
hkl = [[0, 0, 0], [2, 0, 0], [2, 2, 0]]
{COMMON}
[tasks.forward-000]
data = "000"
predicts = "pattern"
[tasks.forward-ten]
data = "ten"
predicts = "pattern"
[tasks.inverse-000]
data = "000"
predicts = "potential"
[tasks.inverse-ten]
data = "ten"
predicts = "potential"
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the definition."""
    path = tmp_path_factory.mktemp("definition") / "tiny.toml"
    path.write_text(TEXT)
    with pytest.raises(ValueError, match="generates others") as found:
        entries(load_definition(str(path)))
    assert "use the version" in str(found.value)
    load_definition.cache_clear()
    path.write_text(TEXT.replace('"?"', f'"{_digest(path)}"'))
    return str(path)


def _digest(path: Path) -> str:
    from lacbed.benchmark.definition import _entries

    d = load_definition(str(path))
    digest = digest_of(_entries(d.prefix, d.seed, d.prototypes, d.strained, d.rows))
    load_definition.cache_clear()
    assert re.fullmatch("[0-9a-f]{64}", digest)
    return digest


def _built(definition: str, data: str, folder: Path) -> Path:
    loaded = load_definition(definition)
    build(plan_of(loaded, data, entries(loaded)), folder / f"{data}.zarr", here)
    return folder / f"{data}.zarr"


@pytest.fixture(scope="session")
def data_000(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its data of one reflection."""
    return _built(tiny, "000", tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def data_ten(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its data of several reflections."""
    return _built(tiny, "ten", tmp_path_factory.mktemp("ten"))
