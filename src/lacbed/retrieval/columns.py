"""Intensities of a handful of columns of atoms, and their slopes: the forward model of a search.

    U_g = Σ_k A_k s(|g|) exp(-B_k |g|²/4) exp(-2πi g·r_k),   ψ = exp(iτ (H + iαU)) e_G,   τ = π t / K

with s the shape of the scattering factor of iron at B = 0.6 Å², 1 at g = 0, and H = U - diag |q + h|². Absorption
damps every Bloch wave to first order, by exp(-τ α ⟨j|U|j⟩). Far beams f are folded in (Löwdin, J. Chem. Phys. 19
(1951) 1396): U_gh grows by Σ_f U_gf U_fh / (|q + f|² - ⟨|k|²⟩), the mean being that of the incident beams.

Images are blurred, by smoothing and by the camera, about as much as the fringes of a thick foil are wide.
Intensities are averaged over a few tilts δ around each q, at which H changes by -2 δ·(q + h), and by -δ², a phase
that all beams share: a small matrix in the waves of q, diagonalised for each δ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.retrieval.points import Points
from lacbed.scattering import elastic_factor

MARGIN = 0.6
"""Transverse energy in 1/Å² beyond that of the outermost tilt up to which Bloch waves count."""

ALPHA = 0.04
"""α at the start, and about where it is expected."""

BLUR = 0.4
"""Variance of the blur by the camera in pixels² at the start, and about where it is expected."""

SHAPE_B = 0.6
"""B in Å² of the shape that all columns share."""


RINGS = ((0.0, 0.25, 1), (1.633, 0.75, 6))
"""Tilts that stand for a Gaussian of standard deviation 1: radius, weight and number of each ring. Its moments are
right up to the third; fringes of two standard deviations and more are damped right to 0.15 of their contrast."""

LEAST_APART = 0.5
"""1/Å² by which a far beam is taken to be off at least, so that one that is nearly excited is not overrated."""


@dataclass(frozen=True, eq=False)
class Columns:
    """A structure in projection, with thickness and absorption.

    Attributes:
        places: fractions of the edges of the projected cell, dual to the basis of the zone: (k, 2).
        strength: A in 1/Å²: (k,).
        width: B in Å² beyond that of the shape: (k,).
        thickness: t in Å.
        alpha: α.
        blur: variance of the blur by the camera in pixels².
    """

    places: FloatArray
    strength: FloatArray
    width: FloatArray
    thickness: float
    alpha: float = ALPHA
    blur: float = BLUR

    def __len__(self) -> int:
        """Number of columns."""
        return len(self.strength)

    def vector(self) -> FloatArray:
        """All x, all y, all ln A, all B, ln t, α, blur: (4k + 3,)."""
        parts = [self.places[:, 0], self.places[:, 1], np.log(self.strength), self.width]
        return np.concatenate([*parts, [math.log(self.thickness), self.alpha, self.blur]])

    def without(self, number: int) -> Columns:
        """All but one of them."""
        rest = np.arange(len(self)) != number
        return replace(self, places=self.places[rest], strength=self.strength[rest], width=self.width[rest])


def columns_of(vector: FloatArray) -> Columns:
    """The columns of a vector of parameters."""
    x, y, a, b = vector[:-3].reshape(4, -1)
    thickness, alpha, blur = math.exp(vector[-3]), float(vector[-2]), float(vector[-1])
    return Columns(np.stack([x, y], axis=1), np.exp(a), b, thickness, alpha, blur)


def form_factor(g: FloatArray) -> FloatArray:
    """The shape of all columns at |g| in 1/Å, 1 at g = 0."""
    s = torch.as_tensor(0.5 * np.append(0.0, g))
    f = (elastic_factor("Fe", s) * torch.exp(-SHAPE_B * s * s)).numpy()
    return np.asarray(f[1:] / f[0])


def potential_of(columns: Columns, orders: np.ndarray, basis: FloatArray) -> np.ndarray:
    """U_g in 1/Å² of every column at orders (m, n) on the basis of the zone: (k, g) complex."""
    square = np.square(orders @ basis.T).sum(axis=1)
    return _terms(columns, orders, square, form_factor(np.sqrt(square)))


def _terms(columns: Columns, orders: np.ndarray, square: FloatArray, shape: FloatArray) -> np.ndarray:
    """As `potential_of`, of known |g|² and form factors."""
    phase = np.exp(-2j * math.pi * (columns.places @ orders.T))
    damped = np.exp(-0.25 * columns.width[:, None] * square)
    return np.asarray(columns.strength[:, None] * shape * damped * phase)


def blur_tilts(turn: float) -> tuple[Tensor, Tensor]:
    """Tilts of `RINGS`, turned by an angle, and their weights: (n, 2), (n,)."""
    places, weights = [], []
    for radius, weight, count in RINGS:
        angle = turn + 2.0 * math.pi * np.arange(count) / count
        places.append(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))
        weights += [weight / count] * count
    return torch.as_tensor(np.concatenate(places)), torch.as_tensor(weights, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class _Matrix:
    """What belongs to one q: its points, incident and seen beams, and the place of every point among these.

    `waves` are q + h of the beams in 1/Å, (n, 2), `kinetic` their squares, (n,), `far` the weights
    1 / (|q + f|² - ⟨|k|²⟩) of far beams, (f,), and `angle` that by which the tilts of the blur are turned.
    """

    points: np.ndarray
    incoming: Tensor
    seen: Tensor
    place: Tensor
    waves: Tensor
    kinetic: Tensor
    far: Tensor
    lowest: float
    angle: float

    def through(self, V: Tensor) -> Tensor:
        """What every wave takes from the incident to the leaving beam of a point: (m, point)."""
        C, R = V[self.incoming].conj(), V[self.seen]
        count = len(C)
        return (R[self.place // count] * C[self.place % count]).mT

    def moved(self, V: Tensor, inner: Tensor) -> Tensor:
        """Amplitudes of the points from matrices between waves, (s, m, m): (s, point)."""
        C, R = V[self.incoming].mH, V[self.seen]
        s, m, _ = inner.shape
        right = (inner.reshape(s * m, m) @ C).reshape(s, m, -1).transpose(0, 1).reshape(m, -1)
        return (R @ right).reshape(len(R), s, -1).transpose(0, 1).flatten(1)[:, self.place]


@dataclass(frozen=True, eq=False)
class _Waves:
    """Bloch waves of a q that count.

    `near` and `far` are what they have in beams, (n, m) and (f, m), `energy` is (m,), `momentum` ⟨i|q + h|j⟩,
    (2, m, m), and `potential` ⟨i|U|j⟩ with what is folded in, (m, m).
    """

    near: Tensor
    far: Tensor
    energy: Tensor
    momentum: Tensor
    potential: Tensor


@dataclass(frozen=True, eq=False)
class _Tilted:
    """Waves at a tilt beside a q.

    `place` (in standard deviations of the blur) and `weight` are its own, `rotation` the waves in those of the q,
    (m, m), `energy` and `damping`, ⟨j|U|j⟩, theirs, (m,).
    """

    place: Tensor
    weight: float
    rotation: Tensor
    energy: Tensor
    damping: Tensor


class ColumnModel:
    """The forward model at the points of a stack.

    Args:
        points: where.
        single: whether to compute in single precision, twice as fast.
    """

    def __init__(self, points: Points, single: bool = True) -> None:
        self.points = points
        self.complex, self.real = (torch.complex64, torch.float32) if single else (torch.complex128, torch.float64)
        every = np.concatenate([points.beams, points.far])
        flat = (points.beams[:, None] - every[None]).reshape(-1, 2)
        reach = int(np.abs(flat).max(initial=0))
        unique, lookup = np.unique((flat + reach) @ [2 * reach + 1, 1], return_inverse=True)
        self.lookup = torch.as_tensor(lookup.reshape(-1))
        self.orders = np.stack([unique // (2 * reach + 1) - reach, unique % (2 * reach + 1) - reach], axis=1)
        self.square = np.square(self.orders @ points.basis.T).sum(axis=1)
        self.shape = form_factor(np.sqrt(self.square))
        self.steps = torch.as_tensor(-2j * math.pi * every.T).to(self.complex)  # (2, n + f)
        self.matrices = [self._matrix(m, q + every @ points.basis.T) for m, q in enumerate(points.reduced)]

    def _matrix(self, number: int, every: FloatArray) -> _Matrix:
        count = len(self.points.beams)
        mine = np.flatnonzero(self.points.pairs[0] == number)
        incoming, at = np.unique(self.points.pairs[1, mine], return_inverse=True)
        seen, row = np.unique(self.points.pairs[2, mine], return_inverse=True)
        kinetic = np.square(every).sum(axis=1)
        incident = kinetic[:count][incoming]
        level = float(incident.mean()) if len(incident) else 0.0
        return _Matrix(
            mine,
            torch.as_tensor(incoming),
            torch.as_tensor(seen),
            torch.as_tensor(row * len(incoming) + at),
            torch.as_tensor(every[:count]).to(self.real),
            torch.as_tensor(kinetic[:count]).to(self.real),
            torch.as_tensor(1.0 / np.maximum(kinetic[count:] - level, LEAST_APART)).to(self.real),
            -float(incident.max(initial=0.0)) - MARGIN,
            0.7 * number,
        )

    def _parts(self, columns: Columns) -> np.ndarray:
        """The part of every column in U_g of every difference of two beams: (k, d)."""
        return _terms(columns, self.orders, self.square, self.shape)

    def _couplings(self, coefficients: np.ndarray) -> Tensor:
        """(..., d) to matrices of beams and all beams, far ones last: (..., n, n + f)."""
        values = torch.as_tensor(coefficients).to(self.complex)
        return values.index_select(-1, self.lookup).reshape(*values.shape[:-1], len(self.points.beams), -1)

    def _waves(self, matrix: _Matrix, U: Tensor) -> _Waves:
        """Bloch waves of a potential."""
        near, aside = U[:, : len(U)], U[:, len(U) :]
        folded = aside * matrix.far
        potential = near + folded @ aside.mH
        energy, V = torch.linalg.eigh(potential - torch.diag(matrix.kinetic).to(U.dtype))
        first = int(torch.searchsorted(energy, matrix.lowest))
        V = V[:, first:].contiguous()
        momentum = V.mH @ (matrix.waves.mT[:, :, None] * V)
        return _Waves(V, folded.mH @ V, energy[first:], momentum, V.mH @ potential @ V)

    def _sigma(self, columns: Columns) -> float:
        """Standard deviation of all blur in 1/Å."""
        pixel = self.points.pixel
        return max(math.hypot(self.points.smoothed, math.sqrt(max(columns.blur, 0.0)) * pixel), 0.05 * pixel)

    def _tilted(self, matrix: _Matrix, waves: _Waves, sigma: float) -> list[_Tilted]:
        """Waves at the tilts that stand for the blur."""
        places, weights = blur_tilts(matrix.angle)
        steps = (-2.0 * sigma * places).to(waves.momentum.dtype)
        energy, rotation = torch.linalg.eigh(torch.diag(waves.energy) + torch.tensordot(steps, waves.momentum, 1))
        damping = (rotation.conj() * (waves.potential @ rotation)).real.sum(dim=1)
        every = zip(places, weights.tolist(), rotation, energy.double(), damping.double(), strict=True)
        return [_Tilted(*parts) for parts in every]

    def series(self, columns: Columns, thicknesses: FloatArray) -> FloatArray:
        """|ψ|² at all points for many thicknesses, from one diagonalisation of each matrix: (t, point)."""
        U, sigma = self._couplings(self._parts(columns).sum(axis=0)), self._sigma(columns)
        phase = 1j * torch.as_tensor(math.pi * thicknesses / self.points.wave_number)[:, None]
        found = torch.zeros((len(thicknesses), len(self.points)), dtype=self.real)
        for matrix in self.matrices:
            waves = self._waves(matrix, U)
            sums = torch.zeros((len(thicknesses), len(matrix.points)), dtype=self.real)
            for at in self._tilted(matrix, waves, sigma):
                energy = torch.complex(at.energy, columns.alpha * at.damping)
                psi = torch.exp(phase * energy).to(U.dtype) @ matrix.through(waves.near @ at.rotation)
                sums += at.weight * (psi.real.square() + psi.imag.square())
            found[:, torch.as_tensor(matrix.points)] = sums
        return found.numpy()

    def intensities(self, columns: Columns) -> FloatArray:
        """|ψ|² at all points: (point,)."""
        return np.asarray(self.series(columns, np.array([columns.thickness]))[0], dtype=np.float64)

    def with_slopes(self, columns: Columns) -> tuple[FloatArray, FloatArray]:
        """|ψ|² at all points, and derivatives by `Columns.vector`: (point,), (4k + 3, point)."""
        parts, sigma = self._parts(columns), self._sigma(columns)
        U, W = self._couplings(parts.sum(axis=0)), self._couplings(parts)
        broad = self._couplings(parts * (-0.25 * self.square))
        tau, alpha = math.pi * columns.thickness / self.points.wave_number, columns.alpha
        by_blur = -(self.points.pixel**2) / sigma  # of energies, times momentum along a tilt of the blur
        value, change = np.zeros(len(self.points)), np.zeros((4 * len(columns) + 3, len(self.points)))
        for matrix in self.matrices:
            waves = self._waves(matrix, U)
            by_structure = self._changes(waves, W, broad)
            for at in self._tilted(matrix, waves, sigma):
                mu = torch.complex(at.energy, alpha * at.damping)
                E = torch.exp(1j * tau * mu)
                whole = torch.stack([E, 1j * tau * mu * E, -tau * at.damping * E]).to(U.dtype)
                by_tilt = torch.tensordot((by_blur * at.place).to(U.dtype), waves.momentum, 1)
                changes = at.rotation.mH @ torch.cat([by_structure, by_tilt[None]]) @ at.rotation
                potential = at.rotation.mH @ waves.potential @ at.rotation
                near = waves.near @ at.rotation
                chosen = whole @ matrix.through(near)
                moved = matrix.moved(near, _response(changes, potential, mu, tau, alpha))
                slopes = torch.cat([moved[:-1], chosen[1:], moved[-1:]])
                value[matrix.points] += at.weight * (chosen[0].real.square() + chosen[0].imag.square()).numpy()
                change[:, matrix.points] += (2.0 * at.weight) * (chosen[0].conj() * slopes).real.numpy()
        return value, change

    def _changes(self, waves: _Waves, W: Tensor, broad: Tensor) -> Tensor:
        """What x, y, ln A and B of every column change between waves, by U and far beams: (4k, m, m)."""
        every = torch.cat([waves.near, waves.far])
        m, count = every.shape[1], len(W)
        sides = torch.cat([every.mH, *((every * step.conj()[:, None]).mH for step in self.steps)])
        inner, x, y = (sides @ _beside(W, every)).reshape(3, m, count, m).transpose(1, 2)  # (k, m, m) each
        wide = (every.mH @ _beside(broad, every)).reshape(m, count, m).transpose(0, 1)
        # dU = -2πi [h, U_k] for a shift: its second half is the adjoint of the first.
        return torch.cat([x + x.mH, y + y.mH, inner, wide])


def _beside(matrices: Tensor, V: Tensor) -> Tensor:
    """Products with V side by side: (k, n, n + f), (n + f, m) to (n + f, k m).

    Far beams, which come last, do not couple with each other.
    """
    k, n, every = matrices.shape
    near = (matrices.reshape(k * n, every) @ V).reshape(k, n, -1).transpose(0, 1).reshape(n, -1)
    if every == n:
        return near
    far = (matrices[:, :, n:].mH @ V[:n]).transpose(0, 1).reshape(every - n, -1)
    return torch.cat([near, far])


def _response(changes: Tensor, potential: Tensor, mu: Tensor, tau: float, alpha: float) -> Tensor:
    """What changes of H do to exp(iτμ) between waves that they mix: (s, m, m).

    Off the diagonal it is dH_ij (E_i - E_j) / (ε_i - ε_j), E = exp(iτμ), ε = Re μ, and iτ E where energies meet;
    on it the change of ⟨j|U|j⟩ damps besides. U changes as H does but by the last, the tilt of the blur.
    """
    E, gap = torch.exp(1j * tau * mu), mu.real[:, None] - mu.real[None]
    near = gap.abs() * tau < 1e-3
    inverse = torch.where(near, 0.0, 1.0 / torch.where(near, 1.0, gap))
    mean = torch.exp(0.5j * tau * (mu[:, None] + mu[None]))
    divided = torch.where(near, 1j * tau * mean, (E[:, None] - E[None]) * inverse).to(changes.dtype)
    mixed = (potential.mT * inverse.to(changes.dtype)) * changes
    damped = torch.diagonal(changes, dim1=1, dim2=2).real.clone()
    damped[-1] = 0.0
    damped -= 2.0 * mixed.real.sum(dim=1)
    return divided * changes + torch.diag_embed((-tau * alpha * E).to(changes.dtype) * damped)
