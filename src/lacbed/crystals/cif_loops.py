"""The columns of a CIF by plain names, whichever spelling the file uses, and names that are rather misspelt."""

from __future__ import annotations

import re
from functools import lru_cache

from gemmi import cif

from lacbed.crystals.cif_text import CELL_TAGS, tags_of

Columns = dict[str, list[str]]
"""Raw values by plain tag, all of one length."""


@lru_cache(maxsize=4096)
def plain_tag(tag: str) -> str:
    """_atom_site_fract_x for _atom_site.fract_x, _atom_site_aniso_u_11 for _atom_site_anisotrop.U[1][1]."""
    tag = re.sub(r"\[(\d)\]\[(\d)\]", r"_\1\2", tag.lower().replace(".", "_"))
    return re.sub(r"_+", "_", tag.replace("_atom_site_anisotrop_", "_atom_site_aniso_"))


@lru_cache(maxsize=16)
def loops_of(data: cif.Block, prefix: str = "_atom_site") -> tuple[Columns, ...]:
    """Every loop about atoms, and last their values outside loops as one row; of equal names the first counts.

    Remembered, since many ask; so neither the block nor what comes back may be changed. `forget_loops` lets go.
    """
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
    return *tables, single


forget_loops = loops_of.cache_clear


def columns_with(data: cif.Block, tag: str) -> Columns:
    """The columns of the first loop that holds a plain tag; empty if none does."""
    return next((columns for columns in loops_of(data, tag) if tag in columns), {})


def atoms_of(data: cif.Block) -> Columns:
    """The columns of the loop of coordinates."""
    return columns_with(data, "_atom_site_fract_x")


def value_of(data: cif.Block, *tags: str) -> str | None:
    """The value of the first tag that the block holds, in upper or lower case, outside loops."""
    values = (data.find_value(tag) for tag in tags)
    return next((str(value) for value in values if value is not None), None)


_TENSOR = tuple(f"_atom_site_aniso_{kind}_{ij}" for kind in "ub" for ij in ("11", "22", "33", "12", "13", "23"))
_WANTED = (
    *map(str.lower, CELL_TAGS),
    "_cell_volume",
    "_cell_formula_units_z",
    "_chemical_formula_sum",
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_operation_xyz",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_hall",
    "_space_group_name_hall",
    "_symmetry_int_tables_number",
    "_space_group_it_number",
    "_atom_site_label",
    "_atom_site_type_symbol",
    "_atom_site_fract_x",
    "_atom_site_fract_y",
    "_atom_site_fract_z",
    "_atom_site_occupancy",
    "_atom_site_u_iso_or_equiv",
    "_atom_site_b_iso_or_equiv",
    "_atom_site_adp_type",
    "_atom_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_multiplicity",
    "_atom_site_wyckoff_symbol",
    "_atom_site_aniso_label",
    *_TENSOR,
)
_MISSPELT = 2
"""Letters in one place of a tag by which it may differ from a known one and be taken for it misspelt."""

_USUAL_ORDERS = (
    ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z"),
    ("_atom_site_aniso_u_11", "_atom_site_aniso_u_22", "_atom_site_aniso_u_33"),
    ("_atom_site_aniso_u_12", "_atom_site_aniso_u_13", "_atom_site_aniso_u_23"),
)
_BACKWARDS = ("_atom_site_aniso_u_23", "_atom_site_aniso_u_13", "_atom_site_aniso_u_12")


def remarks_on_tags(data: cif.Block) -> list[str]:
    """Notes on tags that nobody knows but that nearly are known ones, and on columns in an unusual order."""
    names = {plain_tag(tag): tag for tag in tags_of(data)}
    absent = [tag for tag in _WANTED if tag not in names]
    notes = []
    for name, tag in names.items():
        meant = next((known for known in _meant(name) if known in absent), None)
        if meant is not None:
            notes.append(f"unknown tag {ascii(tag[:60])[1:-1]} is not used; did you mean {meant}?")
    for order in _USUAL_ORDERS:
        found = tuple(name for name in names if name in order)
        if len(found) == len(order) and found not in (order, _BACKWARDS):
            listed = ", ".join(tag.rpartition("_")[2] for tag in found)
            notes.append(
                f"columns {order[0].rpartition('_')[0]} are in the unusual order {listed}; read by their names"
            )
    return notes


@lru_cache(maxsize=4096)
def _meant(name: str) -> tuple[str, ...]:
    """Known tags from which an unknown one differs in one place only, by a letter or two."""
    if name in _WANTED:
        return ()
    alike = (known for known in _WANTED if name[:4] == known[:4] or name[-4:] == known[-4:])
    return tuple(known for known in alike if _is_nearly(name, known))


def _is_nearly(name: str, known: str) -> bool:
    longest = max(len(name), len(known))
    if longest - min(len(name), len(known)) > _MISSPELT:
        return False
    start = _shared(name, known)
    return longest - start - _shared(name[start:][::-1], known[start:][::-1]) <= _MISSPELT


def _shared(one: str, other: str) -> int:
    """Number of letters with which both begin."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
