"""The symmetry of a CIF: listed operations, else symbols and numbers that agree, else P 1."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import gemmi
import numpy as np
from gemmi import cif

from lacbed.crystals.cell import Cell, direct_basis
from lacbed.crystals.cif_text import values_by_tag
from lacbed.crystals.cif_values import number, text_of
from lacbed.crystals.symbols import is_tabulated, settings_of, settings_of_number
from lacbed.crystals.symmetry import (
    IDENTITY,
    canonical_triplet,
    check_metric,
    find_by_number,
    matrices_of,
    operations_of,
    origin_is_open,
    triplets_of,
)
from lacbed.errors import CrystalError


class Symmetry(NamedTuple):
    """Operations with the identity first, and the Hermann-Mauguin symbol with its setting or ""."""

    operations: tuple[str, ...]
    symbol: str

    def is_like(self, other: Symmetry) -> bool:
        """Whether both have the same kinds of rotation as often, as a group has in every setting of its own."""
        return self._kinds() == other._kinds()

    def _kinds(self) -> list[tuple[float, int]]:
        rotations = matrices_of(self.operations)[0]
        determinants = np.linalg.det(rotations).round().tolist()
        return sorted(zip(determinants, np.trace(rotations, axis1=1, axis2=2).tolist(), strict=True))


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
    named = _read_names(tags)
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
_Tags = dict[str, list[tuple[str, list[str]]]]
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


def _symmetry_tags(data: cif.Block) -> _Tags:
    """The tags about symmetry that have a value, by what they say; those not known are "unread"."""
    found: _Tags = defaultdict(list)
    for tag, raw in values_by_tag(data):
        name = tag.lower()
        if not name.startswith(("_space_group", "_symmetry")):
            continue
        values = [text for text in map(text_of, raw) if text]
        if values:
            kind = next((kind for kind, pattern in _KINDS if re.search(pattern, name)), "unread")
            found[kind].append((tag, values))
    return found


def _nothing_given(tags: _Tags) -> str:
    """The doubt of a file without symmetry.

    Raises:
        CrystalError: if it has some, under a name that is not read.
    """
    for tag, values in tags["unread"] + tags["setting"]:
        raise CrystalError(
            f"the symmetry is given as {tag} {_shown(values[0])}, which is not read; "
            "add _space_group_name_H-M_alt or the operations"
        )
    for tag, values in tags["descriptive"]:
        if values[0].lower() not in ("triclinic", "anorthic", "a", "-1", "1", "p"):
            return f"no space group given, only {tag} {_shown(values[0])}"
    return "no symmetry given"


def _shown(text: str) -> str:
    return ascii(text[:40])


# -- names and numbers --------------------------------------------------------------------------------------
@dataclass
class _Names:
    """What symbols and numbers say together: the settings that all of them allow, or None without any."""

    settings: list[Symmetry] | None = None
    symbol: str = ""
    is_number: bool = False
    fault: CrystalError | None = None
    remarks: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def narrow(self, said: str, allowed: Sequence[Symmetry]) -> None:
        """Keep the settings that are allowed too; a contradiction is a fault."""
        self.said.append(said)
        if self.settings is None:
            self.settings = list(allowed)
            return
        groups = {frozenset(one.operations) for one in allowed}
        kept = [
            one
            for one in self.settings
            if frozenset(one.operations) in groups or (not one.symbol and any(map(one.is_like, allowed)))
        ]
        if not kept and not self.fault:
            self.fault = CrystalError(
                f"the file contradicts itself: {self.said[0]}, but {said}; correct one of them"
            )
        self.settings = kept or self.settings


def _read_names(tags: _Tags) -> _Names:
    names = _Names()
    unread: list[CrystalError] = []
    for tag, text in _values(tags["hall"]):
        _try(names, tag, text, _of_hall, unread)
    for tag, text in _values(tags["symbol"]):
        names.symbol = names.symbol or text
        _try(names, tag, text, _of_symbol, unread)
    names.is_number = names.settings is None
    for tag, text in _values(tags["number"]):
        _try(names, tag, text, _of_number, unread)
    for tag, text in _values(tags["reference"]):
        _try(names, tag, text, _of_reference, unread)
    for tag, text in _values(tags["setting"]) if names.settings else ():
        settings = names.settings or []
        kept = [one for one in settings if text.lower() in _codes(one.symbol)]
        if not kept:
            names.remarks.append(f"{tag} {_shown(text)} is no setting of {settings[0].symbol}; not used")
        names.settings = kept or names.settings
        names.is_number = names.is_number and len(kept) != 1
    if names.is_number and names.settings:
        names.fault = names.fault or _transformation(tags["unread"])
    if unread and names.is_number:
        names.fault = unread[0]  # a number alone does not tell the setting that the symbol may have named
    elif unread:
        names.remarks += [f"{_cause(error)}; not used" for error in unread]
    return names


def _cause(error: CrystalError) -> str:
    """What is wrong, without what to do about it."""
    return str(error).rpartition(";")[0] or str(error)


def _transformation(tags: list[tuple[str, list[str]]]) -> CrystalError | None:
    """The fault of a file that names a reference setting and its transformation."""
    for tag, text in _values(tags):
        plain = re.sub(r"\s", "", text).lower().removesuffix(";0,0,0")
        if "transform" in tag.lower() and plain not in ("a,b,c", "x,y,z", "p"):
            return CrystalError(
                f"{tag} {_shown(text)} is not read; give the symbol of the setting or the operations"
            )
    return None


def _values(tags: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    return [(tag, value) for tag, values in tags for value in dict.fromkeys(values)]


def _try(
    names: _Names, tag: str, text: str, read: Callable[[str, str], list[Symmetry]], unread: list[CrystalError]
) -> None:
    try:
        names.narrow(f"{tag} is {_shown(text)}", read(tag, text))
    except CrystalError as error:
        unread.append(error)


def _of_hall(tag: str, text: str) -> list[Symmetry]:
    try:
        operations = gemmi.symops_from_hall(text)
        group = gemmi.find_spacegroup_by_ops(operations)
        return [Symmetry(triplets_of(operations), group.xhm() if group is not None else "")]
    except (RuntimeError, ValueError):
        raise CrystalError(f"{tag} {_shown(text)} is not known; expected a Hall symbol") from None


def _of_symbol(tag: str, text: str) -> list[Symmetry]:
    found = settings_of(text)
    if found:
        return [_setting(group.xhm()) for group in found]
    if re.fullmatch(r"[0-9]{1,3}", text):
        return _of_number(tag, text)
    if text.startswith("-"):
        return _of_hall(tag, text)
    raise CrystalError(
        f"space group {_shown(text)} is not known; expected a symbol such as 'P m -3 m' or 'R -3 m:H'"
    )


def _of_number(tag: str, text: str) -> list[Symmetry]:
    value = number(text, tag)
    if value is None or value != round(value):
        raise CrystalError(f"{tag}: expected a whole number, got {_shown(text)}")
    return [_setting(group.xhm()) for group in settings_of_number(find_by_number(round(value)).number)]


def _of_reference(tag: str, text: str) -> list[Symmetry]:
    return _of_number(tag, str(gemmi.SpaceGroup(_of_symbol(tag, text)[0].symbol).number))


@lru_cache(maxsize=1024)
def _setting(symbol: str) -> Symmetry:
    return Symmetry(operations_of(gemmi.SpaceGroup(symbol)), symbol)


def _codes(symbol: str) -> set[str]:
    """The codes of the CIF dictionary for a tabulated setting: "b1", "2", "h", "2ba-c"."""
    group = gemmi.SpaceGroup(symbol) if symbol else gemmi.SpaceGroup("P 1")
    origin, axes = group.ext.strip("\0").lower(), group.qualifier or "abc"
    return {origin, axes, origin + axes, axes + "1" if len(axes) == 1 else axes} - {""}


def _from_names(named: _Names, cell: Cell) -> Reading:
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


def _from_operations(operations: tuple[str, ...], named: _Names, cell: Cell, notes: list[str]) -> Reading:
    """Listed operations are used; what the file says otherwise is compared with them as a group."""
    found = _tabulated(operations)
    if named.fault:
        notes.append(f"{_cause(named.fault)}; the listed operations are used")
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


def _tabulated(operations: tuple[str, ...]) -> str:
    """The symbol of the tabulated setting that has exactly these operations, or ""."""
    try:
        ops = gemmi.GroupOps([gemmi.Op(text) for text in operations])
    except (RuntimeError, ValueError):  # translations that no space group has
        return ""
    group = gemmi.find_spacegroup_by_ops(ops)
    return group.xhm() if group is not None and len(operations_of(group)) == len(operations) else ""
