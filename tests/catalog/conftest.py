"""Catalogues that several tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stand_in import StandIn, serve, world

from lacbed.catalog.files import Row
from lacbed.catalog.generate import generate_rows


@pytest.fixture(scope="session")
def cubic(shared: Callable[[str], Path]) -> Path:
    """The open catalogue of cubic crystals."""
    return shared("data/cubic.parquet")


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """120 generated rows, seed 3."""
    return generate_rows(120, 3)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A server that answers as the COD does; retries come at once."""
    pytest.importorskip("requests")
    pytest.importorskip("spglib")
    from lacbed.catalog.fetch import web

    monkeypatch.setattr(web, "BACKOFF", 0.001)
    running, server = serve(world())
    yield running
    server.shutdown()
    server.server_close()
