"""What symmetry leaves free, and how what is free is named."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lacbed import Crystal, Site
from lacbed.errors import SettingError
from lacbed.potential import symmetric_change
from lacbed.refinement.constraints import (
    cell_directions,
    displacement_directions,
    isotropic_displacement,
    position_directions,
)
from lacbed.refinement.parameter import state_function
from lacbed.refinement.parameters import build_parameters, split_names
from lacbed.refinement.structure import coefficients, make_structure
from lacbed.state import crystal_state


@pytest.mark.parametrize("name", ["GaAs", "SiO2", "TiO2", "FeS2", "GaN", "CuO", "MgSiO3"])
def test_free_directions_keep_the_symmetry(name):
    crystal = Crystal.named(name)
    atoms = len(crystal.atoms)
    for i, site in enumerate(crystal.sites):
        for _, direction in position_directions(crystal, i):
            moved = replace(site, xyz=tuple(np.add(site.xyz, 0.004 * direction)))
            changed = replace(crystal, sites=(*crystal.sites[:i], moved, *crystal.sites[i + 1 :]))
            assert len(changed.atoms) == atoms
            moves = changed.atoms.xyz - crystal.atoms.xyz
            assert np.abs(moves - np.round(moves)).max() > 1e-3
        count = len(displacement_directions(crystal, i))
        assert 1 <= count <= 6


def test_known_site_symmetries():
    quartz = Crystal.named("SiO2")
    assert [n for n, _ in position_directions(quartz, 0)] == ["x"]
    assert [n for n, _ in displacement_directions(quartz, 0)] == ["U11", "U22", "U33", "U23"]
    assert dict(displacement_directions(quartz, 0))["U22"].tolist() == [0, 1, 0, 0, 0, 0.5]  # U12 = U22 / 2
    assert position_directions(Crystal.named("GaAs"), 0) == []
    assert [n for n, _ in cell_directions(Crystal.named("GaN"))] == ["a", "c"]
    assert [n for n, _ in cell_directions(Crystal.named("CuO"))] == ["a", "b", "c", "beta"]
    assert dict(cell_directions(Crystal.named("GaAs")))["a"].tolist() == [1, 1, 1, 0, 0, 0]


def test_family_has_the_symmetry_of_the_potential():
    crystal = Crystal.named("GaAs")
    hkl = np.array([(1, 1, 1), (-1, -1, -1), (1, -1, 1), (-1, 1, 1), (2, 2, 0), (1, -1, -1)])
    elastic = coefficients(make_structure(crystal, hkl, "kirkland", None), crystal_state(crystal, 2e5, 0.5))[
        0
    ].numpy()
    shape = symmetric_change(crystal, (1, 1, 1), elastic[0] / abs(elastic[0]), hkl)
    expected = np.where(np.abs(hkl).sum(axis=1) == 3, elastic / abs(elastic[0]), 0.0)
    np.testing.assert_allclose(shape, expected, atol=1e-12)
    silicon = Crystal.build("Si", 5.43, "F d -3 m:2", [Site("Si1", "Si", (0.125, 0.125, 0.125))])
    assert np.abs(symmetric_change(silicon, (1, 1, 1), 1j, hkl)).max() < 1e-12  # the centre fixes the phase


def test_names():
    assert split_names("thickness, B:Ga1,Ug:1,1,-1,U") == ("thickness", "B:Ga1", "Ug:1,1,-1", "U")
    with pytest.raises(SettingError, match="'speed'"):
        split_names("thickness,speed")


@pytest.mark.parametrize(
    ("name", "free", "words"),
    [
        ("GaAs", "x", "symmetry fixes"),
        ("GaAs", "x:Ga1", "symmetry fixes"),
        ("GaAs", "B:Ga7", "no site 'Ga7'"),
        ("GaAs", "U", "free B instead"),
        ("GaAs", "absorption", "without a model"),
        ("GaAs", "tilt:Ga1", "does not belong to a site"),
    ],
)
def test_impossible_parameters_are_refused(name, free, words):
    crystal = Crystal.named(name)
    with pytest.raises(SettingError, match=words):
        build_parameters(crystal, crystal_state(crystal, 200e3, 0.5), split_names(free))


def test_free_displacements_of_anisotropic_sites():
    sites = [
        Site("Ti1", "Ti", (0, 0, 0), u_iso=None, u_aniso=(0.007, 0.007, 0.005, 0, 0, 0)),
        Site("O1", "O", (0.305, 0.305, 0), u_iso=None, u_aniso=(0.005, 0.005, 0.004, 0, 0, -0.001)),
    ]
    crystal = Crystal.build("TiO2", (4.594, 4.594, 2.959, 90, 90, 90), "P 42/m n m", sites)
    state = crystal_state(crystal, 200e3, 0.5)
    names = [p.name for p in build_parameters(crystal, state, ("U",))]
    assert names == ["U11:Ti1", "U33:Ti1", "U12:Ti1", "U11:O1", "U33:O1", "U12:O1"]


def test_b_of_anisotropic_sites_is_a_sphere():
    quartz = Crystal.named("SiO2")  # hexagonal axes
    u = tuple(0.008 * isotropic_displacement(quartz))
    quartz = replace(quartz, sites=tuple(replace(s, u_iso=None, u_aniso=u) for s in quartz.sites))
    state = crystal_state(quartz, 200e3, 0.5)
    parameters = build_parameters(quartz, state, ("B",))
    assert [p.name for p in parameters] == ["B:Si1", "B:O2"]
    assert all(p.low == pytest.approx(0.0) and p.value == pytest.approx(8 * np.pi**2 * 0.008) for p in parameters)
    hkl = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 3), (2, 1, -3)])
    structure = make_structure(quartz, hkl, "kirkland", None)
    start = torch.tensor([p.value for p in parameters], dtype=torch.float64)
    state_of = state_function(state, parameters)
    before, after = (coefficients(structure, state_of(start + step))[0] for step in (0.0, 0.3))
    s = 0.5 * np.linalg.norm(hkl @ np.linalg.inv(quartz.direct), axis=1)
    np.testing.assert_allclose((after / before).numpy(), np.exp(-0.3 * s**2), rtol=1e-9)


def test_mixed_place_keeps_its_sum_and_polar_origin_stays():
    sites = [Site("Ge1", "Ge", (0, 0, 0), 0.9), Site("Sn1", "Sn", (0, 0, 0), 0.1)]
    crystal = Crystal.build("GeSn", 5.65, "F d -3 m:1", sites)
    state = crystal_state(crystal, 200e3, 0.5)
    parameters = build_parameters(crystal, state, ("occupancy", "B"))
    assert [p.name for p in parameters] == ["occupancy:Ge1", "B:Ge1"]
    moved = state_function(state, parameters)(torch.tensor([0.95, 0.8], dtype=torch.float64))
    assert float(moved.occupancy.sum()) == pytest.approx(1.0)
    assert moved.u[0].tolist() == moved.u[1].tolist()
    polar = Crystal.named("GaN")
    assert [p.name for p in build_parameters(polar, crystal_state(polar, 2e5, 0.5), ("x",))] == ["z:N2"]
