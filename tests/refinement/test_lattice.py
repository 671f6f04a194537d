"""The lattice of tilts gives what the exact simulation gives, anywhere, averaged over pixels or not."""

import numpy as np
import pytest
from experiment_helpers import BEAMS, GAAS, HALF_WIDTH, HKL, PIXELS, THICKNESS, ZONE, X, exact_stack

import lacbed
from lacbed.errors import SettingError
from lacbed.geometry.frame import make_frame
from lacbed.refinement.lattice import simulate_lattice, tilt_lattice
from lacbed.settings import Settings

FRAME = make_frame(GAAS, ZONE, None, X)
PIXEL = 2 * HALF_WIDTH / PIXELS
AXIS = (np.arange(PIXELS) - PIXELS / 2 + 0.5) * PIXEL


@pytest.fixture(scope="module")
def found():
    settings = Settings(ZONE, 200e3, (THICKNESS, 600.0), hkl=HKL, x_direction=X, beams=BEAMS, absorption="thomas")
    return simulate_lattice(GAAS, settings, tilt_lattice(GAAS, FRAME, HALF_WIDTH, (0, 0), 0.7 * PIXEL, PIXEL))


def images(found, pixel=0.0, blur=0.0, shift=(0.0, 0.0)):
    places = np.meshgrid(AXIS + shift[0], AXIS + shift[1])
    return np.stack([found.sample(found.spline(0, i, pixel, blur), *places) for i in range(len(HKL))])


def test_the_lattice_shares_eigenproblems_and_covers_the_images(found):
    lattice = found.lattice
    tilts = lattice.tilts
    assert np.abs(tilts).max() >= HALF_WIDTH
    steps = np.linalg.norm(lattice.vectors, axis=0)
    assert steps.max() <= 0.7 * PIXEL * (1 + 1e-9)
    n1, n2 = lattice.divisions
    whole = lattice.vectors * np.array([n1, n2])  # back to reciprocal vectors
    np.testing.assert_allclose(
        np.linalg.inv(FRAME.zone_vectors) @ whole, np.round(np.linalg.inv(FRAME.zone_vectors) @ whole), atol=1e-9
    )
    assert lattice.coordinates(*tilts[:3].T)[:, 0] == pytest.approx(np.argwhere(lattice.inside)[0])


def test_it_equals_the_exact_simulation(found):
    grid = lacbed.TiltGrid(PIXELS, k_max=HALF_WIDTH)
    options = {"x_direction": X, "beams": BEAMS, "absorption": "thomas"}
    exact = lacbed.simulate(GAAS, ZONE, 200e3, (THICKNESS,), grid, HKL, **options).values[0]
    assert np.abs(images(found) - exact).max() < 0.01
    assert float(np.max(lacbed.zncc_loss(images(found), exact))) < 2e-4


def test_averaging_over_pixels_equals_a_finer_simulation(found):
    exact = exact_stack(finer=3)
    averaged = images(found, pixel=PIXEL)
    z = lacbed.zncc_loss(averaged, exact)
    assert float(z.max()) < 2e-4
    assert float(z.max()) < 0.2 * float(np.max(lacbed.zncc_loss(images(found), exact)))


def test_moving_by_a_pixel_moves_the_image(found):
    here, moved = images(found), images(found, shift=(PIXEL, 0.0))
    np.testing.assert_allclose(moved[:, :, :-1], here[:, :, 1:], atol=1e-6)


def test_blur_keeps_the_mean_and_lowers_the_contrast(found):
    sharp, soft = images(found), images(found, blur=1.5 * PIXEL)
    assert np.all(soft.std(axis=(1, 2)) < sharp.std(axis=(1, 2)))
    np.testing.assert_allclose(soft.mean(axis=(1, 2)), sharp.mean(axis=(1, 2)), rtol=0.1)


def test_a_lattice_that_is_too_fine_is_refused():
    with pytest.raises(SettingError, match="too fine"):
        tilt_lattice(GAAS, FRAME, 1.0, (0, 0), 1e-5, 0.0)
