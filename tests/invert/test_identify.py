"""A pattern names its crystal among others that look like it."""

import json

import numpy as np
import pytest

import lacbed
from lacbed.catalog.files import write_catalog
from lacbed.catalog.rows import row_of
from lacbed.catalog.schema import table_of
from lacbed.cli import main
from lacbed.errors import LacbedError, SettingError
from lacbed.invert.identify import exact, few_beams, identify, library
from lacbed.invert.target import target_of

NAMES = ("SrTiO3", "BaTiO3", "Cu3Au", "Cu")
CRYSTALS = [lacbed.Crystal.named(name) for name in NAMES]
THICKNESSES = (200.0, 250.0, 300.0, 350.0)
GRID = lacbed.TiltGrid(20, k_max=0.45)
TRUTH, THICKNESS = 1, 270.0


@pytest.fixture(scope="module")
def pattern():
    """BaTiO3 with absorption and Poisson noise of 3,000 electrons a pixel."""
    clean = lacbed.simulate(
        CRYSTALS[TRUTH], thicknesses=(THICKNESS,), grid=GRID, absorption=("proportional", 8.0), beams=130
    )
    counts = np.random.default_rng(5).poisson(3000 * clean.values).astype(float)
    return clean.copy(data=counts)


@pytest.fixture(scope="module")
def target(pattern):
    return target_of(pattern)


def test_the_right_crystal_and_thickness_come_first(target):
    ticks = []
    found = identify(
        target, CRYSTALS, THICKNESSES, keep=2, final=exact(("proportional", 8.0)), progress=ticks.append
    )
    best = found.candidates[0]
    assert (best.index, best.name) == (TRUTH, CRYSTALS[TRUTH].name)
    assert best.thickness == pytest.approx(THICKNESS, abs=10)
    assert best.z < 0.5 * found.candidates[1].z
    assert [np.isfinite(c.z) for c in found.candidates] == [True, True, False, False]
    assert sorted(c.index for c in found.candidates) == [0, 1, 2, 3]
    assert ticks == sorted(ticks)
    assert ticks[-1] == pytest.approx(1.0)


def test_any_predictor_can_make_the_first_look(target):
    known = library(CRYSTALS, THICKNESSES, target.coarse(), few_beams)
    looked = []

    def stored(crystal, thicknesses, at):
        looked.append(crystal.name)
        return known[0][[c.name for c in CRYSTALS].index(crystal.name)]

    final = exact(None)
    plugged = identify(target, CRYSTALS, THICKNESSES, keep=1, predictor=stored, final=final)
    direct = identify(target, CRYSTALS, THICKNESSES, keep=1, known=known, final=final)
    assert [(c.index, c.z_first) for c in plugged.candidates] == [(c.index, c.z_first) for c in direct.candidates]
    assert len(looked) == len(CRYSTALS)


def test_crystals_that_cannot_be_predicted_are_named(target):
    def stubborn(crystal, thicknesses, at):
        if crystal.name == CRYSTALS[0].name:
            raise LacbedError("no such element")
        return few_beams(crystal, thicknesses, at)

    found = identify(target, CRYSTALS[:2], THICKNESSES[1:3], keep=1, predictor=stubborn, final=exact(None))
    assert found.failures == ((CRYSTALS[0].name, "no such element"),)
    assert found.candidates[0].index == 1

    def hopeless(crystal, thicknesses, at):
        raise LacbedError("broken")

    with pytest.raises(SettingError, match="none of the crystals could be predicted: broken"):
        identify(target, CRYSTALS[:2], THICKNESSES, predictor=hopeless)
    with pytest.raises(SettingError, match="at least one"):
        identify(target, [], THICKNESSES)


def test_the_coarse_target_is_the_average_of_its_pixels(target):
    coarse = target.coarse()
    assert coarse.image.shape == (20, 20)  # no finer than the pattern
    assert np.nanmean(coarse.image) == pytest.approx(target.image.mean())


def test_patterns_that_cannot_be_identified(pattern):
    with pytest.raises(SettingError, match="000"):
        target_of(pattern.assign_coords(hkl=["2,0,0"]))
    with pytest.raises(SettingError, match="no contrast"):
        target_of(pattern * 0)
    with pytest.raises(SettingError, match="name one"):
        target_of(pattern.isel(thickness=[0, 0]))
    bare = pattern.copy()
    bare.attrs = {}
    with pytest.raises(SettingError, match="energy"):
        target_of(bare)


def test_the_command(pattern, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lacbed.save_pattern(pattern, "p.nc")
    rows = [
        row_of(crystal, source="test", source_id=str(i), licence="CC0", kind="test")
        for i, crystal in enumerate(CRYSTALS[:2])
    ]
    write_catalog(table_of(rows), tmp_path / "c.parquet", "test", {})
    words = ["identify", "p.nc", "--catalog", "c.parquet", "--thickness", "250,300", "--keep", "1"]
    assert main([*words, "--absorption", "none", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["candidates"][0]["source_id"] == "1"
    for extra, match in (
        (["--keep", "0"], "--keep"),
        (["--thickness", "x"], "--thickness"),
        (["--zone", "1"], "--zone"),
    ):
        assert main([*words, *extra]) == 2
        assert match in capsys.readouterr().err
    assert main(["identify", "none.nc", "--catalog", "c.parquet"]) == 2
    assert main(["identify", "p.nc", "--catalog", "none.parquet"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
