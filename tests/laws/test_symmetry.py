"""Symmetry of patterns that were computed without any use of symmetry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from law_helpers import at, tilt_vectors, triclinic_crystals, turned

from lacbed import Crystal, TiltGrid, simulate
from lacbed.geometry.frame import make_frame
from lacbed.geometry.symmetry import pattern_operations

GRID = TiltGrid(pixels=6, extent=1.5)


def square(name: str, hkl=((0, 0, 0),), **chosen) -> np.ndarray:
    """Patterns (hkl, ky, kx) at [001] by the reference, which knows no symmetry."""
    defaults = {"thicknesses": (700.0,), "beams": 50, "solver": "reference"}
    return simulate(Crystal.named(name), grid=GRID, hkl=hkl, **(defaults | chosen)).values[0]


@pytest.mark.parametrize(
    ("name", "four_fold"),
    [
        ("Mn", True),  # 432
        ("GaAs", True),  # -43m
        ("SrTiO3", True),  # m-3m
        ("Si", True),  # m-3m with glides
        ("FeSi", False),  # 23
        ("FeS2", False),  # m-3
        ("Y2O3", False),
    ],
)
@pytest.mark.parametrize("absorption", [None, "thomas"])
def test_cubic_000_at_001_has_4mm_or_2mm(name: str, four_fold: bool, absorption) -> None:
    image = square(name, absorption=absorption)[0]
    np.testing.assert_allclose(image, image[::-1], atol=1e-9)
    np.testing.assert_allclose(image, image[:, ::-1], atol=1e-9)
    if four_fold:
        np.testing.assert_allclose(image, image.T, atol=1e-9)
    else:
        assert np.abs(image - image.T).max() > 1e-3


@pytest.mark.parametrize("name", ["GaAs", "FeSi", "SrTiO3"])
def test_the_pattern_by_zones_has_the_same_symmetry(name: str) -> None:
    waves = square(name, output="amplitude", solver="zone")[0]
    image = np.abs(waves) ** 2
    np.testing.assert_allclose(image, square(name)[0], atol=1e-9)
    np.testing.assert_allclose(image, image[::-1, ::-1], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "zone_axis", "fold"),
    # In the projection every axis parallel to the beam gains a two-fold one for g = 0.
    [
        ("GaAs", (1, 1, 1), 6),
        ("FeSi", (1, 1, 1), 6),
        ("SiO2", (0, 0, 1), 6),
        ("GaN", (0, 0, 1), 6),
        ("MgSiO3", (0, 0, 1), 6),
    ],
)
def test_projection_of_a_three_fold_axis_is_six_fold(name: str, zone_axis, fold: int) -> None:
    k = (0.05, 0.021)
    chosen = {"zone_axis": zone_axis, "thicknesses": (700.0,), "beams": 50}
    values = [at(Crystal.named(name), turned(k, angle), **chosen) for angle in range(0, 360, 360 // fold)]
    np.testing.assert_allclose(values, values[0][None].repeat(fold, 0), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [("GaAs", True), ("MgAgAs", True), ("FeSi", False)],  # 3m, 3m, 3
)
def test_higher_laue_zones_leave_three_fold_symmetry_only(name: str, mirrored: bool) -> None:
    """At [111] 000 has 6mm (or 6) in projection, and 3m (or 3) with higher-order Laue zones."""
    crystal, k = Crystal.named(name), np.array([0.08, 0.03])
    chosen = {"zone_axis": (1, 1, 1), "thicknesses": (500.0,), "beams": 120, "laue_zones": 1, "energy": 20e3}
    values = [at(crystal, turned(k, angle), **chosen)[0, 0] for angle in range(0, 360, 60)]
    np.testing.assert_allclose(values[::2], values[0], atol=1e-9)
    np.testing.assert_allclose(values[1::2], values[1], atol=1e-9)
    assert abs(values[1] - values[0]) > 1e-4
    x = make_frame(crystal, (1, 1, 1)).zone_vectors[:, 0]
    axis = np.degrees(np.arctan2(x[1], x[0])) + 30.0  # {110} mirrors hold [111] and lie 30 degrees from (1,0,-1)
    angle = np.degrees(np.arctan2(k[1], k[0]))
    mirror = at(crystal, turned(k, 2 * (axis - angle)), **chosen)[0, 0]
    assert (abs(mirror - values[0]) < 1e-9) == mirrored


def test_centrosymmetric_crystals_obey_friedel() -> None:
    """I_g(k) = I_-g(-k) where there is a centre."""
    image = square("FeS2", hkl=((2, 0, 0), (-2, 0, 0), (1, 2, 0), (-1, -2, 0)))
    np.testing.assert_allclose(image[0], image[1][::-1, ::-1], atol=1e-9)
    np.testing.assert_allclose(image[2], image[3][::-1, ::-1], atol=1e-9)


def test_polar_crystals_show_bijvoet_differences() -> None:
    hkl = ((1, -1, 1), (-1, 1, -1), (0, 0, 2), (0, 0, -2))
    polar = square("GaAs", hkl=hkl, zone_axis=(1, 1, 0))
    assert np.abs(polar[0] - polar[1][::-1, ::-1]).max() > 0.01
    assert np.abs(polar[2] - polar[3][::-1, ::-1]).max() > 0.01
    centric = square("Ge", hkl=hkl[:2], zone_axis=(1, 1, 0))
    np.testing.assert_allclose(centric[0], centric[1][::-1, ::-1], atol=1e-9)


def test_a_projection_with_a_two_fold_axis_hides_the_polarity() -> None:
    image = square("GaAs", hkl=((2, 2, 0), (-2, -2, 0)))
    np.testing.assert_allclose(image[0], image[1][::-1, ::-1], atol=1e-9)


@pytest.mark.parametrize("absorption", [None, "thomas"])
@pytest.mark.parametrize("g", [(1, -1, 1), (0, 0, 2), (0, 0, -2)])
def test_reciprocity(absorption, g: tuple[int, int, int]) -> None:
    """I_0(k) = I_0(-k) exactly, and I_g(k) = I_g(-k-g) to 1e-4, also in a polar projection."""
    crystal, k = Crystal.named("GaAs"), np.array([0.06, 0.11])
    chosen = {"zone_axis": (1, 1, 0), "thicknesses": (200.0, 800.0), "absorption": absorption, "g_max": 1.6}
    back = -k - make_frame(crystal, (1, 1, 0)).vectors(g)[:2]
    np.testing.assert_allclose(at(crystal, k, **chosen), at(crystal, -k, **chosen), atol=1e-10)
    there, again = (at(crystal, tilt, hkl=(g,), **(chosen | {"g_max": 2.6})) for tilt in (k, back))
    np.testing.assert_allclose(there, again, atol=2e-4)


@settings(max_examples=10)
@given(crystal=triclinic_crystals(), k=tilt_vectors)
def test_reciprocity_of_the_direct_beam_in_any_crystal(crystal: Crystal, k) -> None:
    there, back = (at(crystal, sign * np.array(k), thicknesses=(500.0,), beams=40) for sign in (1, -1))
    np.testing.assert_allclose(there, back, atol=1e-7)


def test_a_triclinic_pattern_has_the_two_fold_axis_of_reciprocity_alone() -> None:
    crystal = Crystal.named("Al2SiO5")
    frame = make_frame(crystal, (1, 0, 0))
    assert [o.reversed for o in pattern_operations(crystal, frame, False)] == [False, True]
    flat = pattern_operations(crystal, frame, True)
    assert sorted(round(np.trace(o.image(np.eye(2)))) for o in flat) == [-2, -2, 2, 2]


@pytest.mark.parametrize(
    ("name", "zone_axis", "flat", "deep"),
    # Point group of the 000 pattern: order in projection, and with higher-order Laue zones.
    # (Buxton et al. 1976, table 2: bright-field symmetry of the diffraction group.)
    [
        ("SrTiO3", (0, 0, 1), 8, 8),
        ("Mn", (0, 0, 1), 8, 8),
        ("GaAs", (0, 0, 1), 8, 8),
        ("FeSi", (0, 0, 1), 4, 4),
        ("SrTiO3", (1, 1, 1), 12, 6),
        ("GaAs", (1, 1, 1), 12, 6),
        ("FeSi", (1, 1, 1), 6, 3),
        ("FeS2", (1, 1, 1), 6, 3),
        ("Mn", (1, 1, 1), 12, 6),
        ("SiO2", (0, 0, 1), 12, 6),
        ("GaN", (0, 0, 1), 12, 12),
        ("GaAs", (1, 1, 0), 4, 4),
        ("ZrO2", (0, 1, 0), 2, 2),
    ],
)
def test_the_symmetry_found_is_that_of_the_tables(name: str, zone_axis, flat: int, deep: int) -> None:
    crystal = Crystal.named(name)
    frame = make_frame(crystal, zone_axis)
    for zolz_only, order in ((True, flat), (False, deep)):
        operations = pattern_operations(crystal, frame, zolz_only)
        images = {tuple((np.round(o.image(np.eye(2)), 6) + 0.0).ravel()) for o in operations}
        assert len(images) == order


def test_a_tilted_foil_keeps_only_the_mirror_that_holds_its_normal() -> None:
    crystal = Crystal.named("SrTiO3")
    for normal, order in (((0.0, 0.2, 1.0), 2), ((0.2, 0.2, 1.0), 2), ((0.1, 0.2, 1.0), 1)):
        assert len(pattern_operations(crystal, make_frame(crystal, foil_normal=normal), True)) == order
