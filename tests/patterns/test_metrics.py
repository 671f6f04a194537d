"""Laws of the metrics, in NumPy and in torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacbed.errors import SettingError
from lacbed.patterns import max_difference, r_factor, relative_l2, zncc_loss

METRICS = (zncc_loss, r_factor, relative_l2, max_difference)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.uniform(size=(2, 3, 9, 8)), rng.uniform(size=(2, 3, 9, 8))


@pytest.mark.parametrize("metric", METRICS)
def test_an_image_has_no_distance_from_itself(metric, images):
    assert np.all(metric(images[0], images[0]) == 0)
    assert metric(images[0], images[1]).shape == (2, 3)
    assert np.all(metric(images[0], images[1]) > 0)


def test_zncc_is_the_textbook_formula(images):
    a, b = (x[0, 0] for x in images)
    expected = 1 - np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert zncc_loss(a, b) == pytest.approx(expected, abs=1e-14)


@settings(max_examples=30)
@given(st.floats(1e-20, 1e20), st.floats(-10, 10))
def test_zncc_ignores_scale_and_offset(scale, offset):
    a = np.random.default_rng(2).uniform(size=(6, 5))
    assert zncc_loss(a, scale * (a + offset)) == pytest.approx(0, abs=1e-12)
    assert zncc_loss(a, -scale * (a + offset)) == pytest.approx(2, abs=1e-12)


def test_zncc_of_constant_images():
    flat, shaped = np.full((4, 4), 0.3), np.arange(16.0).reshape(4, 4)
    assert zncc_loss(flat, 2 * flat) == 0
    assert zncc_loss(flat, shaped) == 1
    assert zncc_loss(shaped, flat) == 1
    assert zncc_loss(flat * (1 + 1e-16 * shaped), shaped) == 1  # contrast below rounding is none


def test_zncc_keeps_its_digits_near_zero():
    a = np.random.default_rng(3).uniform(size=(64, 64))
    pattern = np.random.default_rng(4).uniform(-1, 1, size=a.shape)
    small = [float(zncc_loss(a, a + e * pattern)) for e in (1e-8, 1e-7)]
    assert small[1] / small[0] == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_missing_pixels_are_left_out_of_both(metric, images):
    a, b = (x[0, 0].copy() for x in images)
    a[0, :4], b[2:4] = np.nan, np.nan
    shared = np.isfinite(a) & np.isfinite(b)
    assert metric(a, b) == pytest.approx(float(metric(a[shared][None], b[shared][None])), rel=1e-12)
    assert np.isnan(metric(np.full((3, 3), np.nan), np.ones((3, 3))))


@pytest.mark.parametrize("metric", METRICS)
def test_broadcasting_with_different_gaps(metric, images):
    stack, one = images[0].copy(), images[1][0, 0].copy()
    stack[0, 1, 3, 3], one[0, 0] = np.nan, np.nan
    whole = metric(stack, one)
    assert whole.shape == (2, 3)
    assert whole[0, 1] == pytest.approx(float(metric(stack[0, 1], one)), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_are_finite_and_right(metric):
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    b = torch.rand(5, 4, dtype=torch.float64, generator=generator)
    b[0, 0] = torch.nan
    assert torch.autograd.gradcheck(lambda x: metric(x, b), (a,))
    for target in (a.detach().clone(), torch.ones(5, 4, dtype=torch.float64)):
        a.grad = None
        metric(a, target).backward()
        assert torch.isfinite(a.grad).all()


def test_kinds_of_arrays(images):
    a, b = images
    tensor = zncc_loss(torch.as_tensor(a), b)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), zncc_loss(a, b))
    assert zncc_loss(a.astype(np.float32), b.astype(np.float32)).dtype == np.float32
    assert max_difference(np.array([[1, 2]]), np.array([[3, 2]])) == 2
    assert max_difference(np.array([[1j]]), np.array([[0j]])) == 1


def test_empty_references():
    zero, one = np.zeros((2, 2)), np.ones((2, 2))
    for metric in (r_factor, relative_l2):
        assert metric(zero, zero) == 0
        assert metric(one, zero) == np.inf
        assert metric(zero, one) == 1


def test_impossible_comparisons():
    with pytest.raises(SettingError, match="same size"):
        zncc_loss(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(SettingError, match="same size"):
        r_factor(np.zeros(3), np.zeros(3))
    with pytest.raises(SettingError, match="broadcast"):
        r_factor(np.zeros((2, 4, 4)), np.zeros((3, 4, 4)))
    with pytest.raises(SettingError, match="complex"):
        zncc_loss(np.zeros((2, 2), complex), np.zeros((2, 2)))
