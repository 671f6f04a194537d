import pytest
from crystal_helpers import PLAIN, SHARED

from lacbed.crystals import Crystal, Site
from lacbed.crystals.cif_loops import loops_of
from lacbed.crystals.site import B_PER_U
from lacbed.errors import CrystalError

HEAD = PLAIN.split("loop_")[0]


def with_sites(body: str, head: str = HEAD + "_space_group_IT_number 1\n") -> Crystal:
    return Crystal.from_cif_text(head + body)


def one_loop(*columns: str, rows: str) -> str:
    return "loop_\n" + "\n".join(f"_atom_site_{c}" for c in columns) + "\n" + rows + "\n"


XYZ = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
ANISO = "loop_\n_atom_site_aniso_label\n" + "".join(
    f"_atom_site_aniso_{{kind}}_{ij}\n" for ij in ("11", "22", "33", "12", "13", "23")
)


def test_plain():
    crystal = Crystal.from_cif_text(PLAIN)
    assert crystal.name == "test"
    assert crystal.space_group == "P -1"
    assert crystal.formula == "FeO"
    assert crystal.notes == ()
    assert crystal.sites[0] == Site("Fe1", "Fe", (0.1, 0.2, 0.3), 1.0, 0.005)


@pytest.mark.parametrize(
    ("column", "value", "u_iso"),
    [
        ("U_iso_or_equiv", "0.0123(4)", 0.0123),
        ("B_iso_or_equiv", "0.62(1)", 0.62 / B_PER_U),
        ("U_iso_or_equiv", "0", 0.5 / B_PER_U),
        ("U_iso_or_equiv", "?", 0.5 / B_PER_U),
        ("B_iso_or_equiv", ".", 0.5 / B_PER_U),
    ],
)
def test_isotropic_displacement(column, value, u_iso):
    crystal = with_sites(one_loop(*XYZ, column, rows=f"Sr1 Sr 0 0 0 {value}"))
    assert crystal.sites[0].u_iso == pytest.approx(u_iso)
    noted = "no Debye-Waller factor for Sr1; B = 0.5 Å² assumed"
    assert (noted in crystal.notes) == (value in "?.0")


@pytest.mark.parametrize(("kind", "factor"), [("U", 1.0), ("B", B_PER_U)])
def test_anisotropic_displacement(kind, factor):
    u11, u22, u33, u12, u13, u23 = 0.01, 0.02, 0.03, 0.001, 0.002, 0.003
    numbers = " ".join(repr(factor * u) for u in (u11, u22, u33, u12, u13, u23))
    text = one_loop(*XYZ, "U_iso_or_equiv", rows="Sr1 Sr 0 0 0 0.02\nO1 O 0.5 0.5 0.5 0.03")
    crystal = with_sites(text + ANISO.format(kind=kind) + f"Sr1 {numbers}\n")
    assert crystal.sites[0].u_iso is None
    assert crystal.sites[0].u_aniso == pytest.approx((u11, u22, u33, u23, u13, u12))
    assert crystal.sites[1].u_iso == 0.03


def test_zero_or_missing_tensor_leaves_u_iso():
    text = one_loop(*XYZ, "U_iso_or_equiv", rows="Sr1 Sr 0 0 0 0.02\nO1 O 0.5 0.5 0.5 0.03")
    crystal = with_sites(text + ANISO.format(kind="U") + "Sr1 0 0 0 0 0 0\nO1 ? ? ? ? ? ?\n")
    assert [site.u_iso for site in crystal.sites] == [0.02, 0.03]


def test_equal_labels_are_matched_in_order():
    text = one_loop(*XYZ, rows="Al Al 0 0 0\nAl Al 0.5 0.5 0.5")
    crystal = with_sites(text + ANISO.format(kind="U") + "Al .01 .01 .01 0 0 0\nAl .02 .02 .02 0 0 0\n")
    assert [site.u_aniso[0] for site in crystal.sites] == [0.01, 0.02]


@pytest.mark.parametrize(
    ("symbol", "element", "charge"),
    [
        ("Fe3+", "Fe", 3),
        ("O2-", "O", -2),
        ("O-2", "O", -2),
        ("Na+", "Na", 1),
        ("Cl-", "Cl", -1),
        ("D", "D", 0),
        ("H", "H", 0),
        ("SI", "Si", 0),
        ("Co0", "Co", 0),
    ],
)
def test_species(symbol, element, charge):
    crystal = with_sites(one_loop(*XYZ, rows=f"A1 {symbol} 0 0 0"))
    assert (crystal.sites[0].element, crystal.sites[0].charge) == (element, charge)
    assert any("neutral atoms" in note for note in crystal.notes) == bool(charge)


