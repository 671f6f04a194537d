"""The first look at a series: camera, lattice of discs, order of the frames, track of the pattern, aperture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from lacbed.errors import SettingError
from lacbed.experiment.extract.beam import Track, follow
from lacbed.experiment.extract.camera import Camera, study_camera
from lacbed.experiment.extract.discs import Aperture, Lattice, find_aperture, lattice_on, refine_lattice
from lacbed.experiment.extract.lattice import find_lattice, phase_waves, places_modulo
from lacbed.experiment.extract.scan import Scan, guess_shape, order_frames
from lacbed.experiment.extract.series import FrameSeries
from lacbed.experiment.extract.settings import ExtractSettings
from lacbed.experiment.extract.vacuum import beam_places, check_beam, check_vacuum

Array = NDArray[np.float64]
Tick = Callable[[float], None]

SAMPLE = 200
"""Frames of the first look."""

SHOWN, LOOSE = 0.5, 0.12
"""Part of the frames that must show the lattice, and by which part of the distance of discs they may scatter."""

PICTURE = 12
"""Squares along a side of the small picture by which frames are compared."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a series shows before any disc is summed.

    Attributes:
        camera: its pixels.
        scan: the frames in their places.
        lattice: of the discs.
        track: place of the origin of the lattice at every tilt.
        aperture: of a disc.
        mean: sum of some frames, each moved so that the discs lie over each other, over their number.
        raw_mean: the same without moving.
        middle: place of the origin of the lattice in `mean`.
        notes: what was found.
    """

    camera: Camera
    scan: Scan
    lattice: Lattice
    track: Track
    aperture: Aperture
    mean: NDArray[np.float32]
    raw_mean: NDArray[np.float32]
    middle: Array
    notes: tuple[str, ...]

    def by_frame(self, count: int) -> Array:
        """Place of the origin of the lattice in each frame, NaN for frames without a tilt: (frame, 2)."""
        out = np.full((count, 2), np.nan)
        out[self.scan.frames[self.scan.known]] = self.track.places[self.scan.known]
        return out


def look_at(series: FrameSeries, settings: ExtractSettings, tick: Tick | None = None) -> Look:
    """Look at a series.

    Raises:
        SettingError: if frames, scan or discs cannot be made out.
    """
    shape = guess_shape(len(series), settings.scan or series.scan)
    if settings.vacuum is not None:
        check_vacuum(settings.vacuum, series, shape)
    raw, numbers = series.sample(SAMPLE)
    if not np.any(raw):
        raise SettingError("all frames of the sample are empty; is it the right file?")
    camera = study_camera(
        raw, dark=settings.dark, flat=settings.flat, mask=settings.mask, saturation=settings.saturation
    )
    if settings.vacuum is not None:
        check_beam(settings.vacuum.sample(SAMPLE)[0], camera)
    frames = camera.corrected(raw)
    basis = find_lattice(frames, ~camera.blind)
    share = 0.5 if settings.vacuum is None else 0.35
    first = tick and (lambda f: tick(share * f))
    between = tick and (lambda f: tick(share + (0.5 - share) * f))
    products, pictures, light, marks = _describe(series, camera, basis, first)
    blank = light <= 1e-9 * np.median(np.abs(light))
    scan = order_frames(pictures, shape, settings.serpentine, _repeats(marks, len(series) - shape[0] * shape[1]))
    descan, notes = (None, ()) if settings.vacuum is None else beam_places(settings.vacuum, camera, scan, between)
    track = _track(products, scan, basis, blank, descan)
    _check_track(track, scan, basis, settings.vacuum)
    places = _places(track, scan, numbers)
    good = np.isfinite(places).all(axis=1)
    lattice = lattice_on(basis, track.places, camera.shape)
    camera = camera.without_gaps((places[:, None] + lattice.places()).reshape(-1, 2))
    lattice = refine_lattice(frames[good], places[good], lattice, camera.blind)
    if lattice.basis is not basis:
        second = tick and (lambda f: tick(0.5 + 0.5 * f))
        products = _describe(series, camera, lattice.basis, second)[0]
        track = _track(products, scan, lattice.basis, blank, descan)
        shifts = lattice.shifts
        sites = lattice.sites
        lattice = lattice_on(lattice.basis, track.places, camera.shape)
        lattice = _with_shifts(lattice, sites, shifts)
    places = _places(track, scan, numbers)
    good = np.isfinite(places).all(axis=1)
    aperture = find_aperture(frames[good], places[good], lattice, camera.blind, settings.radius)
    middle = np.median(track.places.reshape(-1, 2), axis=0)
    return Look(
        camera,
        scan,
        lattice,
        track,
        aperture,
        _moved_mean(frames[good], middle - places[good]),
        frames.mean(axis=0),
        middle,
        tuple(
            [
                *series.notes,
                *camera.notes,
                *scan.notes,
                *notes,
                *_track_notes(track, scan, settings.vacuum),
                *aperture.notes,
            ]
        ),
    )


def look_finer(look: Look, series: FrameSeries, settings: ExtractSettings, basis: Array) -> Look:
    """The same look with a finer lattice, which includes discs too weak to show in the autocorrelation.

    Raises:
        SettingError: if so many discs leave no room for an aperture, or the finer lattice does not stay in place.
    """
    raw, numbers = series.sample(SAMPLE)
    frames, places = look.camera.corrected(raw), _places(look.track, look.scan, numbers)
    good = np.isfinite(places).all(axis=1)
    lattice = lattice_on(basis, look.track.places, look.camera.shape)
    lattice = refine_lattice(frames[good], places[good], lattice, look.camera.blind)
    if lattice.basis is not basis:
        raise SettingError("the camera bends their lattice")
    aperture = find_aperture(frames[good], places[good], lattice, look.camera.blind, settings.radius)
    if aperture.notes:
        raise SettingError("the discs would nearly touch, so that neighbours would mix")
    notes = tuple(note for note in look.notes if note not in look.aperture.notes)
    return replace(look, lattice=lattice, aperture=aperture, notes=notes)


def _describe(
    series: FrameSeries, camera: Camera, basis: Array, tick: Tick | None
) -> tuple[NDArray[np.complex64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Of every frame: phases of its lattice, a small picture, its light, a number that only equal frames share."""
    waves = phase_waves(basis, camera.shape) * ~camera.blind.ravel()
    columns = np.concatenate([waves.real, waves.imag]).T.copy()
    edges = [np.linspace(0, n, PICTURE, endpoint=False).astype(int) for n in camera.shape]
    key = np.random.default_rng(0).random(camera.shape[0] * camera.shape[1]).astype(np.float32)

    def work(block: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        frames = camera.corrected(block)
        flat = frames.reshape(len(frames), -1)
        waves_ = flat @ columns
        seen = frames * ~camera.blind if camera.blind.any() else frames
        small = np.add.reduceat(np.add.reduceat(seen, edges[0], axis=1), edges[1], axis=2)
        light = small.sum(axis=(1, 2))
        return (
            waves_[:, :2] + 1j * waves_[:, 2:],
            np.sqrt(np.clip(small, 0, None)).reshape(len(frames), -1),
            light,
            flat @ key,
        )

    found: tuple[NDArray[Any], ...] = series.map(work, tick=tick)
    return found  # type: ignore[return-value]


def _repeats(marks: NDArray[np.float64], excess: int) -> NDArray[np.int64] | None:
    """Frames equal to the one before, bit by bit."""
    same = np.flatnonzero((np.diff(marks) == 0) & (marks[1:] != 0)) + 1
    return same if len(same) and (excess > 0 or len(same) <= 0.05 * len(marks)) else None


def _track(
    products: NDArray[np.complex64], scan: Scan, basis: Array, blank: NDArray[np.bool_], descan: Array | None
) -> Track:
    z = scan.on_grid(products.real) + 1j * scan.on_grid(products.imag)
    z[(scan.on_grid(blank.astype(float)) > 0) & scan.known] = np.nan
    return follow(places_modulo(z), scan, basis, np.nan_to_num(np.abs(z).min(axis=-1)), descan)


def _check_track(track: Track, scan: Scan, basis: Array, vacuum: FrameSeries | None) -> None:
    """Refuse frames whose lattice of discs is none."""
    used = scan.known & ~track.lost
    if used.mean() < SHOWN * scan.known.mean() or track.scatter > LOOSE * float(np.linalg.norm(basis[0])):
        raise SettingError(
            "the frames do not show one lattice of discs that moves smoothly over the scan "
            f"({100 * used.mean():.0f} % of "
            "them do); check the shape and the order of the scan, and that "
            + (
                "the frames are diffraction patterns"
                if vacuum is None
                else "the vacuum scan belongs to the series"
            )
        )


def _places(track: Track, scan: Scan, numbers: NDArray[np.int64]) -> Array:
    out = np.full((int(scan.frames.max()) + 1, 2), np.nan)
    usable = scan.known & ~track.lost
    out[scan.frames[usable]] = track.places[usable]
    return np.asarray([out[n] if n < len(out) else [np.nan, np.nan] for n in numbers])


def _with_shifts(lattice: Lattice, sites: NDArray[np.int64], shifts: Array) -> Lattice:
    known = {tuple(s): d for s, d in zip(sites.tolist(), shifts, strict=True)}
    return Lattice(
        lattice.basis, lattice.sites, np.array([known.get(tuple(s), np.zeros(2)) for s in lattice.sites.tolist()])
    )


def _moved_mean(frames: NDArray[np.float32], by: Array) -> NDArray[np.float32]:
    total = np.zeros(frames.shape[1:], dtype=np.float32)
    for frame, way in zip(frames, by, strict=True):
        total += shift(frame, way, order=1, mode="nearest")
    return total / np.float32(max(1, len(frames)))


def _track_notes(track: Track, scan: Scan, vacuum: FrameSeries | None) -> list[str]:
    low, high = (f(track.places[scan.known], axis=0) for f in (np.min, np.max))
    notes = [
        f"the pattern moves over {high[0] - low[0]:.1f} x {high[1] - low[1]:.1f} pixels (rows x "
        "columns) of the camera "
        f"during the scan, which is corrected; single frames scatter by {track.scatter:.2f} pixels around that"
    ]
    if vacuum is not None:
        notes.append(
            f"the descan error is that of the vacuum scan {vacuum.source or 'given'!r}; a drift is added to it"
        )
    if track.lost.any():
        where = ", ".join(f"({r}, {c})" for r, c in np.argwhere(track.lost)[:6].tolist())
        notes.append(
            f"{int(track.lost.sum())} frames do not show the lattice of discs; their tilts (row, column) {where}"
            + (" ..." if track.lost.sum() > 6 else "")
            + " are masked"
        )
    return notes
