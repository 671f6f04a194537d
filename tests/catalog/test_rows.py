"""A row and the crystal of the row are one structure."""

import random

import pytest

from lacbed.catalog.chemistry import Orbit, anonymous_prototype, reduced_formula, wyckoff_signature
from lacbed.catalog.files import read_catalog, rows_of
from lacbed.catalog.rows import crystal_of, nearest_distance, row_of
from lacbed.crystals import Crystal, Site
from lacbed.crystals.wyckoff import locate, operations, positions_of, relabelings
from lacbed.errors import CrystalError

EXACT = (
    *("formula", "anonymous_prototype", "space_group", "elements", "wyckoff_signature", "compound_id"),
    *("n_sites_conv", "n_sites_prim", "n_asym", "ordered", "has_u_iso"),
)
LABELS = {"source": "s", "source_id": "1", "licence": "CC0-1.0", "kind": "generated"}


def test_all_230_groups_have_their_positions():
    rng = random.Random(1)
    for number in range(1, 231):
        order = len(operations(number)[0])
        positions = positions_of(number)
        assert positions[-1].multiplicity == order
        assert len(relabelings(number)[0]) == len(positions)
        for position in rng.sample(positions, min(2, len(positions))):
            matrix, origin = position.affine()
            point = matrix @ [0.1417, 0.2311, 0.3787] + origin
            found, place = locate(number, point)
            assert found == position, (number, position)
            assert locate(number, place)[1] == pytest.approx(place, abs=1e-9)


def test_rows_of_the_open_catalogue_are_found_again(cubic):
    every = list(rows_of(read_catalog(cubic)))
    chosen = random.Random(7).sample(every, 200) + [row for row in every if not row["ordered"]]
    for row in chosen:
        again = row_of(crystal_of(row), known_u=row["has_u_iso"], **LABELS)
        assert {name: again[name] for name in EXACT} == {name: row[name] for name in EXACT}
        for name in ("a", "n_atoms_conv", "density", "min_distance"):
            assert again[name] == pytest.approx(row[name], rel=2e-3)


def test_labels_of_the_whole_open_catalogue(cubic):
    columns = ["formula", "space_group", "wyckoff_signature", "anonymous_prototype", "sites", "ordered", "note"]
    other = 0
    for row in rows_of(read_catalog(cubic, columns)):
        places = {}
        for site in row["sites"]:
            place = (site["x"], site["y"], site["z"], site["wyckoff"], site["multiplicity"])
            places.setdefault(place, {})[site["element"]] = site["occupancy"]
        orbits = [Orbit(shares, key[3], key[4]) for key, shares in places.items()]
        assert reduced_formula(orbits) == row["formula"]
        assert wyckoff_signature(row["space_group"], orbits) == row["wyckoff_signature"]
        other += anonymous_prototype(row["space_group"], orbits) != row["anonymous_prototype"]
    assert other <= 2  # two rows whose source tells equal atoms apart


def test_origin_does_not_matter():
    one = Crystal.build("a", 3.905, 221, [Site("A", "Sr", (0, 0, 0)), _ti(0.5), _o(0.5, 0.5, 0.0)])
    two = Crystal.build("b", 3.905, 221, [Site("A", "Sr", (0.5, 0.5, 0.5)), _ti(0.0), _o(0.0, 0.0, 0.5)])
    first, second = row_of(one, **LABELS), row_of(two, **LABELS)
    assert first["compound_id"] == second["compound_id"]
    assert first["anonymous_prototype"] == second["anonymous_prototype"] == "ABC3_221_a_b_c"
    assert first["formula"] == "SrTiO3"


def _ti(x):
    return Site("T", "Ti", (x, x, x))


def _o(x, y, z):
    return Site("O", "O", (x, y, z))


