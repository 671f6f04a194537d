"""Absorptive factors: laws of the integral, the parametrisation against it, other programs."""

import math

import pytest
import torch

from lacbed.constants import ELECTRON_REST_ENERGY, H2_OVER_2M, PLANCK_TIMES_C, relativistic_gamma, wavelength
from lacbed.errors import ScatteringError
from lacbed.scattering import absorptive_factor, covered_elements, einstein_absorptive_factor, elastic_factor

MODELS = [absorptive_factor, einstein_absorptive_factor]
ENERGY = 200e3


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- laws ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("element", ["H", "Si", "Cs", "Au"])
def test_forward_factor_is_the_cross_section_for_leaving_the_bragg_beams(element):
    # Optical theorem: f'(0) = sigma / (2 lambda gamma), sigma = (gamma lambda)^2 int f^2 (1 - e^-2Bs^2) d^2q.
    b = 0.7
    s = torch.cat([double(0.0), torch.logspace(-5.0, 4.0, 40_001, dtype=torch.float64)])
    f = elastic_factor(element, s)
    q = 2.0 * s
    integral = torch.trapezoid(2.0 * math.pi * q * f**2 * -torch.expm1(-2.0 * b * s**2), q).item()
    gamma, lam = relativistic_gamma(ENERGY), wavelength(ENERGY)
    sigma = (gamma * lam) ** 2 * integral
    expected = sigma / (2.0 * lam * gamma)
    assert einstein_absorptive_factor(element, double(0.0), b, ENERGY).item() == pytest.approx(expected, rel=2e-4)


def test_two_dimensional_integral_on_a_plain_cartesian_grid():
    # The formula as printed, without polar coordinates or mappings.
    b, s = 1.0, 0.4
    x = torch.linspace(-12.0, 12.0, 2401, dtype=torch.float64)
    sx, sy = x[:, None], x[None, :]
    plus, minus = torch.hypot(sx + s / 2, sy), torch.hypot(sx - s / 2, sy)
    bracket = math.exp(-b * s**2) - torch.exp(-b * (plus**2 + minus**2))
    integral = (elastic_factor("Si", plus) * elastic_factor("Si", minus) * bracket).sum().item() * (
        x[1] - x[0]
    ).item() ** 2
    beta = math.sqrt(1.0 - relativistic_gamma(ENERGY) ** -2)
    expected = 2.0 * PLANCK_TIMES_C / ELECTRON_REST_ENERGY / beta * integral
    got = einstein_absorptive_factor("Si", double(s), b, ENERGY).item()
    assert got == pytest.approx(expected, rel=5e-3)  # the square ends at 12 1/Å


@pytest.mark.parametrize("model", MODELS)
def test_vanishes_without_vibration(model):
    s = double(0.0, 0.5, 2.0)
    assert torch.equal(model("Fe", s, 0.0, ENERGY), torch.zeros_like(s))
    assert (model("Fe", s, 1e-4, ENERGY) < 1e-3).all()


@pytest.mark.parametrize("model", MODELS)
def test_grows_with_vibration_and_stays_below_the_total_cross_section(model):
    b = torch.linspace(0.0, 4.0, 81, dtype=torch.float64)
    f = model("Ga", torch.zeros_like(b), b, ENERGY)
    assert (f.diff() > 0).all()
    frozen = einstein_absorptive_factor("Ga", double(0.0), 1e4, ENERGY)  # all scattering is diffuse
    assert (f < frozen).all()


@pytest.mark.parametrize("model", MODELS)
def test_positive_and_falling_until_the_debye_waller_factor_ends_it(model):
    s = torch.linspace(0.0, 1.2, 61, dtype=torch.float64)
    for element in ("C", "Si", "Sr", "Au"):
        f = model(element, s, 0.5, ENERGY)
        assert (f > 0).all()
        assert (f.diff() < 0).all()
    far = model("Si", double(6.0), 0.5, ENERGY)
    assert abs(far.item()) < 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_scales_as_one_over_velocity(model):
    s = double(0.0, 0.3, 1.0)
    low, high = 60e3, 300e3
    beta = [math.sqrt(1.0 - relativistic_gamma(energy) ** -2) for energy in (low, high)]
    torch.testing.assert_close(model("Ti", s, 0.6, low) * beta[0], model("Ti", s, 0.6, high) * beta[1])


@pytest.mark.parametrize("model", MODELS)
def test_debye_waller_factor_in_or_out(model):
    s, b = double(0.0, 0.4, 1.1), 0.8
    within = model("Si", s, b, ENERGY)
    without = model("Si", s, b, ENERGY, debye_waller=False)
    torch.testing.assert_close(within, without * torch.exp(-b * s**2))


@pytest.mark.parametrize("model", MODELS)
def test_broadcasts_keeps_dtype_and_is_differentiable(model):
    s = torch.linspace(0.0, 2.0, 7, dtype=torch.float32)
    b = torch.tensor([[0.05], [0.3], [0.45], [4.0]])
    f = model("O", s, b, ENERGY)
    assert f.shape == (4, 7)
    assert f.dtype == torch.float32
    for row, value in zip(f, b.flatten().tolist(), strict=True):
        torch.testing.assert_close(row, model("O", s, value, ENERGY))
    x = double(0.1, 0.9).requires_grad_()
    y = double(0.07, 0.42).requires_grad_()
    assert torch.autograd.gradcheck(lambda s_, b_: model("O", s_, b_, ENERGY), (x, y))


