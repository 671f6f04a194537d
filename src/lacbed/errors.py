"""Errors meant for users: what was expected, what came, what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class LacbedError(Exception):
    """Base class of every error that a user can cause and can mend.

    The message is one plain sentence or two; the command line prints it on one line and exits with code 2.
    """


class CrystalError(LacbedError, ValueError):
    """A crystal or a CIF that cannot be used."""


class ScatteringError(LacbedError, ValueError):
    """A scattering-factor table or absorption model that does not apply."""


class SettingError(LacbedError, ValueError):
    """A simulation setting outside what is physically or numerically possible."""


class MemoryLimitError(LacbedError, MemoryError):
    """A request that needs more memory than there is, with the estimate."""


class FileFormatError(LacbedError, ValueError):
    """A file that cannot be read or written."""


class MissingExtraError(LacbedError, ImportError):
    """An optional dependency that is needed and not installed."""


class FetchError(LacbedError, RuntimeError):
    """A database on the network that cannot be reached, refuses, or answers in an unknown way."""


class TrainingError(LacbedError, RuntimeError):
    """Training that cannot go on."""


@contextmanager
def without_log(library: str) -> Iterator[None]:
    """Keep a library from logging what an exception is going to say, or what does not matter."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
