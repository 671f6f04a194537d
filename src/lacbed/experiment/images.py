"""One file of images: DM3 and DM4, TIFF, HyperSpy, NumPy, and the raw images of Felix."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lacbed.errors import FileFormatError, MissingExtraError
from lacbed.experiment.memory import LARGEST, array_header
from lacbed.experiment.signals import read_dm, read_hyperspy
from lacbed.experiment.tiff import read_tiff
from lacbed.io.atomic import reason
from lacbed.io.checks import regular_file
from lacbed.patterns.formats.felix import read_raw

_FOREIGN = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"II+\0": "a BigTIFF",
    b"MM\0+": "a BigTIFF",
    b"<!DOC": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}
_OWN = {".tif": "TIFF", ".tiff": "TIFF", ".npy": "a NumPy", ".hspy": "HDF5", ".zspy": "ZIP"}
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")


def read_images(path: Path) -> np.ndarray:
    """The images of a file as they are stored: (row, column), or (image, row, column).

    Raises:
        FileFormatError: if it cannot be read, or holds no images.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    return read_noted(path)[0]


def read_noted(path: Path) -> tuple[np.ndarray, list[str]]:
    """Like `read_images`, and what there is to say about how they were stored.

    Raises:
        FileFormatError: if it cannot be read, or holds no images.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    ending = path.suffix.lower()
    reader = READERS.get(ending)
    if reader is None:
        hint = "; a picture holds no counts; save them as TIFF" if ending in PICTURES else ""
        raise FileFormatError(
            f"{str(path)!r} has a suffix that is not supported; expected one of {', '.join(sorted(READERS))}{hint}"
        )
    foreign = ""
    try:
        if not (ending == ".zspy" and path.is_dir()):
            regular_file(path, "the images", LARGEST, FileFormatError)
            foreign = _foreign(path)
        images, notes = reader(path)
    except FileFormatError as error:
        text = str(error)
        detail = foreign or text
        raise FileFormatError(text if str(path) in text else f"cannot read {str(path)!r}: {detail}") from None
    except MissingExtraError:
        raise
    except MemoryError:
        raise FileFormatError(f"cannot read {str(path)!r}: not enough memory for what it announces") from None
    except OSError as error:
        known = isinstance(error.strerror, str)  # readers of formats put numbers there
        detail = foreign or (reason(error) if known else "damaged, cut short or in another format")
        raise FileFormatError(f"cannot read {str(path)!r}: {detail}") from None
    except Exception:  # readers of damaged files raise anything at all
        raise FileFormatError(
            f"cannot read {str(path)!r} as {path.suffix}: {foreign or 'damaged, cut short or in another format'}"
        ) from None
    images = np.squeeze(np.asarray(images))
    if images.ndim not in (2, 3) or images.dtype.kind not in "fiu":
        raise FileFormatError(
            f"{str(path)!r} holds an array {images.shape} of {images.dtype}; expected images (row, column) or "
            "(image, row, column) of real numbers"
        )
    return images, notes


def _foreign(path: Path) -> str:
    """What a file is by its first bytes, if that is something else than its ending says, or ""."""
    with path.open("rb") as stream:
        head = stream.read(32)
    if not head:
        return "it is empty"
    own = _OWN.get(path.suffix.lower(), "?")
    for mark, kind in _FOREIGN.items():
        if head.startswith(mark) and own not in kind:
            hint = "; save the counts as TIFF" if "picture" in kind else ""
            return f"it is {kind}, despite its suffix{hint}"
    return ""


def _read_npy(path: Path) -> tuple[np.ndarray, list[str]]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        shape, dtype = array_header(stream)
        start = stream.tell()
    announced = math.prod(shape) * dtype.itemsize
    if start + announced != size:
        raise FileFormatError(
            f"it announces {'x'.join(map(str, shape))} values of {dtype}, which are {start + announced} bytes, "
            f"and has {size}"
        )
    return np.asarray(np.load(path, allow_pickle=False)), []


def _read_raw(path: Path) -> tuple[np.ndarray, list[str]]:
    return read_raw(path), []


READERS: dict[str, Callable[[Path], tuple[np.ndarray, list[str]]]] = {
    ".dm3": read_dm,
    ".dm4": read_dm,
    ".hspy": read_hyperspy,
    ".zspy": read_hyperspy,
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".npy": _read_npy,
    ".img": _read_raw,
    ".bin": _read_raw,
}
