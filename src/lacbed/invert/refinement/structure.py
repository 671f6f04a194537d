"""The state of a refinement as tensors, and U_g and U'_g as functions of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacbed.constants import ELECTRON_REST_ENERGY, PLANCK_TIMES_C
from lacbed.crystals import Crystal
from lacbed.potential import Absorption, StructureParameters, potential_coefficients

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
    sites = StructureParameters(state.cell, state.xyz, state.occupancy, state.u, state.factor)
    elastic, absorptive = potential_coefficients(
        structure.crystal, structure.hkl, state.energy, structure.factors, structure.absorption, sites
    )
    if len(structure.shapes):
        change = state.extra.to(torch.complex128) @ structure.shapes
        elastic = elastic + change
        if isinstance(structure.absorption, tuple) and absorptive is not None:
            absorptive = absorptive + change * (structure.absorption[1] / 100.0)
    return elastic, None if absorptive is None else state.absorption * absorptive
