"""What is a number, and what is said of what is none."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from lacbed.errors import FileFormatError, SettingError
from lacbed.io.checks import check_number, check_one_of, check_whole, is_list, is_number, is_whole

NO_NUMBERS = [True, False, np.True_, None, "1", "", math.nan, math.inf, -math.inf, 1j, np.complex128(1), [1]]
NO_NUMBERS += [10**400, np.float32("nan"), np.float32("inf"), Fraction(10**400)]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number(value) -> None:
    assert not is_number(value)
    assert not is_whole(value)
    with pytest.raises(SettingError, match=r"^n must be a number between 1 and 3 Å, got "):
        check_number("n", value, 1, 3, unit="Å")
    with pytest.raises(SettingError, match=r"^n must be a whole number from 1, got ") as caught:
        check_whole("n", value, 1)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int16(2), Fraction(2)], ids=repr)
def test_what_is_one(value) -> None:
    found = check_number("n", value, 1, 3)
    assert (found, type(found)) == (2.0, float)


def test_whole_numbers_are_those_of_a_whole_type() -> None:
    assert (check_whole("n", np.int64(5), 1, 5), type(check_whole("n", np.uint8(5), 1))) == (5, int)
    for value in (2.0, np.float64(2.0), Fraction(2)):
        with pytest.raises(SettingError, match="whole number between 1 and 5, got 2"):
            check_whole("n", value, 1, 5)
    with pytest.raises(SettingError, match="from 0"):
        check_whole("n", 2**63, 0)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0, {"low": 1, "high": 64}, "n must be between 1 and 64, got 0"),
        (
            1e6,
            {"low": 0, "high": 2, "unit": "eV", "hint": "; !"},
            "n must be between 0 and 2 eV, got 1e+06; !",
        ),
        (0.0, {"above": 0, "high": 50, "unit": "1/Å"}, "n must be above 0 and at most 50 1/Å, got 0"),
        (-1, {"above": 0}, "n must be positive, got -1"),
        (-1, {"above": 0, "unit": "1/Å"}, "n must be a positive number in 1/Å, got -1"),
        ("x", {"above": 0}, "n must be a positive number, got 'x'"),
        ("x", {}, "n must be a number, got 'x'"),
        (1234567, {"low": 1, "high": 5}, "n must be between 1 and 5, got 1234567"),
        (0, {"low": 1}, "n must be at least 1, got 0"),
        (math.nan, {"low": 1}, "n must be a number at least 1, got nan"),
    ],
)
def test_the_line(value, limits, message: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        check_number("n", value, error=FileFormatError, **limits)
    assert str(caught.value) == message


def test_limits_belong_to_the_range_or_not() -> None:
    assert check_number("n", 1, 1, 2) == 1.0
    assert check_number("n", 2, above=1, high=2) == 2.0
    with pytest.raises(SettingError):
        check_number("n", 1, above=1, high=2)


def test_lists_and_words() -> None:
    assert is_list((1, 2, 3), is_whole, 3)
    assert is_list([], is_whole)
    for value in ([1, 2], [1, 2, 2.5], "123", None, np.arange(3), {1, 2, 3}):
        assert not is_list(value, is_whole, 3)
    check_one_of("kind", "a", ("a", "b"))
    for value in ("c", "", None, ["a"], np.array(["a"])):
        with pytest.raises(SettingError, match="kind must be one of a, b, got "):
            check_one_of("kind", value, ("a", "b"))
