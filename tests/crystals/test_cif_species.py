"""Which element an atom of a CIF is: never the one that happens to begin a word."""

import pytest
from crystal_helpers import PLAIN, amounts

from lacbed.crystals import Crystal
from lacbed.crystals.cif_species import formula_elements, formula_numbers, species_of
from lacbed.errors import CrystalError

NONE = frozenset()


@pytest.mark.parametrize(
    ("symbol", "element", "charge", "remark"),
    [
        ("Fe3+", "Fe", 3, ""),
        ("Fe+3", "Fe", 3, ""),
        ("Fe_3+", "Fe", 3, ""),
        ("Fe 3+", "Fe", 3, ""),
        ("Fe(3+)", "Fe", 3, ""),
        ("Fe(III)", "Fe", 0, ""),
        ("Fe³⁺", "Fe", 3, ""),
        ("Fe2.5+", "Fe", 2, ""),
        ("Fe2+,spin=5", "Fe", 2, ""),
        ("Fe3", "Fe", 0, ""),
        ("FE", "Fe", 0, ""),
        ("fe", "Fe", 0, ""),
        ("SE0+", "Se", 0, ""),
        ("O-2", "O", -2, ""),
        ("O--", "O", -2, ""),
        ("O2-.", "O", -2, ""),
        ("Siva", "Si", 0, ""),
        ("11B", "B", 0, "isotope"),
        ("B11", "B", 0, "isotope"),
        ("57Fe", "Fe", 0, "isotope"),
        ("13C", "C", 0, "isotope"),
        ("2H", "D", 0, "isotope"),
        ("D", "D", 0, ""),
        ("H2O", "O", 0, "water"),
        ("Wat", "O", 0, "water"),
        ("OW", "O", 0, "water"),
        ("OH-", "O", 0, "water"),
        ("H3O+", "O", 0, "water"),
        ("CO", "Co", 0, "doubtful"),
    ],
)
def test_type_symbol(symbol, element, charge, remark):
    found = species_of(symbol, "A1", NONE)
    assert (found.element, found.charge, found.remark) == (element, charge, remark)


NO_ELEMENTS = (
    "CH3 SO4 NH4 NH4+ CO3 NO3 PO4 CF3 C60 CN NO Vac VAC Va Du Dum Bq Uuo Uuo3+ X Q M T A R Ln REE Me Cg Nh Og"
)
COMPOSITES = "Fe0.5Ni0.5 Zn0.5Fe0.5 Fe,Ni Fe/Ni FeNi (Fe,Ni) Fe:Ni Fe+Ni 3Fe Fe? Fe57+ 0 +"


@pytest.mark.parametrize("symbol", [*NO_ELEMENTS.split(), *COMPOSITES.split(), "Fe Ni", "Fe & Ni"])
def test_no_type_symbol(symbol):
    with pytest.raises(CrystalError, match="atom A1: expected a chemical element, got ") as caught:
        species_of(symbol, "A1", NONE)
    assert symbol in str(caught.value)


def test_capitals_need_the_formula():
    assert species_of("CO", "C1", frozenset({"Co", "O"})).element == "Co"
    for symbol, known in (("CO", "C O"), ("W", "Ca O H"), ("NO", "N O")):
        with pytest.raises(CrystalError, match="expected a chemical element"):
            species_of(symbol, "A1", formula_elements(known))


@pytest.mark.parametrize(
    ("label", "formula", "element", "remark"),
    [
        ("Wat", "Ca C2 O5 H2", "O", "water"),
        ("Wat", "", "O", "water"),
        ("WAT2", "Ca O H", "O", "water"),
        ("W1", "Ca H2 O", "O", "water"),
        ("W1", "Ca W O4", "W", ""),
        ("W1", "", "W", "doubtful"),
        ("H2O1", "O H", "O", "water"),
        ("OH1", "Al O H", "O", "water"),
        ("OW1", "", "O", "water"),
        ("Om", "", "O", ""),
        ("OA1", "", "O", ""),
        ("Ca1", "Ca O", "Ca", ""),
        ("CA", "Ca O", "Ca", ""),
        ("CA", "C H O", "C", ""),
        ("Cb", "C H O", "C", ""),
        ("Tl", "Tl O", "Tl", ""),
        ("Si(1)", "Si O2", "Si", ""),
        ("SiT1", "", "Si", ""),
        ("KM", "", "K", ""),
        ("11B1", "B", "B", "isotope"),
        ("D1", "H2 O", "D", ""),
        ("OS1", "", "Os", "doubtful"),
    ],
)
def test_label(label, formula, element, remark):
    found = species_of("", label, formula_elements(formula))
    assert (found.element, found.remark) == (element, remark)


@pytest.mark.parametrize(
    ("label", "formula"),
    [
        ("Vac", ""),
        ("Vac1", "V O"),
        ("Du1", ""),
        ("Bq", ""),
        ("X1", ""),
        ("M1", "Fe O"),
        ("Vx", ""),
        ("Fe1", "Ni O"),
        ("Wat", "Ca C"),
        ("NH4", "K Cl"),
        ("1", ""),
    ],
)
def test_label_of_no_element(label, formula):
    with pytest.raises(CrystalError, match="a label that names none"):
        species_of("", label, formula_elements(formula))


