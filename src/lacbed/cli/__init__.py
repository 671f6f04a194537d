"""The command line. Nothing slow is imported before a command runs, so that help and completion are quick."""

from lacbed.cli.program import app, main, run

__all__ = ["app", "main", "run"]
