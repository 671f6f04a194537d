"""U_g and U'_g of a refinement: those of `lacbed.potential`, with individual changes and a factor on U'.

An individual change is one amount for a family of reflections that symmetry makes equal. It is relative to U_g of
the independent atoms, U_g (1 + x + iφ), or absolute where these scatter nothing (222 of diamond).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL
from lacbed.constants import relativistic_gamma
from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.potential import Absorption, electronic_shape, potential_coefficients, symmetric_change
from lacbed.refinement.bonding import members
from lacbed.refinement.parameter import Parameter
from lacbed.scattering import elastic_factor
from lacbed.state import ModelState

THOMAS_LIMIT = 4.0  # Å²; B of the absorptive factors

REACH = 6.0
"""Largest change of a U_g, in standard deviations of its prior."""

WEAK = 0.02
"""A U_g below this part of what the atoms would scatter in phase changes by an absolute amount."""


@dataclass(frozen=True, eq=False)
class Structure:
    """What stays the same while a crystal is refined.

    Attributes:
        crystal: the crystal that the sites come from.
        hkl: wanted g: (g, 3).
        factors: table of scattering factors.
        absorption: model of U', see `lacbed.potential`.
        anisotropic: whether the U of a site are six numbers: one bool a site.
        shapes: individual changes: dU_g for a unit amount: (change, g) complex.
        ratios: the same as parts of U_g, or empty if there are none: (change, g) complex.
        electronic: part of U' that electrons may add, see `lacbed.potential.electronic_shape`: (g,).
    """

    crystal: Crystal
    hkl: np.ndarray
    factors: str
    absorption: Absorption
    anisotropic: tuple[bool, ...]
    shapes: Tensor
    ratios: Tensor
    electronic: Tensor


def make_structure(crystal: Crystal, hkl: np.ndarray, factors: str, absorption: Absorption) -> Structure:
    """The structure of a crystal without individual changes."""
    flags = tuple(s.u_aniso is not None for s in crystal.sites)
    nothing = torch.zeros(0, len(hkl), dtype=torch.complex128)
    low = electronic_shape(crystal, hkl)
    return Structure(crystal, hkl, factors, absorption, flags, nothing, nothing, low)


def coefficients(structure: Structure, state: ModelState) -> tuple[Tensor, Tensor | None]:
    """U_g and U'_g in 1/Å²: two (g,) complex128, the second None without absorption."""
    elastic, absorptive = potential_coefficients(
        structure.crystal, structure.hkl, state.energy, structure.factors, structure.absorption, state.structure
    )
    if len(structure.shapes):
        amounts = state.ug_change.to(torch.complex128)
        change = amounts @ structure.shapes
        if len(structure.ratios):
            change = change + elastic * (amounts @ structure.ratios)
        elastic = elastic + change
        if isinstance(structure.absorption, tuple) and absorptive is not None:
            absorptive = absorptive + change * (structure.absorption[1] / 100.0)
    if absorptive is not None:
        absorptive = absorptive * state.absorption * (1.0 + state.electronic * structure.electronic)
    return elastic, absorptive


def in_phase(crystal: Crystal, hkl: np.ndarray, energy: float, factors: str) -> np.ndarray:
    """U_g in 1/Å² that the atoms at rest would have if all of them scattered in phase: (g, 3) to (g,)."""
    s = torch.as_tensor(0.5 * np.linalg.norm(hkl @ crystal.reciprocal.T, axis=1))
    atoms = crystal.atoms
    total = torch.zeros(len(hkl), dtype=torch.float64)
    for element in dict.fromkeys(atoms.elements):
        count = sum(float(o) for e, o in zip(atoms.elements, atoms.occupancy, strict=True) if e == element)
        total = total + count * elastic_factor(element, s, factors)
    return np.asarray(total.numpy() * relativistic_gamma(energy) / (math.pi * crystal.volume))


def family_of(name: str) -> HKL:
    """The reflection of a name such as "Ug:1,1,-1".

    Raises:
        SettingError: if it names none.
    """
    words = name.partition(":")[2].split(",")
    if len(words) != 3 or not any(int(w) for w in words):
        raise SettingError(f"a free U_g is written Ug:h,k,l (not 0,0,0), got {name!r}")
    return int(words[0]), int(words[1]), int(words[2])


