"""Which tilt belongs to which matrix, and which pairs (tilt, reflection) are wanted of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK_BYTES = 24 * 2**20
"""Bytes of matrices in one block."""

_NUMBER = 16  # bytes of a complex number


@dataclass(frozen=True, eq=False)
class Layout:
    """Which columns (tilts) belong to which matrix, and which pairs to which block.

    Attributes:
        seen: positions, among the beams, of those that are incident or wanted: (seen,).
        tilt: index of the tilt of every column, 0 where there is none: (matrix, column).
        incoming: incident beam among those that are seen: (matrix, column).
        blocks: first and last matrix of every block.
        pairs: positions of the pairs of every block in the order that the caller has.
        places: index of each of these pairs in the waves (matrix, column, seen) of its block, flattened.
        count: number of pairs.
    """

    seen: Tensor
    tilt: Tensor
    incoming: Tensor
    blocks: tuple[tuple[int, int], ...]
    pairs: tuple[Tensor, ...]
    places: tuple[Tensor, ...]
    count: int


def make_layout(
    waves: int, group: np.ndarray, anchor: np.ndarray, pair_tilt: np.ndarray, pair_out: np.ndarray
) -> Layout:
    """Sort tilts by their matrix.

    Args:
        waves: side of the matrices, m.
        group: matrix of every tilt: (tilt,).
        anchor: incident beam of every tilt: (tilt,).
        pair_tilt: tilt of every pair: (pair,).
        pair_out: diffracted beam of every pair: (pair,).
    """
    matrices = int(group.max()) + 1
    seen, place_of = np.unique(np.concatenate([anchor, pair_out]), return_inverse=True)
    anchor, pair_out = place_of[: len(anchor)], place_of[len(anchor) :]
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group, minlength=matrices)
    first = np.concatenate([[0], np.cumsum(counts)])
    column = np.empty(len(group), dtype=np.int64)
    column[order] = np.arange(len(group)) - first[group[order]]
    width = int(counts.max())
    tilt = np.zeros((matrices, width), dtype=np.int64)
    incoming = np.zeros((matrices, width), dtype=np.int64)
    tilt[group, column] = np.arange(len(group))
    incoming[group, column] = anchor
    each = _NUMBER * (waves * (waves + len(seen)) + width * (waves + len(seen)))
    size = max(1, min(BLOCK_BYTES // each, -(-matrices // 4)))
    pair_group = group[pair_tilt]
    by_matrix = np.argsort(pair_group, kind="stable")
    blocks, pairs, places = [], [], []
    for start in range(0, matrices, size):
        stop = min(start + size, matrices)
        low, high = np.searchsorted(pair_group[by_matrix], [start, stop])
        chosen = by_matrix[low:high]
        tilts = pair_tilt[chosen]
        place = ((group[tilts] - start) * width + column[tilts]) * len(seen) + pair_out[chosen]
        blocks.append((start, stop))
        pairs.append(torch.as_tensor(chosen))
        places.append(torch.as_tensor(place))
    return Layout(
        torch.as_tensor(seen),
        torch.as_tensor(tilt),
        torch.as_tensor(incoming),
        tuple(blocks),
        tuple(pairs),
        tuple(places),
        len(pair_tilt),
    )
