"""Series of frames as files: Merlin and MRC by hand, blockfiles and .hspy by RosettaSciIO, others by their own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr


def write_frames(path: Path, frames: np.ndarray) -> Path:
    """A series (frame, row, column) or (scan row, scan column, row, column) in the format of the ending.

    What has no ending becomes a folder with one file per frame.
    """
    flat = frames.reshape(-1, *frames.shape[-2:])
    if path.suffix == ".npy":
        np.save(path, frames)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["entry/data"] = frames
    elif path.suffix == ".zarr":
        zarr.open_group(str(path), mode="w").create_array("frames", data=frames)
    elif path.suffix == ".zspy":
        experiments = zarr.open_group(str(path), mode="w", zarr_format=2).create_group("Experiments/series")
        experiments.create_array("data", data=frames)
        experiments.create_group("axis-0").attrs.update({"name": "x", "size": frames.shape[0]})
    elif path.suffix == ".tif":
        tifffile.imwrite(path, flat, photometric="minisblack")
    elif path.suffix == ".mib":
        path.write_bytes(merlin(flat))
    elif path.suffix == ".mrc":
        path.write_bytes(mrc(flat))
    elif path.suffix:
        _rosettasciio(path, frames)
    else:
        path.mkdir()
        for i, frame in enumerate(flat):
            np.save(path / f"frame_{i}.npy", frame)
    return path


def merlin(frames: np.ndarray, chips: int = 1) -> bytes:
    """Frames of a Merlin detector: each with its header of text, big-endian, the lowest row first.

    Every seventh frame comes late, which says nothing about the rows of the scan. The header is that of the Merlin
    manual as https://github.com/matkraj/read_mib reads it.
    """
    rows, columns = frames.shape[1:]
    kind = {1: "U08", 2: "U16", 4: "U32"}[frames.dtype.itemsize]
    size, layout = (384, "   1x1") if chips == 1 else (768, "   2x2")
    out = b""
    for number, frame in enumerate(frames):
        time = f"2026-05-18T14:51:00.{number + 5 * ((number + 1) // 7):03d}000000Z"
        words = ["MQ1", f"{number + 1:06d}", f"{size:05d}", f"{chips:02d}", f"{columns:04d}", f"{rows:04d}", kind]
        words += [layout, "01", time[:26].replace("T", " "), "0.001000", "0", "0", "0", "1.200000E+2"]
        words += ["5.110000E+2"] * 7 + ["3RX,175,511,000"] * chips + ["MQ1A", time, "1000000ns", "12", ""]
        head = ",".join(words).encode()
        assert len(head) <= size
        out += head.ljust(size) + frame[::-1].astype(frame.dtype.newbyteorder(">")).tobytes()
    return out


def mrc(frames: np.ndarray) -> bytes:
    """Frames as the sections of a file in the format MRC2014, whose header has 256 words of four bytes."""
    count, rows, columns = frames.shape
    words = np.zeros(256, dtype="<i4")
    words[:4] = columns, rows, count, {"uint8": 0, "int16": 1, "float32": 2, "uint16": 6}[frames.dtype.name]
    words[7:10] = columns, rows, count
    words[10:13] = np.array([columns, rows, count], dtype="<f4").view("<i4")
    words[16:19] = 1, 2, 3
    words[52:54] = np.frombuffer(b"MAP DD\0\0", dtype="<i4")
    return words.tobytes() + frames.astype(frames.dtype.newbyteorder("<")).tobytes()


def _rosettasciio(path: Path, frames: np.ndarray) -> None:
    """Whole counts up to 255 as a blockfile, or anything as .hspy."""
    pytest.importorskip("rsciio")
    if path.suffix == ".blo":
        pytest.importorskip("skimage")
    module = importlib.import_module({".blo": "rsciio.blockfile", ".hspy": "rsciio.hspy"}[path.suffix])
    sizes = enumerate(zip("vuyx"[-frames.ndim :], frames.shape, strict=True))
    signal: dict[str, Any] = {
        "data": frames,
        "axes": [_axis(name, size, i, i < frames.ndim - 2) for i, (name, size) in sizes],
        "metadata": {"General": {"title": ""}, "Signal": {}},
        "package_info": {"package": "test", "package_version": "1"},
        "attributes": {"_lazy": False, "ragged": False},
    } | {name: {} for name in ("original_metadata", "learning_results", "models", "tmp_parameters")}
    module.file_writer(str(path), signal)


def _axis(name: str, size: int, number: int, navigate: bool) -> dict[str, Any]:
    units = "nm" if navigate else "cm"  # what a blockfile holds
    plain = {"_type": "UniformDataAxis", "units": units, "offset": 0.0, "scale": 1.0}
    return plain | {"name": name, "size": size, "index_in_array": number, "navigate": navigate}