def test_deuterium_has_the_number_of_hydrogen():
    crystal = with_sites(one_loop(*XYZ, rows="D1 D 0 0 0"))
    assert crystal.sites[0].atomic_number == 1
    assert crystal.atoms.elements == ("D",)


@pytest.mark.parametrize(
    ("label", "formula", "element"),
    [
        ("Ow1", "H2 O", "O"),
        ("OS1", "Si O2", "O"),
        ("OS1", "Os O2", "Os"),
        ("Fe1A", "Fe O", "Fe"),
        ("CA1", "Ca C O3", "Ca"),
        ("HO1", "H2 O", "H"),
        ("SI2", "?", "Si"),
    ],
)
def test_element_from_label(label, formula, element):
    head = HEAD + f"_space_group_IT_number 1\n_chemical_formula_sum '{formula}'\n"
    crystal = with_sites(one_loop("label", *XYZ[2:], rows=f"{label} 0 0 0"), head)
    assert crystal.sites[0].element == element


def test_label_is_optional():
    assert with_sites(one_loop(*XYZ[1:], rows="Sr 0 0 0")).sites[0].label == "Sr"


def test_dummy_and_empty_sites_are_left_out():
    rows = "Sr1 Sr 0 0 0 1 d\nX1 X 0.1 0.1 0.1 1 dum\nO1 O 0.5 0.5 0.5 0 d"
    crystal = with_sites(one_loop(*XYZ, "occupancy", "calc_flag", rows=rows))
    assert [site.label for site in crystal.sites] == ["Sr1"]
    assert "occupancy 0 of O1: left out" in crystal.notes


@pytest.mark.parametrize("value", ["1.00002", "1.004(5)", "1."])
def test_rounded_full_occupancy(value):
    assert with_sites(one_loop(*XYZ, "occupancy", rows=f"Li1 Li 0 0 0 {value}")).sites[0].occupancy == 1.0


def test_tags_in_any_case():
    assert Crystal.from_cif_text(PLAIN.replace("_cell_length_a", "_CELL_Length_A")).cell[0] == 4.0
    assert Crystal.from_cif_text(PLAIN.replace("_atom_site_fract_x", "_atom_site_Fract_X")).formula == "FeO"


def test_notes_do_not_pile_up():
    crystal = with_sites(one_loop(*XYZ, rows="Sr1 Sr2+ 0 0 0"))
    again = Crystal.from_cif_text(Crystal.from_cif_text(crystal.to_cif()).to_cif())
    assert len(set(again.notes)) == len(again.notes) <= len(crystal.notes) + 1


def test_occupancy_defaults_to_one():
    assert with_sites(one_loop(*XYZ, "occupancy", rows="Sr1 Sr 0 0 0 ?")).sites[0].occupancy == 1.0


CUBE = "data_x\n_cell_length_a 6.0\n_cell_length_b 6.0\n_cell_length_c 6.0\n"
AT_EIGHTH = one_loop(*XYZ, "U_iso_or_equiv", rows="Si1 Si 0.125 0.125 0.125 0.006")


@pytest.mark.parametrize(
    ("line", "setting", "count", "note"),
    [
        ("_space_group_name_H-M_alt 'F d -3 m:2'", "F d -3 m:2", 8, None),
        ("_symmetry_space_group_name_H-M 'F d -3 m:1'", "F d -3 m:1", 16, None),
        ("_symmetry_space_group_name_H-M 'F d -3 m S'", "F d -3 m:1", 16, None),
        ("_symmetry_space_group_name_H-M 'F d -3 m'", "F d -3 m:2", 8, "without origin choice"),
        ("_space_group_name_Hall '-F 4vw 2vw 3'", "F d -3 m:2", 8, None),
        ("_space_group_IT_number 227", "F d -3 m:2", 8, "taken from its number 227"),
        (
            "_space_group_name_Hall 'damaged'\n_space_group_name_H-M_alt 'P m -3 m'",
            "P m -3 m",
            8,
            "_space_group_name_Hall 'damaged' is not known",
        ),
        ("_space_group_name_H-M_alt '?'", "P 1", 1, "no symmetry given"),
        ("", "P 1", 1, "no symmetry given"),
    ],
)
def test_symmetry_by_name_or_number(line, setting, count, note):
    crystal = Crystal.from_cif_text(CUBE + line + "\n" + AT_EIGHTH)
    assert crystal.space_group == setting
    assert len(crystal.atoms) == count
    assert (note is None and crystal.notes == ()) or any(note in text for text in crystal.notes)