def family_name(hkl: HKL) -> str:
    """The name of the U_g of a family, see `family_of`."""
    return "Ug:" + ",".join(str(i) for i in hkl)


def does_not_affect(hkl: HKL) -> str:
    """What is wrong with a family that plays no part."""
    words = ",".join(str(i) for i in hkl)
    return f"U_g of {words} does not affect these images (another zone, or too far out); free one that does"


def add_families(
    structure: Structure,
    state: ModelState,
    families: Sequence[tuple[str, HKL]],
    prior: float,
    energy: float | None = None,
) -> tuple[Structure, ModelState, list[Parameter]]:
    """Structure, state and parameters with U_g of some families free, amplitude and (if symmetry lets it) phase.

    The prior of each is a normal distribution about no change; its standard deviation is a part of what the atoms
    would scatter in phase.

    Args:
        structure: what the crystal is without them.
        state: the state.
        families: kind of the parameter, "Ug" or "bonding", and a reflection of the family.
        prior: that part.
        energy: of the electrons in eV for which absolute changes are meant, if not that of the state; U_g grows
            with it as their mass does.

    Raises:
        SettingError: on a family that is forbidden or plays no part.
    """
    crystal = structure.crystal
    energy = float(state.energy) if energy is None else energy
    heavier = relativistic_gamma(float(state.energy)) / relativistic_gamma(energy)
    plain = replace(structure, shapes=structure.shapes[:0], ratios=structure.ratios[:0])
    elastic = coefficients(plain, state)[0].detach().numpy()
    rows, ratios, parameters = [], [], []
    for kind, hkl in families:
        words, place = ",".join(str(i) for i in hkl), np.array([hkl])
        if not members(crystal, hkl) & {tuple(row) for row in structure.hkl.tolist()}:
            raise SettingError(does_not_affect(hkl))
        one = replace(plain, hkl=place, absorption=None, shapes=plain.shapes[:, :1], ratios=plain.ratios[:, :1])
        own = complex(coefficients(one, state)[0].detach()[0])
        room = float(in_phase(crystal, place, energy, structure.factors)[0])
        size = abs(own) / heavier
        relative = size > WEAK * room
        found = _family(crystal, structure.hkl, hkl, own / abs(own) if relative else 1.0)
        if not found:
            raise SettingError(f"Ug:{words} cannot be free: the space group of {crystal.name} forbids it")
        for across, shape in enumerate(found):
            # In per cent or degrees of a U_g that there is, in 1/Å² where there is none.
            step = (math.pi / 180.0 if across else 0.01) if relative else 1.0
            wide = prior * room / (size * step if relative else 1.0)
            name = family_name(hkl) + (":phase" if across else "")
            unit = ("°" if across else "%") if relative else "1/Å²"
            reach = REACH * wide
            parameters.append(Parameter(name, kind, "ug_change", np.zeros(0), 0.0, -reach, reach, unit, 0.0, wide))
            ratio = np.divide(shape, elastic, out=np.zeros_like(shape), where=(np.abs(shape) > 0) & relative)
            rows.append(np.zeros_like(shape) if relative else heavier * shape)
            ratios.append(step * abs(own) * ratio)
    filled = [replace(p, direction=np.eye(len(parameters))[i]) for i, p in enumerate(parameters)]
    if not filled:
        return plain, state.changed(ug_change=torch.zeros(0, dtype=torch.float64)), []
    changed = replace(structure, shapes=torch.as_tensor(np.array(rows)), ratios=torch.as_tensor(np.array(ratios)))
    return changed, state.changed(ug_change=torch.zeros(len(filled), dtype=torch.float64)), filled


def _family(crystal: Crystal, among: np.ndarray, hkl: HKL, along: complex) -> list[np.ndarray]:
    """Changes of U in 1/Å² that symmetry allows, along U_hkl and across it (a phase): (g,) each."""
    pair = (symmetric_change(crystal, hkl, unit, among) for unit in (along, 1j * along))
    return [shape for shape in pair if np.abs(shape).max() > 1e-6]
