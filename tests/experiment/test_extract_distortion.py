"""The smooth distortion of a scan, and the even grid on which its stack is written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from extract_series import GAAS, SCOPE, make
from frame_series import Series
from scipy.ndimage import map_coordinates

import lacbed
from lacbed.experiment.extract.look import look_at
from lacbed.experiment.extract.pipeline import kept_images, sum_stack
from lacbed.experiment.extract.tilts import Tilts, find_tilts
from lacbed.experiment.extract.write import interpolate


def _uneven(k: np.ndarray) -> np.ndarray:
    """What is left of directions k (row, column, 2) after the nearest even grid, in its steps; NaN stays."""
    rows, columns = np.mgrid[: k.shape[0], : k.shape[1]]
    even = np.stack([np.ones(rows.size), rows.ravel(), columns.ravel()], axis=1)
    flat = k.reshape(-1, 2)
    known = np.isfinite(flat).all(axis=1)
    found = np.linalg.lstsq(even[known], flat[known], rcond=None)[0]
    return np.asarray(((flat - even @ found) @ np.linalg.inv(found[1:])).reshape(k.shape))


def _tilts(series: Series, distortion: bool = True) -> Tilts:
    """Of a series, by the steps of `extract` that lead to them."""
    frames, settings = lacbed.open_frames(series.frames), lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain)
    look = look_at(frames, settings)
    stack = sum_stack(frames, look, settings)
    rows = kept_images(stack, look.lattice.sites, np.zeros(2))
    sites = look.lattice.sites[rows]
    return find_tilts(stack.images[rows], stack.variance[rows], sites, look.lattice.basis, distortion)[0]


@pytest.mark.parametrize(
    ("bend", "barrel", "order"),
    [(0.015, 0.0, 2), (0.0, 0.02, 3), (0.01, -0.02, 3)],
    ids=["bend", "pincushion", "both"],
)
def test_a_smooth_distortion_is_found_to_a_tenth_of_a_tilt(bend: float, barrel: float, order: int) -> None:
    made = make(replace(SCOPE, tilts=24, tilt_bend=bend, tilt_barrel=barrel))
    found = _tilts(made)
    places = np.moveaxis(np.mgrid[:24, :24].astype(float), 0, -1)
    truth, distortion = _uneven(made.k), found.distortion
    assert distortion.order == order
    assert np.linalg.norm(truth, axis=-1).max() > 0.17  # before
    off = np.linalg.norm(distortion.of(places) - truth, axis=-1)
    assert off.max() < 0.1
    assert np.sqrt((off**2).mean()) < 0.03
    size, error = found.displacement
    assert size == pytest.approx(np.linalg.norm(truth, axis=-1).max(), abs=max(4 * error, 0.02))
    np.testing.assert_allclose(distortion.even(distortion.recorded(places)), places, atol=1e-4)
    np.testing.assert_allclose(found.place(found.k(places)), places, atol=1e-4)


def test_an_even_scan_has_no_distortion(found: lacbed.Extraction) -> None:
    for seed in (1, 2, 3):
        assert _tilts(make(replace(SCOPE, seed=seed))).distortion.order == 1
    assert found.orientation.tilts.distortion.order == 1
    assert found.orientation.tilts.displacement == (0.0, 0.0)
    assert found.orientation.tilts.chi2 == pytest.approx(1, abs=0.3)


def test_the_stack_of_a_distorted_scan_lies_on_an_even_grid() -> None:
    made = make(replace(SCOPE, tilts=24, tilt_bend=0.01, tilt_barrel=0.02))
    settings = lacbed.ExtractSettings(scan=made.scan, gain=SCOPE.gain)
    found = lacbed.extract(lacbed.open_frames(made.frames), GAAS, (1, 1, 0), 200e3, settings)
    grid, e = found.orientation.grid, found.experiment
    assert grid.resampled
    inside = ((grid.at >= 0) & (grid.at <= 23)).all(axis=-1)
    k = np.stack([map_coordinates(made.k[..., i], np.moveaxis(grid.at, -1, 0), order=1) for i in (0, 1)], axis=-1)
    k[~inside] = np.nan
    assert np.nanmax(np.linalg.norm(_uneven(k), axis=-1)) < 0.1
    assert e.variance is not None
    assert np.array_equal(np.isfinite(e.variance), e.mask)
    facts = json.loads(e.pattern.attrs["extraction"])["distortion"]
    assert facts["order"] == 3
    assert facts["largest"][0] == pytest.approx(np.linalg.norm(_uneven(made.k), axis=-1).max(), abs=0.06)
    assert any("distorted smoothly" in note for note in e.notes)
    assert _tilts(made, distortion=False).distortion.order == 1


def test_cubic_convolution_keeps_a_parabola_and_knows_its_noise() -> None:
    rows, columns = np.mgrid[:12, :12].astype(float)
    image = (rows**2 + 2 * columns)[None]
    at = np.stack(np.meshgrid(np.arange(2, 9) + 0.5, np.arange(2, 9) + 0.25, indexing="ij"), axis=-1)
    values, variance = interpolate(image, np.ones_like(image), at)
    np.testing.assert_allclose(values[0], at[..., 0] ** 2 + 2 * at[..., 1], atol=1e-9)
    assert np.all((variance > 0.3) & (variance < 0.7))
    image[0, 5, 5] = np.nan
    assert np.isnan(interpolate(image, np.ones_like(image), np.array([[[5.5, 5.5]]]))[0]).all()
