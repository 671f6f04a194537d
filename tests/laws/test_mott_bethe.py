"""Electrons and X-rays see one charge: the formula of Mott and Bethe, there and back."""

import numpy as np
import pytest
import torch

from lacbed import Crystal
from lacbed.constants import MOTT_BETHE, relativistic_gamma
from lacbed.errors import ScatteringError
from lacbed.potential import potential_coefficients
from lacbed.scattering import elastic_factor
from lacbed.structure import structure_parameters
from lacbed.xray import potential_from_xray, xray_factors

HKL = np.array([(1, 1, 1), (2, 2, 0), (1, 1, 3), (-1, 0, 2), (4, 0, 0), (0, 0, 6)])


@pytest.mark.parametrize("name", ["GaAs", "SiO2", "NaCl", "MgSiO3", "CuO"])
@pytest.mark.parametrize("energy", [80e3, 300e3])
def test_there_and_back(name, energy):
    crystal = Crystal.named(name)
    generator = torch.Generator().manual_seed(1)
    elastic = potential_coefficients(crystal, HKL, energy)[0]
    elastic = elastic + 0.01 * torch.randn(len(HKL), dtype=torch.complex128, generator=generator)
    factors = xray_factors(crystal, HKL, elastic, energy)
    again = potential_from_xray(crystal, HKL, factors, energy)
    assert float((again - elastic).abs().max() / elastic.abs().max()) < 1e-10
    structure = structure_parameters(crystal)
    torch.testing.assert_close(
        xray_factors(crystal, HKL, elastic, energy, structure), factors, rtol=1e-9, atol=1e-9
    )


def test_neutral_atoms_have_their_own_factors():
    """One kind of atoms: F is their number, f_x and exp(-B s²), whatever the energy; f_x = Z - f_e s² / C."""
    silicon = Crystal.named("Si")
    s = 0.5 * np.linalg.norm(HKL[[0, 1, 4]] @ np.linalg.inv(silicon.direct), axis=1)
    f_x = 14.0 - elastic_factor("Si", torch.as_tensor(s)).numpy() * s**2 / MOTT_BETHE
    expected = np.array([np.sqrt(32.0), 8.0, 8.0]) * f_x * np.exp(-silicon.sites[0].b_iso * s**2)
    for energy in (60e3, 200e3, 1e6):
        elastic = potential_coefficients(silicon, HKL[[0, 1, 4]], energy)[0]
        found = xray_factors(silicon, HKL[[0, 1, 4]], elastic, energy)
        np.testing.assert_allclose(found.abs().numpy(), expected, rtol=1e-9)
    # f_x of silicon in International Tables C, table 6.1.1.1, at these s
    np.testing.assert_allclose(f_x, [10.53, 8.71, 7.51], atol=0.06)


def test_silicon_111_is_what_x_rays_measure():
    """F_111 = 60.13 of silicon, by Pendellösung fringes of X-rays, means a U_111 below that of neutral atoms."""
    silicon = Crystal.named("Si").with_b_iso(0.0)
    hkl = np.array([(1, 1, 1)])
    neutral = potential_coefficients(silicon, hkl, 120e3)[0]
    phase = neutral / neutral.abs()
    x_rays = 60.13 * (
        xray_factors(silicon, hkl, neutral, 120e3) / xray_factors(silicon, hkl, neutral, 120e3).abs()
    )
    bonded = potential_from_xray(silicon, hkl, x_rays, 120e3)
    change = float((bonded / phase).real / neutral.abs()) - 1.0
    assert -0.03 < change < -0.005  # electrons between the atoms screen the nuclei
    f_e = float(bonded.abs()) * np.pi * silicon.volume / relativistic_gamma(120e3) / np.sqrt(32.0)
    assert f_e == pytest.approx(MOTT_BETHE * (14.0 - 60.13 / np.sqrt(32.0)) / (3.0 / 4.0 / 5.4310**2), rel=2e-3)


def test_the_origin_has_no_x_ray_factor():
    with pytest.raises(ScatteringError, match="0,0,0 does not follow"):
        xray_factors(Crystal.named("Si"), np.array([(0, 0, 0)]), torch.ones(1, dtype=torch.complex128), 2e5)
