"""A stack from whatever holds it: a folder of files named by reflection, a file of many images, an archive."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from lacbed.errors import FileFormatError, LacbedError, MissingExtraError, SettingError
from lacbed.experiment.assembly import whole_indices
from lacbed.experiment.folder import read_stack, saturation_of
from lacbed.experiment.names import HKL, companions, images_with_companions, natural_key, reflections_of
from lacbed.experiment.signals import read_dm, read_hyperspy
from lacbed.experiment.tiff import LARGEST, array_header, check_memory, read_tiff
from lacbed.felix.input import read_list
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
_LEAST_VARIANCE = 0.01  # of the median; sums of no counts are said to have none, and would outweigh all others
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
    with explaining(path, f" as {path.suffix}", lambda: foreign):
        if not (ending == ".zspy" and path.is_dir()):
            regular_file(path, "the images", LARGEST, FileFormatError)
            foreign = _foreign(path)
        images, notes = reader(path)
    images = np.squeeze(np.asarray(images))
    if images.ndim not in (2, 3) or images.dtype.kind not in "fiu":
        raise FileFormatError(
            f"{str(path)!r} holds an array {images.shape} of {images.dtype}; expected images (row, column) or "
            "(image, row, column) of real numbers"
        )
    return images, notes


@contextmanager
def explaining(path: Path, kind: str = "", foreign: Callable[[], str] = str) -> Iterator[None]:
    """Turn what readers of files raise, which is anything at all, into a line that names the file.

    Args:
        path: of the file.
        kind: in words, what it was read as.
        foreign: says in place of what was raised what the file really is, if that is known.

    Raises:
        FileFormatError: in place of errors of readers, of the operating system and of memory.
    """
    damaged = "damaged, cut short or in another format"
    try:
        yield
    except MissingExtraError:
        raise
    except LacbedError as error:
        text = str(error)
        detail = foreign() or text
        raise FileFormatError(text if str(path) in text else f"cannot read {str(path)!r}: {detail}") from None
    except MemoryError:
        raise FileFormatError(f"cannot read {str(path)!r}: not enough memory for what it announces") from None
    except OSError as error:
        known = isinstance(error.strerror, str)  # readers of formats put numbers there
        detail = foreign() or (reason(error) if known else damaged)
        raise FileFormatError(f"cannot read {str(path)!r}: {detail}") from None
    except Exception:
        raise FileFormatError(f"cannot read {str(path)!r}{kind}: {foreign() or damaged}") from None


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


@dataclass(frozen=True, eq=False)
class Stack:
    """Images as they were stored, with their reflections.

    Attributes:
        images: (image, row, column).
        hkl: one reflection for each.
        saturation: counts from which pixels are saturated, where the stored type tells; or None.
        files: where each image comes from: the name of its file, with the number of the image if it holds several.
        notes: what there is to say about how they were stored and named.
        variance: of every pixel, like the images, if it is known.
    """

    images: np.ndarray
    hkl: tuple[HKL, ...]
    saturation: float | None
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    variance: np.ndarray | None = None


def read_measured(source: Path, hkl: Sequence[HKL] | None = None, crop: int | None = None) -> Stack:
    """Read a measured stack.

    Args:
        source: a folder of files named by reflection; one file with many images; an .npz with images and hkl; a
            .npy with arrays of reflections and variances beside it, or their folder, as PyLARBED writes them.
        hkl: the reflections in the order of the images, where names and files do not tell; for a folder, the order
            of the names as people count: 2 before 10.
        crop: side in pixels of the square to cut out around the middle.

    Raises:
        FileFormatError: if images or reflections cannot be made out, or do not go together.
    """
    ending = source.suffix.lower()
    if source.is_dir() and ending not in READERS:
        stack = _read_files(source, hkl)
    elif ending == ".npz":
        stack = _read_archive(source, hkl)
    elif os.path.lexists(source):
        stack = _read_one(source, hkl)
    else:
        raise FileFormatError(f"no such file or folder: {str(source)!r}")
    images, found = stack.images, stack.hkl
    if images.ndim != 3 or len(images) != len(found):
        count = len(images) if images.ndim == 3 else "no"
        raise FileFormatError(f"{str(source)!r} holds {count} images for {len(found)} reflections")
    variance = None if stack.variance is None else _cut(stack.variance, crop)
    return Stack(_cut(images, crop), found, saturation_of(images), stack.files, stack.notes, variance)


def _read_files(folder: Path, hkl: Sequence[HKL] | None) -> Stack:
    files = _files_in(folder)
    together = images_with_companions(files) if files[0].suffix.lower() == ".npy" else None
    if together is not None:
        return _read_one(together, hkl)
    if hkl is not None and len(hkl) != len(files):
        raise FileFormatError(f"{str(folder)!r} holds {len(files)} images, but {len(hkl)} reflections were given")
    if hkl is not None:
        _check_order(files)
    found = tuple(hkl) if hkl is not None else tuple(reflections_of(files))
    images, remarks = [], Counter[str]()
    for file in files:
        image, notes = read_noted(file)
        if image.ndim != 2:
            raise FileFormatError(
                f"{str(file)!r} holds {len(image)} images, but a file of a folder must hold one; give the file "
                "alone with --hkl"
            )
        images.append(image)
        remarks.update(notes)
        if len(images) == 1:
            check_memory(image.size * len(files))
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        odd = next(f.name for f, i in zip(files, images, strict=True) if i.shape != images[0].shape)
        other = next(i.shape for i in images if i.shape != images[0].shape)
        raise FileFormatError(
            f"the images in {str(folder)!r} differ in size: {files[0].name!r} is {images[0].shape}, "
            f"{odd!r} {other}"
        )
    types = sorted({str(image.dtype) for image in images})
    if len(types) > 1:
        remarks[f"the images differ in their type of numbers: {', '.join(types)}"] = len(files)
    said = [f"{note} ({n} of {len(files)} files)" if n < len(files) else note for note, n in remarks.items()]
    stacked = np.stack(images)
    return Stack(stacked, found, None, tuple(f.name for f in files), (*said, *_other_names(files, hkl)))


def _files_in(folder: Path) -> list[Path]:
    """The images in a folder in natural order.

    Raises:
        FileFormatError: if there are none, or they are of several kinds.
    """
    try:
        inside = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural_key)
    except OSError as error:
        raise FileFormatError(f"cannot open {str(folder)!r}: {reason(error)}") from None
    files = [p for p in inside if p.suffix.lower() in READERS]
    endings = sorted({p.suffix.lower() for p in files})
    if not files:
        pictures = sum(p.suffix.lower() in PICTURES for p in inside)
        hint = f"; the {pictures} pictures in it hold no counts; save them as TIFF" if pictures else ""
        raise FileFormatError(
            f"{str(folder)!r} holds no images; expected files {', '.join(sorted(READERS))} named by reflection"
            f"{hint}"
        )
    if len(endings) > 1:
        raise FileFormatError(f"{str(folder)!r} holds files of several kinds ({', '.join(endings)}); keep one")
    return files


def _check_order(files: Sequence[Path]) -> None:
    """Refuse names that differ only in zeros before numbers or in capitals: their order is anybody's guess."""
    for before, after in pairwise(files):
        if natural_key(before)[0] == natural_key(after)[0]:
            raise FileFormatError(
                f"{before.name!r} and {after.name!r} have the same number, so that the order of --hkl is not "
                "clear; rename or remove one"
            )


