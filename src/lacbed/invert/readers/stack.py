"""A stack from whatever holds it: a folder of files named by reflection, a file of many images, an archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lacbed.errors import FileFormatError
from lacbed.felix.input import read_list
from lacbed.invert.folder import read_stack, saturation_of
from lacbed.invert.readers.images import READERS, read_images
from lacbed.invert.readers.names import HKL, reflection_of, reflections_of


@dataclass(frozen=True, eq=False)
class Stack:
    """Images as they were stored, with their reflections.

    Attributes:
        images: (image, row, column).
        hkl: one reflection for each.
        saturation: counts from which pixels are saturated, where the stored type tells; or None.
    """

    images: np.ndarray
    hkl: tuple[HKL, ...]
    saturation: float | None


def read_measured(source: Path, hkl: Sequence[HKL] | None = None, crop: int | None = None) -> Stack:
    """Read a measured stack.

    Args:
        source: a folder of files named by reflection; one file with many images; an .npz with images and hkl.
        hkl: the reflections in the order of the images, where names and files do not tell; for a folder, the order
            of the sorted names.
        crop: side in pixels of the square to cut out around the middle.

    Raises:
        FileFormatError: if images or reflections cannot be made out, or do not go together.
    """
    if source.is_dir():
        images, found = _read_files(source, hkl)
    elif source.suffix.lower() == ".npz":
        images, indices = read_stack(source)
        if indices.ndim != 2 or indices.shape[1:] != (3,):
            raise FileFormatError(f"hkl in {str(source)!r} must be (image, 3), got an array {indices.shape}")
        found = tuple((int(h), int(k), int(l)) for h, k, l in indices.tolist())  # noqa: E741
    elif source.is_file():
        images, found = _read_one(source, hkl)
    else:
        raise FileFormatError(f"no such file or folder: {str(source)!r}")
    if images.ndim != 3 or len(images) != len(found):
        count = len(images) if images.ndim == 3 else "no"
        raise FileFormatError(f"{str(source)!r} holds {count} images for {len(found)} reflections")
    return Stack(_cut(images, crop), found, saturation_of(images))


def _read_files(folder: Path, hkl: Sequence[HKL] | None) -> tuple[np.ndarray, tuple[HKL, ...]]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in READERS and not p.name.startswith("."))
    endings = sorted({p.suffix.lower() for p in files})
    if not files:
        raise FileFormatError(
            f"{str(folder)!r} holds no images; expected files {', '.join(sorted(READERS))} named by reflection"
        )
    if len(endings) > 1:
        raise FileFormatError(f"{str(folder)!r} holds files of several kinds ({', '.join(endings)}); keep one")
    if hkl is not None and len(hkl) != len(files):
        raise FileFormatError(f"{str(folder)!r} holds {len(files)} images, but {len(hkl)} reflections were given")
    found = tuple(hkl) if hkl is not None else tuple(reflections_of(files))
    images = [read_images(file) for file in files]
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        odd = next(f.name for f, i in zip(files, images, strict=True) if i.shape != images[0].shape)
        other = next(i.shape for i in images if i.shape != images[0].shape)
        raise FileFormatError(
            f"the images in {str(folder)!r} differ in size: {files[0].name!r} is {images[0].shape}, "
            f"{odd!r} {other}"
        )
    return np.stack(images), found


def _read_one(path: Path, hkl: Sequence[HKL] | None) -> tuple[np.ndarray, tuple[HKL, ...]]:
    images = read_images(path)
    images = images[None] if images.ndim == 2 else images
    if hkl is None:
        own = reflection_of(path.stem)
        listed = read_list(path.parent)
        hkl = [own] if own is not None and len(images) == 1 else listed
    if not hkl:
        raise FileFormatError(f"{str(path)!r} holds {len(images)} images without reflections; give --hkl")
    return images, tuple(hkl)


def _cut(images: np.ndarray, side: int | None) -> np.ndarray:
    if side is None:
        return images
    rows, columns = images.shape[1:]
    if not 1 <= side <= min(rows, columns):
        raise FileFormatError(f"a square of {side} pixels cannot be cut out of images of {rows} x {columns}")
    top, left = (rows - side) // 2, (columns - side) // 2
    return images[:, top : top + side, left : left + side]
