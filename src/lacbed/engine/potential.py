"""The potential of one Laue zone on its own lattice, acting on waves by Fourier transform.

The waves q + h of a zone are numbered by two integers, h = i b₁ + j b₂. Σ_h' U_{h-h'} C_h' is a convolution: one
Fourier transform, a product with U(r), and one back. The box is wide enough that no wave meets the periodic image
of another, so that nothing is approximated, and no matrix of all beams is ever written down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import Frame, IntArray
from lacbed.potential import Absorption, potential_coefficients
from lacbed.solvers.problem import half_turns, shift_to_centre

_PORTION = 2**22
"""Complex numbers that are transformed at once; with their transform they stay in the caches."""


@dataclass(frozen=True, eq=False)
class ZonePotential:
    """U + iU' of one zone, without U_0, and the beams in which it is written.

    Attributes:
        basis: two reflections b₁, b₂ that span the zone, as h, k, l: (2, 3).
        lattice: the same as rows in 1/Å: (2, 2).
        centre: q₀ in 1/Å, about which everything is expanded: (2,).
        places: integer coordinates of the beams, shortest q₀ + h first: (beam, 2).
        vectors: q₀ + h in 1/Å: (beam, 2).
        size: |q₀ + h|² in 1/Å²: (beam,).
        elastic, absorptive: U and U' for every difference of coordinates, modulo the sides of the box, real where
            the crystal has a centre of symmetry; (side, side), the second None without absorption.
        shift: w, twice the position of that centre, or None; waves are then multiplied by exp(πi h·w).
        mean: U_0 in 1/Å².
    """

    basis: IntArray
    lattice: FloatArray
    centre: FloatArray
    places: IntArray
    vectors: Tensor
    size: Tensor
    elastic: Tensor
    absorptive: Tensor | None
    shift: FloatArray | None
    mean: float

    def matrix(self, count: int) -> Tensor:
        """U - diag |q₀ + h|² of the first beams: (count, count)."""
        places = torch.as_tensor(self.places[:count])
        steps = places[:, None] - places[None]
        high, wide = self.elastic.shape
        matrix: Tensor = self.elastic[steps[..., 0] % high, steps[..., 1] % wide].clone()
        matrix.diagonal().sub_(self.size[:count].to(matrix.dtype))
        return matrix

    def apply(self, table: Tensor, waves: Tensor, first: int = 0) -> Tensor:
        """What `elastic` or `absorptive` makes of waves in the beams from `first` on, in all beams.

        Real waves go two at a time, as the real and imaginary part of one. (n, wave) to (beam, wave).
        """
        is_real, count = not waves.is_complex(), waves.shape[1]
        if is_real:
            waves = torch.nn.functional.pad(waves, (0, count % 2))
            waves = torch.complex(waves[:, 0::2].contiguous(), waves[:, 1::2].contiguous())
        field = torch.fft.ifft2(table).real * table.numel()
        high, wide = table.shape
        place = torch.as_tensor(self.places[:, 0] % high * wide + self.places[:, 1] % wide)
        filled = place[first : first + len(waves)]
        pieces = []
        for part in torch.split(waves, max(1, _PORTION // table.numel()), dim=1):
            box = part.new_zeros((part.shape[1], table.numel()))
            box[:, filled] = part.T
            box = torch.fft.fft2(torch.fft.ifft2(box.view(-1, high, wide)) * field)
            pieces.append(box.view(len(box), -1)[:, place].T)
        found = torch.cat(pieces, dim=1) if pieces else waves.new_zeros((len(place), 0))
        return torch.stack([found.real, found.imag], dim=2).flatten(1)[:, :count] if is_real else found


def zone_potential(
    crystal: Crystal,
    frame: Frame,
    energy: float,
    factors: str,
    absorption: Absorption,
    g_max: float,
    centre: FloatArray,
) -> ZonePotential:
    """The potential of the zero-order Laue zone in all allowed beams with |q₀ + h| up to `g_max` in 1/Å."""
    basis = zone_of_allowed(crystal, frame)
    lattice = frame.vectors(basis)[:, :2]
    furthest = g_max + float(np.linalg.norm(centre))
    reach = np.floor(furthest * np.linalg.norm(np.linalg.inv(lattice), axis=0) + 1e-9).astype(np.int64)
    first, second = (np.arange(-2 * r, 2 * r + 1) for r in reach)
    differences = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    length = np.linalg.norm(differences @ lattice, axis=1)
    differences, length = differences[length <= 2.0 * g_max + 1e-9], length[length <= 2.0 * g_max + 1e-9]
    hkl = differences @ basis
    elastic, absorptive = potential_coefficients(crystal, hkl, energy, factors, absorption)
    origin = int(np.flatnonzero(~differences.any(axis=1))[0])
    mean = float(elastic[origin].real)
    elastic = elastic * (torch.arange(len(elastic)) != origin)
    shift = shift_to_centre(elastic, absorptive, hkl, crystal, basis)
    if shift is not None:
        phase = half_turns(hkl, shift)
        elastic = (elastic * phase).real
        absorptive = None if absorptive is None else (absorptive * phase).real
    sides = [next_fast_len(int(4 * r + 1)) for r in reach]

    def table(values: Tensor) -> Tensor:
        found = values.new_zeros(sides)
        found[differences[:, 0] % sides[0], differences[:, 1] % sides[1]] = values
        return found

    waves = differences @ lattice + centre
    length = np.linalg.norm(waves, axis=1)
    inside = np.flatnonzero(length <= g_max + 1e-9)
    inside = inside[np.argsort(np.round(length[inside], 9), kind="stable")]
    vectors = torch.as_tensor(waves[inside])
    return ZonePotential(
        basis,
        lattice,
        centre,
        differences[inside],
        vectors,
        vectors.square().sum(dim=1),
        table(elastic),
        None if absorptive is None else table(absorptive),
        shift,
        mean,
    )
