"""Configs and what they sample."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacbed.datasets.compute import conditions_of
from lacbed.datasets.config import PRESETS, SEED, WIDE, DatasetConfig, Range, load_config, preset
from lacbed.errors import LacbedError, SettingError

OTHER = {
    "zone_axis": (1, 1, 0),
    "hkl": ((0, 0, 0), (2, -2, 0)),
    "pixels": 64,
    "extent": 3.0,
    "thicknesses": (600.0, 900.0),
    "energy": 100e3,
    "factors": "lobato",
    "absorption": ("proportional", 10.0),
    "laue_zones": 1,
    "refraction": False,
    "paraxial": False,
    "solver": "zone",
    "dtype": "float64",
    "default_b_iso": 0.6,
    "tolerance_z": 1e-4,
    "tolerance_intensity": 1e-3,
    "max_beams": 500,
    "potential_pixels": 64,
    "potential_g_max": 5.0,
}


def test_every_field_changes_the_digest():
    assert set(OTHER) == {field.name for field in fields(DatasetConfig)}
    digests = {replace(SEED, **{name: value}).digest for name, value in OTHER.items()}
    assert len(digests | {SEED.digest}) == len(OTHER) + 1


@pytest.mark.parametrize("config", [SEED, WIDE, DatasetConfig(**OTHER)], ids=["seed", "wide", "other"])
def test_survives_json(config):
    again = DatasetConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.digest == config.digest


def test_seed_preset_is_the_one_described():
    assert preset("seed") == DatasetConfig(
        zone_axis=(0, 0, 1),
        hkl=((0, 0, 0),),
        pixels=128,
        extent=4.0,
        thicknesses=(600.0,),
        energy=200e3,
        factors="kirkland",
        absorption="thomas",
        laue_zones=0,
        default_b_iso=0.5,
        tolerance_z=1e-3,
        solver=SEED.solver,
        dtype=SEED.dtype,
        max_beams=SEED.max_beams,
    )
    assert set(PRESETS) == {"seed", "wide"}
    assert (WIDE.thicknesses.low, WIDE.thicknesses.high) == (100.0, 2000.0)
    assert (WIDE.energy.low, WIDE.energy.high) == (60e3, 300e3)
    assert replace(WIDE, thicknesses=SEED.thicknesses, energy=SEED.energy) == SEED


def test_files(tmp_path):
    toml, plain = tmp_path / "c.toml", tmp_path / "c.json"
    toml.write_text('pixels = 64\nabsorption = "none"\nthicknesses = {low = 100, high = 200, count = 2}\n')
    plain.write_text('{"pixels": 64, "absorption": null, "thicknesses": {"low": 100, "high": 200, "count": 2}}')
    assert load_config(toml) == load_config(plain)
    assert load_config(toml).thicknesses == Range(100.0, 200.0, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pixel = 64", "no key 'pixel'"),
        ("energy = {low = 1e5, high = 2e5, step = 3}", "no key 'step'"),
        ("energy = {low = 1e5}", "needs low and high"),
        ("energy = {low = 2e5, high = 1e5}", "low < high"),
        ("energy = {low = 1e5, high = 2e5, count = 2}", "one value"),
        ("energy = -1", "energy"),
        ("thicknesses = []", "thickness"),
        ("thicknesses = [600, -1]", "thickness"),
        ("hkl = []", "hkl"),
        ("hkl = [[0, 0, 0], [0, 0, 0]]", "twice"),
        ("hkl = [[0, 0.5, 0]]", "whole"),
        ("zone_axis = [0, 1]", "zone_axis"),
        ("hkl = [[0, 0, 0], [1, 0, 1]]", r"reflection \[1, 0, 1\] lies in Laue zone 1 of zone_axis \[0, 0, 1\]"),
        ("hkl = [[0, 0, -2]]\nlaue_zones = 1", "lies in Laue zone -2 .* raise laue_zones"),
        ('factors = "weickenmeier"', "factors"),
        ('absorption = "some"', "absorption"),
        ("pixels = 0", "pixels"),
        ("tolerance_z = 0", "tolerance_z"),
        ("refraction = 1", "refraction"),
        ("max_beams = 10", "max_beams"),
        ("pixels = ", "TOML"),
    ],
)
def test_bad_configs_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "c.toml"
    path.write_text(text + "\n")
    with pytest.raises(LacbedError, match=message) as caught:
        load_config(path)
    assert "c.toml" in str(caught.value)


def test_reflections_in_the_zones_that_take_part_are_taken():
    assert DatasetConfig(hkl=((1, 0, 1),), laue_zones=1).hkl == ((1, 0, 1),)
    assert DatasetConfig(zone_axis=(0, 0, 2), hkl=((0, 0, 1),), laue_zones=1).laue_zones == 1  # [002] is [001]
    assert DatasetConfig(zone_axis=(1, 1, 0), hkl=((1, -1, 3),)).hkl == ((1, -1, 3),)


def test_fixed_conditions():
    assert conditions_of(SEED, "x").energy == 200e3
    assert conditions_of(SEED, "x").thicknesses == (600.0,)


@given(st.text(min_size=1), st.integers(0, 2**32))
def test_sampled_conditions(compound, seed):
    config = replace(
        WIDE, thicknesses=replace(WIDE.thicknesses, seed=seed), energy=replace(WIDE.energy, seed=seed)
    )
    drawn = conditions_of(config, compound)
    assert 60e3 <= drawn.energy <= 300e3
    assert len(drawn.thicknesses) == 4
    assert list(drawn.thicknesses) == sorted(drawn.thicknesses)
    assert drawn.thicknesses[0] >= 100
    assert drawn.thicknesses[-1] <= 2000
    assert drawn == conditions_of(config, compound)
    assert drawn != conditions_of(config, compound + "'")


def test_sampling_is_even():
    drawn = [conditions_of(WIDE, str(i)) for i in range(2000)]
    energies = sorted(c.energy for c in drawn)
    assert energies[1000] == pytest.approx(180e3, rel=0.03)
    assert sum(c.thicknesses[0] for c in drawn) / 2000 == pytest.approx(100 + 1900 / 5, rel=0.05)


def test_preset_names():
    with pytest.raises(SettingError, match="seed, wide"):
        preset("big")
