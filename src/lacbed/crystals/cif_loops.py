"""The columns of a CIF by plain names, whichever spelling the file uses."""

from __future__ import annotations

import re

from gemmi import cif

Columns = dict[str, list[str]]
"""Raw values by plain tag, all of one length."""


def plain_tag(tag: str) -> str:
    """_atom_site_fract_x for _atom_site.fract_x, _atom_site_aniso_u_11 for _atom_site_anisotrop.U[1][1]."""
    tag = re.sub(r"\[(\d)\]\[(\d)\]", r"_\1\2", tag.lower().replace(".", "_"))
    return re.sub(r"_+", "_", tag.replace("_atom_site_anisotrop_", "_atom_site_aniso_"))


def loops_of(data: cif.Block) -> list[Columns]:
    """Every loop about atoms or bonds, and last all single values as one row; of equal names the first counts."""
    tables: list[Columns] = []
    single: Columns = {}
    for item in data:
        if item.loop is not None:
            if not any(tag.lower().startswith(("_atom_site", "_geom_bond")) for tag in item.loop.tags):
                continue  # lists of reflections can be long
            width, columns = item.loop.width(), {}
            for i, tag in enumerate(item.loop.tags):
                columns.setdefault(plain_tag(tag), item.loop.values[i::width])
            tables.append(columns)
        elif item.pair is not None:
            single.setdefault(plain_tag(item.pair[0]), [item.pair[1]])
    return [*tables, single]


def columns_with(data: cif.Block, tag: str) -> Columns:
    """The columns of the first loop that holds a plain tag; empty if none does."""
    return next((columns for columns in loops_of(data) if tag in columns), {})


def value_of(data: cif.Block, *tags: str) -> str | None:
    """The first value of the first plain tag that the block holds."""
    for columns in loops_of(data):
        for tag in tags:
            if columns.get(tag):
                return columns[tag][0]
    return None
