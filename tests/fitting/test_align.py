"""Moving one image onto another: what was done to it is found, and Z is the same Z as everywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

import lacbed
from lacbed.errors import SettingError
from lacbed.fitting.align import (
    UNALIGNED,
    Matching,
    image_sampler,
    match_image,
)
from lacbed.fitting.weighted import image_residual, regress, weighted_z

IDENTITY = np.eye(2)


def smooth(seed: int = 0, size: int = 40) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(size, size))
    return gaussian_filter(noise, 2.0) * 10 + 3.0


def displaced(image, shift, matrix=IDENTITY):
    """The image moved by a shift (ky, kx) after a linear map about its middle."""
    rows, columns = np.indices(image.shape) - (np.array(image.shape)[:, None, None] - 1) / 2
    y = matrix[0, 0] * rows + matrix[0, 1] * columns + (image.shape[0] - 1) / 2 - shift[0]
    x = matrix[1, 0] * rows + matrix[1, 1] * columns + (image.shape[1] - 1) / 2 - shift[1]
    return image_sampler(image)(y, x)


@given(st.floats(0.1, 100), st.floats(-50, 50), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_z_is_the_z_of_patterns_whatever_scale_and_background(scale, offset, seed):
    a, b = smooth(seed), smooth(seed + 1) + 0.5 * smooth(seed)
    z = weighted_z(scale * a + offset, b, np.ones(a.shape))
    assert z == pytest.approx(float(lacbed.zncc_loss(a, b)), abs=1e-10)
    assert np.sum(image_residual(a, b) ** 2) == pytest.approx(z, abs=1e-10)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -1.3), (-2.6, 2.2)])
def test_a_shift_is_found(shift):
    image = smooth()
    match = match_image(displaced(image, shift), image_sampler(image), Matching())
    assert match.shift == pytest.approx(shift, abs=2e-3)
    assert match.z_aligned < 1e-5
    assert match.z_aligned <= match.z


def test_shift_and_distortion_are_found():
    image, matrix = smooth(), np.array([[1.02, 0.01], [-0.015, 0.985]])
    measured = displaced(image, (0.7, -0.5), matrix)
    match = match_image(measured, image_sampler(image), Matching(distortion=True))
    np.testing.assert_allclose(match.distortion, matrix, atol=1e-3)
    assert match.z_aligned < 1e-4
    only = match_image(displaced(image, (0, 0), matrix), image_sampler(image), Matching(False, True))
    assert np.abs(only.shift).max() < 1e-5
    np.testing.assert_allclose(only.distortion, matrix, atol=1e-3)


def test_scale_and_sloping_background_are_found():
    image = smooth()
    rows, columns = np.indices(image.shape) - 19.5
    measured = 250 * image + 40 + 3 * rows - 2 * columns
    found = regress(measured, image, np.ones(image.shape), "plane")
    assert found == pytest.approx((250, 40, 3, -2), rel=1e-8)
    match = match_image(measured, image_sampler(image), Matching(shift=False, background="plane"))
    assert match.z_weighted < 1e-10 < match.z
    np.testing.assert_allclose(match.model, measured, rtol=1e-8)


def test_masked_pixels_do_not_count():
    image = smooth()
    measured = displaced(image, (0.5, 0.25))
    measured[5:12, 20:30] = np.nan
    match = match_image(measured, image_sampler(image), Matching())
    assert match.shift == pytest.approx((0.5, 0.25), abs=2e-3)
    assert match.weights[6, 21] == 0


def test_robust_weights_ignore_what_the_simulation_cannot_explain():
    image = smooth()
    rng = np.random.default_rng(1)
    measured = 100 * displaced(image, (0.6, 0.0)) + rng.normal(0, 1, image.shape)
    measured[rng.uniform(size=image.shape) < 0.03] += 2000
    plain = match_image(measured, image_sampler(image), Matching())
    robust = match_image(measured, image_sampler(image), Matching(robust=True))
    assert robust.z_weighted < 0.1 * plain.z_aligned
    assert abs(robust.scale - 100) < 2 < abs(plain.scale - 100) + 2
    assert robust.shift == pytest.approx((0.6, 0.0), abs=0.05)


def test_nothing_moves_when_nothing_may():
    match = match_image(displaced(smooth(), (1, 1)), image_sampler(smooth()), UNALIGNED)
    assert match.shift == (0, 0)
    assert match.z == match.z_aligned


def test_a_flat_simulation_is_uncorrelated():
    assert weighted_z(smooth(), np.full((40, 40), 2.0), np.ones((40, 40))) == 1.0


@pytest.mark.parametrize("options", [{"max_shift": 0}, {"max_shift": np.nan}, {"background": "curved"}])
def test_impossible_settings(options):
    with pytest.raises(SettingError):
        Matching(**options)
