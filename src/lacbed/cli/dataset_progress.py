"""Progress of a build: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacbed.datasets.build import Progress

_LINE_EVERY = 60.0


@contextmanager
def build_progress(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """What takes the state of a build and shows it on stderr."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as update:
            yield update
    else:
        yield _Lines()


class _Lines:
    """One line now and then, for the logs of clusters."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, state: Progress) -> None:
        if time.monotonic() - self._last >= _LINE_EVERY:
            self._last = time.monotonic()
            sys.stderr.write(f"{describe(state)}\n")
            sys.stderr.flush()


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console  # slow to import
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    layout: tuple[Any, ...] = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Bar(*layout, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda state: bar.update(task, completed=state.share, description=describe(state))


def describe(state: Progress) -> str:
    """Where a build is: "120 of 1000 crystals, 3 failed, 1.7 per second, 8 min left"."""
    parts = [f"{state.done} of {state.rows} crystals"]
    if state.failed:
        parts.append(f"{state.failed} failed")
    parts.append(f"{state.rate:.2g} per second")
    if state.left:
        parts.append(f"{duration(state.left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time for people: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
