"""Training configurations."""

import json

import pytest

from lacbed.errors import FileFormatError, SettingError
from lacbed.learn.config import config_from_dict, load_config, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_packaged_configs_are_complete_and_come_back(name):
    config = load_config(name)
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_seed_is_there():
    assert {"vae-seed", "unet", "fno"} <= set(preset_names())


def test_help_of_training_names_every_packaged_config(lacbed):
    _, out, _ = lacbed("train", "--help")
    words = set(out.replace("│", " ").replace(",", " ").replace(". ", " ").split())
    assert set(preset_names()) <= {word.rstrip(".") for word in words}


def test_files_and_changes(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text('[model]\nname = "vae"\n[training]\nepochs = 7\n')
    config = load_config(str(path), ["training.batch=3", "data.kind=prototype", "model.latent=5"])
    assert (config.training.epochs, config.training.batch) == (7, 3)
    assert config.data.kind == "prototype"
    assert config.model["latent"] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.epoch=3", "no key 'epoch'"),
        ("trainin.epochs=3", "no key 'trainin'"),
        ("model.layers=3", "no key 'layers'"),
        ("training.epochs=2.5", "whole number"),
        ("training.epochs=0", "at least 1"),
        ("training.augment=1", "true or false"),
        ("training.learning_rate=fast", "must be a number"),
        ("training.precision=float16", "float32, bfloat16"),
        ("data.kind=compounds", "row, compound, prototype"),
        ("data.fraction=0", "above 0"),
        ("training.ema=1", "below 1"),
        ("loss.zz=1", "no key 'zz'"),
        ("epochs=3", "section.key=value"),
    ],
)
def test_bad_values(change, message):
    with pytest.raises(SettingError, match=message):
        load_config("vae-seed", [change])


def test_bad_files(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("[model\n")
    for name, message in ((str(broken), "not valid TOML"), (str(tmp_path / "none.toml"), "cannot read")):
        with pytest.raises(FileFormatError, match=message):
            load_config(name)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(FileFormatError, match="names and values"):
        load_config(str(tmp_path / "list.json"))
    with pytest.raises(
        SettingError,
        match="one of coefficients, downfold, downfold-fast, fno, inverse, unet, vae-seed, vae-symmetric",
    ):
        load_config("vaeseed")
    (tmp_path / "flat.json").write_text('{"model": 3}')
    with pytest.raises(SettingError, match="table of keys"):
        load_config(str(tmp_path / "flat.json"))
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(SettingError, match=r"needs a \[model\] table"):
        load_config(str(tmp_path / "empty.json"))
