"""From a series of frames to an experiment: look, sum, orient, finish, each a step that can be run by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment
from lacbed.experiment.extract.choose import Choice, ask_for_spots, choose
from lacbed.experiment.extract.indices import Indexing, candidates, from_spots
from lacbed.experiment.extract.integrate import Stack, stack_of, sum_discs
from lacbed.experiment.extract.look import Look, look_at
from lacbed.experiment.extract.series import FrameSeries
from lacbed.experiment.extract.settings import ExtractSettings
from lacbed.experiment.extract.tilts import Tilts, bragg_score, find_tilts, significance
from lacbed.experiment.extract.write import Grid, square_grid, to_experiment
from lacbed.geometry.frame import Frame, make_frame
from lacbed.patterns.result import software

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Progress = Callable[[str, float], None]

SHOWN = 1.5
"""Significance from which an image is written."""

KNOWN = 0.6
"""Part of its tilts that an image must have."""

ORIGINS = 6
"""Brightest discs that may be the direct beam."""


@dataclass(frozen=True, eq=False)
class Orientation:
    """How crystal, camera and scan lie to each other.

    Attributes:
        origin: site of the direct beam.
        tilts: the scan in units of the lattice, from the direct beam.
        indexing: of the lattice.
        choice: how it was chosen; None if two spots were named.
        frame: of the crystal, with the default direction of x.
        grid: of the stack.
        ways: number of ways to index the lattice that its shape allows.
        notes: what was found.
    """

    origin: IntArray
    tilts: Tilts
    indexing: Indexing
    choice: Choice | None
    frame: Frame
    grid: Grid
    ways: int
    notes: tuple[str, ...]


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


def orient(
    look: Look,
    stack: Stack,
    crystal: Crystal,
    frame: Frame,
    energy: float,
    settings: ExtractSettings,
    tick: Callable[[float], None] | None = None,
) -> Orientation:
    """Direct beam, tilts and indices.

    Raises:
        SettingError: if the data do not show them.
    """
    lattice = look.lattice
    usable = np.array([np.isfinite(i).mean() > KNOWN for i in stack.images])
    if usable.sum() < 4:
        raise SettingError(
            f"only {int(usable.sum())} discs can be used in more than {100 * KNOWN:.0f} % of the "
            "frames; the others are cut "
            "by the border or the beam stop, saturated, or lost"
        )
    rows = np.flatnonzero(usable)
    images, variance = stack.images[rows], stack.variance[rows]
    first = rows[int(np.argmax([np.nanmean(i) for i in images]))]
    sites = lattice.sites[rows] - lattice.sites[first]
    tilts = find_tilts(images, variance, sites, lattice.basis, settings.distortion)[0]
    origin, notes = _origin(look, images, variance, lattice.sites[rows], lattice.sites[first], tilts, settings)
    moved = origin - lattice.sites[first]
    tilts = tilts.with_origin(moved)
    sites = lattice.sites[rows] - origin
    ways = candidates(crystal, frame, lattice.basis, tilts.steps)
    choice: Choice | None = None
    if settings.spots:
        beam = look.middle + origin @ lattice.basis
        left = from_spots(ways, lattice.basis, beam, list(settings.spots))
        indexing = left[0]
        notes.append("the indices follow from the two spots that were named")
    else:
        cone = look.aperture.disc / lattice.nearest
        choice = choose(
            ways, crystal, frame, energy, images, variance, sites, tilts, lattice.basis, cone, tick=tick
        )
        if not choice.decided and not settings.accept:
            raise ask_for_spots(choice)
        indexing = choice.best
        notes.append(f"indices: {choice.why}" + ("" if choice.decided else "; the best was taken, as asked"))
    grid = square_grid(tilts, indexing, frame, look.scan.shape)
    if tilts.distortion.order > 1:
        size, error = tilts.displacement
        notes.append(
            f"the scan is distorted smoothly, by up to {size:.2f} ± {error:.1g} tilts"
            + ("" if grid.resampled else ", too little for the images to be resampled")
        )
    if grid.resampled:
        notes.append(
            "the images are brought onto an even, square grid; the steps of the scan along its two axes differ by "
            f"{100 * abs(grid.stretch):.2f} %, and their angle by {abs(grid.shear):.2f} degrees from a right one"
        )
    return Orientation(origin, tilts, indexing, choice, frame, grid, len(ways), tuple(notes))


def _origin(
    look: Look,
    images: Array,
    variance: Array,
    sites: IntArray,
    brightest: IntArray,
    tilts: Tilts,
    settings: ExtractSettings,
) -> tuple[IntArray, list[str]]:
    """The direct beam: as given, or the bright disc with which images are bright along Bragg lines."""
    if settings.beam is not None:
        x, y = settings.beam
        exact = (np.array([y, x]) - look.middle) @ np.linalg.inv(look.lattice.basis)
        return np.round(exact).astype(np.int64), [
            f"the direct beam was given at x={x:g}, y={y:g} of the mean frame"
        ]
    mean = np.array([np.nanmean(i) for i in images])
    likely = {tuple(s) for s in sites[np.argsort(-mean)[:ORIGINS]].tolist()}
    if look.camera.blind.any():  # the direct beam may lie behind the stop, beside bright discs
        likely |= {(s[0] + i, s[1] + j) for s in list(likely)[:3] for i in (-1, 0, 1) for j in (-1, 0, 1)}
    use = np.argsort(-significance(images, variance))[:24]
    number = {tuple(s): i for i, s in enumerate(sites.tolist())}
    scores = []
    for site in sorted(likely):
        moved = tilts.with_origin(np.array(site) - brightest)
        score = bragg_score(moved, images[use], sites[use] - np.array(site), look.lattice.basis)
        bright = mean[number[site]] / mean.max() if site in number else 1.0
        scores.append((score + 0.15 * bright, score, site))
    scores.sort(reverse=True)
    notes = []
    if scores[0][2] != tuple(brightest.tolist()):
        notes.append("the direct beam is not the brightest disc on average; the Bragg lines show which one it is")
    return np.array(scores[0][2]), notes


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
    notes = [*look.notes, *orientation.notes, *([noise.note] if noise.note else [])]
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
        "aperture": {"radius": look.aperture.radius, "disc": look.aperture.disc, "share": look.aperture.share},
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
