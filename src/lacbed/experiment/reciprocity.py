"""Half-width, centre and rotation of a stack from the symmetry of its images, whatever the crystal.

For one Laue zone and a flat foil, reciprocity makes every image symmetric about the middle of its Bragg line,
I_g(k) = I_g(-k - g). The middles lie at -g/2 in the image, so that all images together tell how wide they are in
units of the reciprocal lattice, and where k = 0 is, without any model of the intensities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.experiment.experiment import Experiment, largest_binning
from lacbed.experiment.extract.inversion import Fit, fit, prepare

STARTS = (1.0, 0.96, 1.04, 0.92, 1.08)
"""Factors on the stated half-width from which the least squares begin, until one makes images as symmetric as
`CLEAR`."""

CLEAR = 0.8
ENOUGH_PIXELS = 64
"""Larger images are binned to as few pixels per side as that or more."""

LEAST = 0.5
"""Mean correlation of the images with their inversions below which they are not believed."""

SURE = 0.01
"""Relative uncertainty of the half-width up to which it is used."""

_FLOOR = 0.01  # of the brightest pixels: variance that stands for what is unlike counting noise
_COUNTS = 1e3  # electrons that the brightest pixels stand for where a stack does not tell its variance


@dataclass(frozen=True)
class ReciprocityGeometry:
    """Where the images of a stack lie by their own symmetry.

    Attributes:
        factor: on the stated half-width.
        uncertainty: of the factor, one standard deviation.
        center: of the images in 1/Å.
        rotation: in degrees by which the images are turned against the stated direction, from +kx to +ky.
        symmetry: mean correlation of the images with their inversions.
    """

    factor: float
    uncertainty: float
    center: tuple[float, float]
    rotation: float
    symmetry: float

    @property
    def is_sure(self) -> bool:
        """Whether images and uncertainty are good enough to go by."""
        return self.symmetry >= LEAST and self.uncertainty <= SURE

    def applied(self, experiment: Experiment) -> Experiment:
        """The stack with this half-width and centre, and a note of it."""
        half = experiment.half_width * self.factor
        note = (
            f"half-width {half:.5g} 1/Å by the symmetry of the images, {100 * (self.factor - 1):+.2f} % from the "
            f"stated one (uncertainty {100 * self.uncertainty:.2f} %)"
        )
        return experiment.on_grid(half, self.center).annotated(note)


def reciprocity_geometry(experiment: Experiment, crystal: Crystal) -> ReciprocityGeometry | None:
    """The geometry that makes all images of a stack most symmetric about the middles of their Bragg lines.

    Args:
        experiment: the stack.
        crystal: its crystal; only the cell matters.

    Returns:
        The geometry, or None if the images do not tell (no reflection but 000, or no overlap).
    """
    experiment = experiment.binned(largest_binning(experiment.pixels, ENOUGH_PIXELS))
    vectors = experiment.frame(crystal).vectors(np.array(experiment.hkl))[:, :2]
    images = np.asarray(experiment.images, dtype=float)
    told = np.isfinite(images).any(axis=(1, 2)) & (np.nanmax(images, axis=(1, 2), initial=0.0) > 0.0)
    if not np.any(np.linalg.norm(vectors[told], axis=1) > 1e-9):
        return None
    variance = _variance(experiment, images)
    pixel, pixels = experiment.pixel_size, experiment.pixels
    middle = 0.5 * (pixels - 1)
    x, y = experiment.center
    prepared = prepare(images[told], variance[told], vectors[told])
    steps = np.array([[0.0, 1.0], [1.0, 0.0]]) / pixel  # (row, column) by g_x and g_y
    found: list[tuple[Fit, FloatArray]] = []
    for start in STARTS:
        zero = np.array([middle - y / (pixel * start), middle - x / (pixel * start)])
        fitted = fit(prepared, np.concatenate([zero, steps.ravel() / start]))
        if fitted is not None:
            found.append((fitted, _similarity(fitted, steps)))
            if fitted.symmetry >= CLEAR:
                break
    if not found:
        return None
    best, (wide, turned, sigma) = max(found, key=lambda pair: pair[0].symmetry)
    size = math.hypot(wide, turned)
    row, column = best.values[:2]
    scale = pixel / size
    return ReciprocityGeometry(
        1.0 / size,
        float(sigma) / size,
        (float((middle - column) * scale), float((middle - row) * scale)),
        math.degrees(math.atan2(float(turned), float(wide))),
        best.symmetry,
    )


def _variance(experiment: Experiment, images: FloatArray) -> FloatArray:
    """Of every pixel; counting noise where the stack does not tell it."""
    known = experiment.variance
    if known is not None:
        return np.asarray(known, dtype=float)
    top = float(np.nanpercentile(images, 99.5))
    return np.asarray((np.clip(np.nan_to_num(images), 0.0, None) + _FLOOR * top) * max(top, 1e-300) / _COUNTS)


def _similarity(fitted: Fit, steps: FloatArray) -> FloatArray:
    """The factor and turn, by their cosine and sine, that bring the steps nearest to the fitted ones, and sigma.

    Directions that the images do not tell have no weight.
    """
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    design = np.stack([steps.ravel(), (turn @ steps).ravel()], axis=1)
    weight = np.linalg.pinv(fitted.covariance[2:6, 2:6], rcond=1e-9, hermitian=True)
    normal = design.T @ weight @ design
    if np.linalg.matrix_rank(normal, tol=1e-9 * float(np.abs(normal).max(initial=0.0))) < 2:
        normal[1, 1] += normal[0, 0]  # a turn that nothing tells is none
    inverse = np.linalg.inv(normal)
    factor = inverse @ (design.T @ (weight @ fitted.values[2:6]))
    return np.array([*factor, math.sqrt(max(float(inverse[0, 0]), 0.0))])