def test_rhombohedral_axes_are_seen_from_the_cell():
    head = "data_x\n_cell_length_a 5.13\n_cell_length_b 5.13\n_cell_length_c 5.13\n"
    head += "".join(f"_cell_angle_{x} 55.28\n" for x in ("alpha", "beta", "gamma"))
    text = head + "_symmetry_space_group_name_H-M 'R -3 c'\n" + one_loop(*XYZ, rows="Al1 Al 0.352 0.352 0.352")
    crystal = Crystal.from_cif_text(text)
    assert crystal.space_group == "R -3 c:R"
    assert len(crystal.atoms) == 4


def test_operations_win_over_the_symbol():
    text = PLAIN.replace("loop_", "_symmetry_space_group_name_H-M 'F m -3 m'\nloop_", 1)
    crystal = Crystal.from_cif_text(text)
    assert crystal.space_group == "P -1"
    assert any("lists 2 operations" in note for note in crystal.notes)


def test_operations_in_any_order_and_spelling():
    text = PLAIN.replace("'x,y,z'\n'-x,-y,-z'", "'-X, -Y, -Z'\n'+x, y, z'\n'1-x,-y,2-z'")
    assert Crystal.from_cif_text(text).operations == ("x,y,z", "-x,-y,-z")


def test_block_by_name():
    text = PLAIN + PLAIN.replace("data_test", "data_other").replace("Fe", "Co")
    assert Crystal.from_cif_text(text, block="other").formula == "CoO"


def test_a_block_without_atoms_does_not_disturb():
    assert Crystal.from_cif_text("data_global\n_journal_year 1999\n" + PLAIN).formula == "FeO"


def test_round_trip_keeps_everything():
    sites = (
        Site("Fe 1", "Fe", (1 / 3, 2 / 3, 0.1), 0.7, None, (0.01, 0.02, 0.03, 0.001, 0.002, 0.003), 3),
        Site("Mg'1", "Mg", (1 / 3, 2 / 3, 0.1), 0.3, 0.004, None, 2),
        Site("O;1", "O", (0.1, 0.2, 0.3), 1.0, 0.0, None, -2),
    )
    notes = ("first 'note'", "second\nnote with B = 0.5 Å²")
    crystal = Crystal.build("µ name 1", (5, 6, 7, 80, 95, 103), "P -1", sites, notes=notes, source="a paper")
    again = Crystal.from_cif_text(crystal.to_cif())
    assert again == crystal
    assert again.source == crystal.source
    assert set(notes) <= set(again.notes)


def test_what_was_read_is_let_go():
    for text, formula in ((PLAIN, "FeO"), (PLAIN.replace("Fe", "Mg"), "MgO"), (PLAIN, "FeO")):
        assert Crystal.from_cif_text(text).formula == formula
        assert loops_of.cache_info().currsize == 0
    with pytest.raises(CrystalError):
        Crystal.from_cif_text(PLAIN.replace("_atom_site_fract_x", "_atom_site_fract_q"))
    assert loops_of.cache_info().currsize == 0


def test_file_is_named_after_itself(tmp_path):
    path = tmp_path / "my crystal.cif"
    path.write_bytes(b"\xef\xbb\xbf" + PLAIN.encode())
    crystal = Crystal.from_cif(path)
    assert crystal.name == "my crystal"
    assert crystal.source == "my crystal.cif"


@pytest.mark.skipif(not (SHARED / "reference").is_dir(), reason="the reference patterns are not here")
@pytest.mark.parametrize(
    ("folder", "formula", "count"),
    [
        ("Si_K_noabs", "Si", 8),
        ("Au_K_noabs", "Au", 4),
        ("NaCl_K_noabs", "NaCl", 8),
        ("SrTiO3_K_noabs", "SrTiO3", 5),
    ],
)
def test_reference_files(folder, formula, count):
    crystal = Crystal.from_cif(SHARED / "reference" / "felix" / folder / "crystal.cif")
    assert crystal.formula == formula
    assert len(crystal.atoms) == count
    assert crystal.notes == ()
    assert Crystal.from_cif_text(crystal.to_cif()) == Crystal.from_cif_text(crystal.to_cif(), crystal.name)
