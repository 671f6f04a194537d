"""Displacements under all of their names, and what a file says of them that cannot be."""

import numpy as np
import pytest
from crystal_helpers import PLAIN

from lacbed.crystals import Crystal, Site
from lacbed.crystals.site import B_PER_U

CELL = "data_x\n" + "".join(f"_cell_length_{x} {v}\n" for x, v in zip("abc", (4.0, 5.0, 6.0), strict=True))
ASSUMED = "no Debye-Waller factor for Sr1, O1; B = 0.5 Å² assumed"
TENSOR = ("11", "22", "33", "12", "13", "23")


def read(*columns: str, rows: str, more: str = "", head: str = CELL + "_cell_angle_beta 100\n") -> Crystal:
    """A crystal in P 1 with strontium and oxygen, whose further columns are given."""
    names = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", *columns)
    places = zip(("Sr1 Sr 0 0 0", "O1 O 0.5 0.5 0.5"), rows.split("|"), strict=True)
    body = "".join(f"{place} {values}\n" for place, values in places)
    loop = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in names) + body
    return Crystal.from_cif_text(f"{head}_space_group_IT_number 1\n{loop}{more}")


def table(
    kind: str, rows: str, tag: str = "_atom_site_aniso_{kind}_{ij}", label: str = "_atom_site_aniso_label"
) -> str:
    tags = "".join(tag.format(kind=kind, ij=ij, i=ij[0], j=ij[1]) + "\n" for ij in TENSOR)
    return f"loop_\n{label}\n{tags}{rows}\n"


def noted(crystal: Crystal, text: str) -> bool:
    """Whether a note says it, beside the one about the number of the space group."""
    return any(text in note for note in crystal.notes)


def test_beta():
    """U_ij = β_ij / (2π² a*_i a*_j) in an oblique cell, by hand."""
    beta = {"11": 0.010, "22": 0.007, "33": 0.005, "12": 0.001, "13": -0.002, "23": 0.0005}
    row = " ".join(map(str, beta.values()))
    crystal = read(rows="|", more=table("beta", f"Sr1 {row}\nO1 {row}"))
    sine = np.sin(np.radians(100))
    star = {"1": 1 / (4 * sine), "2": 1 / 5, "3": 1 / (6 * sine)}
    expected = [
        beta[ij] / (2 * np.pi**2 * star[ij[0]] * star[ij[1]]) for ij in ("11", "22", "33", "23", "13", "12")
    ]
    assert crystal.sites[0].u_aniso == pytest.approx(expected)
    tensor = crystal.sites[0].beta(crystal.reciprocal)
    assert tensor[0, 0] == pytest.approx(0.010)
    assert tensor[0, 2] == pytest.approx(-0.002)
    assert not noted(crystal, "Debye-Waller")


@pytest.mark.parametrize(
    ("tag", "label"),
    [
        ("_atom_site_aniso.U_{ij}", "_atom_site_aniso.label"),
        ("_atom_site_anisotrop.U[{i}][{j}]", "_atom_site_anisotrop.id"),
        ("_atom_site_aniso_U_{j}{i}", "_atom_site_aniso_label"),
        ("_ATOM_SITE_ANISO_u_{ij}", "_Atom_site_aniso_Label"),
    ],
)
def test_names_of_the_table(tag, label):
    crystal = read(rows="|", more=table("U", "Sr1 .01 .02 .03 .001 .002 .003\nO1 .02 .02 .02 0 0 0", tag, label))
    assert crystal.sites[0].u_aniso == (0.01, 0.02, 0.03, 0.003, 0.002, 0.001)
    assert not noted(crystal, "Debye-Waller")


@pytest.mark.parametrize("column", ["U_iso", "U_equiv", "U_equiv_geom_mean", "B_iso", "B_equiv_geom_mean"])
def test_names_of_the_column(column):
    crystal = read(column, rows="0.02|0.03")
    factor = B_PER_U if column.startswith("B") else 1.0
    assert [site.u_iso * factor for site in crystal.sites] == pytest.approx([0.02, 0.03])


def test_loop_of_its_own():
    crystal = read(rows="|", more="loop_\n_atom_site_U_iso_or_equiv\n0.02\n0.03\n")
    assert [site.u_iso for site in crystal.sites] == [0.02, 0.03]


@pytest.mark.parametrize("column", ["U_cylindrical", "aniso_U_iso", "B_something", "displacement"])
def test_unread_tags_are_named(column):
    crystal = read(column, rows="0.02|0.03")
    assert noted(crystal, f"Debye-Waller factors under _atom_site_{column.lower()} cannot be read; B = 0.5")
    assert not noted(crystal, "no Debye-Waller factor")
    assert noted(read(column, rows="?|."), ASSUMED)


