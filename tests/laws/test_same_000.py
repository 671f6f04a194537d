"""Which potentials the pattern of 000 cannot tell apart, and which it can: docs/physics.md#same-000."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_helpers import at, tilt_vectors, triclinic_crystals

from lacbed import Crystal, TiltGrid, projected_potential, simulate
from lacbed.crystals import Site
from lacbed.geometry.wave import electron_wave
from lacbed.retrieval.cell import inverted, orders, shifted, table_of_image
from lacbed.retrieval.forward import Foil, make_basis, make_grid, pattern_values, pattern_with_slopes
from lacbed.retrieval.symmetry_constraints import free_directions

FOIL = Foil(4.0, 500.0, 200e3)
CHOSEN = {"thicknesses": (150.0, 600.0), "g_max": 1.5, "absorption": "thomas"}


def moved(crystal: Crystal, sign: int = 1, shift=(0.0, 0.0, 0.0)) -> Crystal:
    """A P1 crystal with its atoms at sign · r + shift."""
    sites = [
        Site(
            s.label,
            s.element,
            tuple(float(sign * x + d) for x, d in zip(s.xyz, shift, strict=True)),
            u_iso=s.u_iso,
        )
        for s in crystal.sites
    ]
    return Crystal(crystal.name, crystal.cell, tuple(sites))


def random_table(seed: int, reach: int = 3, volts: float = 6.0) -> torch.Tensor:
    """V_hk of a potential without any symmetry, falling off with |g|: (2r + 1, 2r + 1)."""
    rng = np.random.default_rng(seed)
    axis = np.arange(-reach, reach + 1)
    size = volts / (1.0 + axis[:, None] ** 2 + axis[None, :] ** 2)
    table = torch.as_tensor(size * (rng.normal(size=size.shape) + 1j * rng.normal(size=size.shape)))
    return 0.5 * (table + inverted(table).conj())


def image(table: torch.Tensor, foil: Foil = FOIL, absorptive: torch.Tensor | None = None) -> torch.Tensor:
    """The pattern of 000 on 16 x 16 pixels of ±2 a*, computed without symmetry of the potential."""
    grid = make_grid(foil, divisions=4, extent=2, operations=((False, False, False),), margin=1.0)
    return pattern_values(grid, make_basis(grid, table), table, absorptive)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


@settings(max_examples=10)
@given(crystal=triclinic_crystals(), k=tilt_vectors, shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_1_the_origin_and_2_the_inverse_structure(crystal: Crystal, k, shift) -> None:
    """V(x - s) and V(s - x) give the amplitude of V(x)."""
    chosen = CHOSEN | {"output": "amplitude"}
    expected = at(crystal, k, **chosen)
    for sign in (1, -1):
        np.testing.assert_allclose(at(moved(crystal, sign, shift), k, **chosen), expected, atol=1e-8)


def test_2_holds_with_higher_zones_and_for_no_other_reflection() -> None:
    crystal, k = Crystal.named("GaAs"), (0.06, 0.11)
    p1 = Crystal(
        "GaAs",
        crystal.cell,
        tuple(
            Site(f"{e}{i}", e, tuple(float(v) for v in xyz), u_iso=0.007)
            for i, (e, xyz) in enumerate(zip(crystal.atoms.elements, crystal.atoms.xyz, strict=True))
        ),
    )
    chosen = CHOSEN | {"zone_axis": (1, 1, 0), "hkl": ((0, 0, 0), (0, 0, 2))}
    here, there = at(p1, k, **chosen), at(moved(p1, -1), k, **chosen)
    np.testing.assert_allclose(here[:, 0], there[:, 0], atol=1e-8)
    assert np.abs(here[:, 1] - there[:, 1]).max() > 0.01
    deep = {"zone_axis": (1, 1, 1), "laue_zones": 1, "thicknesses": (500.0,), "g_max": 1.5, "energy": 20e3}
    np.testing.assert_allclose(at(p1, k, **deep), at(moved(p1, -1), k, **deep), atol=1e-8)
    assert np.abs(at(p1, k, **deep) - at(p1, (-k[0], -k[1]), **deep)).max() > 1e-5  # I(k) = I(-k) does not hold


def test_3_only_the_projection_counts() -> None:
    """Atoms moved along the beam, each by its own amount; across it the pattern changes."""
    sites = tuple(Site(f"{e}1", e, xyz) for e, xyz in (("Ti", (0.1, 0.2, 0.1)), ("O", (0.6, 0.3, 0.5))))
    crystal = Crystal("x", (4.0, 4.5, 5.0, 90.0, 90.0, 90.0), sites)
    k = (0.07, 0.03)
    along, across = (
        Crystal("x", crystal.cell, (sites[0], Site("O1", "O", xyz))) for xyz in ((0.6, 0.3, 0.93), (0.7, 0.3, 0.5))
    )
    np.testing.assert_allclose(at(along, k, **CHOSEN), at(crystal, k, **CHOSEN), atol=1e-10)
    assert np.abs(at(across, k, **CHOSEN) - at(crystal, k, **CHOSEN)).max() > 1e-3


@pytest.mark.parametrize("seed", [1, 2])
def test_4_the_mean_potential_hardly_counts_and_its_absorption_only_scales(seed: int) -> None:
    table = random_table(seed)
    middle = table.shape[0] // 2
    raised = table.clone()
    raised[middle, middle] += 15.0
    assert 0.0 < apart(image(table), image(raised)) < 1e-4  # refraction changes K_n by some 1e-5
    damping = 0.05 * table
    damping[middle, middle] = 0.0
    grid_wave = electron_wave(FOIL.energy).wave_number
    weaker = damping.clone()
    weaker[middle, middle] = 0.4
    expected = np.exp(-2.0 * np.pi * FOIL.thickness * 0.4 * FOIL.volts / grid_wave)
    ratio = image(table, absorptive=weaker) / image(table, absorptive=damping)
    np.testing.assert_allclose(ratio.numpy(), expected, rtol=2e-4)


def test_5_thickness_voltage_and_potential_count_in_two_combinations() -> None:
    """The same σ V t and λ t at 100 and 300 kV: occupancies make up for γ, in the exact engine."""
    waves = [electron_wave(energy) for energy in (100e3, 300e3)]
    thicknesses = [400.0 * wave.wave_number / waves[0].wave_number for wave in waves]
    found = []
    for wave, t in zip(waves, thicknesses, strict=True):
        share = waves[0].gamma / wave.gamma
        sites = tuple(Site(f"{e}1", e, xyz, share) for e, xyz in (("Ti", (0.1, 0.2, 0.1)), ("O", (0.6, 0.3, 0.5))))
        crystal = Crystal("x", (4.0, 4.5, 5.0, 90.0, 90.0, 90.0), sites)
        found.append(at(crystal, (0.07, 0.03), energy=wave.energy, thicknesses=(t, 2.0 * t), g_max=1.5))
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)  # K_n depends on the tilt
    assert np.abs(found[0][0] - found[0][1]).max() > 0.02


def test_5_a_larger_cell_is_a_thicker_foil() -> None:
    """a → c a, t → c² t, V → V / c², in units of a*."""
    table = random_table(3)
    wider = Foil(1.3 * FOIL.lattice_parameter, 1.69 * FOIL.thickness, FOIL.energy)
    assert apart(image(table), image(table / 1.69, wider)) < 2e-3  # and another margin of waves
    assert apart(image(table), image(table, wider)) > 0.05


def test_6_an_operation_turns_the_pattern_with_the_crystal() -> None:
    """So a pattern with a symmetry that the potential lacks would have several potentials."""
    table = random_table(4)
    assert apart(image(table.T), image(table).T) < 1e-9
    assert apart(image(table), image(table).T) > 0.02


def test_7_signs_and_homometric_structures_are_told_apart_by_many_beams_only() -> None:
    """{0, 1, 3, 4} and {0, 1, 2, 5} of 8 have the same |V_g| (Patterson, 1944): thin foils look alike."""

    def comb(places: tuple[int, ...], volts: float) -> torch.Tensor:
        h = orders(3).double()
        wave = sum(torch.polar(torch.ones_like(h), -2.0 * torch.pi * h * p / 8) for p in places)
        return volts * wave[None, :] * (1.0 / (1.0 + h.square()))[:, None]

    ratios = []
    for volts in (0.02, 4.0):
        one, two = comb((0, 1, 3, 4), volts), comb((0, 1, 2, 5), volts)
        assert float((one.abs() - two.abs()).abs().max()) < 1e-12
        ratios.append(apart(image(one), image(two)) / float((1.0 - image(one)).max()))
    assert ratios[0] < 0.02
    assert ratios[1] > 0.2
    table = random_table(5)
    assert apart(image(table), image(-table)) > 0.1


def test_8_near_a_potential_no_other_has_its_pattern_but_the_shifted_ones() -> None:
    """The slopes of the pattern by all V_g vanish along the two shifts of the origin and nowhere else."""
    table = random_table(6, reach=2)
    grid = make_grid(FOIL, divisions=4, extent=2, margin=4.0)  # a basis of waves that a shift hardly changes
    directions = free_directions(3.0, table.shape[0] // 2, [((False, False, False), (0.0, 0.0))])
    _, slopes = pattern_with_slopes(grid, make_basis(grid, table), table, None, [(d, None) for d in directions])
    matrix = slopes.flatten(1)
    size = torch.linalg.svdvals(matrix)
    assert len(directions) == 24
    assert float(size[-2]) < 1e-6 * float(size[0])
    assert float(size[-3]) > 1e-3 * float(size[0])
    step = 1e-4
    along = (shifted(table, (step, 0.0)) - shifted(table, (-step, 0.0))) / (2 * step)
    components = torch.tensordot(directions.conj(), along, dims=2).real
    assert float((components @ matrix).abs().max()) < 1e-6 * float(components.norm() * size[0])


def test_8_with_a_centre_shifts_by_half_a_cell_are_changes_of_sign() -> None:
    table = random_table(7).real.to(torch.complex128)
    for shift, sign in (((0.5, 0.0), (-1.0, 1.0)), ((0.0, 0.5), (1.0, -1.0)), ((0.5, 0.5), (-1.0, -1.0))):
        h, k = orders(3), orders(3)[:, None]
        signs = sign[0] ** h.abs() * sign[1] ** k.abs()
        torch.testing.assert_close(shifted(table, shift), table * signs, atol=1e-12, rtol=0.0)
        assert apart(image(table), image(table * signs)) < 1e-9


def test_the_forward_model_of_retrieval_is_the_engine() -> None:
    crystal = Crystal.named("NaCl")
    projected = projected_potential(crystal, pixels=96)
    table = table_of_image(torch.as_tensor(projected.values / projected.attrs["period"]), 40)
    grid = make_grid(Foil(crystal.cell[0], 600.0, 200e3), divisions=2, extent=4, margin=1.5)
    truth = simulate(crystal, grid=TiltGrid(16, extent=4.0), beams=300, solver="zone").values[0, 0]
    assert apart(pattern_values(grid, make_basis(grid, table), table), torch.as_tensor(truth)) < 0.01
