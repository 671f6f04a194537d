"""Given images as a model of the refinement, so that they can be compared with an experiment."""

from __future__ import annotations

import numpy as np
import torch

from lacbed.experiment.experiment import Experiment
from lacbed.refinement.lattice import LatticePattern, TiltLattice
from lacbed.refinement.lattice_model import LatticeModel
from lacbed.refinement.merit import FigureOfMerit, match_images
from lacbed.refinement.options import FitSettings
from lacbed.state import ModelState

RIM = 8


def score(experiment: Experiment, stack: np.ndarray, settings: FitSettings) -> FigureOfMerit:
    """Figures of merit of one simulated stack, (reflection, ky, kx), on the grid of an experiment."""
    n, side = stack.shape[-1], stack.shape[-1] + 2 * RIM
    values = np.pad(stack, ((0, 0), (RIM, RIM), (RIM, RIM)), mode="reflect").transpose(0, 2, 1)[None]
    lattice = TiltLattice(np.eye(2), (1, 1), (-RIM, -RIM), (side, side), np.ones((side, side), dtype=bool))
    pattern = LatticePattern(lattice, values, (1.0,), ((0, 0, 0),) * len(stack), 0, 0, ())
    middle = (n - 1) / 2
    model = LatticeModel(pattern, n, 1, (middle, middle), middle + RIM - 2)
    numbers = {"half_width": n / 2, "blur": 0.0, "tilt": [middle] * 2, "distortion": [0.0] * 3}
    fields = dict.fromkeys(ModelState.__dataclass_fields__, 1.0) | numbers
    state = ModelState(**{name: torch.as_tensor(v, dtype=torch.float64) for name, v in fields.items()})
    return match_images(experiment, model, state, settings)
