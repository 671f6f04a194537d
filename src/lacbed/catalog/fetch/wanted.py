"""Which structures are wanted, whatever the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lacbed.catalog.schema import Row
from lacbed.crystals.site import is_element
from lacbed.errors import SettingError

FIRST_CUBIC = 195
"""The cubic space groups are 195 to 230."""


@dataclass(frozen=True)
class Wanted:
    """The filters of a fetch.

    Attributes:
        contains: elements that a structure must have, all of them.
        only: the elements that a structure may have; empty for any.
        cubic: cubic structures only.
        experimental: only what was measured, or what the database links to a measurement.
        max_atoms: most atoms in the conventional cell; None for any number.
        count: stop after so many structures; None for all.

    Raises:
        SettingError: if a symbol is no element, or the filters contradict each other.
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
            raise SettingError(f"{', '.join(outside)} must be in the structures and is not among those allowed")
        for name, value in (("atoms per cell", self.max_atoms), ("structures", self.count)):
            if value is not None and value < 1:
                raise SettingError(f"the largest number of {name} is a whole number from 1, got {value}")

    def as_request(self) -> dict[str, Any]:
        """What makes two fetches different; `count` does not, it only ends one earlier."""
        return {
            "contains": sorted(self.contains),
            "only": sorted(self.only),
            "cubic": self.cubic,
            "experimental": self.experimental,
            "max_atoms": self.max_atoms,
        }

    def elements_fit(self, elements: Collection[str]) -> bool:
        """Whether a structure of these elements is wanted; deuterium counts as hydrogen."""
        present = _as_hydrogen(elements)
        if not _as_hydrogen(self.contains) <= present:
            return False
        return not self.only or present <= _as_hydrogen(self.only)

    def group_fits(self, number: int | None) -> bool:
        """Whether a structure of this space group is wanted; one that the database does not state may be."""
        return not self.cubic or number is None or number >= FIRST_CUBIC

    def admits(self, row: Row) -> bool:
        """Whether a finished row is wanted."""
        measured = row["kind"] == "experimental" or row["experimentally_known"] is True
        return (
            self.elements_fit(row["elements"])
            and self.group_fits(row["space_group"])
            and (self.max_atoms is None or row["n_atoms_conv"] <= self.max_atoms + 1e-6)
            and (measured or not self.experimental)
        )


def _as_hydrogen(elements: Collection[str]) -> set[str]:
    return {"H" if symbol == "D" else symbol for symbol in elements}
