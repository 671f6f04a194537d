"""Bloch waves of abTEM on identical beams, in float64; for its conventions see `abtem_oracle`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from abtem_oracle import abtem_bloch, abtem_matrix_column, foil_along_wave, inverted, vacuum_wave

from lacbed import Crystal, TiltGrid
from lacbed.settings import Settings
from lacbed.setup import Setup, prepare
from lacbed.solvers.choose import run_solver

pytestmark = pytest.mark.oracle


@pytest.fixture(autouse=True, scope="module")
def abtem() -> Any:
    """When a test of this file runs, and not when every process collects it."""
    return pytest.importorskip("abtem", reason="abTEM is an optional extra: pip install lacbed[multislice]")


THICKNESSES = (150.0, 600.0, 1000.0)
TOLERANCE = 1e-6
"""Constants of the two programs differ by 1e-8; phases reach some hundred, so that 1e-6 leaves little room."""

CASES = {
    "SrTiO3 [001]": ("SrTiO3", (0, 0, 1), 2.0, 0),
    "SrTiO3 [001], first Laue zone": ("SrTiO3", (0, 0, 1), 4.8, 1),
    "GaAs [110]": ("GaAs", (1, 1, 0), 2.0, 0),
    "GaAs [111], first Laue zone": ("GaAs", (1, 1, 1), 3.2, 1),
}
"""Crystal, zone axis, g_max and Laue zones."""
TILTS = ((0.0, 0.0), (0.13, -0.07), (-0.4, 0.31))


def one_tilt(
    crystal: Crystal, zone: tuple[int, int, int], g_max: float, laue: int, k: tuple[float, float]
) -> Setup:
    """One incident direction, all beams wanted, foil normal along the incident wave."""
    settings = Settings(
        zone,
        200e3,
        THICKNESSES,
        TiltGrid(pixels=1, k_max=0.01, center=k),
        g_max=g_max,
        sg_max=0.03 if laue else None,
        laue_zones=laue,
        refraction=False,
        solver="reference",
    )
    flat = prepare(crystal, settings)
    normal = foil_along_wave(crystal, flat.frame, vacuum_wave(flat, 0))
    beams = flat.beams.hkl - flat.reduction.folding.anchor[0]
    hkl = tuple((int(h), int(k), int(l)) for h, k, l in beams[: flat.beams.strong])  # noqa: E741
    return prepare(crystal, replace(settings, foil_normal=normal, hkl=hkl))


def intensities(setup: Setup, solver: str) -> np.ndarray:
    """Ours, for the reflections in the order of the pairs: (thickness, pair)."""
    amplitude = run_solver(solver, setup.problem, torch.device("cpu"), torch.float64)
    return (amplitude.abs() ** 2).numpy()


@pytest.mark.parametrize("k", TILTS)
@pytest.mark.parametrize("case", CASES)
def test_every_beam_has_the_intensity_that_abtem_finds(case: str, k: tuple[float, float]) -> None:
    name, zone, g_max, laue = CASES[case]
    setup = one_tilt(Crystal.named(name), zone, g_max, laue, k)
    assert len(setup.problem.pair_out) == setup.beams.strong > 40
    assert bool(np.any(setup.beams.hkl @ zone)) == bool(laue)
    theirs = abtem_bloch(setup, 0, np.array(THICKNESSES))[:, setup.problem.pair_out.numpy()]
    for solver in ("reference", "tilted"):
        difference = np.abs(intensities(setup, solver) - theirs).max()
        print(f"{case}, k = {k}, {solver}: {setup.beams.strong} beams, max |dI| = {difference:.1e}")
        assert difference < TOLERANCE


def test_the_zone_solver_agrees_at_the_zone_axis() -> None:
    setup = one_tilt(Crystal.named("SrTiO3"), (0, 0, 1), 2.0, 0, (0.0, 0.0))
    theirs = abtem_bloch(setup, 0, np.array(THICKNESSES))[:, setup.problem.pair_out.numpy()]
    assert np.abs(intensities(setup, "zone") - theirs).max() < TOLERANCE


def test_a_tilt_by_a_reciprocal_vector_is_a_column_of_the_scattering_matrix() -> None:
    """A foil normal along the zone axis, which abTEM has at zone incidence only.

    In one Laue zone the operator is (D + U) / 2K_n with D up to a constant the same at zone incidence, so that
    a tilt by G acts like thickness t · k / K_n there.
    """
    crystal = Crystal.named("GaAs")
    for solver in ("zone", "tilted", "chebyshev", "reference"):
        setup = _tilt_of(crystal, (2, -2, 0), solver)
        k = vacuum_wave(setup, 0)
        ours = intensities(setup, solver)
        for row, t in enumerate(THICKNESSES):
            column = abtem_matrix_column(setup, np.array([2, -2, 0]), t * setup.wave.wave_number / k[2])
            theirs = np.abs(column[setup.problem.pair_out.numpy()]) ** 2
            assert np.abs(ours[row] - theirs).max() < TOLERANCE


def _tilt_of(crystal: Crystal, g: tuple[int, int, int], solver: str) -> Setup:
    settings = Settings(
        (1, 1, 0),
        200e3,
        THICKNESSES,
        TiltGrid(pixels=1, k_max=0.01),
        hkl=((0, 0, 0), (0, 0, 2), (-2, 2, 0)),
        g_max=2.2,
        refraction=False,
        solver=solver,
    )
    gx, gy, _ = prepare(crystal, settings).frame.vectors(g)
    grid = TiltGrid(pixels=1, k_max=0.01, center=(float(gx), float(gy)))
    return prepare(crystal, replace(settings, grid=grid))


def test_gallium_arsenide_is_not_taken_for_its_inverse() -> None:
    """The sign of the structure factor: abTEM on the inverted crystal is far away, ours inverted comes along."""
    crystal = Crystal.named("GaAs")
    other = inverted(crystal)
    setup, mirrored = (one_tilt(c, (1, 1, 0), 2.0, 0, TILTS[1]) for c in (crystal, other))
    thickness = np.array(THICKNESSES)
    theirs, theirs_mirrored = (
        abtem_bloch(s, 0, thickness)[:, s.problem.pair_out.numpy()] for s in (setup, mirrored)
    )
    assert np.abs(theirs - theirs_mirrored).max() > 1e-2
    assert np.abs(intensities(mirrored, "reference") - theirs_mirrored).max() < TOLERANCE
    assert np.abs(intensities(setup, "reference") - theirs).max() < TOLERANCE
