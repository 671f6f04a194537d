"""What the stereogram is drawn from."""

import numpy as np
import pytest

import lacbed
from lacbed.app import structure
from lacbed.app.request import parse_view
from lacbed.app.structure import atoms, crystal_of, describe, stereogram
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


def test_the_atoms_that_are_drawn_are_those_of_the_cell():
    facts, _ = describe(parse_view({"name": "SrTiO3"}))
    assert [e["symbol"] for e in facts["elements"]] == ["Sr", "Ti", "O"]
    assert [e["number"] for e in facts["elements"]] == [38, 22, 8]
    kinds = [row[0] for row in facts["drawn"]]
    assert [kinds.count(i) for i in range(3)] == [1, 1, 3]


def test_of_a_mixed_place_the_largest_share_is_drawn_and_too_many_atoms_are_not(monkeypatch):
    cif = lacbed.Crystal.named("Si").to_cif()
    line = next(text for text in cif.splitlines() if text.split()[:2] == ["Si1", "Si"])
    mixed = line.replace("Si1 Si", "Ge1 Ge", 1)
    shares = [text.replace(" 1.0 8 ", f" {share} 8 ") for text, share in ((line, 0.7), (mixed, 0.2))]
    crystal = lacbed.Crystal.from_cif_text(cif.replace(line, "\n".join(shares)), "mixed")
    found = atoms(crystal)
    assert [e["symbol"] for e in found["elements"]] == ["Si"]
    assert {row[4] for row in found["drawn"]} == {0.9}
    monkeypatch.setattr(structure, "_ATOMS", 7)
    assert atoms(crystal) == {"elements": [], "drawn": []}
