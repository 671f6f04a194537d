"""How to refine, and where a refinement stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.potential import Absorption
from lacbed.refinement.objective import Weights


@dataclass(frozen=True)
class RefinementOptions:
    """How to refine.

    Attributes:
        free: parameters, see `KINDS` in parameter.py; empty for `default_parameters` in parameters.py.
        thicknesses: to scan, in Å; a single one is the start as it stands.
        beams: number of beams; None for as many as it takes, see `lacbed.refinement.problem`.
        absorption: model of absorption.
        factors: scattering factors.
        method: "lm" (Levenberg-Marquardt with bounds) or "lbfgs" (gradient only).
        starts: how many minima of the scan to follow.
        align: whether each image may be shifted at the end.
        weights: "correlation" (mean Z) or "poisson" (electron counts).
        common_scale: one scale for all images and no background.
        robust: whether pixels that no model explains lose weight, see `reweighted` in objective.py.
        blur: standard deviation in pixels of the first Gaussian; None for what the scan finds.
        steps: evaluations in each stage at most.
        divisions: points of the lattice per reciprocal vector; default by pixels, blur and thickness.
    """

    free: tuple[str, ...] = ()
    thicknesses: tuple[float, ...] = tuple(float(t) for t in range(200, 3001, 25))
    beams: int | None = None
    absorption: Absorption = "thomas"
    factors: str = "kirkland"
    method: Literal["lm", "lbfgs"] = "lm"
    starts: int = 3
    align: bool = True
    weights: Weights = "correlation"
    common_scale: bool = False
    robust: bool = False
    blur: float | None = None
    steps: int = 12
    divisions: int | None = None


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a refinement stands; everything needed to go on.

    Attributes:
        stage: number of stages that are done; 0 after the scan.
        values: of all parameters: (p,).
        thickness: that the scan found, in Å.
        blur: that the scan found, in pixels.
        beams: number of beams.
        shifts: of the images, or None before the last stage: (g, 2).
        scan: thickness in Å and mean Z: (thickness, 2).
        history: (stage, mean Z) after every evaluation that was better than all before.
        notes: warnings so far.
    """

    stage: int
    values: FloatArray
    thickness: float
    blur: float
    beams: int
    shifts: FloatArray | None = None
    scan: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    history: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
