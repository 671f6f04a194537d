"""Tilted foils, many Laue zones and all terms in γ² in the engine, compared with exact solvers and more beams."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lacbed import Crystal, Site, TiltGrid, Zone, simulate
from lacbed.beams import beams_aside, select_beams
from lacbed.engine.foil import Foil
from lacbed.engine.orbits import plane_operations
from lacbed.errors import SettingError
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import make_frame
from lacbed.geometry.wave import electron_wave, internal_wave_vectors

OBLIQUE = Crystal.build(
    "oblique",
    (3.1, 3.4, 3.9, 83.0, 97.0, 104.0),
    1,
    (Site("Ti1", "Ti", (0.0, 0.0, 0.0), u_iso=0.02), Site("O1", "O", (0.31, 0.42, 0.17), u_iso=0.02)),
)

ONE = TiltGrid(1, semi_angle=0.1, center=(7.0, -4.0))

CASES: dict[str, tuple[str | Crystal, tuple[int, int, int], float, dict[str, Any]]] = {
    "tilted by 20 degrees": ("Si", (1, 1, 0), 20.0, {"thicknesses": (100.0, 900.0)}),
    "steeply tilted, far from the middle of a long Brillouin zone": (
        "PbS",
        (0, 3, 2),
        30.0,
        {
            "energy": 100e3,
            "thicknesses": (400.0, 1200.0),
            "grid": TiltGrid(2, semi_angle=6.0, center=(-14.0, -22.0)),
        },
    ),
    "tilted, no symmetry, absorbing": (
        OBLIQUE,
        (1, 0, 1),
        5.0,
        {"absorption": "thomas", "energy": 80e3, "hkl": ((0, 0, 0), (1, 1, -1), (-1, -1, 1))},
    ),
    "tilted, no centre": ("GaAs", (1, 1, 0), 12.0, {"hkl": ((0, 0, 0), (1, -1, 1), (-1, 1, -1))}),
    "Laue zones": (
        "Si",
        (1, 1, 1),
        0.0,
        {"laue_zones": 1, "energy": 100e3, "thicknesses": (100.0, 700.0), "grid": TiltGrid(2, semi_angle=5.0)},
    ),
    "Laue zones, no centre, absorbing": (
        "GaAs",
        (1, 1, 1),
        0.0,
        {"laue_zones": 1, "absorption": ("proportional", 8.0), "energy": 100e3, "grid": ONE, "hkl": ((2, -2, 0),)},
    ),
    "Laue zones in a tilted foil": (OBLIQUE, (1, 0, 1), 20.0, {"laue_zones": 1, "energy": 60e3}),
    "terms in γ²": ("Au", (0, 0, 1), 0.0, {"paraxial": False, "energy": 60e3, "thicknesses": (600.0,)}),
    "terms in γ², absorbing": (
        "GaAs",
        (1, 1, 0),
        0.0,
        {"paraxial": False, "absorption": "thomas", "energy": 60e3, "grid": ONE, "hkl": ((0, 0, 0), (0, 0, 2))},
    ),
}


def _normal(crystal: Crystal, zone: tuple[int, int, int], degrees: float) -> tuple[float, ...] | None:
    if not degrees:
        return None
    frame, angle = make_frame(crystal, zone), math.radians(degrees)
    normal = np.array([0.8 * math.sin(angle), 0.6 * math.sin(angle), math.cos(angle)])
    return tuple(np.linalg.solve(frame.rotation @ crystal.direct, normal))


@pytest.mark.parametrize("name", CASES)
def test_hard_cases_stay_within_the_tolerance(name: str) -> None:
    given, zone, degrees, more = CASES[name]
    crystal = given if isinstance(given, Crystal) else Crystal.named(given)
    asked: dict[str, Any] = {
        "thicknesses": (80.0, 250.0),
        "grid": TiltGrid(2, semi_angle=12.0, center=(3.0, 1.0)),
        "foil_normal": _normal(crystal, zone, degrees),
        **more,
    }
    exact = simulate(crystal, zone, g_max=7.0 if given == "Au" else 4.4, device="cpu", **asked)
    found = simulate(crystal, zone, tolerance=1e-3, **asked)
    worst = float(np.abs(found.values - exact.values).max())
    assert found.attrs["solver"] == "fast"
    assert worst <= 1e-3
    assert found.attrs["error_estimate"] <= 1e-3
    assert worst <= 3.0 * found.attrs["error_estimate"]


def test_tilted_foils_and_laue_zones_change_what_they_should() -> None:
    """The cases above mean something: without the foil's tilt or the Laue zones they would fail."""
    crystal, zone = Crystal.named("Si"), (1, 1, 1)
    asked: dict[str, Any] = {"energy": 100e3, "thicknesses": (700.0,), "tolerance": 3e-3}
    asked["grid"] = TiltGrid(3, semi_angle=5.0)
    plain = simulate(crystal, zone, **asked).values
    for more in ({"laue_zones": 1}, {"foil_normal": _normal(crystal, zone, 20.0)}):
        assert np.abs(simulate(crystal, zone, **asked, **more).values - plain).max() > 2e-2  # type: ignore[arg-type]


