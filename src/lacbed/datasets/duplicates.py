"""Rows whose patterns are practically the same, so that a test on one is no test if training saw the other.

Z = ½ |â - b̂|² with images of zero mean and unit norm. Any projection onto orthonormal vectors can only bring two
images nearer, so that pairs with Z below a bound are found among those that are near in a few dimensions
(sums over blocks of pixels, then principal components, by a k-d tree), and only these are compared in full.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

BOUND = 1e-3
"""Patterns with Z below this count as the same: it is what the presets converge to."""

_BLOCKS = 16
_DIMENSIONS = 12
Images = npt.NDArray[np.float32]


def near_duplicates(
    rows: Sequence[int],
    read: Callable[[int], Images],
    bound: float = BOUND,
    progress: Callable[[float], None] | None = None,
) -> list[list[int]]:
    """Groups of two or more rows that are joined by patterns of the same reflection with Z < `bound`.

    A row with several thicknesses has several patterns, and one that is near another's is enough. Groups are
    closed: what is near to a member is a member.

    Args:
        rows: the rows to compare, best in an order in which they can be read quickly.
        read: gives the patterns of a row: (thickness, hkl, ky, kx).
        bound: of Z.
        progress: called with the fraction done.
    """
    if len(rows) < 2:
        return []
    coarse = _coarse_images(rows, read, progress)  # (row, thickness, hkl, block)
    leader = {row: row for row in rows}
    for reflection in range(coarse.shape[2]):
        images = coarse[:, :, reflection].reshape(-1, coarse.shape[-1])
        for a, b in _candidates(images, bound):
            _join(rows, leader, read, reflection, divmod(a, coarse.shape[1]), divmod(b, coarse.shape[1]), bound)
    groups = defaultdict(list)
    for row in rows:
        groups[_root(leader, row)].append(row)
    return sorted(sorted(members) for members in groups.values() if len(members) > 1)


def _coarse_images(
    rows: Sequence[int], read: Callable[[int], Images], progress: Callable[[float], None] | None
) -> Images:
    found = []
    for number, row in enumerate(rows):
        found.append(_blocks(_normalised(read(row))))
        if progress is not None:
            progress((number + 1) / len(rows))
    return np.stack(found)


def _normalised(images: Images) -> Images:
    """Zero mean, unit norm; an image without contrast becomes zero."""
    shifted = images.astype(np.float64) - images.mean(axis=(-2, -1), keepdims=True, dtype=np.float64)
    norm = np.sqrt((shifted**2).sum(axis=(-2, -1), keepdims=True))
    return np.asarray(np.where(norm > 1e-9, shifted / np.maximum(norm, 1e-300), 0.0), dtype=np.float32)


def _blocks(images: Images) -> Images:
    """Coefficients along the normalised indicator of each block of pixels: (..., y, x) to (..., block)."""
    for axis in (-2, -1):
        pixels = images.shape[axis]
        edges = np.unique(np.linspace(0, pixels, min(_BLOCKS, pixels) + 1).astype(int))
        sums = np.add.reduceat(images, edges[:-1], axis=axis)
        scale = (1.0 / np.sqrt(np.diff(edges))).astype(np.float32)
        images = sums * (scale[:, None] if axis == -2 else scale)
    return images.reshape(*images.shape[:-2], -1)


def _candidates(images: Images, bound: float) -> Iterator[tuple[int, int]]:
    """Pairs that may have Z < bound, nearest first."""
    radius = float(np.sqrt(2.0 * bound)) + 1e-6
    spread = images - images.mean(axis=0)
    axes = np.linalg.eigh((spread.T @ spread).astype(np.float64))[1][:, -_DIMENSIONS:]
    pairs = cKDTree(spread @ axes).query_pairs(radius, output_type="ndarray")
    gap = np.linalg.norm(images[pairs[:, 0]] - images[pairs[:, 1]], axis=1)
    near = gap < radius
    pairs, gap = pairs[near], gap[near]
    yield from pairs[np.lexsort((pairs[:, 1], pairs[:, 0], gap))].tolist()


def _join(
    rows: Sequence[int],
    leader: dict[int, int],
    read: Callable[[int], Images],
    reflection: int,
    a: tuple[int, int],
    b: tuple[int, int],
    bound: float,
) -> None:
    """Join the rows of two images, given as (position, thickness), if they are near and not joined already."""
    first, second = rows[a[0]], rows[b[0]]
    if _root(leader, first) == _root(leader, second):
        return
    one, two = (_normalised(read(r)[t, reflection]) for r, t in ((first, a[1]), (second, b[1])))
    if 0.5 * float(((one - two) ** 2).sum()) < bound:
        low, high = sorted((_root(leader, first), _root(leader, second)))
        leader[high] = low


def _root(leader: dict[int, int], row: int) -> int:
    while leader[row] != row:
        leader[row] = leader[leader[row]]
        row = leader[row]
    return row
