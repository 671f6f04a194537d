"""The potential of one Laue zone on its own lattice, acting on waves by Fourier transform.

The waves q + h of a zone are numbered by two integers, h = i b₁ + j b₂. Σ_h' U_{h-h'} C_h' is a convolution: one
Fourier transform, a product with U(r), and one back. The box is wide enough that no wave meets the periodic image
of another, so that nothing is approximated, and no matrix of all beams is ever written down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

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
    """The matrices A(q) = S(q) (U - diag L(q)) S(q) of a tilted foil or many Laue zones, about q₀.

    Here S² = N_0 / N̄_h and L = |q + h|² + 2 K_t h_z + h_z² (see `lacbed.engine.foil`). In δ = q - q₀, with
    v = q₀ + h, D = 1 - S² and e = δ·n / N_0, S(q) = S (1 + D e / 2) and the diagonal is, to third order,
    -S² (L + 2 v·δ + |δ|²) (1 + D e - D S² e² + D S⁴ e³).

    Attributes:
        scale: S: (beam,).
        size: S² L in 1/Å²: (beam,).
        bend: D: (beam,).
        rate: n_x / N_0 and n_y / N_0 in Å: (2,).
        slopes: of the diagonal: (beam, 2).
        curves: second powers of the diagonal and of |δ|² together, and in a tilted foil the third ones, as in
            `POWERS`: (beam, 3 or 7).
    """

    scale: Tensor
    size: Tensor
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
        places: integer coordinates of the beams, those of other Laue zones first, then the others, smallest `size`
            first: (beam, 2), with other zones (beam, 3).
        vectors: q₀ + h in the plane in 1/Å: (beam, 2).
        size: |q₀ + h|² in 1/Å², or what stands in its place (see `Oblique`): (beam,).
        elastic, absorptive: U and U' for every difference of coordinates, modulo the sides of the box, real where
            the crystal has a centre of symmetry; (side, side) or (side, side, side), the second None without
            absorption.
        shift: w, twice the position of that centre, or None; waves are then multiplied by exp(πi h·w).
        mean: U_0 in 1/Å².
        oblique: what a tilted foil or other Laue zones make of it, or None.
        aside: number of beams of other Laue zones.
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
    aside: int = 0

    @property
    def own(self) -> Tensor:
        """`size` of the beams of the zone itself, rising: (n,)."""
        return self.size[self.aside :]

    def within(self, g_max: float) -> ZonePotential:
        """The same in those beams of the zone whose size is up to `g_max` squared."""
        count = self.aside + int((self.own.sqrt() <= g_max + 1e-9).sum())
        places, oblique = self.places[:count], self.oblique
        if oblique is not None:
            parts = {f: getattr(oblique, f)[:count] for f in ("scale", "size", "bend", "slopes", "curves")}
            oblique = replace(oblique, **parts)
        furthest = np.ptp(places, axis=0)  # of two beams
        some = np.ix_(*(np.arange(-n, n + 1) for n in furthest))
        sides = [next_fast_len(int(2 * n + 1)) for n in furthest]

        def smaller(table: Tensor) -> Tensor:
            found = table.new_zeros(sides)
            to, of = (tuple(n % side for n, side in zip(some, all_, strict=True)) for all_ in (sides, table.shape))
            found[to] = table[of]
            return found

        return replace(
            self,
            places=places,
            vectors=self.vectors[:count],
            size=self.size[:count],
            elastic=smaller(self.elastic),
            absorptive=None if self.absorptive is None else smaller(self.absorptive),
            oblique=oblique,
        )

    def matrix(self, count: int) -> Tensor:
        """S U S - diag of `size` of the first beams: (count, count)."""
        places = torch.as_tensor(self.places[:count])
        steps = places[:, None] - places[None]
        matrix: Tensor = self.elastic[tuple(steps[..., i] % n for i, n in enumerate(self.elastic.shape))].clone()
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
        sides, axes = table.shape, tuple(range(-table.ndim, 0))
        field = torch.fft.ifftn(table).real * table.numel()
        place = torch.as_tensor(np.ravel_multi_index(tuple((self.places % sides).T), sides))
        filled = place[first : first + len(waves)]
        pieces = []
        for part in torch.split(waves, max(1, _PORTION // table.numel()), dim=1):
            box = part.new_zeros((part.shape[1], table.numel()))
            box[:, filled] = part.T
            box = torch.fft.fftn(torch.fft.ifftn(box.view(-1, *sides), dim=axes) * field, dim=axes)
            pieces.append(box.view(len(box), -1)[:, place].T)
        found = torch.cat(pieces, dim=1) if pieces else waves.new_zeros((len(place), 0))
        found = torch.stack([found.real, found.imag], dim=2).flatten(1)[:, :count] if is_real else found
        return found if self.oblique is None else self.oblique.scale[:, None] * found

    def slopes(self, waves: Tensor) -> list[Tensor]:
        """The change of the matrix with q_x and q_y, times waves in all beams: two (beam, wave)."""
        if self.oblique is None:
            return [-2.0 * self.vectors[:, i : i + 1] * waves for i in (0, 1)]
        slopes, rate = self.oblique.slopes, self.oblique.rate
        if not bool(rate.any()):
            return [slopes[:, i : i + 1] * waves for i in (0, 1)]
        bend = self.oblique.bend[:, None]
        turned = 0.5 * (bend * self.apply(self.elastic, waves) + self.apply(self.elastic, bend * waves))
        return [slopes[:, i : i + 1] * waves + rate[i] * turned for i in (0, 1)]


def zone_potential(
    crystal: Crystal,
    frame: Frame,
    energy: float,
    factors: str,
    absorption: Absorption,
    g_max: float,
    centre: FloatArray,
    foil: Foil | None = None,
    others: IntArray | None = None,
) -> ZonePotential:
    """The potential in all allowed beams of the zone of a size up to `g_max` squared, and in beams of others."""
    others = None if others is None or not len(others) else others
    foil = None if foil is None or (foil.is_flat and others is None) else foil
    if others is not None:
        assert foil is not None
        return _many_zones(crystal, frame, energy, factors, absorption, g_max, centre, foil, others)
    basis = zone_of_allowed(crystal, frame)
    lattice = frame.vectors(basis)[:, :2]
    radius = g_max if foil is None else _furthest(g_max, foil, centre)
    reach = _steps(lattice, radius, centre)
    first, second = (np.arange(-2 * r, 2 * r + 1) for r in reach)
    differences = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    length = np.linalg.norm(differences @ lattice, axis=1)
    differences = differences[length <= 2.0 * radius + 1e-9]
    hkl = differences @ basis
    elastic, absorptive, shift, mean = _coefficients(crystal, hkl, differences, basis, energy, factors, absorption)
    table = partial(_table, differences, [next_fast_len(int(4 * r + 1)) for r in reach])
    waves = differences @ lattice + centre
    inside = _by_size(waves, g_max, foil, centre)
    vectors = torch.as_tensor(waves[inside])
    oblique = None if foil is None else _oblique(foil, centre, waves[inside], np.zeros(len(inside)))
    return ZonePotential(
        basis,
        lattice,
        centre,
        differences[inside],
        vectors,
        vectors.square().sum(dim=1) if oblique is None else oblique.size,
        table(elastic),
        None if absorptive is None else table(absorptive),
        shift,
        mean,
        oblique,
    )


def _steps(lattice: FloatArray, radius: float, centre: FloatArray) -> IntArray:
    """Steps along both vectors of a lattice that |q₀ + h| up to a radius needs at the most: (2,)."""
    furthest = radius + float(np.linalg.norm(centre))
    return np.asarray(np.floor(furthest * np.linalg.norm(np.linalg.inv(lattice), axis=0) + 1e-9).astype(np.int64))


def _table(places: IntArray, sides: list[int], values: Tensor) -> Tensor:
    """Coefficients on the grid of a Fourier transform, each at its place: (place,) to `sides`."""
    found = values.new_zeros(sides)
    found[tuple(column % side for column, side in zip(places.T, sides, strict=True))] = values
    return found


def _furthest(g_max: float, foil: Foil, centre: FloatArray) -> float:
    """The largest |q₀ + h| with |q₀ + h|² N_0 / N̄_h up to the square of `g_max`."""
    steep = float(np.linalg.norm(foil.normal[:2])) / float(foil.across(centre))
    even = 1.0 + steep * float(np.linalg.norm(centre))
    return 0.5 * (steep * g_max**2 + math.sqrt((steep * g_max**2) ** 2 + 4.0 * even * g_max**2))


def _by_size(waves: FloatArray, g_max: float, foil: Foil | None, centre: FloatArray) -> IntArray:
    """Which of the waves q₀ + h of a zone have a size up to the square of `g_max`, in its order."""
    length = np.linalg.norm(waves, axis=1)
    if foil is not None:
        length = length * np.sqrt(foil.across(centre) / foil.across(waves).clip(min=1e-9))
    inside = np.flatnonzero(length <= g_max + 1e-9)
    return np.asarray(inside[np.argsort(np.round(length[inside], 9), kind="stable")])


def _many_zones(
    crystal: Crystal,
    frame: Frame,
    energy: float,
    factors: str,
    absorption: Absorption,
    g_max: float,
    centre: FloatArray,
    foil: Foil,
    others: IntArray,
) -> ZonePotential:
    """`zone_potential` with beams of other Laue zones."""
    basis = zone_of_allowed(crystal, frame)
    layer = others @ np.array(frame.zone_axis)
    step = others[np.argmin(np.where(layer > 0, layer, np.inf) if np.any(layer > 0) else -layer)]
    whole = np.stack([*basis, step])
    lattice, back = frame.vectors(whole), np.linalg.inv(whole)
    radius = _furthest(g_max, foil, centre)
    aside = np.round(others @ back).astype(np.int64)
    reach = np.maximum(_steps(lattice[:2, :2], radius, centre), np.abs(aside[:, :2]).max(axis=0))
    low, high = min(0, int(aside[:, 2].min())), max(0, int(aside[:, 2].max()))
    axes = [np.arange(-2 * r, 2 * r + 1) for r in reach] + [np.arange(low - high, high - low + 1)]
    differences = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    widest = max(radius, float(np.linalg.norm(frame.vectors(others)[:, :2] + centre, axis=1).max()))
    differences = differences[np.linalg.norm((differences @ lattice)[:, :2], axis=1) <= 2.0 * widest + 1e-9]
    elastic, absorptive, shift, mean = _coefficients(
        crystal, differences @ whole, differences, whole, energy, factors, absorption
    )
    table = partial(_table, differences, [next_fast_len(len(axis)) for axis in axes])
    flat = differences[differences[:, 2] == 0]
    waves = (flat @ lattice)[:, :2] + centre
    places = np.concatenate([aside, flat[_by_size(waves, g_max, foil, centre)]])
    vectors = places @ lattice
    oblique = _oblique(foil, centre, vectors[:, :2] + centre, vectors[:, 2])
    return ZonePotential(
        basis,
        lattice[:2, :2],
        centre,
        places,
        torch.as_tensor(vectors[:, :2] + centre),
        oblique.size,
        table(elastic),
        None if absorptive is None else table(absorptive),
        shift,
        mean,
        oblique,
        len(aside),
    )


def _coefficients(
    crystal: Crystal,
    hkl: IntArray,
    differences: IntArray,
    basis: IntArray,
    energy: float,
    factors: str,
    absorption: Absorption,
) -> tuple[Tensor, Tensor | None, FloatArray | None, float]:
    """U without U_0 and U', made real where there is a centre, w of the centre or None, and U_0."""
    elastic, absorptive = potential_coefficients(crystal, hkl, energy, factors, absorption)
    origin = int(np.flatnonzero(~differences.any(axis=1))[0])
    mean = float(elastic[origin].real)
    elastic = elastic * (torch.arange(len(elastic)) != origin)
    shift = shift_to_centre(elastic, absorptive, hkl, crystal, basis)
    if shift is not None:
        phase = half_turns(hkl, shift)
        elastic = (elastic * phase).real
        absorptive = None if absorptive is None else (absorptive * phase).real
    return elastic, absorptive, shift, mean


