"""Displacements of the atoms of a CIF: U, B or β, isotropic or anisotropic, under all of their names."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from gemmi import cif

from lacbed.crystals.cell import Cell, FloatArray, direct_basis, reciprocal_basis
from lacbed.crystals.cif_loops import Columns, loops_of
from lacbed.crystals.cif_text import U_INDICES, number, text_of
from lacbed.crystals.site import B_PER_U, DEFAULT_B_ISO, STANDING_STILL
from lacbed.errors import CrystalError

Six = tuple[float, float, float, float, float, float]

LARGE_B, SMALL_B = 20.0, 0.03
"""Å²; an isotropic B beyond these is rather a U or B under the name of the other."""

_ISO = {
    1.0: ("u_iso_or_equiv", "u_iso", "u_equiv", "u_equiv_geom_mean", "uiso", "uiso_or_equiv"),
    1.0 / B_PER_U: ("b_iso_or_equiv", "b_iso", "b_equiv", "b_equiv_geom_mean", "biso", "biso_or_equiv"),
}
_TENSOR_TAG = re.compile(r"_atom_site_aniso_(u|b|beta)_?([123])_?([123])")
_DISPLACEMENT_TAG = re.compile(r"_atom_site_(aniso.*|u|b|u_.*|b_.*|u?b?iso.*|beta.*|.*displace.*|anharm.*)")
_NOT_A_VALUE = re.compile(r".*(label|type|symbol|_id|_esd|_su|ratio)")
_AGREEMENT = 0.2


@dataclass
class Displacement:
    """What a CIF says of one atom's displacement: U in Å², U_ij in the order 11, 22, 33, 23, 13, 12."""

    u_iso: float | None = None
    u_aniso: Six | None = None


@dataclass
class _Doubts:
    """Labels of atoms by what is to be said of them."""

    lacking: list[str] = field(default_factory=list)
    still: list[str] = field(default_factory=list)
    large: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    both: list[str] = field(default_factory=list)
    no_tensor: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


def read_displacements(
    data: cif.Block, atoms: Columns, labels: list[str], cell: Cell, notes: list[str]
) -> list[Displacement]:
    """U_iso or U_ij of every atom; B = 0.5 Å² with a note where the file has none.

    β_ij are divided by 2π² a*_i a*_j and B_ij by 8π².

    Args:
        data: the block.
        atoms: the columns of the _atom_site_ loop.
        labels: of its rows.
        cell: of the crystal.
        notes: what was assumed is added to them.

    Raises:
        CrystalError: if a value is no number, or the rows of a table cannot be told apart.
    """
    doubts, read = _Doubts(), set[str]()
    tensors = _tensors(data, labels, cell, doubts, read)
    tables = [atoms, *loops_of(data)]
    by_factor = [(factor, _isotropic(tables, labels, names, read)) for factor, names in _ISO.items()]
    found: list[Displacement] = []
    for index, label in enumerate(labels):
        values = [factor * v for factor, column in by_factor if (v := column[index]) is not None]
        if len(values) > 1 and not _agree(values[0], values[1]):
            doubts.both.append(label)
        u_iso = values[0] if values else None
        tensor = tensors.get(index)
        if tensor is not None and u_iso and not _agree(u_iso, _equivalent(tensor, cell)):
            doubts.trace.append(label)
        found.append(Displacement(None if tensor else u_iso, tensor))
    kept = STANDING_STILL in notes
    _forget_placeholders(found, labels, kept, doubts, notes)
    _look_at_types(data, atoms, labels, found, doubts, notes)
    _fill_and_remark(data, labels, found, doubts, notes, read)
    return found


def _isotropic(
    tables: list[Columns], labels: list[str], names: tuple[str, ...], read: set[str]
) -> list[float | None]:
    """The first column of the given names, in the table of the atoms, the first, or in one with their labels."""
    for tag in (f"_atom_site_{name}" for name in names):
        holder = next((columns for columns in tables if tag in columns), {})
        if tag not in holder:
            continue
        texts = holder[tag]
        if "_atom_site_label" in holder and holder is not tables[0]:
            by_label = dict(zip(map(text_of, holder["_atom_site_label"]), texts, strict=True))
            texts = [by_label.get(label, "?") for label in labels]
        elif len(texts) != len(labels):
            continue
        values = [
            number(text, f"{name_of(tag)} of atom {label}") for text, label in zip(texts, labels, strict=True)
        ]
        if any(value is not None for value in values):
            read.add(tag)
            return values
    return [None] * len(labels)


def name_of(tag: str) -> str:
    """U_iso for _atom_site_u_iso_or_equiv, for messages."""
    return "U_iso" if tag.startswith("_atom_site_u") else "B_iso"


