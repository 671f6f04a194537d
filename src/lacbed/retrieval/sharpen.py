"""What the best of a search become: more beams and tilts, the half-width, no needless columns, uncertainties."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.experiment.experiment import Experiment
from lacbed.retrieval.columns import ColumnModel, Columns
from lacbed.retrieval.comparison import Comparison, begin, beyond_noise, follow
from lacbed.retrieval.points import beam_reach, make_points
from lacbed.retrieval.projection_cell import ProjectedCell

REACH = 1.4
"""Beams up to this |h| in 1/Å take part in the end."""

WIDTHS = (0.97, 1.0, 1.03)
"""Factors on the half-width that are tried where reciprocity does not determine it."""

HELD_OUT = 40
"""Place in the sequence of q from which on tilts are held out."""

NEEDLESS, DOUBTFUL = 0.06, 0.1
"""Gain of R² by a column below which it is left out: part of the model's own R², and of that by noise. In
simulated stacks needless columns gain less than a tenth of what noise adds, true ones a third or more."""

TOGETHER = 0.5
"""Å; columns nearer than this become one if the images allow it."""


@dataclass(frozen=True, eq=False)
class Sharpened:
    """A structure as good as columns can make it.

    Attributes:
        columns: the strongest first.
        residual: R.
        noise: what noise alone adds to R², about.
        held_out: R at tilts that were not used.
        half_width: that fits best, in 1/Å.
        spread: standard uncertainties of `Columns.vector`: (4k + 3,).
        roots: draws that it goes back to.
    """

    columns: Columns
    residual: float
    noise: float
    held_out: float
    half_width: float
    spread: FloatArray
    roots: tuple[int, ...]


def sharpened(
    experiment: Experiment,
    cell: ProjectedCell,
    columns: Columns,
    roots: tuple[int, ...],
    matrices: int,
    widths: tuple[float, ...] = WIDTHS,
) -> Sharpened:
    """Bring columns to their minimum with more beams, at the half-width that fits best.

    Args:
        experiment: the stack.
        cell: its lattice.
        columns: where to start.
        roots: draws that they go back to.
        matrices: number of q.
        widths: factors on the half-width that are tried: one, or three.
    """
    at, best = columns, widths[0]
    if len(widths) > 1:
        costs = []
        for factor in widths:
            comparison = compared(experiment, cell, factor, matrices)
            costs.append(follow(comparison, begin(at), 10, True).residual ** 2)
        best = _lowest(np.array(widths), np.array(costs))
    comparison = compared(experiment, cell, best, matrices)
    at = follow(comparison, begin(at), 20, True).columns
    at = _pruned(comparison, cell, at)
    end = follow(comparison, begin(at), 12, True, 1e-5)
    at = _sorted(end.columns)
    held_out = compared(experiment, cell, best, matrices, HELD_OUT).residual(at)
    noise, spread = comparison.model.points.noise, uncertainties(comparison, at)
    return Sharpened(at, end.residual, noise, held_out, best * experiment.half_width, spread, roots)


def compared(
    experiment: Experiment, cell: ProjectedCell, factor: float, matrices: int, first: int = 0
) -> Comparison:
    """Points of a stack whose half-width is another, with the beams of the end."""
    points = make_points(
        experiment.scaled(factor),
        cell.basis,
        cell.indices,
        reach=beam_reach(cell.basis, REACH),
        matrices=matrices,
        first=first,
    )
    return Comparison(ColumnModel(points))


def _lowest(x: FloatArray, y: FloatArray) -> float:
    """Where a parabola through three points is lowest, within them."""
    curve = np.polyfit(x, y, 2)
    if curve[0] <= 0:
        return float(x[int(y.argmin())])
    return float(np.clip(-curve[1] / (2.0 * curve[0]), x[0], x[-1]))


def _pruned(comparison: Comparison, cell: ProjectedCell, columns: Columns) -> Columns:
    """Without columns that explain nothing, and with one in place of two that are one."""
    at, noise = columns, comparison.model.points.noise
    before = comparison.residual(at)
    while len(at) > 1:
        tries = [_merged(at, cell), at.without(int(at.strength.argmin()))]
        ends = [follow(comparison, begin(t), 10, True) for t in tries if t is not None]
        best = min(ends, key=lambda m: m.residual)
        if best.residual**2 - before**2 > NEEDLESS * beyond_noise(before, noise) ** 2 + DOUBTFUL * noise:
            return at
        at, before = best.columns, min(before, best.residual)
    return at


def _merged(columns: Columns, cell: ProjectedCell) -> Columns | None:
    """The two nearest columns as one, or None if none are near."""
    i, j = np.triu_indices(len(columns), 1)
    apart = columns.places[i] - columns.places[j]
    apart -= np.round(apart)
    distance = np.linalg.norm(apart @ cell.edges.T, axis=1)
    nearest = int(distance.argmin())
    if distance[nearest] > TOGETHER:
        return None
    a, b = int(i[nearest]), int(j[nearest])
    share = columns.strength[b] / (columns.strength[a] + columns.strength[b])
    places, strength = columns.places.copy(), columns.strength.copy()
    places[a] -= share * apart[nearest]
    strength[a] += strength[b]
    return replace(columns, places=places, strength=strength).without(b)


def _sorted(columns: Columns) -> Columns:
    """The strongest first and at the origin; all places within the cell."""
    order = np.argsort(-columns.strength, kind="stable")
    places = (columns.places[order] - columns.places[order[0]] + 1e-9) % 1.0 - 1e-9
    return replace(columns, places=places, strength=columns.strength[order], width=columns.width[order])


def uncertainties(comparison: Comparison, columns: Columns) -> FloatArray:
    """Standard uncertainties of `Columns.vector`, the first column standing still: (4k + 3,).

    The residuals are errors of the model rather than noise; images count as independent, their points do not:
    a sandwich of the normal matrix with the gradients of the images (White, Econometrica 48 (1980) 817).
    """
    r, J = comparison.with_slopes(columns)
    count = len(columns)
    free = np.setdiff1d(np.arange(len(J)), [0, count])
    J = J[free]
    per_image = np.stack(
        [J[:, comparison.image == i] @ r[comparison.image == i] for i in range(comparison.images)]
    )
    inverse = np.linalg.pinv(J @ J.T, rcond=1e-10, hermitian=True)
    n = comparison.images
    share = n / max(n - 1, 1)
    sandwich = inverse @ (per_image.T @ per_image) @ inverse * share
    plain = inverse * float(r @ r) / max(len(r) - len(free), 1)
    found = np.zeros(len(free) + 2)
    found[free] = np.sqrt(np.maximum(np.maximum(np.diag(sandwich), np.diag(plain)), 0.0))
    return found
