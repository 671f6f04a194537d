"""Signals with axes: DM3 and DM4 of DigitalMicrograph, .hspy and .zspy of HyperSpy.

Such a file says which of its axes count images and which lie in the image. An axis of navigation is brought to the
front wherever it is stored; what leaves open which axis counts the images is refused.
"""

from __future__ import annotations

import importlib
import math
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.errors import FileFormatError, MissingExtraError, without_log
from lacbed.experiment.tiff import LARGEST, check_memory
from lacbed.io.checks import readable
from lacbed.io.sizes import check_size
from lacbed.patterns.formats import hyperspy
from lacbed.patterns.formats.hdf5 import check_file

_MOST_FILES = 200_000
_ZARR_TEXTS = (".zarray", ".zmetadata", "zarr.json")
_LARGEST_TEXT = 10_000_000


def read_dm(path: Path) -> tuple[np.ndarray, list[str]]:
    """The largest image of a DM3 or DM4 file, which holds a thumbnail too, and what there is to say about it.

    Raises:
        FileFormatError: if it holds no images, or several that may be meant.
        MissingExtraError: if RosettaSciIO is not installed.
    """
    try:
        module = importlib.import_module("rsciio.digitalmicrograph")
    except ImportError:
        raise MissingExtraError(
            f'{path.suffix} files need RosettaSciIO: pip install "lacbed[hyperspy]", or save the images as TIFF'
        ) from None
    try:
        with quiet():
            return _images(module.file_reader(str(path), lazy=False), stated=False)
    except FileFormatError:
        raise
    except Exception:
        _check_length(path)
        raise


def read_hyperspy(path: Path) -> tuple[np.ndarray, list[str]]:
    """The images of a .hspy or .zspy file, and what there is to say about them.

    Raises:
        FileFormatError: if it holds no images, its axes do not say which they are, or parts of them are missing.
        MissingExtraError: if RosettaSciIO is not installed.
    """
    if path.suffix.lower() == ".zspy":
        if path.is_dir():
            check_folder(path)
        return _images(hyperspy.read_zspy(path), stated=True)
    module = hyperspy.require(path)
    check_file(path)
    _check_hdf5(path)
    with quiet():
        return _images(module.file_reader(str(path), lazy=False), stated=True)


