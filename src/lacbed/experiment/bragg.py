"""Whether the images lie as stated: the Bragg lines tell, without any simulation.

Reflection g is bright along k · g = -|g|² / 2. A stack with several reflections therefore fixes which way its
images lie, and how wide they are in units of the reciprocal lattice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.assembly import has_contrast
from lacbed.experiment.experiment import ORIENTATIONS, Experiment
from lacbed.experiment.reciprocity import reciprocity_geometry

RIDGE = 0.09
"""Half-width of the bright band around a Bragg line in 1/Å, at the widest."""

SCALES = np.geomspace(0.5, 2.0, 81)
CLEARLY_BETTER = 0.08
POOR = 0.15
WIDTH_OFF = 0.08
"""Half-widths are found to some 5 % (7 % in small images); more than this is a contradiction."""


@dataclass(frozen=True)
class BraggCheck:
    """What the Bragg lines say about a geometry.

    Attributes:
        stated: mean correlation of the images with the Bragg lines as stated; 1 is perfect, 0 none.
        orientation: the one that fits best; the stated one unless another is clearly better.
        scale: of the half-width that fits best in that orientation.
        best: mean correlation with these two.
        reflections: number of reflections that could be used.
    """

    stated: float
    orientation: str
    scale: float
    best: float
    reflections: int

    def warnings(self, experiment: Experiment) -> list[str]:
        """What contradicts the stated geometry, if anything does."""
        if self.reflections < 2:
            return [
                "too few reflections away from 000 to check orientation and half-width against the Bragg lines"
            ]
        if self.best < POOR:
            return [
                "the Bragg lines of this crystal do not fit the images in any orientation (correlation "
                f"{self.best:.2f}): check zone axis, indices, cell and setting"
            ]
        notes = []
        if self.orientation != experiment.orientation:
            notes.append(
                f"the Bragg lines contradict the stated orientation {experiment.orientation} (correlation "
                f"{self.stated:.2f}): {self.orientation} fits better ({self.best:.2f})"
            )
        if abs(self.scale - 1) > WIDTH_OFF:
            notes.append(
                f"the Bragg lines contradict the stated half-width {experiment.half_width:.4g} 1/Å: "
                f"{self.scale * experiment.half_width:.4g} fits better (correlation {self.best:.2f} against "
                f"{self.stated:.2f}); or the crystal has another cell"
            )
        return notes


def check_bragg(
    experiment: Experiment, crystal: Crystal, orientations: Sequence[str] = ORIENTATIONS
) -> BraggCheck:
    """Compare the images with the Bragg lines of a crystal in every orientation and for many half-widths.

    Args:
        experiment: what was measured.
        crystal: its crystal; only the cell matters.
        orientations: those to be tried.
    """
    vectors = experiment.frame(crystal).vectors(np.array(experiment.hkl))[:, :2]
    usable = [i for i in _usable(experiment) if np.linalg.norm(vectors[i]) > 1e-9]
    if len(usable) < 2:
        return BraggCheck(float("nan"), experiment.orientation, 1.0, float("nan"), len(usable))
    names = list(dict.fromkeys([experiment.orientation, *orientations]))
    ways = np.stack([_prepared(experiment.turned(name), usable) for name in names])
    stated = float(_scores(experiment, ways[:1], vectors[usable], 1.0)[0])
    table = np.stack([_scores(experiment, ways, vectors[usable], float(s)) for s in SCALES])  # (scale, way)
    scores = {name: table[:, i].tolist() for i, name in enumerate(names) if name in orientations}
    name = max(scores, key=lambda n: max(scores[n]))
    own = scores.get(experiment.orientation)
    if own is not None and max(own) > max(scores[name]) - CLEARLY_BETTER:
        name = experiment.orientation
    scale, best = _peak(scores[name])
    if best < stated:
        scale, best = 1.0, stated
    return BraggCheck(stated, name, scale, best, len(usable))


def fit_bragg(experiment: Experiment, crystal: Crystal, half_width: bool, orientation: bool) -> Experiment:
    """The experiment turned and scaled so that its images meet the Bragg lines of a crystal best.

    The lines give the half-width to about 5 %; where the images are symmetric about the middles of their lines,
    that gives it to about 0.1 % (see `lacbed.experiment.reciprocity`).

    Raises:
        SettingError: if the Bragg lines do not tell.
    """
    check = check_bragg(experiment, crystal, ORIENTATIONS if orientation else (experiment.orientation,))
    if check.reflections < 2 or check.best < POOR:
        raise SettingError(f"the geometry cannot be fitted: {check.warnings(experiment)[0]}")
    turned = experiment.turned(check.orientation) if orientation else experiment
    x, y = turned.center
    scale = check.scale if half_width else 1.0
    notes = [f"orientation {check.orientation} fitted to the Bragg lines"] if orientation else []
    scaled = turned.on_grid(turned.half_width * scale, (x * scale, y * scale))
    geometry = reciprocity_geometry(scaled, crystal) if half_width else None
    if geometry is not None and geometry.is_sure:
        return geometry.applied(scaled).annotated(*notes)
    notes += [f"half-width fitted to the Bragg lines, {check.best:.2f} correlation"] if half_width else []
    return scaled.annotated(*notes)


def _usable(experiment: Experiment) -> list[int]:
    return [i for i, image in enumerate(experiment.images) if has_contrast(image)]


def _prepared(experiment: Experiment, usable: Sequence[int]) -> FloatArray:
    """Smoothed roots of the images, so that the band counts and not its fringes: (reflection, pixel)."""
    width = max(1.0, experiment.pixels / 30)
    out = []
    for i in usable:
        image = experiment.images[i]
        known = image[np.isfinite(image)]
        filled = np.where(np.isfinite(image), image, np.median(known))
        root = np.sqrt(np.clip(filled - np.percentile(known, 1), 0, None))
        out.append(_unit(gaussian_filter(root, width).ravel()))
    return np.stack(out)


def _scores(experiment: Experiment, ways: FloatArray, vectors: FloatArray, scale: float) -> FloatArray:
    """Mean correlation with bands exp(-(d / w)²) around the Bragg lines: (way, reflection, pixel) to (way,)."""
    half, n = experiment.half_width * scale, experiment.pixels
    step = (np.arange(n) - n / 2 + 0.5) * (2 * half / n)
    x, y = (c * scale for c in experiment.center)
    kx, ky = np.meshgrid(step + x, step + y)
    length = np.linalg.norm(vectors, axis=1)
    along = vectors / length[:, None]
    distance = along[:, :1] * kx.ravel() + along[:, 1:] * ky.ravel() + 0.5 * length[:, None]
    band = np.exp(-((distance / min(RIDGE, 0.15 * half)) ** 2))
    band = np.stack([_unit(b) for b in band])
    return np.asarray(np.einsum("wrp,rp->w", ways, band) / len(band))


def _unit(values: FloatArray) -> FloatArray:
    rest = values - values.mean()
    norm = float(np.linalg.norm(rest))
    return np.asarray(rest / norm if norm > 1e-9 else 0.0 * rest)


def _peak(scores: list[float]) -> tuple[float, float]:
    """Scale and height of the highest score, by a parabola through it and its neighbours."""
    i = int(np.argmax(scores))
    if not 0 < i < len(scores) - 1:
        return float(SCALES[i]), scores[i]
    low, mid, high = scores[i - 1 : i + 2]
    offset = 0.5 * (low - high) / (low - 2 * mid + high) if low - 2 * mid + high else 0.0
    step = float(np.log(SCALES[1] / SCALES[0]))
    return float(SCALES[i]) * float(np.exp(offset * step)), mid - 0.25 * (low - high) * offset
