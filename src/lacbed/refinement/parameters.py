"""What is refined, by the names that people give: the parameters of the image, of the cell, and of the atoms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.crystals.site import B_PER_U
from lacbed.errors import SettingError
from lacbed.potential import Absorption, check_charges
from lacbed.refinement.constraints import (
    CELL_NAMES,
    DISPLACEMENT_NAMES,
    POSITION_NAMES,
    cartesian_displacement,
    cell_directions,
    displacement_directions,
    isotropic_displacement,
    position_directions,
)
from lacbed.refinement.options import RefinementOptions, prior_of
from lacbed.refinement.parameter import KINDS, Parameter
from lacbed.refinement.strain import STRAINS, strain_parameter
from lacbed.refinement.structure import THOMAS_LIMIT
from lacbed.scattering import has_valence, species_name, xray_factor
from lacbed.state import ModelState

OF_SITES = ("B", "U", "x", "occupancy", "factor", "kappa")
"""Kinds that belong to sites, one or all."""

SAME_PLACE = 0.02  # Å; sites closer than this share position and displacement


def split_names(text: str, option: str = "--free") -> tuple[str, ...]:
    """Names in a list such as "thickness,B:Ga1,Ug:1,1,-1".

    Raises:
        SettingError: if one is not known.
    """
    names: list[str] = []
    for word in text.replace(",", " ").split():
        if re.fullmatch(r"[+-]?\d+", word) and names and names[-1].startswith("Ug:"):
            names[-1] += ("," if names[-1] != "Ug:" else "") + word
        else:
            names.append(word)
    for name in names:
        if name.partition(":")[0] not in (*KINDS, "default"):
            raise SettingError(
                f"{option} names {name!r}; expected a list of {', '.join(KINDS)} (one site: B:LABEL)"
            )
    if not names:
        raise SettingError(f"{option} is empty; expected a list of {', '.join(KINDS)}")
    return tuple(dict.fromkeys(names))


def default_parameters(absorption: Absorption) -> tuple[str, ...]:
    """What is free if nothing is said: geometry, blur, thickness, B, low U_g, absorption where it is modelled."""
    common = ("thickness", "half_width", "tilt", "rotation", "stretch", "shear", "blur", "B", "bonding")
    return common if absorption is None else (*common, "absorption", "electronic")


def free_names(options: RefinementOptions) -> tuple[str, ...]:
    """What is free by the options.

    Raises:
        SettingError: if what is to be fixed is not free anyway, or nothing is left.
    """
    usual = default_parameters(options.absorption)
    asked = [n for name in options.free or usual for n in (usual if name == "default" else (name,))]
    names = tuple(dict.fromkeys(n for name in asked for n in (STRAINS if name == "strain" else (name,))))
    for fixed in options.fixed:
        left = tuple(n for n in names if fixed not in (n, n.partition(":")[0]))
        if left == names:
            raise SettingError(f"{fixed!r} is not free and cannot be fixed; free are {', '.join(names)}")
        names = left
    if not names:
        raise SettingError("everything is fixed and nothing left to refine")
    return names


def build_parameters(
    crystal: Crystal,
    state: ModelState,
    names: Sequence[str],
    absorption: Absorption = None,
    options: RefinementOptions | None = None,
) -> tuple[Parameter, ...]:
    """The parameters of a list of names, without individual U_g (see `lacbed.refinement.structure.add_families`).

    Raises:
        SettingError: on a parameter that symmetry fixes or that the model does not have, and on an unknown site.
        ScatteringError: on ions without scattering factors.
    """
    found: list[Parameter] = []
    factors = "kirkland" if options is None else options.factors
    if "cell" in names and any(n.startswith("strain:") for n in names):
        raise SettingError("cell and strain both change the lengths of the cell; free one of them")
    for name in names:
        kind, _, label = name.partition(":")
        if kind in ("Ug", "bonding"):
            continue
        if kind == "strain":
            found.append(strain_parameter(crystal, name, prior_of(options, "strain")))
            continue
        if label and kind not in OF_SITES:
            raise SettingError(f"{kind} does not belong to a site; write {kind!r} instead of {name!r}")
        if kind in OF_SITES:
            found += _of_sites(crystal, state, kind, label, absorption, prior_of(options, "kappa"))
        elif kind == "ionicity":
            found.append(_ionicity(crystal, state, factors))
        elif kind == "cell":
            found += _of_cell(crystal, state)
        else:
            found += _of_image(state, kind, absorption, options)
    if len({p.name for p in found}) != len(found):
        raise SettingError("--free names a parameter twice")
    return tuple(found)


def _of_image(
    state: ModelState, kind: str, absorption: Absorption, options: RefinementOptions | None
) -> list[Parameter]:
    """Parameters that belong to no site."""
    if kind in ("absorption", "electronic") and absorption is None:
        raise SettingError(f"{kind} cannot be free without a model of it; choose --absorption thomas")

    def one(
        name: str, field: str, place: int, reach: tuple[float, float], unit: str, scale: float = 1.0
    ) -> Parameter:
        flat = getattr(state, field).reshape(-1)
        direction = np.zeros(len(flat))
        direction[place] = scale
        value = float(flat[place]) / scale
        return Parameter(name, kind, field, direction, value, value + reach[0], value + reach[1], unit)

    half, thickness, volts = float(state.half_width), float(state.thickness), float(state.energy) / 1e3
    blur, factor = float(state.blur), float(state.absorption)
    spread, tail = float(state.spread), float(state.tail)
    half_normal = prior_of(options, "spread") * thickness
    table: dict[str, list[Parameter]] = {
        "thickness": [one("thickness", "thickness", 0, (-0.5 * thickness, 0.5 * thickness), "Å")],
        "half_width": [one("half_width", "half_width", 0, (-0.06 * half, 0.04 * half), "1/Å")],
        "tilt": [one(f"tilt_{n}", "tilt", i, (-0.05 * half, 0.05 * half), "1/Å") for i, n in enumerate("xy")],
        "rotation": [one("rotation", "distortion", 0, (-5.0, 5.0), "°", np.pi / 180.0)],
        "stretch": [one("stretch", "distortion", 1, (-0.03, 0.03), "")],
        "shear": [one("shear", "distortion", 2, (-0.03, 0.03), "")],
        "blur": [one("blur", "blur", 0, (0.02 - blur, 5.0), "pixels")],
        "voltage": [one("voltage", "energy", 0, (-0.03 * volts, 0.03 * volts), "kV", 1e3)],
        "absorption": [one("absorption", "absorption", 0, (-factor, 5.0), "")],
        "spread": [replace(one("spread", "spread", 0, (-spread, 0.1 * thickness), "Å"), spread=half_normal)],
        "tail": [
            replace(one("tail", "tail", 0, (-tail, 0.5 - tail), ""), spread=prior_of(options, "tail")),
            replace(one("tail_width", "tail_width", 0, (-3.5, 9.0), "pixels"), expected=6.0, spread=2.0),
        ],
        "electronic": [
            replace(one("electronic", "electronic", 0, (-0.9, 3.0), ""), spread=prior_of(options, "electronic"))
        ],
    }
    return table[kind]


def _of_cell(crystal: Crystal, state: ModelState) -> list[Parameter]:
    result = []
    for name, direction in cell_directions(crystal):
        value = float(state.cell[CELL_NAMES.index(name)])
        reach = 0.02 * value if name in "abc" else 3.0
        unit = "Å" if name in "abc" else "°"
        result.append(Parameter(name, "cell", "cell", direction, value, value - reach, value + reach, unit))
    return result


def places(crystal: Crystal) -> list[list[int]]:
    """Sites grouped by the place that they share."""
    groups: list[list[int]] = []
    for i, site in enumerate(crystal.sites):
        for group in groups:
            apart = np.asarray(site.xyz) - np.asarray(crystal.sites[group[0]].xyz)
            if np.linalg.norm(crystal.direct @ (apart - np.round(apart))) < SAME_PLACE:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _of_sites(
    crystal: Crystal, state: ModelState, kind: str, label: str, absorption: Absorption, stretch: float
) -> list[Parameter]:
    """The parameters of a kind for all sites, or for the place of the one with a label.

    Raises:
        SettingError: on an unknown site, and where symmetry or the model leaves nothing free.
    """
    groups = places(crystal)
    if label:
        chosen = [g for g in groups if label in (crystal.sites[i].label for i in g)]
        if not chosen:
            known = ", ".join(s.label for s in crystal.sites[:12])
            raise SettingError(f"there is no site {label!r} in {crystal.name}; its sites are {known}")
        groups = chosen
    if kind == "occupancy":
        return [p for g in groups for p in _occupancies(crystal, state, g, label)]
    if kind == "factor":
        return _of_elements(crystal, state, "factor", [i for g in groups for i in g])
    if kind == "kappa":
        return [replace(p, spread=stretch) for p in _shells(crystal, state, [i for g in groups for i in g])]
    if kind == "x":
        return _positions(crystal, state, groups, label)
    make = _isotropic if kind == "B" else _anisotropic
    result = [p for g in groups for p in make(crystal, state, g, absorption)]
    if not result:
        where = f"{crystal.name}{' at ' + label if label else ''}"
        raise SettingError(f"{kind} cannot be free in {where}; its sites are isotropic: free B instead")
    return result


def _isotropic(crystal: Crystal, state: ModelState, group: list[int], absorption: Absorption) -> list[Parameter]:
    """B of a place; at a site with U_ij it adds the same to U in every direction, and B = 8π² trace U / 3."""
    direction, room = np.zeros((len(crystal.sites), 6)), np.inf
    for i in group:
        sphere = isotropic_displacement(crystal) if crystal.sites[i].u_aniso is not None else np.eye(6)[0]
        direction[i] = sphere / B_PER_U
        room = min(room, float(np.linalg.eigvalsh(_displacement(crystal, state, i)).min()))
    value = B_PER_U * float(np.trace(_displacement(crystal, state, group[0]))) / 3.0
    high = max(value, THOMAS_LIMIT if absorption == "thomas" else 10.0)
    name = f"B:{crystal.sites[group[0]].label}"
    return [Parameter(name, "B", "u", direction.ravel(), value, max(0.0, value - B_PER_U * room), high, "Å²")]


def _displacement(crystal: Crystal, state: ModelState, site: int) -> FloatArray:
    """U of a site in Å² on Cartesian axes: (3, 3)."""
    u = state.u[site].numpy()
    if crystal.sites[site].u_aniso is None:
        return np.asarray(u[0] * np.eye(3))
    return cartesian_displacement(crystal, u)


def _anisotropic(crystal: Crystal, state: ModelState, group: list[int], absorption: Absorption) -> list[Parameter]:
    if any(crystal.sites[i].u_aniso is None for i in group):
        return []
    result = []
    for name, vector in displacement_directions(crystal, group[0]):
        direction = np.zeros((len(crystal.sites), 6))
        direction[group] = vector
        place = DISPLACEMENT_NAMES.index(name)
        value = float(state.u[group[0], place])
        low, high = (0.0, 0.05) if place < 3 else (-0.02, 0.02)
        label = crystal.sites[group[0]].label
        result.append(
            Parameter(f"{name}:{label}", "U", "u", direction.ravel(), value, low, max(high, 2 * value), "Å²")
        )
    return result


def _positions(crystal: Crystal, state: ModelState, groups: list[list[int]], label: str) -> list[Parameter]:
    result: list[Parameter] = []
    floating = polar_directions(crystal)
    for group in groups:
        for name, vector in position_directions(crystal, group[0]):
            direction = np.zeros((len(crystal.sites), 3))
            direction[group] = vector
            place = POSITION_NAMES.index(name)
            if not label and any(abs(f[place]) > 1e-6 for f in floating):
                # The origin of a polar group is arbitrary: the first coordinate along it stays.
                floating = [f for f in floating if abs(f[place]) <= 1e-6]
                continue
            value = float(state.xyz[group[0], place])
            reach = 0.3 / float(np.linalg.norm(crystal.direct @ vector))
            result.append(
                Parameter(
                    f"{name}:{crystal.sites[group[0]].label}",
                    "x",
                    "xyz",
                    direction.ravel(),
                    value,
                    value - reach,
                    value + reach,
                )
            )
    if not result:
        where = f"site {label}" if label else "every site"
        raise SettingError(f"x cannot be free: symmetry fixes the position of {where} in {crystal.name}")
    return result


def polar_directions(crystal: Crystal) -> list[FloatArray]:
    """Directions along which the origin of the space group is arbitrary."""
    mean = crystal.rotations.mean(axis=0)
    values, vectors = np.linalg.eig(mean)
    return [np.asarray(vectors[:, i].real) for i in np.flatnonzero(np.abs(values - 1.0) < 1e-6)]


def _occupancies(crystal: Crystal, state: ModelState, group: list[int], label: str) -> list[Parameter]:
    """The share of every species but the last; a place that several fill keeps its sum."""
    result = []
    members = group if len(group) == 1 else group[:-1]
    if label and len(group) > 1:
        members = [i for i in group if crystal.sites[i].label == label]
    for i in members:
        direction = np.zeros(len(crystal.sites))
        direction[i] = 1.0
        value = float(state.occupancy[i])
        high = 1.0
        if len(group) > 1:
            partner = group[-1] if i != group[-1] else group[0]
            direction[partner] = -1.0
            high = value + float(state.occupancy[partner]) - 1e-3
        name = f"occupancy:{crystal.sites[i].label}"
        result.append(Parameter(name, "occupancy", "occupancy", direction, value, 1e-3, max(high, value), ""))
    return result


def _of_elements(crystal: Crystal, state: ModelState, kind: str, sites: list[int]) -> list[Parameter]:
    """One factor on f_e, or one κ, for every element."""
    result = []
    for element in dict.fromkeys(crystal.sites[i].element for i in sites):
        direction = np.array([1.0 if s.element == element else 0.0 for s in crystal.sites])
        value = float(getattr(state, kind)[int(np.argmax(direction))])
        result.append(Parameter(f"{kind}:{element}", kind, kind, direction, value, 0.5, 1.5, "", expected=1.0))
    return result


def _shells(crystal: Crystal, state: ModelState, sites: list[int]) -> list[Parameter]:
    """κ of the elements whose valence shell is known.

    Raises:
        SettingError: if that is none.
    """
    known = [i for i in sites if has_valence(crystal.sites[i].element)]
    if not known:
        elements = ", ".join(dict.fromkeys(crystal.sites[i].element for i in sites))
        raise SettingError(
            f"kappa cannot be free: the X-ray factors of Waasmaier and Kirfel have no positive ion of {elements}, "
            "from which the valence shell would follow"
        )
    return _of_elements(crystal, state, "kappa", known)


def _ionicity(crystal: Crystal, state: ModelState, factors: str) -> Parameter:
    """The part of the formal charges that all sites have.

    Raises:
        SettingError: if the scattering factors are those of ions anyway.
        ScatteringError: if there are no charges, they are not balanced, or a factor is not known.
    """
    if factors == "ionic":
        raise SettingError("ionicity starts from neutral atoms; choose other scattering factors than ionic")
    check_charges(crystal, "ionic")
    for site in crystal.sites:
        if site.charge:
            xray_factor(species_name(site.element, site.charge), torch.zeros(1))  # refuses what there is not
    value = float(state.ionicity[0])
    return Parameter("ionicity", "ionicity", "ionicity", np.ones(len(crystal.sites)), value, -0.5, 1.5)
