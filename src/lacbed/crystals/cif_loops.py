"""The columns of a CIF by plain names, whichever spelling the file uses."""

from __future__ import annotations

import re
from functools import lru_cache

from gemmi import cif

Columns = dict[str, list[str]]
"""Raw values by plain tag, all of one length."""


@lru_cache(maxsize=4096)
def plain_tag(tag: str) -> str:
    """_atom_site_fract_x for _atom_site.fract_x, _atom_site_aniso_u_11 for _atom_site_anisotrop.U[1][1]."""
    tag = re.sub(r"\[(\d)\]\[(\d)\]", r"_\1\2", tag.lower().replace(".", "_"))
    return re.sub(r"_+", "_", tag.replace("_atom_site_anisotrop_", "_atom_site_aniso_"))


def loops_of(data: cif.Block, prefix: str = "_atom_site") -> list[Columns]:
    """Every loop about atoms, and last their values outside loops as one row; of equal names the first counts."""
    tables: list[Columns] = []
    single: Columns = {}
    for item in data:
        if item.loop is not None:
            tags = [plain_tag(tag) for tag in item.loop.tags]
            if not any(tag.startswith(prefix) for tag in tags):
                continue  # lists of reflections can be long
            columns, values = Columns(), item.loop.values
            for i, tag in enumerate(tags):
                columns.setdefault(tag, values[i :: len(tags)])
            tables.append(columns)
        elif item.pair is not None and plain_tag(item.pair[0]).startswith(prefix):
            single.setdefault(plain_tag(item.pair[0]), [item.pair[1]])
    return [*tables, single]


def columns_with(data: cif.Block, tag: str) -> Columns:
    """The columns of the first loop that holds a plain tag; empty if none does."""
    return next((columns for columns in loops_of(data, tag) if tag in columns), {})


def value_of(data: cif.Block, *tags: str) -> str | None:
    """The value of the first tag that the block holds, in upper or lower case, outside loops."""
    values = (data.find_value(tag) for tag in tags)
    return next((str(value) for value in values if value is not None), None)
