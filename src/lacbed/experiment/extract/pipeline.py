"""From a series of frames to an experiment: look, sum, orient, finish, each a step that can be run by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment
from lacbed.experiment.extract.cone import cone_radius
from lacbed.experiment.extract.indices import finer_basis
from lacbed.experiment.extract.integrate import Stack, stack_of, sum_discs
from lacbed.experiment.extract.look import Look, look_at, look_finer
from lacbed.experiment.extract.orient import KNOWN, Orientation, orient, orient_finer
from lacbed.experiment.extract.series import FrameSeries
from lacbed.experiment.extract.settings import ExtractSettings
from lacbed.experiment.extract.tilts import significance
from lacbed.experiment.extract.write import to_experiment
from lacbed.geometry.frame import Frame, make_frame
from lacbed.patterns.result import software

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Progress = Callable[[str, float], None]

SHOWN = 1.5
"""Significance from which an image is written."""


@dataclass(frozen=True, eq=False)
class Extraction:
    """A finished extraction.

    Attributes:
        experiment: the stack.
        look: the first look at the series.
        stack: electrons of all discs, on the scan.
        orientation: indices and geometry.
    """

    experiment: Experiment
    look: Look
    stack: Stack
    orientation: Orientation


def extract(
    series: FrameSeries,
    crystal: Crystal,
    zone_axis: Sequence[int],
    energy: float,
    settings: ExtractSettings | None = None,
    *,
    progress: Progress | None = None,
    on_look: Callable[[Look], None] | None = None,
) -> Extraction:
    """Extract a LACBED stack from a tilt series of camera frames.

    The lattice of discs follows from the autocorrelation of the frames, its place in each frame (descan error and
    drift) from its phases, the order of the frames from their likeness, step and rotation of the tilts from the
    inversion symmetry of each disc's image about its Bragg line, and the indices from the shape of the lattice
    and, where that leaves a choice, from a comparison with simulated images.

    Args:
        series: the frames; `lacbed.open_frames` reads them.
        crystal: what was measured.
        zone_axis: [uvw] near the middle of the scan.
        energy: kinetic energy in eV.
        settings: what is known besides; nothing needs to be.
        progress: called with what is being done and the part of it that is done.
        on_look: called with the first look at the series, before all that takes longer.

    Raises:
        SettingError: if something cannot be found, or the data do not decide the indices; saying what helps.
    """
    wanted = settings or ExtractSettings()
    say = progress or (lambda what, part: None)
    frame = make_frame(crystal, zone_axis, wanted.foil_normal)
    look = look_at(series, wanted, lambda f: say("looking at the frames", f))
    if on_look is not None:
        on_look(look)
    stack = sum_stack(series, look, wanted, lambda f: say("summing the discs", f))
    orientation = orient(look, stack, crystal, frame, energy, wanted, lambda f: say("finding the indices", f))
    look, stack, orientation = _with_weak_discs(
        look, stack, orientation, series, crystal, frame, energy, wanted, say
    )
    experiment = finish(series, look, stack, orientation, crystal, energy, wanted)
    return Extraction(experiment, look, stack, orientation)


def sum_stack(
    series: FrameSeries, look: Look, settings: ExtractSettings, tick: Callable[[float], None] | None = None
) -> Stack:
    """Electrons of every disc at every tilt."""
    lattice, aperture, camera = look.lattice, look.aperture, look.camera

    def work(block: NDArray[Any], places: Array) -> tuple[NDArray[Any], ...]:
        return (sum_discs(block, places, lattice, aperture, camera),)

    (sums,) = series.map(work, look.by_frame(len(series)), tick=tick)
    dark_known = bool(np.any(settings.dark))
    return stack_of(
        sums,
        look.scan,
        look.track.lost,
        lattice,
        aperture,
        gain=settings.gain,
        readout=settings.readout if dark_known else None,
        smooth=settings.smooth,
    )


def _with_weak_discs(
    look: Look,
    stack: Stack,
    orientation: Orientation,
    series: FrameSeries,
    crystal: Crystal,
    frame: Frame,
    energy: float,
    settings: ExtractSettings,
    say: Progress,
) -> tuple[Look, Stack, Orientation]:
    """The same with reflections between the discs that were seen, such as 200 of GaAs, if the sums show them."""
    basis = finer_basis(orientation.indexing, crystal, frame, look.lattice.basis)
    if basis is None:
        return look, stack, orientation
    try:
        finer = look_finer(look, series, settings, basis)
        more = sum_stack(series, finer, settings, lambda f: say("summing weak discs", f))
        found = orient_finer(orientation, look.lattice.basis, finer, more, crystal, energy, settings)
        before = len(kept_images(stack, look.lattice.sites, orientation.origin))
        if len(kept_images(more, finer.lattice.sites, found.origin)) <= before:
            raise SettingError("the sums show none")
    except SettingError as error:
        note = f"the crystal has reflections between the discs that are seen; they are left out: {error}"
        return look, stack, replace(orientation, said=(*orientation.said, note))
    return finer, more, found


def finish(
    series: FrameSeries,
    look: Look,
    stack: Stack,
    orientation: Orientation,
    crystal: Crystal,
    energy: float,
    settings: ExtractSettings,
) -> Experiment:
    """The experiment of a stack with its indices and geometry."""
    lattice, frame = look.lattice, orientation.frame
    rows = kept_images(stack, lattice.sites, orientation.origin, settings.images)
    hkl = orientation.indexing.of(lattice.sites[rows] - orientation.origin)
    noise = stack.noise
    cone, said = cone_radius(series, look, stack, orientation.tilts)
    notes = [*look.notes, *orientation.notes, *(note for note in (said, noise.note) if note)]
    scale = abs(float(np.linalg.det(np.linalg.solve(lattice.basis, orientation.indexing.vectors)))) ** 0.5
    return to_experiment(
        stack,
        orientation.grid,
        hkl,
        rows,
        crystal,
        energy,
        frame.zone_axis,
        foil_normal=settings.foil_normal,
        name=settings.name,
        source=series.source,
        notes=notes,
        cone=scale * cone,
        facts=facts_of(series, look, stack, orientation, settings),
    )


def kept_images(stack: Stack, sites: IntArray, origin: IntArray, most: int = 0) -> IntArray:
    """Numbers of the images that are written: those that show something, the most significant first if limited."""
    known = np.array([np.isfinite(i).mean() > KNOWN for i in stack.images])
    signal = np.where(known, significance(stack.images, stack.variance), 0.0)
    order = np.argsort(-signal)
    rows = order[signal[order] > SHOWN]
    rows = rows[:most] if most else rows
    distance = np.linalg.norm(sites[rows] - origin, axis=1)
    return np.asarray(rows[np.argsort(distance, kind="stable")])


def facts_of(
    series: FrameSeries, look: Look, stack: Stack, orientation: Orientation, settings: ExtractSettings
) -> dict[str, Any]:
    """Provenance: every number that the stack depends on."""
    o, grid, choice = orientation, orientation.grid, orientation.choice
    camera_matrix = np.linalg.solve(o.indexing.vectors, look.lattice.basis)  # (x, y) in 1/Å to (row, column)
    given = {
        key: value if isinstance(value, str | bool | int | float | None) else "given"
        for key, value in ((f.name, getattr(settings, f.name)) for f in fields(settings))
        if key not in ("mask", "dark", "flat", "spots", "vacuum")
    }
    return {
        "software": software(),
        "source": series.source,
        "vacuum": None if settings.vacuum is None else settings.vacuum.source,
        "frames": len(series),
        "camera": list(look.camera.shape),
        "settings": given | {"spots": [list(map(list, spot)) for spot in settings.spots]},
        "scan": {"shape": list(look.scan.shape), "serpentine": look.scan.serpentine},
        "missing": int((~look.scan.known).sum()),
        "lost": int(look.track.lost.sum()),
        "broken_pixels": int(look.camera.broken.sum()),
        "blind_pixels": int(look.camera.blind.sum()),
        "saturation": None if math.isinf(look.camera.saturation) else look.camera.saturation,
        "lattice": look.lattice.basis.tolist(),
        "basis_hkl": o.indexing.hkl.tolist(),
        "camera_matrix": camera_matrix.tolist(),
        "direct_beam": (look.middle + o.origin @ look.lattice.basis).tolist(),
        "aperture": {name: getattr(look.aperture, name) for name in ("radius", "disc", "share")},
        "gain": stack.noise.gain,
        "gain_uncertainty": stack.noise.error,
        "noise_floor": stack.noise.floor,
        "tilts": {
            "zero": o.tilts.zero.tolist(),
            "steps": o.tilts.steps.tolist(),
            "symmetry": o.tilts.symmetry,
            "chi2": o.tilts.chi2,
        },
        "distortion": {
            "order": o.tilts.distortion.order,
            "coefficients": o.tilts.distortion.coefficients.tolist(),
            "largest": list(o.tilts.displacement),
        },
        "grid": {
            "rotation": grid.rotation,
            "stretch": grid.stretch,
            "shear": grid.shear,
            "resampled": grid.resampled,
            "uncertainty": list(grid.uncertainty),
        },
        "ways": o.ways,
        "decided": "by two named spots" if choice is None else choice.why,
        "thickness_of_comparison": None if choice is None else choice.thickness,
        "correlation_with_simulation": None if choice is None else choice.correlation,
    }
