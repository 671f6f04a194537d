"""lacbed train, evaluate, learning-curve, predict and export, walked through on synthetic data."""

import json
import re

import pytest
from synthetic import EXTENT, PIXELS, SyntheticData

from lacbed.learn import data

SIDES = {"train": (12, 0), "validation": (4, 100), "test": (3, 200)}
SMALL = [
    f"model.pixels={PIXELS}",
    f"model.extent={EXTENT}",
    "model.width=4",
    "model.levels=1",
    "model.reach=2",
    "training.epochs=2",
    "training.batch=4",
]
SETS = [word for change in SMALL for word in ("--set", change)]


@pytest.fixture
def lacbed(lacbed, monkeypatch):
    """`lacbed WORDS` with synthetic data in place of any data set."""
    monkeypatch.setattr(data, "open_data", lambda path, split, *_: SyntheticData(*SIDES[split]))
    return lacbed


def test_walk(lacbed, tmp_path):
    code, out, err = lacbed("train", "unet", "--data", "d.zarr", "-o", "run", *SETS)
    assert (code, err) == (0, "")
    assert re.search(r"epoch 2/2: .*Z mean [\d.]+ %", out)
    assert (tmp_path / "run" / "model" / "card.md").is_file()

    code, _, err = lacbed("train", "unet", "--data", "d.zarr", "-o", "run", *SETS)
    assert code == 2
    assert err.count("\n") == 1
    assert "--resume" in err
    assert (
        lacbed("train", "unet", "-d", "d.zarr", "-o", "run", *SETS, "--resume", "--set", "training.epochs=3")[0]
        == 0
    )

    code, out, err = lacbed("evaluate", "run", "d.zarr", "-o", "report", "--json")
    assert code == 0, err
    assert json.loads(out)["summaries"]["model"]["patterns"] == 6
    assert (tmp_path / "report" / "report.html").is_file()

    code, out, err = lacbed("learning-curve", "unet", "-d", "d.zarr", "-o", "curve", "--fractions", "0.5,1", *SETS)
    assert code == 0, err
    assert "mean Z = " in out


def test_predict(lacbed, trained, tmp_path):
    code, out, err = lacbed("predict", "NaCl", "--model", trained, "-t", "300,600", "-o", "p.nc", "-o", "p.png")
    assert code == 0, err
    assert out.count("expected Z") == 2
    assert (tmp_path / "p.nc").is_file()
    assert (tmp_path / "p.png").is_file()
    code, out, err = lacbed("predict", "Si", "--model", trained, "-t", "150", "--check", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert 0 <= result["Z"][0] <= 2
    assert result["exact_seconds"] > 0
    assert result["kind"] == "learned"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "Mg", "--model", "MODEL", "-o", "p.nc"], "lacbed simulate Mg --zone 0,0,1 --thickness 600"),
        (["predict", "Si", "--model", "MODEL", "--zone", "1,1,0"], "--zone 1,1,0"),
        (["predict", "Si", "--model", "MODEL", "--thickness", "3000"], "--thickness 3000"),
        (["predict", "Si", "--model", "MODEL", "--voltage", "1000"], "--voltage 1000"),
        (["predict", "Si", "--model", "MODEL", "--hkl", "all"], "the reflection 000 only"),
        (["predict", "Si", "--model", "nowhere"], "no model 'nowhere'"),
        (["predict", "Si", "--model", "MODEL", "-o", "p.doc"], ".nc"),
        (["train", "unett", "-d", "d.zarr", "-o", "run"], "is a .toml or .json file or one of"),
        (["train", "unet", "-d", "d.zarr", "-o", "run", "--set", "training.epoch=1"], "no key 'epoch'"),
        (["train", "unet", "-d", "d.zarr", "-o", "run"], "set model.pixels = 16"),
        (["evaluate", "nowhere", "d.zarr", "-o", "report"], "no model "),
        (["evaluate", "MODEL", "d.zarr", "-o", "nowhere/report"], "no such folder"),
        (["learning-curve", "unet", "-d", "d.zarr", "-o", "c", "--fractions", "0.5,2"], "at most 1"),
        (["export", "--model", "MODEL", "-o", "model.pt"], ".onnx"),
    ],
)
def test_bad_input_is_one_line(lacbed, trained, tmp_path, words, message):
    code, out, err = lacbed(*(trained if word == "MODEL" else word for word in words))
    assert code == 2
    assert out in ("", "unet on 12 crystals, validated on 4\n")
    assert err.count("\n") == 1
    assert message in err
    assert not [p for p in tmp_path.iterdir() if p.is_file()]


def test_a_data_set_that_lacks_a_field_or_is_empty():
    from lacbed.errors import FileFormatError, SettingError

    with pytest.raises(SettingError, match="is empty"):
        data.check_data([], "the test split")
    whole = SyntheticData(1)
    for name in data.NEEDED:
        lacking = [{k: v for k, v in whole[0].items() if k != name}]
        with pytest.raises(FileFormatError, match=f"lacks the fields {name}"):
            data.check_data(lacking, "the test split")
    flat = [{**whole[0], "pattern": whole[0]["pattern"][0]}]
    with pytest.raises(FileFormatError, match="needs patterns"):
        data.check_data(flat, "the test split")


def test_the_readers_data_set_is_what_learning_needs():
    """Names and shapes of LacbedDataset's items as documented there."""
    from lacbed.datasets.compute import SCALARS
    from lacbed.learn.features import SCALARS as USED

    assert set(USED) <= set(SCALARS)
