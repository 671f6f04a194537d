"""What scatters in a crystal, as tensors: its parameters, and its atoms in groups that scatter alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lacbed.geometry.moving import direct_basis
from lacbed.scattering import (
    elastic_factor,
    has_valence,
    ionic_change,
    known_charges,
    species_name,
    valence_change,
)

if TYPE_CHECKING:
    from lacbed.crystals import Crystal


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


@dataclass(frozen=True, eq=False)
class AtomGroup:
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


def groups_of_crystal(crystal: Crystal) -> list[AtomGroup]:
    """The atoms of a crystal as it stands."""
    atoms = crystal.atoms
    members: dict[tuple[str, int, bytes], list[int]] = {}
    for i, element in enumerate(atoms.elements):
        kind = element, crystal.sites[atoms.site[i]].charge, np.round(atoms.beta[i], 12).tobytes()
        members.setdefault(kind, []).append(i)
    return [
        AtomGroup(
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


def groups_of_structure(crystal: Crystal, structure: StructureParameters) -> list[AtomGroup]:
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
            groups.append(AtomGroup(site.element, site.charge, places[kind], share, turned, b_iso, *electrons))
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
