"""Fourier coefficients of the potential, and the projected potential against sums in real space."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lacbed import Crystal, projected_potential
from lacbed.constants import H2_OVER_2M
from lacbed.errors import ScatteringError, SettingError
from lacbed.geometry.frame import make_frame
from lacbed.potential import potential_coefficients, structure_factors
from lacbed.scattering import elastic_factor

ZONES = (
    ("SrTiO3", (0, 0, 1)),
    ("GaAs", (1, 1, 0)),
    ("W", (1, 1, 1)),
    ("GaN", (0, 0, 1)),
    ("ZrO2", (0, 1, 0)),
    ("Al2SiO5", (1, 0, 0)),
)


def mean_inner_potential(crystal: Crystal) -> float:
    """V_0 = h²/(2π m Ω) Σ o f(0) in volts."""
    atoms = crystal.atoms
    zero = torch.zeros(1, dtype=torch.float64)
    total = sum(
        o * float(elastic_factor(e, zero)[0]) for e, o in zip(atoms.elements, atoms.occupancy, strict=True)
    )
    return H2_OVER_2M / np.pi * total / crystal.volume


def test_structure_factors_equal_the_sum_over_atoms() -> None:
    crystal, hkl = Crystal.named("SiO2"), np.array([(0, 0, 0), (1, 0, 0), (1, -2, 3), (0, 2, -1)])
    found = structure_factors(crystal, hkl).numpy()
    for g, value in zip(hkl, found, strict=True):
        s = 0.5 * np.linalg.norm(crystal.reciprocal @ g)
        expected = 0
        for element, xyz, occupancy, beta in zip(
            crystal.atoms.elements, crystal.atoms.xyz, crystal.atoms.occupancy, crystal.atoms.beta, strict=True
        ):
            f = float(elastic_factor(element, torch.tensor([s], dtype=torch.float64))[0])
            expected += occupancy * f * np.exp(-g @ beta @ g) * np.exp(-2j * np.pi * (g @ xyz))
        np.testing.assert_allclose(value, expected, atol=1e-10)


def test_coefficients_of_a_real_potential_are_hermitian() -> None:
    hkl = np.array([(1, 2, 3), (-1, -2, -3)])
    for part in potential_coefficients(Crystal.named("SiO2"), hkl, 200e3, absorption="thomas"):
        assert part is not None
        np.testing.assert_allclose(part[0].numpy().conj(), part[1].numpy(), atol=1e-12)


def test_proportional_absorption_is_a_part_of_the_whole_potential() -> None:
    hkl = np.array([(0, 0, 0), (2, 2, 0), (1, 1, 1)])
    elastic, absorptive = potential_coefficients(
        Crystal.named("GaAs"), hkl, 200e3, absorption=("proportional", 10.0)
    )
    assert absorptive is not None
    np.testing.assert_allclose(absorptive.numpy(), 0.1 * elastic.numpy())


def test_absorption_after_thomas_is_damping_and_weaker_than_scattering() -> None:
    hkl = np.array([(0, 0, 0), (2, 2, 0)])
    elastic, absorptive = potential_coefficients(Crystal.named("Au"), hkl, 200e3, absorption="thomas")
    assert absorptive is not None
    assert 0 < float(absorptive[1].real) < float(absorptive[0].real)
    assert 0.01 < float(absorptive[0].real / elastic[0].real) < 0.5


@pytest.mark.parametrize(
    "absorption", ["much", ("proportional", -1.0), ("proportional", 101.0), 10.0, ("thomas", 1.0)]
)
def test_unknown_absorption_is_refused(absorption) -> None:
    with pytest.raises(ScatteringError, match="absorption"):
        potential_coefficients(Crystal.named("Si"), np.array([(0, 0, 0)]), 200e3, absorption=absorption)


@pytest.mark.parametrize(("name", "zone_axis"), ZONES)
def test_the_mean_is_the_mean_inner_potential(name: str, zone_axis) -> None:
    crystal = Crystal.named(name)
    image = projected_potential(crystal, zone_axis, pixels=32, g_max=2.0)
    expected = mean_inner_potential(crystal)
    assert 5 < expected < 40
    assert float(image.mean()) / image.attrs["period"] == pytest.approx(expected, rel=1e-9)
    assert image.attrs["mean_inner_potential"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("name", "zone_axis"), ZONES)
def test_the_cell_of_the_image_is_the_projected_cell(name: str, zone_axis) -> None:
    """Area times period is the volume that centring leaves; the edges are dual to the basis of the zone."""
    crystal = Crystal.named(name)
    image = projected_potential(crystal, zone_axis, pixels=8, g_max=1.0)
    cell = np.array(image.attrs["cell"]).reshape(2, 2)
    np.testing.assert_allclose(make_frame(crystal, zone_axis).zone_vectors.T @ cell, np.eye(2), atol=1e-12)
    assert np.linalg.det(cell) > 0
    conventional = np.linalg.norm(crystal.direct @ np.array(zone_axis))
    assert np.linalg.det(cell) * conventional == pytest.approx(crystal.volume)
    assert conventional / image.attrs["period"] == pytest.approx(round(conventional / image.attrs["period"]))


@pytest.mark.parametrize(("name", "zone_axis"), ZONES)
def test_every_pixel_equals_the_fourier_sum(name: str, zone_axis) -> None:
    """The sum over beams at the place that `cell` gives to the pixel, without a fast Fourier transform."""
    crystal = Crystal.named(name)
    image = projected_potential(crystal, zone_axis, pixels=6, g_max=1.7)
    frame = make_frame(crystal, zone_axis)
    cell = np.array(image.attrs["cell"]).reshape(2, 2)
    reach = 40
    terms = (
        np.array([(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]) @ frame.zone_basis
    )
    g = frame.vectors(terms)[:, :2]
    near = np.linalg.norm(g, axis=1) <= 1.7
    coefficients = structure_factors(crystal, terms[near]).numpy()
    volts = H2_OVER_2M / (np.pi * crystal.volume) * image.attrs["period"]
    for j in range(6):
        for i in range(6):
            place = cell @ np.array([i / 6, j / 6])  # pixel i lies at i/n: no edge is repeated
            expected = volts * np.sum(coefficients * np.exp(2j * np.pi * (g[near] @ place)))
            assert abs(expected.imag) < 1e-9 * abs(expected).max()
            assert image.values[j, i] == pytest.approx(expected.real, rel=1e-9, abs=1e-9)


def test_atoms_are_the_brightest_places_and_where_they_belong() -> None:
    crystal = Crystal.named("FeSi")
    image = projected_potential(crystal, (0, 0, 1), pixels=64, g_max=8.0)
    for element, xyz in zip(crystal.atoms.elements, crystal.atoms.xyz, strict=True):
        if element == "Fe":
            row, column = (round(float(v % 1) * 64) % 64 for v in (xyz[1], xyz[0]))
            rows, columns = range(row - 1, row + 2), range(column - 1, column + 2)
            around = image.values.take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
            assert around.max() > 0.9 * float(image.max())


def test_coordinates_do_not_repeat_the_edge() -> None:
    image = projected_potential(Crystal.named("SrTiO3"), pixels=128)
    assert image.dims == ("v", "u")
    np.testing.assert_allclose(image.u, np.arange(128) / 128)
    assert np.abs(image.values[:, 0] - image.values[:, -1]).max() > 1.0
    assert image.attrs["units"] == "V Å"


@pytest.mark.parametrize(("name", "zone_axis"), ZONES)
def test_resolution_is_set_by_g_max_and_not_by_the_pixels(name: str, zone_axis) -> None:
    coarse, fine = (
        projected_potential(Crystal.named(name), zone_axis, pixels=n, g_max=3.0).values for n in (16, 64)
    )
    np.testing.assert_allclose(fine[::4, ::4], coarse, rtol=1e-9, atol=1e-9 * fine.max())


def test_a_shell_at_g_max_enters_as_a_whole() -> None:
    """With a = 4 Å, g_max = 5/4 holds 500, 340 and 430, whatever the rounding of their lengths."""
    crystal = Crystal.build("simple", 4.0, "P m -3 m", [Crystal.named("W").sites[0]])
    for zone_axis in ((0, 0, 1), (1, 0, 0), (0, 1, 0)):
        edge, wider = (
            projected_potential(crystal, zone_axis, pixels=16, g_max=g).values for g in (1.25, 1.2500001)
        )
        np.testing.assert_allclose(edge, wider, rtol=1e-9)


def test_the_period_along_the_zone_axis_knows_centring() -> None:
    bcc, fcc = Crystal.named("W"), Crystal.named("Au")
    assert projected_potential(bcc, (1, 1, 1), 4).attrs["period"] == pytest.approx(3.16469 * np.sqrt(3) / 2)
    assert projected_potential(fcc, (1, 1, 0), 4).attrs["period"] == pytest.approx(4.07825 / np.sqrt(2))
    assert projected_potential(fcc, (0, 0, 1), 4).attrs["period"] == pytest.approx(4.07825)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pixels": 0}, "between 2 and 8192"),
        ({"pixels": 10**6}, "between 2 and 8192"),
        ({"pixels": 2.5}, "whole number"),
        ({"g_max": 0.0}, "g_max"),
        ({"g_max": float("nan")}, "g_max"),
        ({"zone_axis": (0, 0, 0)}, "no direction"),
    ],
)
def test_impossible_images_are_refused(arguments, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        projected_potential(Crystal.named("SrTiO3"), **arguments)
