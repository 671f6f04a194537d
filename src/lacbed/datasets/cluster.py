"""The workers of a Dask cluster as a pool."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from lacbed.datasets.workers import WorkerPool, workers_lost
from lacbed.errors import MissingExtraError, SettingError
from lacbed.io.atomic import reason

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer."""

_ADDRESS = re.compile(r"([a-z]+://)?(\[[^\]\s]+\]|[^\s/:\[\]]+):\d+")
_AHEAD = 2
"""Rows handed out for each worker of a cluster, so that none waits for its next one."""


@contextmanager
def cluster(address: str, device: str = "auto") -> Iterator[WorkerPool]:
    """The workers of a Dask scheduler, however many there are at any moment.

    Args:
        address: of the scheduler.
        device: see `lacbed.datasets.workers.WorkerPool`.

    Raises:
        MissingExtraError: without dask.distributed.
        SettingError: if no scheduler answers within `CONNECT_SECONDS`.
    """
    try:
        distributed: Any = import_module("dask.distributed")
    except ImportError:
        raise MissingExtraError('--scheduler needs dask.distributed: pip install "lacbed[dask]"') from None
    if not _ADDRESS.fullmatch(address):
        raise SettingError(
            f"no Dask scheduler answers at {address!r}: expected an address such as tcp://HOST:8786"
        )
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters comes as an exception
    _check_answer(address)
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise SettingError(f"no Dask scheduler answers at {address!r}: {reason(error)}") from None
    try:
        executor = client.get_executor(pure=False)
        yield WorkerPool(executor, _Width(client), device=device)
    finally:
        with suppress(Exception):  # the scheduler may be gone, and what counts is on the disk
            executor.shutdown(wait=False)
            client.close()


def _check_answer(address: str) -> None:
    """Shake hands once within a deadline: Dask's own client waits for ever where a port is open and silent."""
    try:
        with ThreadPoolExecutor(1) as pool:  # a thread, since the caller's may have a running event loop
            pool.submit(asyncio.run, _shake_hands(address)).result()
    except TimeoutError:
        raise SettingError(
            f"no Dask scheduler answers at {address!r}: no answer for {CONNECT_SECONDS:g} s; "
            "check the address, and that a scheduler is running there"
        ) from None
    except Exception as error:  # strangers at the other end can answer anything
        raise SettingError(f"no Dask scheduler answers at {address!r}: {reason(error)}") from None


async def _shake_hands(address: str) -> None:
    comm: Any = import_module("distributed.comm")
    connection = await asyncio.wait_for(comm.connect(address, timeout=CONNECT_SECONDS), CONNECT_SECONDS)
    connection.abort()


class _Width:
    """Rows that may be out on a cluster: some for each thread, at least one; asked for once a second."""

    def __init__(self, client: Any) -> None:
        self._client, self._asked, self._width = client, 0.0, 1

    def __call__(self) -> int:
        if time.monotonic() - self._asked > 1.0:
            try:
                self._width = max(1, _AHEAD * sum(self._client.nthreads().values()))
            except Exception as error:
                raise workers_lost(error) from None
            self._asked = time.monotonic()
        return self._width
