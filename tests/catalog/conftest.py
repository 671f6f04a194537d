"""Catalogues that several tests use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lacbed.catalog.generate import generate_rows
from lacbed.catalog.schema import Row


@pytest.fixture(scope="session")
def cubic(shared: Callable[[str], Path]) -> Path:
    """The open catalogue of cubic crystals."""
    return shared("data/cubic.parquet")


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """120 generated rows, seed 3."""
    return generate_rows(120, 3)
