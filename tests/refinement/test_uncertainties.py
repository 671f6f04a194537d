"""Uncertainties: of the size of the errors, robust against equal reflections, and how they are written."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lacbed.refinement.objective import make_target
from lacbed.refinement.uncertainties import (
    Evidence,
    correlations,
    covariance,
    evidence,
    response,
    standard_uncertainties,
    with_uncertainty,
)


def test_uncertainties_are_of_the_size_of_the_errors(finished):
    crystal, result = finished.crystal, finished.result
    truth = {"thickness": 640.0, "B:Ga1": crystal.sites[0].b_iso, "B:As2": crystal.sites[1].b_iso}
    bias = result.bias  # by beams that the truth has no more than the fit
    su = standard_uncertainties(result.covariance - np.outer(bias, bias))
    for p, value, s in zip(result.parameters, result.values, su, strict=True):
        if p.name in truth:
            assert 0.0 < s < 0.05 * value
            assert abs(value - truth[p.name]) < 5.0 * s
    matrix = correlations(result.covariance)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert np.abs(matrix).max() <= 1.0 + 1e-9


def test_response_is_the_step_of_gauss_newton():
    slopes = torch.randn(3, 2, 49, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = torch.tensor([0.3, -2.0, 1e-4], dtype=torch.float64)
    change = -torch.einsum("p,pgn->gn", step, slopes)
    target = make_target(torch.rand(2, 7, 7, dtype=torch.float64))
    scores = torch.einsum("pgn,gn->p", slopes, change).numpy()
    np.testing.assert_allclose(response(evidence(target, change, slopes), scores), step.numpy(), rtol=1e-9)


def test_sandwich_of_equal_reflections_is_zero_and_of_noise_is_not():
    slopes = torch.randn(1, 6, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = make_target(torch.rand(6, 5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    noise = torch.randn(6, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert float(covariance(evidence(target, 0.0 * noise, slopes))[0, 0]) == 0.0
    found = float(covariance(evidence(target, noise, slopes))[0, 0])
    assert found == pytest.approx(1.0 / float(torch.square(slopes).sum()), rel=2.0)


def test_what_the_images_do_not_decide_is_held_fast_for_the_others():
    slopes = np.random.default_rng(0).normal(size=(3, 40, 3))
    slopes[:, :, 2] = 1e-9 * (slopes[:, :, 0] + slopes[:, :, 2])  # a blur of nearly 0, next to nothing
    own = slopes.transpose(0, 2, 1) @ slopes
    found = Evidence(own, np.zeros((3, 3)), own, 1.0)
    held = covariance(found.without(np.array([False, False, True])))
    two = covariance(replace(found, own=own[:, :2, :2], scores=found.scores[:, :2], noise=own[:, :2, :2]))
    np.testing.assert_allclose(held[:2, :2], two)
    assert np.isinf(held[2, 2])
    assert covariance(found)[0, 0] > 1.2 * held[0, 0]


def test_a_slope_that_is_nothing_but_underflow_is_no_slope():
    slopes = np.random.default_rng(0).normal(size=(3, 40, 3))
    slopes[:, :, 2] *= 1e-155
    own, scores = slopes.transpose(0, 2, 1) @ slopes, slopes.sum(axis=1)
    found = covariance(Evidence(own, scores, own, 1.0))
    assert np.isinf(found[2, 2])
    assert np.isfinite(found[:2, :2]).all()


@pytest.mark.parametrize(
    ("value", "su", "text"),
    [
        (0.58541, 0.0123, "0.585(12)"),
        (984.31, 1.2, "984.3(12)"),
        (984.31, 34.0, "980(30)"),
        (1.5, 0.0, "1.5"),
        (0.66312, 0.0005, "0.6631(5)"),
        (2.0, np.inf, "2"),
        (-0.0001, 0.003, "0.000(3)"),
    ],
)
def test_uncertainty_in_parentheses(value, su, text):
    assert with_uncertainty(value, su) == text
