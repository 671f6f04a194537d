"""The potential of one Laue zone on its own lattice, acting on waves by Fourier transform.

The waves q + h of a zone are numbered by two integers, h = i b₁ + j b₂. Σ_h' U_{h-h'} C_h' is a convolution: one
Fourier transform, a product with U(r), and one back. The box is wide enough that no wave meets the periodic image
of another, so that nothing is approximated, and no matrix of all beams is ever written down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.engine.foil import Foil
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import Frame, IntArray
from lacbed.potential import Absorption, potential_coefficients
from lacbed.solvers.problem import half_turns, shift_to_centre

_PORTION = 2**22
"""Complex numbers that are transformed at once; with their transform they stay in the caches."""


@dataclass(frozen=True, eq=False)
class Oblique:
    """The matrices of a tilted foil, A(q) = S(q) (U - diag |q + h|²) S(q) with S² = N_0 / N̄_h, about q₀.

    In δ = q - q₀, with v = q₀ + h, D = 1 - S² and e = δ·n / N_0 (see `lacbed.engine.foil`), S(q) = S (1 + D e / 2)
    and the diagonal is -S² [|v|² + 2 v·δ + D e |v|² + |δ|² + 2 v·δ D e - D S² e² |v|²].

    Attributes:
        scale: S: (beam,).
        bend: D: (beam,).
        rate: n_x / N_0 and n_y / N_0 in Å: (2,).
        slopes: of the diagonal: (beam, 2).
        curves: second powers of the diagonal and of |δ|² together, as in `POWERS`: (beam, 3).
    """

    scale: Tensor
    bend: Tensor
    rate: Tensor
    slopes: Tensor
    curves: Tensor


@dataclass(frozen=True, eq=False)
class ZonePotential:
    """U + iU' of one zone, without U_0, and the beams in which it is written.

    Attributes:
        basis: two reflections b₁, b₂ that span the zone, as h, k, l: (2, 3).
        lattice: the same as rows in 1/Å: (2, 2).
        centre: q₀ in 1/Å, about which everything is expanded: (2,).
        places: integer coordinates of the beams, shortest q₀ + h first: (beam, 2).
        vectors: q₀ + h in 1/Å: (beam, 2).
        size: |q₀ + h|² in 1/Å², times S² in a tilted foil: (beam,).
        elastic, absorptive: U and U' for every difference of coordinates, modulo the sides of the box, real where
            the crystal has a centre of symmetry; (side, side), the second None without absorption.
        shift: w, twice the position of that centre, or None; waves are then multiplied by exp(πi h·w).
        mean: U_0 in 1/Å².
        oblique: what a tilted foil makes of it, or None.
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
    oblique: Oblique | None = None

    def matrix(self, count: int) -> Tensor:
        """S U S - diag of `size` of the first beams: (count, count)."""
        places = torch.as_tensor(self.places[:count])
        steps = places[:, None] - places[None]
        high, wide = self.elastic.shape
        matrix: Tensor = self.elastic[steps[..., 0] % high, steps[..., 1] % wide].clone()
        if self.oblique is not None:
            scale = self.oblique.scale[:count]
            matrix *= scale[:, None] * scale
        matrix.diagonal().sub_(self.size[:count].to(matrix.dtype))
        return matrix

    def apply(self, table: Tensor, waves: Tensor, first: int = 0) -> Tensor:
        """What `elastic` or `absorptive` makes of waves in the beams from `first` on, in all beams.

        Real waves go two at a time, as the real and imaginary part of one. (n, wave) to (beam, wave).
        """
        if self.oblique is not None:
            waves = self.oblique.scale[first : first + len(waves), None] * waves
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
        found = torch.stack([found.real, found.imag], dim=2).flatten(1)[:, :count] if is_real else found
        return found if self.oblique is None else self.oblique.scale[:, None] * found

    def slopes(self, waves: Tensor) -> list[Tensor]:
        """The change of the matrix with q_x and q_y, times waves in all beams: two (beam, wave)."""
        if self.oblique is None:
            return [-2.0 * self.vectors[:, i : i + 1] * waves for i in (0, 1)]
        bend = self.oblique.bend[:, None]
        turned = 0.5 * (bend * self.apply(self.elastic, waves) + self.apply(self.elastic, bend * waves))
        return [self.oblique.slopes[:, i : i + 1] * waves + self.oblique.rate[i] * turned for i in (0, 1)]


def zone_potential(
    crystal: Crystal,
    frame: Frame,
    energy: float,
    factors: str,
    absorption: Absorption,
    g_max: float,
    centre: FloatArray,
    foil: Foil | None = None,
) -> ZonePotential:
    """The potential of the zero-order Laue zone in all allowed beams of a size up to `g_max` squared."""
    foil = None if foil is None or foil.is_flat else foil
    basis = zone_of_allowed(crystal, frame)
    lattice = frame.vectors(basis)[:, :2]
    radius = g_max if foil is None else _furthest(g_max, foil, centre)
    furthest = radius + float(np.linalg.norm(centre))
    reach = np.floor(furthest * np.linalg.norm(np.linalg.inv(lattice), axis=0) + 1e-9).astype(np.int64)
    first, second = (np.arange(-2 * r, 2 * r + 1) for r in reach)
    differences = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    length = np.linalg.norm(differences @ lattice, axis=1)
    differences = differences[length <= 2.0 * radius + 1e-9]
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
    if foil is not None:
        length = length * np.sqrt(foil.across(centre) / foil.across(waves).clip(min=1e-9))
    inside = np.flatnonzero(length <= g_max + 1e-9)
    inside = inside[np.argsort(np.round(length[inside], 9), kind="stable")]
    vectors = torch.as_tensor(waves[inside])
    oblique = None if foil is None else _oblique(foil, centre, waves[inside])
    return ZonePotential(
        basis,
        lattice,
        centre,
        differences[inside],
        vectors,
        vectors.square().sum(dim=1) if oblique is None else vectors.square().sum(dim=1) * oblique.scale.square(),
        table(elastic),
        None if absorptive is None else table(absorptive),
        shift,
        mean,
        oblique,
    )


def _furthest(g_max: float, foil: Foil, centre: FloatArray) -> float:
    """The largest |q₀ + h| with |q₀ + h|² N_0 / N̄_h up to the square of `g_max`."""
    steep = float(np.linalg.norm(foil.normal[:2])) / float(foil.across(centre))
    even = 1.0 + steep * float(np.linalg.norm(centre))
    return 0.5 * (steep * g_max**2 + math.sqrt((steep * g_max**2) ** 2 + 4.0 * even * g_max**2))


def _oblique(foil: Foil, centre: FloatArray, waves: FloatArray) -> Oblique:
    level = float(foil.across(centre))
    square = level / foil.across(waves)
    bend, rate, length = 1.0 - square, foil.normal[:2] / level, (waves**2).sum(axis=1)
    slopes = -square[:, None] * (2.0 * waves + (bend * length)[:, None] * rate)
    x, y = waves.T
    curves = [
        1.0 - square * (1.0 + 2.0 * x * bend * rate[0] - bend * square * rate[0] ** 2 * length),
        -square * 2.0 * bend * (x * rate[1] + y * rate[0] - square * rate[0] * rate[1] * length),
        1.0 - square * (1.0 + 2.0 * y * bend * rate[1] - bend * square * rate[1] ** 2 * length),
    ]
    pieces = (np.sqrt(square), bend, rate, slopes, np.stack(curves, axis=1))
    return Oblique(*(torch.as_tensor(piece) for piece in pieces))