@pytest.mark.parametrize("column", ["U_iso_or_equiv", "B_iso_or_equiv"])
@pytest.mark.parametrize("rows", ["0|0", "0.00000|0.0", "0|?"])
def test_zero_everywhere_is_not_known(column, rows):
    crystal = read(column, rows=rows, more=table("U", "Sr1 0 0 0 0 0 0"))
    assert [site.b_iso for site in crystal.sites] == pytest.approx([0.5, 0.5])
    assert noted(crystal, "U or B = 0 for every atom: taken as not known")
    assert noted(crystal, ASSUMED)


def test_one_zero_is_kept_and_noted():
    crystal = read("U_iso_or_equiv", rows="0|0.01")
    assert [site.u_iso for site in crystal.sites] == [0.0, 0.01]
    assert noted(crystal, "U = 0 of Sr1 is kept")


def test_atoms_meant_to_stand_still_do_so_after_writing():
    for crystal in (
        Crystal.build("still", 4.0, 221, [Site("Fe1", "Fe", (0, 0, 0), 1.0, 0.0)]),
        Crystal.from_cif_text(PLAIN).with_b_iso(0.0),
    ):
        again = Crystal.from_cif_text(Crystal.from_cif_text(crystal.to_cif()).to_cif(), crystal.name)
        assert again == crystal
        assert again.notes == ("B = 0 Å² set on every site",)


@pytest.mark.parametrize(
    ("columns", "rows", "more", "note"),
    [
        (("U_iso_or_equiv",), "0.4|0.01", "", "B above 20 Å² of Sr1 (32 Å²)"),
        (("B_iso_or_equiv",), "0.5|25", "", "B above 20 Å² of O1 (25 Å²)"),
        (("B_iso_or_equiv",), "0.006|0.008", "", "every B is below 0.03 Å²"),
        (("U_iso_or_equiv",), "0.01|0.01", "Sr1 .02 .02 .02 0 0 0", "U_iso and U_ij of Sr1 differ by more"),
        (("U_iso_or_equiv",), "0.01|0.01", "Sr1 .3 .3 .3 0 0 0", "B above 20 Å² of Sr1 (24 Å²)"),
        (("U_iso_or_equiv", "B_iso_or_equiv"), "0.01 .79|0.01 .4", "", "U_iso and B_iso of O1 differ by more"),
        (("U_iso_or_equiv", "adp_type"), "0.01 Uani|0.01 Uiso", "", "no U_ij for Sr1, though called aniso"),
        (("U_iso_or_equiv", "thermal_displace_type"), "0.6 Biso|0.5 Biso", "", "says Biso, but the values are"),
        (("U_iso_or_equiv",), "0.01|0.01", "Sr1 .01 .01 .01 . . .", "U_ij of Sr1 incomplete; the missing"),
        (("U_iso_or_equiv",), "0.01|0.01", "Sr1 .01 ? .01 0 0 0", "U_ij of Sr1 incomplete and not used"),
        (("U_iso_or_equiv",), "0.01|0.01", "Sr7 .01 .01 .01 0 0 0", "displacements of Sr7 belong to no atom"),
    ],
)
def test_doubts(columns, rows, more, note):
    assert noted(read(*columns, rows=rows, more=table("U", more) if more else ""), note)


def test_nothing_to_doubt():
    more = table("U", "SR(1) .010 .012 .011 0 .001 0\nO1 .02 .02 .02 0 .002 0")
    crystal = read("U_iso_or_equiv", "adp_type", rows="0.011 Uani|0.019 Uani", more=more)
    assert crystal.sites[0].u_aniso is not None
    assert len(crystal.notes) == 2  # the space group is given by its number, alpha and gamma are not given
    assert len(read("B_iso_or_equiv", rows="1.0|1.0").notes) == 2


def test_anharmonic():
    more = "loop_\n_atom_site_anharm_GC_C_label\n_atom_site_anharm_GC_C_111\nSr1 0.01\n"
    assert noted(read("U_iso_or_equiv", rows="0.01|0.01", more=more), "anharmonic displacements are not used")


def test_case_beta(shared):
    crystal = Crystal.from_cif(shared("cases/beta_ij/input.cif"))
    b_of_site = dict(zip(crystal.atoms.elements, crystal.atoms.b_iso.tolist(), strict=True))
    assert b_of_site == pytest.approx({"Sr": 0.610, "Ti": 0.427, "O": 0.976}, abs=5e-4)
    assert not noted(crystal, "Debye-Waller")


def test_case_zero_displacements(shared):
    crystal = Crystal.from_cif(shared("cases/U_iso_zero_placeholder/materials_studio_U0.cif"))
    assert {round(b, 6) for b in crystal.atoms.b_iso.tolist()} == {0.5}
    assert noted(crystal, "taken as not known")
