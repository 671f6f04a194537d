"""Submissions, good and bad, and what the scorer says of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from lacbed.benchmark.answers import _as_fine
from lacbed.benchmark.definition import load_definition, sides
from lacbed.benchmark.score import intervals, summarise
from lacbed.benchmark.submission import Card, card_text, write_submission
from lacbed.benchmark.table import packaged_scores
from lacbed.benchmark.task_data import open_task
from lacbed.datasets.splits import near_duplicates


@pytest.fixture
def run(lacbed, tiny):
    """`lacbed benchmark WORDS` with the tiny benchmark."""
    return lambda *words: lacbed("benchmark", *words, "--benchmark", tiny)


def hand_in(folder, there, values, sigma=None, **changes):
    """A submission of these values."""
    card = Card("tiny", there.task.name, there.split, "guess", "a guess", **changes)
    write_submission(folder, card, there, values, sigma)
    return folder


@pytest.fixture
def there(tiny, data_000):
    return open_task(data_000, "forward-000", "compound", "test", tiny)


def test_the_truth_with_noise(run, there, data_000, tmp_path):
    rng = np.random.default_rng(0)
    truth = there.truth()
    noise = 0.02 * rng.standard_normal(truth.shape).astype(np.float32)
    hand_in(tmp_path / "s", there, truth + noise, np.full(len(there), 0.02))
    code, out, err = run("score", "s", "--data", data_000, "--json", "-o", "s.json")
    assert code == 0, err
    found = json.loads(out)
    assert found["crystals"] == len(there)
    assert 0 < found["metrics"]["z_mean"] < 0.1
    low, high = found["intervals"]["z_mean"]
    assert low <= found["metrics"]["z_mean"] <= high
    assert found["calibration"]["within_1_sigma"] == pytest.approx(0.683, abs=0.05)
    assert found["leaks"]["copies_of_the_truth"] == 0
    assert found["leaks"]["near_duplicates"] >= 0
    assert [part["thickness"] for part in found["by_thickness"]] == [200.0, 400.0]
    code, out, err = run("card", "s.json", "-o", "table.md")
    assert code == 0, err
    assert "| guess |" in out
    assert "Not measured yet: mean of the training set" in out
    assert (tmp_path / "table.md").read_text().startswith("# tiny")
    again = run("score", "s", "--data", data_000, "--json")[1]
    assert json.loads(again)["intervals"] == found["intervals"]


def test_labels_handed_in_are_noticed(run, there, data_000, tmp_path):
    hand_in(tmp_path / "s", there, there.truth())
    code, out, err = run("score", "s", "--data", data_000)
    assert code == 0, err
    assert f"of {len(there)} predictions, {len(there)} equal the labels" in out


def test_order_does_not_matter_and_zarr_is_as_good(run, there, data_000, tmp_path):
    values = there.truth() + 0.1
    values[0] *= 0.5
    hand_in(tmp_path / "s", there, values)
    order = np.arange(len(there))[::-1]
    folder = tmp_path / "z"
    folder.mkdir()
    (folder / "card.toml").write_text((tmp_path / "s" / "card.toml").read_text())
    group = zarr.open_group(folder / "predictions.zarr", mode="w")
    group.attrs["ids"] = [there.ids[i] for i in order]
    group.create_array("pattern", data=values[order])
    found = [json.loads(run("score", name, "--data", data_000, "--json")[1]) for name in ("s", "z")]
    assert found[0]["metrics"] == found[1]["metrics"]


@pytest.mark.parametrize("task", ["forward-000", "forward-ten", "inverse-000", "inverse-ten"])
@pytest.mark.parametrize("model", ["mean", "nearest"])
def test_baselines_of_every_task(run, tiny, request, task, model, tmp_path):
    data = request.getfixturevalue("data_ten" if task.endswith("ten") else "data_000")
    code, out, err = run("answer", model, "--data", data, "--task", task, "-o", "a", "--split", "row")
    assert code == 0, err
    code, out, err = run("score", "a", "--data", data, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert 0 < found["metrics"]["z_mean"] < 2
    assert found["leaks_by_design"]
    assert found["unit"] == ("V" if task.startswith("inverse") else "fraction of the incident intensity")
    if task == "forward-ten":
        assert [part["hkl"] for part in found["by_reflection"]] == ["0,0,0", "2,0,0", "2,2,0"]


def test_a_shifted_potential_is_as_good(run, tiny, data_000, tmp_path):
    there = open_task(data_000, "inverse-000", "compound", "test", tiny)
    hand_in(tmp_path / "s", there, np.roll(there.truth(), (3, 5), axis=(-2, -1)))
    found = json.loads(run("score", "s", "--data", data_000, "--json")[1])
    assert found["metrics"]["z_max"] < 1e-6


def test_drawn_crystals(run, tiny, data_000, tmp_path, monkeypatch):
    from lacbed.datasets import workers

    monkeypatch.setattr(workers, "processes", lambda count, memory, device: workers.here(device))
    code, _, err = run("data", "000", "-o", "new.zarr", "--drawn", 9, "-n", 3)
    assert code == 0, err
    there = open_task("new.zarr", "forward-000", "drawn", "test", tiny)
    assert there.seed == 9
    assert there.ids[0] == "D9-00000"
    hand_in(tmp_path / "s", there, there.truth() * 0.9)
    code, out, err = run("score", "s", "--data", "new.zarr", "--training", data_000)
    assert code == 0, err
    assert "crystals drawn by seed 9" in out
    assert "near duplicates (Z < 0.1 %)" in out
    code, out, err = run("score", "s", "--data", data_000)
    assert code == 2
    assert "holds crystals of tiny, not those of the split 'drawn'" in err


# -- bad input ----------------------------------------------------------------------------------------------------


def _npz(folder, **arrays):
    np.savez(folder / "predictions.npz", **arrays)


def nan(folder, there):
    values = there.truth()
    values[0, 0, 0, 0, 0] = np.nan
    _npz(folder, ids=np.array(there.ids), pattern=values)


def wrong_shape(folder, there):
    _npz(folder, ids=np.array(there.ids), pattern=there.truth()[:, :, 0])


def per_cent(folder, there):
    _npz(folder, ids=np.array(there.ids), pattern=100 * there.truth())


def missing(folder, there):
    _npz(folder, ids=np.array(there.ids[1:]), pattern=there.truth()[1:])


def foreign(folder, there):
    _npz(folder, ids=np.array(["L1-99999", *there.ids[1:]]), pattern=there.truth())


def twice(folder, there):
    _npz(folder, ids=np.array([*there.ids, there.ids[0]]), pattern=there.truth()[[*range(len(there)), 0]])


def other_side(folder, there):
    train = open_task(there.store.path, "forward-000", "compound", "train", there.benchmark)
    _npz(folder, ids=np.array(train.ids), pattern=train.truth())


def objects(folder, there):
    np.savez(folder / "predictions.npz", ids=np.array([{"a": 1}], dtype=object), pattern=there.truth())


def texts(folder, there):
    _npz(folder, ids=np.array(there.ids), pattern=there.truth().astype(str))


def no_array(folder, there):
    _npz(folder, ids=np.array(there.ids), intensity=there.truth())


def no_file(folder, there):
    (folder / "predictions.npz").unlink()


def cut(folder, there):
    whole = (folder / "predictions.npz").read_bytes()
    (folder / "predictions.npz").write_bytes(whole[: len(whole) // 2])


def both(folder, there):
    (folder / "predictions.zarr").mkdir()


def bad_sigma(folder, there):
    _npz(folder, ids=np.array(there.ids), pattern=there.truth(), sigma=np.zeros(len(there)))


def sigma_shape(folder, there):
    _npz(folder, ids=np.array(there.ids), pattern=there.truth(), sigma=np.ones((len(there), 7)))


def change(old, new):
    def make(folder, there):
        text = (folder / "card.toml").read_text()
        assert old in text
        (folder / "card.toml").write_text(text.replace(old, new))

    return make


def no_card(folder, there):
    (folder / "card.toml").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nan, "has 1 values that are NaN or infinite"),
        (wrong_shape, "must have the shape"),
        (per_cent, "per cent or counts?"),
        (missing, "lacks 1 of the"),
        (foreign, "ids are not on the test side of the split by compound, such as 'L1-99999'"),
        (twice, "twice"),
        (other_side, "ids are not on the test side of the split by compound"),
        (objects, "pickled Python objects, which are never loaded"),
        (texts, "pattern must be real numbers"),
        (no_array, "has no array 'pattern'"),
        (no_file, "neither predictions.npz nor predictions.zarr"),
        (cut, "cannot read"),
        (both, "both predictions.npz and predictions.zarr"),
        (bad_sigma, "sigma must be positive"),
        (sigma_shape, "sigma must have the shape"),
        (no_card, "has no card.toml"),
        (change('split = "compound"', 'split = "colour"'), "split must be one of row, compound, prototype, drawn"),
        (change('task = "forward-000"', 'task = "forward-100"'), "a task of tiny is one of forward-000"),
        (change('benchmark = "tiny"', 'benchmark = "LACBED-1"'), "benchmark is 'LACBED-1', expected 'tiny'"),
        (change('name = "guess"', 'name = "guess"\nunits = "counts"'), "units of forward-000 must be"),
        (change('name = "guess"', 'nickname = "guess"'), "has no key 'nickname'"),
        (change('name = "guess"', 'name = ""'), "name must not be empty"),
        (change('name = "guess"\n', ""), "needs name"),
        (change('name = "guess"', "name = guess"), "not valid TOML"),
        (change("parameters = 0", "parameters = -3"), "parameters must be"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_submissions_get_one_line(run, there, data_000, tmp_path, spoil, message):
    folder = hand_in(tmp_path / "s", there, there.truth())
    spoil(folder, there)
    code, out, err = run("score", "s", "--data", data_000)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_data_of_another_task(run, there, data_ten, tmp_path):
    hand_in(tmp_path / "s", there, there.truth())
    code, _, err = run("score", "s", "--data", data_ten)
    assert code == 2
    assert "was not computed as tiny defines the data '000' of forward-000" in err
    assert run("score", "nowhere", "--data", data_ten)[0] == 2
    assert run("score", "s", "--data", "nowhere.zarr")[0] == 2
    code, _, err = run("data", "eleven", "-o", "x.zarr")
    assert code == 2
    assert "the data of tiny are 000 and ten" in err
    code, _, err = run("answer", "default", "--data", data_ten, "--task", "forward-ten", "-o", "a")
    assert code == 2
    assert "predicts the reflection 000 only" in err


def test_a_model_is_not_asked_for_what_it_has_not_learned(run, data_000):
    code, _, err = run("answer", "vae", "--data", data_000, "--task", "forward-000", "-o", "a")
    assert code == 2
    assert "vae has learned absorption thomas, and forward-000 asks for none" in err


@pytest.mark.parametrize(
    ("learned", "message"),
    [
        ({"thicknesses": [600.0]}, r"thicknesses 600 Å, and forward-000 asks for 200, 400 Å"),
        ({"thicknesses": {"low": 300, "high": 900}}, r"thicknesses 300 to 900 Å, and .* asks for 200, 400 Å"),
        ({"energy": 300e3, "thicknesses": [200, 400]}, r"energy 300000 eV, and .* asks for 200000 eV"),
        ({"thicknesses": {"low": 100, "high": 900}}, None),
    ],
)
def test_thicknesses_and_voltages_that_were_not_learned(there, learned, message):
    from lacbed.benchmark.answers import _check_learned

    record = {"data": {"config": {**there.config.to_dict(), **learned}}}
    if message is None:
        _check_learned("one", record, there)
        return
    with pytest.raises(ValueError, match=message):
        _check_learned("one", record, there)


def test_probes_find_other_data(there, tiny, data_000, tmp_path):
    path = tmp_path / "d.toml"
    text = Path(tiny).read_text("utf-8")
    wrong = ", ".join(["0.5"] * 16)
    path.write_text(text.replace("[data.000]", f'[data.000]\nprobes = {{"{there.ids[0]}" = [{wrong}]}}'))
    with pytest.raises(ValueError, match=r"differs by .* from what every machine must find"):
        open_task(data_000, "forward-000", "compound", "test", str(path))


def test_a_card_is_read_as_it_was_written(tmp_path):
    import tomllib

    card = Card("LACBED-1", "forward-000", "row", 'a "b" \\ c', "two\nlines", milliseconds=0.25, parameters=7)
    values = tomllib.loads(card_text(card))
    assert Card(**values) == card


def test_bootstrap_covers_the_mean_of_a_known_law():
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(20):
        z = rng.exponential(0.1, (60, 1, 1))
        columns = {"z": z, **{n: z[..., 0] for n in ("relative_l2", "r", "max_difference")}}
        low, high = intervals(columns, trial)["z_mean"]
        inside += low <= 0.1 <= high
    assert inside >= 15


def test_images_without_contrast_have_no_z():
    z = np.array([[[0.1, np.nan]], [[0.3, np.nan]]])
    columns = {"z": z, **{n: np.ones((2, 1)) for n in ("relative_l2", "r", "max_difference")}}
    assert summarise(columns)["images"] == 2
    assert summarise(columns)["z_mean"] == pytest.approx(0.2)
    z = np.random.default_rng(1).random((9, 2, 3))
    z[0, 0], z[3, 1, 2] = np.nan, np.nan
    columns = {"z": z, **{n: np.ones((9, 2)) for n in ("relative_l2", "r", "max_difference")}}
    found = summarise(columns)
    assert found["z_p90"] == pytest.approx(np.nanpercentile(z, 90))
    assert found["z_median"] == pytest.approx(np.nanmedian(z))
    assert found["z_max"] == np.nanmax(z)


def test_forbidden_reflections_make_no_near_duplicates():
    rng = np.random.default_rng(0)
    images = {row: rng.random((1, 2, 16, 16)).astype(np.float32) for row in range(4)}
    for image in images.values():
        image[:, 1] = 0.0
    assert near_duplicates(list(images), images.__getitem__) == []
    images[3][:, 0] = 0.5 * images[1][:, 0]
    assert near_duplicates(list(images), images.__getitem__) == [[1, 3]]


def test_definition_of_the_table_is_packaged(lacbed):
    code, out, err = lacbed("benchmark", "card")
    assert code == 0, err
    assert out.startswith("# LACBED-1")
    assert "not measured yet" in out.lower()
    page = Path(__file__).parents[2] / "docs" / "lacbed-1.md"
    shown = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| downfold")]
    assert shown
    assert shown == [line for line in out.splitlines() if line.startswith("| downfold")]
    for one in packaged_scores():
        low, high = one["intervals"]["z_mean"]
        assert low <= one["metrics"]["z_mean"] <= high
        assert one["crystals"] == len(sides(load_definition(), one["split"])["test"])


def test_a_potential_of_fewer_pixels_has_the_same_coefficients():
    u = np.arange(64) / 64
    wave = lambda at: np.cos(2 * np.pi * (3 * at[:, None] - 5 * at)) + 0.3 * np.sin(2 * np.pi * 7 * at)  # noqa: E731
    coarse = wave(u)[None].astype(np.float32)
    np.testing.assert_allclose(_as_fine(coarse, (128, 128))[0], wave(np.arange(128) / 128), atol=1e-5)
    assert _as_fine(coarse, (64, 64)) is coarse
