"""Direct beam, tilts and indices of a stack: how crystal, camera and scan lie to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.experiment.extract.choose import LIKE, Choice, ask_for_spots, choose
from lacbed.experiment.extract.indices import Indexing, alike, candidates, from_spots
from lacbed.experiment.extract.integrate import Stack
from lacbed.experiment.extract.look import Look
from lacbed.experiment.extract.settings import ExtractSettings
from lacbed.experiment.extract.tilts import Tilts, bragg_score, find_tilts, significance
from lacbed.experiment.extract.write import Grid, square_grid
from lacbed.geometry.frame import Frame

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

KNOWN = 0.6
"""Part of its tilts that an image must have."""

ORIGINS = 6
"""Brightest discs that may be the direct beam."""

TRIED = 3
"""Of these, those that are compared with simulations, if the first ones resemble none."""


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
        said: what was found besides, of the direct beam and of weak discs.
    """

    origin: IntArray
    tilts: Tilts
    indexing: Indexing
    choice: Choice | None
    frame: Frame
    grid: Grid
    ways: int
    said: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found, in words."""
        if self.choice is None:
            indices = "the indices follow from the two spots that were named"
        else:
            doubt = "" if self.choice.decided else "; the best was taken, as asked"
            indices = f"indices: {self.choice.why}{doubt}"
        return (*self.said, indices, *_notes_on(self.tilts, self.grid))


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
    images, variance, sites = _usable(look, stack)
    brightest = sites[int(np.argmax([np.nanmean(i) for i in images]))]
    tilts = find_tilts(images, variance, sites - brightest, look.lattice.basis, settings.distortion)[0]
    ways = candidates(crystal, frame, look.lattice.basis, tilts.steps)
    basis, cone = look.lattice.basis, look.aperture.disc / look.lattice.nearest
    tried: list[tuple[IntArray, Tilts, Indexing, Choice | None]] = []
    for origin in _origins(look, images, variance, sites, brightest, tilts, settings):
        here = tilts.with_origin(origin - brightest)
        if settings.spots:
            left = from_spots(ways, basis, look.middle + origin @ basis, list(settings.spots))
            tried.append((origin, here, left[0], None))
            break
        choice = choose(
            ways, crystal, frame, energy, images, variance, sites - origin, here, basis, cone, tick=tick
        )
        tried.append((origin, here, choice.best, choice))
        if choice.correlation > LIKE:
            break
    origin, tilts, indexing, chosen = max(tried, key=lambda t: np.inf if t[3] is None else t[3].correlation)
    if chosen is not None and not chosen.decided and not settings.accept:
        raise ask_for_spots(chosen)
    said = []
    if settings.beam is not None:
        said.append("the direct beam was given at x={:g}, y={:g} of the mean frame".format(*settings.beam))
    elif not np.array_equal(origin, brightest):
        said.append(
            "the direct beam is not the brightest disc on average; Bragg lines and images show which it is"
        )
    grid = square_grid(tilts, indexing, frame, look.scan.shape)
    return Orientation(origin, tilts, indexing, chosen, frame, grid, len(ways), tuple(said))


def orient_finer(
    known: Orientation,
    basis: Array,
    look: Look,
    stack: Stack,
    crystal: Crystal,
    energy: float,
    settings: ExtractSettings,
) -> Orientation:
    """The same orientation with a lattice that holds further discs, whose images help to fit the tilts.

    Args:
        known: with the lattice of the first look.
        basis: of that lattice on the camera.
        look: with the finer lattice.
        stack: its discs.
        crystal: what was measured.
        energy: in eV.
        settings: what is known besides.

    Raises:
        SettingError: if the further discs leave open which of the ways to index the others is right.
    """
    parts = np.round(basis @ np.linalg.inv(look.lattice.basis)).astype(np.int64)
    images, variance, sites = _usable(look, stack)
    origin, fine = known.origin @ parts, look.lattice.basis
    tilts = find_tilts(images, variance, sites - origin, fine, settings.distortion)[0]
    indexing, choice = _finer(known.indexing, parts), known.choice
    if choice is not None:
        ways = [way for way in (_finer(e, parts) for e in choice.equivalent) if way is not None]
        if not ways:
            raise SettingError("they do not fit the indices of the others")
        if len(set(alike(ways, crystal))) > 1:  # the strong discs alone could not tell them apart
            cone = look.aperture.disc / look.lattice.nearest
            choice = choose(
                ways, crystal, known.frame, energy, images, variance, sites - origin, tilts, fine, cone
            )
            if not choice.decided:
                raise SettingError(f"they leave the indices open: {choice.why}")
            indexing = choice.best
        else:
            choice = replace(choice, best=indexing or ways[0], equivalent=tuple(ways))
    if indexing is None:
        raise SettingError("they do not fit the indices of the others")
    grid = square_grid(tilts, indexing, known.frame, look.scan.shape)
    return replace(known, origin=origin, tilts=tilts, indexing=indexing, choice=choice, grid=grid)


def _finer(indexing: Indexing, parts: IntArray) -> Indexing | None:
    """The indexing on a finer basis, of which the old one is whole `parts`; None if indices were fractions."""
    hkl = np.linalg.solve(parts, indexing.hkl)
    if np.abs(hkl - np.round(hkl)).max() > 1e-6:
        return None
    vectors = np.asarray(np.linalg.solve(parts, indexing.vectors), dtype=float)
    return Indexing(np.round(hkl).astype(np.int64), vectors, indexing.misfit)


def _usable(look: Look, stack: Stack) -> tuple[Array, Array, IntArray]:
    """Images, their variance and the sites of the discs that can be used at most of the tilts.

    Raises:
        SettingError: if they are too few.
    """
    rows = np.flatnonzero([np.isfinite(i).mean() > KNOWN for i in stack.images])
    if len(rows) < 4:
        raise SettingError(
            f"only {len(rows)} discs can be used in more than {100 * KNOWN:.0f} % of the frames; the others are "
            "cut by the border or the beam stop, saturated, or lost"
        )
    return stack.images[rows], stack.variance[rows], look.lattice.sites[rows]


def _origins(
    look: Look,
    images: Array,
    variance: Array,
    sites: IntArray,
    brightest: IntArray,
    tilts: Tilts,
    settings: ExtractSettings,
) -> Iterator[IntArray]:
    """The direct beam: as given, or bright discs with which images are bright along Bragg lines, best first."""
    if settings.beam is not None:
        x, y = settings.beam
        exact = (np.array([y, x]) - look.middle) @ np.linalg.inv(look.lattice.basis)
        yield np.round(exact).astype(np.int64)
        return
    mean = np.array([np.nanmean(i) for i in images])
    bright = [tuple(s) for s in sites[np.argsort(-mean)[:ORIGINS]].tolist()]
    # The direct beam may be weak between bright discs, or lie behind the stop beside them.
    likely = set(bright) | {(s[0] + i, s[1] + j) for s in bright[:3] for i in (-1, 0, 1) for j in (-1, 0, 1)}
    number = {tuple(s): i for i, s in enumerate(sites.tolist())}
    if not look.camera.blind.any():
        likely &= number.keys()
    use = np.argsort(-significance(images, variance))[:24]
    scores = []
    for site in sorted(likely):
        moved = tilts.with_origin(np.array(site) - brightest)
        score = bragg_score(moved, images[use], sites[use] - np.array(site), look.lattice.basis)
        height = mean[number[site]] / mean.max() if site in number else 1.0
        scores.append((score + 0.15 * height, site))
    tried = 1 if settings.spots else TRIED  # spots that do not fit must not move the direct beam
    for _, site in sorted(scores, reverse=True)[:tried]:
        yield np.array(site)


def _notes_on(tilts: Tilts, grid: Grid) -> list[str]:
    """What became of the tilts."""
    notes = []
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
    return notes
