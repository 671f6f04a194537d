"""The command line. Nothing slow is imported before a command runs, so that help and completion are quick.

Nothing at all is imported before `run` listens to Ctrl-C, so that this never ends in a traceback.
"""

from __future__ import annotations

from lacbed.cli.leaving import leave_after

TYPE_CHECKING = False  # of typing, which takes a while
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from lacbed.cli.program import app, main

__all__ = ["app", "main", "run"]


def run() -> NoReturn:
    """The command `lacbed`: the command of the process's words, then the end of the process."""
    leave_after(_main)


def _main() -> Callable[[], int]:
    from lacbed.cli.program import main  # takes a while

    return main


def __getattr__(name: str) -> Any:
    """The parts of the program, imported on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'lacbed.cli' has no attribute {name!r}")
    from lacbed.cli import program

    return getattr(program, name)
