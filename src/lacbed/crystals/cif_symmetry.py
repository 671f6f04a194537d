"""The symmetry of a CIF: listed operations, else symbols and numbers that agree, else P 1."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import gemmi
from gemmi import cif

from lacbed.crystals.cell import Cell, direct_basis
from lacbed.crystals.cif_names import Names, Symmetry, Tags, cause_of, quoted, read_names
from lacbed.crystals.cif_text import text_of, values_by_tag
from lacbed.crystals.symbols import is_tabulated
from lacbed.crystals.symmetry import (
    IDENTITY,
    canonical_triplet,
    check_metric,
    matrices_of,
    operations_of,
    origin_is_open,
)
from lacbed.errors import CrystalError


@dataclass(frozen=True)
class Reading:
    """What a file says about its symmetry.

    Attributes:
        choices: the symmetries that it can mean, the most likely one first.
        doubt: why it leaves a doubt; "" if it leaves none.
        verdict: the end of that sentence if the first choice is taken; "" if that is not worth a note.
        is_open: whether the first choice is an assumption, so that another is taken if the atoms collide.
    """

    choices: tuple[Symmetry, ...]
    doubt: str = ""
    verdict: str = ""
    is_open: bool = False


def read_symmetry(data: cif.Block, cell: Cell, notes: list[str]) -> Reading:
    """The symmetry of a data block whose tags are tidied.

    Raises:
        CrystalError: if operations are damaged, a symbol or number has no meaning, or symbols contradict each
            other.
    """
    tags = _symmetry_tags(data)
    named = read_names(tags)
    listed = _listed_operations(tags["operations"])
    if listed:
        return _from_operations(listed, named, cell, notes)
    if named.fault:
        raise named.fault
    notes += named.remarks
    if named.settings is None:
        return Reading((Symmetry(IDENTITY, "P 1"),), _nothing_given(tags), "P 1 assumed")
    return _from_names(named, cell)


# -- which tag says what ------------------------------------------------------------------------------------
_KINDS = (
    ("operations", r"(operation|pos)_?as_?xyz$|operation_?xyz$"),
    ("ignored", r"_id$|wyckoff|description$"),
    ("hall", r"hall$"),
    ("reference", r"h_?-?m_?ref$"),
    ("symbol", r"name_?h_?-?m|full_space_group_name_h_?-?m|^_space_group_name$|^_symmetry_space_group_name$"),
    ("number", r"(it|int|tables|group)_?num"),
    ("setting", r"it_coordinate_system_code$"),
    ("descriptive", r"crystal_system|cell_setting|laue|centring|bravais|patterson|point_group"),
)


def _symmetry_tags(data: cif.Block) -> Tags:
    """The tags about symmetry that have a value, by what they say; those not known are "unread"."""
    found: Tags = defaultdict(list)
    for tag, raw in values_by_tag(data, "_space_group", "_symmetry"):
        name = tag.lower()
        values = [text for text in map(text_of, raw) if text]
        if values:
            found[_kind_of(name)].append((tag, values))
    return found


@lru_cache(maxsize=1024)
def _kind_of(name: str) -> str:
    return next((kind for kind, pattern in _KINDS if re.search(pattern, name)), "unread")


def _nothing_given(tags: Tags) -> str:
    """The doubt of a file without symmetry.

    Raises:
        CrystalError: if it has some, under a name that is not read.
    """
    for tag, values in tags["unread"] + tags["setting"]:
        raise CrystalError(
            f"the symmetry is given as {tag} {quoted(values[0])}, which is not read; "
            "add _space_group_name_H-M_alt or the operations"
        )
    for tag, values in tags["descriptive"]:
        if values[0].lower() not in ("triclinic", "anorthic", "a", "-1", "1", "p"):
            return f"no space group given, only {tag} {quoted(values[0])}"
    return "no symmetry given"


def _from_names(named: Names, cell: Cell) -> Reading:
    """The cell decides which of the settings are possible."""
    settings = named.settings or []
    fitting = [one for one in settings if fits_cell(one.operations, cell)]
    if not fitting:
        raise CrystalError(
            f"the cell does not have the symmetry that the file names ({named.said[0]}); check cell lengths and "
            "angles against the space group and its setting"
        )
    first = fitting[0]
    if not first.symbol:
        return Reading((first,))
    group = gemmi.SpaceGroup(first.symbol)
    is_monoclinic = group.crystal_system_str() == "monoclinic"
    if named.is_number:
        fitting = [one for one in fitting if is_tabulated(gemmi.SpaceGroup(one.symbol))]
        if first != settings[0] and len(fitting) > 1 and is_monoclinic:
            listed = ", ".join(one.symbol for one in fitting)
            raise CrystalError(
                f"the space group number {group.number} can mean {listed} with this cell; give the symbol"
            )
        doubt = f"space group taken from its number {group.number}"
        return Reading(tuple(fitting), doubt, f"setting {first.symbol} assumed", True)
    if len(fitting) == 1:
        return Reading((first,))
    if is_monoclinic:
        missing, usual = "unique axis", group.monoclinic_unique_axis() == "b"
    else:
        two = origin_is_open([gemmi.SpaceGroup(one.symbol) for one in fitting])
        missing, usual = "origin choice" if two else "its setting", False
    doubt = f"space group {named.symbol} without {missing}"
    return Reading(tuple(fitting), doubt, "" if usual else f"{first.symbol} assumed", True)


def fits_cell(operations: tuple[str, ...], cell: Cell) -> bool:
    """Whether a cell has the symmetry of the operations.

    Raises:
        CrystalError: if it is no cell at all.
    """
    direct = direct_basis(cell)
    try:
        check_metric(direct, matrices_of(operations)[0])
    except CrystalError:
        return False
    return True


# -- listed operations --------------------------------------------------------------------------------------
def _listed_operations(tags: list[tuple[str, list[str]]]) -> tuple[str, ...]:
    """The operations in one spelling with the identity first; () if none is listed.

    Raises:
        CrystalError: if one cannot be read, they are no group, or two lists differ.
    """
    lists = []
    for tag, values in tags:
        triplets = list(dict.fromkeys(canonical_triplet(text) for text in values))
        if IDENTITY[0] in triplets:
            triplets.remove(IDENTITY[0])
            triplets.insert(0, IDENTITY[0])
        lists.append((tag, tuple(triplets)))
    for tag, operations in lists[1:]:
        if set(operations) != set(lists[0][1]):
            raise CrystalError(f"{lists[0][0]} and {tag} list different symmetry operations; remove one list")
    if not lists:
        return ()
    matrices_of(lists[0][1])  # refuses what is not a group
    return lists[0][1]


def _from_operations(operations: tuple[str, ...], named: Names, cell: Cell, notes: list[str]) -> Reading:
    """Listed operations are used; what the file says otherwise is compared with them as a group."""
    found = _tabulated(operations)
    if named.fault:
        notes.append(f"{cause_of(named.fault)}; the listed operations are used")
        return Reading((Symmetry(operations, found),))
    notes += named.remarks
    settings = named.settings or []
    same = next((one for one in settings if set(one.operations) == set(operations)), None)
    own = Symmetry(operations, found if same is None or not same.symbol else same.symbol)
    if same is not None or not settings or (named.is_number and not found and own.is_like(settings[0])):
        return Reading((own,))
    first = settings[0]
    listed = f"lists {len(operations)} operation{'s' * (len(operations) > 1)}" + (
        f", those of {found}" if found else ""
    )
    called = f"number {gemmi.SpaceGroup(first.symbol).number}" if named.is_number else first.symbol or named.symbol
    doubt = f"the file names space group {called} ({len(first.operations)} operations) but {listed}"
    others = [one for one in settings if fits_cell(one.operations, cell)]
    return Reading((own, *others), doubt, "the listed ones are used")


@lru_cache(maxsize=256)
def _tabulated(operations: tuple[str, ...]) -> str:
    """The symbol of the tabulated setting that has exactly these operations, or ""."""
    try:
        ops = gemmi.GroupOps([gemmi.Op(text) for text in operations])
    except (RuntimeError, ValueError):  # translations that no space group has
        return ""
    group = gemmi.find_spacegroup_by_ops(ops)
    return group.xhm() if group is not None and len(operations_of(group)) == len(operations) else ""
