"""Reading frames lazily: NumPy, HDF5, zarr, TIFF, HyperSpy, and what microscopes write.

A block that cannot be read is tried frame by frame; frames that cannot be read come out empty, which the first
look reports and masks, so that one damaged block does not cost the series.
"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacbed.errors import FileFormatError, without_log
from lacbed.experiment.extract.microscopes import READERS, read_signal
from lacbed.experiment.extract.series import FrameSeries, as_series, require_dask
from lacbed.experiment.names import natural_key
from lacbed.experiment.stack import explaining
from lacbed.io.checks import regular_file

_TERA = 2**44
HDF5 = (".h5", ".hdf5", ".nxs", ".hspy")
ZARR = (".zarr", ".zspy")
TIFF = (".tif", ".tiff")


def open_frames(
    source: str | Path | Any, scan: tuple[int, int] | None = None, dataset: str | None = None
) -> FrameSeries:
    """A series of frames, of which nothing is read yet.

    Args:
        source: an array (frame, row, column) or (scan row, scan column, row, column) of NumPy, Dask, zarr or
            h5py; a
            file; or a folder of TIFF or .npy files with one frame each.
        scan: rows and columns of the scan, if the source does not have them.
        dataset: name of the array in an HDF5 file or a zarr group; default the largest.

    Raises:
        FileFormatError: if it cannot be read, or is no series of frames.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    require_dask()
    if not isinstance(source, str | Path):
        if not hasattr(source, "shape") or not hasattr(source, "dtype"):
            raise FileFormatError(f"expected a path or an array of frames, got {type(source).__name__}")
        return as_series(source, scan)
    path = Path(source)
    with explaining(path):
        return _opened(path, scan, dataset)


def _opened(path: Path, scan: tuple[int, int] | None, dataset: str | None) -> FrameSeries:
    ending = path.suffix.lower()
    if not path.exists():
        raise FileFormatError(f"no such file or folder: {str(path)!r}")
    if path.is_dir() and ending not in ZARR:
        return _folder(path, scan)
    if not path.is_dir():
        regular_file(path, "the frames", _TERA, FileFormatError)
    if ending == ".npy":
        return as_series(Careful(NpyFrames(path)), scan, path.name)
    if ending in HDF5:
        return _hdf5(path, scan, dataset)
    if ending in ZARR:
        return _zarr(path, scan, dataset)
    if ending in TIFF:
        return _tiff([path], scan, path.name)
    if ending == ".raw" and path.with_suffix(".xml").is_file():
        path, ending = path.with_suffix(".xml"), ".xml"
    if ending in READERS:
        return read_signal(path, scan)
    known = ", ".join(sorted([".npy", *HDF5, *ZARR, *TIFF, *READERS]))
    raise FileFormatError(
        f"it has a suffix that is not supported; expected one of {known}, or a folder of TIFF or .npy files with "
        "one frame each"
    )


class NpyFrames:
    """An array in NumPy's format of which slices are read from the file, never mapped into memory."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            try:
                version = np.lib.format.read_magic(stream)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, fortran, dtype = read(stream)
            except ValueError:
                raise FileFormatError("it is no NumPy array") from None
            self._start = stream.tell()
        if dtype.hasobject:
            raise FileFormatError("it holds pickled Python objects, which are never loaded")
        if fortran:
            raise FileFormatError("it is stored column by column (Fortran order); save np.ascontiguousarray of it")
        announced, size = self._start + math.prod(shape) * dtype.itemsize, path.stat().st_size
        if announced > size:
            raise FileFormatError(
                f"it is cut short: it announces {'x'.join(map(str, shape))} values of {dtype}, which "
                f"are {announced} "
                f"bytes, and has {size}; copy it again"
            )
        self.path, self.shape, self.dtype, self.ndim = path, tuple(int(n) for n in shape), dtype, len(shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Whole slices along the first axis are read at once; what is further cut is cut in memory."""
        keys = key if isinstance(key, tuple) else (key,)
        first = keys[0] if keys else slice(None)
        start, stop, step = first.indices(self.shape[0])
        one = math.prod(self.shape[1:])
        with self.path.open("rb") as stream:
            stream.seek(self._start + start * one * self.dtype.itemsize)
            values = np.fromfile(stream, self.dtype, max(0, stop - start) * one)
        block = values.reshape(-1, *self.shape[1:])[::step]
        return block[(slice(None), *keys[1:])]