def _oblique(foil: Foil, centre: FloatArray, waves: FloatArray, up: FloatArray) -> Oblique:
    """For waves q₀ + h, (n, 2), with h_z, (n,)."""
    level = float(foil.across(centre))
    square = level / (foil.across(waves) + foil.normal[2] * up)
    length = (waves**2).sum(axis=1) + (2.0 * foil.inside + up) * up
    bend, rate = 1.0 - square, foil.normal[:2] / level
    slopes = -square[:, None] * (2.0 * waves + (bend * length)[:, None] * rate)
    (x, y), (p, r) = waves.T, rate
    curves = [
        1.0 - square * (1.0 + 2.0 * x * bend * p - bend * square * p**2 * length),
        -square * 2.0 * bend * (x * r + y * p - square * p * r * length),
        1.0 - square * (1.0 + 2.0 * y * bend * r - bend * square * r**2 * length),
    ]
    if np.any(rate):
        bent = -square * bend
        second, third = -2.0 * square * bent, square**2 * length * bent
        curves += [
            bent * p + second * x * p**2 + third * p**3,
            bent * r + second * (2.0 * x * p * r + y * p**2) + 3.0 * third * p**2 * r,
            bent * p + second * (2.0 * y * p * r + x * r**2) + 3.0 * third * p * r**2,
            bent * r + second * y * r**2 + third * r**3,
        ]
    pieces = (np.sqrt(square), square * length, bend, rate, slopes, np.stack(curves, axis=1))
    return Oblique(*(torch.as_tensor(piece) for piece in pieces))
