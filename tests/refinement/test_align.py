"""Moving one image onto another: what was done to it is found, and Z is the same Z as everywhere."""

import numpy as np
import pytest
import torch
from experiment_helpers import HKL, experiment_of
from given_images import score
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

import lacbed
from lacbed.refinement.merit import Match
from lacbed.refinement.objective import explain, make_target, weighted_z
from lacbed.refinement.options import FitSettings

IDENTITY = np.eye(2)


def smooth(seed: int = 0, size: int = 40) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(size, size))
    return gaussian_filter(noise, 2.0) * 10 + 3.0


def displaced(image, shift, matrix=IDENTITY):
    """The image moved by a shift (x, y) after a linear map about its middle; NaN outside."""
    middle = (len(image) - 1) / 2
    rows, columns = np.indices(image.shape) - middle
    x = matrix[0, 0] * columns + matrix[0, 1] * rows + middle - shift[0]
    y = matrix[1, 0] * columns + matrix[1, 1] * rows + middle - shift[1]
    return map_coordinates(image, [y, x], order=3, mode="constant", cval=np.nan)


def match(measured, simulated, **how) -> Match:
    """One image brought to another."""
    images = np.stack([measured] * len(HKL))
    experiment = experiment_of(np.nan_to_num(images), orientation="-y+x", crystal=None)
    experiment = experiment.masked(np.isfinite(experiment_of(images, "-y+x", crystal=None).images))
    np.testing.assert_array_equal(experiment.images[0], measured)
    found = score(experiment, np.stack([simulated] * len(HKL)), FitSettings(**how)).matches[0]
    assert found is not None
    return found


@given(st.floats(0.1, 100), st.floats(-50, 50), st.integers(0, 50))
@settings(max_examples=25)
def test_z_is_the_z_of_patterns_whatever_scale_and_background(scale, offset, seed):
    a, b = smooth(seed), smooth(seed + 1) + 0.5 * smooth(seed)
    target = make_target(torch.as_tensor(scale * a + offset)[None])
    fit = explain(target, torch.as_tensor(b)[None])
    z = float(weighted_z(target, fit)[0])
    assert z == pytest.approx(float(lacbed.zncc_loss(a, b)), abs=1e-10)
    assert fit.cost == pytest.approx(1.0 - (1.0 - z) ** 2, abs=1e-10)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (-1.3, 0.4), (2.2, -2.6)])
def test_a_shift_is_found(shift):
    image = smooth()
    found = match(displaced(image, shift), image)
    assert found.shift == pytest.approx(shift, abs=2e-3)
    assert found.z_aligned < 1e-5
    assert found.z_aligned <= found.z


def test_shift_and_distortion_are_found():
    image, matrix = smooth(), np.array([[0.985, -0.015], [0.01, 1.02]])
    found = match(displaced(image, (-0.5, 0.7), matrix), image, align="affine")
    np.testing.assert_allclose(found.distortion, matrix, atol=1e-3)
    assert found.shift == pytest.approx((-0.5, 0.7), abs=5e-3)
    assert found.z_aligned < 1e-4


def test_scale_and_sloping_background_are_found():
    image = smooth()
    rows, columns = np.indices(image.shape) - 19.5
    measured = 250 * image + 40 + 3 * rows - 2 * columns
    found = match(measured, image, align="none", background="plane")
    assert (found.scale, *found.background) == pytest.approx((250, 40, -2, 3), rel=1e-8)
    assert found.z_weighted < 1e-10 < found.z
    np.testing.assert_allclose(found.model, measured, rtol=1e-8)


def test_masked_pixels_do_not_count():
    image = smooth()
    measured = displaced(image, (0.25, 0.5))
    measured[5:12, 20:30] = np.nan
    found = match(measured, image)
    assert found.shift == pytest.approx((0.25, 0.5), abs=2e-3)
    assert found.weights[6, 21] == 0


def test_robust_weights_ignore_what_the_simulation_cannot_explain():
    image = smooth()
    rng = np.random.default_rng(1)
    measured = 100 * displaced(image, (0.0, 0.6)) + rng.normal(0, 1, image.shape)
    measured[rng.uniform(size=image.shape) < 0.03] += 2000
    plain, robust = match(measured, image), match(measured, image, robust=True)
    assert robust.z_weighted < 0.1 * plain.z_aligned
    assert abs(robust.scale - 100) < 2 < abs(plain.scale - 100) + 2
    assert robust.shift == pytest.approx((0.0, 0.6), abs=0.05)


def test_nothing_moves_when_nothing_may():
    found = match(displaced(smooth(), (1, 1)), smooth(), align="none")
    assert found.shift == (0, 0)
    assert found.z == found.z_aligned


def test_a_flat_simulation_is_uncorrelated():
    target = make_target(torch.as_tensor(smooth())[None])
    assert float(weighted_z(target, explain(target, torch.full((1, 40, 40), 2.0).double()))[0]) == 1.0
