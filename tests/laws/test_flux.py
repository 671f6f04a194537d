"""Conservation of current, the limits of thickness, and the two-beam case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_helpers import all_beams, at, one_tilt, tilt_vectors, triclinic_crystals
from scipy.linalg import expm

from lacbed import Crystal, simulate
from lacbed.geometry.frame import make_frame
from lacbed.geometry.wave import electron_wave
from lacbed.potential import potential_coefficients
from lacbed.solvers.choose import BLOCH_SOLVERS
from lacbed.solvers.problem import Problem
from lacbed.solvers.reference import structure_matrix

SITUATIONS = {
    "flat": {"zone_axis": (1, 1, 0)},
    "tilted foil": {"zone_axis": (0, 0, 1), "foil_normal": (0.2, -0.1, 1.0)},
    "HOLZ": {"zone_axis": (1, 1, 1), "laue_zones": 1, "energy": 30e3},
    "HOLZ and tilted foil": {"laue_zones": 1, "energy": 30e3, "foil_normal": (0.1, 0.1, 1.0)},
    "no refraction": {"refraction": False},
}


@pytest.mark.parametrize("solver", ["auto", "tilted", "chebyshev", "reference"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_current_is_conserved_without_absorption(situation: str, solver: str) -> None:
    thicknesses = (1.0, 250.0, 2000.0)
    pattern, _ = all_beams(
        Crystal.named("GaAs"),
        (0.07, -0.04),
        thicknesses=thicknesses,
        beams=60,
        solver=solver,
        **SITUATIONS[situation],
    )
    np.testing.assert_allclose(pattern.sum("hkl").values, 1.0, atol=1e-9)


@pytest.mark.parametrize("solver", ["tilted", "reference"])
def test_weak_beams_conserve_the_current_of_the_strong_ones(solver: str) -> None:
    pattern, _ = all_beams(
        Crystal.named("GaAs"), (0.07, -0.04), thicknesses=(900.0,), beams=30, weak_beams=40, solver=solver
    )
    np.testing.assert_allclose(pattern.sum("hkl").values, 1.0, atol=1e-9)


@pytest.mark.parametrize("absorption", ["thomas", ("proportional", 10.0)])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_absorption_only_takes_current_away(situation: str, absorption) -> None:
    pattern, _ = all_beams(
        Crystal.named("Au"),
        (0.07, -0.04),
        thicknesses=(1.0, 100.0, 500.0, 2000.0),
        beams=60,
        absorption=absorption,
        **SITUATIONS[situation],
    )
    total = pattern.sum("hkl").values[:, 0, 0]
    assert np.all(np.diff(total) < 0)
    assert 0.9 < total[0] < 1.0
    assert total[-1] < 0.5


@settings(max_examples=15)
@given(crystal=triclinic_crystals(), k=tilt_vectors, laue_zones=st.integers(0, 1))
def test_current_is_conserved_in_any_crystal(crystal: Crystal, k, laue_zones: int) -> None:
    pattern, _ = all_beams(crystal, k, thicknesses=(700.0,), beams=40, laue_zones=laue_zones, energy=80e3)
    assert float(pattern.sum()) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("solver", ["zone", "tilted", "chebyshev", "reference"])
@pytest.mark.parametrize("absorption", [None, "thomas"])
def test_no_thickness_no_diffraction(solver: str, absorption) -> None:
    hkl = ((0, 0, 0), (2, 0, 0), (1, -1, 0))
    settings = {"thicknesses": (1e-6,), "hkl": hkl, "beams": 40, "solver": solver, "absorption": absorption}
    values = at(Crystal.named("SrTiO3"), (0.1, 0.3), **settings)[0]
    np.testing.assert_allclose(values, [1.0, 0.0, 0.0], atol=1e-8)
    wave = at(Crystal.named("SrTiO3"), (0.1, 0.3), **settings, output="amplitude")[0]
    np.testing.assert_allclose(wave, [1.0, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("absorption", [None, "thomas"])
@pytest.mark.parametrize("laue_zones", [0, 1])
def test_thicknesses_compose(absorption, laue_zones: int) -> None:
    """ψ(t₁ + t₂) = exp(2πi M t₂) ψ(t₁), with the matrix exponential of SciPy for the second part."""
    first, second = 230.0, 410.0
    waves, setup = all_beams(
        Crystal.named("GaAs"),
        (0.03, 0.05),
        zone_axis=(1, 1, 0),
        thicknesses=(first, first + second),
        beams=40,
        energy=60e3,
        absorption=absorption,
        output="amplitude",
        laue_zones=laue_zones,
    )
    matrix, _ = structure_matrix(setup.problem, 0)
    if setup.problem.gauge is not None:
        gauge = setup.problem.gauge.numpy()[: len(matrix)]
        matrix = gauge.conj()[:, None] * matrix * gauge
    thin, thick = waves.values[:, :, 0, 0]
    np.testing.assert_allclose(expm(2j * np.pi * matrix * second) @ thin, thick, atol=1e-5)


def two_beams(potential: complex, g: float, tilts: list[float], thicknesses: list[float], absorptive: float = 0.0):
    """A problem of 000 and one reflection along x at some incident kx, by hand, at 100 kV."""
    k = electron_wave(100e3).wave_number
    along = [[kx, 0.0, np.sqrt(k * k - kx * kx)] for kx in tilts]
    count = len(tilts)
    wave = torch.tensor([[0, potential.conjugate()], [potential, 0]], dtype=torch.complex128)
    damping = torch.full((2, 2), absorptive, dtype=torch.complex128)
    return Problem(
        potential=wave,
        absorptive=damping if absorptive else None,
        vectors=torch.tensor([[0.0, 0.0, 0.0], [g, 0.0, 0.0]], dtype=torch.float64),
        strong=2,
        wave_vectors=torch.tensor(along, dtype=torch.float64),
        reduced=torch.tensor([[kx, 0.0] for kx in tilts], dtype=torch.float64),
        anchor=torch.zeros(count, dtype=torch.int64),
        pair_tilt=torch.arange(count).repeat(2),
        pair_out=torch.tensor([0] * count + [1] * count),
        normal=torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        thicknesses=torch.tensor(thicknesses, dtype=torch.float64),
    )


@pytest.mark.parametrize("solver", BLOCH_SOLVERS)
@pytest.mark.parametrize("potential", [0.04 + 0j, 0.02 + 0.03j])
def test_two_beams_rock_as_the_textbook_says(solver: str, potential: complex) -> None:
    """I_g = sin²(π t √(s² + 1/ξ²)) / (1 + s²ξ²), ξ = K_z / |U_g|, with s from the Ewald sphere."""
    g, tilts, thicknesses = 0.5, [-0.25 + 0.01 * i for i in range(-4, 5)], [150.0, 400.0]
    problem = two_beams(potential, g, tilts, thicknesses)
    amplitude = BLOCH_SOLVERS[solver](problem, 4, None).numpy()
    transmitted, diffracted = np.split(np.abs(amplitude) ** 2, 2, axis=1)
    kx, t = np.array(tilts), np.array(thicknesses)[:, None]
    kz = np.sqrt(electron_wave(100e3).wave_number ** 2 - kx**2)
    s = (kx**2 - (kx + g) ** 2) / (2 * kz)
    xi = kz / abs(potential)
    expected = np.sin(np.pi * t * np.sqrt(s**2 + xi**-2)) ** 2 / (1 + (s * xi) ** 2)
    np.testing.assert_allclose(diffracted, expected, atol=1e-10)
    np.testing.assert_allclose(transmitted, 1 - expected, atol=1e-10)
    assert expected.max() > 0.5


@pytest.mark.parametrize("solver", BLOCH_SOLVERS)
def test_two_beams_at_the_bragg_position_show_anomalous_absorption(solver: str) -> None:
    """With U'_0 = U'_g = u the waves are damped by 0 and 2u: I = |1 ± exp(-4π u t/2K) exp(iφ)|² / 4."""
    u, absorptive, g = 0.03, 0.002, 0.5
    thicknesses = [100.0, 800.0, 3000.0]
    amplitude = BLOCH_SOLVERS[solver](two_beams(u + 0j, g, [-g / 2], thicknesses, absorptive), 1, None).numpy()
    kz = np.sqrt(electron_wave(100e3).wave_number ** 2 - g * g / 4)
    t = np.array(thicknesses)
    weak = np.exp(-2 * np.pi * t * 2 * absorptive / (2 * kz))
    phase = 2 * np.pi * t * u / (2 * kz)
    expected = np.stack(
        [weak * np.exp(1j * phase) + np.exp(-1j * phase), weak * np.exp(1j * phase) - np.exp(-1j * phase)]
    )
    np.testing.assert_allclose(amplitude.T, expected / 2, atol=1e-5)


@pytest.mark.parametrize("name", ["LiF", "GaAs", "SiO2"])
def test_a_thin_foil_diffracts_kinematically(name: str) -> None:
    """I_g → (π t |U_g| / K_z)² (sin(π s t) / π s t)²."""
    crystal, k, t, energy = Crystal.named(name), np.array([0.03, 0.08]), 3.0, 200e3
    pattern = simulate(
        crystal,
        (1, 0, 0),
        energy,
        (t,),
        one_tilt(*k),
        ("all", 0.9),
        beams=90,
        refraction=False,
        solver="reference",
    )
    hkl = np.stack([pattern.h, pattern.k, pattern.l], axis=1)
    g = make_frame(crystal, (1, 0, 0)).vectors(hkl)[:, :2]
    kz = np.sqrt(electron_wave(energy).wave_number ** 2 - k @ k)
    s = (k @ k - np.sum((k + g) ** 2, axis=1)) / (2 * kz)
    u = potential_coefficients(crystal, hkl, energy)[0].abs().numpy()
    expected = (np.pi * t * u / kz * np.sinc(s * t)) ** 2
    found, bright = pattern.values[0, :, 0, 0], (expected > 1e-6) & np.any(hkl, axis=1)
    assert bright.sum() > 5
    np.testing.assert_allclose(found[bright], expected[bright], rtol=0.05)
    assert np.all(found[(expected < 1e-20)] < 1e-6)


def test_thermal_motion_weakens_diffraction() -> None:
    left = [
        1.0 - at(Crystal.named("Si").with_b_iso(b), (0.05, 0.02), thicknesses=(40.0,), beams=60)[0, 0]
        for b in (0.0, 0.5, 2.0, 10.0, 60.0)
    ]
    assert np.all(np.diff(left) < 0)
    assert left[0] > 0.1
    assert left[-1] < 2e-3
