"""Writing a crystal as the text of a CIF."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from gemmi import cif

from lacbed.crystals.cif_text import CELL_TAGS, NOTE_TAG, SOURCE_TAG, U_INDICES
from lacbed.crystals.symbols import settings_of

if TYPE_CHECKING:
    from lacbed.crystals.crystal import Crystal
    from lacbed.crystals.site import Site

_SITE_TAGS = [
    "label",
    "type_symbol",
    "fract_x",
    "fract_y",
    "fract_z",
    "occupancy",
    "symmetry_multiplicity",
    "U_iso_or_equiv",
    "adp_type",
]


def write_cif(crystal: Crystal) -> str:
    """The crystal as CIF text: cell, operations, sites with U_iso or U_ij, occupancies, charges, notes.

    Numbers are written with as many digits as it takes, so that reading gives an equal crystal. Volume, formula,
    Z and multiplicities say some of it twice, so that reading notices a line that is lost.
    """
    data = cif.Document().add_new_block(re.sub(r"[^A-Za-z0-9_.-]", "_", crystal.name)[:70] or "crystal")
    data.set_pair("_chemical_name_common", cif.quote(crystal.name))
    if crystal.source:
        data.set_pair(SOURCE_TAG, cif.quote(crystal.source))
    for tag, value in zip(CELL_TAGS, crystal.cell, strict=True):
        data.set_pair(tag, repr(value))
    data.set_pair("_cell_volume", f"{crystal.volume:.6g}")
    formula, units = _content(crystal)
    data.set_pair("_chemical_formula_sum", cif.quote(formula))
    data.set_pair("_cell_formula_units_Z", str(units))
    if crystal.space_group:
        data.set_pair("_space_group_name_H-M_alt", cif.quote(crystal.space_group))
        settings = settings_of(crystal.space_group)
        if settings:  # ASE wants the number for symbols that name a setting
            data.set_pair("_space_group_IT_number", str(settings[0].number))
    loop = data.init_loop("_space_group_symop_", ["id", "operation_xyz"])
    for index, operation in enumerate(crystal.operations, start=1):
        loop.add_row([str(index), cif.quote(operation)])
    loop = data.init_loop("_atom_site_", _SITE_TAGS)
    for site, count in zip(crystal.sites, np.bincount(crystal.atoms.site).tolist(), strict=True):
        loop.add_row(_site_row(site, count))
    anisotropic = [site for site in crystal.sites if site.u_aniso is not None]
    if anisotropic:
        loop = data.init_loop("_atom_site_aniso_", ["label", *(f"U_{ij}" for ij in U_INDICES)])
        for site in anisotropic:
            loop.add_row([cif.quote(site.label), *(repr(float(v)) for v in site.u_aniso or ())])
    if crystal.notes:
        loop = data.init_loop("", [NOTE_TAG])
        for note in crystal.notes:
            loop.add_row([cif.quote(note)])
    return str(data.as_string())


def _content(crystal: Crystal) -> tuple[str, int]:
    """Formula and Z; the whole cell is the formula where places are shared."""
    counts: Counter[str] = Counter()
    for element, share in zip(crystal.atoms.elements, crystal.atoms.occupancy.tolist(), strict=True):
        counts[element] += share
    is_whole = all(abs(n - round(n)) < 1e-6 for n in counts.values())
    units = math.gcd(*(round(n) for n in counts.values())) if is_whole else 1
    amounts = ((element, n / units) for element, n in sorted(counts.items()))
    return " ".join(
        f"{e}{f'{n:.4f}'.rstrip('0').rstrip('.') if abs(n - 1) > 1e-4 else ''}" for e, n in amounts
    ), units


def _site_row(site: Site, multiplicity: int) -> list[str]:
    charge = f"{abs(site.charge)}{'+' if site.charge > 0 else '-'}" if site.charge else ""
    return [
        cif.quote(site.label),
        site.element + charge,
        *(repr(float(v)) for v in site.xyz),
        repr(float(site.occupancy)),
        str(multiplicity),
        "." if site.u_iso is None else repr(float(site.u_iso)),
        "Uani" if site.u_iso is None else "Uiso",
    ]
