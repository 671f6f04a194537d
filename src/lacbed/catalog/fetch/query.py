"""What is asked of a database, whichever it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lacbed.catalog.schema import Row
from lacbed.crystals.site import is_element
from lacbed.errors import SettingError
from lacbed.io.numbers import number

FIRST_CUBIC = 195
"""The cubic space groups are 195 to 230."""


@dataclass(frozen=True)
class Query:
    """The filters of a fetch.

    Attributes:
        contains: elements that a structure must contain, all of them.
        only: elements that a structure may contain; empty for any.
        cubic: cubic structures only.
        experimental: only measured structures, or those that the database links to a measurement.
        max_atoms: largest number of atoms in the conventional cell; None for no limit.
        count: number of structures after which to stop; None for all.

    Raises:
        SettingError: if a symbol is not an element, or the filters contradict each other.
    """

    contains: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    cubic: bool = True
    experimental: bool = False
    max_atoms: int | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no structure can satisfy."""
        for symbol in (*self.contains, *self.only):
            if not is_element(symbol):
                raise SettingError(f"expected chemical elements such as Fe,O, got {symbol!r}")
        outside = [symbol for symbol in self.contains if self.only and symbol not in self.only]
        if outside:
            raise SettingError(
                f"{', '.join(outside)} is required (--elements) but not among the elements allowed (--only)"
            )
        for name, value in (("atoms per cell", self.max_atoms), ("structures", self.count)):
            if value is not None:
                number(f"the number of {name}", value, 1)

    def as_request(self) -> dict[str, Any]:
        """The filters that tell two fetches apart; `count` does not, it only ends one earlier."""
        return {
            "contains": sorted(self.contains),
            "only": sorted(self.only),
            "cubic": self.cubic,
            "experimental": self.experimental,
            "max_atoms": self.max_atoms,
        }

    def allows_elements(self, elements: Collection[str]) -> bool:
        """Whether a structure of these elements may match; deuterium counts as hydrogen."""
        present = _as_hydrogen(elements)
        if not _as_hydrogen(self.contains) <= present:
            return False
        return not self.only or present <= _as_hydrogen(self.only)

    def allows_space_group(self, number: int | None) -> bool:
        """Whether a structure of this space group may match; one of unknown space group (None) may."""
        return not self.cubic or number is None or number >= FIRST_CUBIC

    def matches(self, row: Row) -> bool:
        """Whether a finished row passes every filter."""
        measured = row["kind"] == "experimental" or row["experimentally_known"] is True
        return (
            self.allows_elements(row["elements"])
            and self.allows_space_group(row["space_group"])
            and (self.max_atoms is None or row["n_atoms_conv"] <= self.max_atoms + 1e-6)
            and (measured or not self.experimental)
        )


def _as_hydrogen(elements: Collection[str]) -> set[str]:
    return {"H" if symbol == "D" else symbol for symbol in elements}
