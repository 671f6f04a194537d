"""Beam convergence: the report means what it says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lacbed import Crystal, TiltGrid, convergence, simulate, zncc_loss
from lacbed.converge import COARSE_PIXELS, _change, climb, coarse_grid
from lacbed.errors import SettingError

SETTINGS = {"grid": TiltGrid(pixels=8, extent=1.5), "thicknesses": (300.0, 600.0), "hkl": ((0, 0, 0), (2, 0, 0))}


@pytest.mark.parametrize("name", ["Si", "GaAs", "Au"])
def test_the_true_error_is_near_the_tolerance(name: str) -> None:
    """Against three times as many beams, not only one and a half."""
    crystal = Crystal.named(name)
    report = convergence(crystal, tolerance_z=1e-3, tolerance_intensity=1e-2, **SETTINGS)
    assert report.converged
    found, truth = (simulate(crystal, beams=n, **SETTINGS).values for n in (report.beams, 3 * report.beams))
    assert np.abs(found - truth).max() <= 3 * 1e-2
    bright = truth.mean(axis=(2, 3)) > 1e-3
    assert np.max(np.asarray(zncc_loss(found[bright], truth[bright]))) <= 3 * 1e-3


def test_rungs_grow_and_the_chosen_one_meets_both_tolerances() -> None:
    report = convergence(Crystal.named("Au"), tolerance_z=1e-4, tolerance_intensity=1e-3, **SETTINGS)
    beams = [step.beams for step in report.steps]
    assert beams == sorted(set(beams))
    assert report.beams == beams[-2]
    chosen = report.steps[-2]
    assert chosen.z <= 1e-4
    assert chosen.max_difference <= 1e-3
    assert all(step.z > 1e-4 or step.max_difference > 1e-3 for step in report.steps[:-2])
    assert f"converged at {report.beams} beams" in report.summary
    assert np.isnan(report.steps[-1].z)


def test_a_tighter_tolerance_takes_more_beams() -> None:
    loose, tight = (
        convergence(Crystal.named("Au"), tolerance_intensity=t, **SETTINGS).beams for t in (3e-2, 1e-3)
    )
    assert tight > loose


def test_what_does_not_converge_says_so() -> None:
    report = convergence(
        Crystal.named("Au"), tolerance_z=1e-9, tolerance_intensity=1e-9, max_beams=100, **SETTINGS
    )
    assert not report.converged
    assert "NOT converged" in report.summary


def test_a_ladder_ends_at_the_first_rung_whose_changes_are_small() -> None:
    def made(values: list[float]) -> Iterator[float]:
        for value in values:
            asked.append(value)
            yield value

    def change(a: float, b: float) -> tuple[float, float]:
        return abs(b - a), abs(b - a) / 10

    asked: list[float] = []
    end = climb(made([0.0, 4.0, 6.0, 6.5, 6.6]), change, (1.0, 0.1))
    assert (end.lower, end.upper, end.changes, end.converged) == (6.0, 6.5, (0.5, 0.05), True)
    assert asked == [0.0, 4.0, 6.0, 6.5]  # nothing beyond is computed
    end = climb(made([0.0, 4.0, 6.0]), change, (3.0, 0.1))  # one tolerance alone is not enough
    assert (end.lower, end.upper, end.converged) == (4.0, 6.0, False)
    end = climb(made([3.0]), change, (1.0, 1.0))
    assert (end.lower, end.upper, end.changes, end.converged) == (3.0, 3.0, (), False)


def test_convergence_is_judged_on_few_pixels_of_the_same_width() -> None:
    grid = TiltGrid(pixels=128, k_max=0.4, shape="disc", center=(0.1, 0.2))
    coarse = coarse_grid(grid)
    assert coarse.pixels == COARSE_PIXELS
    assert (coarse.k_max, coarse.shape, coarse.center) == (0.4, "disc", (0.1, 0.2))
    assert coarse_grid(TiltGrid(pixels=8)).pixels == 8


@pytest.mark.parametrize(
    "tolerance", [{"tolerance_z": 0.0}, {"tolerance_intensity": -1.0}, {"tolerance_z": float("nan")}]
)
def test_impossible_tolerances_are_refused(tolerance) -> None:
    with pytest.raises(SettingError, match="positive"):
        convergence(Crystal.named("Si"), **tolerance, **SETTINGS)


class Listener:
    """Takes what a progress callback is told."""

    def __init__(self) -> None:
        self.fractions: list[float] = []
        self.texts: list[str] = []

    def __call__(self, fraction: float) -> None:
        self.fractions.append(fraction)

    def describe(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize("solver", ["auto", "fast"])
def test_the_search_counts_as_part_of_the_work_and_says_what_it_is_at(solver: str) -> None:
    heard = Listener()
    pattern = simulate(Crystal.named("Au"), solver=solver, tolerance=0, progress=heard, **SETTINGS)
    assert heard.fractions[0] == 0.0
    assert heard.fractions == sorted(heard.fractions)
    assert heard.fractions[-1] == 1.0
    assert heard.texts[0].startswith("choosing beams: ")
    assert heard.texts[-1] == f"simulating with {pattern.attrs['beams']} beams"
    if solver == "auto":
        assert heard.texts[0] == "choosing beams: 40 beams"
        assert all(", dI 0." in text for text in heard.texts[2:-1])
        assert any(0.0 < f < 0.3 for f in heard.fractions)  # the search moves the bar too


def test_a_plain_function_will_do_for_progress() -> None:
    seen: list[float] = []
    convergence(Crystal.named("Au"), progress=seen.append, **SETTINGS)
    assert seen == sorted(seen)
    assert 0.5 < seen[-1] <= 1.0


def test_the_search_can_be_stopped() -> None:
    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(Crystal.named("Au"), tolerance=0, progress=stop, **SETTINGS)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("absorption", [None, "thomas"])
@pytest.mark.parametrize(
    "settings",
    [
        {"grid": TiltGrid(pixels=2)},
        {"grid": TiltGrid(pixels=1)},
        {"grid": TiltGrid(pixels=8), "thicknesses": (0.1,)},
    ],
)
def test_without_contrast_the_intensity_alone_is_judged(settings, dtype: str, absorption) -> None:
    """Z of equal pixels would be that of their rounding errors, which more beams do not make smaller."""
    report = convergence(Crystal.named("Si"), dtype=dtype, absorption=absorption, max_beams=400, **settings)
    assert report.converged
    assert report.steps[-2].z == 0.0
    assert report.steps[-2].max_difference <= 1e-2
    assert "no contrast for Z" in report.summary


def test_a_pattern_in_which_one_pixel_differs_has_contrast() -> None:
    flat = np.full((1, 1, 9), 0.5)
    spot = flat.copy()
    spot[..., 4] += 1e-3
    assert _change(spot, flat, 1e-5) == (0.0, pytest.approx(1e-3))
    assert _change(flat, spot, 1e-5) == (1.0, pytest.approx(1e-3))
    assert _change(spot, spot + 0.1, 1e-5)[0] == pytest.approx(0.0, abs=1e-12)
