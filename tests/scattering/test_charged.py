"""Ions and stretched valence shells, checked by the formula of Mott and Bethe."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lacbed import Crystal, TiltGrid, simulate
from lacbed.constants import MOTT_BETHE
from lacbed.errors import CrystalError, ScatteringError
from lacbed.potential import potential_coefficients, structure_factors
from lacbed.scattering import elastic_factor, ionic_change, known_charges, valence_change, xray_factor
from lacbed.structure import StructureParameters, structure_parameters
from lacbed.xray import xray_factors

S = torch.linspace(0.15, 1.5, 28, dtype=torch.float64)
NUCLEI = {"O2-": 8, "Na1+": 11, "Cl1-": 17, "Mg2+": 12, "Sr2+": 38, "Ti4+": 22, "Pb2+": 82}


def rock_salt() -> Crystal:
    return Crystal.named("NaCl").with_charges({"Na": 1, "Cl": -1})


@pytest.mark.parametrize(("species", "nuclear"), NUCLEI.items())
def test_the_factor_of_an_ion_is_that_of_mott_and_bethe(species: str, nuclear: int) -> None:
    expected = MOTT_BETHE * (nuclear - xray_factor(species, S)) / S**2
    found = elastic_factor(species, S, "ionic")
    assert (
        float(((found - expected) / expected.abs().clamp(min=0.3)).abs().max()) < 0.04
    )  # two tables of neutral atoms
    charge = int(species[-1] + species[-2])
    near = torch.tensor([1e-3], dtype=torch.float64)
    assert float(ionic_change(species[:-2], charge, near) * near**2) == pytest.approx(
        MOTT_BETHE * charge, rel=1e-3
    )


def test_an_atom_is_what_it_was() -> None:
    assert torch.equal(elastic_factor("O", S, "ionic"), elastic_factor("O", S))


@pytest.mark.parametrize(("element", "charge"), [("O", -2), ("Na", 1), ("Ti", 4)])
def test_at_zero_the_finite_part_is_the_limit(element: str, charge: int) -> None:
    s = torch.tensor([0.0, 2e-3, 4e-3], dtype=torch.float64)
    change = ionic_change(element, charge, s)
    finite = change[1:] - MOTT_BETHE * charge / s[1:] ** 2
    extrapolated = finite[0] - (finite[1] - finite[0]) / 3.0
    assert float(change[0]) == pytest.approx(float(extrapolated), abs=1e-5)


def test_charges_that_are_known() -> None:
    assert known_charges("O") == (-2, -1)
    assert known_charges("Fe") == (2, 3)
    assert known_charges("Ce") == (3, 4)
    assert known_charges("He") == ()
    for species, electrons in {"O2-": 10.0, "Pb4+": 78.0, "Os": 76.0}.items():
        assert float(xray_factor(species, torch.zeros(1, dtype=torch.float64))) == pytest.approx(
            electrons, rel=1e-12
        )


def test_a_valence_shell_that_is_not_stretched_changes_nothing() -> None:
    assert float(valence_change("Ge", 1.0, S).abs().max()) < 1e-15


def test_a_contracted_shell_scatters_electrons_less_and_its_slope_is_right() -> None:
    s = torch.tensor([0.0, 1e-5, 0.1, 0.3], dtype=torch.float64)
    assert bool((valence_change("Si", 1.05, s) < 0).all())  # f_e(0) is the mean square radius
    first, second = valence_change("Si", 1.05, s)[:2].tolist()
    assert first == pytest.approx(second, rel=1e-6)
    kappa = torch.tensor(1.02, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(valence_change("Si", kappa, s).sum(), kappa)
    step = 1e-5
    ends = [float(valence_change("Si", 1.02 + sign * step, s).sum()) for sign in (1, -1)]
    assert float(slope) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-7)


def test_a_crystal_of_ions_has_their_x_ray_structure_factors() -> None:
    crystal = rock_salt()
    hkl = np.array([[1, 1, 1], [2, 0, 0], [2, 2, 0], [3, 1, 1], [4, 0, 0]])
    elastic, _ = potential_coefficients(crystal, hkl, 200e3, "ionic")
    found = xray_factors(crystal, hkl, elastic, 200e3)
    s = torch.as_tensor(0.5 * np.linalg.norm(hkl @ crystal.reciprocal.T, axis=1))
    b = {site.element: 8 * math.pi**2 * float(site.u_iso or 0.0) for site in crystal.sites}
    sodium, chlorine = (4.0 * xray_factor(name, s) * torch.exp(-b[name[:2]] * s**2) for name in ("Na1+", "Cl1-"))
    sign = torch.tensor([1.0 if h % 2 == 0 else -1.0 for h, _, _ in hkl.tolist()])
    expected = chlorine + sign * sodium if _chlorine_is_first(crystal) else sodium + sign * chlorine
    assert float(((found.real - expected) / expected).abs().max()) < 0.02
    neutral, _ = potential_coefficients(crystal, hkl, 200e3)
    assert abs(float(elastic[0].real / neutral[0].real) - 1.0) > 0.05  # 111 tells ions from atoms


def _chlorine_is_first(crystal: Crystal) -> bool:
    return next(site.element for site in crystal.sites if not any(site.xyz)) == "Cl"


def test_structure_and_crystal_agree_and_gradients_flow() -> None:
    crystal, hkl = rock_salt(), np.array([[0, 0, 0], [1, 1, 1], [2, 0, 0]])
    structure: StructureParameters = structure_parameters(crystal)
    plain = structure_factors(crystal, hkl, "ionic")
    assert torch.allclose(plain, structure_factors(crystal, hkl, "ionic", structure=structure), atol=1e-12)
    cell = structure.cell.clone().requires_grad_()
    total = structure_factors(crystal, hkl, "ionic", structure=structure.changed(cell=cell)).real.sum()
    assert torch.isfinite(torch.autograd.grad(total, cell)[0]).all()


def test_a_pattern_of_ions_and_its_record() -> None:
    crystal = Crystal.from_cif_text(rock_salt().to_cif())
    assert any("neutral atoms" in note for note in crystal.notes)
    grid = TiltGrid(4, extent=1.0)
    ions = simulate(crystal, grid=grid, factors="ionic", tolerance=1e-3)
    assert not any("neutral atoms" in note for note in ions.attrs["notes"])
    atoms = simulate(crystal, grid=grid, tolerance=1e-3)
    exact = simulate(crystal, grid=grid, factors="ionic", g_max=4.0, solver="reference")
    assert float(abs(ions - atoms).max()) > 5e-3
    assert float(abs(ions - exact).max()) < 1.5e-3


@pytest.mark.parametrize(
    ("crystal", "words"),
    [
        (Crystal.named("NaCl"), "no site of NaCl has a charge"),
        (Crystal.named("NaCl").with_charges({"Na": 1}), r"add up to \+4 per cell"),
        (Crystal.named("ZnS").with_charges({"Zn": 2, "S": -2}), "no X-ray scattering factor for S2-"),
    ],
)
def test_what_cannot_be_computed_is_said(crystal: Crystal, words: str) -> None:
    with pytest.raises(ScatteringError, match=words):
        simulate(crystal, grid=TiltGrid(2, extent=1.0), factors="ionic")


def test_charges_must_be_those_of_elements_that_are_there() -> None:
    with pytest.raises(CrystalError, match="NaCl has no K, but Na"):
        Crystal.named("NaCl").with_charges({"K": 1})
    with pytest.raises(CrystalError, match="whole number"):
        Crystal.named("NaCl").with_charges({"Na": 1.5})  # type: ignore[dict-item]
    with pytest.raises(ScatteringError, match="positive ion"):
        valence_change("As", 1.1, S)


def test_charges_at_the_command_line(lacbed) -> None:
    words = ["simulate", "MgO", "--pixels", 4, "--tolerance", 1e-2, "-o", "out.nc", "--json"]
    assert lacbed(*words, "--factors", "ionic", "--charges", "Mg=2,O=-2")[0] == 0
    code, _, said = lacbed(*words, "--factors", "ionic", "--charges", "Mg:2")
    assert (code, "such as Sr=2,Ti=4,O=-2" in said) == (2, True)
    code, _, said = lacbed(*words, "--charges", "Mg=2,O=-2")
    assert (code, "--factors ionic" in said) == (2, True)
