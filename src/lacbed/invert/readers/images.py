"""One file of images: DM3 and DM4, TIFF, HyperSpy, NumPy, and the raw images of Felix."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.errors import FileFormatError, MissingExtraError
from lacbed.patterns.atomic import reason
from lacbed.patterns.formats import hyperspy
from lacbed.patterns.formats.felix import read_raw

LARGEST = 4 * 2**30
"""Bytes of a file, above which it is no stack of LACBED patterns."""


def read_images(path: Path) -> np.ndarray:
    """The images of a file as they are stored: (row, column), or (image, row, column).

    Raises:
        FileFormatError: if it cannot be read, or holds no images.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise FileFormatError(
            f"{str(path)!r} has an ending that is not read; expected one of {', '.join(sorted(READERS))}"
        )
    try:
        if path.stat().st_size > LARGEST:
            raise FileFormatError("it is larger than any stack of patterns")
        images = np.squeeze(np.asarray(reader(path)))
    except FileFormatError as error:
        raise FileFormatError(f"cannot read {str(path)!r}: {error}") from None
    except MissingExtraError:
        raise
    except OSError as error:
        detail = reason(error) if error.errno else "damaged, cut short or foreign"
        raise FileFormatError(f"cannot read {str(path)!r}: {detail}") from None
    except Exception:  # readers of damaged files raise anything at all
        raise FileFormatError(
            f"cannot read {str(path)!r} as {path.suffix}: damaged, cut short or foreign"
        ) from None
    if images.ndim not in (2, 3) or images.dtype.kind not in "fiu":
        raise FileFormatError(
            f"{str(path)!r} holds an array {images.shape} of {images.dtype}; expected images (row, column) or "
            "(image, row, column) of real numbers"
        )
    return images


def _read_dm(path: Path) -> np.ndarray:
    try:
        module = importlib.import_module("rsciio.digitalmicrograph")
    except ImportError:
        raise MissingExtraError(
            f'{path.suffix} files need RosettaSciIO: pip install "lacbed[hyperspy]", or save the images as TIFF'
        ) from None
    return _largest(_quietly(lambda: module.file_reader(str(path), lazy=False)))


def _read_hyperspy(path: Path) -> np.ndarray:
    module = hyperspy.require(path)
    return _largest(_quietly(lambda: module.file_reader(str(path), lazy=False)))


def _quietly(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tags of microscopes that do not matter here
        return call()


def _largest(signals: list[dict[str, Any]]) -> np.ndarray:
    """The data of the largest signal: a DM file holds a thumbnail too."""
    if not signals:
        raise FileFormatError("it holds no image")
    return np.asarray(max((s["data"] for s in signals), key=lambda d: int(np.asarray(d).size)))


def _read_tiff(path: Path) -> np.ndarray:
    import tifffile  # noqa: PLC0415  slow to import

    return np.asarray(tifffile.imread(path))


def _read_npy(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, allow_pickle=False))


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".dm3": _read_dm,
    ".dm4": _read_dm,
    ".hspy": _read_hyperspy,
    ".zspy": _read_hyperspy,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".npy": _read_npy,
    ".img": read_raw,
    ".bin": read_raw,
}
