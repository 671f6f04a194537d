"""TIFF: the counts of grey images as they were stored, or the true reason why there are none.

The directories of the file are walked here first. They say what kind of picture each page is, and whether the file
ends before its pages do, of which tifffile makes a shorter stack or black images.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from lacbed.errors import FileFormatError, without_log
from lacbed.io.checks import readable
from lacbed.io.sizes import check_size, free_memory

LARGEST = 4 * 2**30
"""Bytes of a file, above which it is no stack of LACBED patterns."""
_COPIES = 4  # of the float64 images, while an experiment is made of them


def check_memory(pixels: int) -> None:
    """Refuse more pixels than the memory holds while an experiment is made of them.

    Raises:
        FileFormatError: with the estimate.
    """
    need = 8 * _COPIES * pixels
    free = free_memory()
    if need > free:
        raise FileFormatError(
            f"it announces {pixels} pixels, which need about {readable(need)} of memory, and {readable(free)} are "
            "free; bin the images or take fewer of them"
        )


def array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in NumPy's format that a stream begins with; what follows is not read.

    Raises:
        FileFormatError: if it holds Python objects, or more pixels than the memory holds.
    """
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise FileFormatError("it holds pickled Python objects, which are never loaded")
    check_memory(math.prod(shape))
    return shape, dtype


