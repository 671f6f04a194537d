"""The atoms of a CIF: positions, occupancies, displacements, charges."""

from __future__ import annotations

import re
from collections import defaultdict

from gemmi import cif

from lacbed.crystals.cif_values import U_INDICES, number, text_of
from lacbed.crystals.expand import OCCUPANCY_TOLERANCE
from lacbed.crystals.site import B_PER_U, DEFAULT_B_ISO, Site, is_element
from lacbed.errors import CrystalError

_OPTIONAL = ("type_symbol", "occupancy", "U_iso_or_equiv", "B_iso_or_equiv", "calc_flag")
_Six = tuple[float, float, float, float, float, float]


def read_sites(data: cif.Block, notes: list[str]) -> list[Site]:
    """The sites of the asymmetric unit, with notes on what was assumed.

    Raises:
        CrystalError: if there is none, or one has no element, no coordinates or an impossible number.
    """
    rows = _rows(data)
    anisotropic = _read_anisotropic(data, [row["label"] for row in rows])
    known = set(re.findall(r"[A-Z][a-z]?", text_of(data.find_value("_chemical_formula_sum"))))
    sites: list[Site] = []
    lacking: dict[str, list[str]] = defaultdict(list)
    for index, row in enumerate(rows):
        label = row["label"]
        element, charge = _element(row["type_symbol"], label, known)
        occupancy = number(row["occupancy"], f"occupancy of atom {label}")
        if occupancy == 0.0:
            lacking["atoms"].append(label)
            continue
        u_iso, u_aniso = _displacement(row, anisotropic.get(index))
        if u_iso is None and u_aniso is None:
            lacking["displacement"].append(label)
            u_iso = DEFAULT_B_ISO / B_PER_U
        if charge:
            lacking["charge"].append(text_of(row["type_symbol"]) or label)
        xyz = _coordinates(row)
        filled = 1.0 if occupancy is None or 1.0 < occupancy <= 1.0 + OCCUPANCY_TOLERANCE else occupancy
        sites.append(Site(label, element, xyz, filled, u_iso, u_aniso, charge))
    notes.extend(_remarks(lacking))
    if not sites:
        raise CrystalError("no atoms; the _atom_site_ loop is empty or every occupancy is 0")
    return sites


def _remarks(lacking: dict[str, list[str]]) -> list[str]:
    some = {key: _some(labels) for key, labels in lacking.items()}
    remarks = []
    if lacking["atoms"]:
        remarks.append(f"occupancy 0 of {some['atoms']}: left out")
    if lacking["displacement"]:
        remarks.append(f"no Debye-Waller factor for {some['displacement']}; B = {DEFAULT_B_ISO} Å² assumed")
    if lacking["charge"]:
        remarks.append(f"scattering factors of neutral atoms used for {some['charge']}")
    return remarks


def _some(names: list[str], most: int = 6) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + more


def _rows(data: cif.Block) -> list[dict[str, str]]:
    """The rows of the _atom_site_ loop as dictionaries of raw values; dummy atoms are left out."""
    tags = ["fract_x", "fract_y", "fract_z", *("?" + name for name in _OPTIONAL)]
    for first in ("label", "type_symbol"):
        table = data.find("_atom_site_", [first, *tags])
        if table:
            break
    else:
        raise CrystalError(
            "no atoms; expected one loop with _atom_site_label or _type_symbol and _atom_site_fract_x, _y, _z"
        )
    rows = []
    for row in table:
        values = {name: row[4 + i] if row.has(4 + i) else "?" for i, name in enumerate(_OPTIONAL)}
        values.update(zip(("fract_x", "fract_y", "fract_z"), (row[1], row[2], row[3]), strict=True))
        values["label"] = text_of(row[0])
        if text_of(values["calc_flag"]).lower() != "dum":
            rows.append(values)
    return rows


def _coordinates(row: dict[str, str]) -> tuple[float, float, float]:
    def coordinate(axis: str) -> float:
        value = number(row[f"fract_{axis}"], f"coordinate {axis} of atom {row['label']}")
        if value is None:
            raise CrystalError(f"coordinate {axis} of atom {row['label']}: expected a number, got none")
        return value

    return coordinate("x"), coordinate("y"), coordinate("z")


def _read_anisotropic(data: cif.Block, labels: list[str]) -> dict[int, _Six]:
    """U_ij in the order 11, 22, 33, 23, 13, 12 by row of the site list; B_ij are divided by 8π².

    Rows that share a label (some data bases number no atoms) are matched in their order.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        places[label].append(index)
    found: dict[int, _Six] = {}
    for kind, factor in (("B", 1.0 / B_PER_U), ("U", 1.0)):
        seen: dict[str, list[_Six | None]] = defaultdict(list)
        for row in data.find("_atom_site_aniso_", ["label", *(f"{kind}_{ij}" for ij in U_INDICES)]):
            label = text_of(row[0])
            seen[label].append(_tensor([row[i] for i in range(1, 7)], f"{kind}_ij of atom {label}", factor))
        for label, tensors in seen.items():
            if label not in places:
                continue
            if len(tensors) != len(places[label]) and len(set(tensors)) > 1:
                raise CrystalError(
                    f"{len(tensors)} rows of {kind}_ij for {len(places[label])} atoms labelled {label}; "
                    "give every atom a label of its own"
                )
            for order, index in enumerate(places[label]):
                tensor = tensors[order if len(tensors) == len(places[label]) else 0]
                if tensor is not None:
                    found[index] = tensor
    return found


def _tensor(values: list[str], what: str, factor: float) -> _Six | None:
    """Six numbers times a factor; None if one is missing or all are zero, so that U_iso is used."""
    numbers = [number(value, what) for value in values]
    given = [factor * n for n in numbers if n is not None]
    if len(given) < 6 or not any(given):
        return None
    return given[0], given[1], given[2], given[3], given[4], given[5]


def _displacement(row: dict[str, str], tensor: _Six | None) -> tuple[float | None, _Six | None]:
    if tensor is not None:
        return None, tensor
    u = number(row["U_iso_or_equiv"], f"U_iso of atom {row['label']}")
    if u is not None:
        return u, None
    b = number(row["B_iso_or_equiv"], f"B_iso of atom {row['label']}")
    return (None if b is None else b / B_PER_U), None


def _element(type_symbol: str, label: str, known: set[str]) -> tuple[str, int]:
    """Element and charge from a type symbol such as "Fe3+", "O2-" or "D", else from a label such as "Ow1".

    In a label, an element of the file's formula is preferred: "OS1" is oxygen unless there is osmium.
    """
    given = text_of(type_symbol)
    symbol = given or label
    head = re.match(r"[A-Za-z]*", symbol)
    letters = head.group(0) if head else ""
    choices = [c for n in (2, 1) if len(c := letters[:n].capitalize()) == n and is_element(c)]
    if not choices:
        shown = symbol[:20].encode("ascii", "backslashreplace").decode()
        raise CrystalError(f"atom {label}: expected a chemical element, got {shown!r}")
    element = choices[0]
    if not given:
        element = next((c for c in choices if c in known), element)
    return element, _charge(symbol[len(element) :])


def _charge(text: str) -> int:
    sign = re.search(r"([0-9]*)([+-])([0-9]*)$", text)
    if sign is None:
        return 0
    size = int((sign.group(1) or sign.group(3) or "1")[:1])
    return -size if sign.group(2) == "-" else size
