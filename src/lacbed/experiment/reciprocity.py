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

_DETERMINED = 1e-6  # smallest eigenvalue of the scaled normal matrix
_FLOOR = 0.01  # of the brightest pixels: variance that stands for what is unlike counting noise
_COUNTS = 1e3  # electrons that the brightest pixels stand for where a stack does not say its variance


TURNED = 0.5
"""Degrees from which on a rotation, which is not put right, is told."""


@dataclass(frozen=True)
class ReciprocityGeometry:
    """Where the images of a stack lie by their own symmetry.

    Attributes:
        factor: on the stated half-width.
        uncertainty: of the factor, relative, one standard deviation.
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
        """The stack with this half-width and centre, and a note of it; a rotation is told, not put right."""
        half = experiment.half_width * self.factor
        note = (
            f"half-width {half:.5g} ± {half * self.uncertainty:.1g} 1/Å and centre ({self.center[0]:.4f}, "
            f"{self.center[1]:.4f}) 1/Å by the symmetry of the images"
        )
        notes = [note]
        if abs(self.rotation) > TURNED:
            notes.append(
                f"the images are turned by {self.rotation:.1f}° against the stated x direction; state another one"
            )
        return experiment.on_grid(half, self.center).annotated(*notes)


def reciprocity_geometry(experiment: Experiment, crystal: Crystal) -> ReciprocityGeometry | None:
    """The geometry that makes all images of a stack most symmetric about the middles of their Bragg lines.

    Args:
        experiment: the stack.
        crystal: its crystal; only the cell matters.

    Returns:
        The geometry, or None if the images do not determine it: in a tilted foil, or with too few of them in one
        Laue zone that overlap their inversions.
    """
    frame = experiment.frame(crystal)
    if not frame.is_flat:
        return None
    experiment = experiment.binned(largest_binning(experiment.pixels, ENOUGH_PIXELS))
    vectors = frame.vectors(np.array(experiment.hkl))
    images = np.asarray(experiment.images, dtype=float)
    variance = _variance(experiment, images)
    used = (np.abs(vectors[:, 2]) < 1e-6) & np.isfinite(images).any(axis=(1, 2))
    if variance is None or not np.any(np.linalg.norm(vectors[used], axis=1) > 1e-9):
        return None
    pixel, middle = experiment.pixel_size, 0.5 * (experiment.pixels - 1)
    x, y = experiment.center
    prepared = prepare(images[used], variance[used], vectors[used, :2])
    zero = np.array([middle - y / pixel, middle - x / pixel])
    steps = np.array([[0.0, 1.0], [1.0, 0.0]]) / pixel  # (row, column) by g_x and g_y
    found: list[tuple[float, FloatArray, float]] = []
    for start in STARTS:
        fitted = fit(prepared, np.concatenate([zero, steps.ravel() / start]))
        similar = None if fitted is None else _similarity(fitted, steps)
        if fitted is None or similar is None:
            continue
        found.append((fitted.symmetry, *similar))
        if fitted.symmetry >= CLEAR:
            break
    if not found:
        return None
    symmetry, (row, column, wide, turned), sigma = max(found, key=lambda one: one[0])
    size = math.hypot(wide, turned)
    scale = pixel / size
    return ReciprocityGeometry(
        1.0 / size,
        sigma / size,
        (float((middle - column) * scale), float((middle - row) * scale)),
        math.degrees(math.atan2(float(turned), float(wide))),
        float(symmetry),
    )


def _variance(experiment: Experiment, images: FloatArray) -> FloatArray | None:
    """Of every pixel; counting noise where the stack does not say; None of images without any light."""
    known = experiment.variance
    if known is not None:
        return np.asarray(known, dtype=float)
    top = float(np.nanpercentile(images, 99.5)) if np.isfinite(images).any() else 0.0
    if not top > 0.0:
        return None
    return np.asarray((np.clip(np.nan_to_num(images), 0.0, None) + _FLOOR * top) * top / _COUNTS)


def _similarity(fitted: Fit, steps: FloatArray) -> tuple[FloatArray, float] | None:
    """Place of k = 0, and the factor and turn of the steps, by their cosine and sine, and sigma of the factor.

    All four come nearest to the fitted values together, with the weight that the images give these; None where
    they do not determine all of them.
    """
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    design = np.zeros((6, 4))
    design[:2, :2] = np.eye(2)
    design[2:, 2], design[2:, 3] = steps.ravel(), (turn @ steps).ravel()
    weight = np.linalg.pinv(fitted.covariance[:6, :6], rcond=1e-10, hermitian=True)
    normal = design.T @ weight @ design
    scale = np.sqrt(np.diag(normal))
    if np.any(scale == 0.0) or float(np.linalg.eigvalsh(normal / np.outer(scale, scale))[0]) < _DETERMINED:
        return None
    inverse = np.linalg.inv(normal)
    return inverse @ (design.T @ (weight @ fitted.values[:6])), math.sqrt(float(inverse[2, 2]))
