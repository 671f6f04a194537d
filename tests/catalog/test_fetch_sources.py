"""The four databases: what is asked for, what comes, and under which licence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import GNOME_BATCH, MEMBER, crystals, fits, optimade_structure, zipped

from lacbed.catalog.fetch.wanted import Wanted
from lacbed.catalog.rows import crystal_of
from lacbed.errors import CrystalError, FetchError, FileFormatError, SettingError

web = pytest.importorskip("lacbed.catalog.fetch.web", exc_type=ImportError)

from lacbed.catalog.fetch import cod, jarvis, mp, optimade  # noqa: E402
from lacbed.catalog.fetch.run import fetch_catalog  # noqa: E402

SYMBOLS = ("Si", "Ge", "O", "Ti", "Sr", "Mg")
SILICON = {"name": "Si", "chemical_symbols": ["Si"], "concentration": [1.0]}
GROUPS = st.sets(st.sampled_from(SYMBOLS), min_size=1, max_size=4)


def source_of(name, stand_in, wanted, **more):
    session = web.polite_session(0.0)
    if name == "cod":
        return cod.cod_source(wanted, session, f"{stand_in.url}/cod")
    if name == "mp":
        pytest.importorskip("mp_api")
        return mp.mp_source(wanted, session, stand_in.url, **more)
    pytest.importorskip("jarvis")
    return jarvis.jarvis_source(wanted, session, address=f"{stand_in.url}/files/x.zip", **more)


def fetched(name, stand_in, tmp_path, wanted, **more):
    return fetch_catalog(source_of(name, stand_in, wanted, **more), wanted, tmp_path / f"{name}.parquet")


def cubic_crystals(element=None):
    return [
        c for c in crystals() if len(set(c.cell[:3])) == 1 and (element is None or element in c.atoms.elements)
    ]


def test_three_databases_give_the_same_crystals(stand_in, tmp_path):
    wanted = Wanted(contains=("O",))
    rows = {name: fetched(name, stand_in, tmp_path, wanted).rows for name in ("cod", "jarvis")}
    rows["mp"] = fetched("mp", stand_in, tmp_path, wanted, gnome=True).rows
    same = {name: {row["compound_id"]: row["a"] for row in found} for name, found in rows.items()}
    assert len(same["cod"]) == len(cubic_crystals("O")) > 1
    for name in ("mp", "jarvis"):
        assert same[name] == pytest.approx(same["cod"], abs=1e-4)
    for row in [row for found in rows.values() for row in found]:
        assert crystal_of(row).formula
        assert row["source"] == "COD" or not row["has_u_iso"]
    assert any(row["has_u_iso"] for row in rows["cod"])


def test_every_row_keeps_source_id_and_licence(stand_in, tmp_path):
    (row, *_) = fetched("cod", stand_in, tmp_path, Wanted(only=("Si",))).rows
    assert (row["source"], row["source_id"], row["licence"]) == ("COD", "9000001", "CC0-1.0")
    assert (row["kind"], row["experimentally_known"]) == ("experimental", True)
    (row, *_) = fetched("mp", stand_in, tmp_path, Wanted(only=("Si",))).rows
    assert (row["source"], row["source_id"], row["licence"]) == ("Materials Project", "mp-100", "CC-BY-4.0")
    assert (row["kind"], row["experimentally_known"]) == ("dft_relaxed_known", True)
    (row, *_) = fetched("jarvis", stand_in, tmp_path, Wanted(only=("C",))).rows
    assert (row["source"], row["source_id"], row["licence"]) == ("JARVIS-DFT", "JVASP-1", "CC-BY-4.0")
    assert (row["kind"], row["experimentally_known"]) == ("dft_relaxed_theoretical", None)


@pytest.mark.parametrize("name", ["cod", "mp", "jarvis"])
def test_filters(stand_in, tmp_path, name):
    def formulas(**filters):
        wanted = Wanted(**{"contains": ("O",), **filters})
        more = {"gnome": True} if name == "mp" else {}
        return {row["formula"] for row in fetched(name, stand_in, tmp_path, wanted, **more).rows}

    usual = formulas()
    assert usual == {"MgO", "SrTiO3", "BaTiO3"}
    assert formulas(cubic=False) == {*usual, "TiO2"}
    assert formulas(contains=("Sr", "O")) == {"SrTiO3"}
    assert formulas(contains=(), only=("Mg", "O", "Si")) == {"MgO", "Si"}
    assert "MgO" not in formulas(max_atoms=5)
    if name != "cod":
        assert formulas(experimental=True) < usual
    assert len(formulas(count=1)) == 1


def test_all_systems_include_what_is_not_cubic(stand_in, tmp_path):
    groups = {r["space_group"] for r in fetched("jarvis", stand_in, tmp_path, Wanted(cubic=False)).rows}
    assert min(groups) < 195 <= max(groups)
    groups = {r["space_group"] for r in fetched("jarvis", stand_in, tmp_path, Wanted()).rows}
    assert min(groups) >= 195


# -- Crystallography Open Database ---------------------------------------------------------------------
@given(GROUPS, GROUPS, GROUPS)
def test_the_searches_of_the_cod_find_all_that_is_wanted(structure, contains, only):
    """No structure that the filters admit is missing from the union of the searches."""
    for wanted in (Wanted(tuple(contains)), Wanted((), tuple(only)), Wanted(tuple(contains & only), tuple(only))):
        found = False
        for search in cod.searches(wanted):
            named = {value for key, value in search.items() if key.startswith("el")}
            least, most = int(search.get("strictmin", 0)), int(search.get("strictmax", 99))
            found |= named <= structure and least <= len(structure) <= most
        assert found or not wanted.elements_fit(structure)


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
    wanted = Wanted(only=("Si",))
    assert cod.may_be_wanted(record, wanted)
    assert not cod.may_be_wanted({**record, **change}, wanted)


def test_what_the_list_does_not_say_is_left_to_the_cif(stand_in):
    record = dict.fromkeys(stand_in.world.records[0]) | {"file": "9000001"}
    assert cod.may_be_wanted(record, Wanted(only=("Si",)))


def test_one_bad_cif_is_a_failure_and_not_the_end(stand_in, tmp_path):
    numbers = sorted(stand_in.world.cifs)
    del stand_in.world.cifs[numbers[0]]
    stand_in.world.cifs[numbers[1]] = "hello"
    result = fetched("cod", stand_in, tmp_path, Wanted(only=("Si", "C", "Ge")))
    assert [row["formula"] for row in result.rows] == ["Ge"]
    assert [name for name, _ in result.failures] == numbers[:2]
    assert "not there" in result.failures[0][1]


def test_the_cod_with_other_answers(stand_in, tmp_path):
    stand_in.world.records[:] = [{"id": 3}]
    stand_in.world.records[0]["formula"] = "- Si -"
    with pytest.raises(FetchError, match="answers have changed"):
        fetched("cod", stand_in, tmp_path, Wanted(only=("Si",)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingError, match="cannot be asked for everything"):
        cod.searches(Wanted())
    with pytest.raises(SettingError, match="at most 8"):
        cod.searches(Wanted(contains=("H", "He", "Li", "Be", "B", "C", "N", "O", "F")))


# -- Materials Project ---------------------------------------------------------------------------------
@given(GROUPS, GROUPS, GROUPS, st.booleans())
def test_the_query_of_the_materials_project_finds_all_that_is_wanted(structure, contains, only, cubic):
    document = {"_elements": structure, "_cubic": True, "builder_meta": {"batch_id": None}, "theoretical": False}
    both = Wanted(tuple(contains & only), tuple(only))
    for wanted in (Wanted(tuple(contains), cubic=cubic), Wanted((), tuple(only)), both):
        query = mp.query_of(wanted, gnome=False)
        sent = {key: ",".join(query[key]) for key in ("elements", "chemsys") if key in query}
        if "num_elements" in query:
            sent["nelements_max"] = str(query["num_elements"][1])
        assert fits(document, sent) or not wanted.elements_fit(structure)


@pytest.mark.parametrize("forgetful", [False, True])
def test_gnome_is_left_out_whatever_the_server_does(stand_in, tmp_path, forgetful):
    stand_in.trouble.forgetful = forgetful
    result = fetched("mp", stand_in, tmp_path, Wanted())
    assert {row["licence"] for row in result.rows} == {"CC-BY-4.0"}
    gnome = [d for d in stand_in.world.documents if d["builder_meta"]["batch_id"] == GNOME_BATCH and d["_cubic"]]
    assert result.unwanted == (len(gnome) if forgetful else 0)
    everything = fetched("mp", stand_in, tmp_path, Wanted(), gnome=True)
    found = {row["source_id"]: row["licence"] for row in everything.rows if "GNoME" in row["source"]}
    assert found == {d["material_id"]: "CC-BY-NC-4.0" for d in gnome} != {}


def test_the_key_of_the_materials_project(stand_in, tmp_path, monkeypatch):
    for key, message in ((None, "needs an API key"), ("short", "is no key"), ("x" * 32, "refuses the API key")):
        monkeypatch.delenv("MP_API_KEY") if key is None else monkeypatch.setenv("MP_API_KEY", key)
        with pytest.raises(FetchError, match=message) as caught:
            fetched("mp", stand_in, tmp_path, Wanted())
        assert "https://next-gen.materialsproject.org/api" in str(caught.value)
        assert key is None or key not in str(caught.value)


def test_the_key_is_written_nowhere(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(mp, "ENTRIES_A_PAGE", 4)
    stand_in.trouble.dead_after = 3
    with pytest.raises(FetchError, match="same command goes on"):
        fetched("mp", stand_in, tmp_path, Wanted())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name.startswith("page-") for path in files)
    assert not any(b"kkkk" in path.read_bytes() for path in files)


def test_a_new_version_of_the_database_is_noticed(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(mp, "ENTRIES_A_PAGE", 4)
    stand_in.trouble.dead_after = 3
    with pytest.raises(FetchError, match="has a fault"):
        fetched("mp", stand_in, tmp_path, Wanted())
    stand_in.trouble.dead_after = None
    stand_in.world.db_version = "2027.1.1"
    with pytest.raises(FetchError, match=r"now at version 2027\.1\.1, this fetch began with 2026\.10\.1"):
        fetched("mp", stand_in, tmp_path, Wanted())


def test_the_materials_project_with_other_answers(stand_in, tmp_path):
    for document in stand_in.world.documents:
        del document["structure"]
        document["_elements"] = ["Si"]
        document["structur"] = 1
    with pytest.raises(FetchError, match=r"unexpected way|answers have changed"):
        fetched("mp", stand_in, tmp_path, Wanted())
    stand_in.trouble.html = True
    with pytest.raises(FetchError, match="unexpected way"):
        fetched("mp", stand_in, tmp_path, Wanted())


# -- JARVIS --------------------------------------------------------------------------------------------
def test_jarvis_with_other_answers(stand_in, tmp_path):
    for archive, message in (
        (b"hello", "no zip"),
        (stand_in.world.archive[:-40], "no zip"),
        (zipped([{"id": 1}]), "without jid, atoms"),
        (zipped([{"jid": "J", "atoms": {"elements": ["Si"]}}]), "nothing that fits.*lattice_mat"),
        (zipped([]), "nothing that fits"),
    ):
        stand_in.world.archive = archive
        with pytest.raises((FetchError, FileFormatError), match=message):
            fetched("jarvis", stand_in, tmp_path, Wanted())
        for path in tmp_path.rglob("*.zip"):
            path.unlink()
    with pytest.raises(SettingError, match="those of bulk crystals are dft_3d"):
        fetched("jarvis", stand_in, tmp_path, Wanted(), collection="dft_9")


def test_a_damaged_zip_is_fetched_anew(stand_in, tmp_path):
    good = stand_in.world.archive
    bad = bytearray(good)
    bad[len(MEMBER) + 60 : len(MEMBER) + 90] = bytes(30)
    stand_in.world.archive = bytes(bad)
    with pytest.raises(FetchError, match="damaged"):
        fetched("jarvis", stand_in, tmp_path, Wanted())
    stand_in.world.archive = good
    assert fetched("jarvis", stand_in, tmp_path, Wanted()).rows


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
        ({"lattice_vectors": [[1, 0, 0], [0, 1, 0], [None, None, None]]}, "expected three numbers"),
        ({"species": None}, "gives no species"),
        ({"species_at_sites": ["Si"]}, "8 positions for 1 atoms"),
        ({"species": [{**SILICON, "chemical_symbols": ["X"]}]}, "chemical element"),
        ({"species": [{**SILICON, "attached": ["H"]}]}, "attached"),
    ],
)
def test_structures_of_optimade_that_cannot_be_used(change, message):
    from lacbed.catalog.fetch.source import Origin  # noqa: PLC0415

    good = json.loads(json.dumps(optimade_structure(crystals()[0], "x")))
    origin = Origin("X", "x", "unknown", "unknown")
    assert optimade._row("x", good, origin)["formula"] == "Si"
    with pytest.raises(CrystalError, match=message):
        optimade._row("x", {**good, **change}, origin)


def test_vacancies_and_mixtures_of_optimade():
    from lacbed.catalog.fetch.source import Origin  # noqa: PLC0415

    good = optimade_structure(crystals()[0], "x")
    good["species"] = [
        {"name": "Si", "chemical_symbols": ["Si", "Ge", "vacancy"], "concentration": [0.5, 0.25, 0.25]}
    ]
    row = optimade._row("x", good, Origin("X", "x", "unknown", "unknown"))
    assert (row["n_atoms_conv"], row["ordered"]) == (pytest.approx(6.0), False)
    assert row["wyckoff_signature"].startswith("Ge0.25/Si0.5")


def test_filters_of_optimade():
    pytest.importorskip("optimade")
    assert optimade.filter_of(Wanted()) == ""
    text = optimade.filter_of(Wanted(("O", "Fe"), max_atoms=9), ' _x_y="a b" ')
    assert text == 'elements HAS ALL "Fe","O" AND nsites<=9 AND (_x_y="a b")'
    assert optimade.filter_of(Wanted(only=("O",))) == 'nelements<=1 AND elements HAS ANY "O"'
    with pytest.raises(SettingError, match="not one of OPTIMADE"):
        optimade.filter_of(Wanted(), "elements HAS")


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"contains": ("Xx",)}, "chemical elements"),
        ({"contains": ("Fe",), "only": ("O",)}, "not among those allowed"),
        ({"max_atoms": 0}, "from 1"),
        ({"count": -1}, "from 1"),
    ],
)
def test_filters_that_nothing_can_pass(filters, message):
    with pytest.raises(SettingError, match=message):
        Wanted(**filters)
