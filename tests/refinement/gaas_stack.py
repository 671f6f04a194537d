"""A small stack of GaAs, simulated with as many beams as the refinement has, and a refinement of it."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from lacbed import Crystal, TiltGrid, simulate
from lacbed.geometry.frame import make_frame
from lacbed.refinement.options import Progress, RefinementOptions
from lacbed.refinement.problem import Measured
from lacbed.refinement.result import Refinement

HKL = ((0, 0, 0), (1, -1, 1), (1, -1, -1), (0, 0, 2))
FAST = {"beams": 50, "absorption": None, "blur": 0.05, "starts": 1, "steps": 6}


@cache
def truth(shift: float) -> np.ndarray:
    grid = TiltGrid(20, k_max=0.33, center=(shift, 0.0))
    return simulate(Crystal.named("GaAs"), (1, 1, 0), 200e3, (640.0,), grid, HKL, beams=50).values[0]


def measured(dose: float | None = None, seed: int = 0, shift: float = 0.0) -> tuple[Crystal, Measured, float]:
    """GaAs along [110], computed by `simulate` with as many beams as the fit has; 20 x 20 pixels.

    With fewer beams in the fit, values move by more than their uncertainties (B by 8 % for 80 of 140 beams).
    """
    crystal, thickness, half = Crystal.named("GaAs"), 640.0, 0.33
    frame = make_frame(crystal, (1, 1, 0))
    images = truth(shift).copy()
    if dose is not None:
        images = np.random.default_rng(seed).poisson(dose * images).astype(float)
    return crystal, Measured(images, HKL, frame, 200e3, half), thickness


@dataclass(frozen=True)
class Finished:
    """A refinement from a wrong start: the true crystal, the first one, the data, and what came out."""

    crystal: Crystal
    first: Crystal
    data: Measured
    thickness: float
    options: RefinementOptions
    saved: list[Progress]
    result: Refinement
