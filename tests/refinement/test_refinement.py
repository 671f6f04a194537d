"""Refinement: what symmetry leaves free, truth found again, bad input refused."""

import json
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch

from lacbed import Crystal, Site, TiltGrid, simulate
from lacbed.errors import FileFormatError, SettingError
from lacbed.geometry.frame import make_frame
from lacbed.patterns.metrics import zncc_loss
from lacbed.potential import symmetric_change
from lacbed.refinement.constraints import (
    cell_directions,
    displacement_directions,
    isotropic_displacement,
    position_directions,
)
from lacbed.refinement.files import STATE, fingerprint, load_progress, save_progress
from lacbed.refinement.model import BlochModel
from lacbed.refinement.objective import compare, explain, make_target, residual_of, reweighted, z_of
from lacbed.refinement.options import Progress, RefinementOptions, Start
from lacbed.refinement.parameter import state_function
from lacbed.refinement.parameters import build_parameters, split_names
from lacbed.refinement.problem import Measured, usable, weights_of
from lacbed.refinement.refine import refine
from lacbed.refinement.report import refined_cif, summary
from lacbed.refinement.result import Refinement
from lacbed.refinement.structure import coefficients, make_structure
from lacbed.refinement.uncertainties import (
    Evidence,
    correlations,
    covariance,
    evidence,
    response,
    standard_uncertainties,
    with_uncertainty,
)
from lacbed.report import check_resumable
from lacbed.state import crystal_state

HKL = ((0, 0, 0), (1, -1, 1), (1, -1, -1), (0, 0, 2))


# -- symmetry ---------------------------------------------------------------------------------------
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


# -- names ------------------------------------------------------------------------------------------
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


# -- objective --------------------------------------------------------------------------------------
@cache
def truth(shift: float) -> np.ndarray:
    grid = TiltGrid(20, k_max=0.33, center=(shift, 0.0))
    return simulate(Crystal.named("GaAs"), (1, 1, 0), 200e3, (640.0,), grid, HKL, beams=50).values[0]


def measured(dose: float | None = None, seed: int = 0, shift: float = 0.0) -> tuple[Crystal, Measured, float]:
    """GaAs along [110], computed by `simulate` with as many beams as the fit has; 20 x 20 pixels.

    With fewer beams in the fit, values move by more than their uncertainties (B by 8 % for 80 of 140 beams).
    """
    crystal, thickness, half = Crystal.named("GaAs"), 640.0, 0.33
    frame = make_frame(crystal, (1, 1, 0))
    images = truth(shift).copy()
    if dose is not None:
        images = np.random.default_rng(seed).poisson(dose * images).astype(float)
    return crystal, Measured(images, HKL, frame, 200e3, half), thickness


FAST = {"beams": 50, "absorption": None, "blur": 0.05, "starts": 1, "steps": 6}


@dataclass(frozen=True)
class Finished:
    """A refinement from a wrong start: the true crystal, the first one, the data, and what came out."""

    crystal: Crystal
    first: Crystal
    data: Measured
    thickness: float
    options: RefinementOptions
    saved: list[Progress]
    result: Refinement


@pytest.fixture(scope="module")
def finished() -> Finished:
    crystal, data, thickness = measured(1e3, shift=0.004)
    sites = tuple(replace(s, u_iso=1.2 * s.u_iso) for s in crystal.sites)
    first = replace(crystal, sites=sites)
    options = RefinementOptions(
        ("thickness", "half_width", "tilt", "B"),
        (560.0, 600.0, 660.0, 700.0),
        align="none",
        weights="poisson",
        common_scale=True,
        **FAST,
    )
    saved: list[Progress] = []
    wrong = replace(data, half_width=0.331)
    result = refine(wrong, first, options, on_checkpoint=saved.append)
    return Finished(crystal, first, wrong, thickness, options, saved, result)


def test_truth_is_found_again(finished):
    crystal, thickness, result = finished.crystal, finished.thickness, finished.result
    values = dict(zip((p.name for p in result.parameters), result.values, strict=True))
    assert abs(values["thickness"] - thickness) < 2.0
    assert abs(values["tilt_x"] - 0.004) < 5e-4
    assert abs(values["half_width"] - 0.33) < 1e-3
    for site, name in zip(crystal.sites, ("B:Ga1", "B:As2"), strict=True):
        assert abs(values[name] / site.b_iso - 1.0) < 0.05
    chi_square = result.fit.cost / result.fit.residual.numel()
    assert 0.8 < chi_square < 1.25


