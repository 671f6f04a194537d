"""Fourier coefficients of the crystal potential as differentiable functions of everything a crystal consists of.

Conventions: waves are exp(+2πi k·r), so U(r) = Σ_g U_g exp(+2πi g·r) and

    U_g = γ / (π Ω) Σ_atoms o f_e(|g|/2) exp(-hᵀ β h) exp(-2πi g·r)      in 1/Å²

with o the occupancy, f_e in Å and Ω the volume of the cell. The structure factor of crystallography,
F_g = Σ f exp(+2πi g·r), is its complex conjugate up to γ / (π Ω). The complete potential is U + i U' with the
absorptive part U'_g, both real functions of r.  (Spence & Zuo, Electron Microdiffraction, 1992, chapter 3.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import gemmi
import numpy as np
import torch
from torch import Tensor

from lacbed.constants import relativistic_gamma
from lacbed.errors import ScatteringError
from lacbed.geometry.moving import direct_basis
from lacbed.scattering import (
    FACTORS,
    absorptive_factor,
    neutral_symbol,
    phase_sums,
)
from lacbed.structure import AtomGroup, StructureParameters, groups_of_crystal, groups_of_structure

if TYPE_CHECKING:
    from lacbed.crystals import Crystal

Absorption = Literal["thomas"] | tuple[Literal["proportional"], float] | None
ELECTRONIC = 20.0
"""C of `electronic_shape` in Å²."""

_NOT_NEUTRAL = 0.01  # sum of the charges, as a part of the sum of their sizes, that rounding may leave


def check_absorption(absorption: Absorption) -> None:
    """Refuse an absorption model that is not known.

    Raises:
        ScatteringError: saying which models there are.
    """
    if absorption is None or absorption == "thomas":
        return
    if isinstance(absorption, tuple) and len(absorption) == 2 and absorption[0] == "proportional":
        percent = absorption[1]
        if isinstance(percent, int | float) and math.isfinite(percent) and 0 <= percent <= 100:
            return
        raise ScatteringError(f"proportional absorption must be 0 to 100 percent, got {percent}")
    raise ScatteringError(f'absorption must be None, ("proportional", percent) or "thomas", got {absorption!r}')


def check_charges(crystal: Crystal, factors: str) -> None:
    """Refuse scattering factors of ions for a crystal that has no charges, or is not neutral.

    Raises:
        ScatteringError: saying how charges are given, or what they add up to.
    """
    if factors != "ionic":
        return
    charges = [
        float(o) * crystal.sites[n].charge
        for o, n in zip(crystal.atoms.occupancy, crystal.atoms.site, strict=True)
    ]
    total, most = sum(charges), sum(map(abs, charges))
    if not most:
        raise ScatteringError(
            f"no site of {crystal.name} has a charge, which factors 'ionic' need; give them with --charges or "
            "Crystal.with_charges, or write the atom types of the CIF with charges, such as O2-"
        )
    if abs(total) > _NOT_NEUTRAL * most:
        raise ScatteringError(
            f"the charges of {crystal.name} add up to {total:+.3g} per cell; a crystal is neutral"
        )


def potential_coefficients(
    crystal: Crystal,
    hkl: np.ndarray,
    energy: float | Tensor,
    factors: str = "kirkland",
    absorption: Absorption = None,
    structure: StructureParameters | None = None,
) -> tuple[Tensor, Tensor | None]:
    """U_g and U'_g in 1/Å²: two (reflection,) complex128 tensors, differentiable in `energy` and `structure`.

    U' is None without absorption, (percent / 100) U for proportional absorption, U'_0 included.

    Args:
        crystal: the crystal.
        hkl: reflections: (reflection, 3).
        energy: of the electrons in eV.
        factors: scattering-factor table.
        absorption: as in `lacbed.simulate`.
        structure: what the crystal consists of, if not what it says itself.

    Raises:
        ScatteringError: see `structure_factors` and `check_absorption`.
    """
    check_absorption(absorption)
    check_charges(crystal, factors)
    volume = crystal.volume if structure is None else torch.linalg.det(direct_basis(structure.cell)).abs()
    scale = relativistic_gamma(energy) / (math.pi * volume)
    waves = _waves(crystal, hkl, structure)
    elastic = scale * _elastic_sum(waves, factors)
    if absorption is None:
        return elastic, None
    if isinstance(absorption, tuple):
        return elastic, elastic * (absorption[1] / 100.0)
    return elastic, scale * _absorptive_sum(waves, energy)


def electronic_shape(crystal: Crystal, hkl: np.ndarray) -> Tensor:
    """Exp(-c s²) of absorption by the electrons: (g, 3) to (g,).

    Electrons that excite others are scattered by small angles, which adds to U'_g at low g. c = 20 Å² is what U'_g
    of the lowest reflections of germanium show where they are free.
    """
    s = 0.5 * np.linalg.norm(hkl @ crystal.reciprocal.T, axis=1)
    return torch.as_tensor(np.exp(-ELECTRONIC * s**2))


def symmetric_change(crystal: Crystal, hkl: tuple[int, int, int], unit: complex, among: np.ndarray) -> np.ndarray:
    """Change of U of every reflection in `among` when U_hkl and its partners change by `unit`.

    From U(R r + t) = U(r) follows U_{gR} = U_g exp(2πi g·t), from a real potential U_{-g} = U*_g. A change that
    symmetry forbids (the phase of a centrosymmetric crystal) averages to zero. (n, 3) to (n,) complex.
    """
    g = np.array(hkl)
    total: dict[tuple[int, ...], complex] = {}
    for rotation, shift in zip(crystal.rotations, crystal.translations, strict=True):
        value = unit * np.exp(2j * np.pi * float(g @ shift))
        image = g @ rotation
        for member, amount in ((image, value), (-image, np.conj(value))):
            key = tuple(int(v) for v in member)
            total[key] = total.get(key, 0.0) + amount
    count = 2 * len(crystal.rotations) / len(total)
    return np.array([total.get(tuple(int(v) for v in row), 0.0) for row in among]) / count


def structure_factors(
    crystal: Crystal,
    hkl: np.ndarray,
    table: str = "kirkland",
    absorptive_energy: float | Tensor | None = None,
    structure: StructureParameters | None = None,
) -> Tensor:
    """Σ_atoms o f exp(-hᵀβh) exp(-2πi g·r) in Å: (reflection, 3) integer indices to (reflection,) complex128.

    Args:
        crystal: the crystal.
        hkl: reflections.
        table: "kirkland", "lobato", "peng", "doyle-turner" or "ionic" electron scattering factors.
        absorptive_energy: if given, f is the absorptive factor of Thomas et al. (2024) at this energy in eV in
            place of the elastic one times the Debye-Waller factor.
        structure: what the crystal consists of, if not what it says itself; differentiable.

    Raises:
        ScatteringError: if the table does not exist or does not cover an element.
    """
    if table not in FACTORS:
        raise ScatteringError(f"factors must be one of {', '.join(FACTORS)}, got {table!r}")
    check_charges(crystal, table)
    waves = _waves(crystal, hkl, structure)
    return _elastic_sum(waves, table) if absorptive_energy is None else _absorptive_sum(waves, absorptive_energy)


def nuclear_sums(crystal: Crystal, hkl: np.ndarray, structure: StructureParameters | None = None) -> Tensor:
    """Σ_atoms o Z exp(-hᵀβh) exp(-2πi g·r), what the nuclei scatter: (reflection, 3) to (reflection,) complex128.

    Args:
        crystal: the crystal.
        hkl: reflections.
        structure: what the crystal consists of, if not what it says itself; differentiable.
    """
    waves = _waves(crystal, hkl, structure)
    total = torch.zeros(len(waves.indices), dtype=torch.complex128)
    for group, phases in zip(waves.groups, waves.sums, strict=True):
        damping = torch.exp(-((waves.indices @ group.beta) * waves.indices).sum(dim=1))
        total = total + _charge(group.element) * damping * phases
    return total


def nuclear_damping(crystal: Crystal, hkl: np.ndarray, structure: StructureParameters | None = None) -> Tensor:
    """Mean of exp(-hᵀβh) over the charges of all nuclei of the cell: (reflection, 3) to (reflection,)."""
    waves = _waves(crystal, hkl, structure)
    total, charges = torch.zeros(len(waves.indices), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for group in waves.groups:
        charge = _charge(group.element) * group.occupancy.sum()
        damping = torch.exp(-((waves.indices @ group.beta) * waves.indices).sum(dim=1))
        total, charges = total + charge * damping, charges + charge
    return total / charges


def _charge(element: str) -> float:
    return float(gemmi.Element(neutral_symbol(element)).atomic_number)


@dataclass(frozen=True, eq=False)
class _Waves:
    """Sums over the atoms of groups, before scattering factors.

    Attributes:
        groups: the groups.
        indices: h, k, l: (reflection, 3).
        s: values of |g| / 2 in 1/Å.
        where: which of them each reflection has: (reflection,).
        sums: Σ o exp(-2πi g·r) of every group: (reflection,) each.
    """

    groups: list[AtomGroup]
    indices: Tensor
    s: Tensor
    where: Tensor
    sums: list[Tensor]


def _waves(crystal: Crystal, hkl: np.ndarray, structure: StructureParameters | None) -> _Waves:
    indices = torch.as_tensor(np.asarray(hkl, dtype=np.float64))
    if structure is None:
        groups = groups_of_crystal(crystal)
        s, where = _distinct_lengths(indices.numpy() @ crystal.reciprocal.T)
    else:
        groups = groups_of_structure(crystal, structure)
        s, where = _length(indices, structure.cell), torch.arange(len(indices))
    return _Waves(groups, indices, s, where, phase_sums(hkl, [(g.xyz, g.occupancy) for g in groups]))


def _elastic_sum(waves: _Waves, table: str) -> Tensor:
    """Σ f_e exp(-hᵀβh) times the sums of the groups: (reflection,)."""
    total = torch.zeros(len(waves.indices), dtype=torch.complex128)
    for group, phases in zip(waves.groups, waves.sums, strict=True):
        damping = torch.exp(-((waves.indices @ group.beta) * waves.indices).sum(dim=1))
        total = total + group.scattering(waves.s, table)[waves.where] * damping * phases
    return total


def _absorptive_sum(waves: _Waves, energy: float | Tensor) -> Tensor:
    """Σ f' times the sums of the groups, Debye-Waller factors included: (reflection,)."""
    total = torch.zeros(len(waves.indices), dtype=torch.complex128)
    for group, phases in zip(waves.groups, waves.sums, strict=True):
        total = total + absorptive_factor(group.element, waves.s, group.b_iso, energy)[waves.where] * phases
    return total


def _distinct_lengths(vectors: np.ndarray) -> tuple[Tensor, Tensor]:
    """S = |g| / 2 without repetition, and which of them each g has: symmetry makes most lengths equal."""
    length = np.round(0.5 * np.linalg.norm(vectors, axis=1), 12)
    distinct, place = np.unique(length, return_inverse=True)
    return torch.as_tensor(distinct), torch.as_tensor(place.reshape(-1))


def _length(indices: Tensor, cell: Tensor) -> Tensor:
    """S = |g| / 2 of every g, with a slope at g = 0 that is finite."""
    reciprocal = torch.linalg.inv(direct_basis(cell)).T
    # 1e-24 is far below rounding, and keeps the slope of the root finite at g = 0.
    return 0.5 * torch.sqrt(torch.square(indices @ reciprocal.T).sum(dim=1) + 1e-24)
