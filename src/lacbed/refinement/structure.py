"""U_g and U'_g of a refinement: those of `lacbed.potential`, with individual changes and a factor on U'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lacbed.crystals import Crystal
from lacbed.potential import Absorption, potential_coefficients
from lacbed.state import ModelState

THOMAS_LIMIT = 4.0  # Å²; B of the absorptive factors


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
