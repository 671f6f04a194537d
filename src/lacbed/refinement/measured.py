"""What a refinement needs of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lacbed.beams import HKL
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment, binned_images, largest_binning
from lacbed.geometry.frame import Frame

SMALL = 44
"""Scan and first stages work on images of about this many pixels a side."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured images and how they were taken.

    Attributes:
        images: counts, NaN where masked: (g, ky, kx).
        hkl: the reflections.
        frame: orientation of the crystal.
        energy: in eV.
        half_width: of the images in 1/Å.
        center: of the images in 1/Å.
    """

    images: FloatArray
    hkl: tuple[HKL, ...]
    frame: Frame
    energy: float
    half_width: float
    center: tuple[float, float] = (0.0, 0.0)

    @property
    def pixels(self) -> int:
        """Along a side."""
        return int(self.images.shape[1])

    def binned(self) -> Measured:
        """Means over squares of pixels, with about `SMALL` of them a side; masked where any of them is."""
        return replace(self, images=binned_images(self.images, largest_binning(self.pixels, 0.8 * SMALL)))


def measured_of(experiment: Experiment, crystal: Crystal) -> Measured:
    """An experiment as refinement takes it."""
    return Measured(
        experiment.images,
        experiment.hkl,
        experiment.frame(crystal),
        experiment.energy,
        experiment.half_width,
        experiment.center,
    )


def usable(measured: Measured) -> tuple[Measured, list[str]]:
    """Without images that have no contrast, and a note about these.

    Raises:
        SettingError: if none is left.
    """
    flat = [bool(~np.any(np.isfinite(i)) or np.nanmax(i) - np.nanmin(i) <= 0.0) for i in measured.images]
    if all(flat):
        raise SettingError("no measured image has any contrast; there is nothing to refine against")
    if not any(flat):
        return measured, []
    names = " ".join(",".join(str(v) for v in h) for h, f in zip(measured.hkl, flat, strict=True) if f)
    kept = [i for i, f in enumerate(flat) if not f]
    smaller = replace(measured, images=measured.images[kept], hkl=tuple(measured.hkl[i] for i in kept))
    notes = [f"images without contrast left out: {names}"]
    return smaller, notes