class Careful:
    """An array whose unreadable parts come out empty, after they were tried piece by piece."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = tuple(array.shape), np.dtype(array.dtype), len(array.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """A part of the array."""
        try:
            return np.asarray(self._array[key])
        except Exception:
            keys = key if isinstance(key, tuple) else (key,)
            start, stop, step = keys[0].indices(self.shape[0])
            if stop - start <= 1:
                shape = [len(range(*k.indices(n))) for k, n in zip(keys, self.shape, strict=False)]
                return np.zeros([*shape, *self.shape[len(keys) :]], dtype=self.dtype)
            return np.concatenate([self[(slice(i, i + 1), *keys[1:])] for i in range(start, stop, step)])


def _largest(found: dict[str, Any], dataset: str | None) -> Any:
    """The array that is meant among those of a file."""
    if dataset is not None:
        if dataset.strip("/") not in found:
            names = ", ".join(list(found)[:8]) or "none"
            raise FileFormatError(f"it has no array {dataset!r}; there are {names}")
        return found[dataset.strip("/")]
    frames = {n: a for n, a in found.items() if len(a.shape) in (3, 4) and np.dtype(a.dtype).kind in "fiu"}
    if not frames:
        raise FileFormatError("it holds no array with 3 or 4 axes, (frame, row, column)")
    sizes = sorted((math.prod(a.shape) for a in frames.values()), reverse=True)
    if len(sizes) > 1 and sizes[0] == sizes[1]:
        raise FileFormatError(
            f"it holds several arrays of the same size: {', '.join(frames)}; name one with --dataset"
        )
    return max(frames.values(), key=lambda a: math.prod(a.shape))


def _hdf5(path: Path, scan: tuple[int, int] | None, dataset: str | None) -> FrameSeries:
    import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]

    found: dict[str, Hdf5Frames] = {}

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            if item.external:
                raise FileFormatError(f"{name} lies in other files; save it as one file")
            found[name] = Hdf5Frames(path, name, tuple(item.shape), item.dtype)

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return as_series(Careful(_largest(found, dataset)), scan, path.name)


class Hdf5Frames:
    """An array of an HDF5 file that is opened anew for every part, also by the workers of a cluster."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.name, self.shape, self.dtype = path.absolute(), name, shape, dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """A part of the array."""
        import h5py

        with h5py.File(self.path, "r") as file:
            return np.asarray(file[self.name][key])


def _zarr(path: Path, scan: tuple[int, int] | None, dataset: str | None) -> FrameSeries:
    import zarr

    from lacbed.patterns.formats.zarr_folder import check_codecs, is_store

    if not is_store(path) and not (path / ".zarray").is_file():
        raise FileFormatError(
            "it is a folder without a Zarr store in it"
            if path.is_dir()
            else "it is a file, and a Zarr store is a folder; unpack it, or save as .npy or HDF5"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about parts that are no arrays
        opened: Any = zarr.open(path, mode="r")
        members = {"": opened} if hasattr(opened, "shape") else dict(opened.members(max_depth=None))
    arrays = {name: member for name, member in members.items() if hasattr(member, "shape")}
    chosen = _largest(arrays, dataset)
    check_codecs(chosen, "the array of frames")
    return as_series(Careful(chosen), scan, path.name)


def _tiff(files: list[Path], scan: tuple[int, int] | None, source: str) -> FrameSeries:
    return as_series(Careful(TiffFrames(files)), scan, source)


class TiffFrames:
    """Pages of TIFF files, one after the other, read when they are wanted."""

    def __init__(self, files: list[Path]) -> None:
        import tifffile

        self._pages: list[tuple[Path, int]] = []
        kinds: dict[tuple[tuple[int, ...], str], str] = {}
        with without_log("tifffile"):
            for file in files:
                with tifffile.TiffFile(file) as opened:
                    series = opened.series[0]
                    shape, dtype = tuple(series.keyframe.shape), str(series.dtype)
                    kinds.setdefault((shape, dtype), file.name)
                    count = max(1, math.prod(series.shape) // max(1, math.prod(shape)))
                    self._pages += [(file.absolute(), i) for i in range(count)]
        if len(kinds) > 1:
            texts = [f"{n} has {'x'.join(map(str, s))} {d}" for (s, d), n in list(kinds.items())[:2]]
            raise FileFormatError(f"the frames differ in size or type: {', '.join(texts)}; save all alike")
        ((shape, dtype),) = kinds
        if len(shape) != 2:
            raise FileFormatError("its pages are colour images, which hold no counts; save as grey")
        self.shape, self.dtype = (len(self._pages), *shape), np.dtype(dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Some frames."""
        import tifffile

        keys = key if isinstance(key, tuple) else (key,)
        part: slice = keys[0]
        chosen = self._pages[part]
        out = np.empty((len(chosen), *self.shape[1:]), dtype=self.dtype)
        with without_log("tifffile"):
            for i, (file, page) in enumerate(chosen):
                with tifffile.TiffFile(file) as opened:
                    out[i] = opened.asarray(key=page) if len(opened.pages) > page else opened.asarray()[page]
        return out[(slice(None), *keys[1:])]


def _folder(path: Path, scan: tuple[int, int] | None) -> FrameSeries:
    """A folder with a frame in each file, in the order in which people count."""
    names = sorted(os.listdir(path), key=lambda n: natural_key(Path(n)))
    files = [path / n for n in names if not n.startswith(".")]
    for endings in (TIFF, (".npy",)):
        chosen = [f for f in files if f.suffix.lower() in endings]
        if len(chosen) > 1:
            if endings == (".npy",):
                return as_series(Careful(FileFrames(chosen)), scan, path.name)
            return _tiff(chosen, scan, path.name)
    raise FileFormatError(
        f"the folder {str(path)!r} holds no frames: expected TIFF or .npy files with one frame each"
    )


class FileFrames:
    """One frame in each .npy file."""

    def __init__(self, files: list[Path]) -> None:
        first = NpyFrames(files[0])
        if first.ndim != 2:
            raise FileFormatError(f"{files[0].name!r} holds an array with {first.ndim} axes; expected one frame")
        for file in files[1:]:
            other = NpyFrames(file)
            if (other.shape, other.dtype) != (first.shape, first.dtype):
                sizes = ["x".join(map(str, s)) for s in (first.shape, other.shape)]
                raise FileFormatError(
                    f"the frames differ: {files[0].name!r} has {sizes[0]} {first.dtype}, {file.name!r} {sizes[1]} "
                    f"{other.dtype}; save all alike"
                )
        self._files, self.shape, self.dtype = (
            [f.absolute() for f in files],
            (len(files), *first.shape),
            first.dtype,
        )

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Some frames."""
        keys = key if isinstance(key, tuple) else (key,)
        part: slice = keys[0]
        block = np.stack([np.load(f, allow_pickle=False) for f in self._files[part]])
        return block[(slice(None), *keys[1:])]
