"""Minimal Gatan DigitalMicrograph files, made by hand: the tag format is public, and no library here writes it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {"<f4": (6, 2), "<u2": (4, 10), "<i4": (3, 7)}  # dtype: (tag type, image data type)


def write_dm(path: Path, image: np.ndarray, version: int = 3) -> None:
    """One image (row, column), or (image, row, column), as DM3 or DM4."""
    writer = _Writer(version)
    body = writer.group(_tree(image))
    length = struct.pack(">I" if version == 3 else ">Q", len(body) + 4)
    path.write_bytes(struct.pack(">I", version) + length + struct.pack(">I", 1) + body + bytes(8))


def _tree(image: np.ndarray) -> list[tuple[str, Any]]:
    data = image.astype(image.dtype.newbyteorder("<"))
    kind = _TYPES[data.dtype.str]
    sizes = image.shape[::-1]
    axis = [("Origin", 0.0), ("Scale", 1.0), ("Units", "")]
    image_data = [
        ("Calibrations", [("Brightness", axis), ("Dimension", [("", axis) for _ in sizes])]),
        ("Data", data),
        ("DataType", kind[1]),
        ("Dimensions", [("", int(s)) for s in sizes]),
        ("PixelDepth", data.dtype.itemsize),
    ]
    return [("ImageList", [("", [("ImageData", image_data), ("ImageTags", []), ("Name", "image")])])]


class _Writer:
    def __init__(self, version: int) -> None:
        self.word = ">I" if version == 3 else ">Q"
        self.version = version

    def group(self, tags: list[tuple[str, Any]]) -> bytes:
        return b"\0\0" + struct.pack(self.word, len(tags)) + b"".join(self.tag(n, v) for n, v in tags)

    def tag(self, name: str, value: Any) -> bytes:
        is_group = isinstance(value, list)
        body = self.group(value) if is_group else self.data(value)
        head = struct.pack(">BH", 20 if is_group else 21, len(name)) + name.encode()
        return head + (struct.pack(">Q", len(body)) if self.version == 4 else b"") + body

    def data(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            return self.info(20, _TYPES[value.dtype.str][0], value.size) + value.tobytes()
        if isinstance(value, str):
            return self.info(20, 4, len(value)) + value.encode("utf-16-le")
        if isinstance(value, float):
            return self.info(6) + struct.pack("<f", value)
        return self.info(5) + struct.pack("<I", value)

    def info(self, *words: int) -> bytes:
        return b"%%%%" + struct.pack(self.word, len(words)) + b"".join(struct.pack(self.word, w) for w in words)
