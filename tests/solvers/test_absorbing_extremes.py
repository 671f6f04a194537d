"""The separation of subspaces in `lacbed.solvers.absorption`, attacked with heavy crystals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_helpers import EVEN, case, largest_difference

from lacbed import TiltGrid

HEAVY = [
    ("Au", (0, 0, 1), 80e3, 150),
    ("Au", (1, 1, 0), 300e3, 150),
    ("Pb", (0, 0, 1), 80e3, 150),
    ("W", (0, 0, 1), 80e3, 150),
    ("W", (1, 1, 1), 300e3, 120),
    ("UO2", (0, 0, 1), 80e3, 180),
    ("UO2", (1, 1, 0), 300e3, 150),
    ("PbTe", (1, 1, 1), 80e3, 120),
]


@pytest.mark.parametrize(("crystal", "zone_axis", "energy", "beams"), HEAVY)
@pytest.mark.parametrize("absorption", ["thomas", ("proportional", 20.0)])
def test_heavy_crystals(crystal: str, zone_axis, energy: float, beams: int, absorption) -> None:
    hard = case(
        crystal,
        zone_axis=zone_axis,
        energy=energy,
        beams=beams,
        absorption=absorption,
        grid=TiltGrid(pixels=2, extent=1.7, center=(0.2, 0.1)),
        thicknesses=(20.0, 300.0, 1500.0),
        hkl=("all", 0.6),
    )
    assert largest_difference(hard.run("zone"), hard.run("reference")) <= 1e-5


@pytest.mark.parametrize("solver", ["zone", "tilted", "chebyshev"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_crystal_that_swallows_the_wave_gives_numbers(solver: str, dtype: str) -> None:
    # The thickest first, in equal steps: stepping back would multiply by what has died out.
    thick = case("Au", grid=TiltGrid(pixels=1, extent=0.5), absorption="thomas", thicknesses=(6e4, 30050.0, 100.0))
    found, expected = thick.run(solver, dtype=dtype), thick.run("reference")
    assert largest_difference(found, expected) <= 1e-4
    assert expected.values[2].item() > 0.3


@settings(max_examples=8)
@given(order=st.permutations(range(4)), solver=st.sampled_from(("zone", "tilted", "chebyshev")))
def test_the_order_of_thicknesses_does_not_matter(order: list[int], solver: str) -> None:
    thicknesses = np.array([100.0, 700.0, 1300.0, 1900.0])
    crystal = case("PbTe", grid=TiltGrid(pixels=2, extent=1.0), absorption="thomas")
    ascending = crystal.run(solver, thicknesses=thicknesses)
    shuffled = crystal.run(solver, thicknesses=thicknesses[order])
    np.testing.assert_allclose(shuffled.values, ascending.values[order], atol=1e-10)


def test_no_absorption_is_the_limit_of_little() -> None:
    plain = case("GaAs", grid=EVEN).run("zone")
    little = case("GaAs", grid=EVEN, absorption=("proportional", 1e-7)).run("zone")
    assert 0 < largest_difference(plain, little) < 1e-6
