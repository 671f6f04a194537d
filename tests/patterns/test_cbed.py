"""CBED from LACBED."""

import numpy as np
import pytest
import xarray as xr

from lacbed.constants import wavelength
from lacbed.errors import SettingError
from lacbed.patterns import assemble_cbed, load_array, save_array

PITCH = 0.5 / 10  # 1/Å; g = 1/4 1/Å is five pixels


@pytest.fixture
def pattern(make_pattern):
    return make_pattern(20, k_max=0.5, hkl=((0, 0, 0), (5, 0, 0), (0, -5, 0), (5, 5, 0)))


def angle(radius):
    return 1e3 * np.arcsin(radius * wavelength(200e3))


def inside(pattern, radius):
    return pattern["kx"].values ** 2 + pattern["ky"].values[:, None] ** 2 <= radius**2


@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
def test_without_overlap_nothing_is_lost(pattern, resampling):
    cbed = assemble_cbed(pattern, angle(0.48), resampling=resampling)
    expected = np.where(inside(pattern, 0.48), pattern.values, 0).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(cbed.sum(("qy", "qx")).values, expected, rtol=1e-12)


def test_each_disc_lies_at_its_g(pattern):
    cbed = assemble_cbed(pattern, angle(0.48))
    for index in range(4):
        gx, gy = float(pattern["gx"][index]), float(pattern["gy"][index])
        k = pattern["kx"].values[8], pattern["ky"].values[13]
        value = cbed.sel(qx=k[0] + gx, qy=k[1] + gy, method="nearest").values
        np.testing.assert_allclose(value, pattern.values[:, index, 13, 8], rtol=1e-10)
    assert float(cbed["qx"][0]) == pytest.approx(-float(cbed["qx"][-1]))


def test_overlaps_add(make_pattern):
    pattern = make_pattern(20, hkl=((0, 0, 0), (2, 0, 0)))  # 0.5 1/Å apart, discs of radius 0.48
    pattern[:] = 1.0
    cbed = assemble_cbed(pattern, angle(0.48))
    assert set(np.unique(cbed.values.round(12))) == {0.0, 1.0, 2.0}
    assert float(cbed.sel(qx=0.225, qy=0.025, method="nearest")[0]) == pytest.approx(2)


def test_other_pitches_keep_the_intensity(pattern):
    smooth = pattern.copy(data=np.broadcast_to(2 + np.cos(3 * pattern["kx"].values), pattern.shape).copy())
    expected = np.where(inside(pattern, 0.48), smooth.values, 0).sum(axis=(1, 2, 3)) * PITCH**2
    cbed = assemble_cbed(smooth, angle(0.48), pixels=997)
    area = float(cbed["qx"][1] - cbed["qx"][0]) ** 2
    np.testing.assert_allclose(cbed.sum(("qy", "qx")).values * area, expected, rtol=0.02)


def test_missing_pixels_do_not_spread(make_pattern):
    pattern = make_pattern(20, disc=True, hkl=((0, 0, 0),))
    pattern = pattern.copy(data=np.where(np.isnan(pattern.values), np.nan, 1.0))
    cbed = assemble_cbed(pattern, pixels=331)
    assert np.isfinite(cbed.values).all()
    assert cbed.values.max() == pytest.approx(1, abs=1e-12)


def test_choice_of_thickness_and_file(pattern, tmp_path):
    cbed = assemble_cbed(pattern, thickness=600.5)
    assert cbed["thickness"].values.tolist() == [600.5]
    assert cbed.attrs["semi_angle"] == pytest.approx(angle(0.5))
    save_array(cbed, tmp_path / "c.nc")
    xr.testing.assert_identical(load_array(tmp_path / "c.nc"), cbed)
    save_array(cbed, tmp_path / "c.tif")
    save_array(cbed, tmp_path / "c.png")


def test_impossible_requests(pattern):
    cases = {
        "at most": {"semi_angle": 30.0},
        "above 0": {"semi_angle": float("nan")},
        "no thickness 5": {"thickness": 5.0},
        "whole number": {"pixels": 0},
        "resampling": {"resampling": "cubic"},
    }
    for match, settings in cases.items():
        with pytest.raises(SettingError, match=match):
            assemble_cbed(pattern, **settings)
    with pytest.raises(SettingError, match="k = 0"):
        assemble_cbed(pattern.assign_coords(kx=pattern["kx"] + 3))
    with pytest.raises(SettingError, match="gx and gy"):
        assemble_cbed(pattern.drop_vars("gx"))
