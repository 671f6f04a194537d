"""Frames in the formats that microscopes and cameras write, read lazily through RosettaSciIO."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from lacbed.errors import FileFormatError, MissingExtraError
from lacbed.experiment.extract.series import FrameSeries, as_series
from lacbed.experiment.signals import quiet

READERS = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".mib": "quantumdetector",
    ".mrc": "mrc",
    ".blo": "blockfile",
    ".xml": "empad",
    ".emd": "emd",
    ".tvips": "tvips",
    ".de5": "de5",
}
"""Readers of RosettaSciIO by suffix."""

_COUNTS = {b"U08": 1, b"U16": 2, b"U32": 4}


def read_signal(path: Path, scan: tuple[int, int] | None) -> FrameSeries:
    """The largest signal of a file that RosettaSciIO reads, lazily.

    Raises:
        FileFormatError: if it holds no series of frames.
        MissingExtraError: if RosettaSciIO, or what it needs for this format, is not installed.
    """
    ending = path.suffix.lower()
    try:
        module = importlib.import_module(f"rsciio.{READERS[ending]}")
    except ImportError as error:
        missing = (error.name or "rsciio").partition(".")[0]
        needed = {"rsciio": "RosettaSciIO", "skimage": "RosettaSciIO with scikit-image"}
        raise MissingExtraError(
            f'{path.suffix} files need {needed.get(missing, missing)}: pip install "lacbed[extract]", or save as '
            ".npy or HDF5"
        ) from None
    known = _merlin(path) if ending == ".mib" else {}
    with quiet():
        signals = module.file_reader(str(path), lazy=True, **known)
    frames = [s["data"] for s in signals if s["data"].ndim in (3, 4)]
    if not frames:
        raise FileFormatError("it holds no series of frames, only single images or spectra")
    return as_series(max(frames, key=lambda a: math.prod(a.shape)), scan, path.name)


def _merlin(path: Path) -> dict[str, Any]:
    """What a Merlin file without the rows of its scan in an .hdr file is read as: a plain list of frames.

    RosettaSciIO would take the first frame that comes late for the beginning of a row, and leave out the frames
    that fill no row of that length.
    """
    with path.open("rb") as stream:
        head = stream.read(384).split(b",")
    if len(head) < 7 or head[0] != b"MQ1":
        raise FileFormatError("it does not begin like a file of a Merlin detector")
    if head[6] not in _COUNTS:
        raise FileFormatError(
            f"it holds {head[6].decode('latin1')} values, as the chips send them; save processed frames (U08, U16 "
            "or U32)"
        )
    note = path.with_suffix(".hdr")
    if note.is_file():
        lines = note.read_text("latin1").splitlines()
        per_row = [line.partition("\t")[2] for line in lines if line.startswith("Frames per Trigger (Number)")]
        if per_row and not per_row[0].strip().isdecimal():
            raise FileFormatError(f"{note.name} beside it has no number of frames per trigger: {per_row[0]!r:.40}")
        if per_row and int(per_row[0]) > 1:
            return {}
    frame = int(head[2]) + int(head[4]) * int(head[5]) * _COUNTS[head[6]]
    return {"navigation_shape": (path.stat().st_size // frame,)}
