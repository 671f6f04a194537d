"""How a crystal is held against an experiment in `lacbed.fitting.fit`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment
from lacbed.fitting.align import Matching
from lacbed.fitting.register import PARAMETERS
from lacbed.potential import Absorption
from lacbed.settings import Settings


@dataclass(frozen=True)
class FitSettings:
    """How a crystal is held against an experiment.

    Attributes:
        thicknesses: to be tried, in Å.
        absorption: as in `lacbed.simulate`.
        factors: scattering factors.
        beams: number of beams, or "auto" for as many as convergence needs.
        free: common geometry that is fitted: of "half_width", "tilt", "rotation", "blur".
        blur: standard deviation in pixels of the Gaussian that the simulation is folded with, to start from.
        matching: what is adapted for each reflection in Z_aligned.
        device: where to compute.
        dtype: "float32", which changes intensities by 1e-5, or "float64".
    """

    thicknesses: tuple[float, ...] = tuple(np.arange(200.0, 2001.0, 20.0).tolist())
    absorption: Absorption = "thomas"
    factors: str = "kirkland"
    beams: int | Literal["auto"] = "auto"
    free: tuple[str, ...] = PARAMETERS
    blur: float = 0.7
    matching: Matching = Matching()  # noqa: RUF009  frozen
    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: saying what was expected and what came.
        """
        unknown = [name for name in self.free if name not in PARAMETERS]
        if unknown:
            raise SettingError(f"the geometry that can be fitted is {', '.join(PARAMETERS)}; got {unknown[0]!r}")
        if not (math.isfinite(self.blur) and 0 <= self.blur <= 10):
            raise SettingError(f"the blur must be between 0 and 10 pixels, got {self.blur}")

    def simulation(self, experiment: Experiment, thicknesses: tuple[float, ...]) -> Settings:
        """The settings of a simulation of an experiment."""
        return Settings(
            experiment.zone_axis,
            experiment.energy,
            thicknesses,
            experiment.grid,
            experiment.hkl,
            experiment.foil_normal,
            experiment.x_direction,
            beams=self.beams,
            absorption=self.absorption,
            factors=self.factors,
            solver="fast",
            device=self.device,
            dtype=self.dtype,
        )
