"""How the program begins and ends: Ctrl-C and SIGTERM from the first moment on, and the way out.

130 stopped by Ctrl-C, 143 by SIGTERM; all other exit codes are those of `lacbed.cli.program`, which is imported
only once the signals are listened to, since that takes a while.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time

TYPE_CHECKING = False  # of typing, which takes a while
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

INTERRUPTED, TERMINATED = 130, 143

_LATER = 0.02
"""Seconds until a signal that came during an import is heard again."""


class Terminated(BaseException):
    """SIGTERM, as an exception, so that unfinished files are removed."""


def listen() -> Callable[[], None]:
    """Turn Ctrl-C and SIGTERM into `KeyboardInterrupt` and `Terminated`; gives what undoes this.

    Neither is raised in the middle of an import: libraries take it there for a fault of their own, and some end
    the process. Neither is lost where Python ignores exceptions, as while an object is removed. Both are heard as
    soon as that is done.
    """
    before: dict[int, Any] = {}
    hook = sys.unraisablehook

    def ignored(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            _thread.start_new_thread(_stop_later, (signal.SIGINT, _thread.get_ident()))
        elif isinstance(unraisable.exc_value, Terminated):
            _thread.start_new_thread(_stop_later, (signal.SIGTERM, _thread.get_ident()))
        else:
            hook(unraisable)

    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, _stop)
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _stop)
        sys.unraisablehook = ignored
    except ValueError:  # not in the main thread
        pass

    def undo() -> None:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)

    return undo


def _stop(number: int, frame: FrameType | None) -> None:
    if _must_wait(frame):
        _thread.start_new_thread(_stop_later, (number, _thread.get_ident()))
        return
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _stop_later(number: int, main: int) -> None:
    """Send a signal to the main thread again: a real one, which also ends what it waits for."""
    time.sleep(_LATER)
    if not callable(signal.getsignal(number)):
        return  # whoever listened has left, and by default the signal would end the whole program
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)
    else:
        _thread.interrupt_main(signal.Signals(number))


def _must_wait(frame: FrameType | None) -> bool:
    """Whether a module is being imported, or an object removed, where Python ignores exceptions."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib") or code.co_filename.endswith("weakref.py"):
            return True
        if code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def say_stopped() -> None:
    """The line that ends a program that was stopped."""
    sys.stderr.write("lacbed: stopped; no unfinished file was left behind\n")


def leave_after(load: Callable[[], Callable[[], int]]) -> NoReturn:
    """The program: run the command of the process, then leave.

    Once its threads have run, pyarrow can abort the interpreter while that takes itself apart; by then everything
    is written and what libraries have registered for the exit has run, so that part is left out.
    """
    stopped = False
    try:
        listen()
        code = load()()
    except (KeyboardInterrupt, Terminated) as error:  # before the command or after it
        code, stopped = INTERRUPTED if isinstance(error, KeyboardInterrupt) else TERMINATED, True
    for number in (signal.SIGINT, signal.SIGTERM):  # nothing is left to be stopped in order
        signal.signal(number, lambda *_: os._exit(code))
    if stopped:
        say_stopped()
    if "pyarrow" in sys.modules:
        import atexit
        import threading

        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
