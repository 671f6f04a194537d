"""What a CIF says twice, compared: formula, Z, weight, density, volume and F(000) against the cell that was made.

A contradiction is a note, for the atoms may be right and the formula wrong. Only a cell whose volume the file
denies by more than 2 % is refused: one of the seven numbers is false, and every spacing depends on it.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import gemmi
import numpy as np
from gemmi import cif

from lacbed.crystals.cif_displacements import some
from lacbed.crystals.cif_loops import remarks_on_tags, value_of
from lacbed.crystals.cif_places import remarks_on_multiplicities, remarks_on_places, said_multiplicities, settled
from lacbed.crystals.cif_plausible import remarks_on_likelihood
from lacbed.crystals.cif_species import formula_numbers
from lacbed.crystals.cif_text import ANGLE_TAGS, CELL_TAGS, text_of
from lacbed.crystals.crystal import Crystal
from lacbed.errors import CrystalError

VOLUME_REFUSED = 0.02
"""Relative difference of _cell_volume from the volume of the six numbers of the cell that is refused."""

CELL_DEPARTURE = 2e-4
"""Relative change of the metric under an operation above which there is a note: 0.01 % of a length."""

_GRAMS = 1.66053907  # g/cm³ of one atomic mass unit in 1 Å³
_PLACES = 0.02  # atoms in a cell below which a difference is rounding


@dataclass
class _Content:
    """Atoms in the cell made, by element (D counts as H), and what the formula adds to them.

    Attributes:
        crystal: whose cell it is.
        made: atoms in the cell.
        rounding: how far rounded occupancies may change each number.
        hydrogen: atoms of hydrogen that the formula has and the list of atoms has not.
        fits: whether the formula fits; None if there is none to compare with.
        expected: atoms in the cell by formula and Z; empty if unknown.
    """

    crystal: Crystal
    made: dict[str, float]
    rounding: dict[str, float]
    hydrogen: float = 0.0
    fits: bool | None = None
    expected: dict[str, float] = field(default_factory=dict)


def checked(data: cif.Block, crystal: Crystal) -> Crystal:
    """The crystal with a note for each of its file's statements that it contradicts.

    A position near a special one is put on it, or kept as a split position, as multiplicity or formula say.

    Raises:
        CrystalError: if the volume in the file is not that of the cell.
    """
    notes: list[str] = []
    _compare_volume(data, crystal, notes)
    crystal = settled(data, crystal, lambda candidate: _formula_fits(data, candidate), notes)
    content = _content(crystal)
    _compare_formula(data, content, notes, crystal.notes)
    _compare_weight(data, content, notes)
    _compare_density(data, crystal, content, notes)
    _compare_electrons(data, content, notes)
    _compare_system(data, crystal, notes)
    notes += remarks_on_places(data, crystal) + remarks_on_tags(data)
    notes += remarks_on_likelihood(crystal, bool(content.expected))
    return crystal.noted(*notes)


def contradictions(data: cif.Block, crystal: Crystal) -> int:
    """How many of formula, density and multiplicities in the file a crystal contradicts; -1 if none is there."""
    notes: list[str] = []
    content = _content(crystal)
    _compare_formula(data, content, notes, ("hydrogen is no matter of symmetry",))
    _compare_density(data, crystal, content, notes)
    notes += remarks_on_multiplicities(data, crystal)
    said = content.fits is not None or stated(data, "_exptl_crystal_density_diffrn") is not None
    return len(notes) if said or notes or said_multiplicities(data, crystal) else -1


def stated(data: cif.Block, *tags: str) -> tuple[float, float] | None:
    """A number of the file and its uncertainty: half a unit of the last digit, and three standard uncertainties.

    None if there is none, or something else than a number.
    """
    text = text_of(value_of(data, *tags))
    value = float(cif.as_number(text)) if text else math.nan
    if not math.isfinite(value):
        return None
    matched = re.match(r"[-+]?\d*\.?(\d*)(?:\((\d{1,6})\))?", text)
    decimals, esd = (len(matched.group(1) or ""), int(matched.group(2) or 0)) if matched else (0, 0)
    return value, (0.5 + 3 * esd) * 10.0**-decimals


def _compare_volume(data: cif.Block, crystal: Crystal, notes: list[str]) -> None:
    given = stated(data, "_cell_volume")
    if given is None or given[0] <= 1.0:  # 0 and 1 are placeholders
        return
    difference, rounding = abs(given[0] - crystal.volume), 0.0
    if difference <= given[1] + 1e-3 * crystal.volume:
        return
    for i, tag in enumerate(CELL_TAGS):
        unit = stated(data, tag)
        cell = list(crystal.cell)
        cell[i] += unit[1] if unit is not None else 0.0
        rounding += abs(_volume(cell) - crystal.volume)
    if difference <= given[1] + rounding + 1e-3 * crystal.volume:
        return
    absent = [tag for tag in ANGLE_TAGS if stated(data, tag) is None]
    default = f" ({', '.join(absent)} not given: 90)" if absent else ""
    cell_text = ", ".join(f"{v:g}" for v in crystal.cell)
    text = f"_cell_volume is {given[0]:g} Å³, but the cell {cell_text}{default} has {crystal.volume:.1f} Å³"
    if difference > VOLUME_REFUSED * crystal.volume:
        raise CrystalError(f"{text}; correct the one that is wrong, or delete _cell_volume")
    notes.append(text)


def _volume(cell: list[float]) -> float:
    """A b c √(1 - Σ cos² + 2 Π cos) without a check of the cell; 0 if the angles enclose none."""
    cosines = [math.cos(math.radians(angle)) for angle in cell[3:]]
    square = 1.0 - sum(c * c for c in cosines) + 2.0 * math.prod(cosines)
    return math.prod(cell[:3]) * math.sqrt(max(square, 0.0))


def _content(crystal: Crystal) -> _Content:
    made: dict[str, float] = defaultdict(float)
    rounding: dict[str, float] = defaultdict(float)
    for site, count in zip(crystal.sites, np.bincount(crystal.atoms.site).tolist(), strict=True):
        key = "H" if site.element == "D" else site.element
        made[key] += count * site.occupancy
        if site.occupancy != 1.0:
            decimals = len(f"{site.occupancy:.6f}".rstrip("0").partition(".")[2])
            rounding[key] += count * 0.5 * 10.0**-decimals
    return _Content(crystal, dict(made), dict(rounding))


def _as_full_places(crystal: Crystal) -> tuple[dict[str, int], list[str]]:
    """Atoms counted as ASE does for its formula, of each mixed place the commonest as if alone.

    And labels and occupancies of atoms that leave empty a part of a place that they have alone.
    """
    places: dict[tuple[float, ...], list[tuple[float, str, int]]] = defaultdict(list)
    atoms = crystal.atoms
    points = map(tuple, atoms.xyz.round(4).tolist())
    for point, *atom in zip(points, atoms.occupancy.tolist(), atoms.elements, atoms.site.tolist(), strict=True):
        places[point].append((atom[0], atom[1], atom[2]))
    commonest = Counter(max(place)[1] for place in places.values())
    alone = [place[0] for place in places.values() if len(place) == 1]
    return dict(commonest), [f"{crystal.sites[i].label} {share:g}" for share, _, i in alone if share < 0.99]


def _formula_fits(data: cif.Block, crystal: Crystal) -> bool | None:
    """Whether formula and Z fit a crystal; None if the file does not give both."""
    content = _content(crystal)
    if stated(data, "_cell_formula_units_z") is None:
        return None
    _compare_formula(data, content, [], ())
    return content.fits


def _compare_formula(data: cif.Block, content: _Content, notes: list[str], before: tuple[str, ...]) -> None:
    """Formula x Z against the atoms made; only the ratios if there is no Z."""
    text = text_of(value_of(data, "_chemical_formula_sum"))
    formula = formula_numbers(text)
    if not formula:
        return
    z = stated(data, "_cell_formula_units_z")
    units = z[0] if z is not None and z[0] > 0 else None
    scales = _scales(formula, units, content.made)
    wrong = {scale: _differences(formula, scale, content) for scale in scales}
    scale = min(scales, key=lambda s: len(wrong[s]))
    content.fits = not wrong[scale]
    content.expected = {element: scale * count for element, (count, _) in formula.items()}
    if wrong[scale] and units is None:
        full, partly = _as_full_places(content.crystal)
        if full == {element: count for element, (count, _) in formula.items()}:
            content.fits, content.expected = None, {}
            listed = some(partly)
            if partly:
                notes.append(f"the formula {text} counts {listed} as full places; the occupancies are used")
            return
    if wrong[scale]:
        scale = scales[0]
        several = {round(content.made.get(e, 0.0) / count, 2) for e, (count, _) in formula.items() if e != "H"}
        if units and len(several) == 1 and set(content.made) - {"H"} == set(formula) - {"H"}:
            notes.append(
                f"the file contradicts itself: the cell made holds {_plain(several.pop())} x {text} "
                f"instead of Z = {units:g}; check atoms, space group and its setting"
            )
            return
        listed = ", ".join(
            f"{element} {_plain(content.made.get(element, 0.0))} instead of {_plain(expected)}"
            for element, expected in list(wrong[scale].items())[:6]
        )
        times = f" with Z = {units:g}" if units else ""
        notes.append(
            f"the file contradicts itself: the cell made holds {listed} of the formula {text}{times}; "
            "check atoms, space group and its setting"
        )
    hydrogen = content.expected.get("H", 0.0) - content.made.get("H", 0.0)
    if hydrogen > _PLACES + content.rounding.get("H", 0.0) + 0.02 * content.expected.get("H", 0.0):
        content.hydrogen = hydrogen
        if not any("hydrogen" in note for note in before):
            notes.append(
                f"hydrogen of the formula is not among the atoms: {_plain(hydrogen)} of "
                f"{_plain(content.expected['H'])} in the cell are left out"
            )


def _scales(formula: dict[str, tuple[float, float]], units: float | None, made: dict[str, float]) -> list[float]:
    """Numbers of formulas in the cell to try: Z; 1 where a program wrote the whole cell as the formula."""
    if units is not None:
        counts = [count for count, _ in formula.values()]
        whole_cell = all(abs(c / units - round(c / units)) < 1e-6 for c in counts) or (
            any(c % 1.0 for c in counts) and sum(counts) >= units
        )
        return [units, 1.0] if whole_cell and units != 1.0 else [units]
    heavy = [e for e in formula if e != "H" and formula[e][0] > 0 and made.get(e)] or list(made)
    ratios = sorted(made[e] / formula[e][0] for e in heavy if e in formula and formula[e][0] > 0)
    return [ratios[len(ratios) // 2], 1.0] if ratios else [1.0]


def _differences(formula: dict[str, tuple[float, float]], scale: float, content: _Content) -> dict[str, float]:
    """Elements of which the cell holds another number than it should, with that; missing hydrogen is no such."""
    found: dict[str, float] = {}
    for element in {**formula, **content.made}:
        count, rounding = formula.get(element, (0.0, 0.0))
        made, expected = content.made.get(element, 0.0), scale * count
        fractional = abs(made - round(made)) > 1e-3 or abs(count - round(count)) > 1e-3
        slack = scale * rounding + content.rounding.get(element, 0.0) + _PLACES + (0.02 * expected) * fractional
        if abs(made - expected) > slack and not (element == "H" and made < expected):
            found[element] = expected
    return found


def _plain(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _mass(atoms: dict[str, float]) -> float:
    return sum(count * float(gemmi.Element(element).weight) for element, count in atoms.items())


def _compare_weight(data: cif.Block, content: _Content, notes: list[str]) -> None:
    """_chemical_formula_weight against the formula, or against the atoms if there is none."""
    given = stated(data, "_chemical_formula_weight")
    if given is None or given[0] <= 1.0:
        return
    text = text_of(value_of(data, "_chemical_formula_sum"))
    formula = formula_numbers(text)
    z = stated(data, "_cell_formula_units_z")
    if "D" in re.findall(r"[A-Z][a-z]?", text):
        return
    if formula:
        weights = [_mass({e: count for e, (count, _) in formula.items()})]
        weights += [weights[0] / z[0]] if z and z[0] > 0 else []
    elif z and z[0] > 0:
        weights = [_mass(content.made) / z[0]]
    else:
        return
    if all(abs(w - given[0]) > 0.01 * w + given[1] for w in weights):
        what = f"the formula {text} weighs" if formula else "the atoms made weigh"
        notes.append(f"_chemical_formula_weight is {given[0]:g}, but {what} {weights[0]:.2f}")


def _compare_density(data: cif.Block, crystal: Crystal, content: _Content, notes: list[str]) -> None:
    """Density of the file against atoms and volume; a formula that does not fit has been named already."""
    masses = [_mass(content.made), _mass({**content.made, "H": content.made.get("H", 0.0) + content.hydrogen})]
    if content.fits is False:
        masses.append(_mass(content.expected))
    made = [_GRAMS * mass / crystal.volume for mass in masses]
    for tag, tolerance in (("_exptl_crystal_density_diffrn", 0.015), ("_exptl_crystal_density_meas", 0.2)):
        given = stated(data, tag)
        if given is None or given[0] <= 0:
            continue
        value = given[0] / 1000.0 if given[0] > 50.0 else given[0]  # kg/m³
        if all(abs(m - value) > tolerance * m + given[1] for m in made):
            notes.append(f"{tag} is {given[0]:g} g/cm³, but atoms and cell have {made[0]:.3f} g/cm³")
            return


def _compare_electrons(data: cif.Block, content: _Content, notes: list[str]) -> None:
    """F(000) of X-rays against the electrons of neutral atoms; dispersion may have been added to it."""
    given = stated(data, "_exptl_crystal_f_000")
    beam = text_of(value_of(data, "_diffrn_radiation_probe", "_diffrn_radiation_type")).lower()
    if given is None or given[0] <= 0 or content.fits is False or "neutron" in beam or "electron" in beam:
        return
    made = sum(n * gemmi.Element(e).atomic_number for e, n in content.made.items())
    tolerance = (0.1 if content.fits else 0.04) * made + given[1]
    if min(abs(made - given[0]), abs(made + content.hydrogen - given[0])) > tolerance:
        notes.append(f"F(000) is {given[0]:g}, but the atoms of the cell have {made:.0f} electrons")


def _compare_system(data: cif.Block, crystal: Crystal, notes: list[str]) -> None:
    """The named crystal system, and the cell, against the operations."""
    word = text_of(value_of(data, "_space_group_crystal_system", "_symmetry_cell_setting")).lower()
    group = gemmi.find_spacegroup_by_name(crystal.space_group) if crystal.space_group else None
    if group is not None and word in _SYSTEMS and group.crystal_system_str() not in _SYSTEMS[word]:
        notes.append(
            f"the file calls the crystal {word}, but its symmetry was read as {crystal.space_group} "
            f"({group.crystal_system_str()})"
        )
    metric = crystal.direct.T @ crystal.direct
    moved = crystal.rotations.transpose(0, 2, 1) @ metric @ crystal.rotations
    lengths = np.sqrt(np.diag(metric))
    worst = float(np.abs((moved - metric) / np.outer(lengths, lengths)).max())
    if worst > CELL_DEPARTURE:
        notes.append(
            f"the cell {', '.join(f'{v:g}' for v in crystal.cell)} departs from the symmetry of its space group "
            f"by {100 * worst / 2:.2f} %"
        )


_SYSTEMS = {
    name: (name,) for name in ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "cubic")
} | {"hexagonal": ("hexagonal", "trigonal"), "rhombohedral": ("trigonal",)}
