"""A pattern names its crystal among others that look like it."""

import json
from dataclasses import replace

import numpy as np
import pytest

import lacbed
from lacbed.catalog.files import table_of, write_catalog
from lacbed.catalog.rows import row_of
from lacbed.cli import main
from lacbed.errors import LacbedError, SettingError
from lacbed.identification.identify import identify, library
from lacbed.identification.predictors import (
    REACHES,
    Target,
    enough_reach,
    exact,
    few_beams,
    learned,
    learned_where_known,
    target_of,
)
from lacbed.patterns import zncc_loss

NAMES = ("SrTiO3", "BaTiO3", "Cu3Au", "Cu")
CRYSTALS = [lacbed.Crystal.named(name) for name in NAMES]
THICKNESSES = (200.0, 250.0, 300.0, 350.0)
GRID = lacbed.TiltGrid(20, k_max=0.45)
TRUTH, THICKNESS = 1, 270.0
TOLERANCE = 2e-3
"""Largest Z of the exact stage: far below the noise of a pattern with 1,000 electrons a pixel."""


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


@pytest.mark.parametrize("name", ["UO2", "NaCl"])
def test_the_exact_stage_is_converged(name):
    """Also for heavy crystals, against more beams, another solver, and averages over tilts in the pixels."""
    crystal, pixels, half = lacbed.Crystal.named(name), 10, 0.25
    centers = (np.arange(pixels) - pixels / 2 + 0.5) * 2 * half / pixels
    blank = Target(np.zeros((pixels, pixels)), centers, centers, 200e3, (0, 0, 1))
    found = exact("thomas")(crystal, (300.0, 600.0), blank)
    true = lacbed.simulate(
        crystal,
        thicknesses=(300.0, 600.0),
        grid=lacbed.TiltGrid(3 * pixels, k_max=half),
        absorption="thomas",
        g_max=3.6,
        dtype="float32",
    )
    averages = true.values[:, 0].reshape(2, pixels, 3, pixels, 3).mean(axis=(2, 4))
    assert float(np.max(zncc_loss(found.astype(float), averages.astype(float)))) < TOLERANCE


def test_heavy_columns_get_more_beams():
    """The tungsten of the A15 structure has an atom every 2.5 Å along the beam."""
    k = (np.arange(20) - 9.5) * 0.05
    blank = synthetic(k, k)
    tungsten = lacbed.Crystal.build(
        "W3Si", 4.91, 223, [lacbed.Site("W1", "W", (0.25, 0, 0.5)), lacbed.Site("Si1", "Si", (0, 0, 0))]
    )
    reach = {c.name: enough_reach(c, 500.0, blank) for c in (tungsten, lacbed.Crystal.named("NaCl"))}
    assert reach["W3Si"] > 3.0
    assert reach["NaCl"] == REACHES[0]
    wide = synthetic(5.0 * k, 5.0 * k)  # its corners alone need more than the first reach
    assert enough_reach(lacbed.Crystal.named("NaCl"), 500.0, wide) > REACHES[0]


def synthetic(kx, ky, image=None):
    """A smooth image, unless another is given."""
    smooth = np.cos(3.0 * kx[None, :] + 1.0) * np.exp(-ky[:, None])
    return Target(smooth if image is None else image, kx, ky, 200e3, (0, 0, 1))


@pytest.mark.parametrize(
    ("pixels", "pitch", "offset", "side", "large"),
    [
        (40, 0.025, 0.0, 2, 20),  # the whole pattern is the inner part
        (101, 0.02, 0.0, 3, 16),  # an outer part, and two pixels that do not fill a square
        (20, 0.045, 0.0, 1, 20),  # no finer than the pattern
        (64, 0.02, 0.3, 3, 16),  # off centre: as near to k = 0 as the pattern reaches
    ],
)
def test_large_pixels_are_averages_of_equally_many_pixels(pixels, pitch, offset, side, large):
    k = (np.arange(pixels) - pixels / 2 + 0.5) * pitch + offset
    target = synthetic(k, k)
    coarse = target.coarse()
    assert coarse.image.shape == (large, large)
    assert coarse.pixel == pytest.approx(side * pitch)
    first = int(np.argmin(np.abs(k - (coarse.kx[0] - 0.5 * (side - 1) * pitch))))
    part = target.image[first : first + side * large, first : first + side * large]
    np.testing.assert_allclose(coarse.image, part.reshape(large, side, large, side).mean(axis=(1, 3)))
    smooth = synthetic(coarse.kx, coarse.ky).image
    np.testing.assert_allclose(coarse.image, smooth, atol=2.0 * (side * pitch) ** 2)
    if offset == 0.0:
        assert abs(coarse.kx.mean()) <= 0.5 * pitch + 1e-9