def _tensors(data: cif.Block, labels: list[str], cell: Cell, doubts: _Doubts, read: set[str]) -> dict[int, Six]:
    """U_ij by row of the list of atoms.

    Rows that share a label (some data bases number no atoms) are matched in their order.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        places[label].append(index)
    loose = {_loosely(label): label for label in places}
    found: dict[int, Six] = {}
    for kind, columns in _tensor_tables(data):
        read.update(columns)
        names = next((columns[t] for t in _LABEL_TAGS if t in columns), None)
        if names is None:
            continue
        seen: dict[str, list[Six | None]] = defaultdict(list)
        scale = _scale(kind, cell)
        for row, given in enumerate(map(text_of, names)):
            label = given if given in places else loose.get(_loosely(given), given)
            six = [
                columns[t][row] if t in columns else "?"
                for t in (f"_atom_site_aniso_{kind}_{ij}" for ij in U_INDICES)
            ]
            tensor = _tensor(six, f"{_SHOWN[kind]}_ij of atom {label}", scale, label, doubts)
            if label not in places:
                if any(map(text_of, six)):
                    doubts.strangers.append(given)
                continue
            seen[label].append(tensor)
        found.update(_matched(seen, places, _SHOWN[kind]))
    return found


_SHOWN = {"beta": "β", "b": "B", "u": "U"}
_LABEL_TAGS = ("_atom_site_aniso_label", "_atom_site_aniso_id", "_atom_site_label")


def _loosely(label: str) -> str:
    return re.sub(r"[^a-z0-9]", "", label.lower())


def _tensor_tables(data: cif.Block) -> list[tuple[str, Columns]]:
    """Kind and columns of each table of β, B and U, the preferred U last; indices in the order of `U_INDICES`."""
    tables = []
    for columns in loops_of(data):
        renamed: dict[str, Columns] = defaultdict(dict)
        for tag, values in columns.items():
            matched = _TENSOR_TAG.fullmatch(tag)
            if matched:
                kind, i, j = matched.groups()
                renamed[kind][f"_atom_site_aniso_{kind}_{min(i, j)}{max(i, j)}"] = values
                renamed[kind][tag] = values
        tables += [(kind, {**columns, **more}) for kind, more in renamed.items()]
    return sorted(tables, key=lambda table: list(_SHOWN).index(table[0]))


def _scale(kind: str, cell: Cell) -> Six:
    """Factors that turn the six values of a kind into U_ij."""
    if kind != "beta":
        factor = 1.0 if kind == "u" else 1.0 / B_PER_U
        return factor, factor, factor, factor, factor, factor
    star = np.linalg.norm(reciprocal_basis(direct_basis(cell)), axis=0)
    a, b, c, d, e, f = (
        1.0 / (2.0 * math.pi**2 * float(star[int(ij[0]) - 1] * star[int(ij[1]) - 1])) for ij in U_INDICES
    )
    return a, b, c, d, e, f


def _tensor(values: list[str], what: str, scale: Six, label: str, doubts: _Doubts) -> Six | None:
    """U_ij; None if the diagonal is incomplete or all are zero, so that U_iso is used."""
    numbers = [number(value, what) for value in values]
    if not any(numbers):
        return None
    if None in numbers[:3]:
        doubts.unusable.append(label)
        return None
    if None in numbers:
        doubts.incomplete.append(label)
    a, b, c, d, e, f = (factor * (n or 0.0) for factor, n in zip(scale, numbers, strict=True))
    return a, b, c, d, e, f


def _matched(seen: dict[str, list[Six | None]], places: dict[str, list[int]], kind: str) -> dict[int, Six]:
    found: dict[int, Six] = {}
    for label, tensors in seen.items():
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


def _equivalent(tensor: Six, cell: Cell) -> float:
    """U_eq = ⅓ Σ_ij U_ij a*_i a*_j a_i·a_j."""
    direct = direct_basis(cell)
    star: FloatArray = np.linalg.norm(reciprocal_basis(direct), axis=0)
    u11, u22, u33, u23, u13, u12 = tensor
    u = np.array([[u11, u12, u13], [u12, u22, u23], [u13, u23, u33]])
    return float(np.sum(u * np.outer(star, star) * (direct.T @ direct))) / 3.0


def _agree(first: float, second: float) -> bool:
    """Equal within 20 % or the rounding of published U (0.001 Å²)."""
    return abs(first - second) <= max(_AGREEMENT * max(abs(first), abs(second)), 1e-3)


def _forget_placeholders(
    found: list[Displacement], labels: list[str], kept: bool, doubts: _Doubts, notes: list[str]
) -> None:
    """U = 0 of every atom, as programs without displacements write it, is "not known"."""
    zero = [i for i, d in enumerate(found) if d.u_aniso is None and d.u_iso == 0.0]
    if not zero or kept:
        return
    if any(d.u_aniso is not None or d.u_iso for d in found):
        doubts.still += [labels[i] for i in zero]
        return
    for i in zero:
        found[i].u_iso = None
    notes.append("U or B = 0 for every atom: taken as not known")


def _look_at_types(
    data: cif.Block,
    atoms: Columns,
    labels: list[str],
    found: list[Displacement],
    doubts: _Doubts,
    notes: list[str],
) -> None:
    """What _atom_site_adp_type says against what the file gives."""
    tags = ("_atom_site_adp_type", "_atom_site_thermal_displace_type")
    kinds = next((atoms[tag] for tag in tags if tag in atoms), [])
    words = [text_of(kind).lower() for kind in kinds]
    for label, word, displacement in zip(labels, words, found, strict=False):
        if word in ("uani", "bani") and displacement.u_aniso is None and displacement.u_iso:
            doubts.no_tensor.append(label)
    as_u = any(f"_atom_site_{name}" in atoms for name in _ISO[1.0])
    as_b = any(tag.startswith("_atom_site_b") for tag in atoms)
    if as_u and not as_b and "biso" in words:
        notes.append("adp_type says Biso, but the values are named U_iso; read as U")


def _fill_and_remark(
    data: cif.Block,
    labels: list[str],
    found: list[Displacement],
    doubts: _Doubts,
    notes: list[str],
    read: set[str],
) -> None:
    """B = 0.5 Å² where there is none, and one note for each kind of doubt."""
    isotropic = [B_PER_U * d.u_iso for d in found if d.u_iso]
    if isotropic and len(isotropic) == len(found) and max(isotropic) < SMALL_B:
        notes.append(f"every B is below {SMALL_B} Å²; are they U under the name of B?")
    for label, displacement in zip(labels, found, strict=True):
        if displacement.u_aniso is None and displacement.u_iso is None:
            doubts.lacking.append(label)
            displacement.u_iso = DEFAULT_B_ISO / B_PER_U
        elif displacement.u_iso is not None and displacement.u_iso * B_PER_U > LARGE_B:
            doubts.large.append(f"{label} ({displacement.u_iso * B_PER_U:.0f} Å²)")
        elif displacement.u_aniso is not None and sum(displacement.u_aniso[:3]) * B_PER_U > 3 * LARGE_B:
            doubts.large.append(f"{label} ({sum(displacement.u_aniso[:3]) * B_PER_U / 3:.0f} Å²)")
    unread = _unread(data, read)
    if doubts.lacking and unread:
        notes.append(
            f"Debye-Waller factors under {some(unread)} cannot be read; B = {DEFAULT_B_ISO} Å² assumed "
            f"for {some(doubts.lacking)}"
        )
    elif doubts.lacking:
        notes.append(f"no Debye-Waller factor for {some(doubts.lacking)}; B = {DEFAULT_B_ISO} Å² assumed")
    elif any("anharm" in tag for tag in unread):
        notes.append("anharmonic displacements are not used")
    remarks = (
        (doubts.still, "U = 0 of {} is kept, though other atoms move"),
        (doubts.large, "B above 20 Å² of {}; is it B under the name of U?"),
        (doubts.trace, "U_iso and U_ij of {} differ by more than 20 %; U_ij used"),
        (doubts.both, "U_iso and B_iso of {} differ by more than 20 %; U_iso used"),
        (doubts.no_tensor, "no U_ij for {}, though called anisotropic; U_iso used"),
        (doubts.incomplete, "U_ij of {} incomplete; the missing ones are taken as 0"),
        (doubts.unusable, "U_ij of {} incomplete and not used"),
        (doubts.strangers, "displacements of {} belong to no atom of the list and are not used"),
    )
    notes += [text.format(some(who)) for who, text in remarks if who]


def _unread(data: cif.Block, read: set[str]) -> list[str]:
    """Tags of displacements that hold numbers and were not read."""
    found = []
    for columns in loops_of(data):
        for tag, values in columns.items():
            if tag in read or not _DISPLACEMENT_TAG.fullmatch(tag) or _NOT_A_VALUE.match(tag):
                continue
            if any(math.isfinite(cif.as_number(text)) and cif.as_number(text) for text in values):
                found.append(tag)
    return found


def some(names: list[str], most: int = 6) -> str:
    """The first of some names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + more
