"""Cell, orientation and grid as tensors: the geometry where gradients have to flow through it.

The formulas are those of `lacbed.crystals.cell`, `lacbed.geometry.frame` and `lacbed.geometry.tilts`, which work
with plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def direct_basis(cell: Tensor) -> Tensor:
    """Columns a, b, c in Å in the frame of `lacbed.crystals.cell.direct_basis`: (6,) to (3, 3)."""
    a, b, c = cell[0], cell[1], cell[2]
    ca, cb, cg = torch.cos(torch.deg2rad(cell[3:])).unbind()
    sg = torch.sqrt(1.0 - cg * cg)
    cy = (ca - cb * cg) / sg
    cz = torch.sqrt(1.0 - cb * cb - cy * cy)
    zero = torch.zeros_like(a)
    return torch.stack(
        [
            torch.stack([a, b * cg, c * cb]),
            torch.stack([zero, b * sg, c * cy]),
            torch.stack([zero, zero, c * cz]),
        ]
    )


def microscope_axes(direct: Tensor, zone_axis: Sequence[int], x_direction: Sequence[float]) -> Tensor:
    """x, y, z of the microscope in the crystal's frame as rows, see `lacbed.geometry.frame.make_frame`: (3, 3)."""
    z = direct @ torch.tensor(zone_axis, dtype=direct.dtype)
    z = z / torch.linalg.vector_norm(z)
    x = torch.linalg.inv(direct).T @ torch.tensor(x_direction, dtype=direct.dtype)
    x = x - (x @ z) * z
    x = x / torch.linalg.vector_norm(x)
    return torch.stack([x, torch.linalg.cross(z, x), z])


def grid_positions(half_width: Tensor, centre: Tensor, distortion: Tensor, pixels: int) -> Tensor:
    """K of the pixels of a square grid in 1/Å, ky slow: (pixel, 2).

    Args:
        half_width: in 1/Å: ().
        centre: in 1/Å: (2,).
        distortion: rotation in rad, stretch (kx longer, ky shorter) and shear, relative: (3,).
        pixels: of a side.
    """
    steps = (torch.arange(pixels, dtype=torch.float64) - pixels / 2 + 0.5) * (2.0 / pixels)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    angle, stretch, shear = distortion.unbind()
    cosine, sine = torch.cos(angle), torch.sin(angle)
    along, across = (1.0 + stretch) * x + shear * y, (1.0 - stretch) * y + shear * x
    moved = torch.stack([cosine * along - sine * across, sine * along + cosine * across], dim=-1)
    return half_width * moved.reshape(-1, 2) + centre
