"""Figures of merit of a simulated stack against an experiment, reflection by reflection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.assembly import has_contrast
from lacbed.experiment.experiment import Experiment
from lacbed.fitting.align import Match, Matching, Sampler, image_sampler, match_image


@dataclass(frozen=True, eq=False)
class FigureOfMerit:
    """How well a simulation meets an experiment.

    Attributes:
        labels: the reflections.
        matches: one for each reflection, None where the measured image has no contrast.
    """

    labels: tuple[str, ...]
    matches: tuple[Match | None, ...]

    @property
    def z(self) -> FloatArray:
        """Z as it stands, NaN for unused images: (reflection,)."""
        return np.array([math.nan if m is None else m.z for m in self.matches])

    @property
    def z_aligned(self) -> FloatArray:
        """Z after moving each simulated image: (reflection,)."""
        return np.array([math.nan if m is None else m.z_aligned for m in self.matches])

    @property
    def z_weighted(self) -> FloatArray:
        """Z after moving, with background and weights: (reflection,)."""
        return np.array([math.nan if m is None else m.z_weighted for m in self.matches])

    @property
    def mean_z(self) -> float:
        """Mean over the used reflections."""
        return _mean(self.z)

    @property
    def mean_z_aligned(self) -> float:
        """Mean over the used reflections."""
        return _mean(self.z_aligned)

    @property
    def mean_z_weighted(self) -> float:
        """Mean over the used reflections."""
        return _mean(self.z_weighted)

    def table(self) -> list[dict[str, Any]]:
        """One row of plain numbers for each reflection; shifts in pixels."""
        rows = []
        for label, match in zip(self.labels, self.matches, strict=True):
            row: dict[str, Any] = {"hkl": label, "used": match is not None}
            if match is not None:
                row |= {
                    "Z": match.z,
                    "Z_aligned": match.z_aligned,
                    "Z_weighted": match.z_weighted,
                    "shift_x": match.shift[1],
                    "shift_y": match.shift[0],
                    "distortion": match.distortion.tolist(),
                    "scale": match.scale,
                    "background": match.background[0],
                    "slope_x": match.background[2],
                    "slope_y": match.background[1],
                    "weight": float(match.weights.mean()),
                }
            rows.append(row)
        return rows


def score(
    experiment: Experiment,
    simulated: xr.DataArray | npt.ArrayLike,
    matching: Matching | None = None,
    blur: float = 0.0,
) -> FigureOfMerit:
    """Figures of merit of one simulated stack on the grid of an experiment.

    Args:
        experiment: what was measured.
        simulated: (reflection, ky, kx), in the order of the experiment, or a pattern with one thickness.
        matching: what may be adapted for each reflection; default a shift.
        blur: standard deviation in pixels of a Gaussian to fold the simulation with.

    Raises:
        SettingError: if the stacks do not belong together.
    """
    stack = np.asarray(simulated.values if isinstance(simulated, xr.DataArray) else simulated, dtype=float)
    stack = stack[0] if stack.ndim == 4 and len(stack) == 1 else stack
    if stack.shape != experiment.images.shape:
        raise SettingError(
            f"expected simulated images {experiment.images.shape} (reflection, ky, kx), got {stack.shape}"
        )
    return score_samplers(experiment, [image_sampler(image, blur) for image in stack], matching)


def score_samplers(
    experiment: Experiment, samplers: Sequence[Sampler], matching: Matching | None = None
) -> FigureOfMerit:
    """Like `score`, for simulations that can be sampled anywhere."""
    wanted = Matching() if matching is None else matching
    matches = [
        match_image(image, sample, wanted) if has_contrast(image) else None
        for image, sample in zip(experiment.images, samplers, strict=True)
    ]
    return FigureOfMerit(experiment.labels, tuple(matches))


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan
