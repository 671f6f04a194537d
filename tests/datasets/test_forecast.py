"""The time that is left follows what crystals really take, whatever their estimated costs say."""

import pytest

from lacbed.cli.console import describe
from lacbed.datasets.build import Forecast, Progress

COSTS = {i: 1000.0 / (i + 1) ** 2 for i in range(16)}
"""Largest first, as crystals are handed out; the first four have nine tenths of the estimated cost."""


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 1.0])
def test_the_rest_after_a_quarter_is_right_within_a_factor_of_two(power):
    seconds = {row: 3.0 * cost**power for row, cost in COSTS.items()}
    forecast = Forecast(COSTS)
    for row in range(4):
        forecast.add(row, seconds[row])
    truth = sum(seconds[row] for row in range(4, 16))
    found = forecast.left(sum(seconds[row] for row in range(4)))
    assert truth / 2 < found < truth * 2


def test_times_that_hardly_grow_with_the_estimated_cost_are_not_taken_for_its_share():
    forecast = Forecast(COSTS)
    for row in range(4):
        forecast.add(row, 20.0)
    assert sum(COSTS[row] for row in range(4)) / sum(COSTS.values()) > 0.85
    assert forecast.left(80.0) > 80.0  # by the shares of cost it would be 14 s; in truth 240 s


def test_from_nothing_to_everything():
    forecast = Forecast(COSTS)
    assert (forecast.share, forecast.left(0.0)) == (0.0, None)
    shares = []
    for row in COSTS:
        forecast.add(row, 2.0 if row % 3 else 0.0)  # a worker that died says no time
        shares.append(forecast.share)
    assert all(0.0 < share < 1.0 for share in shares[:-1])
    assert shares[-1] == 1.0
    assert forecast.left(32.0) == 0.0
    assert Forecast({}).share == 0.0


def test_the_line_says_what_is_left():
    state = Progress(16, done=4, share=0.3, seconds=83.0, left=180.0)
    assert describe(state) == "4 of 16 crystals, 0.048 per second, 3 min left"
    assert describe(Progress(16)) == "0 of 16 crystals, 0 per second"