def test_single_values():
    scalar = absorptive_factor("Si", torch.tensor(0.25, dtype=torch.float64), torch.tensor(0.46), ENERGY)
    assert scalar.shape == ()


@pytest.mark.parametrize("model", MODELS)
def test_refuses_what_does_not_apply(model):
    s = double(0.1)
    with pytest.raises(ScatteringError, match=r"b_iso must not be negative|B from 0 to"):
        model("Si", s, -0.1, ENERGY)
    with pytest.raises(ScatteringError, match="energy must be positive"):
        model("Si", s, 0.5, 0.0)
    with pytest.raises(ScatteringError, match="neutral H to Lr"):
        model("Xx", s, 0.5, ENERGY)


def test_the_parametrisation_ends_at_b_of_four_and_says_what_does_not():
    with pytest.raises(ScatteringError, match="take proportional absorption or none"):
        absorptive_factor("C", double(0.1), 4.5, ENERGY)
    assert einstein_absorptive_factor("C", double(0.1), 4.5, ENERGY).item() > 0


# --- the parametrisation against the integral ------------------------------------------------------


@pytest.mark.parametrize(
    ("b", "worst", "typical"),
    # Measured, largest deviation over s = 0..4 1/Å relative to f'(0): 0.9 % (He, B = 0.1), typically 0.2 %
    # within the published range of B; below it the continuation loses accuracy slowly.
    [
        (0.02, 0.08, 0.065),
        (0.05, 0.025, 0.02),
        (0.1, 0.012, 0.003),
        (0.35, 0.006, 0.003),
        (0.85, 0.008, 0.003),
        (3.3, 0.01, 0.005),
    ],
)
def test_parametrisation_follows_the_integral(b, worst, typical):
    s = torch.linspace(0.0, 4.0, 17, dtype=torch.float64)
    deviations = []
    for element in (
        "H",
        "He",
        "C",
        "O",
        "Na",
        "Si",
        "Fe",
        "Ga",
        "Sr",
        "Nb",
        "Cs",
        "Ce",
        "Dy",
        "W",
        "Au",
        "U",
        "Md",
    ):
        exact = einstein_absorptive_factor(element, s, b, ENERGY)
        deviations.append(((absorptive_factor(element, s, b, ENERGY) - exact).abs().max() / exact[0]).item())
    assert max(deviations) < worst
    assert sorted(deviations)[len(deviations) // 2] < typical


@pytest.mark.slow
def test_every_row_of_the_parametrisation():
    s = torch.linspace(0.0, 4.0, 5, dtype=torch.float64)
    for element in covered_elements("kirkland"):
        b = double(0.1, 0.2, 0.3, 0.7, 1.5, 4.0)[:, None]
        exact = einstein_absorptive_factor(element, s, b, ENERGY)
        deviation = (absorptive_factor(element, s, b, ENERGY) - exact).abs() / exact[:, :1]
        assert deviation.max() < 0.013, element  # the worst is Ce at B = 4; the median element 0.2 %


def test_elastic_table_hardly_matters():
    s = double(0.0, 0.3, 0.8)
    one, other = (einstein_absorptive_factor("Cu", s, 0.6, ENERGY, table) for table in ("kirkland", "lobato"))
    torch.testing.assert_close(one, other, rtol=0.01, atol=0.0)


# --- other programs and the size of things ---------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("element", "b", "energy", "expected"),
    # Phonon part of Weickenmeier & Kohl, Acta Cryst. A47 (1991) 590, an analytic integral over another fit of
    # f_e, with its Debye-Waller factor, divided by gamma; py4DSTEM 0.14.18 at s = 0, 0.1, 0.25, 0.5, 0.75.
    [
        ("O", 0.3, 100e3, (0.01370, 0.01347, 0.01240, 0.00963, 0.00691)),
        ("Si", 0.3, 100e3, (0.03609, 0.03543, 0.03261, 0.02635, 0.01998)),
        ("Si", 1.0, 200e3, (0.05663, 0.05477, 0.04698, 0.03068, 0.01673)),
        ("Cu", 1.0, 200e3, (0.19484, 0.19054, 0.17005, 0.11610, 0.06362)),
        ("Au", 0.3, 100e3, (0.72430, 0.71720, 0.68241, 0.58205, 0.46170)),
        ("Au", 1.0, 200e3, (1.01557, 0.99515, 0.89695, 0.63485, 0.37108)),
    ],
)
def test_absolute_scale_against_weickenmeier_and_kohl(model, element, b, energy, expected):
    s = double(0.0, 0.1, 0.25, 0.5, 0.75)
    torch.testing.assert_close(model(element, s, b, energy), double(*expected), rtol=8e-3, atol=0.0)


def test_mean_absorption_has_the_known_size():
    # V'_0 of silicon at 100 kV and room temperature is about 0.1 V, against V_0 = 13.9 V; gold about 3 V.
    silicon = H2_OVER_2M * 8 / (math.pi * 5.4307**3) * absorptive_factor("Si", double(0.0), 0.46, 100e3).item()
    gold = H2_OVER_2M * 4 / (math.pi * 4.0786**3) * absorptive_factor("Au", double(0.0), 0.63, 100e3).item()
    assert silicon == pytest.approx(0.112, rel=0.02)
    assert gold == pytest.approx(2.97, rel=0.02)
