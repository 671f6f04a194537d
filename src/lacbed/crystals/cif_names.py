"""What the symbols and numbers of a CIF say about its space group: the settings that all of them allow."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import gemmi
import numpy as np

from lacbed.crystals.cif_text import number
from lacbed.crystals.symbols import settings_of, settings_of_number
from lacbed.crystals.symmetry import find_by_number, matrices_of, operations_of, triplets_of
from lacbed.errors import CrystalError

Tags = dict[str, list[tuple[str, list[str]]]]
"""Tags and values by what they say: "hall", "symbol", "number", "reference", "setting", "unread"."""


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


@dataclass
class Names:
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


def read_names(tags: Tags) -> Names:
    """What all symbols and numbers say; a symbol that cannot be read is a fault or a remark."""
    names = Names()
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
            names.remarks.append(f"{tag} {quoted(text)} is not a setting of {settings[0].symbol}; not used")
        names.settings = kept or names.settings
        names.is_number = names.is_number and len(kept) != 1
    if names.is_number and names.settings:
        names.fault = names.fault or _transformation(tags["unread"])
    if unread and names.is_number:
        names.fault = unread[0]  # a number alone does not tell the setting that the symbol may have named
    elif unread:
        names.remarks += [f"{cause_of(error)}; not used" for error in unread]
    return names


def cause_of(error: CrystalError) -> str:
    """What is wrong, without what to do about it."""
    return str(error).rpartition(";")[0] or str(error)


def _transformation(tags: list[tuple[str, list[str]]]) -> CrystalError | None:
    """The fault of a file that names a reference setting and its transformation."""
    for tag, text in _values(tags):
        plain = re.sub(r"\s", "", text).lower().removesuffix(";0,0,0")
        if "transform" in tag.lower() and plain not in ("a,b,c", "x,y,z", "p"):
            return CrystalError(
                f"{tag} {quoted(text)} is not read; give the symbol of the setting or the operations"
            )
    return None


def _values(tags: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    return [(tag, value) for tag, values in tags for value in dict.fromkeys(values)]


def _try(
    names: Names, tag: str, text: str, read: Callable[[str, str], list[Symmetry]], unread: list[CrystalError]
) -> None:
    try:
        names.narrow(f"{tag} is {quoted(text)}", read(tag, text))
    except CrystalError as error:
        unread.append(error)


def _of_hall(tag: str, text: str) -> list[Symmetry]:
    try:
        operations = gemmi.symops_from_hall(text)
        group = gemmi.find_spacegroup_by_ops(operations)
        return [Symmetry(triplets_of(operations), group.xhm() if group is not None else "")]
    except (RuntimeError, ValueError):
        raise CrystalError(f"{tag} {quoted(text)} is not known; expected a Hall symbol") from None


def _of_symbol(tag: str, text: str) -> list[Symmetry]:
    found = settings_of(text)
    if found:
        return [_setting(group.xhm()) for group in found]
    if re.fullmatch(r"[0-9]{1,3}", text):
        return _of_number(tag, text)
    if text.startswith("-"):
        return _of_hall(tag, text)
    raise CrystalError(
        f"space group {quoted(text)} is not known; expected a symbol such as 'P m -3 m' or 'R -3 m:H'"
    )


def _of_number(tag: str, text: str) -> list[Symmetry]:
    value = number(text, tag)
    if value is None or value != round(value):
        raise CrystalError(f"{tag}: expected a whole number, got {quoted(text)}")
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


def quoted(text: str) -> str:
    """A text from a file in quotes, not too long, fit for a message."""
    return ascii(text[:40])
