"""The program `lacbed`: its commands, and how every outcome becomes an exit code.

0 done, 1 a fault of the program, 2 something the user can fix (one line on stderr), 130 stopped by
Ctrl-C, 143 stopped by SIGTERM.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from lacbed.cli import (
    benchmark,
    catalog,
    convert,
    dataset,
    experiment,
    fetch,
    fit,
    identify,
    learn,
    page,
    patterns,
    plan,
    predict,
    refine,
    simulate,
    solve,
)
from lacbed.cli.leaving import INTERRUPTED, TERMINATED, Terminated, listen, say_stopped
from lacbed.errors import LacbedError

_OF_THE_SYSTEM = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "ENFILE", "EFBIG", "ELOOP")
    if hasattr(errno, name)
)
"""What the operating system refuses for reasons that are not in the program: a full disk, missing rights."""

app = typer.Typer(
    name="lacbed",
    help="Large-angle convergent-beam electron diffraction (LACBED): exact patterns from a CIF, in seconds.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)
for _name, _command in (
    ("simulate", simulate.simulate_command),
    ("potential", patterns.potential_command),
    ("cbed", patterns.cbed_command),
    ("compare", patterns.compare_command),
    ("convergence", simulate.convergence_command),
    ("convert", convert.convert_command),
    ("crystals", convert.crystals_command),
    ("info", patterns.info_command),
    ("app", page.command),
    ("predict", predict.command),
    ("train", learn.train_command),
    ("evaluate", learn.evaluate_command),
    ("learning-curve", learn.learning_curve_command),
    ("export", learn.export_command),
    ("fit", fit.command),
    ("refine", refine.command),
    ("identify", identify.identify_command),
    ("retrieve", identify.retrieve_command),
    ("solve", solve.command),
    ("plan", plan.command),
):
    app.command(name=_name)(_command)
catalog.app.add_typer(fetch.app)
app.add_typer(catalog.app)
app.add_typer(dataset.app)
app.add_typer(benchmark.app)
app.add_typer(experiment.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from lacbed.cli.console import version

        typer.echo(f"lacbed {version()}")
        raise typer.Exit(0)


@app.callback()
def _root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@functools.cache
def _tree() -> Callable[..., Any]:
    """The tree of the commands, read from the signatures once a process: that takes longer than most commands."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors are printed in one line on stderr.

    Args:
        arguments: the words after the program's name; default those of the process.
    """
    undo = listen()
    try:
        words = None if arguments is None else list(arguments)
        outcome = _tree()(args=words, prog_name="lacbed", standalone_mode=False)
        sys.stdout.flush()
        code = outcome if isinstance(outcome, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Terminated:
        code = TERMINATED
    except Exception as error:
        code = _explain(error)
    finally:
        undo()
    if code in (INTERRUPTED, TERMINATED):
        say_stopped()
    return code


def _explain(error: Exception) -> int:
    if isinstance(error, LacbedError):
        return _fail(str(error), 2)
    if isinstance(error, BrokenPipeError):  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        what = "the output" if error.filename is None else repr(str(error.filename))
        if error.filename is None:  # what cannot be printed now cannot be printed later either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(f"cannot use {what}: {error.strerror}", 2)
    if _is_usage_error(error):
        return _fail(_usage_text(error), 2)
    return _fail_inside(error)


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"lacbed: {line}\n")
    return code


def _is_usage_error(error: Exception) -> bool:
    """Errors of the command line itself; typer brings click along, or imports it, depending on its version."""
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)


def _usage_text(error: Any) -> str:
    context = getattr(error, "ctx", None)
    where = f"; see {context.command_path} --help" if context is not None else ""
    return f"{str(error.format_message()).rstrip('. ')}{where}"


def _fail_inside(error: Exception) -> int:
    if os.environ.get("LACBED_TRACEBACK"):
        raise error
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    hint = "this is a bug in lacbed; please report it with the output under LACBED_TRACEBACK=1"
    return _fail(f"{text} ({hint})", 1)
