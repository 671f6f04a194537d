"""felix.inp means the same here."""

from __future__ import annotations

from pathlib import Path

import pytest
from felix_folder import FORTRAN, HKL, PYTHON, make_folder
from gemmi import cif as gemmi_cif

import lacbed
from lacbed.errors import FileFormatError
from lacbed.felix.input import read_felix
from lacbed.felix.recipe import crystal_of, in_inverse_angstrom, settings_of

GAAS = lacbed.Crystal.named("GaAs")


def test_the_fortran_program(tmp_path: Path) -> None:
    felix = read_felix(make_folder(tmp_path, GAAS, absorption=1))
    assert (felix.voltage, felix.zone_axis, felix.x_direction) == (200.0, (0, 0, 1), (1.0, 0.0, 0.0))
    assert felix.foil_normal is None  # it is the zone axis
    assert felix.thicknesses == (300.0, 400.0)
    assert (felix.pixels, felix.half_width, felix.hkl) == (12, 0.3, HKL)
    assert (felix.factors, felix.absorption, felix.strong_beams) == ("kirkland", ("proportional", 10.0), 60)
    assert any("60 strong beams" in remark for remark in felix.remarks)


def test_the_python_program(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, GAAS, PYTHON)
    felix = read_felix(folder / "felix.inp")
    assert (felix.voltage, felix.zone_axis, felix.foil_normal) == (80.0, (-1, 1, 0), (0.0, 1.0, 0.0))
    assert felix.thicknesses == (1100.0, 1120.0, 1140.0)
    assert (felix.pixels, felix.half_width) == (84, 0.725)
    assert (felix.factors, felix.absorption) == ("doyle-turner", "thomas")


def test_its_number_counts_shortest_reflections_in_old_versions(tmp_path: Path) -> None:
    felix = read_felix(make_folder(tmp_path, GAAS, half_width=2.0))
    wide = in_inverse_angstrom(felix, GAAS)
    assert wide.half_width == pytest.approx(2.0 * 2.0 / GAAS.cell[0])  # 200, for 100 is absent from an F lattice


def test_b_of_felix_goes_to_a_crystal_without(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, GAAS)
    text = (folder / "felix.cif").read_text(encoding="utf-8")
    felix = read_felix(folder)
    assert crystal_of(felix)[1] is None  # the CIF has its own
    (folder / "felix.cif").write_text(_without_displacements(text), encoding="utf-8")
    crystal, b_iso = crystal_of(felix)
    assert b_iso == 0.7
    assert [site.b_iso for site in crystal.sites] == [pytest.approx(0.7)] * len(crystal.sites)


def _without_displacements(cif: str) -> str:
    block = gemmi_cif.read_string(cif).sole_block()
    loop = block.find_loop("_atom_site_label").get_loop()
    gone = [tag for tag in loop.tags if "_U_" in tag or "_B_" in tag or "adp" in tag]
    for tag in gone:
        loop.remove_column(tag)
    return block.as_string()


def test_reflections_outside_the_zone_are_left_out_and_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, GAAS)
    (folder / "felix.hkl").write_text("[0,0,0]\n[1,1,1]\n[1,0,0]\n[4,0,0]\n", encoding="utf-8")
    settings, remarks = settings_of(read_felix(folder), GAAS)
    assert settings["hkl"] == ((0, 0, 0), (4, 0, 0))
    assert "1,1,1  1,0,0" in remarks[-1]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("RAcceleratingVoltage (kV) = 200.0", "", "does not state RAcceleratingVoltage"),
        ("RAcceleratingVoltage (kV) = 200.0", "RAcceleratingVoltage (kV) = high", "must be a number, got 'high'"),
        ("= 0.3", "= -1", "must be positive"),
        ("IPixelCount               = 6", "IPixelCount               = 0", "between 1 and 4096"),
        ("IScatterFactorMethodFLAG  = 0", "IScatterFactorMethodFLAG  = 4", "number 4"),
        ("IAbsorbFLAG               = 0", "IAbsorbFLAG               = 3", "number 3"),
        ("IIncidentBeamDirection    = [0,0,1]", "IIncidentBeamDirection    = 0 0 1", "three numbers such as"),
        ("IIncidentBeamDirection    = [0,0,1]", "IIncidentBeamDirection    = [0,0,0.5]", "whole numbers"),
        ("RDeltaThickness           = 100.0", "RDeltaThickness           = 0.0001", "the limit is"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, says: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path, GAAS)
    file = folder / "felix.inp"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(FileFormatError, match=says.replace("(", r"\(")):
        read_felix(folder)


def test_no_input_no_result(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"contains no felix\.inp"):
        read_felix(tmp_path)
    with pytest.raises(FileFormatError, match="no such file"):
        read_felix(tmp_path / "felix.inp")
    (tmp_path / "felix.inp").write_text(FORTRAN, encoding="utf-8")
