"""The potential as a convolution is the matrix product."""

from __future__ import annotations

import pytest
import torch

from lacbed import Crystal, Site, TiltGrid
from lacbed.settings import Settings
from lacbed.setup import prepare
from lacbed.solvers import problem as problems
from lacbed.solvers.chebyshev import solve_chebyshev, spectral_bounds
from lacbed.solvers.choose import choose_solver
from lacbed.solvers.convolution import convolution_bounds, convolution_of
from lacbed.solvers.problem import Problem
from lacbed.solvers.zone import solve_zone

LONG = Crystal(
    "long",
    (4.0, 4.5, 40.0, 90.0, 97.0, 90.0),
    (
        Site("Zn1", "Zn", (0.0, 0.0, 0.0)),
        Site("S1", "S", (0.3, 0.1, 0.13)),
        Site("Ga1", "Ga", (0.5, 0.4, 0.61)),
    ),
)


@pytest.fixture(autouse=True)
def _even_few_beams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "FEWEST", 20)


def problem_of(crystal: Crystal, zone_axis, **settings) -> Problem:
    chosen = {"beams": 90, "grid": TiltGrid(pixels=4, extent=1.3), **settings}
    return prepare(crystal, Settings(zone_axis=zone_axis, **chosen)).problem


CASES = [
    (LONG, (0, 1, 0)),
    (LONG, (1, 1, 0)),
    (Crystal.named("SrTiO3"), (0, 0, 1)),
    (Crystal.named("GaN"), (0, 0, 1)),
]


@pytest.mark.parametrize(("crystal", "zone_axis"), CASES)
@pytest.mark.parametrize("absorption", [None, "thomas"])
def test_it_is_the_product_with_the_matrix(crystal: Crystal, zone_axis, absorption) -> None:
    problem = problem_of(crystal, zone_axis, absorption=absorption)
    matrix = problem.complete_potential
    waves = torch.randn(len(matrix), 5, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    assert problem.lattice is not None
    product = convolution_of(matrix, problem.lattice)(waves)
    torch.testing.assert_close(product, matrix.to(torch.complex128) @ waves, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("crystal", "zone_axis"), CASES)
def test_bounds_hold_all_eigenvalues(crystal: Crystal, zone_axis) -> None:
    problem = problem_of(crystal, zone_axis)
    assert problem.lattice is not None
    low, high = convolution_bounds(problem.potential, problem.lattice)
    least, largest, _ = problem.depths
    assert low <= least + 1e-12
    assert largest - 1e-12 <= high < 5.0 * largest


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("absorption", [None, "thomas"])
@pytest.mark.parametrize("hkl", [((0, 0, 0),), ((0, 0, 0), (0, 0, 3))])
def test_amplitudes_are_those_of_the_other_solvers(monkeypatch, hkl, absorption, dtype) -> None:
    settings = {"hkl": hkl, "absorption": absorption, "thicknesses": (200.0, 90.0, 400.0)}
    problem = problem_of(LONG, (0, 1, 0), **settings).to(torch.device("cpu"), dtype)
    assert problem.convolves
    found = solve_chebyshev(problem, 5)
    exact = solve_zone(problem_of(LONG, (0, 1, 0), **settings), 5)
    assert float((found - exact).abs().max()) < (1e-6 if dtype == torch.float64 else 2e-4)
    monkeypatch.setattr(problems, "FEWEST", 10**6)
    plain = problem_of(LONG, (0, 1, 0), **settings)
    assert not plain.convolves
    assert float((found - solve_chebyshev(plain, 3)).abs().max()) < (1e-11 if dtype == torch.float64 else 2e-4)


def test_higher_zones_weak_beams_and_tilted_foils() -> None:
    assert problem_of(LONG, (0, 1, 0), laue_zones=1).lattice is None
    assert not problem_of(LONG, (0, 1, 0), laue_zones=1).convolves
    assert not problem_of(LONG, (0, 1, 0), weak_beams=10).convolves
    tilted = problem_of(LONG, (0, 1, 0), foil_normal=(0.02, 1.0, 0.0))
    assert tilted.convolves
    whole = tilted.to(torch.device("cpu"), torch.float64)
    whole.__dict__["bounds"] = whole.depths
    assert float((solve_chebyshev(tilted, 4) - solve_chebyshev(whole, 4)).abs().max()) < 1e-10
    assert spectral_bounds(tilted, torch.arange(2))[1] >= spectral_bounds(whole, torch.arange(2))[1]


def test_many_beams_on_few_shared_tilts_are_propagated_as_convolutions() -> None:
    name, why = choose_solver(problem_of(LONG, (0, 1, 0), beams=700), torch.device("cpu"))
    assert name == "chebyshev"
    assert "fewer operations" in why
