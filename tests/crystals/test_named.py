import io
import re
import time

import gemmi
import numpy as np
import pytest
from crystal_helpers import SHARED
from scipy.spatial import cKDTree

from lacbed.crystals import Crystal
from lacbed.crystals.named import NAMES, named_crystal, named_rows
from lacbed.errors import CrystalError


def composition(formula: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    for element, number in re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", formula):
        counts[element] = counts.get(element, 0.0) + float(number or 1)
    return counts


def shortest_distance(crystal: Crystal) -> float:
    shifts = np.array(list(np.ndindex(3, 3, 3)))
    points = (crystal.atoms.xyz[None] + shifts[:, None]).reshape(-1, 3) @ crystal.direct.T
    return cKDTree(points).query((crystal.atoms.xyz + 1) @ crystal.direct.T, k=2)[0][:, 1].min()


def test_there_are_many_and_they_are_distinct():
    assert len(NAMES) >= 36
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each(name):
    crystal = named_crystal(name)
    assert crystal.name == name
    assert composition(crystal.formula) == composition(name)
    covalent = min(gemmi.Element(e).covalent_r for e in set(crystal.atoms.elements))
    assert 1.6 * covalent < shortest_distance(crystal) < 4.0
    assert 5.0 < crystal.volume / len(crystal.atoms) < 40.0  # Å³ an atom, diamond to rock salts
    assert 0.1 < crystal.atoms.b_iso.min() <= crystal.atoms.b_iso.max() < 3.0
    assert re.search("COD|AMCSD|AFLOW|scilit", crystal.source)
    assert any("B = 0.5 Å² assumed" in note for note in crystal.notes) == ("B = 0.5 Å² assumed" in crystal.source)
    assert Crystal.from_cif_text(crystal.to_cif()) == crystal
    assert Crystal.named(name) == crystal


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("srtio3", "SrTiO3"),
        ("SRTIO3", "SrTiO3"),
        (" Diamond ", "C"),
        ("yag", "Y3Al5O12"),
        ("rock salt", "NaCl"),
    ],
)
def test_any_case_and_aliases(text, name):
    assert named_crystal(text).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SrTi03", "did you mean SrTiO3"),
        ("dimond", "did you mean C"),
        ("", "lists them"),
        ("zzz", "lists them"),
    ],
)
def test_unknown(text, message):
    with pytest.raises(CrystalError, match=message):
        named_crystal(text)


def test_rows():
    rows = {row.name: row for row in named_rows()}
    assert tuple(rows) == NAMES
    assert rows["SrTiO3"].b_iso == {"Sr1": 0.62, "Ti2": 0.44, "O3": 0.73}
    assert rows["Si"].cell[0] == 5.4307
    assert rows["Al2O3"].space_group == "R -3 c:H"
    assert all(row.source and row.formula for row in rows.values())


def test_one_is_made_quickly():
    start = time.perf_counter()
    named_crystal("MgAl2O4")
    assert time.perf_counter() - start < 0.2  # measured 0.02 s; all of them take 0.5 s


def test_wanted_kinds_are_there():
    numbers = {gemmi.find_spacegroup_by_name(named_crystal(name).space_group).number for name in NAMES}
    assert {
        225,
        229,
        227,
        216,
        221,
        198,
        213,
        205,
        206,
        204,
        223,
        224,
        230,
        220,
        194,
        186,
        167,
        154,
        14,
        15,
        2,
    } <= numbers


@pytest.mark.skipif(not (SHARED / "data" / "cubic.parquet").is_file(), reason="the cubic catalogue is not here")
@pytest.mark.parametrize("name", ["Si", "Ge", "C", "NaCl", "MgO", "Cu", "W", "CeO2", "MgAl2O4", "Y3Al5O12", "ZnS"])
def test_against_the_catalogue(name):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(SHARED / "data" / "cubic.parquet", filters=[("source", "==", "NCrystal")])
    crystal = named_crystal(name)
    number = gemmi.find_spacegroup_by_name(crystal.space_group).number
    row = table[(table.formula == name) & (table.space_group == number)].iloc[0]
    assert crystal.cell[0] == pytest.approx(row.a, abs=1e-5)
    assert len(crystal.atoms) == row.n_sites_conv
    expected = {site["element"]: 8 * np.pi**2 * site["u_iso"] for site in row.sites}
    found = dict(zip(crystal.atoms.elements, crystal.atoms.b_iso, strict=True))
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_written_cif_opens_in_ase_and_here(name):
    read = pytest.importorskip("ase.io").read
    crystal = named_crystal(name)
    again = Crystal.from_cif_text(crystal.to_cif())
    assert (again, again.notes, again.source) == (crystal, crystal.notes, crystal.source)
    atoms = read(io.StringIO(crystal.to_cif()), format="cif")
    assert sorted(atoms.get_chemical_symbols()) == sorted(crystal.atoms.elements)
    apart = atoms.get_scaled_positions()[:, None] - crystal.atoms.xyz[None]
    distances = np.linalg.norm((apart - apart.round()) @ crystal.direct.T, axis=-1)
    assert distances.min(axis=1).max() < 1e-3
