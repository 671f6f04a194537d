"""Grids of incident directions, and their folding into the first Brillouin zone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacbed import Crystal, TiltGrid
from lacbed.constants import wavelength
from lacbed.errors import SettingError
from lacbed.geometry.folding import fold_tilts, is_allowed, zone_of_allowed
from lacbed.geometry.frame import make_frame

CUBIC = make_frame(Crystal.named("SrTiO3"))
A_STAR = 1 / 3.90528
FOLDED = (
    ("SrTiO3", (0, 0, 1)),
    ("Au", (0, 0, 1)),
    ("Si", (1, 1, 0)),
    ("W", (1, 1, 1)),
    ("GaN", (0, 0, 1)),
    ("ZrO2", (0, 1, 0)),
    ("CuO", (0, 0, 1)),
    ("Al2SiO5", (1, 0, 0)),
    ("MgSiO3", (0, 0, 1)),
    ("FeSi", (1, 2, 3)),
)


@pytest.mark.parametrize("pixels", [1, 2, 5, 128])
def test_pixel_centres(pixels: int) -> None:
    kx, ky = TiltGrid(pixels=pixels, k_max=0.5).axes(CUBIC, 200e3)
    expected = [(i - pixels / 2 + 0.5) * 2 * 0.5 / pixels for i in range(pixels)]
    np.testing.assert_allclose(kx, expected, atol=1e-15)
    np.testing.assert_allclose(ky, expected, atol=1e-15)


def test_the_default_reaches_four_reciprocal_vectors() -> None:
    assert TiltGrid() == TiltGrid(pixels=128, extent=4.0)
    assert TiltGrid().half_width(CUBIC, 200e3) == pytest.approx(4 * A_STAR)


def test_the_three_units_are_equivalent() -> None:
    mrad = 1e3 * np.arcsin(0.5 * wavelength(200e3))
    grids = [
        TiltGrid(pixels=8, k_max=0.5),
        TiltGrid(pixels=8, extent=0.5 / A_STAR),
        TiltGrid(pixels=8, semi_angle=mrad),
    ]
    axes = [grid.axes(CUBIC, 200e3)[0] for grid in grids]
    np.testing.assert_allclose(axes[1], axes[0], atol=1e-12)
    np.testing.assert_allclose(axes[2], axes[0], atol=1e-12)


@pytest.mark.parametrize("unit", ["k_max", "extent"])
def test_the_centre_has_the_unit_of_the_half_width(unit: str) -> None:
    length = {"k_max": 1.0, "extent": A_STAR}[unit]
    grid = TiltGrid(pixels=4, center=(0.3, -0.2), **{unit: 0.5})
    kx, ky = grid.axes(CUBIC, 200e3)
    assert kx.mean() == pytest.approx(0.3 * length)
    assert ky.mean() == pytest.approx(-0.2 * length)


def test_rows_are_ky_and_columns_kx() -> None:
    tilts, inside = TiltGrid(pixels=3, k_max=0.3, center=(1.0, 0.0)).tilts(CUBIC, 200e3)
    assert inside.all()
    image = tilts.reshape(3, 3, 2)
    np.testing.assert_allclose(image[0, :, 0], [0.8, 1.0, 1.2])
    np.testing.assert_allclose(image[:, 0, 1], [-0.2, 0.0, 0.2], atol=1e-15)


@pytest.mark.parametrize("center", [(0.0, 0.0), (0.4, -0.3)])
@pytest.mark.parametrize("unit", ["k_max", "semi_angle", "extent"])
def test_a_disc_holds_what_is_within_the_half_width(unit: str, center) -> None:
    grid = TiltGrid(pixels=16, shape="disc", center=center, **{unit: 2.0})
    tilts, inside = grid.tilts(CUBIC, 200e3)
    middle = tilts.mean(axis=0)
    distance = np.linalg.norm(tilts - middle, axis=1)
    half = grid.half_width(CUBIC, 200e3)
    np.testing.assert_array_equal(inside, distance <= half)
    assert inside.mean() == pytest.approx(np.pi / 4, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pixels": 0}, "between 1 and 4096"),
        ({"pixels": 1_000_000}, "between 1 and 4096"),
        ({"pixels": 2.5}, "whole number"),
        ({"pixels": True}, "whole number"),
        ({"pixels": float("nan")}, "whole number"),
        ({"pixels": float("inf")}, "whole number|between 1"),
        ({"pixels": "many"}, "whole number"),
        ({"k_max": 0.0}, "positive"),
        ({"k_max": -1.0}, "positive"),
        ({"extent": float("nan")}, "positive"),
        ({"semi_angle": float("inf")}, "positive"),
        ({"k_max": "wide"}, "positive"),
        ({"k_max": 1.0, "extent": 4.0}, "once"),
        ({"shape": "hexagon"}, "square"),
        ({"center": (float("nan"), 0.0)}, "finite"),
        ({"center": (0.0, 0.0, 0.0)}, "two finite"),
    ],
)
def test_impossible_grids_are_refused(arguments, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        TiltGrid(**arguments)


@pytest.mark.parametrize("arguments", [{"k_max": 40.0}, {"semi_angle": 500.0}, {"semi_angle": 3140.0}])
def test_grids_wider_than_the_projection_makes_sense_are_refused(arguments) -> None:
    with pytest.raises(SettingError, match="mrad"):
        TiltGrid(pixels=4, **arguments).axes(CUBIC, 200e3)


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.int64(1), 1])
def test_numbers_of_numpy_are_numbers(number) -> None:
    assert TiltGrid(pixels=np.int64(4), k_max=number).half_width(CUBIC, 200e3) == pytest.approx(float(number))


@pytest.mark.parametrize(("name", "zone_axis"), FOLDED)
@settings(max_examples=10)
@given(data=st.data())
def test_folding(name: str, zone_axis, data: st.DataObject) -> None:
    """k = q + G with an allowed G of the zone, and no other G nearer to k."""
    crystal = Crystal.named(name)
    frame = make_frame(crystal, zone_axis)
    tilts = np.array([data.draw(st.tuples(st.floats(-2.5, 2.5), st.floats(-2.5, 2.5))) for _ in range(5)])
    folded = fold_tilts(crystal, frame, tilts)
    vectors = frame.vectors(folded.anchor)
    np.testing.assert_allclose(folded.reduced + vectors[:, :2], tilts, atol=1e-12)
    assert np.all(folded.anchor @ np.array(zone_axis) == 0)
    assert np.all(is_allowed(crystal, folded.anchor))
    steps = np.array([(i, j) for i in range(-3, 4) for j in range(-3, 4)]) @ folded.basis
    others = np.linalg.norm(folded.reduced[:, None] - frame.vectors(steps)[None, :, :2], axis=-1)
    assert np.all(np.linalg.norm(folded.reduced, axis=1) <= others.min(axis=1) + 1e-9)


@pytest.mark.parametrize(("name", "zone_axis"), FOLDED)
def test_the_allowed_zone_is_spanned(name: str, zone_axis) -> None:
    crystal = Crystal.named(name)
    frame = make_frame(crystal, zone_axis)
    basis = zone_of_allowed(crystal, frame)
    grid = np.array([(i, j) for i in range(-5, 6) for j in range(-5, 6)]) @ frame.zone_basis
    allowed = grid[is_allowed(crystal, grid)]
    numbers, *_ = np.linalg.lstsq(basis.T.astype(float), allowed.T.astype(float), rcond=None)
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-9)
    assert np.all(is_allowed(crystal, basis))


def test_on_the_boundary_the_shortest_vector_is_taken() -> None:
    crystal = Crystal.named("SrTiO3")
    tilts = A_STAR * np.array([[0.5, 0.0], [-0.5, 0.0], [0.5, 0.5], [1.5, 0.0], [1.5, 1.5]])
    anchors = fold_tilts(crystal, CUBIC, tilts).anchor
    assert anchors.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize(
    ("name", "hkl", "allowed"),
    [
        ("Si", (1, 0, 0), False),
        ("Si", (2, 0, 0), True),
        ("Si", (1, 1, 1), True),
        ("W", (1, 0, 0), False),
        ("W", (1, 1, 0), True),
        ("MgSiO3", (1, 0, 0), False),
        ("MgSiO3", (1, 1, 0), True),
        ("CuO", (1, 0, 0), False),
        ("SrTiO3", (1, 0, 0), True),
        ("FeS2", (1, 0, 0), True),
    ],
)
def test_centring_forbids_reflections(name: str, hkl, allowed: bool) -> None:
    # (Si 200 is extinguished by its glide plane and not by its lattice: double diffraction brings it back.)
    assert bool(is_allowed(Crystal.named(name), np.array(hkl))) == allowed
