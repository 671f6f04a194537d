"""What a simulation is likely to take is told before anything of its size is made."""

from __future__ import annotations

import tracemalloc
from functools import partial

import pytest

from lacbed import Crystal, Site, TiltGrid, convergence, simulate
from lacbed.errors import MemoryLimitError, SettingError
from lacbed.forecast import LONG, Forecast, duration, forecast
from lacbed.settings import Settings
from lacbed.setup import likely_pairs, prepare
from lacbed.solvers import blocks


def long_cell(axis: float) -> Crystal:
    return Crystal("long", (4.0, 4.0, axis, 90.0, 90.0, 90.0), (Site("Si1", "Si", (0.0, 0.0, 0.0)),))


@pytest.mark.parametrize(("axis", "gigabytes"), [(243.0, (1, 100)), (9000.0, (1000, 100_000))])
def test_a_long_axis_gets_its_estimate_for_nothing(axis: float, gigabytes) -> None:
    tracemalloc.start()
    found = forecast(long_cell(axis), Settings(zone_axis=(1, 0, 0), grid=TiltGrid(pixels=16), tolerance=0))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    assert gigabytes[0] < found.memory / 2**30 < gigabytes[1]
    assert found.seconds > LONG
    assert "GiB" in found.note()
    assert "--g-max" in found.note()


def test_the_matrices_of_many_beams_are_in_the_forecast() -> None:
    settings = Settings(zone_axis=(1, 0, 0), grid=TiltGrid(pixels=4), beams=15_000)
    found = forecast(long_cell(9000.0), settings)
    assert found.seconds > LONG
    assert 3.0 < found.memory / 2**30 < 8.0  # 24 bytes for every pair of beams are 5.0
    assert "GiB" in found.note()


def test_pairs_that_symmetry_shares_are_counted_by_reflection() -> None:
    crystal, grid = Crystal.named("MgO"), TiltGrid(pixels=16)
    for hkl in (((0, 0, 0),), ((0, 0, 0), (2, 0, 0), (2, 2, 0)), ((2, 0, 0), (0, 2, 0), (-2, 0, 0), (0, -2, 0))):
        settings = Settings(grid=grid, beams=20, hkl=hkl)
        setup = prepare(crystal, settings)
        likely = likely_pairs(crystal, setup.frame, settings, 256)
        assert likely == pytest.approx(len(setup.problem.pair_tilt), rel=0.4)


@pytest.mark.parametrize("run", [partial(simulate, tolerance=0), convergence])
def test_a_search_without_hope_is_refused_at_once(run) -> None:
    settings = {"zone_axis": (1, 0, 0), "grid": TiltGrid(pixels=16)}
    with pytest.raises(SettingError, match=r"about 113\d\d\d beams within 1 1/Å.*GiB.*ends at 6000.*g_max"):
        run(long_cell(9000.0), **settings)
    assert convergence(long_cell(9000.0), thicknesses=(0.1,), **settings).converged


def test_a_tolerance_without_hope_is_refused_at_once() -> None:
    tracemalloc.start()
    with pytest.raises(SettingError, match=r"about 9\.\d+e\+06 reflections of long lie within 9 1/Å"):
        simulate(long_cell(9000.0), (1, 0, 0), grid=TiltGrid(pixels=16))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_matrices_that_do_not_fit_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "free_memory", lambda device: 2**28)
    with pytest.raises(MemoryLimitError, match=r"the matrices of 30\d\d beams need about 0\.2 GiB.*g_max"):
        simulate(long_cell(243.0), (1, 0, 0), grid=TiltGrid(pixels=2), beams=3000)


def test_a_refusal_says_what_would_help_and_what_that_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "free_memory", lambda device: 100 * 2**20)
    with pytest.raises(
        MemoryLimitError, match=r"need about 0\.\d GiB.*'fast' \(about 0\.\d GiB\).*'float32' \(about.*fewer beams"
    ):
        simulate(Crystal.named("Si"), grid=TiltGrid(pixels=2), beams=1100, solver="zone")


def test_quick_work_has_no_note_and_long_work_names_the_fast_solver() -> None:
    assert forecast(Crystal.named("SrTiO3"), Settings()).note() == ""
    long = forecast(Crystal.named("GaAs"), Settings(zone_axis=(1, 1, 0), absorption="thomas", beams=800))
    assert long.fast is not None
    assert long.fast[0] < 0.5 * long.seconds
    assert "--solver fast would take about" in long.note()
    tilted = Settings(zone_axis=(1, 1, 0), foil_normal=(1, 1, 0.1), beams=800)
    assert forecast(Crystal.named("GaAs"), tilted).fast is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2, "4 s"), (52.0, "50 s"), (360.0, "6 minutes"), (7300.0, "2 hours"), (9e5, "10 days")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert Forecast(10, seconds, 2**30, None).note().startswith("about") is (seconds >= LONG)
    assert "4.0 GiB" in Forecast(10, seconds, 2**32, None).note()


def test_the_command_line_says_it_before_it_begins(lacbed, monkeypatch: pytest.MonkeyPatch) -> None:
    import lacbed.forecast as module

    words = ("simulate", "Si", "--pixels", "4", "--beams", "20", "-o", "a.nc")
    monkeypatch.setattr(module, "forecast", lambda crystal, settings: Forecast(900, 400.0, 2**31, (40.0, 2**30)))
    _, out, err = lacbed(*words)
    assert err.startswith(
        "about 6.7 minutes and 2.0 GiB with 900 beams, roughly; --solver fast would take about 40 s"
    )
    assert "wrote a.nc" in out
    assert lacbed(*words, "--quiet")[2] == ""
    assert lacbed(*words, "--json")[2] == ""
