"""The common geometry of a stack: half-width, tilt, rotation and blur that bring a simulation nearest to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import least_squares

from lacbed.crystals.cell import FloatArray
from lacbed.experiment.assembly import has_contrast
from lacbed.experiment.experiment import Experiment
from lacbed.fitting.align import Sampler
from lacbed.fitting.lattice import LatticePattern
from lacbed.fitting.weighted import image_residual

PARAMETERS = ("half_width", "tilt", "rotation", "blur")
MAX_SCALE = 0.06
MAX_TURN = math.radians(3.0)
MAX_BLUR = 4.0
SHIFT_PIXELS = 4.0


@dataclass(frozen=True)
class Placement:
    """Where the pixels lie: k = c + scale · R(rotation) (k_stated - c) + tilt, about the centre c of the grid.

    Attributes:
        scale: of the half-width.
        tilt: of the centre (kx, ky) in 1/Å.
        rotation: rotation from x towards y in rad.
        blur: standard deviation in pixels of the Gaussian that the simulation is folded with.
    """

    scale: float = 1.0
    tilt: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    blur: float = 0.7

    def apply(self, kx: FloatArray, ky: FloatArray, center: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
        """Stated directions to those that they are taken to be."""
        x, y = kx - center[0], ky - center[1]
        c, s = self.scale * math.cos(self.rotation), self.scale * math.sin(self.rotation)
        return c * x - s * y + center[0] + self.tilt[0], s * x + c * y + center[1] + self.tilt[1]


@dataclass(eq=False)
class Stage:
    """A simulated stack under an experiment, with the splines of one thickness and blur kept.

    Attributes:
        experiment: what was measured.
        pattern: the simulation, with the reflections of the experiment in its order.
        reach: half-width in 1/Å within which the lattice was computed.
    """

    experiment: Experiment
    pattern: LatticePattern
    reach: float
    _kept: dict[tuple[int, float], list[FloatArray]] = field(default_factory=dict)

    def splines(self, thickness: int, blur: float) -> list[FloatArray]:
        """The splines of all reflections at a thickness, for a blur in pixels."""
        key = (thickness, blur)
        if key not in self._kept:
            if len(self._kept) > 1:  # a step of the blur and the way back
                self._kept.pop(next(iter(self._kept)))
            pixel = self.experiment.pixel_size
            self._kept[key] = self.pattern.splines(thickness, pixel, blur * pixel)
        return self._kept[key]

    def images(self, thickness: int, placement: Placement) -> FloatArray:
        """The simulated stack at the pixels of the experiment: (reflection, ky, kx)."""
        kx, ky = np.meshgrid(self.experiment.pattern["kx"].values, self.experiment.pattern["ky"].values)
        places = placement.apply(kx, ky, self.experiment.center)
        inside = self._inside(*places)
        stack = [self.pattern.sample(s, *places) for s in self.splines(thickness, placement.blur)]
        return np.where(inside, np.stack(stack), np.nan)

    def samplers(self, thickness: int, placement: Placement) -> list[Sampler]:
        """What gives the simulation at fractional pixels, for `lacbed.fitting.merit.score_samplers`."""
        return [self._sampler(spline, placement) for spline in self.splines(thickness, placement.blur)]

    def _sampler(self, spline: FloatArray, placement: Placement) -> Sampler:
        pattern, pitch = self.experiment.pattern, self.experiment.pixel_size
        kx0, ky0 = float(pattern["kx"][0]), float(pattern["ky"][0])

        def sample(rows: FloatArray, columns: FloatArray) -> FloatArray:
            places = placement.apply(kx0 + pitch * columns, ky0 + pitch * rows, self.experiment.center)
            return np.where(self._inside(*places), self.pattern.sample(spline, *places), np.nan)

        return sample

    def _inside(self, kx: FloatArray, ky: FloatArray) -> np.ndarray:
        middle = self.experiment.center
        near = (np.abs(kx - middle[0]) <= self.reach) & (np.abs(ky - middle[1]) <= self.reach)
        return np.asarray(near)


def lattice_margin(experiment: Experiment, max_shift: float) -> float:
    """How far beyond the images a lattice has to reach in 1/Å, so that they can be moved."""
    return (max_shift + 1.5) * experiment.pixel_size + 0.03 * experiment.half_width


def place(
    stage: Stage, thickness: int, start: Placement, free: Sequence[str] = PARAMETERS, max_nfev: int = 12
) -> Placement:
    """The placement near `start` with the lowest mean Z over all reflections.

    Args:
        stage: experiment and simulation.
        thickness: which thickness of the simulation.
        start: where to begin.
        free: what may change, of "half_width", "tilt", "rotation", "blur".
        max_nfev: largest number of steps.
    """
    pixel = stage.experiment.pixel_size
    names = [n for n in ("half_width", "tilt_x", "tilt_y", "rotation", "blur") if n.split("_")[0] in _roots(free)]
    if not names:
        return start
    whole = dict(zip(("half_width", "tilt_x", "tilt_y", "rotation", "blur"), _vector(start, pixel), strict=True))
    limits = {
        "half_width": (1 - MAX_SCALE, 1 + MAX_SCALE),
        "tilt_x": (-SHIFT_PIXELS, SHIFT_PIXELS),
        "tilt_y": (-SHIFT_PIXELS, SHIFT_PIXELS),
        "rotation": (-MAX_TURN, MAX_TURN),
        "blur": (0.0, MAX_BLUR),
    }
    steps = {"half_width": 2e-4, "tilt_x": 0.02, "tilt_y": 0.02, "rotation": 2e-4, "blur": 0.02}
    low, high = (np.array([limits[n][i] for n in names]) for i in (0, 1))
    step = np.array([steps[n] for n in names])
    measured = stage.experiment.images
    used = [i for i, image in enumerate(measured) if has_contrast(image)]

    def residual(values: FloatArray) -> FloatArray:
        whole.update(zip(names, (float(v) for v in values), strict=True))
        images = stage.images(thickness, _placement(whole, pixel))
        return np.concatenate([image_residual(measured[i], images[i]) for i in used]) / math.sqrt(len(used))

    def jacobian(values: FloatArray) -> FloatArray:
        here = residual(values)
        return np.stack([(residual(values + d) - here) / d.sum() for d in np.diag(step)], axis=1)

    first = np.clip([whole[n] for n in names], low + step, high - 2 * step)
    found = least_squares(
        residual, first, jacobian, (low, high), x_scale=step, xtol=1e-4, ftol=1e-5, max_nfev=max_nfev
    )
    whole.update(zip(names, (float(v) for v in found.x), strict=True))
    return _placement(whole, pixel)


def _roots(free: Sequence[str]) -> set[str]:
    return {name.split("_")[0] for name in free}


def _vector(placement: Placement, pixel: float) -> FloatArray:
    x, y = placement.tilt
    return np.array([placement.scale, x / pixel, y / pixel, placement.rotation, placement.blur])


def _placement(values: dict[str, float], pixel: float) -> Placement:
    tilt = (values["tilt_x"] * pixel, values["tilt_y"] * pixel)
    return Placement(values["half_width"], tilt, values["rotation"], max(0.0, values["blur"]))
