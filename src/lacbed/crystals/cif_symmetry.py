"""The symmetry of a CIF: listed operations, else a symbol, else a number, else P 1."""

from __future__ import annotations

import re

import gemmi
from gemmi import cif

from lacbed.crystals.cell import Cell
from lacbed.crystals.cif_values import number, text_of
from lacbed.crystals.symmetry import (
    IDENTITY,
    find_space_group,
    matrices_of,
    operations_of,
    origin_is_open,
    parse_triplet,
)
from lacbed.errors import CrystalError

_OPERATION_TAGS = (
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_symmetry_equiv.pos_as_xyz",
)
_MAGNETIC_TAGS = ("_space_group_symop_magn_operation.xyz", "_space_group_symop_magn_operation_xyz")
_HALL_TAGS = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_HM_TAGS = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group_name_H-M")
_NUMBER_TAGS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")


def read_symmetry(data: cif.Block, cell: Cell, notes: list[str]) -> tuple[tuple[str, ...], str]:
    """Operations with the identity first, and the Hermann-Mauguin symbol with its setting or "".

    Raises:
        CrystalError: if the operations are damaged or the symbol is not known.
    """
    if any(data.find_values(tag) for tag in _MAGNETIC_TAGS):
        raise CrystalError("magnetic symmetry operations; expected the CIF of the nuclear structure")
    for tag in _OPERATION_TAGS:
        listed = [text_of(value) for value in data.find_values(tag)]
        if listed:
            return _from_operations(listed, data, cell, notes)
    group = _from_symbol(data, cell, notes)
    if group is None:
        notes.append("no symmetry given; P 1 assumed")
        return IDENTITY, "P 1"
    return operations_of(group), group.xhm()


def _from_operations(
    listed: list[str], data: cif.Block, cell: Cell, notes: list[str]
) -> tuple[tuple[str, ...], str]:
    triplets = list(dict.fromkeys(parse_triplet(text).triplet() for text in listed))
    if IDENTITY[0] in triplets:
        triplets.remove(IDENTITY[0])
        triplets.insert(0, IDENTITY[0])
    operations = tuple(triplets)
    matrices_of(operations)  # refuses what is not a group
    named = _quietly_named(data, cell)
    if named is not None and set(operations_of(named)) == set(operations):
        return operations, named.xhm()
    found = gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(t) for t in operations]))
    if named is not None and len(operations_of(named)) != len(operations):
        notes.append(
            f"the file names space group {named.xhm()} but lists {len(operations)} operations; those are used"
        )
    return operations, found.xhm() if found is not None else ""


def _quietly_named(data: cif.Block, cell: Cell) -> gemmi.SpaceGroup | None:
    try:
        return _from_symbol(data, cell, [])
    except CrystalError:
        return None


def _from_symbol(data: cif.Block, cell: Cell, notes: list[str]) -> gemmi.SpaceGroup | None:
    """The group of the first known symbol or number; None if there is none at all."""
    unknown = ""
    for tag in (*_HALL_TAGS, *_HM_TAGS):
        symbol = text_of(data.find_value(tag))
        if not symbol:
            continue
        try:
            return _named(symbol, cell, notes)
        except CrystalError as error:
            unknown = unknown or str(error)
    for tag in _NUMBER_TAGS:
        value = number(data.find_value(tag), tag)
        if value is not None:
            group = find_space_group(round(value))
            notes.append(f"space group taken from its number {group.number}; setting {group.xhm()} assumed")
            return group
    if unknown:
        raise CrystalError(unknown)
    return None


def _named(symbol: str, cell: Cell, notes: list[str]) -> gemmi.SpaceGroup:
    """The cell tells hexagonal from rhombohedral axes; origin choice 2 is taken where none is given."""
    for letter, choice in (("S", "1"), ("Z", "2")):  # how some data bases write the origin choices
        symbol = re.sub(rf"\s+{letter}$", f":{choice}", symbol)
    group = gemmi.find_spacegroup_by_name(symbol, cell[3], cell[5], "2")
    if group is None:
        return find_space_group(symbol)
    if origin_is_open(symbol):
        notes.append(f"space group {symbol} without origin choice; {group.xhm()} assumed")
    return group
