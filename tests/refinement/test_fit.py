"""A fit finds what an experiment was made with, and says what does not go together."""

import json

import numpy as np
import pytest
import torch
from experiment_helpers import (
    BEAMS,
    GAAS,
    HALF_WIDTH,
    HKL,
    PIXELS,
    THICKNESS,
    ZONE,
    X,
    exact_stack,
    experiment_of,
)
from given_images import score

import lacbed
from lacbed.errors import FileFormatError, SettingError
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import pattern_to_images
from lacbed.patterns import compare_patterns, load_pattern
from lacbed.refinement.fit import check_crystal, fit
from lacbed.refinement.fit_report import check_folder, write_report
from lacbed.refinement.lattice_model import simulate_model
from lacbed.refinement.options import FitSettings, RefinementOptions
from lacbed.refinement.parameter import state_function
from lacbed.refinement.parameters import build_parameters
from lacbed.refinement.scan import local_minima
from lacbed.state import crystal_state

PIXEL = 2 * HALF_WIDTH / PIXELS
TILT = (0.4 * PIXEL, -0.7 * PIXEL)
SCALE = 0.985
SETTINGS = FitSettings(tuple(np.arange(380.0, 541.0, 20.0)), beams=BEAMS, blur=0.3)


@pytest.fixture(scope="module")
def experiment():
    """Poisson noise, and a half-width and a centre that are not those stated."""
    return experiment_of(exact_stack(SCALE * HALF_WIDTH, TILT), counts=5e3)


@pytest.fixture(scope="module")
def result(experiment):
    return fit(experiment, GAAS, SETTINGS)


def test_thickness_and_geometry_are_found(result):
    assert result.thickness == pytest.approx(THICKNESS, abs=4)
    assert result.placement.scale == pytest.approx(SCALE, abs=2e-3)
    assert result.placement.tilt == pytest.approx(TILT, abs=0.05 * PIXEL)
    assert abs(result.placement.rotation) < 2e-3
    assert result.placement.blur == pytest.approx(12**-0.5, abs=0.12)  # the average over a pixel alone
    assert result.experiment.half_width == pytest.approx(SCALE * HALF_WIDTH, rel=2e-3)


