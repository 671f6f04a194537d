"""Text of the command line to values."""

import pytest

from lacbed.cli import parse
from lacbed.errors import SettingError


def test_numbers():
    assert parse.integers("0,0,1", "--zone") == (0, 0, 1)
    assert parse.integers("[-1 1 0]", "--zone") == (-1, 1, 0)
    assert parse.numbers("0.5,-1", "--center", 2) == (0.5, -1.0)
    for bad in ("", "0,0", "0,0,x", "0,0,nan", "0,0,inf", "0,0,0.5", "0,0,1e99", "0,0,1,1"):
        with pytest.raises(SettingError, match="--zone must be 3"):
            parse.integers(bad, "--zone")


def test_thicknesses():
    assert parse.thicknesses("300,600,900") == (300, 600, 900)
    assert parse.thicknesses("100:300:50") == (100, 150, 200, 250, 300)
    assert parse.thicknesses("100:299:50, 1000") == (100, 150, 200, 250, 1000)
    assert parse.thicknesses("0.1:0.3:0.1") == pytest.approx((0.1, 0.2, 0.3))
    assert parse.thicknesses("300 300 200") == (300, 200)
    for bad in (
        "",
        ",",
        "0",
        "-5",
        "nan",
        "inf",
        "x",
        "100:200",
        "300:100:50",
        "1:2:0",
        "1:2:-1",
        "1:2:nan",
        "1:9:1:1",
    ):
        with pytest.raises(SettingError):
            parse.thicknesses(bad)
    with pytest.raises(SettingError, match="limit"):
        parse.thicknesses("1:1e9:0.1")


def test_reflections():
    assert parse.reflections("0,0,0 2,0,0") == ((0, 0, 0), (2, 0, 0))
    assert parse.reflections("(0,0,0);(-1,1,0)") == ((0, 0, 0), (-1, 1, 0))
    assert parse.reflections("2 0 0") == ((2, 0, 0),)
    assert parse.reflections("0,0,0 0,0,0") == ((0, 0, 0),)
    assert parse.reflections("All") == "all"
    assert parse.reflections("all:1.5") == ("all", 1.5)
    for bad in ("", "1,2", "0.5,0,0", "a,b,c", "nan,0,0", "all:", "all:-1", "all:nan", "1e9,0,0"):
        with pytest.raises(SettingError, match="--hkl"):
            parse.reflections(bad)


def test_absorption_beams_and_energy():
    assert parse.absorption("none") is None
    assert parse.absorption("Thomas") == "thomas"
    assert parse.absorption("proportional:7.5") == ("proportional", 7.5)
    assert parse.beams("auto") == "auto"
    assert parse.beams("200") == 200
    assert parse.energy(200) == 200e3
    for bad in ("", "bird", "proportional", "proportional:x", "none:3"):
        with pytest.raises(SettingError, match="--absorption"):
            parse.absorption(bad)
    with pytest.raises(SettingError, match="--beams"):
        parse.beams("1.5")
    with pytest.raises(SettingError, match="in kV, so write 200"):
        parse.energy(200_000)
    with pytest.raises(SettingError, match="got nan"):
        parse.energy(float("nan"))
