"""Evaluation: baselines, metrics, warning, report, learning curve."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from synthetic import SyntheticData, small_config

from lacbed.errors import FileFormatError, SettingError
from lacbed.learn import baselines, data, trust
from lacbed.learn.checkpoint import load_model
from lacbed.learn.config import config_from_dict
from lacbed.learn.evaluate import Evaluation, calibration, evaluate, groups, speed_of
from lacbed.learn.learning_curve import POSTER_CRYSTALS, POSTER_Z, fit_power_law, learning_curve
from lacbed.learn.losses import summary
from lacbed.learn.report import check_folder, write_report
from lacbed.learn.symmetry import symmetrise


def _batch(source, *positions):
    return data.collate([source[i] for i in positions])


def test_neighbour_of_a_training_crystal_is_itself():
    source = SyntheticData(8)
    reference = baselines.make_reference(source)
    answers = baselines.predict_baselines(reference, _batch(source, 5, 2))
    assert tuple(answers) == baselines.NAMES
    for name in baselines.NAMES[1:]:
        assert torch.equal(answers[name], _batch(source, 5, 2)["pattern"])


def test_mean_pattern_and_thickness_of_the_neighbour():
    source = SyntheticData(4)
    reference = baselines.make_reference(source, np.array([1, 2]))
    both = _batch(source, 1, 2)
    mean = baselines.predict_baselines(reference, both)["mean pattern"][0, 0]
    assert torch.allclose(mean, both["pattern"].mean(dim=(0, 1)), atol=1e-6)
    asked = {**_batch(source, 1), "thickness": torch.tensor([[590.0, 310.0]])}
    found = baselines.predict_baselines(reference, asked)["nearest neighbour"]
    assert torch.equal(found, both["pattern"][:1].flip(1))


def test_the_lattice_parameter_tells_equal_potentials_apart():
    source = SyntheticData(3)
    source.items.append({**source.items[0], "lattice_parameter": source.items[0]["lattice_parameter"] * 1.5})
    reference = baselines.make_reference(source)
    squared = baselines.distances(reference, _batch(source, 3), with_lattice=True)[0]
    assert int(squared.argmin()) == 3
    assert float(squared[0]) > 0
    assert float(baselines.distances(reference, _batch(source, 3), with_lattice=False)[0, 0]) < 1e-5


def test_low_passed_distance_is_that_of_the_images():
    batch = _batch(SyntheticData(2), 0, 1)
    smooth = batch["potential"] - torch.nn.functional.avg_pool2d(batch["potential"], 1)  # zero
    assert float(smooth.abs().max()) == 0
    small = baselines.shrink(batch["potential"])
    exact = (batch["potential"][0] - batch["potential"][1]).square().mean().sqrt()
    assert float((small[0] - small[1]).norm()) == pytest.approx(float(exact), rel=1e-3)


def test_summary():
    z = np.array([0.001, 0.02, 0.06, 0.5])
    found = summary({"z": z, "relative_l2": z, "max_difference": z})
    assert found["below_5_percent"] == 0.5
    assert found["below_1_percent"] == 0.25
    assert found["z_median"] == pytest.approx(0.04)
    assert (found["z_min"], found["z_max"]) == (0.001, 0.5)


def test_descriptor_is_blind_to_origin_and_orientation():
    batch = _batch(SyntheticData(2), 0, 1)
    moved = data.augment(batch, seed=1, step=2)
    assert not torch.equal(moved["potential"], batch["potential"])
    assert torch.allclose(trust.descriptor(batch), trust.descriptor(moved), atol=1e-3)


def test_training_rows_are_at_no_distance_and_others_are():
    source = SyntheticData(6)
    table = trust.descriptor_table(source, np.arange(6))
    assert float(trust.training_distances(_batch(source, 0, 4), table)[0].max()) < 5e-3  # half precision
    strange = _batch(source, 0)
    strange["potential"] = 20 * strange["potential"]
    assert float(trust.training_distances(strange, table)[0].min()) > 0.3


def test_asymmetry_is_zero_for_what_has_the_symmetry():
    batch = _batch(SyntheticData(3), 0)
    noise = torch.rand(*batch["thickness"].shape, 16, 16, generator=torch.Generator().manual_seed(1))
    assert float(trust.asymmetry(symmetrise(noise, batch["symmetry"]), batch["symmetry"]).max()) < 1e-6
    assert float(trust.asymmetry(noise, batch["symmetry"]).min()) > 0.05


def test_signs_that_a_model_has_not_are_zero():
    source = SyntheticData(6)
    batch, table = _batch(source, 0, 4), trust.descriptor_table(source, np.arange(6))
    pattern = torch.rand(*batch["thickness"].shape, 16, 16, generator=torch.Generator().manual_seed(1))
    found = trust.signs_of(batch, {"pattern": pattern}, table)
    assert tuple(found) == trust.SIGNS
    assert all(values.shape == batch["thickness"].shape for values in found.values())
    assert float(found["expected_z"].abs().max()) == float(found["spread"].abs().max()) == 0
    assert bool((found["nearby"] >= found["distance"]).all())
    latent = {"pattern": pattern, "logvar": torch.full((len(pattern), 12), 2 * math.log(0.3))}
    spread = trust.signs_of(batch, latent, table, ["spread"])["spread"]
    np.testing.assert_allclose(spread.numpy(), 0.3, rtol=1e-6)


def test_a_warning_saved_before_there_were_other_signs_still_works():
    old = {"coefficients": [0.0, 1.0, 0.5], "threshold": -1.0}
    rows = {"distance": np.array([[0.1, 0.9]]), "expected_z": np.array([[1e-2, 1.0]]), "nearby": np.zeros((1, 2))}
    assert trust.signs_needed(old) == ("distance", "expected_z")
    assert trust.is_flagged(old, rows).tolist() == [[False, True]]


def test_expected_z_is_z_for_noise_of_that_size():
    generator = torch.Generator().manual_seed(0)
    from lacbed.patterns.metrics import zncc_loss

    pattern = torch.rand(1, 1, 256, 256, generator=generator)
    noisy = pattern + 0.02 * torch.randn(pattern.shape, generator=generator)
    expected = trust.expected_z(pattern, torch.full((1, 1, 1, 1), math.log(0.02)))
    assert float(expected) == pytest.approx(float(zncc_loss(noisy, pattern)), rel=0.05)


def test_a_warning_that_can_work_does():
    """Z that grows with distance and expected Z, with scatter; judged on rows that it was not fitted to."""
    rng = np.random.default_rng(0)
    distance, expected = rng.lognormal(-2, 1, 4000), rng.lognormal(-5, 1, 4000)
    z = np.minimum(3 * distance * expected**0.5 * rng.lognormal(0, 0.3, 4000), 2)
    seen = {"distance": distance[:2000], "expected_z": expected[:2000], "spread": np.zeros(2000)}
    rest = {"distance": distance[2000:], "expected_z": expected[2000:]}
    fitted = trust.fit_warning(z[:2000], seen)
    assert fitted["signs"] == ["distance", "expected_z"]  # the third does not vary
    verdict = trust.judge(z[2000:], trust.is_flagged(fitted, rest))
    assert verdict["caught"] > 0.9
    assert verdict["flagged_of_others"] < 0.15
    assert json.loads(json.dumps(fitted)) == fitted
    predicted = trust.predicted_z(fitted, rest)
    assert abs(np.median(np.log(predicted / z[2000:]))) < 0.1


def test_a_useless_signal_flags_no_more_than_allowed():
    rng = np.random.default_rng(1)
    z = rng.lognormal(-3, 1.5, 2000)
    fitted = trust.fit_warning(z, {"distance": rng.lognormal(0, 1, 2000)})
    assert fitted["flagged_of_others"] <= trust.MOST_FLAGGED + 0.001


def test_all_good_rows_give_a_threshold_too():
    z = np.full(50, 1e-4)
    fitted = trust.fit_warning(z, {"distance": np.linspace(0.1, 1, 50)})
    assert fitted["caught"] is None
    assert fitted["flagged_of_others"] == 0


@pytest.fixture(scope="module")
def evaluation(trained):
    loaded = load_model(trained)
    return evaluate(loaded, SyntheticData(7, 200), SyntheticData(12)), loaded


def test_rows_of_an_evaluation(evaluation):
    found, loaded = evaluation
    assert {len(column) for column in found.columns.values()} == {14}
    test = SyntheticData(7, 200)
    with torch.inference_mode():
        pattern = loaded.model(_batch(test, 4))["pattern"]
    from lacbed.patterns.metrics import zncc_loss

    expected = zncc_loss(pattern, _batch(test, 4)["pattern"])[0]
    rows = found.columns["position"] == 4
    assert np.allclose(found.columns["model z"][rows], expected.numpy(), rtol=1e-3, atol=1e-7)
    assert found.columns["thickness"][rows].tolist() == [300.0, 600.0]
    assert found.speed["milliseconds_per_pattern"] > 0
    assert found.speed["batches"] == 1
    bins = calibration(found, 3)
    assert sum(b["patterns"] for b in bins) == 14


def test_speed_is_the_median_and_the_mean_of_the_batches():
    speed = speed_of(np.array([0.002, 0.001, 0.033]), torch.device("cpu"))
    assert speed["milliseconds_per_pattern"] == pytest.approx(2.0)
    assert speed["mean_milliseconds_per_pattern"] == pytest.approx(12.0)
    assert speed["batches"] == 3


def test_groups():
    rows = {
        "thickness": np.array([150.0, 600.0, 700.0, 2000.0]),
        "space_group": np.array([225, 225, 221, 216]),
        "atoms": np.array([4.0, 8, 5, 200]),
    }
    made = Evaluation(rows, ("model",), {}, {})
    assert [label for label, _ in groups(made, "thickness")] == ["150 Å", "600 Å", "700 Å", "2000 Å"]
    assert [(label, int(m.sum())) for label, m in groups(made, "thickness", at_most=3)] == [
        ("below 200 Å", 1),
        ("600 to below 800 Å", 2),
        ("2000 Å and more", 1),
    ]
    assert [label for label, _ in groups(made, "space_group", at_most=1)] == ["225", "2 others"]
    assert [label for label, _ in groups(made, "atoms")] == ["up to 4", "5 to 8", "129 and more"]


def test_report(evaluation, tmp_path):
    found, loaded = evaluation
    folder = tmp_path / "report"
    result = write_report(found, loaded, SyntheticData(7, 200), folder, "A & B", ["A note."])
    assert sorted(p.name for p in folder.iterdir()) == [
        "examples.png",
        "report.html",
        "report.md",
        "rows.parquet",
        "scatter.png",
        "summary.json",
        "worst.png",
    ]
    text, page = (folder / "report.md").read_text(), (folder / "report.html").read_text()
    for words in (
        "poster 295",
        "nearest neighbour with a",
        "A note.",
        "By thickness",
        "By voltage",
        "ms per pattern",
    ):
        assert words in text
    assert page.count("data:image/png;base64,") == 3
    assert 'src="examples.png"' not in page
    assert "<title>A &amp; B</title>" in page
    assert "<table>" in page
    ratio = result["summaries"]["model"]["z_mean"] / result["summaries"]["nearest neighbour"]["z_mean"]
    assert result["z_mean_to_neighbour"] == pytest.approx(ratio)
    assert json.loads((folder / "summary.json").read_text())["z_mean_to_neighbour"] == pytest.approx(ratio)
    assert pq.read_table(folder / "rows.parquet").num_rows == 14
    check_folder(folder)  # a report may be replaced
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(FileFormatError, match="not a report written by lacbed"):
        check_folder(tmp_path / "other")
    with pytest.raises(FileFormatError, match="no such folder"):
        check_folder(tmp_path / "none" / "report")


def test_power_law_is_recovered():
    n = np.array([100, 200, 500, 1000, 4000])
    law = fit_power_law(n, 3.0 * n**-0.55)
    assert law.exponent == pytest.approx(0.55, abs=1e-9)
    assert law.prefactor == pytest.approx(3.0, rel=1e-9)
    assert law.exponent_error == pytest.approx(0, abs=1e-9)
    assert law.crystals_for(0.05) == pytest.approx((3.0 / 0.05) ** (1 / 0.55))
    assert float(law.at(1000)) == pytest.approx(3.0 * 1000**-0.55)


def test_errors_of_the_power_law_are_honest():
    """The standard error is the scatter of the fitted exponent over many noisy curves."""
    rng, n = np.random.default_rng(0), np.geomspace(100, 5000, 6)
    laws = [fit_power_law(n, 2 * n**-0.5 * rng.lognormal(0, 0.1, 6)) for _ in range(400)]
    scatter = np.std([law.exponent for law in laws])
    assert np.sqrt(np.mean([law.exponent_error**2 for law in laws])) == pytest.approx(scatter, rel=0.15)
    spread = np.std([np.log(law.at(300.0)) for law in laws])
    assert np.sqrt(np.mean([law.error_at(300.0) ** 2 for law in laws])) == pytest.approx(spread, rel=0.15)


def test_two_points_have_no_error_and_fewer_no_law():
    law = fit_power_law(POSTER_CRYSTALS, POSTER_Z)
    assert 0.44 <= law.exponent <= 0.59
    assert math.isnan(law.exponent_error)
    for n, z in (([10], [0.1]), ([10, 10], [0.1, 0.2]), ([10, 20], [0.1, 0.0])):
        with pytest.raises(SettingError, match="power law"):
            fit_power_law(n, z)


def test_learning_curve(tmp_path):
    config = config_from_dict(small_config("fno", epochs=1, patience=0))
    sides = SyntheticData(12), SyntheticData(3, 100), SyntheticData(3, 200)
    points = learning_curve(config, *sides, tmp_path / "curve", [1.0, 0.5])
    assert [p["crystals"] for p in points] == [6, 12]
    assert sorted(p.name for p in (tmp_path / "curve").iterdir()) == [
        "curve.json",
        "curve.md",
        "curve.png",
        "share-0.5",
        "share-1",
    ]
    assert "Poster 295" in (tmp_path / "curve" / "curve.md").read_text()
    stamp = (tmp_path / "curve" / "share-1" / "metrics.jsonl").read_text()
    assert learning_curve(config, *sides, tmp_path / "curve", [0.5, 1.0]) == points  # nothing is trained again
    assert (tmp_path / "curve" / "share-1" / "metrics.jsonl").read_text() == stamp
