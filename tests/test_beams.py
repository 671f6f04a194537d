"""The stated rule for choosing beams."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacbed import Crystal
from lacbed.beams import BeamList, beams_within, check_reflections, reflections_within, select_beams
from lacbed.crystals.site import Site
from lacbed.errors import SettingError
from lacbed.geometry.folding import is_allowed
from lacbed.geometry.frame import make_frame
from lacbed.geometry.wave import electron_wave

WAVE = electron_wave(200e3)
CENTRE = np.zeros((1, 2))
NONE = np.zeros((1, 3), dtype=int)


def beams_of(name: str, zone_axis=(0, 0, 1), tilts=CENTRE, required=NONE, **rule) -> tuple[BeamList, Crystal]:
    crystal = Crystal.named(name)
    return select_beams(crystal, make_frame(crystal, zone_axis), WAVE, np.array(tilts), required, **rule), crystal


@pytest.mark.parametrize(
    ("name", "zone_axis"), [("SrTiO3", (0, 0, 1)), ("GaAs", (1, 1, 0)), ("FeSi", (1, 1, 1)), ("ZrO2", (0, 1, 0))]
)
@settings(max_examples=8)
@given(count=st.integers(1, 150))
def test_a_number_of_beams_means_the_shortest_completed_to_a_shell(name: str, zone_axis, count: int) -> None:
    chosen, crystal = beams_of(name, zone_axis, count=count)
    lengths = np.linalg.norm(chosen.vectors, axis=1)
    assert chosen.strong == len(chosen.hkl) >= count
    more, _ = beams_of(name, zone_axis, count=chosen.strong + 1)
    assert (
        np.linalg.norm(more.vectors, axis=1).max() > lengths.max() + 1e-7
    )  # nothing of the last shell was left out
    assert np.sum(lengths < lengths.max() - 1e-7) < count  # and no shell was added without need
    assert np.all(is_allowed(crystal, chosen.hkl))
    assert {tuple(-h) for h in chosen.hkl} == {tuple(h) for h in chosen.hkl}


def test_the_list_has_the_symmetry_of_the_crystal() -> None:
    for name, laue_zones, tilts in (("SrTiO3", 0, CENTRE), ("SrTiO3", 1, CENTRE), ("Mn", 0, [[0.4, 0.1]])):
        chosen, _ = beams_of(name, tilts=tilts, count=77, laue_zones=laue_zones)
        found = {tuple(h) for h in chosen.hkl.tolist()}
        assert {(-k, h, m) for h, k, m in found} == found
        assert {(k, h, m) for h, k, m in found} == found


def test_g_max_takes_all_within() -> None:
    chosen, crystal = beams_of("GaAs", (1, 1, 0), g_max=1.3)
    grid = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[(grid @ [1, 1, 0] == 0) & is_allowed(crystal, grid)]
    expected = grid[np.linalg.norm(grid @ crystal.reciprocal.T, axis=1) <= 1.3]
    assert {tuple(h) for h in chosen.hkl} == {tuple(h) for h in expected}


def test_sg_max_takes_all_with_a_small_excitation_error() -> None:
    tilts = np.array([[0.0, 0.0], [0.3, 0.0]])
    chosen, _ = beams_of("SrTiO3", tilts=tilts, sg_max=0.02)
    squares = np.sum(chosen.vectors**2, axis=1)
    assert np.all(squares - 0.09 <= 2 * WAVE.wave_number * 0.02 + 1e-9)
    assert len(chosen.hkl) == pytest.approx(np.pi * (0.09 + 2 * WAVE.wave_number * 0.02) * 3.90528**2, rel=0.1)
    assert 0 < chosen.excitation_error <= 0.02


def test_what_is_required_is_in_the_list_with_all_that_ranks_as_high() -> None:
    chosen, _ = beams_of("SrTiO3", count=5, required=np.array([(4, 0, 0)]))
    assert [4, 0, 0] in chosen.hkl.tolist()
    assert [0, -4, 0] in chosen.hkl.tolist()
    assert len(chosen.hkl) == 49  # the lattice points with h² + k² ≤ 16


@pytest.mark.parametrize("laue_zones", [0, 1, 2])
def test_only_the_laue_zones_that_are_asked_for_take_part(laue_zones: int) -> None:
    chosen, _ = beams_of("SrTiO3", count=400, laue_zones=laue_zones, tilts=[[0.1, 0.2]])
    assert np.abs(chosen.hkl[:, 2]).max() <= laue_zones
    if laue_zones:
        # The Ewald sphere meets the first zone on one side only, at √(2 K / a).
        assert set(np.sign(chosen.hkl[:, 2])) == {-1, 0}
        ring = np.linalg.norm(chosen.hkl[chosen.hkl[:, 2] == -1, :2] / 3.90528, axis=1)
        assert np.median(ring) == pytest.approx(np.sqrt(2 * WAVE.wave_number / 3.90528), abs=0.4)


def test_weak_beams_come_after_the_strong_ones() -> None:
    chosen, _ = beams_of("SrTiO3", count=21, weak=40)
    lengths = np.linalg.norm(chosen.vectors, axis=1)
    assert chosen.strong == 21
    assert len(chosen.hkl) >= 61
    assert lengths[:21].max() < lengths[21:].min()


def test_positions_of_beams() -> None:
    chosen, _ = beams_of("GaAs", (1, 1, 0), count=30)
    np.testing.assert_array_equal(chosen.index(chosen.hkl), np.arange(len(chosen.hkl)))
    assert chosen.index(np.array([(50, -50, 0), (1, 0, 0)])).tolist() == [-1, -1]


def test_a_rule_is_needed_and_must_hold_what_is_required() -> None:
    with pytest.raises(SettingError, match="number, g_max or sg_max"):
        beams_of("Si")
    with pytest.raises(SettingError, match="raise g_max"):
        beams_of("SrTiO3", g_max=0.3, required=np.array([(4, 0, 0)]))


@pytest.mark.parametrize(
    ("name", "limit", "number"), [("SrTiO3", 0.26, 5), ("SrTiO3", 0.37, 9), ("Si", 0.4, 5), ("GaN", 0.37, 7)]
)
def test_all_reflections_within_a_limit(name: str, limit: float, number: int) -> None:
    crystal = Crystal.named(name)
    found = reflections_within(crystal, make_frame(crystal), limit)
    assert len(found) == number
    assert found[0] == (0, 0, 0)
    lengths = np.linalg.norm(make_frame(crystal).vectors(found), axis=1)
    assert np.all(np.diff(lengths) >= -1e-9)


def test_more_reflections_than_anyone_looks_at_are_refused() -> None:
    crystal = Crystal.named("SrTiO3")
    with pytest.raises(SettingError, match="2000"):
        reflections_within(crystal, make_frame(crystal), 8.0)


def test_higher_laue_zones_allow_their_reflections() -> None:
    crystal = Crystal.named("SrTiO3")
    frame = make_frame(crystal)
    assert check_reflections(crystal, frame, [(3, 0, -1)], 1) == ((3, 0, -1),)
    with pytest.raises(SettingError, match="Laue zone -1"):
        check_reflections(crystal, frame, [(3, 0, -1)], 0)


def long_cell(axis: float = 9000.0) -> Crystal:
    return Crystal("long", (4.0, 4.0, axis, 90.0, 90.0, 90.0), (Site("Si1", "Si", (0.0, 0.0, 0.0)),))


def test_a_long_axis_in_the_zone_is_counted_by_area_and_its_beams_are_found() -> None:
    crystal = long_cell()
    frame = make_frame(crystal, (1, 0, 0))
    assert beams_within(crystal, frame, 1.0) == pytest.approx(np.pi * 4.0 * 9000.0, rel=1e-4)
    chosen = select_beams(crystal, frame, WAVE, CENTRE, NONE, count=300)
    assert len(chosen.hkl) == 301
    np.testing.assert_array_equal(chosen.index(chosen.hkl), np.arange(301))
    assert chosen.index(np.array([(0, 0, 8000), (0, 3, 0)])).tolist() == [-1, -1]


def test_too_many_candidates_are_refused_before_they_are_listed() -> None:
    crystal = long_cell()
    frame = make_frame(crystal, (1, 0, 0))
    tracemalloc.start()
    with pytest.raises(SettingError, match=r"about 9\.16e\+06 reflections of long lie within 9 1/Å.*lower g_max"):
        select_beams(crystal, frame, WAVE, CENTRE, NONE, g_max=9.0)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("zone_axis", [(0, 0, 1), (1, 1, 0), (2, -3, 5), (-1, 0, 0)])
def test_the_candidates_are_all_allowed_reflections_of_the_zones(zone_axis) -> None:
    crystal = Crystal.named("GaAs")
    chosen, _ = beams_of("GaAs", zone_axis, g_max=0.9, laue_zones=2)
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    near = np.linalg.norm(grid @ crystal.reciprocal.T, axis=1) <= 0.9
    expected = grid[near & is_allowed(crystal, grid) & (np.abs(grid @ zone_axis) <= 2)]
    found = {tuple(h) for h in chosen.hkl.tolist()}
    assert found <= {tuple(h) for h in expected.tolist()}
    flat = {tuple(h) for h in expected.tolist() if np.dot(h, zone_axis) == 0}
    assert {h for h in found if np.dot(h, zone_axis) == 0} == flat
