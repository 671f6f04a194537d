"""Every parameter's gradient and Jacobian against finite differences, where eigenvalues coincide too."""

import numpy as np
import pytest
import torch
from gradient_cases import FIELDS, finite_difference, parts, small_plan, with_part

from lacbed import Crystal, Site, TiltGrid, simulate
from lacbed.geometry.frame import make_frame
from lacbed.refinement.model import BlochModel, images
from lacbed.refinement.planning import make_plan
from lacbed.state import crystal_state

CASES = {
    "GaAs [110], polar, absorbing": ("GaAs", (1, 1, 0), "thomas", "pixels", (0.0, 0.0)),
    "Si [110], centric": ("Si", (1, 1, 0), None, "pixels", (0.0, 0.0)),
    "Si [001], centric, absorbing": ("Si", (0, 0, 1), ("proportional", 8.0), "lattice", (0.011, -0.007)),
    "quartz [100], chiral, absorbing": ("SiO2", (1, 0, 0), "thomas", "lattice", (0.011, -0.007)),
    "GaAs [110], polar": ("GaAs", (1, 1, 0), None, "lattice", (0.011, -0.007)),
    "GaAs [110], in few Bloch waves": ("GaAs", (1, 1, 0), "thomas", "lattice", (0.011, -0.007)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_against_finite_differences(name):
    crystal, zone, absorption, sampling, tilt = CASES[name]
    waves = {"beams": 30, "margin": 0.8, "divisions": 4} if "few" in name else {"beams": 12}
    plan, state = small_plan(Crystal.named(crystal), zone, absorption, sampling, pixels=3, **waves)
    cone = 0.6 if "quartz" in name else 0.0
    state = state.changed(tilt=torch.tensor(tilt, dtype=torch.float64), cone=torch.tensor(cone).double())
    leaves = state.changed(**{n: getattr(state, n).clone().requires_grad_() for n in FIELDS})
    value = images(plan, leaves)
    weight = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (value * weight).sum().backward()
    numbers = parts(state)
    start = torch.stack([getattr(state, n).reshape(-1)[i] for n, i, _ in numbers])

    def state_of(values):
        changed = state
        for (field, index, _), number in zip(numbers, values, strict=True):
            changed = with_part(changed, field, index, number)
        return changed

    same, columns, _ = BlochModel(plan).jacobian(state_of, start)
    torch.testing.assert_close(same, value.detach(), rtol=0, atol=1e-12)
    for column, (field, index, step) in zip(columns, numbers, strict=True):

        def at(x, field=field, index=index):
            with torch.no_grad():
                return images(plan, with_part(state, field, index, torch.tensor(x, dtype=torch.float64)))

        expected = finite_difference(at, float(getattr(state, field).reshape(-1)[index]), step)
        size = float(expected.abs().max())
        floor = 1e-13 / step  # rounding of the differences themselves
        assert float((column - expected).abs().max()) <= 1e-6 * size + floor, (field, index)
        grad = getattr(leaves, field).grad
        found = 0.0 if grad is None else float(grad.reshape(-1)[index])
        scale = float((expected * weight).abs().sum())
        assert abs(found - float((expected * weight).sum())) <= 1e-6 * scale + 30 * floor, (field, index)


def test_pixels_equal_the_simulation():
    crystal = Crystal.named("GaAs")
    plan, state = small_plan(crystal, (1, 1, 0), "thomas", "pixels")
    state = state.changed(
        blur=torch.tensor(0.0, dtype=torch.float64), ug_change=torch.zeros(3, dtype=torch.float64)
    )
    grid = TiltGrid(5, k_max=float(state.half_width))
    reference = simulate(
        crystal, (1, 1, 0), 200e3, (420.0,), grid, plan.reflections, absorption="thomas", beams=len(plan.beams)
    )
    np.testing.assert_allclose(images(plan, state).numpy(), reference.values[0], rtol=0, atol=1e-10)


def test_anisotropic_displacements_equal_the_simulation():
    sites = [
        Site("Ti1", "Ti", (0, 0, 0), u_iso=None, u_aniso=(0.007, 0.007, 0.005, 0, 0, 0.002)),
        Site("O1", "O", (0.305, 0.305, 0), u_iso=None, u_aniso=(0.005, 0.005, 0.004, 0, 0, -0.001)),
    ]
    crystal = Crystal.build("TiO2", (4.594, 4.594, 2.959, 90, 90, 90), "P 42/m n m", sites)
    plan, state = small_plan(crystal, (1, 1, 0), None, "pixels", beams=20)
    state = state.changed(
        blur=torch.tensor(0.0, dtype=torch.float64), ug_change=torch.zeros(3, dtype=torch.float64)
    )
    grid = TiltGrid(5, k_max=float(state.half_width))
    reference = simulate(crystal, (1, 1, 0), 200e3, (420.0,), grid, plan.reflections, beams=len(plan.beams))
    np.testing.assert_allclose(images(plan, state).numpy(), reference.values[0], rtol=0, atol=1e-10)


def test_lattice_reads_the_pixels():
    # The two lists of beams of a zone boundary differ: what is left is the error of so many beams.
    crystal = Crystal.named("Si")
    exact, state = small_plan(crystal, (1, 1, 0), None, "pixels", pixels=7, thickness=300.0)
    state = state.changed(ug_change=torch.zeros(3, dtype=torch.float64))
    settings = {"crystal": crystal, "frame": exact.frame, "reflections": exact.reflections, "pixels": 7}
    whole = images(make_plan(**settings, state=state, beams=150, sampling="pixels"), state)
    errors = []
    for divisions in (4, 10):
        plan = make_plan(**settings, state=state, beams=150, divisions=divisions)
        errors.append(float((images(plan, state) - whole).abs().max()))
    assert errors[1] < 0.1 * errors[0]
    assert errors[1] < 1e-3


@pytest.mark.parametrize("absorption", [None, "thomas"])
def test_few_bloch_waves_stand_for_all(absorption):
    crystal = Crystal.named("GaAs")
    _, state = small_plan(crystal, (1, 1, 0), absorption, "pixels")
    state = state.changed(ug_change=torch.zeros(3, dtype=torch.float64))
    settings = {
        "crystal": crystal,
        "frame": make_frame(crystal, (1, 1, 0)),
        "absorption": absorption,
        "beams": 150,
    }

    def run(margin):
        plan = make_plan(
            reflections=((0, 0, 0), (1, -1, 1)),
            pixels=3,
            state=state,
            sampling="pixels",
            margin=margin,
            **settings,
        )
        return images(plan, state), plan.basis.shape[1]

    (exact, all_waves), (small, few), (large, more) = run(None), run(0.5), run(4.0)
    assert few < more < all_waves
    assert float((large - exact).abs().max()) < 0.5 * float((small - exact).abs().max()) < 0.01


def test_gradient_does_not_need_kept_eigenvectors():
    plan, state = small_plan(Crystal.named("GaAs"), (1, 1, 0), "thomas", "lattice", pixels=3)
    grads = []
    for keep in (2**30, 0):
        thickness = state.thickness.clone().requires_grad_()
        images(plan, state.changed(thickness=thickness), keep=keep).square().sum().backward()
        grads.append(float(thickness.grad))
    assert grads[0] == pytest.approx(grads[1], rel=1e-12)


def test_start_state_is_the_crystal():
    crystal = Crystal.named("SiO2")
    state = crystal_state(crystal, 200e3, 0.5)
    assert state.cell.tolist() == list(crystal.cell)
    assert state.occupancy.tolist() == [s.occupancy for s in crystal.sites]


@pytest.mark.parametrize("size", [2, 6])
def test_moves_against_finite_differences(size):
    plan, state = small_plan(Crystal.named("GaAs"), (1, 1, 0), "thomas", "lattice", pixels=5)
    model = BlochModel(plan)
    between = np.random.default_rng(0).uniform(0.05, 0.08, (len(plan.reflections), size))  # points of the lattice
    moves = torch.as_tensor(between)
    _, slopes = model.read(state, moves)
    for i in range(size):

        def at(x, i=i):
            return model.read(state, moves + x * (torch.arange(size) == i))[0]

        expected = finite_difference(at, 0.0, 1e-3)
        torch.testing.assert_close(slopes[i], expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
