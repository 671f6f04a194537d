"""One stack in a refinement: the measured images that it needs, its plans, targets and parameters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lacbed.beams import HKL, beams_within
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.assembly import has_contrast
from lacbed.experiment.experiment import Experiment, binned_images, largest_binning
from lacbed.geometry.frame import Frame
from lacbed.patterns.result import hkl_label
from lacbed.refinement.model import BlochModel
from lacbed.refinement.objective import Target, Weights, make_target
from lacbed.refinement.options import RefinementOptions, Start, prior_of
from lacbed.refinement.parameter import Parameter, begin_at
from lacbed.refinement.parameters import build_parameters, free_names
from lacbed.refinement.plan import Plan
from lacbed.refinement.planning import MARGIN, make_plan
from lacbed.refinement.structure import Structure, add_families
from lacbed.state import ModelState, crystal_state

SMALL = 44
"""Scan and first stages work on images of about this many pixels a side."""

REACH = 3.2
"""Beams |h| up to this many 1/Å take part; with 2.45 the B of GeSn was off by its uncertainty."""

FIRST_BLUR = 1.0  # pixels
FIRST_SPREAD = 10.0  # Å; a spread of 0 has no slope
FIRST_TAIL = 0.05

ROUGH_MARGIN = 0.75
"""See `lacbed.refinement.planning.MARGIN`: the scan and the first stages need no more waves."""


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
        variance: of the images, or None if it is not known: (g, ky, kx).
        cone: radius of the cone of incident directions of a pixel in 1/Å.
    """

    images: FloatArray
    hkl: tuple[HKL, ...]
    frame: Frame
    energy: float
    half_width: float
    center: tuple[float, float] = (0.0, 0.0)
    variance: FloatArray | None = None
    cone: float = 0.0

    @property
    def pixels(self) -> int:
        """Along a side."""
        return int(self.images.shape[1])

    def binned(self) -> Measured:
        """Means over squares of pixels, with about `SMALL` of them a side; masked where any of them is."""
        factor = largest_binning(self.pixels, 0.8 * SMALL)
        noise = None if self.variance is None else binned_images(self.variance, factor) / factor**2
        return replace(self, images=binned_images(self.images, factor), variance=noise)

    def without_border(self, percent: float) -> Measured:
        """Masked along every side: there, light from beyond the edge is missing in the model's blur and cone."""
        width = int(percent / 100.0 * self.pixels)
        if not width:
            return self
        images = np.full_like(self.images, np.nan, dtype=float)
        inner = slice(width, -width)
        images[:, inner, inner] = self.images[:, inner, inner]
        return replace(self, images=images)


def measured_of(experiment: Experiment, crystal: Crystal) -> Measured:
    """An experiment as refinement takes it."""
    return Measured(
        experiment.images,
        experiment.hkl,
        experiment.frame(crystal),
        experiment.energy,
        experiment.half_width,
        experiment.center,
        experiment.variance,
        experiment.cone,
    )


def weights_of(measured: Measured, options: RefinementOptions) -> Weights:
    """The weights that are asked for, or those that go with the images.

    Raises:
        SettingError: if the variance is asked for and not known.
    """
    if options.weights == "auto":
        return "correlation" if measured.variance is None else "variance"
    if options.weights == "variance" and measured.variance is None:
        raise SettingError("weights 'variance' need an experiment with the variance of its pixels; use 'auto'")
    return options.weights


def usable(measured: Measured) -> tuple[Measured, list[str]]:
    """Without images that have no contrast or are copies of others, and notes about these.

    Some data sets hold images that were made from others by a mirror or a turn. They know nothing that the first
    does not, but would count twice.

    Raises:
        SettingError: if none is left.
    """
    bright = [i for i, image in enumerate(measured.images) if has_contrast(image)]
    if not bright:
        raise SettingError("no measured image has any contrast; there is nothing to refine against")
    first: dict[bytes, int] = {}
    for i in bright:
        first.setdefault(unturned(measured.images[i]), i)
    kept, notes = sorted(first.values()), []
    for what, some in (
        ("images without contrast left out", sorted(set(range(len(measured.hkl))) - set(bright))),
        ("images that are mirrored or turned copies of others left out", sorted(set(bright) - set(kept))),
    ):
        if some:
            notes.append(f"{what}: {' '.join(hkl_label(measured.hkl[i]) for i in some)}")
    if len(kept) == len(measured.hkl):
        return measured, notes
    noise = None if measured.variance is None else measured.variance[kept]
    smaller = replace(
        measured, images=measured.images[kept], hkl=tuple(measured.hkl[i] for i in kept), variance=noise
    )
    return smaller, notes


