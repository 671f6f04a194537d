"""A worker: a process that computes what the server sends it, one request at a time.

It reads messages from its standard input and writes messages to its standard output, until its input ends:

    request    {"task": "simulate", "view": {...}, "budget": bytes}
    answers    {"kind": "progress" | "pattern" | "result" | "facts" | "file" | "fit", ...}, any number of them
    the end    {"kind": "done"}, or {"kind": "error", "message": ...}
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, BinaryIO

from lacbed.app.limits import limit_memory
from lacbed.app.messages import pack, read_message
from lacbed.errors import LacbedError

Header = dict[str, Any]
Send = Callable[[Header, bytes], None]


def main() -> None:
    """Serve until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes the pipe
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not get between the messages
    memory = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    warm_up()
    if memory:
        limit_memory(memory)
    serve(sys.stdin.buffer, pipe)


def warm_up() -> None:
    """Import what every task needs, and load the learned model."""
    import xarray  # noqa: F401

    import lacbed.converge
    from lacbed.app import learned

    assert lacbed.converge
    learned.surrogate()


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer every request of a pipe."""

    def send(header: Header, payload: bytes = b"") -> None:
        outgoing.write(pack(header, payload))
        outgoing.flush()

    send({"kind": "ready", **abilities()})
    while (message := read_message(incoming)) is not None:
        try:
            answer(message[0], message[1], send)
            send({"kind": "done"})
        except BaseException as error:
            send({"kind": "error", **explain(error)})


def abilities() -> Header:
    """What this installation can do beside the exact simulation."""
    from lacbed.app import learned

    return {"learned": learned.surrogate() is not None, "fit": find_spec("lacbed.refinement.fit") is not None}


def answer(request: Header, payload: bytes, send: Send) -> None:
    """Do one request.

    Raises:
        LacbedError: as the task does.
    """
    from lacbed.app import compute, export
    from lacbed.app.request import parse_view

    task = request["task"]
    if task == "file":
        ending, thickness = export.parse_export(request)
        pattern = export.rebuild_result(request["labels"], payload)
        send({"kind": "file"}, export.file_bytes(pattern, ending, thickness))
        return
    view = parse_view(request["view"])
    if task == "describe":
        from lacbed.app.structure import crystal_of, describe

        facts, image = describe(view)
        send({"kind": "facts", **facts, "cif": crystal_of(view).to_cif()}, image.tobytes())
    elif task == "fit":
        from lacbed.app.fit import fit
        from lacbed.app.uploads import parse_files

        fit(view, parse_files(request["files"], payload), send, request["budget"])
    else:
        steps = {"preview": compute.preview, "simulate": compute.simulate, "montage": compute.montage}
        steps[task](view, send, request["budget"])


def explain(error: BaseException) -> Header:
    """An error in plain words, and whether it is one that the user can fix."""
    if isinstance(error, LacbedError):
        return {"message": " ".join(str(error).split()), "yours": True}
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return {"message": "this needs more memory than is available; ask for fewer pixels", "yours": True}
    sys.stderr.write(f"lacbed app: {type(error).__name__}: {error}\n")
    return {"message": f"a bug in lacbed ({type(error).__name__}); please report it", "yours": False}


if __name__ == "__main__":
    main()
