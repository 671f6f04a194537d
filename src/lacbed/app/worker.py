"""A worker: a process that computes what the server sends it, one request at a time.

It reads messages from its standard input and writes messages to its standard output, until its input ends:

    request    {"task": "simulate", "view": {...}, "budget": bytes}
    stop       {"task": "stop"}, while a request is done: give it up; the end is then {"kind": "stopped"}
    answers    {"kind": "progress" | "pattern" | "result" | "facts" | "figure" | "fit" | "solved", ...}, any number
    the end    {"kind": "done", "kept": names of zones}, or {"kind": "error", "message": ...}
"""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from typing import BinaryIO

from lacbed.app.limits import KEPT_BYTES, Header, Send, StoppedError, limit_memory, pack, read_message, watched
from lacbed.errors import LacbedError


def main() -> None:
    """Serve until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes the pipe
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not get between the messages
    memory = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    warm_up()
    if memory:
        limit_memory(memory)
    watched.append(sys.stdin.fileno())
    serve(sys.stdin.buffer, pipe)


def warm_up() -> None:
    """Import what every task needs, and load the learned model."""
    import xarray  # noqa: F401

    import lacbed.converge
    from lacbed.app.learned import surrogate

    assert lacbed.converge
    surrogate()


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer every request of a pipe."""

    def send(header: Header, payload: bytes = b"") -> None:
        outgoing.write(pack(header, payload))
        outgoing.flush()

    send({"kind": "ready", **abilities()})
    while (message := read_message(incoming)) is not None:
        if message[0]["task"] == "stop":  # it had come to its end by itself
            send({"kind": "stopped"})
            continue
        try:
            answer(message[0], message[1], send)
            send({"kind": "done", "kept": kept_zones()})
        except StoppedError:
            continue  # the message that stopped it is answered next
        except BaseException as error:
            send({"kind": "error", **explain(error)})


def abilities() -> Header:
    """What this installation can do beside the exact simulation."""
    from lacbed.app.learned import surrogate

    return {"learned": surrogate() is not None, "fit": find_spec("lacbed.refinement.fit") is not None}


def kept_zones() -> list[str]:
    """Names of the zones that this worker keeps, the last one last."""
    held = sys.modules.get("lacbed.app.held")
    return held.names() if held else []


def answer(request: Header, payload: bytes, send: Send) -> None:
    """Do one request.

    Raises:
        LacbedError: as the task does.
    """
    from lacbed.app import compute, files
    from lacbed.app.held import let_go
    from lacbed.app.request import parse_view

    task = request["task"]
    if task == "figure":
        from lacbed.app.figure import figure_bytes, parse_layout

        patterns = files.separate_results(request["labels"], request["sizes"], payload)
        content, caption = figure_bytes(patterns, parse_layout(request["layout"]), request["b_iso"])
        send({"kind": "figure", "caption": caption}, content)
        return
    if task == "file":
        pattern = files.rebuild_results(request["labels"], request["sizes"], payload)
        send({"kind": "file"}, files.file_bytes(pattern, *files.parse_export(request)))
        return
    view = parse_view(request["view"])
    if task == "describe":
        from lacbed.app.structure import describe

        facts, image = describe(view)
        send({"kind": "facts", **facts}, image.tobytes())
    elif task == "extract":
        from lacbed.app import frame_files, frames

        series = frame_files.parse_frames(request["files"], payload)
        frames.extract(view, frames.parse_extraction(request["extract"]), series, send, request["budget"])
    elif task in ("fit", "refine", "solve"):
        from lacbed.app import bench

        measured = files.parse_files(request["files"], payload)
        if task == "solve":
            from lacbed.app.solving import parse_search, solve

            solve(parse_search(request["solve"], request["longest"]), measured, send, request["budget"])
        elif task == "fit":
            bench.fit(view, measured, send, request["budget"])
        else:
            bench.refine(view, measured, send, request["budget"], request["around"])
    else:
        steps = {
            "preview": compute.preview,
            "simulate": compute.simulate,
            "series": compute.series,
            "montage": compute.montage,
            "tilt": compute.tilt,
        }
        try:
            steps[task](view, send, request["budget"])
        finally:  # a zone stays when its series is given up
            let_go(KEPT_BYTES)


def explain(error: BaseException) -> Header:
    """An error in plain words, and whether it is one that the user can fix."""
    if isinstance(error, LacbedError):
        return {"message": " ".join(str(error).split()), "yours": True}
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        from lacbed.app.held import let_go

        let_go()
        return {"message": "this needs more memory than is available; ask for fewer pixels", "yours": True}
    sys.stderr.write(f"lacbed app: {type(error).__name__}: {error}\n")
    return {"message": f"a bug in lacbed ({type(error).__name__}); please report it", "yours": False}


if __name__ == "__main__":
    main()
