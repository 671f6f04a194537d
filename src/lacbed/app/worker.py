"""A worker: a process that computes what the server sends it, one request at a time.

It reads messages from its standard input and writes messages to its standard output, until its input ends:

    request    {"task": "simulate", "view": {...}, "budget": bytes}
    stop       {"task": "stop"}, while a request is done: give it up; the end is then {"kind": "stopped"}
    answers    {"kind": "progress" | "pattern" | "result" | "facts" | "file" | "fit", ...}, any number of them
    the end    {"kind": "done"}, or {"kind": "error", "message": ...}
"""

from __future__ import annotations

import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lacbed.app.compute import Send
from lacbed.app.files import store
from lacbed.app.limits import Header, StoppedError, check_stop, limit_memory, pack, read_message, watched
from lacbed.app.request import View
from lacbed.app.structure import crystal_of
from lacbed.errors import FileFormatError, LacbedError, MemoryLimitError

if TYPE_CHECKING:
    from lacbed.experiment.experiment import Experiment
    from lacbed.refinement.fit import FitResult


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
    from lacbed.app.compute import surrogate

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
            send({"kind": "done"})
        except StoppedError:
            continue  # the message that stopped it is answered next
        except BaseException as error:
            send({"kind": "error", **explain(error)})


def abilities() -> Header:
    """What this installation can do beside the exact simulation."""
    from lacbed.app.compute import surrogate

    return {"learned": surrogate() is not None, "fit": find_spec("lacbed.refinement.fit") is not None}


def answer(request: Header, payload: bytes, send: Send) -> None:
    """Do one request.

    Raises:
        LacbedError: as the task does.
    """
    from lacbed.app import compute, files
    from lacbed.app.request import parse_view

    task = request["task"]
    if task == "file":
        pattern = files.rebuild_results(request["labels"], request["sizes"], payload)
        send({"kind": "file"}, files.file_bytes(pattern, *files.parse_export(request)))
        return
    view = parse_view(request["view"])
    if task == "describe":
        from lacbed.app.structure import crystal_of, describe

        facts, image = describe(view)
        send({"kind": "facts", **facts, "cif": crystal_of(view).to_cif()}, image.tobytes())
    elif task == "fit":
        fit(view, files.parse_files(request["files"], payload), send, request["budget"])
    else:
        steps = {
            "preview": compute.preview,
            "simulate": compute.simulate,
            "series": compute.series,
            "montage": compute.montage,
        }
        steps[task](view, send, request["budget"])


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


def fit(view: View, files: Mapping[str, bytes], send: Send, budget: int) -> None:
    """Read an experiment, find thickness and common geometry, and send both stacks with the figures of merit.

    The pages of the stacks are measured and simulated images in turn, float32: (reflection, 2, ky, kx).

    Raises:
        FileFormatError: if the files are no experiment.
        SettingError: if the crystal cannot show the measured reflections.
        MemoryLimitError: if the images are more than one computation may hold.
    """
    from lacbed.refinement.fit import fit
    from lacbed.refinement.options import FitSettings

    send({"kind": "progress", "phase": "reading the measured patterns", "fraction": None}, b"")
    crystal = crystal_of(view)
    experiment = _read(files)
    need = 8 * experiment.images.size * 40
    if need > budget:
        raise MemoryLimitError(
            f"{len(experiment.hkl)} images of {experiment.pixels} x {experiment.pixels} pixels need about "
            f"{need / 2**30:.1f} GiB; bin them"
        )
    measured = {"kind": "measured", **_about_experiment(experiment), "crystal": crystal.name}
    send(measured, experiment.images.astype("<f4").tobytes())
    settings = FitSettings(view.tried_thicknesses, view.absorption, device="cpu")  # type: ignore[arg-type]
    last = 0.0

    def tick(fraction: float) -> None:
        nonlocal last
        check_stop()
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            send({"kind": "progress", "phase": "fitting the thickness", "fraction": fraction}, b"")

    start = time.perf_counter()
    send({"kind": "progress", "phase": "choosing the number of beams", "fraction": None}, b"")
    result = fit(experiment, crystal, settings, tick)
    header = {"crystal": crystal.name, **_header(experiment, result, time.perf_counter() - start)}
    send(header, _payload(experiment, result))


def _read(files: Mapping[str, bytes]) -> Experiment:
    """The experiment in the files; messages name no place on the disk."""
    from lacbed.experiment.folder import load_experiment

    with tempfile.TemporaryDirectory(prefix="lacbed-") as folder:
        path = store(files, Path(folder))
        try:
            return load_experiment(path)
        except FileFormatError as error:
            text = str(error).replace(f"{folder}/", "").replace(folder, "the dropped files")
            raise FileFormatError(text) from None


def _about_experiment(experiment: Experiment) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "pixels": experiment.pixels,
        "hkl": [list(g) for g in experiment.hkl],
        "zone_axis": list(experiment.zone_axis),
        "voltage": experiment.energy / 1e3,
        "half_width": experiment.half_width,
    }


def _header(experiment: Experiment, result: FitResult, seconds: float) -> dict[str, Any]:
    return {
        "kind": "fit",
        **_about_experiment(experiment),
        "z": _numbers(result.merits.z),
        "z_aligned": _numbers(result.merits.z_aligned),
        "thickness": result.thickness,
        "scan": [[t, z] for t, z in result.scan if math.isfinite(z)],
        "scale": result.placement.scale,
        "blur": result.placement.blur,
        "rotation": math.degrees(result.placement.rotation),
        "half_width": result.experiment.half_width,
        "stated_half_width": result.stated_half_width,
        "beams": result.beams,
        "warnings": list(result.warnings),
        "seconds": seconds,
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values]


def _payload(experiment: Experiment, result: FitResult) -> bytes:
    pairs = np.stack([experiment.images, result.simulation.values[0]], axis=1)
    return pairs.astype("<f4").tobytes()


if __name__ == "__main__":
    main()