def _other_names(files: Sequence[Path], hkl: Sequence[HKL] | None) -> list[str]:
    """A note where the given reflections contradict the names of the files."""
    if hkl is None:
        return []
    try:
        named = reflections_of(files)
    except FileFormatError:
        return []
    for file, own, given in zip(files, named, hkl, strict=True):
        if own != tuple(given):
            return [f"{file.name} is taken as {_text(given)}, as given, although its name says {_text(own)}"]
    return []


def _read_archive(path: Path, hkl: Sequence[HKL] | None) -> Stack:
    images, indices = read_stack(path)
    try:
        values = whole_indices(indices, len(images))
    except SettingError as error:
        raise FileFormatError(f"hkl in {str(path)!r} must be (image, 3): {error}") from None
    found = tuple((h, k, l) for h, k, l in values.tolist())  # noqa: E741
    if hkl is not None and [tuple(g) for g in hkl] != list(found):
        raise FileFormatError(f"{str(path)!r} states its own reflections, and --hkl contradicts them")
    return Stack(images, found, None, _numbered(path, len(images)))


def _read_one(path: Path, hkl: Sequence[HKL] | None) -> Stack:
    images, notes = read_noted(path)
    images = images[None] if images.ndim == 2 else images
    given = hkl
    indices, variances = companions(path) if path.suffix.lower() == ".npy" else (None, None)
    variance = None
    if variances is not None:
        variance, said = _read_variance(variances, images)
        notes = [*notes, *said]
    if hkl is None and indices is not None:
        hkl = _hkl_of(indices, len(images))
    if hkl is None:
        hkl = read_list(path.parent) or (reflections_of([path]) if len(images) == 1 else [])
    if not hkl:
        raise FileFormatError(f"{str(path)!r} holds {len(images)} images without reflections; give --hkl")
    if len(images) == 1 and len(hkl) == 1:
        notes = [*notes, *_other_names([path], given)]
    return Stack(images, tuple(hkl), None, _numbered(path, len(images)), tuple(notes), variance)


def _hkl_of(path: Path, count: int) -> list[HKL]:
    """The reflections of an array (image, 3)."""
    values, _ = read_noted(path)
    try:
        return [(h, k, l) for h, k, l in whole_indices(values, count).tolist()]  # noqa: E741
    except SettingError as error:
        raise FileFormatError(f"{str(path)!r}: {error}") from None


def _read_variance(path: Path, images: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """Variances of all pixels, and what there is to say about them; None if the array is empty."""
    with explaining(path):
        variance = _read_npy(path)[0]
    if variance.size == 0:
        return None, []
    if variance.shape != images.shape or variance.dtype.kind not in "fiu":
        raise FileFormatError(
            f"{str(path)!r} holds an array {variance.shape} of {variance.dtype}; expected the variance of every "
            f"pixel, {images.shape}"
        )
    variance = variance.astype(np.float64)
    medians = [float(np.median(v[np.isfinite(v)])) if np.isfinite(v).any() else 0.0 for v in variance]
    least = _LEAST_VARIANCE * np.array(medians)[:, None, None]
    low = ~(variance >= least)
    said = (
        [f"{int(low.sum())} variances below 1 % of the median of their image are raised to it"]
        if low.any()
        else []
    )
    return np.where(low, np.maximum(least, 1e-300), variance), said


def _numbered(path: Path, count: int) -> tuple[str, ...]:
    return (path.name,) if count == 1 else tuple(f"{path.name}, image {i}" for i in range(1, count + 1))


def _text(hkl: Sequence[int]) -> str:
    return ",".join(str(i) for i in hkl)


def _cut(images: np.ndarray, side: int | None) -> np.ndarray:
    if side is None:
        return images
    rows, columns = images.shape[1:]
    if not 1 <= side <= min(rows, columns):
        raise FileFormatError(f"a square of {side} pixels cannot be cut out of images of {rows} x {columns}")
    top, left = (rows - side) // 2, (columns - side) // 2
    return images[:, top : top + side, left : left + side]
