"""Fourier coefficients of the crystal potential as differentiable functions of everything a crystal consists of.

Conventions: waves are exp(+2πi k·r), so U(r) = Σ_g U_g exp(+2πi g·r) and

    U_g = γ / (π Ω) Σ_atoms o f_e(|g|/2) exp(-hᵀ β h) exp(-2πi g·r)      in 1/Å²

with o the occupancy, f_e in Å and Ω the volume of the cell. The structure factor of crystallography,
F_g = Σ f exp(+2πi g·r), is its complex conjugate up to γ / (π Ω). The complete potential is U + i U' with the
absorptive part U'_g, both real functions of r.  (Spence & Zuo, Electron Microdiffraction, 1992, chapter 3.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
    elastic_factor,
    has_valence,
    ionic_change,
    known_charges,
    neutral_symbol,
    phase_sums,
    species_name,
    valence_change,
)

if TYPE_CHECKING:
    from lacbed.crystals import Crystal

Absorption = Literal["thomas"] | tuple[Literal["proportional"], float] | None
ELECTRONIC = 20.0
"""C of `electronic_shape` in Å²."""

_NOT_NEUTRAL = 0.01  # sum of the charges, as a part of the sum of their sizes, that rounding may leave


@dataclass(frozen=True, eq=False)
class StructureParameters:
    """What U_g depends on, as float64 tensors through which gradients flow. Sites are those of `Crystal.sites`.

    Attributes:
        cell: a, b, c in Å and α, β, γ in degrees: (6,).
        xyz: fractional coordinates: (site, 3). The images of a site move with it as its operations say.
        occupancy: (site,).
        u: U_11, U_22, U_33, U_23, U_13, U_12 in Å²; of an isotropic site U_iso, then five zeros: (site, 6).
        factor: factor on f_e of every site, 1 for a neutral atom: (site,).
        ionicity: part of its formal charge that a site has, besides what the factors say; None for none: (site,).
        kappa: 1 / stretch of the valence shell, see `lacbed.scattering.valence_change`; None for none: (site,).
            Both do nothing to sites whose ion or valence shell is not in the tables.
    """

    cell: Tensor
    xyz: Tensor
    occupancy: Tensor
    u: Tensor
    factor: Tensor
    ionicity: Tensor | None = None
    kappa: Tensor | None = None

    def changed(self, **changes: Tensor) -> StructureParameters:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def structure_parameters(crystal: Crystal) -> StructureParameters:
    """The structure of a crystal as it stands. U_ij are those that the symmetry of the site allows."""
    atoms, rows = crystal.atoms, []
    lengths = np.linalg.norm(crystal.reciprocal, axis=0)
    for number, site in enumerate(crystal.sites):
        if site.u_iso is not None:
            rows.append([site.u_iso, 0.0, 0.0, 0.0, 0.0, 0.0])
            continue
        first = int(np.flatnonzero(atoms.site == number)[0])
        back = np.linalg.inv(atoms.rotation[first])
        u = back @ atoms.beta[first] @ back.T / (2.0 * math.pi**2 * np.outer(lengths, lengths))
        rows.append([u[0, 0], u[1, 1], u[2, 2], u[1, 2], u[0, 2], u[0, 1]])
    columns = (
        crystal.cell,
        [s.xyz for s in crystal.sites],
        [s.occupancy for s in crystal.sites],
        rows,
        [1.0] * len(crystal.sites),
    )
    return StructureParameters(*(torch.tensor(column, dtype=torch.float64) for column in columns))


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
class _Group:
    """Atoms that share element, charge and Debye-Waller tensor.

    Attributes:
        element: chemical symbol.
        charge: formal charge.
        xyz: fractional coordinates: (atom, 3).
        occupancy: (atom,).
        beta: β of exp(-hᵀ β h): (3, 3).
        b_iso: equivalent B in Å²: ().
        factor: on f_e: ().
        ionicity, kappa: as in `StructureParameters`: () or None.
    """

    element: str
    charge: int
    xyz: Tensor
    occupancy: Tensor
    beta: Tensor
    b_iso: Tensor
    factor: Tensor
    ionicity: Tensor | None = None
    kappa: Tensor | None = None

    def scattering(self, s: Tensor, table: str) -> Tensor:
        """f_e at |g| / 2 = s in 1/Å, in Å: as `s`."""
        species = species_name(self.element, self.charge) if table == "ionic" else self.element
        f = elastic_factor(species, s, table)
        if self.ionicity is not None and self.charge in known_charges(self.element):
            f = f + self.ionicity * ionic_change(self.element, self.charge, s)
        if self.kappa is not None and has_valence(self.element):
            f = f + valence_change(self.element, self.kappa, s)
        return f * self.factor


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

    groups: list[_Group]
    indices: Tensor
    s: Tensor
    where: Tensor
    sums: list[Tensor]


def _waves(crystal: Crystal, hkl: np.ndarray, structure: StructureParameters | None) -> _Waves:
    indices = torch.as_tensor(np.asarray(hkl, dtype=np.float64))
    if structure is None:
        groups = _groups_of_crystal(crystal)
        s, where = _distinct_lengths(indices.numpy() @ crystal.reciprocal.T)
    else:
        groups = _groups_of_structure(crystal, structure)
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


def _groups_of_crystal(crystal: Crystal) -> list[_Group]:
    """The atoms of a crystal as it stands."""
    atoms = crystal.atoms
    members: dict[tuple[str, int, bytes], list[int]] = {}
    for i, element in enumerate(atoms.elements):
        kind = element, crystal.sites[atoms.site[i]].charge, np.round(atoms.beta[i], 12).tobytes()
        members.setdefault(kind, []).append(i)
    return [
        _Group(
            element,
            charge,
            torch.as_tensor(atoms.xyz[mine]),
            torch.as_tensor(atoms.occupancy[mine]),
            torch.as_tensor(atoms.beta[mine[0]]),
            torch.as_tensor(atoms.b_iso[mine[0]]),
            torch.tensor(1.0),
        )
        for (element, charge, _), mine in members.items()
    ]


def _groups_of_structure(crystal: Crystal, structure: StructureParameters) -> list[_Group]:
    """The atoms of a structure; those of an anisotropic site one orientation of its ellipsoid at a time."""
    atoms, groups = crystal.atoms, []
    direct = direct_basis(structure.cell)
    reciprocal = torch.linalg.inv(direct).T
    metric = direct.T @ direct
    for number, site in enumerate(crystal.sites):
        mine = np.flatnonzero(atoms.site == number)
        rotation = torch.as_tensor(atoms.rotation[mine], dtype=torch.float64)
        start = torch.as_tensor(site.xyz, dtype=torch.float64)
        places = torch.as_tensor(atoms.xyz[mine]) + rotation @ (structure.xyz[number] - start)
        beta = _beta(structure.u[number], site.u_iso is None, reciprocal)
        b_iso = 8.0 / 6.0 * (beta * metric).sum()  # 8π² tr(U) / 3, with U = β / 2π² on orthogonal axes
        occupancy = structure.occupancy[number]
        kinds = [np.arange(len(mine))] if site.u_iso is not None else _orientations(atoms.rotation[mine])
        for kind in kinds:
            turned = rotation[kind[0]] @ beta @ rotation[kind[0]].T if site.u_iso is None else beta
            share = occupancy.expand(len(kind))
            electrons = (
                structure.factor[number],
                None if structure.ionicity is None else structure.ionicity[number],
                None if structure.kappa is None else structure.kappa[number],
            )
            groups.append(_Group(site.element, site.charge, places[kind], share, turned, b_iso, *electrons))
    return groups


def _orientations(rotations: np.ndarray) -> list[np.ndarray]:
    """Positions of the rotations that are equal but for their sign, which turns no ellipsoid."""
    flat = rotations.reshape(-1, 9)
    leading = np.sign(flat[np.arange(len(flat)), np.argmax(flat != 0, axis=1)])
    _, kind = np.unique(flat * leading[:, None], axis=0, return_inverse=True)
    return [np.flatnonzero(kind.reshape(-1) == i) for i in range(int(kind.max()) + 1)]


def _beta(u: Tensor, anisotropic: bool, reciprocal: Tensor) -> Tensor:
    """β of exp(-hᵀ β h), see `lacbed.crystals.site.Site.beta`."""
    if not anisotropic:
        return 2.0 * math.pi**2 * u[0] * (reciprocal.T @ reciprocal)
    lengths = torch.linalg.vector_norm(reciprocal, dim=0)
    tensor = torch.stack([u[0], u[5], u[4], u[5], u[1], u[3], u[4], u[3], u[2]]).reshape(3, 3)
    return 2.0 * math.pi**2 * torch.outer(lengths, lengths) * tensor


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