def unturned(image: FloatArray) -> bytes:
    """The same for all images that are mirrored or turned by quarters: their first, as text is sorted."""
    sides = (image, image.T)
    return min(np.ascontiguousarray(s[i, j]).tobytes() for s in sides for i in _WAYS for j in _WAYS)


_WAYS = (slice(None), slice(None, None, -1))


class Problem:
    """Plans and targets of one stack.

    Args:
        crystal: the first model.
        measured: what is fitted.
        options: how.

    Attributes:
        base: the state that the parameters start from.
        parameters: of this stack and of the crystal, in the order of their stages.
        families: kind and reflection of the families whose U_g are free.
        absolute: energy in eV for which changes of U_g in 1/Å² are meant.
        beams: number of beams of the plans.
        small: the experiment in large pixels.
    """

    def __init__(self, crystal: Crystal, measured: Measured, options: RefinementOptions) -> None:
        cone = measured.cone / measured.half_width
        measured = measured.without_border(max(options.border, 50.0 * cone))
        self.crystal, self.measured, self.options = crystal, measured, options
        self.small, self.names = measured.binned(), free_names(options)
        self.base = crystal_state(
            crystal,
            measured.energy,
            measured.half_width,
            tilt=measured.center,
            blur=options.blur or FIRST_BLUR,
            thickness=float(np.median(options.thicknesses)),
            spread=FIRST_SPREAD if "spread" in self.names else 0.0,
            tail=FIRST_TAIL if "tail" in self.names else 0.0,
            cone=cone,
        )
        self.beams = default_beams(crystal, measured.frame) if options.beams == "auto" else options.beams
        parameters = build_parameters(crystal, self.base, self.names, options.absorption, options)
        self.parameters: tuple[Parameter, ...] = tuple(sorted(parameters, key=lambda p: p.stage))
        self.families: list[tuple[str, HKL]] = []
        self.absolute = measured.energy

    def free(self, families: Sequence[tuple[str, HKL]], plan: Plan, kept: Collection[str] | None = None) -> None:
        """Free U_g of some families besides what is free already.

        Args:
            families: kind of the parameter and a reflection of each.
            plan: of the small images.
            kept: names of those that are free, None for all of them.
        """
        self.families = list(families)
        _, self.base, more = self._added(plan.structure)
        others = [p for p in self.parameters if p.field != "ug_change"]
        chosen = [p for p in more if kept is None or p.name in kept]
        self.parameters = tuple(sorted([*others, *chosen], key=lambda p: p.stage))

    def with_families(self, plan: Plan) -> BlochModel:
        """The model of a plan with the U_g that are free."""
        return BlochModel(replace(plan, structure=self._added(plan.structure)[0]))

    def _added(self, structure: Structure) -> tuple[Structure, ModelState, list[Parameter]]:
        return add_families(structure, self.base, self.families, prior_of(self.options, "Ug"), self.absolute)

    def begin_at(self, start: Start) -> None:
        """Take over what a scan found."""
        self.beams = start.beams
        self.base, self.parameters = begin_at(self.base, self.parameters, start.thickness, start.blur)

    def target(self, measured: Measured) -> Target:
        """The images to be explained, with first weights."""
        o = self.options
        weights = weights_of(measured, o)
        noise = torch.as_tensor(measured.variance) if weights == "variance" else None
        return make_target(
            torch.as_tensor(measured.images), weights, o.common_scale, background=o.background, variance=noise
        )

    def model(self, measured: Measured, state: ModelState | None = None, finer: float = 1.0) -> BlochModel:
        """A model near a state (default the first one).

        Args:
            measured: the images, full or in large pixels.
            state: beams, waves and points are chosen for it.
            finer: factor on beams and on points of the lattice along a side; above 1 more waves are kept too.
        """
        o, full = self.options, measured is self.measured
        plan = make_plan(
            self.crystal,
            measured.frame,
            measured.hkl,
            measured.pixels,
            self.base if state is None else state,
            beams=round(finer * self.beams),
            factors=o.factors,
            absorption=o.absorption,
            sampling="auto" if o.align == "none" else "lattice",
            divisions=o.divisions if full else None,
            symmetric=all(p.kind != "strain" for p in self.parameters),
            margin=MARGIN + 2.0 * (finer - 1.0) if full else ROUGH_MARGIN,
            binning=self.measured.pixels // measured.pixels,
            finer=finer,
        )
        return self.with_families(plan)


def default_beams(crystal: Crystal, frame: Frame) -> int:
    """Number of beams with |h| up to `REACH`, and 24 at least."""
    return max(24, beams_within(crystal, frame, REACH))
