"""Bad settings: each gets one clear line, whichever part of the package finds it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lacbed import Crystal, TiltGrid, simulate
from lacbed.errors import LacbedError, SettingError
from lacbed.settings import Settings

NAN = float("nan")
SMALL = {"grid": TiltGrid(pixels=2, extent=1.0), "beams": 20, "thicknesses": (100.0,)}

BAD = [
    ({"zone_axis": (0, 0, 0)}, "no direction"),
    ({"zone_axis": (0.5, 0, 1)}, "integers"),
    ({"zone_axis": (NAN, 0, 1)}, "integers"),
    ({"foil_normal": (1, 0, 0)}, "90"),
    ({"foil_normal": (0, 0, 0)}, "zero"),
    ({"x_direction": (0, 0, 1)}, "zone axis"),
    ({"energy": 0.0}, "200 kV is 200e3"),
    ({"energy": 200}, "200 kV is 200e3"),
    ({"energy": NAN}, "200 kV is 200e3"),
    ({"energy": -200e3}, "200 kV is 200e3"),
    ({"thicknesses": (0.0,)}, "above 0"),
    ({"thicknesses": (100.0, -5.0)}, "above 0"),
    ({"thicknesses": (NAN,)}, "above 0"),
    ({"thicknesses": (1e9,)}, "at most"),
    ({"thicknesses": ()}, "at least one"),
    ({"thicknesses": "thick"}, "numbers"),
    ({"thicknesses": ((1.0, 2.0),)}, "list"),
    ({"grid": 128}, "TiltGrid"),
    ({"grid": TiltGrid(pixels=2, k_max=60.0)}, "mrad"),
    ({"hkl": ()}, "at least"),
    ({"hkl": ((0.5, 0, 0),)}, "three integers"),
    ({"hkl": ((NAN, 0, 0),)}, "three integers"),
    ({"hkl": (0, 0, 0)}, "three integers"),
    ({"hkl": ((0, 0),)}, "three integers"),
    ({"hkl": ((0, 0, 1),)}, "Laue zone"),
    ({"hkl": ((1, 0, 0), (1, 0, 0))}, "twice"),
    ({"hkl": "some"}, "'all'"),
    ({"hkl": ("all", -1.0)}, "positive"),
    ({"hkl": ("all", NAN)}, "positive"),
    ({"hkl": ((10**9, 0, 0),)}, "reflections of SrTiO3 lie within"),
    ({"g_max": 0.0}, "positive"),
    ({"g_max": NAN}, "positive"),
    ({"g_max": 500.0}, "reflections of SrTiO3 lie within"),
    ({"g_max": 0.3, "hkl": ((4, 0, 0),)}, "raise g_max"),
    ({"sg_max": -1.0}, "positive"),
    ({"beams": 0}, "whole number"),
    ({"beams": 2.5}, "whole number"),
    ({"beams": "many"}, "whole number"),
    ({"beams": True}, "whole number"),
    ({"beams": 10**6}, "20000"),
    ({"weak_beams": -1}, "whole number"),
    ({"laue_zones": 7}, "whole number"),
    ({"laue_zones": 0.5}, "whole number"),
    ({"absorption": "much"}, "absorption"),
    ({"absorption": ("proportional", -1.0)}, "percent"),
    ({"absorption": ("proportional", NAN)}, "percent"),
    ({"factors": "weickenmeier"}, "kirkland"),
    ({"output": "phase"}, "amplitude"),
    ({"solver": "magic"}, "chebyshev"),
    ({"solver": "zone", "foil_normal": (0, 0.1, 1)}, "tilted"),
    ({"solver": "zone", "weak_beams": 10}, "tilted"),
    ({"device": "gpu"}, "device"),
    ({"device": "cuda:99"}, "not available"),
    ({"dtype": "float16"}, "float32"),
]


HKL = [arguments["hkl"] for arguments, message in BAD if [*arguments] == ["hkl"] and message != "Laue zone"]


@pytest.mark.parametrize("laue_zones", [0, 1])
@pytest.mark.parametrize("hkl", [*HKL, 5, None])
def test_bad_reflections_are_refused_where_a_tolerance_chooses_the_beams_too(hkl, laue_zones: int) -> None:
    grid = TiltGrid(pixels=2, extent=1.0)
    with pytest.raises(LacbedError):
        simulate(Crystal.named("SrTiO3"), hkl=hkl, laue_zones=laue_zones, grid=grid, thicknesses=(100.0,))


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_settings_get_one_clear_line(arguments, message: str) -> None:
    with pytest.raises(LacbedError, match=message) as caught:
        simulate(Crystal.named("SrTiO3"), **{**SMALL, **arguments})
    assert "\n" not in str(caught.value)
    assert 15 < len(str(caught.value)) < 250


@pytest.mark.parametrize("name", ["Si", "W", "MgSiO3", "CuO"])
def test_reflections_that_centring_forbids_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match="forbidden"):
        simulate(Crystal.named(name), hkl=((1, 0, 0),), **SMALL)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hkl": np.array([(0, 0, 0), (1, 0, 0)])},
        {"hkl": [np.array([0, 0, 0])]},
        {"hkl": ((np.int64(1), np.int64(0), 0),)},
        {"thicknesses": np.linspace(100, 300, 3)},
        {"thicknesses": 100.0},
        {"zone_axis": np.array([0, 0, 1])},
        {"zone_axis": (0.0, 0.0, 1.0)},
        {"beams": np.int64(20)},
        {"energy": np.float64(200e3)},
        {"absorption": ("proportional", np.float64(10.0))},
        {"grid": TiltGrid(pixels=np.int64(2), extent=1.0)},
        {"foil_normal": np.array([0.0, 0.1, 1.0])},
    ],
)
def test_numbers_and_arrays_of_numpy_are_taken(arguments) -> None:
    pattern = simulate(Crystal.named("SrTiO3"), **{**SMALL, **arguments})
    assert np.all(np.isfinite(pattern.values))
    for value in pattern.attrs.values():
        assert isinstance(value, str | int | float | list)


def test_everything_that_changes_the_result_is_in_the_attributes() -> None:
    flat = Settings(
        grid=TiltGrid(pixels=4, k_max=0.3), hkl=((1, 0, 0),), absorption=("proportional", 5.0)
    ).to_attributes()
    assert json.loads(flat["grid"])["k_max"] == 0.3
    assert json.loads(flat["hkl_asked"]) == [[1, 0, 0]]
    assert json.loads(flat["absorption"]) == ["proportional", 5.0]
    for name in (
        "energy",
        "factors",
        "beams",
        "weak_beams",
        "laue_zones",
        "refraction",
        "output",
        "solver",
        "dtype",
    ):
        assert name in flat
