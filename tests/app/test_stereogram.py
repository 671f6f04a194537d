"""What the stereogram is drawn from."""

import numpy as np
import pytest

from lacbed.app.request import parse_view
from lacbed.app.structure import crystal_of, describe, stereogram
from lacbed.geometry.frame import make_frame


@pytest.mark.parametrize(("name", "zone"), [("Si", (1, 1, 0)), ("Zn", (2, -1, 0)), ("quartz", (0, 0, 1))])
def test_bases_are_dual_and_the_zone_axis_is_z(name, zone):
    crystal = crystal_of(parse_view({"name": name}))
    frame = make_frame(crystal, zone)
    found = stereogram(crystal, frame, 200e3)
    reciprocal, direct = np.array(found["reciprocal"]), np.array(found["direct"])
    np.testing.assert_allclose(direct @ reciprocal.T, np.eye(3), atol=1e-12)
    along = np.array(zone) @ direct
    np.testing.assert_allclose(along[:2], 0, atol=1e-9)
    assert along[2] > 0
    np.testing.assert_allclose(np.linalg.norm(direct, axis=1), crystal.cell[:3], rtol=1e-9)
    a, b = direct[0], direct[1]
    angle = np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    assert angle == pytest.approx(crystal.cell[5])


def test_lines_are_the_strongest_one_of_each_pair():
    crystal = crystal_of(parse_view({"name": "Si"}))
    lines = stereogram(crystal, make_frame(crystal, (0, 0, 1)), 200e3)["lines"]
    hkl = [tuple(line[:3]) for line in lines]
    assert len(set(hkl)) == len(hkl)
    assert not {tuple(-v for v in g) for g in hkl} & set(hkl)
    assert {tuple(sorted(map(abs, g))) for g in hkl[:4]} == {(1, 1, 1)}  # the strongest of silicon
    strengths = [line[3] for line in lines]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] == 1.0
    assert all(len({v % 2 for v in g}) == 1 for g in hkl)  # of a face-centred lattice


def test_a_large_cell_is_quick_enough_and_the_facts_hold_it():
    facts, _ = describe(parse_view({"name": "Mg2SiO4"}))
    assert 20 < len(facts["stereogram"]["lines"]) <= 90
