"""Coarse tolerances, and what several matrices do together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lacbed import Crystal, Site, TiltGrid, Zone
from lacbed.engine.basis import effort
from lacbed.engine.foil import Foil
from lacbed.engine.orbits import Orbits
from lacbed.engine.potential import zone_potential
from lacbed.engine.wanted import Wanted, batch_of, group_of
from lacbed.geometry.frame import make_frame


@pytest.mark.parametrize("tolerance", [0.02, 0.05, 0.1, 0.4])
@pytest.mark.parametrize(("name", "zone"), [("GaAs", (1, 1, 0)), ("Au", (0, 0, 1)), ("TiO2", (1, 0, 0))])
def test_coarse_patterns_are_within_their_tolerance(
    name: str, zone: tuple[int, int, int], tolerance: float
) -> None:
    grid, asked = TiltGrid(24, semi_angle=14), ((250.0, 500.0), ((0, 0, 0),))
    fine, coarse = (
        Zone(Crystal.named(name), zone, absorption="thomas", tolerance=t).pattern(asked[0], grid, asked[1])
        for t in (1e-3, tolerance)
    )
    assert float(np.abs(coarse.values - fine.values).max()) <= tolerance
    assert coarse.attrs["error_estimate"] <= tolerance
    assert coarse.attrs["waves"] < fine.attrs["waves"]


def test_effort_is_whole_up_to_a_hundredth_and_falls_beyond() -> None:
    fine, least, coarse = effort(1e-4), effort(1e-2), effort(0.3)
    assert fine._replace(margin=least.margin) == least
    assert fine.margin > least.margin > coarse.margin
    assert all(a > b for a, b in zip(least, coarse, strict=True))
    assert effort(0.1) == coarse


@pytest.mark.parametrize("slant", [0.0, 0.2])
def test_a_potential_in_fewer_beams_is_the_one_of_these_beams(slant: float) -> None:
    crystal = Crystal.named("GaN")
    frame = make_frame(crystal, (1, 0, 0), None if not slant else (1.0, slant, 0.1))
    foil = Foil(frame.normal, 39.9, 40.0)
    centre = np.array([0.03, -0.02])
    wide, narrow = (
        zone_potential(crystal, frame, 200e3, "kirkland", "thomas", g_max, centre, foil) for g_max in (3.0, 1.7)
    )
    found = wide.within(1.7)
    np.testing.assert_array_equal(found.places, narrow.places)
    count = len(narrow.places)
    torch.testing.assert_close(found.matrix(count), narrow.matrix(count))
    waves = torch.randn(count, 3, dtype=found.elastic.dtype, generator=torch.Generator().manual_seed(0))
    assert narrow.absorptive is not None
    assert found.absorptive is not None
    torch.testing.assert_close(
        found.apply(found.absorptive, waves), narrow.apply(narrow.absorptive, waves), atol=1e-12, rtol=1e-9
    )


def test_groups_with_unequal_rows_are_padded_by_their_first() -> None:
    rows, columns = np.array([4, 7, 4, 2, 9], np.int32), np.arange(10, dtype=np.int32).reshape(5, 2)
    groups = [
        [group_of(rows, columns, np.array([0, 1, 2]), False), group_of(rows, columns, np.array([3]), True)],
        [group_of(rows, columns, np.array([4]), False)],
    ]
    level = np.array([0.0, 0.1, 0.0, 0.3, 0.4])
    empty = np.zeros((0, 2), dtype=np.int64)
    orbits = Orbits(np.zeros((2, 2)), empty[:, 0], empty[:, 0], empty[:, 0], empty, empty)
    wanted = Wanted(orbits, level, 40 + level, np.zeros((5, 2)), np.zeros((2, 2), np.int64), np.array([100.0]))
    plain, swapped = (batch_of(groups, swaps, wanted) for swaps in (False, True))
    assert plain is not None
    assert swapped is not None
    np.testing.assert_array_equal(plain.owner, [0, 1])
    np.testing.assert_array_equal(plain.rows, [[4, 7], [9, 9]])
    np.testing.assert_array_equal(plain.level, [[0.0, 0.1], [0.4, 0.4]])
    np.testing.assert_array_equal(plain.rows[plain.of, plain.row], rows[plain.tilts])
    np.testing.assert_array_equal(plain.column, columns[plain.tilts])
    np.testing.assert_array_equal(swapped.rows, [[2]])
    assert batch_of(groups[1:], True, wanted) is None


def test_the_highest_tilts_keep_their_waves() -> None:
    """Cr3Si along [324]: with a smaller margin one corner of the pattern lacked a wave, and no check saw it."""
    crystal = Crystal.build(
        "Cr3Si",
        4.556,
        223,
        (Site("Si1", "Si", (0.0, 0.0, 0.0), u_iso=0.006), Site("Cr1", "Cr", (0.25, 0.0, 0.5), u_iso=0.006)),
    )
    asked = {"grid": TiltGrid(48, extent=4.0), "thicknesses": (590.0,)}
    fine, coarse = (
        Zone(crystal, (3, 2, 4), 223e3, absorption="thomas", tolerance=t).pattern(**asked) for t in (1e-2, 0.1)
    )
    assert float(np.abs(coarse.values - fine.values).max()) <= 0.1
