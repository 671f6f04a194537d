"""Parameters of the atoms: B, U, positions, occupancies, and factors on the scattering of elements."""

from __future__ import annotations

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.crystals.site import B_PER_U
from lacbed.errors import SettingError
from lacbed.potential import Absorption
from lacbed.refinement.constraints import (
    DISPLACEMENT_NAMES,
    POSITION_NAMES,
    cartesian_displacement,
    displacement_directions,
    isotropic_displacement,
    position_directions,
)
from lacbed.refinement.parameter import Parameter
from lacbed.refinement.structure import THOMAS_LIMIT
from lacbed.state import ModelState

SAME_PLACE = 0.02  # Å; sites closer than this share position and displacement


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


def parameters_of_sites(
    crystal: Crystal, state: ModelState, kind: str, label: str, absorption: Absorption
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
        return _factors(crystal, state, [i for g in groups for i in g])
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


def _factors(crystal: Crystal, state: ModelState, sites: list[int]) -> list[Parameter]:
    """One factor on f_e for every element."""
    result = []
    for element in dict.fromkeys(crystal.sites[i].element for i in sites):
        direction = np.array([1.0 if s.element == element else 0.0 for s in crystal.sites])
        value = float(state.factor[int(np.argmax(direction))])
        result.append(Parameter(f"factor:{element}", "factor", "factor", direction, value, 0.5, 1.5, ""))
    return result