def test_uncertainties_are_of_the_size_of_the_errors(finished):
    crystal, result = finished.crystal, finished.result
    truth = {"thickness": 640.0, "B:Ga1": crystal.sites[0].b_iso, "B:As2": crystal.sites[1].b_iso}
    bias = result.bias  # by beams that the truth has no more than the fit
    su = standard_uncertainties(result.covariance - np.outer(bias, bias))
    for p, value, s in zip(result.parameters, result.values, su, strict=True):
        if p.name in truth:
            assert 0.0 < s < 0.05 * value
            assert abs(value - truth[p.name]) < 5.0 * s
    matrix = correlations(result.covariance)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert np.abs(matrix).max() <= 1.0 + 1e-9


def test_resume_goes_on_where_it_stopped(finished):
    again = refine(finished.data, finished.first, finished.options, resume=finished.saved[-1])
    np.testing.assert_allclose(again.values, finished.result.values, rtol=1e-9)


def test_cif_and_numbers(finished):
    crystal, first, result = finished.crystal, finished.first, finished.result
    text = refined_cif(first, result)
    assert "(" in text.split("_atom_site_")[-1]
    back = Crystal.from_cif_text(text)
    assert back.sites[0].u_iso == pytest.approx(float(result.state.u[0, 0]), rel=2e-2)
    assert len(back.atoms) == len(crystal.atoms)
    numbers = summary(result, finished.options)
    assert {"mean_Z_aligned", "mean_Z", "thickness", "free", "correlation"} <= set(numbers)
    assert set(numbers["free"]["thickness"]) >= {"value", "uncertainty"}
    json.dumps(numbers)


def test_lbfgs_finds_it_too_and_images_are_aligned():
    crystal, data, thickness = measured()
    images = data.images.copy()
    images[1] = np.roll(images[1], 1, axis=1)  # one pixel along x
    options = RefinementOptions(("thickness",), (630.0,), method="lbfgs", **FAST)
    result = refine(replace(data, images=images), crystal, options)
    assert abs(result.values[0] - thickness) < 2.0
    np.testing.assert_allclose(result.shifts[1], [1.0, 0.0], atol=0.15)
    np.testing.assert_allclose(result.shifts[[0, 2, 3]], 0.0, atol=0.05)
    target = make_target(torch.as_tensor(images))
    aligned, plain = z_of(result.fit_aligned.images, target), z_of(result.fit.images, target)
    assert float(aligned[1]) < 0.5 * float(plain[1])


def test_affine_moves_and_a_plane_are_options_of_the_refinement():
    crystal, data, thickness = measured()
    images = data.images + 0.01 * np.arange(20)
    images[1] = np.roll(images[1], 1, axis=0)  # one pixel along y
    options = RefinementOptions(
        ("thickness",), (635.0,), align="affine", background="plane", **FAST | {"steps": 3}
    )
    result = refine(replace(data, images=images), crystal, options)
    assert abs(result.values[0] - thickness) < 2.0
    assert result.moves.shape == (4, 6)
    np.testing.assert_allclose(result.shifts[1], [0.0, 1.0], atol=0.15)
    np.testing.assert_allclose(result.fit_aligned.tilted.numpy(), [[0.01, 0.0]] * 4, atol=1e-3)
    assert float(np.abs(result.moves[[0, 2, 3]]).max()) < 0.05


def test_residual_is_what_correlation_leaves(finished):
    result = finished.result
    generator = torch.Generator().manual_seed(4)
    model = torch.rand(3, 8, 8, dtype=torch.float64, generator=generator)
    noise = torch.rand(3, 8, 8, dtype=torch.float64, generator=generator)
    target = make_target(5.0 * model + noise + 2.0)
    left = torch.square(residual_of(target, model)).sum(dim=1)
    rho = 1.0 - zncc_loss(model, target.images)
    torch.testing.assert_close(left, 1.0 - rho**2)
    fit = compare(
        BlochModel(result.plan),
        make_target(torch.as_tensor(result.measured.images)),
        lambda _: result.state,
        torch.zeros(0, dtype=torch.float64),
    )
    again = residual_of(make_target(torch.as_tensor(result.measured.images)), fit.images)
    torch.testing.assert_close(torch.square(fit.residual).sum(), torch.square(again).sum())


