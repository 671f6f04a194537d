"""Training, validation and test, 85 : 10 : 5, by row, by compound or by whole prototype.

A split by row puts the same compound, and near duplicates of it, on two sides: a test on it leaks. It is there to
compare with work that did so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lacbed.errors import SettingError
from lacbed.io.numbers import whole

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
    whole("the seed of a split", seed, 0)
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
