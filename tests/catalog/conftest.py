"""Catalogues that several tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lacbed.catalog.generate import generate_rows
from lacbed.catalog.schema import Row

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="session")
def cubic() -> Path:
    """The open catalogue of cubic crystals; without it the test is skipped, but never in CI."""
    path = SHARED / "data" / "cubic.parquet"
    if path.is_file():
        return path
    message = "the catalogue of cubic crystals is not on this machine"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """120 generated rows, seed 3."""
    return generate_rows(120, 3)
