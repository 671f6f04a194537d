"""Terms for what is not crystal: spread of the thickness, tail of the blur, border, absorption, distortions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gradient_cases import small_plan

import lacbed
from lacbed import Crystal, TiltGrid
from lacbed.differentiable import over_cone
from lacbed.errors import SettingError
from lacbed.geometry.frame import make_frame
from lacbed.refinement.files import fingerprint
from lacbed.refinement.joint import Joint, checked_stacks
from lacbed.refinement.model import BlochModel, images
from lacbed.refinement.objective import explain, make_target
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.parameters import build_parameters
from lacbed.refinement.problem import Measured, Problem
from lacbed.refinement.stages import stiffened
from lacbed.refinement.structure import coefficients, make_structure
from lacbed.refinement.uncertainties import correlated_pixels, covariance, evidence, leave_one_out, unit_variance
from lacbed.state import SPREAD_NODES, crystal_state


def number(value):
    return torch.tensor(value, dtype=torch.float64)


# -- terms of the model -----------------------------------------------------------------------------
def test_a_spread_of_the_thickness_is_a_mean_over_thicknesses():
    plan, state = small_plan(Crystal.named("Si"), (1, 1, 0), None, "lattice", pixels=3)
    spread = state.changed(spread=number(40.0))
    at = [images(plan, state.changed(thickness=state.thickness + 40.0 * x)) for x, _ in SPREAD_NODES]
    expected = sum(weight * image for (_, weight), image in zip(SPREAD_NODES, at, strict=True))
    torch.testing.assert_close(images(plan, spread), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(BlochModel(plan).read(spread)[0], expected, rtol=0, atol=1e-12)
    close = torch.linspace(-5, 5, 41, dtype=torch.float64)
    weights = torch.exp(-0.5 * close**2) / torch.exp(-0.5 * close**2).sum()
    fine = sum(
        w * images(plan, state.changed(thickness=state.thickness + 40.0 * x))
        for x, w in zip(close, weights, strict=True)
    )
    assert float((images(plan, spread) - fine).abs().max()) < 0.02 * float((at[1] - fine).abs().max())


def test_the_public_model_has_the_same_terms():
    crystal = Crystal.named("Si")
    model = lacbed.prepare_model(
        crystal, zone_axis=(1, 1, 0), grid=TiltGrid(6, k_max=0.3), hkl=((0, 0, 0),), beams=20, absorption="thomas"
    )
    state = lacbed.model_state(model)
    full = state.changed(spread=number(30.0), tail=number(0.2), tail_width=number(3.0), blur=number(0.8))
    sharp = [
        lacbed.intensities(model, state.changed(thickness=state.thickness + 30.0 * x)) for x, _ in SPREAD_NODES
    ]
    mean = sum(weight * image for (_, weight), image in zip(SPREAD_NODES, sharp, strict=True))
    core, wide = (lacbed.differentiable.blur(mean, number(s)) for s in (0.8, 3.0))
    torch.testing.assert_close(lacbed.intensities(model, full), 0.8 * core + 0.2 * wide, rtol=0, atol=1e-12)
    stronger = lacbed.intensities(model, state.changed(electronic=number(0.5)))
    assert float((stronger - lacbed.intensities(model, state)).mean()) < -1e-3  # 000 loses


@pytest.mark.parametrize("radius", [0.93, 2.37])
def test_a_pixel_is_the_mean_over_the_directions_of_a_cone(radius):
    """Against sums over fine points, and the directions beyond the edge left out."""
    n, parts = 9, 15
    image = torch.rand(2, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = over_cone(image, number(radius * 2 / n))
    step = (np.arange(parts) + 0.5) / parts - 0.5
    for row, column in ((4, 4), (0, 3), (8, 8)):
        total, weight = 0.0, 0.0
        for i in range(n):
            for j in range(n):
                y, x = np.meshgrid(i - row + step, j - column + step, indexing="ij")
                share = float((np.hypot(y, x) <= radius).mean())
                total, weight = total + share * float(image[0, i, j]), weight + share
        assert float(found[0, row, column]) == pytest.approx(total / weight, rel=1e-9)
    flat = torch.full((1, n, n), 0.3, dtype=torch.float64)
    torch.testing.assert_close(over_cone(flat, number(radius * 2 / n)), flat, rtol=0, atol=1e-12)
    assert over_cone(image, number(0.0)) is image


def test_a_cone_is_known_and_takes_the_border_with_it():
    crystal = Crystal.named("Si")
    stack = replace(data(), cone=0.03)  # a tenth of the half-width
    problem = Problem(crystal, stack, RefinementOptions(border=1.0))
    assert float(problem.base.cone) == pytest.approx(0.1)
    assert not np.isfinite(problem.measured.images[:, :2]).any()
    assert np.isfinite(problem.measured.images[:, 3:-3, 3:-3]).all()
    plan, state = small_plan(crystal, (1, 1, 0), None, "lattice", pixels=5)
    wide = state.changed(cone=number(0.5), blur=number(0.0))
    sharp = state.changed(blur=number(0.0))
    torch.testing.assert_close(images(plan, wide), over_cone(images(plan, sharp), number(0.5)), rtol=0, atol=1e-9)
    torch.testing.assert_close(BlochModel(plan).read(wide)[0], images(plan, wide), rtol=0, atol=1e-12)


def test_a_cone_wider_than_the_images_is_refused():
    crystal = Crystal.named("Si")
    with pytest.raises(SettingError, match=r"radius of 0\.2 1/Å, and the half-width of the images is 0\.3"):
        checked_stacks([replace(data(), cone=0.2)], crystal)
    notes = checked_stacks([replace(data(), cone=0.03)], crystal)[1]
    assert any("10 % of the half-width" in note for note in notes)
    with pytest.raises(SettingError, match="at most 1 can be averaged over"):
        over_cone(torch.rand(4, 4), number(1.2))
    options = RefinementOptions()
    marks = {fingerprint(replace(data(), cone=cone), crystal, options) for cone in (0.0, 0.02, 0.03)}
    assert len(marks) == 3


def test_electrons_absorb_at_low_g_alone():
    hkl = np.array([(0, 0, 0), (1, 1, 1), (4, 4, 4)])
    structure, state = make_structure(Crystal.named("Si"), hkl, "kirkland", "thomas"), None
    state = crystal_state(Crystal.named("Si"), 2e5, 0.5)
    before, after = (coefficients(structure, state.changed(electronic=number(b)))[1] for b in (0.0, 0.3))
    s = 0.5 * np.linalg.norm(hkl @ np.linalg.inv(Crystal.named("Si").direct), axis=1)
    np.testing.assert_allclose((after / before).numpy().real, 1.0 + 0.3 * np.exp(-20.0 * s**2), rtol=1e-12)


# -- border and distortions -------------------------------------------------------------------------
def data(pixels=50) -> Measured:
    frame = make_frame(Crystal.named("Si"), (1, 1, 0))
    counts = np.random.default_rng(0).random((2, pixels, pixels))
    return Measured(counts, ((0, 0, 0), (1, -1, 1)), frame, 200e3, 0.3)


def test_the_border_does_not_count():
    masked = data().without_border(4.0).images
    assert np.isnan(masked[:, :2]).all()
    assert np.isnan(masked[:, :, -2:]).all()
    np.testing.assert_array_equal(masked[:, 2:-2, 2:-2], data().images[:, 2:-2, 2:-2])
    assert data(20).without_border(4.0).images is not None
    assert not np.isnan(data(20).without_border(4.0).images).any()  # less than a pixel
    with pytest.raises(SettingError, match="border must be between 0 and 30"):
        RefinementOptions(border=50.0)


def wave(bend: float, side: int = 32) -> torch.Tensor:
    """A smooth image, stretched along x about its middle."""
    x = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    return torch.cos(0.5 * (1.0 - bend) * x)[None, :] * torch.cos(0.4 * x)[:, None] + 2.0


def test_a_distortion_is_found_and_its_prior_holds():
    sides, step = 32, 1e-4
    by_move = torch.zeros(6, 1, sides, sides, dtype=torch.float64)
    by_move[2, 0] = (wave(step) - wave(-step)) / (2 * step)
    target = make_target(100.0 * wave(0.004)[None] + 7.0)
    moves = torch.zeros(1, 6, dtype=torch.float64)
    free = explain(target, wave(0.0)[None], by_move, None, moves)
    assert float(free.moves[0, 2]) == pytest.approx(0.004, rel=0.02)
    assert free.residual.shape[1] == sides**2
    for stiffness, expected in ((1e-3, 0.004), (1e6, 0.0)):
        held = explain(replace(target, stiffness=stiffness), wave(0.0)[None], by_move, None, moves)
        assert held.residual.shape[1] == sides**2 + 4
        assert float(held.moves[0, 2]) == pytest.approx(expected, abs=1e-4)
        assert float(held.background[0]) == pytest.approx(7.0, abs=2.0)
    # where it stands already counts too: a stiff prior pulls the distortion back to none
    moves[0, 2] = 0.004
    back = explain(replace(target, stiffness=1e6), wave(0.004)[None], by_move, None, moves)
    assert float(back.moves[0, 2]) == pytest.approx(-0.004, abs=1e-4)
    assert stiffened(target, free, 0.005).stiffness == pytest.approx(
        np.sqrt(unit_variance(target, free.residual)) / 0.005
    )


# -- parameters -------------------------------------------------------------------------------------
def test_terms_begin_where_they_have_a_slope():
    options = RefinementOptions(("thickness", "spread", "tail"), (300.0,), beams=20, absorption=None)
    problem = Joint(Crystal.named("Si"), [data()], options)
    found = {p.name: p for p in problem.parameters}
    assert set(found) == {"thickness", "spread", "tail", "tail_width"}
    assert found["spread"].value > 0.0
    assert found["spread"].low == found["tail"].low == 0.0  # they may yet turn out to be nothing
    assert found["tail"].high == 0.5
    assert found["spread"].spread == pytest.approx(6.0)  # 2 % of the thickness
    assert (found["tail_width"].expected, found["tail"].expected) == (6.0, 0.0)
    with pytest.raises(SettingError, match="electronic cannot be free without a model"):
        build_parameters(Crystal.named("Si"), problem.problems[0].base, ("electronic",), None)


# -- uncertainties ----------------------------------------------------------------------------------
def blotchy(area: int, side: int = 48) -> torch.Tensor:
    """Noise that is alike over squares of so many pixels a side: (4, pixel)."""
    coarse = np.random.default_rng(1).normal(size=(4, side // area, side // area))
    return torch.as_tensor(np.kron(coarse, np.ones((1, area, area))).reshape(4, -1))


def test_pixels_that_share_a_residual_count_as_one():
    target = make_target(torch.rand(4, 48, 48, dtype=torch.float64))
    assert correlated_pixels(target, blotchy(1)) == pytest.approx(1.0, abs=0.1)
    assert correlated_pixels(target, blotchy(4)) == pytest.approx(16.0, rel=0.35)
    assert unit_variance(target, blotchy(4)) == pytest.approx(16.0, rel=0.4)
    assert correlated_pixels(target, torch.zeros(4, 48**2)) == 1.0


@pytest.mark.parametrize(
    ("alike", "dim", "weights"),
    [(0.0, 1.0, "correlation"), (0.0, 0.1, "correlation"), (0.7, 1.0, "correlation"), (0.7, 1.0, "poisson")],
)
def test_uncertainties_are_what_estimates_scatter_by(alike, dim, weights):
    """Noise of each pixel, less of it where slopes are small, and a smooth fault of each image."""
    rng, images, side = np.random.default_rng(4), 10, 12
    x, size = np.linspace(0.0, 1.0, side**2), (images, side**2)
    J = np.stack([np.cos(k * np.pi * x + rng.uniform(0, 6, (images, 1))) for k in (1.0, 1.5, 2.6)])
    sigma = np.where(np.abs(J[0]) < 0.5, dim, 1.0)
    target = replace(make_target(torch.rand(images, side, side, dtype=torch.float64)), weights=weights)
    flat, errors, said = J.reshape(3, -1), [], []
    hat = np.linalg.inv(flat @ flat.T) @ flat
    for _ in range(150):
        waves = np.cos(rng.uniform(0, 9, (images, 1)) * x + rng.uniform(0, 6, (images, 1)))
        noise = sigma * rng.normal(size=size) + alike * rng.normal(size=(images, 1)) * waves
        step = hat @ noise.ravel()
        residual = np.einsum("p,pgn->gn", step, J) - noise
        errors.append(step)
        said.append(np.diag(covariance(evidence(target, torch.as_tensor(residual), torch.as_tensor(J)))))
    assert np.sqrt(np.mean(said, axis=0)) / np.std(errors, axis=0) == pytest.approx(np.ones(3), abs=0.2)
    assert 0.60 < np.mean(np.abs(errors) < np.sqrt(said)) < 0.76
    if not alike and dim == 1.0:  # noise alone: the covariance is that of the Jacobian
        plain = np.sqrt(np.diag(hat @ hat.T))
        assert np.sqrt(np.median(said, axis=0)) == pytest.approx(plain, rel=0.1)


def test_reflections_are_left_out_one_by_one():
    """Against a fit of a straight line that is done again without each of its groups."""
    rng = np.random.default_rng(2)
    J, truth = rng.normal(size=(2, 6, 100)), np.array([1.5, -0.5])
    noise = 0.1 * rng.normal(size=(6, 100)) + 0.3 * rng.normal(size=(6, 1))
    y = np.einsum("p,pgn->gn", truth, J) + noise
    values = np.linalg.lstsq(J.reshape(2, -1).T, y.ravel(), rcond=None)[0]
    residual = np.einsum("p,pgn->gn", values, J) - y
    target = make_target(torch.rand(6, 10, 10, dtype=torch.float64))
    said = evidence(target, torch.as_tensor(residual), torch.as_tensor(J))
    found = leave_one_out(said)
    for g in range(6):
        rest = np.arange(6) != g
        again = np.linalg.lstsq(J[:, rest].reshape(2, -1).T, y[rest].ravel(), rcond=None)[0]
        np.testing.assert_allclose(found[g], again - values, atol=1e-12)
    held = covariance(said, np.array([1e12, 0.0]))
    assert np.sqrt(held[0, 0]) == pytest.approx(1e-6, rel=0.1)
    faint = evidence(target, torch.as_tensor(residual), torch.as_tensor(np.stack([J[0], 1e-12 * J[1]])))
    held = covariance(faint, np.array([0.0, 4.0]))  # a prior that decides alone leaves the other what it was
    assert held[1, 1] == pytest.approx(0.25, rel=1e-6)
    assert held[0, 0] == pytest.approx(
        covariance(evidence(target, torch.as_tensor(residual), torch.as_tensor(J[:1])))[0, 0]
    )
    half = torch.as_tensor(np.stack([J[0], 0 * J[1]]))
    blind = covariance(evidence(target, torch.as_tensor(residual), half))
    assert np.isinf(blind[1, 1])
