"""What is minimised: residuals, robust weights, and weights by the variance of pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gaas_stack import measured

from lacbed.errors import SettingError
from lacbed.patterns.metrics import zncc_loss
from lacbed.refinement.model import BlochModel
from lacbed.refinement.objective import compare, explain, make_target, residual_of, reweighted
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.problem import weights_of


def test_residual_is_what_correlation_leaves(finished):
    result = finished.result
    generator = torch.Generator().manual_seed(4)
    model = torch.rand(3, 8, 8, dtype=torch.float64, generator=generator)
    noise = torch.rand(3, 8, 8, dtype=torch.float64, generator=generator)
    target = make_target(5.0 * model + noise + 2.0)
    left = torch.square(residual_of(target, model)).sum(dim=1)
    rho = 1.0 - zncc_loss(model, target.images)
    torch.testing.assert_close(left, 1.0 - rho**2)
    fit = compare(
        BlochModel(result.plan),
        make_target(torch.as_tensor(result.measured.images)),
        lambda _: result.state,
        torch.zeros(0, dtype=torch.float64),
    )
    again = residual_of(make_target(torch.as_tensor(result.measured.images)), fit.images)
    torch.testing.assert_close(torch.square(fit.residual).sum(), torch.square(again).sum())


def test_robust_weights_leave_a_speck_out(finished):
    result = finished.result
    images = result.measured.images.copy()
    images[1, 4:7, 9:12] = 3.0 * images[1].max()
    target = make_target(torch.as_tensor(images))
    fit = compare(BlochModel(result.plan), target, lambda _: result.state, torch.zeros(0, dtype=torch.float64))
    ratio = reweighted(target, fit, robust=True).root / target.root
    assert float(ratio[1, 4:7, 9:12].max()) < 0.1
    assert float(ratio[0].median()) > 0.9
    assert bool((reweighted(target, fit).root == target.root).all())


def test_the_variance_of_pixels_weights_them():
    """Pixels that are said to be bad do no harm, binning keeps the variance, and it must be there if asked for."""
    _, data, _ = measured()
    counts = 2e3 * data.images
    images = np.random.default_rng(3).normal(counts, np.sqrt(counts + 1.0))
    noise = counts + 1.0
    images[:, 5:9] += 3e3
    noise[:, 5:9] = 1e12
    images[1, 0, 0] = np.nan
    bad = replace(data, images=images, variance=noise)
    options = RefinementOptions()
    target = make_target(torch.as_tensor(images), "variance", variance=torch.as_tensor(noise))
    fit = explain(target, torch.as_tensor(data.images))
    assert fit.cost / 1280 == pytest.approx(1.0, abs=0.15)  # four of each five rows count
    np.testing.assert_allclose(fit.scale.numpy(), 2e3, rtol=0.02)
    assert float(target.root[1, 0, 0]) == 0.0
    assert weights_of(bad, options) == "variance"
    assert weights_of(data, options) == "correlation"
    wide = replace(data, images=np.ones((1, 88, 88)), variance=np.full((1, 88, 88), 4.0))
    np.testing.assert_allclose(wide.binned().variance, 1.0)
    with pytest.raises(SettingError, match="need an experiment with the variance"):
        weights_of(data, replace(options, weights="variance"))
