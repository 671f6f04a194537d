"""Electron and X-ray structure factors of one crystal: the formula of Mott and Bethe.

Electrons are scattered by nuclei and electrons, X-rays by electrons alone. For atoms at rest (Mott, Proc. R. Soc.
A 127 (1930) 658; Bethe, Ann. Phys. 397 (1930) 325)

    f_e(s) = C (Z - f_x(s)) / s²,   C = 1 / (8π² a_0) = 0.02393 Å,   s = |g| / 2,

and for a whole crystal, with the conventions of `lacbed.potential` (U_g has exp(-2πi g·r), F_g has exp(+2πi g·r)),

    F_g = [ Σ o Z exp(-hᵀβh) exp(-2πi g·r)  -  (π Ω s² / γ C) U_g ]*     in electrons per cell.

The thermal motion of the nuclei is in the sum, and U_g and F_g are those of the moving crystal, so that nothing
has to be assumed about bonds. γ, the Lorentz factor, belongs to U_g alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lacbed.constants import MOTT_BETHE, relativistic_gamma
from lacbed.errors import ScatteringError
from lacbed.geometry.moving import direct_basis
from lacbed.potential import nuclear_sums
from lacbed.structure import StructureParameters

if TYPE_CHECKING:
    from lacbed.crystals import Crystal


def xray_factors(
    crystal: Crystal,
    hkl: np.ndarray,
    elastic: Tensor,
    energy: float | Tensor,
    structure: StructureParameters | None = None,
) -> Tensor:
    """X-ray structure factors from Fourier coefficients of the potential.

    Args:
        crystal: whose nuclei and displacements are meant.
        hkl: reflections, not 000: (g, 3).
        elastic: U_g in 1/Å² of the crystal in thermal motion: (g,) complex.
        energy: of the electrons that U_g belongs to, in eV.
        structure: what the crystal consists of, if not what it says itself; differentiable.

    Returns:
        F_g in electrons per cell, exp(+2πi g·r), in thermal motion: (g,) complex128.

    Raises:
        ScatteringError: on 000, whose U_g does not say how many electrons there are.
    """
    found = nuclear_sums(crystal, hkl, structure) - elastic / _unit(crystal, hkl, energy, structure)
    return found.conj().resolve_conj()


def potential_from_xray(
    crystal: Crystal,
    hkl: np.ndarray,
    factors: Tensor,
    energy: float | Tensor,
    structure: StructureParameters | None = None,
) -> Tensor:
    """Fourier coefficients of the potential from X-ray structure factors: the inverse of `xray_factors`.

    Args:
        crystal: as for `xray_factors`, like the others.
        hkl: reflections, not 000: (g, 3).
        factors: F_g in electrons per cell, exp(+2πi g·r), in thermal motion: (g,) complex.
        energy: of the electrons, in eV.
        structure: what the crystal consists of.

    Returns:
        U_g in 1/Å²: (g,) complex128.

    Raises:
        ScatteringError: on 000.
    """
    return (nuclear_sums(crystal, hkl, structure) - factors.conj()) * _unit(crystal, hkl, energy, structure)


def _unit(
    crystal: Crystal, hkl: np.ndarray, energy: float | Tensor, structure: StructureParameters | None
) -> Tensor:
    """U_g in 1/Å² of one electron less per cell, γ C / (π Ω s²): (g,)."""
    indices = np.asarray(hkl, dtype=np.float64).reshape(-1, 3)
    if not indices.any(axis=1).all():
        raise ScatteringError("the X-ray structure factor of 0,0,0 does not follow from U_0; leave it out")
    direct = torch.as_tensor(crystal.direct) if structure is None else direct_basis(structure.cell)
    square = 0.25 * torch.square(torch.as_tensor(indices) @ torch.linalg.inv(direct)).sum(dim=1)
    volume = torch.linalg.det(direct).abs()
    unit: Tensor = relativistic_gamma(energy) * MOTT_BETHE / (math.pi * volume * square)
    return unit