def test_images_of_many_pixels_are_searched_in_large_ones(experiment, result, monkeypatch):
    monkeypatch.setattr("lacbed.refinement.fit.SMALL", PIXELS // 2)
    coarse = fit(experiment, GAAS, SETTINGS)
    assert coarse.thickness == pytest.approx(result.thickness, abs=4)
    assert coarse.placement.scale == pytest.approx(result.placement.scale, abs=1e-3)
    assert coarse.merits.mean_z == pytest.approx(result.merits.mean_z, rel=0.02)


def test_minima_of_a_scan_come_deepest_first():
    assert local_minima(np.array([3.0, 2.0, 4.0, 1.0, 1.0, 5.0, 0.5])) == [6, 4, 1]
    assert local_minima(np.array([0.3])) == [0]


def test_merits_are_ordered(result):
    merits = result.merits
    assert merits.mean_z_aligned <= merits.mean_z < 0.01 < result.stated.mean_z
    assert len(result.scan) == len(SETTINGS.thicknesses)
    assert result.warnings == ()


def test_what_it_leaves_is_what_it_says(result, tmp_path):
    files = write_report(result, tmp_path / "fit")
    assert files == [
        "experiment.nc",
        "fit.json",
        "montage.png",
        "report.html",
        "report.md",
        "scan.png",
        "simulation.nc",
        "table.csv",
    ]
    found = json.loads((tmp_path / "fit" / "fit.json").read_text())
    assert found["mean_Z"] == pytest.approx(result.merits.mean_z)
    assert found["thickness"] == result.thickness
    measured, simulated = (load_pattern(tmp_path / "fit" / f"{n}.nc") for n in ("experiment", "simulation"))
    z = compare_patterns(measured, simulated)["Z"].values[0]
    np.testing.assert_allclose(z, result.merits.z, atol=1e-3)  # the rotation is not in the labels
    assert len((tmp_path / "fit" / "table.csv").read_text().splitlines()) == 1 + len(result.merits.labels)
    assert "| 0 0 2 |" in (tmp_path / "fit" / "report.md").read_text()
    page = (tmp_path / "fit" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    write_report(result, tmp_path / "fit")  # an earlier fit is replaced


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileFormatError, match="not a fit written by lacbed"):
        check_folder(tmp_path)
    with pytest.raises(FileFormatError, match="it is a file"):
        check_folder(tmp_path / "mine.txt")
    with pytest.raises(FileFormatError, match="no such folder"):
        check_folder(tmp_path / "a" / "b")


def test_scores_of_stacks_and_samplers_agree(experiment, result):
    images = result.simulation.values[0]
    merits = score(result.experiment, images, FitSettings(align="none"))
    np.testing.assert_allclose(merits.z, result.merits.z, atol=1e-3)


def test_a_crystal_in_another_setting_is_refused(experiment):
    primitive = lacbed.Crystal.named("CsCl")
    assert check_crystal(experiment, primitive).is_flat  # a primitive cubic crystal shows all of them
    iron = lacbed.Crystal.named("Fe")  # body-centred
    with pytest.raises(SettingError, match="different cell or setting"):
        check_crystal(experiment, iron)


def test_what_does_not_fit_is_named(experiment):
    settings = FitSettings((100.0, 120.0), beams=60, free=(), align="none")
    warnings = " ".join(fit(experiment, GAAS, settings).warnings)
    assert "end of the scan" in warnings
    turned = experiment.turned("+x-y")
    warnings = " ".join(fit(turned, GAAS, settings).warnings)
    assert "-x+y fits better" in warnings
    assert "no thickness fits" in warnings


def test_a_poor_fit_is_said_to_be_one(experiment):
    elsewhere = FitSettings((800.0, 900.0, 1000.0), absorption=None, beams=BEAMS)
    found = fit(experiment, GAAS, elsewhere)
    assert any("the fit is poor" in w and "absorption" in w for w in found.warnings)


def test_a_half_width_that_is_far_off_is_found_and_said(experiment):
    wrong = experiment.on_grid(1.25 * HALF_WIDTH)
    found = fit(wrong, GAAS, FitSettings((440.0, 460.0, 480.0), beams=60, blur=0.3))
    assert found.experiment.half_width == pytest.approx(SCALE * HALF_WIDTH, rel=0.005)
    assert found.stated_half_width == pytest.approx(1.25 * HALF_WIDTH)
    assert found.merits.mean_z < 0.02
    assert found.stated.mean_z > 0.2
    assert "contradict the stated half-width" in " ".join(found.warnings)
    assert "starts from the half-width of the Bragg lines" in " ".join(found.warnings)


def test_images_without_contrast_are_left_out_by_name(experiment):
    images = experiment.images.copy()
    images[3] = 12.0
    odd = experiment_of(images).select(experiment.hkl[:5])
    result = fit(odd, GAAS, FitSettings((440.0, 460.0, 480.0), beams=60, free=("blur",), align="none"))
    assert result.thickness == pytest.approx(THICKNESS, abs=10)
    assert np.isfinite(result.scan).all()
    assert result.merits.matches[3] is None
    assert np.isfinite(result.merits.mean_z)
    assert any("1,1,1" in w and "without contrast" in w for w in result.warnings)


@pytest.mark.parametrize(
    "options",
    [
        {"free": ("focus",)},
        {"blur": 0.0},
        {"blur": float("nan")},
        {"align": "best"},
        {"max_shift": 0},
        {"max_shift": np.nan},
        {"background": "curved"},
    ],
)
def test_impossible_settings(options):
    with pytest.raises(SettingError):
        FitSettings(**options)


@pytest.mark.slow
def test_the_warwick_experiment(reference_folder):
    """A quick look at the smallest measured stack: far below the 0.185 and 0.141 of Felix-python."""
    from lacbed.experiment.folder import load_experiment

    folder = reference_folder / "experiment" / "Ge98Sn2_76"
    few = load_experiment(folder).select([(0, 0, 0), (0, 0, 2), (1, 1, 1), (2, 2, 0), (1, 1, 3)])
    crystal = lacbed.Crystal.from_cif(folder / "crystal.cif")
    found = fit(few, crystal, FitSettings((1320.0, 1340.0, 1360.0, 1380.0, 1400.0), beams=60))
    assert found.thickness == pytest.approx(1356, abs=15)
    assert found.merits.mean_z_aligned < found.merits.mean_z < 0.09
    assert found.bragg.warnings(few) == []


def test_a_tilted_foil_is_fitted():
    """What refinement cannot model is fitted by the same objective over the general simulator."""
    normal = (-1.0, 1.0, 0.12)
    stack = exact_stack(foil_normal=normal)
    geometry = Geometry(200e3, ZONE, X, HALF_WIDTH, "-x+y", foil_normal=normal)
    tilted = make_experiment(pattern_to_images(stack, "-x+y"), HKL, geometry, crystal=GAAS, name="tilted")
    settings = FitSettings((430.0, 460.0, 490.0), beams=BEAMS, blur=0.3, free=("half_width", "tilt"))
    found = fit(tilted, GAAS, settings)
    assert found.thickness == pytest.approx(THICKNESS, abs=2)
    assert found.merits.mean_z < 2e-3
    assert found.placement.tilt == pytest.approx((0.0, 0.0), abs=0.05 * PIXEL)


def test_affine_moves_robust_weights_and_a_plane_are_options_of_the_fit(experiment):
    images = experiment.images.copy()
    images += 40.0 * np.arange(PIXELS)
    images[2, 5:7, 5:7] = 1e6
    spoiled = experiment_of(images).select(HKL[:4])
    how = {"thicknesses": (THICKNESS,), "beams": 60, "free": (), "blur": 0.3}
    plain = fit(spoiled, GAAS, FitSettings(**how)).merits
    better = fit(spoiled, GAAS, FitSettings(**how, align="affine", background="plane", robust=True)).merits
    assert better.mean_z_weighted < 0.3 * plain.mean_z_aligned
    assert better.table()[0]["slope_x"] == pytest.approx(40.0, rel=0.1)
    assert abs(better.table()[0]["slope_y"]) < 4.0


def test_old_spellings_of_the_options_are_refused_with_the_new_ones():
    for value, new in ((True, "'shift'"), (False, "'none'")):
        with pytest.raises(SettingError, match=f"{value} is now {new}"):
            RefinementOptions(align=value)


def test_slopes_of_the_lattice_model_are_those_of_its_images(experiment):
    """Thickness, geometry and blur against finite differences, images moved and not."""
    frame = experiment.frame(GAAS)
    model = simulate_model(experiment, GAAS, SETTINGS, (440.0, 450.0, 460.0, 470.0, 480.0), 0.8, frame)
    base = crystal_state(GAAS, 200e3, HALF_WIDTH, tilt=TILT, thickness=463.0, blur=0.6)
    parameters = build_parameters(GAAS, base, ("thickness", "half_width", "tilt", "rotation", "shear", "blur"))
    state_of, values = state_function(base, parameters), torch.tensor([p.value for p in parameters])
    values = values.double()
    rng = np.random.default_rng(0)
    for size in (0, 2, 6):
        moves = torch.as_tensor(rng.normal(0, 0.02, (len(HKL), size))) if size else None
        _, slopes, by_move = model.jacobian(state_of, values, moves)
        for i, p in enumerate(parameters):
            step = torch.zeros(len(values)).double()
            step[i] = 1e-4 * (p.high - p.low)
            ends = [model.read(state_of(values + sign * step), moves)[0] for sign in (1, -1)]
            expected = (ends[0] - ends[1]) / (2 * float(step[i]))
            assert float((slopes[i] - expected).abs().max()) < 1e-3 * float(expected.abs().max()), p.name
        if moves is None:
            continue
        for i in range(size):
            step = torch.zeros_like(moves)
            step[:, i] = 1e-4
            ends = [model.read(state_of(values), moves + sign * step)[0] for sign in (1, -1)]
            expected = (ends[0] - ends[1]) / 2e-4
            assert float((by_move[i] - expected).abs().max()) < 1e-3 * float(expected.abs().max())
