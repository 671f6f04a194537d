"""U_g and U'_g of a refinement: those of `lacbed.potential`, with individual changes and a factor on U'.

An individual change is one amount for a family of reflections that symmetry makes equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.potential import Absorption, potential_coefficients, symmetric_change
from lacbed.refinement.parameter import Parameter
from lacbed.state import ModelState

THOMAS_LIMIT = 4.0  # Å²; B of the absorptive factors

REACH = 0.02  # 1/Å²; largest change


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
    """

    crystal: Crystal
    hkl: np.ndarray
    factors: str
    absorption: Absorption
    anisotropic: tuple[bool, ...]
    shapes: Tensor


def make_structure(crystal: Crystal, hkl: np.ndarray, factors: str, absorption: Absorption) -> Structure:
    """The structure of a crystal without individual changes."""
    flags = tuple(s.u_aniso is not None for s in crystal.sites)
    return Structure(crystal, hkl, factors, absorption, flags, torch.zeros(0, len(hkl), dtype=torch.complex128))


def coefficients(structure: Structure, state: ModelState) -> tuple[Tensor, Tensor | None]:
    """U_g and U'_g in 1/Å²: two (g,) complex128, the second None without absorption."""
    elastic, absorptive = potential_coefficients(
        structure.crystal, structure.hkl, state.energy, structure.factors, structure.absorption, state.structure
    )
    if len(structure.shapes):
        change = state.ug_change.to(torch.complex128) @ structure.shapes
        elastic = elastic + change
        if isinstance(structure.absorption, tuple) and absorptive is not None:
            absorptive = absorptive + change * (structure.absorption[1] / 100.0)
    return elastic, None if absorptive is None else state.absorption * absorptive


def add_families(
    crystal: Crystal, structure: Structure, state: ModelState, names: list[str]
) -> tuple[Structure, ModelState, list[Parameter]]:
    """Structure, state and parameters with U_g of some families free, amplitude and (if symmetry lets it) phase.

    Args:
        crystal: the crystal.
        structure: its torch side.
        state: the state.
        names: such as "Ug:1,1,-1".

    Raises:
        SettingError: on a family that does not exist, is forbidden or plays no part.
    """
    elastic = coefficients(structure, state)[0].detach().numpy()
    shapes, parameters = [], []
    for name in names:
        words = name.partition(":")[2].split(",")
        if len(words) != 3 or not any(int(w) for w in words):
            raise SettingError(f"a free U_g is written Ug:h,k,l (not 0,0,0), got {name!r}")
        hkl = (int(words[0]), int(words[1]), int(words[2]))
        place = np.flatnonzero(np.all(structure.hkl == np.array(hkl), axis=1))
        if not len(place):
            raise SettingError(f"U_g of {words} does not affect these images (another zone, or too far out)")
        size = abs(elastic[place[0]])
        phase = elastic[place[0]] / size if size > 1e-9 else 1.0
        for unit, tail in ((phase, ""), (1j * phase, ":phase")):
            shape = symmetric_change(crystal, hkl, unit, structure.hkl)
            if np.abs(shape).max() < 1e-6:
                continue
            label = f"{name}{tail}"
            parameters.append(Parameter(label, "Ug", "ug_change", np.zeros(0), 0.0, -REACH, REACH, "1/Å²"))
            shapes.append(shape)
        if not shapes:
            raise SettingError(f"{name} cannot be free: the space group of {crystal.name} forbids that reflection")
    filled = [replace(p, direction=np.eye(len(parameters))[i]) for i, p in enumerate(parameters)]
    table = torch.as_tensor(np.array(shapes)) if shapes else structure.shapes
    ug_change = torch.zeros(len(parameters), dtype=torch.float64)
    return replace(structure, shapes=table), state.changed(ug_change=ug_change), filled
