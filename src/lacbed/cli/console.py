"""What is printed: results on stdout, progress on stderr, one JSON object if asked."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacbed.report import finite

if TYPE_CHECKING:
    from lacbed.datasets.build import Progress


SHOW_AFTER = 2.0
"""Seconds before a progress bar appears."""


class Reporter:
    """Prints for people, or for programs, or not at all.

    Args:
        quiet: print nothing.
        as_json: print only the object given to `finish`.
    """

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.talks = not quiet and not as_json
        self.as_json = as_json

    def say(self, text: str = "") -> None:
        """A line for people."""
        if self.talks:
            sys.stdout.write(text + "\n")

    def warn(self, text: str) -> None:
        """A line about a doubt, for people; programs find it in the result."""
        self.say(f"  warning: {text}")

    def remark(self, text: str) -> None:
        """A line on stderr before work begins, such as how long it will take."""
        if self.talks and text:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def finish(self, result: dict[str, Any]) -> None:
        """The result for programs."""
        if self.as_json:
            sys.stdout.write(json.dumps(finite(result), ensure_ascii=False) + "\n")

    @contextmanager
    def progress(self, title: str, measured: bool = True) -> Iterator[Callable[[float], None] | None]:
        """A bar on stderr for work that takes more than two seconds; yields what takes the fraction done.

        Args:
            title: of the bar.
            measured: whether fractions will come; if not the bar only shows that work goes on.
        """
        if not self.talks or not sys.stderr.isatty():
            yield None
            return
        bar = _Bar(title, measured)
        timer = threading.Timer(SHOW_AFTER, bar.show)
        timer.daemon = True
        timer.start()
        try:
            yield bar
        finally:
            timer.cancel()
            bar.close()


class _Bar:
    """A rich progress bar that is created only when it is shown."""

    def __init__(self, title: str, measured: bool) -> None:
        self._title = title
        self._total = 1.0 if measured else None
        self._fraction = 0.0
        self._lock = threading.Lock()
        self._bar: Any = None
        self._task: Any = None
        self._closed = False

    def show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
        )
        with self._lock:
            if self._closed:
                return
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._title, total=self._total, completed=self._fraction)
            self._bar.start()

    def __call__(self, fraction: float) -> None:
        """Move the bar to the fraction done."""
        with self._lock:
            self._fraction = fraction
            if self._bar is not None:
                self._bar.update(self._task, completed=fraction)

    def describe(self, text: str) -> None:
        """Change the title to what the work is at."""
        with self._lock:
            self._title = text
            if self._bar is not None:
                self._bar.update(self._task, description=text)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._bar is not None:
                self._bar.stop()


def columns(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Rows of text as aligned lines; the first row is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def size_text(path: Path) -> str:
    """Size of a file or folder: "1.2 MB"."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    size = float(sum(p.stat().st_size for p in files))
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def version() -> str:
    """Version of the installed package."""
    from importlib import metadata

    try:
        return metadata.version("lacbed")
    except metadata.PackageNotFoundError:
        return "(not installed)"


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
