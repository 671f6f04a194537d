"""v and F, Fourier coefficients, and the two-beam answer."""

import math

import numpy as np
import pytest
import torch
from synthetic import potential_image

from lacbed import constants
from lacbed.errors import SettingError
from lacbed.learn import features


@pytest.mark.parametrize("energy", [60e3, 200e3, 300e3])
def test_wave_constants_are_those_of_the_engine(energy):
    e = torch.tensor([energy], dtype=torch.float64)
    assert float(features.wavelength(e)) == pytest.approx(constants.wavelength(energy), rel=1e-12)
    assert float(features.interaction_constant(e)) == pytest.approx(
        constants.interaction_constant(energy), rel=1e-12
    )


def test_coefficients_give_the_image_back():
    image = potential_image(3, 32)[None].double()
    real, imag = features.fourier_coefficients(image, 15)[0]
    order = np.arange(-15, 16)
    wave = np.exp(2j * np.pi * order[:, None] * np.arange(32)[None, :] / 32)
    again = np.einsum("kh,ky,hx->yx", real.numpy() + 1j * imag.numpy(), wave, wave)
    assert np.abs(again - image[0, 0].numpy()).max() < 1e-3 * float(image.max())  # all but the Nyquist frequency


def test_coefficients_name_x_last():
    x = torch.arange(16) / 16
    image = torch.cos(2 * math.pi * 2 * x)[None, :].expand(16, 16)[None, None]
    real = features.fourier_coefficients(image, 3)[0, 0]
    assert float(real[3, 5]) == pytest.approx(0.5, abs=1e-6)  # h = +2, k = 0
    assert float(real.abs().sum()) == pytest.approx(1.0, abs=1e-5)


def test_too_few_pixels():
    with pytest.raises(SettingError, match="16 pixels"):
        features.fourier_coefficients(torch.zeros(1, 1, 16, 16), 8)


def _two_beam(scale, thickness=600.0):
    coefficients = features.fourier_coefficients(scale * potential_image(1)[None], 3)
    strength = torch.tensor([[7e-4 * thickness]])
    fresnel = torch.tensor([[0.0251 * thickness / 16.0]])
    return features.two_beam_transmission(coefficients, strength, fresnel, features.pattern_axis(16, 2.0))


def test_nothing_is_lost_without_a_potential_or_thickness():
    assert torch.allclose(_two_beam(0.0), torch.ones(1, 1, 16, 16), atol=1e-6)
    assert torch.allclose(_two_beam(1.0, thickness=1e-3), torch.ones(1, 1, 16, 16), atol=1e-6)


def test_two_beam_is_the_kinematic_limit_of_the_engine():
    """Weak potential: 1 - I_0 is quadratic in it."""
    loss = [1 - _two_beam(s).double() for s in (0.01, 0.02)]
    ratio = float(loss[1].sum() / loss[0].sum())
    assert ratio == pytest.approx(4.0, rel=0.02)


def test_two_beam_is_even_in_k_whether_half_or_all_is_computed():
    coefficients = features.fourier_coefficients(potential_image(1)[None] + torch.rand(1, 1, 16, 16), 3)
    strength, fresnel = torch.tensor([[0.05]]), torch.tensor([[0.5]])
    odd = features.two_beam_transmission(coefficients, strength, fresnel, features.pattern_axis(15, 2.0))
    assert torch.allclose(odd, odd.flip(-2, -1), atol=1e-5)
    even = features.two_beam_transmission(coefficients, strength, fresnel, features.pattern_axis(16, 2.0))
    axis = features.pattern_axis(16, 2.0)
    whole = features.two_beam_transmission(coefficients, strength, fresnel, torch.cat([axis, torch.tensor([9.0])]))
    assert torch.allclose(even, whole[..., :16, :16], atol=1e-5)


def test_coefficient_map_puts_g_on_its_bragg_condition():
    coefficients = torch.zeros(1, 2, 5, 5)
    coefficients[0, 0, 2 + 1, 2 + 2] = 7.0  # h = 2, k = 1
    found = features.coefficient_map(coefficients, 32, 2.0)[0, 0]
    y, x = torch.nonzero(found == 7.0).float().mean(dim=0)
    axis = features.pattern_axis(32, 2.0)
    assert float(axis[0] + y * (axis[1] - axis[0])) == pytest.approx(0.5, abs=0.05)
    assert float(axis[0] + x * (axis[1] - axis[0])) == pytest.approx(1.0, abs=0.05)
