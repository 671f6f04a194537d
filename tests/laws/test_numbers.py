"""Numbers from textbooks: the electron wave and extinction distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lacbed import Crystal
from lacbed.constants import interaction_constant, relativistic_gamma, wavelength
from lacbed.errors import SettingError
from lacbed.geometry.wave import electron_wave, internal_wave_vectors
from lacbed.potential import potential_coefficients


@pytest.mark.parametrize(
    ("energy", "angstrom", "gamma", "sigma"),
    # Reimer & Kohl, Transmission Electron Microscopy (2008), table A.1; Kirkland (2010), table 5.1 for σ.
    [
        (100e3, 0.0370144, 1.195695, 0.924396e-3),
        (200e3, 0.0250793, 1.391390, 0.728840e-3),
        (300e3, 0.0196875, 1.587086, 0.652616e-3),
        (1000e3, 0.0087192, 2.956951, 0.538463e-3),
    ],
)
def test_the_electron_wave(energy: float, angstrom: float, gamma: float, sigma: float) -> None:
    assert wavelength(energy) == pytest.approx(angstrom, rel=5e-6)
    assert relativistic_gamma(energy) == pytest.approx(gamma, rel=1e-6)
    assert interaction_constant(energy) == pytest.approx(sigma, rel=1e-4)
    assert electron_wave(energy).wave_number * wavelength(energy) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "hkl", "angstrom"),
    # Hirsch, Howie, Nicholson, Pashley & Whelan, Electron Microscopy of Thin Crystals (1977), appendix 5, 100 kV.
    # Their factors for heavier elements differ from today's, so light elements only.
    [
        ("Al", (1, 1, 1), 556.0),
        ("Al", (2, 0, 0), 673.0),
        ("Al", (2, 2, 0), 1057.0),
        ("Si", (1, 1, 1), 602.0),
        ("Si", (2, 2, 0), 757.0),
    ],
)
def test_extinction_distances(name: str, hkl: tuple[int, int, int], angstrom: float) -> None:
    crystal = Crystal.named(name).with_b_iso(0.0)
    u = potential_coefficients(crystal, np.array([hkl]), 100e3)[0].abs()
    assert 1 / (wavelength(100e3) * float(u[0])) == pytest.approx(angstrom, rel=0.03)


@pytest.mark.parametrize("hkl", [(1, 0, 0), (1, 1, 0), (2, 2, 2), (2, 0, 0)])
def test_forbidden_reflections_of_diamond(hkl: tuple[int, int, int]) -> None:
    assert float(potential_coefficients(Crystal.named("Si"), np.array([hkl]), 100e3)[0].abs()[0]) < 1e-12


def test_potential_grows_with_the_mass_of_the_electron() -> None:
    low, high = (potential_coefficients(Crystal.named("Si"), np.array([(2, 2, 0)]), e)[0] for e in (100e3, 300e3))
    np.testing.assert_allclose((high / low).numpy(), 1.587086 / 1.195695, rtol=1e-6)


def test_refraction_keeps_the_part_along_the_surface() -> None:
    wave, normal = electron_wave(200e3), np.array([0.3, -0.2, 1.0]) / np.linalg.norm([0.3, -0.2, 1.0])
    tilts = np.array([[0.0, 0.0], [0.4, -0.3]])
    arguments = torch.tensor(tilts), wave.wave_number, torch.tensor(normal)
    outside, inside = (
        internal_wave_vectors(*arguments, torch.tensor(u, dtype=torch.float64)).numpy() for u in (0.0, 0.12)
    )
    np.testing.assert_allclose(outside[:, :2], tilts, atol=1e-14)
    np.testing.assert_allclose(np.sum(inside**2, axis=1), wave.wave_number**2 + 0.12, rtol=1e-12)
    np.testing.assert_allclose(np.cross(inside - outside, normal), 0.0, atol=1e-12)
    assert np.all((inside - outside) @ normal > 0)


@pytest.mark.parametrize("energy", [0.0, -1.0, 200.0, 1e9, float("nan"), float("inf")])
def test_impossible_energies_are_refused(energy: float) -> None:
    with pytest.raises(SettingError, match="200 kV is 200e3"):
        electron_wave(energy)