def test_a_tetragonal_crystal_fits():
    rutile = Crystal.build(
        "TiO2", (4.594, 4.594, 2.959, 90, 90, 90), 136, [_ti(0.0), Site("O", "O", (0.305, 0.305, 0.0))]
    )
    row = row_of(rutile, **LABELS)
    assert (row["a"], row["b"], row["c"], row["gamma"]) == (4.594, 4.594, 2.959, 90)
    assert row["anonymous_prototype"] == "AB2_136_a_f"
    again = crystal_of(row)
    assert again.cell == rutile.cell
    assert len(again.atoms) == 6


def test_displacements_are_kept_or_assumed():
    crystal = Crystal.build("Si", 5.431, 227, [Site("Si", "Si", (0.125, 0.125, 0.125), u_iso=0.006)])
    known = crystal_of(row_of(crystal, **LABELS))
    assert known.sites[0].u_iso == pytest.approx(0.006)
    assert known.notes == ()
    assumed = crystal_of(row_of(crystal, known_u=False, **LABELS), default_b_iso=0.7)
    assert assumed.sites[0].b_iso == pytest.approx(0.7)
    assert "0.7" in assumed.notes[0]


def test_another_setting_is_refused():
    shifted = Crystal.build("Si", 5.431, "F d -3 m:1", [Site("Si", "Si", (0, 0, 0))])
    with pytest.raises(CrystalError, match="reference setting"):
        row_of(shifted, **LABELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": 0.1}, "cell lengths"),
        ({"a": float("nan")}, "cell lengths"),
        ({"a": None}, "has no a"),
        ({"space_group": 999}, "between 1 and 230"),
        ({"sites": []}, "no atoms"),
        ({"sites": [{"element": "Qq", "x": 0, "y": 0, "z": 0}]}, "Qq"),
        ({"sites": [{"element": "Si", "x": 0, "y": 0}]}, "lacks 'z'"),
        ({"sites": [{"element": "Si", "x": 0, "y": 0, "z": None}]}, "numbers"),
        ({"c": 6.0}, "metric"),
        ({"a": 1.1}, r"two atoms are 0.55 Å apart, closer than any bond"),
        ({"a": 9000.0}, r"states density = .* but its cell and sites give"),
        ({"space_group": 1}, "is stated to be Wyckoff position 4a, but has multiplicity 1 in space group 1"),
        ({"n_atoms_conv": 9.0}, "states n_atoms_conv = 9, but its cell and sites give 8"),
        ({"min_distance": 1.0}, "states min_distance = 1 Å"),
        ({"sites": [{"element": e, "x": x, "y": 0, "z": 0} for e, x in (("Si", 0), ("O", 0.01))]}, "collide"),
    ],
)
def test_impossible_rows_are_named(rows, change, message):
    row = {**next(r for r in rows if r["anonymous_prototype"] == "AB_225_a_b"), **change}
    with pytest.raises(CrystalError, match=message) as caught:
        crystal_of(row)
    assert row["source_id"] in str(caught.value)


def test_what_a_row_does_not_state_is_not_compared(rows):
    row = next(r for r in rows if r["anonymous_prototype"] == "AB_225_a_b")
    unstated = {**row, "n_atoms_conv": None, "density": None, "min_distance": None, "a": 2.0 * row["a"]}
    assert crystal_of(unstated).cell[0] == 2.0 * row["a"]
    with pytest.raises(CrystalError, match="density"):
        crystal_of({**unstated, "density": row["density"]})


def test_places_that_are_half_filled_may_be_closer_than_any_bond():
    def split(occupancy):
        return Crystal.build("H", 5.0, 221, [Site("H", "H", (0.05, 0.0, 0.0), occupancy)])

    assert nearest_distance(split(0.2), 0.5) == 5.0  # nothing is there for certain
    row = row_of(split(0.2), **LABELS)
    assert row["min_distance"] == pytest.approx(0.05 * 5.0 * 2**0.5)
    assert len(crystal_of(row).atoms) == 6
