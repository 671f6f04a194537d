"""Lattices of discs of which some are weak: the direct beam among them, or every second reflection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from frame_series import Microscope, Series, make_series
from scipy.ndimage import gaussian_filter

import lacbed
from lacbed.experiment.extract import look
from lacbed.experiment.extract.cone import sharp_radius
from lacbed.experiment.extract.discs import Aperture
from lacbed.experiment.extract.indices import finer_basis
from lacbed.experiment.extract.lattice import find_lattice, reduced
from lacbed.experiment.extract.pipeline import kept_images

SCOPE = Microscope(
    half_width=0.35, tilt_turn=100.0, turn=70.0, camera=96, spacing=15.0, dose=3e4, fine=1, descan=(1.0, 1.0)
)


def _series(name: str, reach: float, tilts: int = 20) -> Series:
    crystal, scope = lacbed.Crystal.named(name), replace(SCOPE, tilts=tilts)
    return make_series(crystal, (0, 0, 1), scope, 600.0, reach=reach, beams=49, solver="tilted")


def _extract(name: str, series: Series) -> lacbed.Extraction:
    frames = lacbed.open_frames(series.frames, series.scan)
    crystal = lacbed.Crystal.named(name)
    return lacbed.extract(frames, crystal, (0, 0, 1), 200e3, lacbed.ExtractSettings(gain=SCOPE.gain))


def _right(series: Series, found: lacbed.Extraction) -> tuple[int, int]:
    """Images whose indices are the truth or what symmetry makes equal to it, and images that are known."""
    lattice, o = found.look.lattice, found.orientation
    exact = series.vectors @ series.matrix.T @ np.linalg.inv(lattice.basis)
    truth = {tuple(np.round(e).astype(int)): i for i, e in enumerate(exact) if np.abs(e - np.round(e)).max() < 0.1}
    sites = [tuple(lattice.sites[r] - o.origin) for r in kept_images(found.stack, lattice.sites, o.origin)]
    known = [s for s in sites if s in truth]
    ways = [o.indexing] if o.choice is None else o.choice.equivalent
    right = [sum(tuple(w.of(np.array([s]))[0]) == tuple(series.hkl[truth[s]]) for s in known) for w in ways]
    return max(right), len(known)


def test_the_direct_beam_is_found_beside_brighter_discs() -> None:
    series = _series("FeS2", 1.1)
    mean = series.truth.mean(axis=(1, 2))
    assert mean[int(np.argmin(np.linalg.norm(series.vectors, axis=1)))] < 0.7 * mean.max()
    right, known = _right(series, _extract("FeS2", series))
    assert right == known > 12


def test_reflections_between_the_discs_that_are_seen_are_extracted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 of GaAs is weak, and tells more of the bonds than all others; here the first look overlooks it."""
    series = _series("GaAs", 1.0)
    coarse = reduced(np.array([[1.0, 1.0], [-1.0, 1.0]]) @ find_lattice(*_some(series)))
    monkeypatch.setattr(look, "find_lattice", lambda *_: coarse)
    found = _extract("GaAs", series)
    assert np.linalg.norm(found.look.lattice.basis, axis=1) == pytest.approx(SCOPE.spacing, rel=0.02)
    right, known = _right(series, found)
    assert right == known
    hkl = {tuple(sorted(abs(i) for i in h)) for h in found.experiment.hkl}
    assert {(0, 0, 2), (0, 2, 2), (0, 2, 4)} <= hkl
    o = found.orientation
    assert finer_basis(o.indexing, lacbed.Crystal.named("GaAs"), o.frame, found.look.lattice.basis) is None
    shown = [note for note in o.notes if note.startswith("indices")]
    assert len(shown) == 1


def test_weak_odd_reflections_belong_to_the_lattice() -> None:
    """Of Mn the strongest fourteen distances between discs are all of even h + k."""
    basis = find_lattice(*_some(_series("Mn", 0.9, tilts=8)))
    assert np.linalg.norm(basis, axis=1) == pytest.approx(SCOPE.spacing, rel=0.02)


def _some(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Frames for a first look, all of whose pixels can be used."""
    frames = np.asarray(series.frames, dtype=np.float32)[::3]
    return frames, np.ones(frames.shape[1:], dtype=bool)


@pytest.mark.parametrize(("radius", "blur", "expected"), [(0.3, 1.0, 0.0), (1.5, 0.7, 1.5), (6.0, 0.8, 6.0)])
def test_the_disc_without_the_point_spread(radius: float, blur: float, expected: float) -> None:
    fine = 8
    axis = (np.arange(int(2 * (radius + 6)) * fine) + 0.5) / fine - int(2 * (radius + 6)) / 2
    away = np.hypot(axis[:, None], axis)
    image = gaussian_filter((away <= radius).astype(float), blur * fine)
    ring = (away / 0.2).astype(int).ravel()
    mean = np.bincount(ring, image.ravel()) / np.maximum(np.bincount(ring), 1)
    r = 0.2 * (np.arange(len(mean)) + 0.5)
    r, p = r[r < radius + 4], mean[r < radius + 4] / mean[:3].mean()
    half = float(np.interp(-0.5, -p, r))
    aperture = Aperture(half + 1, half + 4, half, 1.0, np.column_stack([r, p]))
    assert sharp_radius(aperture) == pytest.approx(expected, abs=0.05)
