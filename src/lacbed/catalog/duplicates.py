"""One row for each structure: the same compound with the same cell is kept once."""

from __future__ import annotations

from collections.abc import Sequence

from lacbed.catalog.rows import cell_of
from lacbed.catalog.schema import Row

SAME_LENGTH = 0.02
"""Å; structures of one compound whose cell lengths differ by no more are one structure."""

_PREFERENCE = ("experimental", "idealised_framework", "dft_relaxed_known", "dft_relaxed_theoretical", "generated")


def deduplicated(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """Rows without repetitions, in their order, and each row left out with the one that stands for it.

    Rows are one structure if space group, formula and Wyckoff signature are equal and no cell length differs
    by more than `SAME_LENGTH`. A measured row with U_iso is preferred, then a measured one, then the others.
    """
    ranked = sorted(range(len(rows)), key=lambda i: (_rank(rows[i]), i))
    kept: dict[str, list[int]] = {}
    dropped: list[tuple[int, int]] = []
    for i in ranked:
        same = next((j for j in kept.get(rows[i]["compound_id"], ()) if _same_cell(rows[i], rows[j])), None)
        if same is None:
            kept.setdefault(rows[i]["compound_id"], []).append(i)
        else:
            dropped.append((i, same))
    order = sorted(i for group in kept.values() for i in group)
    return [rows[i] for i in order], [(rows[i], rows[j]) for i, j in sorted(dropped)]


def _rank(row: Row) -> tuple[int, int]:
    kind = row["kind"]
    place = _PREFERENCE.index(kind) if kind in _PREFERENCE else len(_PREFERENCE)
    return place, 0 if row.get("has_u_iso") else 1


def _same_cell(one: Row, other: Row) -> bool:
    pairs = zip(cell_of(one)[:3], cell_of(other)[:3], strict=True)
    return all(abs(p - q) <= SAME_LENGTH + 1e-9 for p, q in pairs)
