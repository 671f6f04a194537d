"""Training, validation and test, 85 : 10 : 5, by row, by compound or by whole prototype.

A split by row puts the same compound, and near duplicates of it, on two sides: a test on it leaks. It is there to
compare with work that did so.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lacbed.errors import SettingError
from lacbed.io.checks import check_whole

SIDES = ("train", "validation", "test")
SHARES = (0.85, 0.10, 0.05)
KINDS = {"row": None, "compound": "compound_id", "prototype": "anonymous_prototype"}
"""Kinds of split, and the column of the catalogue that each one groups by."""

LEAKING = ("row",)


def split_rows(
    groups: Sequence[str], joined: Iterable[Sequence[int]] = (), *, kind: str = "compound", seed: int = 0
) -> npt.NDArray[np.int8]:
    """The side of each row, as an index into `SIDES`.

    Whole groups are taken in an order drawn by the seed, into the test set as long as they fit into its 5 %,
    else into the validation set as long as they fit into its 10 %, else into the training set.

    Args:
        groups: what each row must not be parted from: the same text, the same side. Ignored by row.
        joined: lists of row positions that must not be parted either. Ignored by row.
        kind: "row", "compound" or "prototype".
        seed: another seed gives another split.

    Raises:
        SettingError: on an unknown kind, a bad seed, or if there are too few groups for three sides.
    """
    if kind not in KINDS:
        raise SettingError(f"a split is by {', '.join(KINDS)}, got {kind!r}")
    check_whole("the seed of a split", seed, 0)
    label = np.arange(len(groups)) if kind == "row" else _components(groups, joined)
    count = int(label.max(initial=-1)) + 1
    sizes = np.bincount(label, minlength=count)
    names = [f"{i:012d}" for i in range(count)] if kind == "row" else _names(groups, label, count)
    room = [0, *(max(1, round(share * len(groups))) for share in SHARES[1:])]
    side = np.zeros(count, dtype=np.int8)
    for group in sorted(range(count), key=lambda g: _lot(kind, seed, names[g])):
        for target in (2, 1):
            if sizes[group] <= room[target]:
                room[target] -= int(sizes[group])
                side[group] = target
                break
    if len(set(side.tolist())) < len(SIDES):
        raise SettingError(
            f"{len(groups)} rows in {count} groups are too few for three sides by {kind}; the largest group has "
            f"{sizes.max(initial=0)} rows"
        )
    return side[label]


def _components(groups: Sequence[str], joined: Iterable[Sequence[int]]) -> npt.NDArray[np.int64]:
    """Number of the connected component of each row."""
    label = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    pairs = [(label[rows[0]], label[row]) for rows in joined for row in rows[1:]]
    count = int(label.max(initial=-1)) + 1
    first, second = (np.array([p[i] for p in pairs], dtype=np.int64) for i in (0, 1))
    graph = coo_array((np.ones(len(pairs)), (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1][label], dtype=np.int64)


def _names(groups: Sequence[str], label: npt.NDArray[np.int64], count: int) -> list[str]:
    """The first text in each component, which does not depend on the order of the rows."""
    names = [""] * count
    for text, group in zip(groups, label.tolist(), strict=True):
        if not names[group] or text < names[group]:
            names[group] = text
    return names


def _lot(kind: str, seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{kind}/{seed}/{name}".encode()).digest()


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
    closed: what is near to a member is a member. Images without contrast are alike, but do not count where there
    are several reflections.

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
        # Of several reflections one may be forbidden: without contrast it says nothing about the crystal.
        seen = np.flatnonzero(images.any(axis=1) | (coarse.shape[2] == 1))
        for pair in _candidates(images[seen], bound) if len(seen) > 1 else ():
            a, b = (divmod(int(seen[i]), coarse.shape[1]) for i in pair)
            _join(rows, leader, read, reflection, a, b, bound)
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
