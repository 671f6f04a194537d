"""Figures: what they show and in which direction."""

import numpy as np
import pytest
import xarray as xr

from lacbed.errors import SettingError
from lacbed.patterns import assemble_cbed, cbed_figure, montage, potential_figure, save_figure
from lacbed.patterns.schema import hkl_math, hkl_text, round_length


def _images(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def _words(figure):
    texts = [text.get_text() for text in figure.texts]
    return texts + [text.get_text() for axes in figure.axes for text in axes.texts]


def test_labels():
    assert hkl_math("-2,0,12") == r"$\bar{2}\,\,0\,\,12$"
    assert hkl_math("2,-2,0") == r"$2\bar{2}0$"
    assert hkl_math("0,-10,0") == r"$0\,\,\overline{10}\,\,0$"
    assert hkl_text("-1,1,0") == "1̅10"
    assert [round_length(v) for v in (7.3, 0.5, 19.99, 1.0, 0.003)] == [5, 0.5, 10, 1, pytest.approx(0.002)]


def test_the_montage_shows_everything(make_pattern):
    figure = montage(make_pattern(disc=True))
    assert len(_images(figure)) == 9
    words = _words(figure)
    assert {"$000$", r"$\bar{1}10$", "300 Å", "900 Å"} <= set(words)
    assert any(word.endswith("mrad") for word in words)
    assert any("200 kV" in word and "[001]" in word for word in words)


def test_y_points_up(make_pattern):
    image = _images(montage(make_pattern()))[0]
    assert image.origin == "lower"
    assert image.get_extent() == pytest.approx([-0.5, 0.5, -0.5, 0.5])


@pytest.mark.parametrize(("scale", "distinct"), [("each", 9), ("reflection", 3), ("shared", 1)])
def test_scales_of_grey(make_pattern, scale, distinct):
    limits = {image.get_clim() for image in _images(montage(make_pattern(), scale=scale))}
    assert len(limits) == distinct


def test_many_reflections_wrap(make_pattern, tmp_path):
    hkl = tuple((h, k, 0) for h in range(-3, 4) for k in range(-3, 4))
    figure = montage(make_pattern(6, hkl=hkl, thicknesses=(300.0, 600.0)))
    assert len(_images(figure)) == 98
    width, height = figure.get_size_inches()
    assert 0.5 < width / height < 2.5
    sides = [axes.get_position().width * width for axes in figure.axes]
    assert min(sides) >= 0.74
    save_figure(figure, tmp_path / "x.png")
    with pytest.raises(SettingError, match="at most 400"):
        montage(make_pattern(2, hkl=hkl, thicknesses=tuple(float(t) for t in range(1, 10))))


def test_constant_and_missing_images(make_pattern, tmp_path):
    pattern = make_pattern()
    pattern[0, 0], pattern[0, 1], pattern[0, 2] = 0.0, np.nan, 0.3
    figure = montage(pattern)
    save_figure(figure, tmp_path / "p.png")
    limits = np.array([image.get_clim() for axes in figure.axes for image in axes.images])
    assert len(limits) == pattern.sizes["thickness"] * pattern.sizes["hkl"]
    assert np.all(np.isfinite(limits))
    assert np.all(limits[:, 0] < limits[:, 1])
    save_figure(montage(make_pattern(1)), tmp_path / "q.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("p.png", "q.png"))


def test_unknown_scales_are_refused(make_pattern):
    with pytest.raises(SettingError, match="scale must be"):
        montage(make_pattern(), scale="log")


@pytest.fixture
def potential():
    cell = [3.0, -1.5, 0.0, 2.598]
    attributes = {"cell": cell, "mean_inner_potential": 12.3, "crystal": "Mg", "zone_axis": [0, 0, 1]}
    steps = np.arange(8) / 8
    return xr.DataArray(
        np.random.default_rng(0).uniform(size=(8, 8)), {"v": steps, "u": steps}, ("v", "u"), "V", attributes
    )


def test_the_potential_has_the_shape_of_its_cell(potential):
    figure = potential_figure(potential)
    axes = next(a for a in figure.axes if a.patches)
    corners = axes.patches[0].get_xy()[:4]
    edges = np.diff(corners, axis=0)
    np.testing.assert_allclose(edges[0], [3.0, 0.0])
    np.testing.assert_allclose(edges[1], [-1.5, 2.598])
    # One Å is as long along x as along y.
    box = axes.get_window_extent()
    assert box.width / np.ptp(axes.get_xlim()) == pytest.approx(box.height / np.ptp(axes.get_ylim()), rel=1e-6)
    # The image's pixel (row v, column u) lies at cell @ (u, v).
    image = axes.images[0]
    at = (image.get_transform() - axes.transData).transform((3, 2))
    np.testing.assert_allclose(at, np.array([[3.0, -1.5], [0.0, 2.598]]) @ [3 / 8, 2 / 8], atol=1e-9)


def test_figures_refuse_what_is_not_theirs(potential, make_pattern):
    with pytest.raises(SettingError, match="projected potential"):
        potential_figure(make_pattern())
    with pytest.raises(SettingError, match="CBED"):
        cbed_figure(potential)


def test_the_cbed_figure(make_pattern, tmp_path):
    cbed = assemble_cbed(make_pattern(disc=True))
    figure = cbed_figure(cbed)
    assert len(_images(figure)) == 3
    assert any("mrad" in word for word in _words(figure))
    save_figure(figure, tmp_path / "c.png")
    with pytest.raises(SettingError, match="gamma"):
        cbed_figure(cbed, gamma=0)
