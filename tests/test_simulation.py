"""The labelled result of `simulate`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lacbed import Crystal, TiltGrid, simulate
from lacbed.constants import wavelength

SRTIO3 = Crystal.named("SrTiO3")
SETTINGS = {"grid": TiltGrid(pixels=6, extent=2.0), "beams": 40, "thicknesses": (100.0, 250.0), "device": "cpu"}


def test_the_result_is_labelled() -> None:
    pattern = simulate(SRTIO3, hkl=((0, 0, 0), (1, 0, 0), (0, 1, 0)), **SETTINGS)
    assert pattern.dims == ("thickness", "hkl", "ky", "kx")
    assert pattern.shape == (2, 3, 6, 6)
    assert pattern.dtype == np.float64
    assert pattern.hkl.values.tolist() == ["0,0,0", "1,0,0", "0,1,0"]
    np.testing.assert_allclose(pattern.thickness, [100.0, 250.0])
    np.testing.assert_allclose(pattern.kx, (np.arange(6) - 2.5) * 4 / 6 / 3.90528)
    np.testing.assert_allclose(np.sin(1e-3 * pattern.alpha_x), wavelength(200e3) * pattern.kx)
    np.testing.assert_allclose(pattern.gx, [0, 1 / 3.90528, 0], atol=1e-12)
    np.testing.assert_allclose(pattern.gy, [0, 0, 1 / 3.90528], atol=1e-12)
    assert pattern.kx.attrs["units"] == "1/Å"
    assert np.all((pattern.values >= 0) & (pattern.values <= 1))


def test_reflections_lie_where_bragg_puts_them() -> None:
    """I_g is brightest in a thin foil at 2 k·g = -g²: this fixes the sign of k + g and the order of the axes."""
    grid = TiltGrid(pixels=41, k_max=0.2)
    pattern = simulate(
        SRTIO3, grid=grid, hkl=((1, 0, 0), (-1, 0, 0), (0, 1, 0)), beams=20, thicknesses=(400.0,), factors="lobato"
    )
    row = pattern.values[0].mean(axis=1)  # (hkl, kx)
    column = pattern.values[0].mean(axis=2)
    assert np.sum(pattern.kx.values * row[0]) < 0 < np.sum(pattern.kx.values * row[1])
    assert np.sum(pattern.ky.values * column[2]) < 0


def test_a_disc_leaves_the_corners_out() -> None:
    square = simulate(SRTIO3, **SETTINGS)
    disc = simulate(SRTIO3, **{**SETTINGS, "grid": TiltGrid(pixels=6, extent=2.0, shape="disc")})
    inside = np.hypot(*np.meshgrid(square.kx, square.ky)) <= 2.0 / 3.90528
    np.testing.assert_array_equal(np.isfinite(disc.values[0, 0]), inside)
    np.testing.assert_allclose(disc.values[0, 0][inside], square.values[0, 0][inside], atol=1e-5)


def test_all_reflections() -> None:
    pattern = simulate(SRTIO3, hkl="all", **{**SETTINGS, "grid": TiltGrid(pixels=2, extent=1.5)})
    assert pattern.sizes["hkl"] == 9
    assert simulate(SRTIO3, hkl=("all", 0.3), **SETTINGS).sizes["hkl"] == 5


def test_metadata_reproduces_the_result() -> None:
    first = simulate(
        Crystal.named("GaAs"), (1, 1, 0), 120e3, hkl=((0, 0, 0), (0, 0, 2)), absorption="thomas", **SETTINGS
    )
    a = first.attrs
    again = simulate(
        Crystal.from_cif_text(a["crystal_cif"]),
        a["zone_axis"],
        a["energy"],
        first.thickness.values,
        TiltGrid(**json.loads(a["grid"])),
        json.loads(a["hkl_asked"]),
        absorption=json.loads(a["absorption"]),
        x_direction=a["x_direction"],
        beams=a["beams"],
        factors=a["factors"],
        solver=a["solver"],
    )
    np.testing.assert_allclose(again.values, first.values, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "output", "expected"),
    [
        ("float32", "intensity", np.float32),
        ("float64", "intensity", np.float64),
        ("float32", "amplitude", np.complex64),
        ("float64", "amplitude", np.complex128),
    ],
)
def test_the_type_of_the_values(dtype: str, output: str, expected: type) -> None:
    assert simulate(SRTIO3, dtype=dtype, output=output, **SETTINGS).dtype == expected


def test_the_intensity_is_the_square_of_the_amplitude() -> None:
    chosen = {"hkl": ((0, 0, 0), (1, 1, 0)), **SETTINGS}
    wave, intensity = (simulate(SRTIO3, output=o, **chosen).values for o in ("amplitude", "intensity"))
    np.testing.assert_allclose(np.abs(wave) ** 2, intensity, atol=1e-9)


def test_a_note_says_that_a_debye_waller_factor_was_assumed() -> None:
    pattern = simulate(Crystal.named("FeSi"), **SETTINGS)
    assert any("Debye-Waller" in note for note in pattern.attrs["notes"])


def test_beams_chosen_by_convergence_say_so() -> None:
    pattern = simulate(SRTIO3, **{**SETTINGS, "beams": "auto", "tolerance": 0})
    assert pattern.attrs["beams"] >= 40
    assert any("converged" in note for note in pattern.attrs["notes"])


def test_a_pattern_is_within_a_tolerance_unless_something_else_says_how_exact_it_is() -> None:
    few = {**SETTINGS, "beams": "auto"}
    pattern = simulate(SRTIO3, **few)
    assert pattern.attrs["tolerance"] == 1e-3
    assert 0 < pattern.attrs["error_estimate"] <= 1e-3
    assert np.array_equal(pattern, simulate(SRTIO3, tolerance=1e-3, **few))
    for other in ({"beams": 40}, {"g_max": 1.0}, {"sg_max": 0.1}, {"solver": "zone"}, {"weak_beams": 5}):
        assert "tolerance" not in simulate(SRTIO3, **{**few, **other}).attrs


def test_refraction_matters_a_little_and_can_be_left_out() -> None:
    with_it, without = (simulate(SRTIO3, refraction=r, **SETTINGS).values for r in (True, False))
    assert 1e-6 < np.abs(with_it - without).max() < 0.05
