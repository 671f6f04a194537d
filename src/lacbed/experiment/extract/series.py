"""A series of frames that is read block by block, as a Dask array, and never held in memory as a whole."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lacbed.errors import FileFormatError, LacbedError, MissingExtraError
from lacbed.io.atomic import reason

if TYPE_CHECKING:
    import dask.array as da

BLOCK_BYTES = 16 * 2**20
"""Of one block as it is stored; a few copies of it as float32 are held by each thread."""

SMALLEST_SIDE = 16


def require_dask() -> Any:
    """The module of Dask's arrays.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import dask.array as da
    except ImportError:
        raise MissingExtraError('a series of frames needs Dask: pip install "lacbed[extract]"') from None
    return da


@dataclass(frozen=True, eq=False)
class FrameSeries:
    """Frames in the order of time.

    Attributes:
        data: (frame, row, column), one block of whole frames after the other.
        scan: rows and columns of the scan where the source has them, or None.
        source: where they come from.
        notes: what there is to say about how they were stored.
    """

    data: da.Array
    scan: tuple[int, int] | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.data.shape[0])

    @property
    def camera(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return int(self.data.shape[1]), int(self.data.shape[2])

    def sample(self, count: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Frames from all over the series, as stored, and their numbers."""
        numbers = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64))
        with _reading(self.source):
            return np.asarray(self.data[numbers].compute()), numbers

    def map(
        self,
        work: Callable[..., tuple[NDArray[Any], ...]],
        *per_frame: NDArray[Any],
        tick: Callable[[float], None] | None = None,
    ) -> tuple[NDArray[Any], ...]:
        """Apply a function to every block, given the entries of `per_frame` for its frames; results joined.

        It runs wherever Dask runs: in threads here, or on the workers of a cluster whose client is active.
        """
        dask: Any = importlib.import_module("dask")
        data: Any = self.data
        blocks = data.to_delayed().ravel().tolist()
        ends = np.cumsum(self.data.chunks[0])
        starts = ends - self.data.chunks[0]
        run = dask.delayed(partial(_kept, work), pure=False)
        jobs = [
            run(block, *(values[a:b] for values in per_frame))
            for block, a, b in zip(blocks, starts, ends, strict=True)
        ]
        parts: list[tuple[NDArray[Any], ...]] = []
        group = max(1, len(jobs) // 20)
        for first in range(0, len(jobs), group):  # in groups, so that progress shows and nothing piles up
            with _reading(self.source):
                done = dask.compute(*jobs[first : first + group])
            for part in done:
                if isinstance(part, Exception):
                    raise part
                parts.append(part)
            if tick is not None:
                tick(min(1.0, (first + group) / len(jobs)))
        return tuple(np.concatenate([part[i] for part in parts]) for i in range(len(parts[0])))


def _kept(work: Callable[..., Any], *values: Any) -> Any:
    """What work returns, or raises, so that this is not taken for an error of reading."""
    try:
        return work(*values)
    except Exception as error:
        return error


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turn what readers raise when a block is read, which is anything at all, into a line that names the source.

    Raises:
        FileFormatError: in place of it.
    """
    try:
        yield
    except (LacbedError, MemoryError):
        raise
    except Exception as error:
        # What the page has copied is named "lacbed-...", which says nothing to whoever sent it.
        why = re.sub(r"\S*lacbed-\S*", "the file", f"{type(error).__name__}: {reason(error)}")
        raise FileFormatError(
            f"cannot read the frames of {source!r}: a part is damaged or missing, or needs a further library to "
            f"be read ({why}); copy it again, or install that library"
        ) from None


def as_series(
    data: Any, scan: tuple[int, int] | None = None, source: str = "", notes: Sequence[str] = ()
) -> FrameSeries:
    """A series from any array with a shape, a type and slices: (frame, row, column) or (y, x, row, column).

    Raises:
        FileFormatError: if that is no series of frames.
    """
    da = require_dask()
    shape = tuple(int(n) for n in data.shape)
    if np.dtype(data.dtype).kind not in "fiu":
        raise FileFormatError(f"the frames hold {data.dtype}; expected counts, whole or real numbers")
    if len(shape) not in (3, 4) or 0 in shape:
        sizes = " x ".join(map(str, shape))
        raise FileFormatError(
            f"a series of frames is an array (frame, row, column) or (scan row, scan column, row, column), got "
            f"{sizes or 'one number'}"
        )
    if min(shape[-2:]) < SMALLEST_SIDE:
        raise FileFormatError(
            f"the frames are {shape[-2]} x {shape[-1]} pixels, too few for discs; at least {SMALLEST_SIDE} a side"
        )
    if len(shape) == 4 and min(shape[:2]) > 1:  # a single row is how some formats store a plain list of frames
        scan = shape[:2] if scan is None else scan
    frame = int(np.prod(shape[-2:])) * np.dtype(data.dtype).itemsize
    count = max(1, BLOCK_BYTES // frame)
    if not isinstance(data, da.Array):
        per_row = shape[1] if len(shape) == 4 else 1
        lead = (max(1, count // per_row), shape[1]) if len(shape) == 4 else (count,)
        data = da.from_array(data, chunks=(*lead, *shape[-2:]), name=False, asarray=True, fancy=False)
    data = data.rechunk({len(shape) - 2: -1, len(shape) - 1: -1})
    if len(shape) == 4:
        data = data.rechunk({1: -1}).reshape(-1, *shape[-2:])
    big = max(data.chunks[0]) * frame
    if big > 4 * BLOCK_BYTES:
        data = data.rechunk({0: count})
    return FrameSeries(data, scan, source, tuple(notes))
