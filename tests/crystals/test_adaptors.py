import numpy as np
import pytest
from crystal_helpers import indices, structure_factors

from lacbed.crystals import Crystal, Site
from lacbed.crystals.named import named_crystal
from lacbed.errors import CrystalError

HKL = indices(2)


def same(first: Crystal, second: Crystal) -> bool:
    return np.allclose(structure_factors(first, HKL), structure_factors(second, HKL), atol=1e-6)


def uniform(name: str) -> Crystal:
    return named_crystal(name).with_b_iso(0.5)


@pytest.mark.parametrize("name", ["Si", "SiO2", "FeSi", "CuO", "Al2SiO5"])
@pytest.mark.parametrize("hand", [1, -1])
def test_ase(name, hand):
    ase = pytest.importorskip("ase")
    crystal = uniform(name)
    # A left-handed basis of the same crystal: a, b and c turned round, and the fractions with them.
    cell, points = hand * crystal.direct.T, hand * crystal.atoms.xyz
    atoms = ase.Atoms(crystal.atoms.elements, scaled_positions=points, cell=cell, pbc=True)
    converted = Crystal.from_ase(atoms)
    assert same(converted, crystal)
    assert "P 1" in converted.notes[0]
    assert "no Debye-Waller factor" in converted.notes[1]


def test_ase_keeps_handedness_of_a_swapped_basis():
    ase = pytest.importorskip("ase")
    crystal = uniform("SiO2")
    swap = [1, 0, 2]
    atoms = ase.Atoms(
        crystal.atoms.elements,
        scaled_positions=crystal.atoms.xyz[:, swap],
        cell=crystal.direct.T[swap],
        pbc=True,
    )
    converted = structure_factors(Crystal.from_ase(atoms), -HKL[:, swap])
    assert np.allclose(converted, structure_factors(crystal, HKL), atol=1e-6)


def test_ase_occupancies_and_debye_waller_factors():
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms("GeGa", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[4, 4, 4], pbc=True)
    atoms.set_array("spacegroup_kinds", np.array([0, 1]))
    atoms.info["occupancy"] = {"0": {"Ge": 0.9, "Sn": 0.1}, "1": {"Ga": 0.8}}
    atoms.set_array("debye_waller_factors", np.array([0.3, 0.6]))
    crystal = Crystal.from_ase(atoms, "alloy")
    assert [(s.element, s.occupancy) for s in crystal.sites] == [("Ge", 0.9), ("Sn", 0.1), ("Ga", 0.8)]
    assert [s.b_iso for s in crystal.sites] == pytest.approx([0.3, 0.3, 0.6])
    assert len(crystal.notes) == 1
    assert crystal.name == "alloy"


@pytest.mark.parametrize("cell", [[0, 0, 0], [4, 4, 0], None])
def test_ase_without_a_cell(cell):
    ase = pytest.importorskip("ase")
    with pytest.raises(CrystalError, match="three independent vectors"):
        Crystal.from_ase(ase.Atoms("Fe", positions=[(0, 0, 0)], cell=cell))


def test_ase_without_atoms():
    ase = pytest.importorskip("ase")
    with pytest.raises(CrystalError, match="no atoms"):
        Crystal.from_ase(ase.Atoms(cell=[4, 4, 4]))


@pytest.fixture
def pymatgen():
    return pytest.importorskip("pymatgen.core", exc_type=ImportError)


@pytest.mark.parametrize("name", ["Si", "SiO2", "CuO", "Al2SiO5"])
@pytest.mark.parametrize("hand", [1, -1])
def test_pymatgen(pymatgen, name, hand):
    crystal = uniform(name)
    lattice = pymatgen.Lattice(hand * crystal.direct.T)
    structure = pymatgen.Structure(lattice, list(crystal.atoms.elements), hand * crystal.atoms.xyz)
    converted = Crystal.from_pymatgen(structure)
    assert same(converted, crystal)
    assert converted.name == crystal.formula


def test_pymatgen_disorder_charges_and_displacements(pymatgen):
    structure = pymatgen.Structure(
        pymatgen.Lattice.cubic(4.2),
        [{"Fe2+": 0.7, "Mg2+": 0.2}, "O2-"],
        [(0, 0, 0), (0.5, 0.5, 0.5)],
        site_properties={"U_iso": [0.01, None], "B_iso": [None, 0.4]},
    )
    crystal = Crystal.from_pymatgen(structure)
    found = [(s.element, s.occupancy, s.charge, round(s.b_iso, 4)) for s in crystal.sites]
    assert found == [("Fe", 0.7, 2, 0.7896), ("Mg", 0.2, 2, 0.7896), ("O", 1.0, -2, 0.4)]
    assert any("neutral atoms" in note for note in crystal.notes)
    assert not any("Debye" in note for note in crystal.notes)


def test_pymatgen_refuses_what_is_no_crystal(pymatgen):
    with pytest.raises(CrystalError, match="with a lattice, got Molecule"):
        Crystal.from_pymatgen(pymatgen.Molecule(["O"], [(0, 0, 0)]))
    dummy = pymatgen.Structure(pymatgen.Lattice.cubic(4), [pymatgen.DummySpecies("X")], [(0, 0, 0)])
    with pytest.raises(CrystalError, match="chemical element"):
        Crystal.from_pymatgen(dummy)


def test_deuterium(pymatgen):
    structure = pymatgen.Structure(pymatgen.Lattice.cubic(4), ["D"], [(0, 0, 0)])
    assert Crystal.from_pymatgen(structure).sites[0] == Site("D1", "D", (0.0, 0.0, 0.0))


def mixed_atoms(ase):
    atoms = ase.Atoms("Mg2O", scaled_positions=[(0, 0, 0), (0.5, 0, 0), (0.5, 0.5, 0.5)], cell=[4, 4, 4], pbc=True)
    atoms.set_array("spacegroup_kinds", np.array([0, 0, 1]))
    atoms.info["occupancy"] = {"0": {"Mg": 0.6, "Fe": 0.3}, "1": {"O": 1}}
    return atoms


@pytest.mark.parametrize("symbol", ["Zn", "Fe"])
def test_ase_symbols_edited_after_reading(symbol):
    ase = pytest.importorskip("ase")
    atoms = mixed_atoms(ase)
    assert [len(Crystal.from_ase(atoms).sites), len(Crystal.from_ase(atoms).notes)] == [5, 2]
    atoms.symbols[0] = symbol
    crystal = Crystal.from_ase(atoms * (2, 1, 1))
    found = [(s.element, s.occupancy) for s in crystal.sites if s.label.endswith("1")]
    assert found == [(symbol, 1.0)]
    assert f"symbols of atom 0 ({symbol}), atom 3 ({symbol}) are not those" in crystal.notes[-1]


def test_ase_case(shared):
    ase_io = pytest.importorskip("ase.io")
    atoms = ase_io.read(shared("cases/ase_edited_symbol_ignored/mixed.cif"))
    atoms.symbols[0] = "Zn"
    assert "Zn" in Crystal.from_ase(atoms).atoms.elements
