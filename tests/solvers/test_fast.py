"""The approximate solver `fast` against the reference and against what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_helpers import CASES, largest_difference, reference

from lacbed import Crystal, TiltGrid, convergence, simulate, zncc_loss
from lacbed.errors import SettingError
from lacbed.geometry.interpolation import ORDER, node_lattice
from lacbed.solvers import exponential
from lacbed.solvers.exponential import matrix_exponential, propagators

PROMISE = 0.02
"""Largest |ΔI| at single tilts."""

REFUSED = [name for name, case in CASES.items() if "zone" in case.without]
TAKEN = [name for name in CASES if name not in REFUSED]


def _generator(size: int, norm: float, damping: float) -> torch.Tensor:
    noise = torch.Generator().manual_seed(size)
    hermitian, absorptive = torch.randn(2, 3, size, size, dtype=torch.complex128, generator=noise)
    hermitian = (hermitian + hermitian.mH) / (4 * size**0.5)
    absorptive = absorptive @ absorptive.mH / size
    return norm * (1j * hermitian - damping * absorptive)


@pytest.mark.parametrize(
    ("size", "norm", "damping"),
    [(12, 0.0, 0.0), (12, 0.3, 0.0), (12, 7.0, 0.05), (12, 200.0, 0.01), (200, 7.0, 0.05)],
)
def test_the_exponential_equals_that_of_torch(size: int, norm: float, damping: float) -> None:
    generator = _generator(size, norm, damping)
    expected = torch.linalg.matrix_exp(generator)
    assert float((matrix_exponential(generator) - expected).abs().max()) < 1e-5
    single = matrix_exponential(generator.to(torch.complex64))
    assert float((single - expected).abs().max()) < 2e-4


def test_stacks_that_are_cut_in_portions_and_derivatives_are_the_same() -> None:
    generator = torch.cat([_generator(48, 5.0, 0.02)] * 20)
    assert generator.numel() * generator.element_size() > 2 * exponential.PORTION
    expected = torch.linalg.matrix_exp(generator[:3])
    found = matrix_exponential(generator)
    assert float((found.unflatten(0, (20, 3)) - expected).abs().max()) < 1e-5
    few = generator[:3].clone().requires_grad_()
    weight = _generator(48, 1.0, 1.0)
    results = [f(few) for f in (matrix_exponential, torch.linalg.matrix_exp)]
    gradients = [torch.autograd.grad((r * weight).sum().real, few)[0] for r in results]
    assert float((results[0].detach() - expected).abs().max()) < 1e-5
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-5


def test_propagators_come_for_every_thickness_in_any_order() -> None:
    generator = _generator(6, 0.02, 0.02)
    thicknesses = torch.tensor([400.0, 100.0, 250.0, 250.0], dtype=torch.float64)
    found = dict(propagators(generator, thicknesses))
    assert sorted(found) == [0, 1, 2, 3]
    for place, t in enumerate(thicknesses):
        assert float((found[place] - torch.linalg.matrix_exp(generator * t)).abs().max()) < 1e-5


@pytest.mark.parametrize("name", TAKEN)
def test_hard_cases_stay_within_the_promise(name: str) -> None:
    assert largest_difference(CASES[name].run("fast"), reference(name)) <= PROMISE


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_hold_for_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="auto"):
        CASES[name].run("fast")


@pytest.mark.parametrize("crystal", ["SrTiO3", "GaAs", "FeSi"])
def test_converged_patterns_agree_to_a_hundredth_of_a_percent(crystal: str) -> None:
    request = {"grid": TiltGrid(pixels=16, extent=4.0), "thicknesses": (600.0, 1500.0), "g_max": 2.2}
    request |= {"absorption": "thomas", "device": "cpu", "dtype": "float32"}
    fast = simulate(Crystal.named(crystal), solver="fast", **request)
    exact = simulate(Crystal.named(crystal), solver="zone", **request)
    assert largest_difference(fast, exact) <= PROMISE
    assert np.max(np.asarray(zncc_loss(fast, exact))) <= 2e-4


@pytest.mark.parametrize("output", ["intensity", "amplitude"])
def test_interpolation_serves_grids_that_do_not_fit_the_lattice(output: str) -> None:
    request = {"grid": TiltGrid(pixels=24, k_max=0.41, center=(0.03, -0.02)), "hkl": [(0, 0, 0), (2, 2, 0)]}
    request |= {"thicknesses": (150.0, 300.0), "beams": 120, "device": "cpu", "output": output}
    fast = simulate(Crystal.named("GaAs"), solver="fast", **request)
    assert 0 < fast.attrs["interpolation_error"] <= 4e-3
    assert fast.attrs["tilts_solved"] > 0
    assert "interpolated" in " ".join(fast.attrs["notes"])
    exact = simulate(Crystal.named("GaAs"), solver="tilted", **request)
    assert float(np.abs(fast.values - exact.values).max()) <= 5e-3


def test_hexagonal_zones_and_discs_are_interpolated_too() -> None:
    grid = TiltGrid(pixels=30, semi_angle=9.0, shape="disc")
    request = {"grid": grid, "thicknesses": (120.0,), "g_max": 2.2, "device": "cpu"}  # the nodes reach further
    fast = simulate(Crystal.named("GaN"), solver="fast", **request)
    exact = simulate(Crystal.named("GaN"), solver="tilted", **request)
    assert "interpolated" in " ".join(fast.attrs["notes"])
    assert np.array_equal(np.isnan(fast.values), np.isnan(exact.values))
    assert float(np.nanmax(np.abs(fast.values - exact.values))) <= 5e-3


def test_convergence_is_searched_with_the_same_solver() -> None:
    request = {"grid": TiltGrid(pixels=16, extent=2.0), "absorption": "thomas", "device": "cpu"}
    fast = convergence(Crystal.named("Cu"), solver="fast", tolerance_intensity=0.1, **request)
    exact = convergence(Crystal.named("Cu"), tolerance_intensity=0.1, **request)
    assert fast.converged
    assert fast.steps[0].beams > exact.steps[0].beams  # it starts where most crystals have converged
    assert fast.steps[-2].z <= 1e-3


@settings(max_examples=25)
@given(
    angle=st.floats(50, 90),
    first=st.integers(1, 6),
    second=st.integers(1, 6),
    degree=st.integers(0, ORDER - 1),
    seed=st.integers(0, 99),
)
def test_interpolation_is_exact_for_polynomials(
    angle: float, first: int, second: int, degree: int, seed: int
) -> None:
    lattice = np.array([[0.2, 0.25 * np.cos(np.radians(angle))], [0.0, 0.25 * np.sin(np.radians(angle))]])
    tilts = np.random.default_rng(seed).uniform(-0.5, 0.5, (40, 2))
    nodes = node_lattice(lattice, tilts, (first, second))
    found = nodes.stencil(tilts)
    index, weights = found.index.numpy(), found.weights.numpy()
    assert index.min() >= 0  # every node of every stencil is there
    assert len(np.unique(index)) == len(nodes.tilts)  # and none in vain

    def polynomial(k: np.ndarray) -> np.ndarray:
        return np.asarray((1.3 * k[:, 0] - 0.7 * k[:, 1] + 0.4) ** degree)

    values = (polynomial(nodes.tilts)[index] * weights).sum(axis=1)
    np.testing.assert_allclose(values, polynomial(tilts), atol=1e-7)
