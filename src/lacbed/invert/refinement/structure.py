"""U_g and U'_g as differentiable functions of everything that a crystal consists of.

The formulas are those of `lacbed.potential`; here cell, positions, occupancies, displacements and the electrons'
energy are torch tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacbed.constants import ELECTRON_REST_ENERGY, PLANCK_TIMES_C, beta_squared
from lacbed.crystals import Crystal
from lacbed.crystals.site import B_PER_U
from lacbed.potential import Absorption
from lacbed.scattering import absorptive_factor, elastic_factor

THOMAS_LIMIT = 4.0  # Å²; B of the absorptive factors


@dataclass(frozen=True, eq=False)
class State:
    """All that a pattern depends on, as float64 tensors.

    Attributes:
        thickness: t in Å.
        energy: in eV.
        half_width: of the grid in 1/Å.
        tilt: centre of the grid in 1/Å: (2,).
        turn: rotation of the grid in rad, stretch (kx longer, ky shorter) and shear, relative: (3,).
        blur: standard deviation in pixels.
        absorption: factor on U'.
        cell: a, b, c in Å and α, β, γ in degrees: (6,).
        xyz: fractional coordinates of the sites: (site, 3).
        occupancy: (site,).
        u: U_11, U_22, U_33, U_23, U_13, U_12 in Å²; U_iso in the first place of an isotropic site: (site, 6).
        factor: factor on f_e of every site: (site,).
        extra: amounts of individual changes of U_g in 1/Å²: (change,).
    """

    thickness: Tensor
    energy: Tensor
    half_width: Tensor
    tilt: Tensor
    turn: Tensor
    blur: Tensor
    absorption: Tensor
    cell: Tensor
    xyz: Tensor
    occupancy: Tensor
    u: Tensor
    factor: Tensor
    extra: Tensor

    def changed(self, **changes: Tensor) -> State:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def start_state(crystal: Crystal, energy: float, half_width: float, **values: object) -> State:
    """The state of a crystal as it stands; `values` set other fields."""
    sites = crystal.sites
    u = [s.u_aniso if s.u_aniso is not None else (s.u_iso, 0.0, 0.0, 0.0, 0.0, 0.0) for s in sites]

    def tensor(value: object) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64)

    fields: dict[str, object] = {
        "thickness": 1000.0, "energy": energy, "half_width": half_width, "tilt": (0.0, 0.0),
        "turn": (0.0, 0.0, 0.0), "blur": 1.0, "absorption": 1.0, "cell": crystal.cell,
        "xyz": [s.xyz for s in sites], "occupancy": [s.occupancy for s in sites], "u": u,
        "factor": [1.0] * len(sites), "extra": [],
    }  # fmt: skip
    return State(**{name: tensor(value) for name, value in (fields | values).items()})


def direct_basis(cell: Tensor) -> Tensor:
    """Columns a, b, c in Å in the frame of `lacbed.crystals.cell.direct_basis`: (6,) to (3, 3)."""
    a, b, c = cell[0], cell[1], cell[2]
    ca, cb, cg = torch.cos(torch.deg2rad(cell[3:])).unbind()
    sg = torch.sqrt(1.0 - cg * cg)
    cy = (ca - cb * cg) / sg
    cz = torch.sqrt(1.0 - cb * cb - cy * cy)
    zero = torch.zeros_like(a)
    return torch.stack([
        torch.stack([a, b * cg, c * cb]), torch.stack([zero, b * sg, c * cy]), torch.stack([zero, zero, c * cz]),
    ])  # fmt: skip


def wave_number(energy: Tensor) -> Tensor:
    """Vacuum wave number 1 / λ in 1/Å."""
    return torch.sqrt(energy * (energy + 2.0 * ELECTRON_REST_ENERGY)) / PLANCK_TIMES_C


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


def coefficients(structure: Structure, state: State) -> tuple[Tensor, Tensor | None]:
    """U_g and U'_g in 1/Å²: two (g,) complex128, the second None without absorption."""
    indices = torch.as_tensor(structure.hkl, dtype=torch.float64)
    direct = direct_basis(state.cell)
    reciprocal = torch.linalg.inv(direct).T
    # Far below rounding, and keeps the slope of the root finite at g = 0.
    s = 0.5 * torch.sqrt(torch.square(indices @ reciprocal.T).sum(dim=1) + 1e-24)
    gamma = 1.0 + state.energy / ELECTRON_REST_ENERGY
    scale = gamma / (math.pi * torch.linalg.det(direct).abs())
    elastic = torch.zeros(len(indices), dtype=torch.complex128)
    absorptive = torch.zeros_like(elastic)
    damped = isinstance(structure.absorption, str)
    nominal = float(state.energy.detach())
    # f' is proportional to 1/β, β = v/c.
    slower = math.sqrt(beta_squared(nominal)) / torch.sqrt(1.0 - 1.0 / torch.square(gamma))
    for i, site in enumerate(structure.crystal.sites):
        beta = _beta(state.u[i], structure.anisotropic[i], reciprocal)
        weight = state.occupancy[i] * state.factor[i]
        phases, damping = _site_sum(structure.crystal, i, indices, state.xyz[i], beta)
        wave = (phases * damping).sum(dim=1)
        elastic = elastic + weight * elastic_factor(site.element, s, structure.factors) * wave
        if damped:
            u_eq = (beta * (direct.T @ direct)).sum() / (6.0 * math.pi**2)
            thermal = absorptive_factor(site.element, s, B_PER_U * u_eq, nominal) * slower
            absorptive = absorptive + state.occupancy[i] * thermal * phases.sum(dim=1)
    elastic = scale * elastic
    if len(structure.shapes):
        elastic = elastic + state.extra.to(torch.complex128) @ structure.shapes
    if structure.absorption is None:
        return elastic, None
    if damped:
        return elastic, state.absorption * scale * absorptive
    return elastic, state.absorption * (float(structure.absorption[1]) / 100.0) * elastic


def _beta(u: Tensor, anisotropic: bool, reciprocal: Tensor) -> Tensor:
    """β of exp(-hᵀ β h), see `lacbed.crystals.site.Site.beta`."""
    if not anisotropic:
        return 2.0 * math.pi**2 * u[0] * (reciprocal.T @ reciprocal)
    lengths = torch.linalg.vector_norm(reciprocal, dim=0)
    tensor = torch.stack([u[0], u[5], u[4], u[5], u[1], u[3], u[4], u[3], u[2]]).reshape(3, 3)
    return 2.0 * math.pi**2 * torch.outer(lengths, lengths) * tensor


def _site_sum(crystal: Crystal, site: int, indices: Tensor, xyz: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """exp(-2πi g·r) and exp(-hᵀβh) of the atoms of a site: two (g, atom)."""
    atoms = crystal.atoms
    members = np.flatnonzero(atoms.site == site)
    rotation = torch.as_tensor(atoms.rotation[members], dtype=torch.float64)
    start = torch.as_tensor(crystal.sites[site].xyz, dtype=torch.float64)
    places = torch.as_tensor(atoms.xyz[members]) + rotation @ (xyz - start)
    angle = -2.0 * math.pi * (indices @ places.T)
    turned = rotation @ beta @ rotation.mT  # (atom, 3, 3)
    damping = torch.exp(-torch.einsum("gi,aij,gj->ga", indices, turned, indices))
    return torch.complex(torch.cos(angle), torch.sin(angle)), damping