SUBFILE, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANES = 254, 258, 259, 262, 274, 277, 284
_TAGS = (SUBFILE, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANES)
_SHORT, _LONG = 3, 4
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_PRIVATE = 32768  # tags from here on are of programs, which may put anything there
_COLOURS = {2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIE Lab", 9: "ICC Lab", 10: "ITU Lab", 32803: "CFA"}
_WHITE = 0  # the smallest value is white
_MOST_PAGES = 100_000
Page = dict[int, int]


def read_tiff(path: Path) -> tuple[np.ndarray, list[str]]:
    """The images of a TIFF, (row, column) or (image, row, column), and what there is to say about them.

    A picture whose smallest value is white is turned over, so that bright means many counts.

    Raises:
        FileFormatError: if they are no grey images, are compressed in a way that cannot be read here, are of
            several sizes, or the file is cut short.
    """
    import tifffile  # slow to import

    pages = [page for page in _directories(path) if not page.get(SUBFILE, 0) & 5]  # no thumbnails, no masks
    if not pages:
        raise FileFormatError("it holds no image")
    for page in pages:
        _check_page(page)
    with without_log("tifffile"), tifffile.TiffFile(path) as file:
        series = [s for s in file.series if not s.keyframe.subfiletype & 5]
        _check_series(series, path.stat().st_size)
        try:
            images = np.concatenate([_stack(s) for s in series])
        except FileFormatError:
            raise
        except Exception as error:
            raise _undecoded(error, pages, tifffile.COMPRESSION) from None
    turned, notes = _dark_is_zero(images, pages)
    notes += _remarks(pages, tifffile.COMPRESSION)
    return (turned[0] if len(turned) == 1 else turned), notes


def _directories(path: Path) -> list[Page]:
    """The tags of interest of each page, from the chain of directories.

    Raises:
        FileFormatError: if it leads out of the file or back into itself.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) >= 8 else 0
        if version not in (42, 43) or (version == 43 and len(head) < 16):
            raise FileFormatError("it is no TIFF" if size else "it is empty")
        big = version == 43
        at = struct.unpack(f"{order}{'Q' if big else 'I'}", head[8:16] if big else head[4:8])[0]
        pages: list[Page] = []
        seen: set[int] = set()
        while at:
            if at in seen or len(pages) >= _MOST_PAGES:
                raise FileFormatError(f"it is damaged: its list of pages has no end after page {len(pages)}")
            seen.add(at)
            try:
                page, at = _directory(stream, at, order, big, size)
            except (struct.error, OverflowError, OSError):
                raise FileFormatError(
                    f"it is cut short: page {len(pages) + 1}, described at byte {at}, extends beyond the end; the "
                    f"file has {size} bytes"
                ) from None
            pages.append(page)
    return pages


def _directory(stream: BinaryIO, at: int, order: str, big: bool, size: int) -> tuple[Page, int]:
    """The tags of interest of one page, and where the next one is.

    Raises:
        struct.error: if it or a standard tag of it reaches over the end of the file.
    """
    stream.seek(at)
    word, entry = ("Q", "HHQ8s") if big else ("H", "HHI4s")
    (count,) = struct.unpack(order + word, stream.read(8 if big else 2))
    if count > 65535:
        raise struct.error
    width = struct.calcsize(order + entry)
    content = stream.read(count * width)
    page: Page = {}
    for tag, kind, number, value in struct.iter_unpack(order + entry, content):
        if tag in _TAGS and kind in (_SHORT, _LONG) and number >= 1 and (number == 1 or kind == _SHORT):
            first = value[:2] if kind == _SHORT else value[:4]
            inline = number * (2 if kind == _SHORT else 4) <= len(value)
            page[tag] = struct.unpack(order + ("H" if kind == _SHORT else "I"), first)[0] if inline else 0
        length = number * _BYTES.get(kind, 0)
        if tag < _PRIVATE and length > len(value):
            (place,) = struct.unpack(order + ("Q" if big else "I"), value)
            if place + length > size:
                raise struct.error
    (following,) = struct.unpack(order + ("Q" if big else "I"), stream.read(8 if big else 4))
    if len(content) < count * width:
        raise struct.error
    return page, following


def _check_page(page: Page) -> None:
    colour = _COLOURS.get(page.get(PHOTOMETRIC, 1))
    samples = page.get(SAMPLES, 1)
    if colour:
        planes = page.get(PLANES) == 2
        hint = ", if it is a stack of grey images with photometric minisblack" if planes else ""
        raise FileFormatError(f"it is a colour image ({colour}), which holds no counts; save as grey{hint}")
    if samples > 1:
        raise FileFormatError(
            f"each of its pixels has {samples} values, as in a colour image or one with transparency; save as grey"
        )
    if page.get(BITS, 1) == 1:
        raise FileFormatError(
            "it has 1 bit per pixel, black or white without counts; save as grey with 8 or 16 bits"
        )


def _check_series(series: list[Any], size: int) -> None:
    """Refuse images of several sizes, missing ones, and more of them than the file holds."""
    if not series:
        raise FileFormatError("it holds no image")
    kinds = sorted({f"{s.keyframe.shape[0]} x {s.keyframe.shape[1]} {s.dtype}" for s in series})
    if len(kinds) > 1:
        raise FileFormatError(
            f"it holds {len(series)} series of different images ({', '.join(kinds)}); save the right one "
            "as a file of its own"
        )
    pixels = sum(int(s.size) for s in series)
    check_size("its images", sum(int(s.nbytes) for s in series), size)
    check_memory(pixels)
    for s in series:
        if any(page is None for page in s.pages):
            raise FileFormatError("some of its images are in other files or missing; save the complete stack")
        end = max(
            (o + n for p in s.pages for o, n in zip(p.dataoffsets, p.databytecounts, strict=False)), default=0
        )
        holes = any(
            n == 0 or o == 0 for p in s.pages for o, n in zip(p.dataoffsets, p.databytecounts, strict=False)
        )
        if s.dataoffset is not None:
            end = max(end, s.dataoffset + int(s.nbytes))
        if end > size:
            raise FileFormatError(
                f"it is cut short: its images reach to byte {end}, and the file has {size} bytes"
            )
        if holes:
            raise FileFormatError("parts of its images were never written (empty strips); save it again")


def _stack(series: Any) -> np.ndarray:
    """The images of a series: (image, row, column)."""
    shape, axes = series.get_shape(False), series.get_axes(False)
    outer = [(name, n) for name, n in zip(axes, shape, strict=True) if name not in "YXS" and n > 1]
    if len(outer) > 1:
        raise FileFormatError(
            f"it is a hyperstack of {' x '.join(str(n) for _, n in outer)} images (axes "
            f"{', '.join(name for name, _ in outer)}); save one stack of images"
        )
    rows, columns = series.keyframe.shape[:2]
    return np.asarray(series.asarray()).reshape(-1, rows, columns)


def _undecoded(error: Exception, pages: list[Page], names: Any) -> Exception:
    """Why pixels could not be had, if the directories tell."""
    method = next((m for m in (p.get(COMPRESSION, 1) for p in pages) if m != 1), 1)
    if method == 1 and "imagecodecs" in str(error):
        return FileFormatError(
            f"its pixels of {pages[0].get(BITS, 0)} bits are packed; pip install imagecodecs, or save with 8 or "
            "16 bits"
        )
    if method == 1:
        return error
    name = _name(method, names)
    if isinstance(error, ImportError) or "imagecodecs" in str(error):
        return FileFormatError(f"compressed ({name}); pip install imagecodecs, or save uncompressed")
    if name.isdigit():
        return FileFormatError(f"compressed (method {name}), which is not supported; save uncompressed")
    return FileFormatError(f"compressed ({name}), and its compressed data are damaged; save uncompressed")


def _dark_is_zero(images: np.ndarray, pages: list[Page]) -> tuple[np.ndarray, list[str]]:
    """The images with bright for many counts, and a note where they were stored the other way."""
    white = {page.get(PHOTOMETRIC, 1) == _WHITE for page in pages}
    if white == {False}:
        return images, []
    if len(white) > 1:
        raise FileFormatError(
            "in some of its pages the smallest value is white and in others black; save all alike"
        )
    if images.dtype.kind != "u":
        raise FileFormatError(
            "it says that the smallest value is white (photometric MinIsWhite), which for pixels of "
            f"{images.dtype} does not say where zero counts are; save with the smallest value black"
        )
    bits = pages[0].get(BITS, 0)
    top = 2 ** (bits if 0 < bits <= 8 * images.dtype.itemsize else 8 * images.dtype.itemsize) - 1
    turned = np.subtract(images.dtype.type(top), images)
    return turned, [f"the smallest value is white (photometric MinIsWhite); counts are taken as {top} - value"]


def _remarks(pages: list[Page], names: Any) -> list[str]:
    notes = []
    turned = {page.get(ORIENTATION, 1) for page in pages} - {0, 1}
    if turned:
        notes.append(
            f"its orientation tag ({min(turned)}) asks for a rotated or mirrored display, which is not applied"
        )
    lossy = {_name(m, names) for m in (page.get(COMPRESSION, 1) for page in pages) if m in (6, 7, 34892, 50001)}
    if lossy:
        notes.append(f"compressed lossily ({', '.join(sorted(lossy))}): the counts are not those of the detector")
    return notes


def _name(method: int, names: Any) -> str:
    try:
        return str(names(method).name)
    except ValueError:
        return str(method)
