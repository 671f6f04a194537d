"""Candidates refined by the code of `lacbed.refine` and ranked by Z at tilts that it did not see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from lacbed.beams import beams_within
from lacbed.crystals import Crystal
from lacbed.errors import LacbedError
from lacbed.experiment.experiment import Experiment, largest_binning
from lacbed.refinement.objective import make_target, mean_z
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.refine import refine
from lacbed.refinement.report import refined_crystal
from lacbed.refinement.result import Refinement
from lacbed.refinement.scan import OnProgress

if TYPE_CHECKING:
    from lacbed.retrieval.sharpen import Sharpened
FREE = ("thickness", "half_width", "tilt", "blur", "B", "absorption")

MOST_IMAGES = 10
"""The brightest images are refined."""

SIDE = 24
"""Pixels a side of the images that are refined, at least."""

REACH = 1.8
"""Beams up to this |h| in 1/Å take part, which ranks candidates; `lacbed refine` takes more."""

PATCH, EVERY = 4, 5
"""One in so many patches of so many pixels a side is held out."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A crystal that projects to the columns.

    Attributes:
        crystal: refined, if it was.
        refinement: by `lacbed.refine`, or None.
        held_out: mean Z at tilts that the refinement did not see; NaN without one.
    """

    crystal: Crystal
    refinement: Refinement | None
    held_out: float


def ranked(
    experiment: Experiment,
    crystals: Sequence[Crystal],
    best: Sharpened,
    most: int,
    on_progress: OnProgress | None = None,
) -> tuple[Candidate, ...]:
    """The candidates, those that were refined first and the best of these on top.

    Args:
        experiment: the stack.
        crystals: candidates.
        best: the columns that they project to; where refinement begins.
        most: how many are refined.
        on_progress: as `lacbed.refine` calls it.
    """
    if not crystals or not most:
        return tuple(Candidate(crystal, None, math.nan) for crystal in crystals)
    small, mask = prepared(experiment, best)
    t = best.columns.thickness
    options = RefinementOptions(
        free=FREE,
        thicknesses=tuple(t * f for f in (0.97, 1.0, 1.03, 1.06)),
        beams=beams_within(crystals[0], experiment.frame(crystals[0]), REACH),
        starts=1,
        steps=6,
        align="none",
        border=0.0,
    )
    done: list[Candidate] = []
    for crystal in crystals[:most]:
        try:
            result = refine(small.masked(mask), crystal, options, on_progress=on_progress)
        except LacbedError:
            continue
        rest = np.where(mask, np.nan, small.images)
        target = make_target(torch.as_tensor(rest))
        done.append(Candidate(refined_crystal(crystal, result), result, mean_z(result.fit.images, target)))
    done.sort(key=lambda c: c.held_out)
    return (*done, *(Candidate(crystal, None, math.nan) for crystal in crystals[most:]))


def prepared(experiment: Experiment, best: Sharpened) -> tuple[Experiment, np.ndarray]:
    """The stack that is refined, at the half-width of the columns, and the pixels that are not held out."""
    bright = np.array([np.nanmean(i) if np.isfinite(i).any() else 0.0 for i in experiment.images])
    usable = [i for i in np.argsort(-bright, kind="stable").tolist() if bright[i] > 0]
    few = experiment.select([experiment.hkl[i] for i in sorted(usable[:MOST_IMAGES])])
    few = few.scaled(best.half_width / experiment.half_width)
    factor = largest_binning(few.pixels, SIDE)
    small = few.binned(factor) if factor > 1 else few
    rows, columns = np.indices((small.pixels, small.pixels)) // PATCH
    return small, (rows * 2 + columns) % EVERY != 0
