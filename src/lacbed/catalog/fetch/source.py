"""What every database has to offer: pages of entries, and rows made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.catalog.rows import row_of
from lacbed.catalog.schema import Row
from lacbed.catalog.standard import standardised
from lacbed.crystals.adaptors import from_lattice
from lacbed.crystals.cell import FloatArray
from lacbed.errors import CrystalError

Cursor = dict[str, Any]
"""Where the next page begins, as JSON; a fetch goes on from the one in its last finished page."""


@dataclass(frozen=True)
class Batch:
    """One page of a database.

    Attributes:
        entries: id of every entry that may be wanted, and what the database says, or why it cannot be had.
        following: where the next page begins; None after the last.
        unwanted: entries of the page that are known not to be wanted.
        done: fraction of the whole that is fetched after this page; None if the database does not say.
    """

    entries: list[tuple[str, Any]]
    following: Cursor | None
    unwanted: int = 0
    done: float | None = None


@dataclass(frozen=True)
class Source:
    """A database.

    Attributes:
        name: of the command.
        request: everything that decides which entries come and how; no secrets.
        page: reads the page at a cursor (None for the first); may keep files in the folder that it is given.
        row: makes a row of an entry.
    """

    name: str
    request: Mapping[str, Any] = field(hash=False)
    page: Callable[[Cursor | None, Path], Batch]
    row: Callable[[str, Any], Row]


@dataclass(frozen=True)
class Origin:
    """Where one structure comes from; recorded in its row.

    Attributes:
        source: name of the database.
        source_id: id there.
        licence: of the data, an SPDX identifier if there is one.
        kind: such as dft_relaxed_known.
        experimentally_known: None if the database does not say.
        note: further facts.
    """

    source: str
    source_id: str
    licence: str
    kind: str
    experimentally_known: bool | None = None
    note: Mapping[str, Any] = field(default_factory=dict, hash=False)


def row_of_lattice(
    basis: FloatArray, points: FloatArray, shares: Sequence[Mapping[str, float]], origin: Origin
) -> Row:
    """The standardised row of a structure given as a lattice and its atoms; displacements stay unknown.

    Args:
        basis: rows a, b, c in Å.
        points: fractional coordinates (atom, 3).
        shares: occupancy of each element, for every atom.
        origin: recorded in the row.

    Raises:
        CrystalError: if it is not one crystal that can be used.
        MissingExtraError: if spglib is not installed.
    """
    if len(points) != len(shares) or not len(points):
        raise CrystalError(f"{len(points)} positions for {len(shares)} atoms")
    crystal = from_lattice(origin.source_id, basis, points, list(shares), origin.source)
    standard, symprec = standardised(crystal)
    return row_of(
        standard,
        source=origin.source,
        source_id=origin.source_id,
        licence=origin.licence,
        kind=origin.kind,
        experimentally_known=origin.experimentally_known,
        symprec=symprec,
        note=origin.note,
        known_u=False,
    )


def numbers(value: Any, name: str) -> FloatArray:
    """Numbers of an answer as (n, 3).

    Raises:
        CrystalError: if they are something else.
    """
    try:
        array = np.asarray(value, dtype=float).reshape(-1, 3)
    except (TypeError, ValueError):
        array = np.full((1, 3), np.nan)
    if not np.all(np.isfinite(array)):
        raise CrystalError(f"{name}: expected three numbers for each, got {json.dumps(value, default=str)[:60]}")
    return array


def lacking(entries: Iterable[Any], needed: Iterable[str]) -> list[str]:
    """Of the fields needed, those that no entry has, so that a changed answer is seen at once."""
    found = [entry for entry in entries if isinstance(entry, dict)]
    return [name for name in needed if not any(name in entry for entry in found)]
