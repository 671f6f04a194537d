"""Images whose label a structure contradicts: it explains them as another reflection, and not as their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lacbed.experiment.experiment import Experiment
from lacbed.patterns.result import hkl_label
from lacbed.retrieval.columns import ColumnModel, Columns
from lacbed.retrieval.comparison import Comparison
from lacbed.retrieval.points import make_points
from lacbed.retrieval.projection_cell import ProjectedCell

OWN, OTHER = 0.75, 0.6
"""Part of the contrast that an image's own reflection leaves unexplained, at the least; and of that, at the most,
what another reflection leaves."""

STRONG = 0.2
"""Contrast of an image, of that of the median image, from which on its label is looked at."""

TYPICAL = 0.6
"""A structure that leaves more than this of the typical image says nothing of labels: it may be wrong itself."""

MOST = 6
"""Images that are looked at, the strongest first."""


@dataclass(frozen=True)
class WrongLabel:
    """An image that another reflection explains.

    Attributes:
        image: its number in the stack.
        other: number of the image whose reflection explains it.
        own, better: part of the contrast that both leave unexplained.
    """

    image: int
    other: int
    own: float
    better: float


def wrong_labels(
    experiment: Experiment, cell: ProjectedCell, columns: Columns, matrices: int
) -> tuple[WrongLabel, ...]:
    """Images whose label is wrong if the columns are right.

    Args:
        experiment: the stack.
        cell: its lattice, with a reflection for each image.
        columns: a structure.
        matrices: number of q.
    """
    rest, total = _unexplained(experiment, cell, cell.indices, columns, matrices)
    if len(rest) != len(cell.indices) or float(np.median(rest)) > TYPICAL:
        return ()
    suspects = np.flatnonzero((rest > OWN) & (total > STRONG * np.median(total)))
    suspects = np.sort(suspects[np.argsort(-total[suspects], kind="stable")][:MOST])
    if not len(suspects):
        return ()
    tried = np.full((len(cell.indices), len(suspects)), np.inf)
    for number, label in enumerate(cell.indices):
        indices = cell.indices.copy()
        indices[suspects] = label
        found = _unexplained(experiment, cell, indices, columns, matrices)[0]
        if len(found) == len(indices):
            tried[number] = found[suspects]
    best = tried.argmin(axis=0)
    return tuple(
        WrongLabel(image, int(other), float(rest[image]), float(tried[other, place]))
        for place, (image, other) in enumerate(zip(suspects.tolist(), best, strict=True))
        if other != image and tried[other, place] < OTHER * rest[image]
    )


def without_wrong(
    experiment: Experiment, cell: ProjectedCell, wrong: Sequence[WrongLabel]
) -> tuple[Experiment, ProjectedCell, list[str]]:
    """The stack without images whose label is wrong, and a note for each."""
    if not wrong:
        return experiment, cell, []
    bad = {w.image for w in wrong}
    kept = [i for i in range(len(experiment.hkl)) if i not in bad]
    notes = [
        f"the image labelled {hkl_label(experiment.hkl[w.image])} looks like "
        f"{hkl_label(experiment.hkl[w.other])}: that leaves {100 * w.better:.0f} % of its contrast unexplained, "
        f"its own label {100 * w.own:.0f} %; it is left out, check it"
        for w in wrong
    ]
    return experiment.select([experiment.hkl[i] for i in kept]), replace(cell, indices=cell.indices[kept]), notes


def _unexplained(
    experiment: Experiment, cell: ProjectedCell, indices: np.ndarray, columns: Columns, matrices: int
) -> tuple[np.ndarray, np.ndarray]:
    """Part of the contrast of each image that is not explained, and its contrast."""
    points = make_points(experiment, cell.basis, indices, matrices=matrices)
    return Comparison(ColumnModel(points)).unexplained(columns)
