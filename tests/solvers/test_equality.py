"""Every solver equals the literal reference on a matrix of hard cases.

The reference uses neither symmetry nor the sharing of tilts, so that this also proves the symmetry that the
other solvers take from the crystal.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_helpers import CASES, EVEN, TIED, TOLERANCE, case, largest_difference, reference

from lacbed import TiltGrid
from lacbed.errors import SettingError
from lacbed.solvers.choose import BLOCH_SOLVERS

SOLVERS = [name for name in BLOCH_SOLVERS if name != "reference"]


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
@pytest.mark.parametrize("name", CASES)
def test_intensities_equal_the_reference_in_float64(name: str, solver: str) -> None:
    if solver in CASES[name].without:
        with pytest.raises(SettingError, match="auto"):
            CASES[name].run(solver)
        return
    assert largest_difference(CASES[name].run(solver), reference(name)) <= TOLERANCE["float64"]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", CASES)
def test_intensities_equal_the_reference_in_float32(name: str, solver: str) -> None:
    if solver in CASES[name].without:
        pytest.skip("refused, as float64 shows")
    pattern = CASES[name].run(solver, dtype="float32")
    assert pattern.dtype == np.float32
    assert largest_difference(pattern, reference(name)) <= TOLERANCE["float32"]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", TIED)
def test_tilts_with_an_arbitrary_choice_of_zone_equal_the_reference(name: str, solver: str) -> None:
    # Exactly between two G of equal length the beams of a tilt cannot have its symmetry: none may be used.
    assert largest_difference(TIED[name].run(solver), reference(name)) <= TOLERANCE["float64"]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", CASES)
def test_amplitudes_equal_the_reference_with_their_phase(name: str, solver: str) -> None:
    if solver in CASES[name].without:
        pytest.skip("refused, as intensities show")
    grid = TiltGrid(pixels=2, k_max=0.3, center=(0.05, 0.1))
    expected = CASES[name].run("reference", output="amplitude", grid=grid)
    found = CASES[name].run(solver, output="amplitude", grid=grid)
    assert np.iscomplexobj(found.values)
    assert largest_difference(found, expected) <= 1e-5
    intensity = CASES[name].run("reference", grid=grid)
    np.testing.assert_allclose(np.abs(expected.values) ** 2, intensity.values, atol=1e-12)


SYMMETRIC = {
    "Si [001], zone of equal steps": 2,
    "FeSi [001], 23": 2,
    "Mn [001], 432": 4,
    "FeS2 [001], m-3": 2,
    "foil tilted in a mirror plane": 2,
    "HOLZ": 4,
    "descending equal steps, absorbing": 4,
}
"""Cases in which symmetry must save at least this factor, or the equality above would prove nothing about it."""


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetry_is_used_where_there_is_some(name: str) -> None:
    assert reference(name).attrs["tilts_solved"] == reference(name).sizes["kx"] ** 2
    assert CASES[name].run("auto").attrs["tilts_solved"] <= 16 // SYMMETRIC[name]


@pytest.mark.parametrize(
    "name", ["HOLZ", "tilted foil", "weak beams", "everything at once", "foil tilted in a mirror plane"]
)
def test_auto_never_takes_a_solver_that_does_not_apply(name: str) -> None:
    assert CASES[name].run("auto").attrs["solver"] not in CASES[name].without


HARD_CRYSTALS = ("GaAs", "FeSi", "FeS2", "SiO2", "CuO", "Al2SiO5", "Au", "PbTe")
ZONES = ((0, 0, 1), (1, 1, 0), (1, 1, 1), (0, 1, 0), (-1, 0, 2))


@settings(max_examples=15)
@given(
    crystal=st.sampled_from(HARD_CRYSTALS),
    zone_axis=st.sampled_from(ZONES),
    energy=st.sampled_from((60e3, 200e3, 300e3)),
    thicknesses=st.lists(st.floats(0.1, 2000.0), min_size=1, max_size=4),
    pixels=st.integers(1, 4),
    k_max=st.floats(0.01, 0.6),
    center=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    beams=st.integers(1, 60),
    absorption=st.sampled_from((None, "thomas", ("proportional", 10.0))),
    solver=st.sampled_from(["auto", *SOLVERS]),
)
def test_any_flat_foil_equals_the_reference(solver: str, pixels: int, k_max: float, center, **chosen) -> None:
    hard = case(**chosen, grid=TiltGrid(pixels=pixels, k_max=k_max, center=center))
    assert largest_difference(hard.run(solver), hard.run("reference")) <= TOLERANCE["float64"]


@settings(max_examples=10)
@given(
    crystal=st.sampled_from(HARD_CRYSTALS),
    zone_axis=st.sampled_from(ZONES),
    tilt=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    energy=st.sampled_from((40e3, 200e3)),
    pixels=st.integers(1, 3),
    beams=st.integers(20, 60),
    weak_beams=st.sampled_from((0, 0, 25)),
    laue_zones=st.integers(0, 2),
    absorption=st.sampled_from((None, "thomas")),
)
def test_any_tilted_foil_equals_the_reference(pixels: int, zone_axis, tilt, **chosen) -> None:
    normal = tuple(np.array(zone_axis) + 0.5 * np.array(tilt))
    grid = TiltGrid(pixels=pixels, k_max=0.31)
    hard = case(**chosen, zone_axis=zone_axis, foil_normal=normal, grid=grid)
    try:
        expected = hard.run("reference")
    except SettingError as error:
        assert "not physical" in str(error)  # noqa: PT017
        for solver in ("auto", "tilted"):
            with pytest.raises(SettingError, match="not physical"):
                hard.run(solver)
        return
    for solver in ("auto", "tilted"):
        assert largest_difference(hard.run(solver), expected) <= TOLERANCE["float64"]


@pytest.mark.parametrize(
    ("crystal", "tilt", "beams", "zones"),
    [
        ("FeS2", (-0.1349, -0.3945, 0.1291), 58, 2),  # 2e31 times the incident intensity
        ("PbTe", (0.2146, -0.3329, -0.1044), 57, 1),
    ],
)
def test_weak_beams_that_make_a_gain_are_refused(crystal: str, tilt, beams: int, zones: int) -> None:
    zone = (1, 1, 0) if crystal == "FeS2" else (0, 0, 1)
    hard = case(
        crystal,
        zone_axis=zone,
        foil_normal=tuple(np.array(zone) + 0.5 * np.array(tilt)),
        grid=TiltGrid(pixels=3, k_max=0.31),
        energy=40e3,
        beams=beams,
        weak_beams=25,
        laue_zones=zones,
        absorption="thomas",
    )
    for solver in ("auto", "tilted", "reference"):
        for dtype in ("float64", "float32"):
            with pytest.raises(SettingError, match=r"not physical, .*: weak beam \(.*\) is nearly excited"):
                hard.run(solver, dtype=dtype)
    noted = hard.run("auto", absorption=None)  # conserves the current, and is wrong all the same
    assert any("is nearly excited at a tilt" in note for note in noted.attrs["notes"])
    assert not any("excited" in note for note in hard.run("auto", weak_beams=0).attrs["notes"])


def test_a_weak_beam_exactly_on_the_sphere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lacbed.setup.weak_beam_share", lambda problem: (float("inf"), problem.strong))
    for solver in ("auto", "tilted", "reference"):
        with pytest.raises(SettingError, match=r"not physical, with intensities without a value: weak beam \("):
            case("GaAs", weak_beams=20, grid=EVEN).run(solver)
