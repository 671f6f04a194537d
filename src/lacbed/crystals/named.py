"""Built-in crystals: well-known structures with the source of the cell and of the Debye-Waller factors."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lacbed.crystals.crystal import Crystal
from lacbed.crystals.site import B_PER_U, DEFAULT_B_ISO, Site
from lacbed.errors import CrystalError


@dataclass(frozen=True)
class NamedRow:
    """One line of the table of built-in crystals.

    Attributes:
        name: what `named_crystal` takes.
        aliases: other names that it takes.
        formula: reduced formula.
        space_group: Hermann-Mauguin symbol with setting.
        cell: a, b, c in Å and α, β, γ in degrees.
        b_iso: B in Å² of each site by label, isotropic equivalent.
        source: where cell, coordinates and B come from.
    """

    name: str
    aliases: tuple[str, ...]
    formula: str
    space_group: str
    cell: tuple[float, float, float, float, float, float]
    b_iso: dict[str, float]
    source: str


def named_crystal(name: str) -> Crystal:
    """A built-in crystal by name or alias, upper or lower case: "SrTiO3", "diamond".

    A crystal whose source gives no displacements gets B = 0.5 Å² and a note that says so.

    Raises:
        CrystalError: if there is none, with the nearest names.
    """
    entry = _by_key().get(_key(name))
    if entry is None:
        raise CrystalError(f"no built-in crystal {name!r}; {_suggestion(name)}")
    return _build(entry)


def has_name(name: str) -> bool:
    """True if `named_crystal` knows the name."""
    return _key(name) in _by_key()


def named_rows() -> tuple[NamedRow, ...]:
    """All built-in crystals in the order of the data file, for a table."""
    return tuple(_row(entry) for entry in _entries())


def _row(entry: Mapping[str, Any]) -> NamedRow:
    crystal = _build(entry)
    b_of_site = dict(zip(crystal.atoms.site.tolist(), crystal.atoms.b_iso.tolist(), strict=True))
    return NamedRow(
        name=crystal.name,
        aliases=tuple(entry["aliases"]),
        formula=crystal.formula,
        space_group=crystal.space_group,
        cell=crystal.cell,
        b_iso={site.label: round(b_of_site[i], 4) for i, site in enumerate(crystal.sites)},
        source=crystal.source,
    )


@cache
def _entries() -> tuple[Mapping[str, Any], ...]:
    text = files("lacbed.crystals").joinpath("data", "crystals.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))


@cache
def _by_key() -> dict[str, Mapping[str, Any]]:
    return {_key(n): entry for entry in _entries() for n in (entry["name"], *entry["aliases"])}


def _key(name: str) -> str:
    return "".join(name.split()).lower()


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(_key(name), _by_key(), n=3, cutoff=0.7)
    if near:
        return "did you mean " + " or ".join(dict.fromkeys(_by_key()[key]["name"] for key in near)) + "?"
    return "`lacbed crystals` lists them"


def _build(entry: Mapping[str, Any]) -> Crystal:
    sites: list[Site] = []
    for number, data in enumerate(entry["sites"], start=1):
        sites.append(_site(f"{data['element']}{number}", data))
    lacking = [s.label for s, data in zip(sites, entry["sites"], strict=True) if not _DISPLACEMENTS & set(data)]
    b_source = entry["b_source"] or f"B = {DEFAULT_B_ISO} Å² assumed"
    return Crystal.build(
        entry["name"],
        tuple(entry["cell"]) if isinstance(entry["cell"], list) else float(entry["cell"]),
        entry["space_group"],
        sites,
        notes=(f"no Debye-Waller factor for {', '.join(lacking)}; B = {DEFAULT_B_ISO} Å² assumed",)
        if lacking
        else (),
        source=f"{entry['source']}; {b_source}",
    )


_DISPLACEMENTS = {"B", "U", "U_ij"}


def _site(label: str, data: Mapping[str, Any]) -> Site:
    x, y, z = (float(v) for v in data["xyz"])
    if "U_ij" in data:
        u11, u22, u33, u23, u13, u12 = data["U_ij"]
        return Site(label, data["element"], (x, y, z), u_iso=None, u_aniso=(u11, u22, u33, u23, u13, u12))
    u_iso = data["U"] if "U" in data else data.get("B", DEFAULT_B_ISO) / B_PER_U
    return Site(label, data["element"], (x, y, z), u_iso=u_iso)


NAMES: tuple[str, ...] = tuple(entry["name"] for entry in _entries())
"""Names of the built-in crystals, in the order of the data file."""