def test_masked_pixels_do_not_count():
    k = (np.arange(40) - 19.5) * 0.025
    image = np.ones((40, 40))
    image[0, 0] = np.nan  # one of four
    image[0, 2:4] = image[1, 2] = np.nan  # three of four
    coarse = synthetic(k, k, image).coarse()
    assert coarse.image[0, 0] == 1.0
    assert np.isnan(coarse.image[0, 1])
    assert np.isnan(coarse.image).sum() == 1


def test_the_learned_simulator_predicts_averages_over_pixels():
    """It agrees with the exact engine in large pixels, and says NaN beyond what it has learned."""
    crystal, thicknesses = lacbed.Crystal.named("UO2"), (300.0, 600.0)
    k = (np.arange(36) - 17.5) * 0.05  # ±0.9 1/Å; the model knows ±4 a* = ±0.73
    target = synthetic(k, k)
    found = learned()(crystal, thicknesses, target)
    known = np.isfinite(found[0])
    np.testing.assert_array_equal(known, (np.abs(k) < 0.72)[:, None] & (np.abs(k) < 0.72)[None, :])
    true = exact()(crystal, thicknesses, target)
    assert float(np.max(zncc_loss(np.where(known, found, np.nan), true))) < TOLERANCE


def test_what_was_not_learned_gets_few_beams(target):
    predict = learned_where_known()
    tilted = replace(target.coarse(), zone_axis=(1, 1, 0))
    np.testing.assert_array_equal(predict(CRYSTALS[3], (250.0,), tilted), few_beams(CRYSTALS[3], (250.0,), tilted))
    assert not np.array_equal(
        predict(CRYSTALS[3], (250.0,), target.coarse()), few_beams(CRYSTALS[3], (250.0,), target.coarse())
    )


def test_patterns_that_cannot_be_identified(pattern):
    with pytest.raises(SettingError, match="000"):
        target_of(pattern.assign_coords(hkl=["2,0,0"]))
    with pytest.raises(SettingError, match="no contrast"):
        target_of(pattern * 0)
    with pytest.raises(SettingError, match="choose one of them"):
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
    assert main([*words, "--absorption", "none", "--json", "--model", "none"]) == 0
    few = json.loads(capsys.readouterr().out)
    assert few["candidates"][0]["source_id"] == "1"
    assert few["candidates"][0]["Z_first"] != found["candidates"][0]["Z_first"]
    for extra, match in (
        (["--keep", "0"], "--keep"),
        (["--thickness", "x"], "--thickness"),
        (["--zone", "1"], "--zone"),
        (["--model", "nobody"], "nobody"),
    ):
        assert main([*words, *extra]) == 2
        assert match in capsys.readouterr().err
    assert main(["identify", "none.nc", "--catalog", "c.parquet"]) == 2
    assert main(["identify", "p.nc", "--catalog", "none.parquet"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_catalogue_without_the_crystal_is_said_to_be_one(pattern, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lacbed.save_pattern(pattern, "p.nc")
    others = [lacbed.Crystal.named(name) for name in ("CsCl", "Cu")]
    rows = [
        row_of(crystal, source="test", source_id=str(i), licence="CC0", kind="test")
        for i, crystal in enumerate(others)
    ]
    write_catalog(table_of(rows), tmp_path / "c.parquet", "test", {})
    words = ["identify", "p.nc", "--catalog", "c.parquet", "--thickness", "250,300", "--keep", "1"]
    assert main([*words, "--model", "none"]) == 0
    said = capsys.readouterr()
    assert "no crystal explains the pattern well" in said.out + said.err
    assert "nan" not in said.out
    assert main([*words, "--model", "none", "--json"]) == 0
    candidates = json.loads(capsys.readouterr().out)["candidates"]
    assert [c["Z"] is None for c in candidates] == [False, True]  # one was simulated exactly
