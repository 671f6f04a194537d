"""Comparison of patterns by their labels."""

import numpy as np
import pytest

from lacbed.errors import SettingError
from lacbed.patterns import compare_patterns, difference_figure, zncc_loss


def test_reflections_and_thicknesses_are_matched_by_label(make_pattern):
    a, b = make_pattern(), make_pattern(seed=1)
    scores = compare_patterns(a, b.isel(hkl=[2, 0, 1], thickness=[1, 2, 0]))
    np.testing.assert_array_equal(scores["Z"], zncc_loss(a.values, b.values))
    assert scores["Z"].dims == ("thickness", "hkl")
    assert list(scores["hkl"].values) == list(a["hkl"].values)
    assert set(scores.data_vars) == {"Z", "r_factor", "relative_l2", "max_difference", "mean_a", "mean_b"}


def test_intersection(make_pattern):
    a, b = make_pattern(), make_pattern(seed=1)
    with pytest.raises(SettingError, match="only the first has 2,0,0"):
        compare_patterns(a, b.isel(hkl=[0, 2]))
    with pytest.raises(SettingError, match=r"only the second has 600\.5 Å"):
        compare_patterns(a.isel(thickness=[0, 2]), b)
    scores = compare_patterns(a.isel(thickness=[0, 2]), b.isel(hkl=[0, 2]), intersect=True)
    assert dict(scores.sizes) == {"thickness": 2, "hkl": 2}
    with pytest.raises(SettingError, match="in common"):
        compare_patterns(a.isel(hkl=[0]), b.isel(hkl=[1]), intersect=True)


def test_different_grids_are_refused(make_pattern):
    with pytest.raises(SettingError, match="ky has 12 pixels in the first and 14"):
        compare_patterns(make_pattern(), make_pattern(14))
    with pytest.raises(SettingError, match="ky runs from"):
        compare_patterns(make_pattern(), make_pattern(k_max=0.51))


def test_amplitudes_are_compared_as_intensities(make_pattern):
    a = make_pattern(dtype=np.complex128)
    turned = a * np.exp(1j)
    assert compare_patterns(a, turned)["max_difference"].max() < 1e-14


def test_discs_and_means(make_pattern):
    a, b = make_pattern(disc=True), make_pattern()
    scores = compare_patterns(a, b)
    assert np.all(scores["Z"] == 0)
    np.testing.assert_allclose(scores["mean_b"], np.nanmean(a.values, axis=(-2, -1)))


def test_the_difference_figure(make_pattern):
    figure = difference_figure(make_pattern(), make_pattern(seed=1, disc=True), names=("a", "b"))
    words = {text.get_text() for text in figure.texts}
    assert {"a", "b", "a \N{MINUS SIGN} b", r"$\bar{1}10$"} <= words
    assert any(word.startswith("Z ") for word in words)
