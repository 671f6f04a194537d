"""The databases: what is asked for, what comes, and under which licence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import crystals, optimade_structure

from lacbed.catalog.fetch.pages import Query
from lacbed.catalog.imports import Provenance
from lacbed.catalog.rows import crystal_of
from lacbed.errors import CrystalError, FetchError, SettingError

web = pytest.importorskip("lacbed.catalog.fetch.web", exc_type=ImportError)

from lacbed.catalog.fetch import cod, optimade  # noqa: E402
from lacbed.catalog.fetch.run import fetch_catalog  # noqa: E402

SYMBOLS = ("Si", "Ge", "O", "Ti", "Sr", "Mg")
SILICON = {"name": "Si", "chemical_symbols": ["Si"], "concentration": [1.0]}
GROUPS = st.sets(st.sampled_from(SYMBOLS), min_size=1, max_size=4)


PROVENANCE = Provenance("X", "unknown", "unknown")


def fetched(stand_in, tmp_path, query):
    source = cod.cod_source(query, web.polite_session(0.0), f"{stand_in.url}/cod")
    return fetch_catalog(source, query, tmp_path / "cod.parquet")


def optimade_row(crystal, **change):
    structure = json.loads(json.dumps(optimade_structure(crystal, "x")))
    return optimade._row("x", {**structure, **change}, PROVENANCE, "https://example.com")


def cubic_crystals(element=None):
    return [
        c for c in crystals() if len(set(c.cell[:3])) == 1 and (element is None or element in c.atoms.elements)
    ]


def test_both_databases_give_the_same_crystals(stand_in, tmp_path):
    found = fetched(stand_in, tmp_path, Query(contains=("O",))).rows
    others = [optimade_row(crystal) for crystal in cubic_crystals("O")]
    assert len(found) == len(others) > 1
    same = [{row["compound_id"]: row["a"] for row in rows} for rows in (found, others)]
    assert same[0] == pytest.approx(same[1], abs=1e-4)
    for row in [*found, *others]:
        assert crystal_of(row).formula
        assert row["source"] == "COD" or not row["has_u_iso"]
    assert any(row["has_u_iso"] for row in found)


def test_every_row_keeps_source_id_and_licence(stand_in, tmp_path):
    (row, *_) = fetched(stand_in, tmp_path, Query(only=("Si",))).rows
    assert (row["source"], row["source_id"], row["licence"]) == ("COD", "9000001", "CC0-1.0")
    assert (row["kind"], row["experimentally_known"]) == ("experimental", True)
    row = optimade_row(crystals()[0])
    assert (row["source"], row["source_id"], row["licence"], row["kind"]) == ("X", "x", "unknown", "unknown")
    assert (row["experimentally_known"], json.loads(row["note"])) == (None, {"database": "https://example.com"})


def test_filters(stand_in, tmp_path):
    def formulas(**filters):
        query = Query(**{"contains": ("O",), **filters})
        return {row["formula"] for row in fetched(stand_in, tmp_path, query).rows}

    usual = formulas()
    assert usual == {"MgO", "SrTiO3", "BaTiO3"}
    assert formulas(cubic=False) == {*usual, "TiO2"}
    assert formulas(contains=("Sr", "O")) == {"SrTiO3"}
    assert formulas(contains=(), only=("Mg", "O", "Si")) == {"MgO", "Si"}
    assert "MgO" not in formulas(max_atoms=5)
    assert len(formulas(count=1)) == 1


def test_only_measured_structures_match_if_asked_for(rows):
    calculated = {**rows[0], "kind": "dft_relaxed_theoretical", "experimentally_known": None}
    linked = {**rows[0], "kind": "dft_relaxed_known", "experimentally_known": True}
    measured = {**rows[0], "kind": "experimental", "experimentally_known": None}
    for row, expected in ((calculated, False), (linked, True), (measured, True)):
        assert Query().matches(row)
        assert Query(experimental=True).matches(row) is expected


# -- Crystallography Open Database ---------------------------------------------------------------------
@given(GROUPS, GROUPS, GROUPS)
def test_the_searches_of_the_cod_find_all_that_matches(structure, contains, only):
    """No structure that the filters admit is missing from the union of the searches."""
    for query in (Query(tuple(contains)), Query((), tuple(only)), Query(tuple(contains & only), tuple(only))):
        found = False
        for search in cod.searches(query):
            named = {value for key, value in search.items() if key.startswith("el")}
            least, most = int(search.get("strictmin", 0)), int(search.get("strictmax", 99))
            found |= named <= structure and least <= len(structure) <= most
        assert found or not query.allows_elements(structure)


@pytest.mark.parametrize(
    "change",
    [
        {"flags": "has Fobs"},
        {"status": "retracted"},
        {"status": "errors"},
        {"duplicateof": "1000001"},
        {"method": "theoretical"},
        {"sgNumber": "62"},
        {"c": "9.1"},
        {"gamma": "120.0"},
        {"formula": "- Fe -"},
    ],
)
def test_entries_of_the_cod_that_are_not_fetched(stand_in, change):
    record = stand_in.world.records[0]
    query = Query(only=("Si",))
    assert cod.may_match(record, query)
    assert not cod.may_match({**record, **change}, query)


def test_what_the_list_does_not_say_is_left_to_the_cif(stand_in):
    record = dict.fromkeys(stand_in.world.records[0]) | {"file": "9000001"}
    assert cod.may_match(record, Query(only=("Si",)))


def test_one_bad_cif_is_a_failure_and_not_the_end(stand_in, tmp_path):
    numbers = sorted(stand_in.world.cifs)
    del stand_in.world.cifs[numbers[0]]
    stand_in.world.cifs[numbers[1]] = "hello"
    result = fetched(stand_in, tmp_path, Query(only=("Si", "C", "Ge")))
    assert [row["formula"] for row in result.rows] == ["Ge"]
    assert [name for name, _ in result.failures] == numbers[:2]
    assert "does not exist" in result.failures[0][1]


def test_the_cod_with_other_answers(stand_in, tmp_path):
    stand_in.world.records[:] = [{"id": 3}]
    stand_in.world.records[0]["formula"] = "- Si -"
    with pytest.raises(FetchError, match="answers have changed"):
        fetched(stand_in, tmp_path, Query(only=("Si",)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingError, match="cannot be asked for everything"):
        cod.searches(Query())
    with pytest.raises(SettingError, match="at most 8"):
        cod.searches(Query(contains=("H", "He", "Li", "Be", "B", "C", "N", "O", "F")))


# -- OPTIMADE, without a server ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("attributes", "licence"),
    [
        ({"available_licenses": ["CC-BY-4.0"], "license": {"href": "https://x.org/terms"}}, "CC-BY-4.0"),
        ({"available_licenses": ["CC0-1.0", "MIT"]}, "CC0-1.0 OR MIT"),
        ({"license": {"href": "https://spdx.org/licenses/CC-BY-NC-4.0.html"}}, "CC-BY-NC-4.0"),
        ({"license": "https://spdx.org/licenses/CC-BY-4.0"}, "CC-BY-4.0"),
        ({"available_licenses": [], "license": "https://x.org/terms"}, "https://x.org/terms"),
        ({"license": None}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_licence_is_what_the_database_states(attributes, licence):
    assert optimade.stated_licence(attributes) == licence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"structure_features": ["assemblies"]}, "assemblies"),
        ({"lattice_vectors": [[1, 0, 0], [0, 1, 0], [0, 0, 0]]}, "not periodic"),
        ({"lattice_vectors": [[1, 0, 0], [0, 1, 0], [None, None, None]]}, "expected vectors of three numbers"),
        ({"species": None}, "gives no species"),
        ({"species_at_sites": ["Si"]}, "8 positions for 1 atoms"),
        ({"species": [{**SILICON, "chemical_symbols": ["X"]}]}, "chemical element"),
        ({"species": [{**SILICON, "attached": ["H"]}]}, "attached"),
    ],
)
def test_structures_of_optimade_that_cannot_be_used(change, message):
    assert optimade_row(crystals()[0])["formula"] == "Si"
    with pytest.raises(CrystalError, match=message):
        optimade_row(crystals()[0], **change)


def test_vacancies_and_mixtures_of_optimade():
    mixture = {"name": "Si", "chemical_symbols": ["Si", "Ge", "vacancy"], "concentration": [0.5, 0.25, 0.25]}
    row = optimade_row(crystals()[0], species=[mixture])
    assert (row["n_atoms_conv"], row["ordered"]) == (pytest.approx(6.0), False)
    assert row["wyckoff_signature"].startswith("Ge0.25/Si0.5")


def test_filters_of_optimade():
    pytest.importorskip("optimade")
    assert optimade.filter_of(Query()) == ""
    text = optimade.filter_of(Query(("O", "Fe"), max_atoms=9), ' _x_y="a b" ')
    assert text == 'elements HAS ALL "Fe","O" AND nsites<=9 AND (_x_y="a b")'
    assert optimade.filter_of(Query(only=("O",))) == 'nelements<=1 AND elements HAS ANY "O"'
    with pytest.raises(SettingError, match="is not a filter of OPTIMADE"):
        optimade.filter_of(Query(), "elements HAS")


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"contains": ("Xx",)}, "chemical elements"),
        ({"contains": ("Fe",), "only": ("O",)}, "not among the elements allowed"),
        ({"max_atoms": 0}, "at least 1"),
        ({"count": -1}, "at least 1"),
    ],
)
def test_filters_that_nothing_can_pass(filters, message):
    with pytest.raises(SettingError, match=message):
        Query(**filters)
