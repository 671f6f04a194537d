"""The effective Hamiltonian of few waves against the exact engine, and the plan behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lacbed import Crystal, TiltGrid, simulate, zncc_loss
from lacbed.errors import SettingError
from lacbed.geometry.interpolation import PAD
from lacbed.learn.downfold import solve
from lacbed.learn.downfold.plan import make_plan
from lacbed.learn.downfold.symmetry import LATTICES, centred, mirror_lines, on_lattice
from lacbed.learn.models import build_model, needs_of
from lacbed.learn.surrogate import crystal_inputs
from lacbed.learn.symmetry import pattern_symmetry

DOMAIN = {"potential_pixels": 64, "potential_g_max": 6.0, "factors": "kirkland", "absorption": "thomas"}
PIXELS = 32
CRYSTALS = ("NaCl", "Si", "CsCl", "FeSi", "W", "GaAs", "C")


def _batch(*names: str, thicknesses: tuple[float, ...] = (300.0, 800.0)) -> dict[str, torch.Tensor]:
    return crystal_inputs([Crystal.named(name) for name in names], thicknesses, 200e3, DOMAIN)


def _model(**settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model({"name": "downfold", "pixels": PIXELS, **settings})


@pytest.mark.parametrize("name", CRYSTALS)
def test_patterns_equal_the_exact_ones(name: str) -> None:
    with torch.no_grad():
        found = _model()(_batch(name))["pattern"][0].numpy()
    exact = simulate(
        Crystal.named(name),
        thicknesses=(300.0, 800.0),
        grid=TiltGrid(pixels=PIXELS, extent=4.0),
        absorption="thomas",
        g_max=4.5,
        device="cpu",
        dtype="float32",
    ).values[:, 0]
    assert float(np.max(np.asarray(zncc_loss(found[:, None], exact[:, None])))) <= 5e-3
    assert float(np.linalg.norm(found - exact) / np.linalg.norm(exact)) <= 0.05


LINES = {"NaCl": (0, 0), "CsCl": (0, 0), "W": (0, 0), "FeSi": (1, 1), "FeS2": (0, 1), "MgAl2O4": (1, 1)}
"""Mirrors, or glides with which phases."""


@pytest.mark.parametrize("name", LINES)
def test_the_space_made_in_four_parts_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    cell = model._cells(_batch(name))[0]
    tables = cell.elastic.real, cell.absorptive.real
    assert mirror_lines(cell.lattice, *tables) == LINES[name]
    lattice = cell.lattice
    hk = solve._beams(lattice, float(cell.lattice_parameter), 2.0, 2.6, model.reach)
    reduced = torch.tensor([[0.1, 0.2]])
    basis, parts = solve._projected(cell, hk, reduced, 2.6, model.reach)
    monkeypatch.setattr(solve, "mirror_lines", lambda *arguments: None)
    whole_basis, whole = solve._projected(cell, hk, reduced, 2.6, model.reach)
    assert not whole_basis.is_complex()
    assert basis.shape == whole_basis.shape
    assert parts.damping is not None
    torch.testing.assert_close(parts.reduced, whole.reduced)
    turn = whole_basis.mH @ basis  # between two bases of the same space
    torch.testing.assert_close(turn @ turn.mH, torch.eye(len(turn), dtype=turn.dtype), atol=1e-4, rtol=0)
    for field in ("elastic", "damping", "slopes"):
        there = turn @ getattr(parts, field) @ turn.mH
        torch.testing.assert_close(there, getattr(whole, field), atol=5e-3, rtol=0)


def test_a_table_without_lines_has_none() -> None:
    noise = torch.randn(9, 9, generator=torch.Generator().manual_seed(0))
    assert mirror_lines("primitive", noise + noise.flip(0, 1)) is None
    assert mirror_lines("primitive", torch.ones(9, 9) + 1j) is None


@pytest.mark.parametrize("name", ["FeSi", "MgAl2O4", "NaCl"])
@pytest.mark.parametrize("shift", [(0, 0), (16, 40), (8, 24), (3, 61), (21, 0)])
def test_coefficients_are_real_wherever_the_origin_was(name: str, shift: tuple[int, int]) -> None:
    """Multiples of 1/64: the conventional origin, others of the tables, and such as no table has."""
    batch, model = _batch(name), _model()
    expected = model(batch)["pattern"]
    moved = {k: v.roll(shift, dims=(-2, -1)) if k in ("potential", "absorptive") else v for k, v in batch.items()}
    cell = model._cells(moved)[0]
    for table in (cell.elastic, cell.absorptive):
        assert float(table.imag.abs().max()) <= 1e-4 * float(table.abs().max())
    torch.testing.assert_close(model(moved)["pattern"], expected, atol=2e-3, rtol=0)


def test_crystals_without_a_centre_are_solved_with_complex_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, model = _batch("FeSi"), _model()
    expected = model(batch)["pattern"]
    monkeypatch.setattr("lacbed.learn.models.downfold.centred", lambda *tables: tables)
    assert model._cells(batch)[0].elastic.imag.abs().max() > 0.05 * model._cells(batch)[0].elastic.abs().max()
    torch.testing.assert_close(model(batch)["pattern"], expected, atol=2e-3, rtol=0)
    noise = torch.randn(2, 1, 15, 15, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
    tables = noise[0] + noise[0].conj().flip(-2, -1), noise[1]
    assert all(torch.equal(a, b) for a, b in zip(centred(*tables), tables, strict=True))


def test_intensities_stay_between_0_and_1_and_errors_grow_with_what_is_left_out() -> None:
    batch = _batch("GaAs", "NaCl")
    with torch.no_grad():
        few, many = (_model(margin=m, near=n, g_max=g)(batch) for m, n, g in ((0.05, 0.5, 2.0), (1.5, 4.0, 4.0)))
    for output in (few, many):
        assert float(output["pattern"].min()) >= 0.0
        assert float(output["pattern"].max()) <= 1.0
        assert output["log_sigma"].shape == (2, 2, 1, 1)
    middle = _model()(batch)["pattern"].detach()
    assert float((middle - many["pattern"]).norm()) < 0.75 * float((few["pattern"] - many["pattern"]).norm())


@pytest.mark.parametrize("name", CRYSTALS)
def test_a_thin_foil_lets_everything_through_but_what_the_left_out_waves_carry(name: str) -> None:
    with torch.no_grad():
        pattern = _model()(_batch(name, thicknesses=(1e-3,)))["pattern"]
    assert float((pattern - 1.0).abs().max()) < 0.01


def test_the_derivative_with_respect_to_thickness_equals_the_difference_quotient() -> None:
    batch, model = _batch("FeSi", thicknesses=(400.0,)), _model()
    weight = torch.linspace(-1.0, 1.0, PIXELS).square() - 0.2  # along kx
    thickness = batch["thickness"].clone().requires_grad_()
    gradient = torch.autograd.grad((model({**batch, "thickness": thickness})["pattern"] * weight).sum(), thickness)
    sides = [model({**batch, "thickness": batch["thickness"] + s})["pattern"].detach() for s in (2.0, -2.0)]
    quotient = float(((sides[0] - sides[1]) * weight).sum()) / 4.0
    assert float(gradient[0]) == pytest.approx(quotient, rel=0.02)


@pytest.mark.parametrize("name", ["NaCl", "FeSi", "W"])
def test_gradients_reach_the_potential(name: str) -> None:
    batch, model = _batch(name, thicknesses=(300.0,)), _model()
    potential = batch["potential"].clone().requires_grad_()
    weight = torch.linspace(-1.0, 1.0, PIXELS).square() - 0.2  # along kx
    total = (model({**batch, "potential": potential})["pattern"] * weight).sum()
    direction = batch["potential"].square() * 1e-4
    slope = float((torch.autograd.grad(total, potential)[0] * direction).sum())
    ends = [model({**batch, "potential": batch["potential"] + s * direction})["pattern"].detach() for s in (1, -1)]
    quotient = float(((ends[0] - ends[1]) * weight).sum()) / 2.0
    assert slope == pytest.approx(quotient, rel=0.02)


def test_double_precision_odd_pixels_and_no_scattering_at_all_are_taken() -> None:
    model = _model()
    batch = _batch("FeSi")
    expected = model(batch)["pattern"]
    double = {k: v.double() if k in ("potential", "absorptive") else v for k, v in batch.items()}
    torch.testing.assert_close(model(double)["pattern"].float(), expected, atol=1e-3, rtol=0)
    odd = crystal_inputs([Crystal.named("FeSi")], (300.0, 800.0), 200e3, DOMAIN | {"potential_pixels": 63})
    torch.testing.assert_close(model(odd)["pattern"], expected, atol=5e-3, rtol=0)
    nothing = {k: torch.zeros_like(v) if k in ("potential", "absorptive") else v for k, v in batch.items()}
    nothing["symmetry"] = pattern_symmetry(nothing["potential"])
    assert float((model(nothing)["pattern"] - 1.0).abs().max()) < 5e-3


def test_it_says_what_it_needs() -> None:
    batch = _batch("NaCl")
    del batch["absorptive"]
    assert needs_of("downfold") == ("absorptive",)
    assert needs_of("vae") == ()
    with pytest.raises(SettingError, match="absorptive"):
        _model()(batch)
    with pytest.raises(SettingError, match="multiple of 2 extent"):
        build_model({"name": "downfold", "pixels": 30})


def test_steep_tilts_need_closer_nodes() -> None:
    """Per 1/Å as many for all cells above 4 Å, and more below."""

    def nodes(a: float) -> float:
        plan = solve._plan_for(
            "body", True, a, 0.0251, 1000.0, 512, 4, solve.Reach(spacing=1.7), torch.device("cpu")
        )
        return (len(plan.place) - PAD) / (4 / a)

    assert nodes(4.2) == pytest.approx(nodes(8.0), rel=0.1)
    assert nodes(2.9) == pytest.approx(nodes(8.0) * 4.0 / 2.9, rel=0.1)


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("four_fold", [False, True])
@pytest.mark.parametrize("nodes", [3, 4, 8])
def test_every_node_is_a_wave_of_its_matrix(lattice: str, four_fold: bool, nodes: int) -> None:
    plan = make_plan(lattice, four_fold, nodes, 64, 4)
    tilt = plan.reduced[:, None] + plan.shift
    torch.testing.assert_close(tilt.square().sum(dim=2), plan.square)
    assert bool(on_lattice(plan.shift, lattice).all())
    places = (torch.arange(len(plan.place)) + 0.5) / nodes
    y, x = torch.meshgrid(places, places, indexing="ij")
    node = torch.stack([x, y], dim=-1).reshape(-1, 2)
    # a mirror image of the node, or with 4mm its transpose
    folded = tilt.flatten(0, 1)[plan.place.flatten()].abs()
    if four_fold:
        node, folded = node.sort(dim=1).values, folded.sort(dim=1).values
    torch.testing.assert_close(folded, node)
    if nodes < 8:
        pixels = (torch.arange(32) + 0.5) / 8
        torch.testing.assert_close(plan.weights.sum(dim=1), torch.ones(32), atol=1e-6, rtol=0)
        # Cosines of so many periods a node, even in k as the pattern is; straight lines err by 0.05 at 0.1.
        for periods, error in ((0.01, 6e-4), (0.03, 1.5e-3), (0.1, 1.5e-3), (0.2, 3.5e-3)):
            found, truth = (torch.cos(2 * torch.pi * periods * nodes * x) for x in (places, pixels))
            torch.testing.assert_close(plan.weights @ found, truth, atol=error, rtol=0)
