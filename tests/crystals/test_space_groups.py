import gemmi
import numpy as np
import pytest
from crystal_helpers import fitting_cell

from lacbed.crystals import Crystal, Site
from lacbed.crystals.symmetry import find_space_group, matrices_of, operations_of
from lacbed.errors import CrystalError

GENERAL = (0.14595, 0.43215, 0.21025)  # at least 0.9 Å from its images in every setting
SETTINGS = list(gemmi.spacegroup_table_itb())


def test_table_is_complete():
    assert len(SETTINGS) >= 527
    assert {group.number for group in SETTINGS} == set(range(1, 231))


@pytest.mark.parametrize("number", range(1, 231))
def test_every_setting_expands_and_survives_cif(number):
    for group in (g for g in SETTINGS if g.number == number):
        operations = operations_of(group)
        crystal = Crystal("box", fitting_cell(group), (Site("O1", "O", GENERAL),), operations, group.xhm())
        assert len(crystal.atoms) == len(operations) == len(list(group.operations()))
        assert np.unique(crystal.atoms.xyz.round(6), axis=0).shape == crystal.atoms.xyz.shape
        assert Crystal.from_cif_text(crystal.to_cif()) == crystal
        assert Crystal.from_cif_text(crystal.to_cif()).operations == operations


@pytest.mark.parametrize("number", range(1, 231))
def test_number_means_reference_setting(number):
    group = find_space_group(number)
    assert group.number == number
    assert group.is_reference_setting()
    assert find_space_group(np.int64(number)) == group


@pytest.mark.parametrize("group", SETTINGS[::7], ids=lambda g: g.xhm())
def test_symbols_are_understood(group):
    assert set(operations_of(find_space_group(group.xhm()))) == set(operations_of(group))
    assert set(operations_of(find_space_group(group.hall))) == set(operations_of(group))


def test_symbol_without_origin_is_refused():
    with pytest.raises(CrystalError, match="two origin choices; write 'F d -3 m:1' or 'F d -3 m:2'"):
        find_space_group("F d -3 m")


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        ("P q z", "not known"),
        ("", "not known"),
        ("\x00", "not known"),
        (0, "between 1 and 230, got 0"),
        (231, "between 1 and 230, got 231"),
        (2.5, "symbol or a number, got 2.5"),
        (None, "symbol or a number, got None"),
    ],
)
def test_unknown_groups(symbol, message):
    with pytest.raises(CrystalError, match=message):
        find_space_group(symbol)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ((), "expected 1 to 192"),
        (("x,y,z", "x,y,z"), "listed twice"),
        (("x,y,z", "-x,-y,z", "x,-y,-z"), "do not form a group"),
        (("-x,-y,-z",), "do not form a group"),
        (("x,y,z", "x/2,y,z"), "not a rotation"),
        (("x,y,z", "x+y,x+y,z"), "not a rotation"),
        (("x,y,z", "hello"), "cannot be read"),
        (("x,y,z", 7), "cannot be read"),
        (("x,y,z", "x+1/3,y,z"), "do not form a group"),
        (("x,y,z", "x+y,y,z"), "do not form a group"),
    ],
)
def test_operations_that_are_no_space_group(operations, message):
    with pytest.raises(CrystalError, match=message):
        matrices_of(operations)


@pytest.mark.parametrize(
    ("cell", "group"),
    [
        ((4.0, 4.0, 4.1, 90.0, 90.0, 90.0), "P m -3 m"),
        ((5.0, 5.5, 50.0, 90.0, 90.0, 90.0), "P 4"),
        ((5.0, 5.0, 5.0, 90.0, 90.0, 90.0), "P 3"),
        ((5.0, 6.0, 7.0, 95.0, 90.0, 90.0), "P 1 2 1"),
        ((5.0, 5.0, 9.0, 90.0, 90.0, 120.0), "R -3 m:R"),
    ],
)
def test_cell_against_group(cell, group):
    with pytest.raises(CrystalError, match="does not have the symmetry"):
        Crystal.build("box", cell, group, [Site("O", "O", (0, 0, 0))])


def test_rounded_cell_is_accepted():
    crystal = Crystal.build("box", (4.0, 4.0005, 3.9995, 90.01, 90.0, 89.99), 221, [Site("O", "O", (0, 0, 0))])
    assert crystal.cell == pytest.approx((4.0, 4.0, 4.0, 90.0, 90.0, 90.0), abs=0.011)
    assert len(crystal.atoms.xyz) == 1
