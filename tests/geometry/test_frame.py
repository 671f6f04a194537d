"""The crystal in the microscope: frames of all crystal systems, and bases of the zero-order Laue zone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lacbed import Crystal
from lacbed.crystals import Site
from lacbed.crystals.cell import direct_basis, reciprocal_basis
from lacbed.errors import SettingError
from lacbed.geometry.frame import make_frame, near_tie, shortest_pair, zone_lattice_basis

SYSTEMS = ("SrTiO3", "TiO2", "Mg2SiO4", "GaN", "SiO2", "MgSiO3", "ZrO2", "Al2SiO5", "Si", "W")
ZONES = ((0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1), (-1, 2, 3), (0, 0, -1))

indices = st.integers(-5, 5)
cells = st.tuples(*[st.floats(3.0, 12.0)] * 3, *[st.floats(65.0, 115.0)] * 3)


@pytest.mark.parametrize("zone_axis", ZONES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_frames_are_right_handed_with_z_along_the_beam(name: str, zone_axis) -> None:
    crystal = Crystal.named(name)
    frame = make_frame(crystal, zone_axis)
    np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame.rotation) == pytest.approx(1.0)
    beam = frame.rotation @ crystal.direct @ np.array(zone_axis)
    np.testing.assert_allclose(beam / np.linalg.norm(beam), [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(frame.normal, [0, 0, 1], atol=1e-12)
    assert frame.is_flat
    # x is the shortest reciprocal vector of the zone by default.
    first = frame.vectors(frame.x_direction)
    np.testing.assert_allclose(first, [frame.shortest, 0, 0], atol=1e-12)
    np.testing.assert_allclose(frame.vectors(frame.zone_basis)[:, 2], 0, atol=1e-12)
    np.testing.assert_allclose(
        frame.vectors((1, 2, 3)), frame.rotation @ crystal.reciprocal @ [1, 2, 3], atol=1e-12
    )


@pytest.mark.parametrize("zone_axis", ZONES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_basis_of_the_zone_is_right_handed_seen_along_the_beam(name: str, zone_axis) -> None:
    # An image on this basis (the projected potential) would otherwise show the mirror image of the crystal.
    assert np.linalg.det(make_frame(Crystal.named(name), zone_axis).zone_vectors) > 0


def test_defaults_at_001_of_a_cubic_crystal_are_the_cell_axes() -> None:
    frame = make_frame(Crystal.named("SrTiO3"))
    assert frame.zone_basis.tolist() == [[1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(frame.rotation, np.eye(3), atol=1e-12)
    assert frame.shortest == pytest.approx(1 / 3.90528)


@pytest.mark.parametrize("x_direction", [(1, 1, 0), (0, -1, 0), (2, 1, 5), (0.3, 0.1, 0.0)])
def test_x_lies_along_the_part_of_the_given_direction_normal_to_the_beam(x_direction) -> None:
    crystal = Crystal.named("ZrO2")
    frame = make_frame(crystal, (0, 0, 1), x_direction=x_direction)
    x, y, _ = frame.vectors(x_direction)
    assert y == pytest.approx(0.0, abs=1e-12)
    assert x > 0
    assert frame.x_direction == tuple(float(v) for v in x_direction)


@settings(max_examples=150)
@given(zone=st.tuples(indices, indices, indices), cell=cells, hkl=st.tuples(indices, indices))
def test_the_basis_spans_the_whole_zone(zone, cell, hkl) -> None:
    divisor = np.gcd.reduce(zone)
    assume(divisor > 0)
    zone = tuple(int(n) // int(divisor) for n in zone)
    try:
        reciprocal = reciprocal_basis(direct_basis(cell))
    except ValueError:
        assume(False)
        raise
    basis = zone_lattice_basis(zone, reciprocal)
    assert np.all(basis @ np.array(zone) == 0)
    grid = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    members = grid[grid @ np.array(zone) == 0]
    numbers, *_ = np.linalg.lstsq(basis.T.astype(float), members.T.astype(float), rcond=None)
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-9)
    first, second = (np.linalg.norm(reciprocal @ b) for b in basis)
    lengths = np.linalg.norm(members[np.any(members != 0, axis=1)] @ reciprocal.T, axis=1)
    if len(lengths):
        assert first <= lengths.min() * (1 + 1e-9)
    cosine = (reciprocal @ basis[0]) @ (reciprocal @ basis[1]) / (first * second)
    assert abs(cosine) <= 0.5 + 1e-9
    assert first <= second * (1 + 1e-9)


def test_common_factors_of_the_zone_axis_do_not_matter() -> None:
    crystal = Crystal.named("GaN")
    assert make_frame(crystal, (2, 0, -4)).zone_axis == (1, 0, -2)
    np.testing.assert_allclose(make_frame(crystal, (2, 0, -4)).rotation, make_frame(crystal, (1, 0, -2)).rotation)


def test_the_sign_of_the_foil_normal_does_not_matter() -> None:
    crystal = Crystal.named("GaAs")
    up, down = (make_frame(crystal, foil_normal=(s * 0.1, s * 0.2, s * 1.0)) for s in (1, -1))
    np.testing.assert_allclose(up.normal, down.normal, atol=1e-12)
    assert up.normal[2] > 0
    assert not up.is_flat
    assert make_frame(crystal, foil_normal=(0, 0, -3)).is_flat


def test_a_foil_normal_is_a_direction_of_the_direct_lattice() -> None:
    crystal = Crystal("m", (5.0, 6.0, 7.0, 90.0, 105.0, 90.0), (Site("Si1", "Si", (0.0, 0.0, 0.0)),))
    frame = make_frame(crystal, (0, 0, 1), foil_normal=(1, 0, 4))
    expected = frame.rotation @ crystal.direct @ [1, 0, 4]
    np.testing.assert_allclose(frame.normal, expected / np.linalg.norm(expected), atol=1e-12)


NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"zone_axis": (0, 0, 0)}, "no direction"),
        ({"zone_axis": (0.5, 0, 1)}, "must be integers"),
        ({"zone_axis": (NAN, 0, 1)}, "three integers"),
        ({"zone_axis": (0, 1)}, "three integers"),
        ({"foil_normal": (1, 0, 0)}, r"90\.0 degrees"),
        ({"foil_normal": (0, 0, 0)}, "not all zero"),
        ({"foil_normal": (NAN, 0, 1)}, "finite"),
        ({"foil_normal": (1, 0, 0.1)}, "below 80 degrees"),
        ({"x_direction": (0, 0, 1)}, "along the zone axis"),
        ({"x_direction": (0, 0, 0)}, "along the zone axis"),
        ({"x_direction": (NAN, 0, 0)}, "finite"),
        ({"x_direction": (1, 0)}, "three finite numbers"),
    ],
)
def test_impossible_orientations_are_refused(arguments, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        make_frame(Crystal.named("SrTiO3"), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            (3.905, 3.9051, 3.905, 90, 90, 90),
            "x is along 0 1 0, .* only 0.003 %.* 1 0 0 .* by 90 degrees",
        ),
        ((3.9051, 3.905, 3.905, 90, 90, 90), "x is along 1 0 0, .* 0 1 0 .* by 90 degrees"),
        ((4.0, 4.0, 5.0, 90, 90, 119.999), "x is along .* by (60|120) degrees"),
        ((3.905, 3.905, 3.905, 90, 90, 90), ""),
        ((4.0, 4.0, 5.0, 90, 90, 120), ""),
        ((5.0, 5.1, 5.0, 90, 90, 90), ""),
    ],
)
def test_direction_that_hangs_by_a_thread(cell, said):
    note = near_tie(make_frame(Crystal("box", cell, (Site("O", "O", (0, 0, 0)),))))
    assert bool(note) == bool(said)
    assert re.match(said, note)


def test_a_near_tie_in_the_plane_of_the_zone_ends() -> None:
    # Half a lattice vector along another is rounded to either side; each must be taken at most once.
    for length in np.random.default_rng(0).uniform(3.0, 12.0, 200):
        basis = zone_lattice_basis((2, 2, 5), np.eye(3) / length)
        assert not np.any(basis @ np.array([2, 2, 5]))
    # the same of vectors on a camera
    for share in np.random.default_rng(1).uniform(0.1, 9.0, 200):
        first, second = share * np.array([3.0, 0.1]), share * np.array([1.5, 0.05]) + np.array([-0.2, 6.0]) * share
        found = np.stack(shortest_pair(first, second - first, np.eye(2)))
        assert abs(np.linalg.det(found)) == pytest.approx(abs(np.linalg.det([first, second])))
        assert abs(found[0] @ found[1]) <= 0.5 * (found[0] @ found[0]) * (1 + 1e-9)