def test_a_pattern_is_interpolated_in_a_tilted_foil() -> None:
    crystal, grid = Crystal.named("MgO"), TiltGrid(40, semi_angle=12.0)
    asked: dict[str, Any] = {"thicknesses": (150.0,), "foil_normal": (1, 0, 6), "hkl": ((0, 0, 0), (0, 2, 0))}
    found = simulate(crystal, grid=grid, tolerance=1e-3, **asked)
    assert "interpolated" in found.attrs["notes"][-1]
    few = TiltGrid(1, k_max=1e-6, center=(float(found.kx[31]), float(found.ky[4])))
    exact = simulate(crystal, grid=few, g_max=6.0, device="cpu", **asked)
    assert np.abs(found.values[:, :, 4, 31] - exact.values[:, :, 0, 0]).max() < 1e-3


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_tilts_are_moved_along_the_normal(degrees: float) -> None:
    """K_n and |P_g|² - K² of the moved tilts are those of the tilts, refraction included."""
    frame = make_frame(OBLIQUE, (1, 0, 1), _normal(OBLIQUE, (1, 0, 1), degrees))
    outside, mean = electron_wave(100e3).wave_number, 0.07
    foil = Foil(frame.normal, outside, math.sqrt(outside**2 + mean))
    tilts = np.random.default_rng(0).uniform(-1.0, 1.0, (20, 2))
    normal = torch.as_tensor(frame.normal)
    wave = internal_wave_vectors(torch.as_tensor(tilts), outside, normal, torch.tensor(mean)).numpy()
    moved, g = foil.moved(tilts), np.array([[0.3, -0.2, 0.0], [3.0, 1.0, -0.2]])
    np.testing.assert_allclose(foil.along(moved), wave @ frame.normal, rtol=1e-12)
    beams = wave[:, None] + g
    rise = ((beams**2).sum(axis=2) - outside**2 - mean) * (wave @ frame.normal)[:, None] / (beams @ frame.normal)
    np.testing.assert_allclose(foil.kinetic(moved, g), rise, atol=1e-9)


def test_the_beams_of_other_laue_zones_are_those_of_the_exact_solvers() -> None:
    crystal = Crystal.named("GaAs")
    frame, wave = make_frame(crystal, (0, 0, 1)), electron_wave(200e3)
    tilts = np.array([[0.01, 0.02], [0.4, 0.3]])
    size = (tilts**2).sum(axis=1)
    found = beams_aside(crystal, frame, wave, (float(size[0]), float(size[1])), 1)
    listed = select_beams(
        crystal, frame, wave, tilts, np.zeros((1, 3), dtype=np.int64), g_max=6.0, laue_zones=1
    ).hkl
    assert {tuple(h) for h in found} == {tuple(h) for h in listed if h[2]}
    assert len(found) > 50
    assert len(beams_aside(crystal, frame, wave, (0.0, 1.0), 0)) == 0


def test_a_tilted_foil_and_laue_zones_have_less_symmetry() -> None:
    crystal = Crystal.named("Si")

    def count(normal: tuple[int, int, int] | None, one_zone: bool) -> int:
        frame = make_frame(crystal, (0, 0, 1), normal)
        return len(plane_operations(crystal, frame, zone_of_allowed(crystal, frame), one_zone))

    assert count(None, True) == 8
    assert count(None, False) == 8  # 4mm of the diamond glides, and what reciprocity adds is among it
    assert count((1, 0, 4), True) == 2
    assert count((1, 2, 9), False) == 1


@pytest.mark.parametrize("more", [{"laue_zones": 1}, {"foil_normal": (0, 1, 9)}, {"paraxial": False}])
def test_a_zone_is_saved_with_all_that_it_knows(more: dict[str, Any], tmp_path: Path) -> None:
    crystal, grid, path = Crystal.named("Al"), TiltGrid(5, semi_angle=8.0), tmp_path / "al.zone"
    zone = Zone(crystal, tolerance=1e-2, **more)
    first = zone.pattern((200.0,), grid)
    zone.save(path)
    again = Zone.load(path)
    np.testing.assert_allclose(again.pattern((200.0,), grid), first, atol=1e-12)
    np.testing.assert_allclose(again.pattern((300.0,), grid), zone.pattern((300.0,), grid), atol=1e-12)
    assert again.waves == zone.waves


def test_what_lies_beyond_is_left_to_exact_solvers() -> None:
    crystal, grid = Crystal.named("Al"), TiltGrid(2, semi_angle=4.0)
    with pytest.raises(SettingError, match="not too steep"):
        Zone(crystal, foil_normal=(3, 0, 1))
    found = simulate(crystal, thicknesses=(60.0,), grid=grid, hkl=((1, 1, 1),), laue_zones=1, tolerance=5e-2)
    assert found.attrs["solver"] != "fast"
    assert "exact solver" in found.attrs["notes"][-1]