def test_robust_weights_leave_a_speck_out(finished):
    result = finished.result
    images = result.measured.images.copy()
    images[1, 4:7, 9:12] = 3.0 * images[1].max()
    target = make_target(torch.as_tensor(images))
    fit = compare(BlochModel(result.plan), target, lambda _: result.state, torch.zeros(0, dtype=torch.float64))
    ratio = reweighted(target, fit, robust=True).root / target.root
    assert float(ratio[1, 4:7, 9:12].max()) < 0.1
    assert float(ratio[0].median()) > 0.9
    assert bool((reweighted(target, fit).root == target.root).all())


def test_response_is_the_step_of_gauss_newton():
    slopes = torch.randn(3, 2, 49, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = torch.tensor([0.3, -2.0, 1e-4], dtype=torch.float64)
    change = -torch.einsum("p,pgn->gn", step, slopes)
    target = make_target(torch.rand(2, 7, 7, dtype=torch.float64))
    scores = torch.einsum("pgn,gn->p", slopes, change).numpy()
    np.testing.assert_allclose(response(evidence(target, change, slopes), scores), step.numpy(), rtol=1e-9)


def test_sandwich_of_equal_reflections_is_zero_and_of_noise_is_not():
    slopes = torch.randn(1, 6, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = make_target(torch.rand(6, 5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    noise = torch.randn(6, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert float(covariance(evidence(target, 0.0 * noise, slopes))[0, 0]) == 0.0
    found = float(covariance(evidence(target, noise, slopes))[0, 0])
    assert found == pytest.approx(1.0 / float(torch.square(slopes).sum()), rel=2.0)


# -- bad input --------------------------------------------------------------------------------------
def test_what_cannot_be_seen_is_refused_or_left_out():
    quartz = Crystal.named("SiO2")
    frame = make_frame(quartz, (0, 0, 1))
    images = np.random.default_rng(0).random((1, 6, 6))
    data = Measured(images, ((0, 0, 0),), frame, 200e3, 0.15)
    options = RefinementOptions(("x:O2",), (300.0,), **(FAST | {"beams": 30}))
    with pytest.raises(SettingError, match="z:O2 cannot be free"):
        refine(data, quartz, options)


def test_images_without_contrast():
    _, data, _ = measured()
    dark = data.images.copy()
    dark[2] = 7.0
    kept, notes = usable(replace(data, images=dark))
    assert len(kept.hkl) == 3
    assert "1,-1,-1" in notes[0]
    with pytest.raises(SettingError, match="contrast"):
        usable(replace(data, images=np.zeros_like(dark)))


def test_reflections_of_another_zone():
    crystal, data, _ = measured()
    with pytest.raises(SettingError, match="Laue zone"):
        refine(replace(data, hkl=(*HKL[:3], (2, 0, 0))), crystal, RefinementOptions(**FAST))


def test_folder_and_state(tmp_path):
    crystal, data, _ = measured()
    mark = fingerprint(data, crystal, RefinementOptions())
    assert mark != fingerprint(data, crystal, RefinementOptions(free=("thickness",)))
    assert mark == fingerprint([data], crystal, RefinementOptions(profile="thickness"))  # one can be added
    assert mark != fingerprint([data, data], crystal, RefinementOptions())
    folder = tmp_path / "new"
    with pytest.raises(FileFormatError, match="resume"):
        check_resumable(folder, "refinement", STATE, True)
    check_resumable(folder, "refinement", STATE, False)
    progress = Progress(
        2,
        np.array([1.0, 2.0]),
        (Start(300.0, 0.7, 90, np.ones((4, 2)), np.array([[300.0, 0.5]])),),
        (("x", 0.1),),
        ("odd",),
    )
    save_progress(folder, progress, mark)
    back = load_progress(folder, mark)
    assert back.stage == 2
    assert (back.history, back.notes) == (progress.history, progress.notes)
    (start,), (first,) = back.starts, progress.starts
    assert (start.thickness, start.blur, start.beams) == (300.0, 0.7, 90)
    np.testing.assert_array_equal(start.moves, first.moves)
    second = replace(first, thickness=500.0, moves=np.full((3, 6), 0.01))
    save_progress(folder, replace(progress, starts=(first, second)), mark)
    there = load_progress(folder, mark).starts
    assert [s.thickness for s in there] == [300.0, 500.0]
    assert there[1].moves.shape == (3, 6)
    with pytest.raises(FileFormatError, match="another experiment"):
        load_progress(folder, "other")
    with pytest.raises(FileFormatError, match="not empty"):
        check_resumable(folder, "refinement", STATE, False)
    (folder / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileFormatError, match="damaged"):
        load_progress(folder, mark)


def test_the_fingerprint_is_that_of_the_numbers_and_not_of_a_cif(monkeypatch):
    crystal, data, _ = measured()
    mark = fingerprint(data, crystal, RefinementOptions())
    monkeypatch.setattr(type(crystal), "to_cif", lambda self: "another way to write it")
    again = replace(crystal, name="x", notes=("read otherwise",), source="elsewhere")
    assert fingerprint(data, again, RefinementOptions()) == mark
    first = crystal.sites[0]
    for changed in (
        replace(crystal, cell=(crystal.cell[0] * 1.001,) * 3 + crystal.cell[3:]),
        replace(crystal, sites=(replace(first, occupancy=0.9), *crystal.sites[1:])),
        replace(crystal, sites=(replace(first, u_iso=0.011), *crystal.sites[1:])),
        crystal.with_b_iso(0.7),
    ):
        assert fingerprint(data, changed, RefinementOptions()) != mark


@pytest.mark.parametrize(
    ("value", "su", "text"),
    [
        (0.58541, 0.0123, "0.585(12)"),
        (984.31, 1.2, "984.3(12)"),
        (984.31, 34.0, "980(30)"),
        (1.5, 0.0, "1.5"),
        (0.66312, 0.0005, "0.6631(5)"),
        (2.0, np.inf, "2"),
        (-0.0001, 0.003, "0.000(3)"),
    ],
)
def test_uncertainty_in_parentheses(value, su, text):
    assert with_uncertainty(value, su) == text


def test_what_the_images_do_not_decide_is_held_fast_for_the_others():
    slopes = np.random.default_rng(0).normal(size=(3, 40, 3))
    slopes[:, :, 2] = 1e-9 * (slopes[:, :, 0] + slopes[:, :, 2])  # a blur of nearly 0, next to nothing
    own = slopes.transpose(0, 2, 1) @ slopes
    found = Evidence(own, np.zeros((3, 3)), own, 1.0)
    held = covariance(found.without(np.array([False, False, True])))
    two = covariance(replace(found, own=own[:, :2, :2], scores=found.scores[:, :2], noise=own[:, :2, :2]))
    np.testing.assert_allclose(held[:2, :2], two)
    assert np.isinf(held[2, 2])
    assert covariance(found)[0, 0] > 1.2 * held[0, 0]


def test_a_slope_that_is_nothing_but_underflow_is_no_slope():
    slopes = np.random.default_rng(0).normal(size=(3, 40, 3))
    slopes[:, :, 2] *= 1e-155
    own, scores = slopes.transpose(0, 2, 1) @ slopes, slopes.sum(axis=1)
    found = covariance(Evidence(own, scores, own, 1.0))
    assert np.isinf(found[2, 2])
    assert np.isfinite(found[:2, :2]).all()


def test_the_variance_of_pixels_weights_them():
    """Pixels that are said to be bad do no harm, binning keeps the variance, and it must be there if asked for."""
    _, data, _ = measured()
    counts = 2e3 * data.images
    images = np.random.default_rng(3).normal(counts, np.sqrt(counts + 1.0))
    noise = counts + 1.0
    images[:, 5:9] += 3e3
    noise[:, 5:9] = 1e12
    images[1, 0, 0] = np.nan
    bad = replace(data, images=images, variance=noise)
    options = RefinementOptions()
    target = make_target(torch.as_tensor(images), "variance", variance=torch.as_tensor(noise))
    fit = explain(target, torch.as_tensor(data.images))
    assert fit.cost / 1280 == pytest.approx(1.0, abs=0.15)  # four of each five rows count
    np.testing.assert_allclose(fit.scale.numpy(), 2e3, rtol=0.02)
    assert float(target.root[1, 0, 0]) == 0.0
    assert weights_of(bad, options) == "variance"
    assert weights_of(data, options) == "correlation"
    wide = replace(data, images=np.ones((1, 88, 88)), variance=np.full((1, 88, 88), 4.0))
    np.testing.assert_allclose(wide.binned().variance, 1.0)
    with pytest.raises(SettingError, match="need an experiment with the variance"):
        weights_of(data, replace(options, weights="variance"))