def _check_length(path: Path) -> None:
    """Say that a DM file is cut short if it is: its head has the number of bytes that follow."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(16)
    word, rest = (">Q", 24) if head[:4] == b"\0\0\0\4" else (">I", 16)
    if len(head) < 16 or head[:3] != b"\0\0\0":
        raise FileFormatError("it is not a DigitalMicrograph file")
    announced = struct.unpack_from(word, head, 4)[0] + rest
    if size < announced - 8:
        raise FileFormatError(f"it is cut short: it announces {announced} bytes and has {size}")


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings about tags of microscopes that do not matter here."""
    with without_log("rsciio"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _images(signals: list[dict[str, Any]], stated: bool) -> tuple[np.ndarray, list[str]]:
    """The images of the largest signal: (row, column) or (image, row, column)."""
    signals = [s for s in signals if np.ndim(s["data"]) >= 2] or signals
    if not signals:
        raise FileFormatError("it holds no image")
    sizes = [int(np.size(s["data"])) for s in signals]
    if sizes.count(max(sizes)) > 1:
        raise FileFormatError(
            f"it holds {sizes.count(max(sizes))} signals of the same size; save the right one by itself"
        )
    signal = signals[sizes.index(max(sizes))]
    data, axes = _ordered(signal)
    if data.dtype.fields:
        raise FileFormatError("it is a colour image (RGB), which holds no counts; save as grey")
    return _stack(data, axes, stated)


def _ordered(signal: dict[str, Any]) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The data and their axes in the order of the array, without those of one step."""
    data = np.asarray(signal["data"])
    axes = sorted(signal.get("axes") or [], key=lambda axis: int(axis.get("index_in_array", 0)))
    if [int(axis.get("size", n)) for axis, n in zip(axes, data.shape, strict=False)] != list(data.shape):
        raise FileFormatError(f"its {len(axes)} axes do not fit its array {data.shape}")
    kept = [i for i, n in enumerate(data.shape) if n != 1]
    return np.squeeze(data), [axes[i] for i in kept]


def _stack(data: np.ndarray, axes: list[dict[str, Any]], stated: bool) -> tuple[np.ndarray, list[str]]:
    """The array with the axis that counts the images first.

    Args:
        data: the array, without axes of one step.
        axes: in the order of the array.
        stated: whether the file says of every axis what it is, as HyperSpy's do; DigitalMicrograph has its order.
    """
    counting = [i for i, axis in enumerate(axes) if axis.get("navigate")]
    if data.ndim > 3:
        numbers = " x ".join(str(n) for n in data.shape)
        names = ", ".join(_name(axes[i], i) for i in counting) or "none"
        raise FileFormatError(
            f"it holds an array of {numbers} with {data.ndim} axes (navigation axes: {names}); expected images "
            "along one axis: choose one position along each of the others, such as s.inav[:, 0], and save that"
        )
    notes = []
    if data.ndim == 3 and stated:
        if len(counting) != 1:
            notes = [
                f"{len(counting)} of its 3 axes are for navigation; the one that differs in size counts the images"
            ]
            counting = [i for i in range(3) if data.shape[i] != data.shape[i - 1] == data.shape[i - 2]]
        if len(counting) != 1:
            raise FileFormatError(
                f"it holds an array {data.shape}, whose axes do not show which of them numbers the images; "
                "expected one navigation axis and two signal axes, as s.transpose(signal_axes=2) makes them; save "
                "it like that"
            )
        data = np.moveaxis(data, counting[0], 0)
        axes = [axes[counting[0]], *(a for i, a in enumerate(axes) if i != counting[0])]
    return data, notes + _remarks(axes[-2:])


def _remarks(axes: list[dict[str, Any]]) -> list[str]:
    """What the axes of the images, rows first, say about them."""
    if len(axes) < 2:
        return []
    notes = []
    rows, columns = (_name(axis, i).strip().lower() for i, axis in enumerate(axes))
    if rows.endswith("x") and columns.endswith("y"):
        notes.append(
            f"the images are transposed: their rows are counted along {rows!r} and their columns along "
            f"{columns!r}; check the orientation"
        )
    steps = [float(axis.get("scale") or 1.0) for axis in axes]
    units = {str(axis.get("units")) for axis in axes}
    if (
        all(map(math.isfinite, steps))
        and abs(abs(steps[0]) - abs(steps[1])) > 0.01 * abs(steps[0])
        and len(units) == 1
    ):
        notes.append(f"the pixels are not square: {steps[0]:g} down the rows and {steps[1]:g} along them")
    return notes


def _name(axis: dict[str, Any], index: int) -> str:
    name = axis.get("name")
    return name if isinstance(name, str) and name else f"axis {index}"


def _check_hdf5(path: Path) -> None:
    """Refuse what announces more than is there, or holds images that were never written, before it is read."""
    import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]

    announced, pixels = 0, 0

    def look(name: str, item: Any) -> None:
        nonlocal announced, pixels
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            return
        announced += int(item.nbytes)
        if name.rpartition("/")[2] != "data" or not item.size:
            return
        pixels += int(item.size)
        if item.is_virtual or item.external:
            raise FileFormatError("its images are in other files; save it as one file")
        if item.chunks is None:
            whole = bool(item.id.get_storage_size())
        else:
            wanted = math.prod(-(-n // c) for n, c in zip(item.shape, item.chunks, strict=True))
            whole = item.id.get_num_chunks() == wanted
        if not whole:
            raise FileFormatError("parts of its images are missing in the file; save it again")

    with h5py.File(path, "r") as file:
        file.visititems(look)
    check_size("its content", announced, path.stat().st_size)
    check_memory(pixels)


def check_folder(path: Path) -> None:
    """Make sure that a folder which is one file to its readers holds only files, no more than a stack can have.

    Raises:
        FileFormatError: on pipes, devices, too many or too large files, or Python objects.
    """
    total = count = 0
    for folder, folders, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            status = file.stat()
            count, total = count + 1, total + status.st_size
            if not stat.S_ISREG(status.st_mode):
                raise FileFormatError(f"{name!r} in it is not a regular file")
            if name in _ZARR_TEXTS and (status.st_size > _LARGEST_TEXT or b"pickle" in file.read_bytes()):
                raise FileFormatError("it holds pickled Python objects, which are never loaded")
        if count + len(folders) > _MOST_FILES or total > LARGEST:
            raise FileFormatError(f"it has {count} files of {readable(total)}, more than any stack of patterns")
