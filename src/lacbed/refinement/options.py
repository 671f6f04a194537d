"""How to fit and how to refine, and where a refinement stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal

import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment
from lacbed.io.checks import check_number
from lacbed.potential import Absorption
from lacbed.refinement.objective import Background, Weights
from lacbed.settings import Settings

Align = Literal["none", "shift", "affine"]

PRIORS = {
    "Ug": 0.04,
    "electronic": 0.3,
    "affine": 0.005,
    "spread": 0.02,
    "tail": 0.15,
    "strain": 0.005,
    "kappa": 0.05,
}
"""Standard deviations of what has a prior: changes of U_g, as parts of what the atoms would scatter in phase; the
part of the absorption that electrons add; the distortion of each image; the spread of the thickness, as a part of
it; the share of the tail of the blur; each component of the strain; κ of a valence shell, from 1."""

GEOMETRY = ("half_width", "tilt", "rotation", "blur")
"""What a fit can free besides the thickness."""


@dataclass(frozen=True)
class FitSettings:
    """How to fit thickness and geometry; see `lacbed.fit`.

    Attributes:
        thicknesses: to be tried, in Å; a single one stays as it is.
        absorption: as in `lacbed.simulate`.
        factors: scattering factors.
        beams: number of beams, or "auto" for as many as convergence needs.
        free: common geometry that is fitted: of "half_width", "tilt", "rotation", "blur".
        blur: standard deviation in pixels of the first Gaussian, which stands for the average over a pixel too;
            None for what the scan finds.
        align: how each image may be moved for Z_aligned: "none", "shift", or "affine" for a shift and a linear
            distortion up to 5 %.
        max_shift: largest shift in pixels.
        background: of each image in Z_weighted: "constant", or "plane" for one that slopes.
        robust: whether pixels that no model explains lose weight in Z_weighted (Cauchy weights).
        device: where to compute.
        dtype: "float32", which changes intensities by 1e-5, or "float64".
    """

    thicknesses: tuple[float, ...] = tuple(np.arange(200.0, 2001.0, 20.0).tolist())
    absorption: Absorption = "thomas"
    factors: str = "kirkland"
    beams: int | Literal["auto"] = "auto"
    free: tuple[str, ...] = GEOMETRY
    blur: float | None = None
    align: Align = "shift"
    max_shift: float = 3.0
    background: Background = "constant"
    robust: bool = False
    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: saying what was expected and what came.
        """
        unknown = [name for name in self.free if name not in GEOMETRY]
        if unknown:
            raise SettingError(f"the geometry that can be fitted is {', '.join(GEOMETRY)}; got {unknown[0]!r}")
        _check_images(self)

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


@dataclass(frozen=True)
class RefinementOptions:
    """How to refine.

    Attributes:
        free: parameters, see `KINDS` in parameter.py; empty for `default_parameters` in parameters.py.
        thicknesses: to scan, in Å; a single one is the start as it stands.
        beams: number of beams, or "auto" for as many as convergence needs, see `lacbed.refinement.problem`.
        absorption: model of absorption.
        factors: scattering factors.
        method: "lm" (Levenberg-Marquardt with bounds) or "lbfgs" (gradient only).
        starts: how many minima of the scan to follow.
        align: how each image may be moved at the end; this and the next three as in `FitSettings`.
        weights: "correlation" (mean Z), "poisson" (electron counts), "variance", or "auto" for the variance
            where the experiment has it and "correlation" elsewhere.
        common_scale: one scale for all images and no background.
        robust: whether pixels that no model explains lose weight, see `reweighted` in objective.py.
        blur: standard deviation in pixels of the first Gaussian; None for what the scan finds.
        steps: evaluations in each stage at most.
        divisions: points of the lattice per reciprocal vector; default by pixels, blur and thickness.
        max_shift: largest shift of an image in pixels.
        background: of each image: "constant", or "plane" for one that slopes.
        border: per cent of the width of an image that do not count along each side.
        fixed: kinds or parameters among those of `free` that stay as they are.
        priors: other standard deviations than those of `PRIORS`.
        profile: parameter whose likelihood is followed at the end, see `lacbed.refinement.profile`; "" for none.
    """

    free: tuple[str, ...] = ()
    thicknesses: tuple[float, ...] = tuple(float(t) for t in range(200, 3001, 25))
    beams: int | Literal["auto"] = "auto"
    absorption: Absorption = "thomas"
    factors: str = "kirkland"
    method: Literal["lm", "lbfgs"] = "lm"
    starts: int = 3
    align: Align = "affine"
    weights: Weights | Literal["auto"] = "auto"
    common_scale: bool = False
    robust: bool = False
    blur: float | None = None
    steps: int = 12
    divisions: int | None = None
    max_shift: float = 3.0
    background: Background = "constant"
    border: float = 4.0
    fixed: tuple[str, ...] = ()
    priors: tuple[tuple[str, float], ...] = ()
    profile: str = ""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: saying what was expected and what came.
        """
        _check_images(self)
        check_number("the border", self.border, low=0, high=30, unit="percent")
        for name, width in self.priors:
            if name not in PRIORS:
                raise SettingError(f"{name!r} has no prior; those that can be set are {', '.join(PRIORS)}")
            if not (math.isfinite(width) and width > 0.0):
                raise SettingError(
                    f"the prior of {name} must be wider than 0, got {width:g}; to fix {name}, do not free it"
                )
        if self.common_scale and self.background == "plane":
            raise SettingError("a common scale leaves no background; choose it or background 'plane', not both")


def _check_images(wanted: FitSettings | RefinementOptions) -> None:
    """What both let an image do, checked alike.

    Raises:
        SettingError: saying what was expected and what came.
    """
    if wanted.beams != "auto" and not (isinstance(wanted.beams, Integral) and wanted.beams > 0):
        raise SettingError(f"beams must be 'auto' or a positive whole number, got {wanted.beams!r}")
    align: Any = wanted.align
    if align not in ("none", "shift", "affine"):
        new = (
            {True: "; True is now 'shift'", False: "; False is now 'none'"}.get(align, "")
            if align in (0, 1)
            else ""
        )
        raise SettingError(f"align must be 'none', 'shift' or 'affine', got {align!r}{new}")
    if wanted.background not in ("constant", "plane"):
        raise SettingError(f"background must be 'constant' or 'plane', got {wanted.background!r}")
    if wanted.blur is not None:
        check_number("the blur", wanted.blur, above=0, high=10, unit="pixels")
    check_number("max_shift", wanted.max_shift, above=0, high=50, unit="pixels")


def prior_of(options: RefinementOptions | None, name: str) -> float:
    """The standard deviation of a prior."""
    return dict(() if options is None else options.priors).get(name, PRIORS[name])


@dataclass(frozen=True, eq=False)
class Start:
    """Where the refinement of one stack began, and how its images have been moved since.

    Attributes:
        thickness: that the scan found, in Å.
        blur: that the scan found, in pixels.
        beams: number of beams.
        moves: of the images, or None before the last stage: (g, 2 or 6).
        scan: thickness in Å and mean Z: (thickness, 2).
    """

    thickness: float
    blur: float
    beams: int
    moves: FloatArray | None = None
    scan: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a refinement stands; everything needed to go on.

    Attributes:
        stage: number of stages that are done; 0 after the scan.
        values: of all parameters: (p,).
        starts: of every stack.
        history: (stage, mean Z) after every evaluation that was better than all before.
        notes: warnings so far.
    """

    stage: int
    values: FloatArray
    starts: tuple[Start, ...]
    history: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