@pytest.mark.parametrize(
    ("label", "symbol", "formula", "remark"),
    [
        ("Ti1", "Sn", "", "disagree"),
        ("O1", "S", "", "disagree"),
        ("Cl1", "C", "C Cl", "disagree"),
        ("Fe1", "F", "", "disagree"),
        ("Fe4", "D", "Mg O", "disagree"),
        ("Ca1", "C", "C H O", ""),
        ("CA1", "C", "", ""),
        ("Re1", "C", "C6 H6 O2", ""),
        ("B1", "Ti", "", ""),
        ("M1", "Fe", "", ""),
        ("W1", "O", "", ""),
        ("H1", "D", "", ""),
        ("OW1", "O", "", ""),
    ],
)
def test_label_and_type_symbol(label, symbol, formula, remark):
    found = species_of(symbol, label, formula_elements(formula))
    assert (found.element, found.remark) == (symbol, remark)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Ca C2 O5 H2", {"Ca": 1, "C": 2, "O": 5, "H": 2}),
        ("SrTiO3", {"Sr": 1, "Ti": 1, "O": 3}),
        ("SR TI O3", {"Sr": 1, "Ti": 1, "O": 3}),
        ("Fe0.95(2) O", {"Fe": 0.95, "O": 1}),
        ("D2 O", {"H": 2, "O": 1}),
        ("C2 H0 O", {"C": 2, "O": 1}),
        ("(Mg,Fe)2 SiO4", {}),
        ("?", {}),
        ("C" + "9" * 400, {}),
    ],
)
def test_formula(text, numbers):
    assert {element: count for element, (count, _) in formula_numbers(text).items()} == numbers


def test_remarks_reach_the_crystal():
    text = PLAIN.replace("O1 O 0.4", "Wat H2O 0.4").replace("Fe1 Fe 0.1", "Fe1 57Fe 0.1")
    crystal = Crystal.from_cif_text(text)
    assert amounts(crystal) == {"Fe": 2, "O": 2}
    assert "Wat of water or hydroxyl read as O; its hydrogens are left out" in crystal.notes
    assert "isotopes scatter electrons alike: 57Fe as Fe" in crystal.notes


def test_mixed_place_may_bear_one_label():
    row = "Fe1 Fe 0.1 0.2 0.3 1.0 0.005"
    mixed = "Fe1 Fe 0.1 0.2 0.3 0.6 0.005\nFe1 Mn 0.1 0.2 0.3 0.4 0.005"
    assert Crystal.from_cif_text(PLAIN.replace(row, mixed)).notes == ()
    assert any("Fe1 (Mn)" in note for note in Crystal.from_cif_text(PLAIN.replace("Fe1 Fe", "Fe1 Mn")).notes)


def test_what_does_not_scatter_is_left_out():
    hydrogen = PLAIN + "H1 H ? ? ? 1 ?\nD2 D . . . 1 .\n? ? ? ? ? ? ?\nVa Vac 0.5 0.5 0.5 0 ?\n"
    crystal = Crystal.from_cif_text(hydrogen)
    assert amounts(crystal) == {"Fe": 2, "O": 2}
    assert crystal.notes == ("occupancy 0 of Va: left out", "hydrogen without coordinates left out: H1, D2")
    with pytest.raises(CrystalError, match="coordinate x of atom O2: expected a number, got none"):
        Crystal.from_cif_text(PLAIN + "O2 O ? ? ? 1 ?\n")


def test_dummy_atoms_are_named():
    text = PLAIN.replace("_atom_site_U_iso", "_atom_site_calc_flag\n_atom_site_U_iso")
    text = text.replace("1.0 0.00", "1.0 d 0.00") + "Cg1 Cg 0.5 0.5 0.5 1 dum ?\n"
    assert Crystal.from_cif_text(text).notes == ("dummy atoms left out: Cg1",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("water_label_Wat/wat_label.cif", {"Ca": 2, "C": 4, "O": 10}),
        ("type_symbols_that_are_no_element/types_type_H2O.cif", {"O": 2}),
        ("type_symbols_that_are_no_element/types_type_Wat.cif", {"O": 2}),
        ("unlocated_H_and_isotope/unlocated_H.cif", {"Sr": 1, "O": 1}),
    ],
)
def test_cases_read(shared, name, content):
    crystal = Crystal.from_cif(shared(f"cases/{name}"))
    assert amounts(crystal) == content
    assert any("hydrogen" in note for note in crystal.notes)


@pytest.mark.parametrize("symbol", ["Bq", "CH3", "Du", "SO4", "Uuo", "Vac", "composite2"])
def test_cases_refused(shared, symbol):
    path = shared(f"cases/type_symbols_that_are_no_element/types_type_{symbol}.cif")
    with pytest.raises(CrystalError, match="atom A1: expected a chemical element, got '"):
        Crystal.from_cif(path)
