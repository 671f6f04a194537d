"""Everything that a pattern depends on, as tensors through which gradients flow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lacbed.structure import StructureParameters, structure_parameters

if TYPE_CHECKING:
    from lacbed.crystals import Crystal


@dataclass(frozen=True, eq=False)
class ModelState:
    """All that a pattern depends on, as float64 tensors. Sites are those of `Crystal.sites`.

    Attributes:
        thickness: t along the foil normal in Å: () or (thickness,).
        energy: of the electrons in eV: ().
        half_width: of the grid in 1/Å: ().
        tilt: centre of the grid in 1/Å: (2,).
        distortion: rotation of the grid in rad, stretch (kx longer, ky shorter) and shear, relative: (3,).
        spread: standard deviation of the thickness within the image, in Å: ().
        blur: standard deviation of the point spread in pixels: ().
        tail: share of a second, wide Gaussian in the point spread: ().
        tail_width: its standard deviation in pixels: ().
        cone: radius of the cone of incident directions that a pixel stands for, in half-widths; held fixed: ().
        absorption: factor on U': ().
        electronic: b of a factor 1 + b exp(-c s²) on U' at low g, see `lacbed.potential.electronic_shape`: ().
        cell: a, b, c in Å and α, β, γ in degrees: (6,).
        xyz: fractional coordinates: (site, 3). The images of a site move with it as its operations say.
        occupancy: (site,).
        u: U_11, U_22, U_33, U_23, U_13, U_12 in Å²; of an isotropic site U_iso, then five zeros: (site, 6).
        factor: factor on f_e of every site: (site,).
        ionicity: part of its formal charge that a site has besides what the table of factors says: (site,).
        kappa: 1 / stretch of the valence shell of a site, see `lacbed.scattering.valence_change`: (site,).
        ug_change: amounts of individual changes of U_g in 1/Å²: (change,).
    """

    thickness: Tensor
    energy: Tensor
    half_width: Tensor
    tilt: Tensor
    distortion: Tensor
    spread: Tensor
    blur: Tensor
    tail: Tensor
    tail_width: Tensor
    cone: Tensor
    absorption: Tensor
    electronic: Tensor
    cell: Tensor
    xyz: Tensor
    occupancy: Tensor
    u: Tensor
    factor: Tensor
    ionicity: Tensor
    kappa: Tensor
    ug_change: Tensor

    @property
    def structure(self) -> StructureParameters:
        """The part that the potential depends on."""
        sites = (self.cell, self.xyz, self.occupancy, self.u, self.factor)
        return StructureParameters(*sites, _unless(self.ionicity, 0.0), _unless(self.kappa, 1.0))

    def changed(self, **changes: Tensor) -> ModelState:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def _unless(value: Tensor, usual: float) -> Tensor | None:
    """A tensor, or None if it is constant and as usual everywhere."""
    return value if value.requires_grad or bool((value != usual).any()) else None


SPREAD_NODES = ((-math.sqrt(3.0), 1.0 / 6.0), (0.0, 2.0 / 3.0), (math.sqrt(3.0), 1.0 / 6.0))
"""Where a normal distribution is sampled, in standard deviations, and the weights (Gauss and Hermite)."""


def thickness_nodes(state: ModelState) -> tuple[Tensor, Tensor]:
    """Thicknesses whose mean, with weights, stands for their normal distribution.

    Returns:
        (node, *thickness) in Å and (node,); one node without a spread.
    """
    if not state.spread.requires_grad and float(state.spread) == 0.0:
        return state.thickness[None], torch.ones(1, dtype=torch.float64)
    nodes = torch.stack([state.thickness + x * state.spread for x, _ in SPREAD_NODES])
    return nodes, torch.tensor([weight for _, weight in SPREAD_NODES], dtype=torch.float64)


def crystal_state(crystal: Crystal, energy: float, half_width: float, **values: object) -> ModelState:
    """The state of a crystal as it stands.

    Args:
        crystal: the crystal.
        energy: of the electrons in eV.
        half_width: of the grid in 1/Å.
        values: other fields, by default a foil of 1000 Å, a centred grid without distortion, a blur of 1 pixel.
    """
    sites = structure_parameters(crystal)
    fields: dict[str, object] = {
        "thickness": 1000.0,
        "energy": energy,
        "half_width": half_width,
        "tilt": (0.0, 0.0),
        "distortion": (0.0, 0.0, 0.0),
        "spread": 0.0,
        "blur": 1.0,
        "tail": 0.0,
        "tail_width": 6.0,
        "cone": 0.0,
        "absorption": 1.0,
        "electronic": 0.0,
        "cell": sites.cell,
        "xyz": sites.xyz,
        "occupancy": sites.occupancy,
        "u": sites.u,
        "factor": sites.factor,
        "ionicity": torch.zeros_like(sites.factor),
        "kappa": torch.ones_like(sites.factor),
        "ug_change": [],
    }
    return ModelState(**{n: torch.as_tensor(v, dtype=torch.float64) for n, v in (fields | values).items()})
