"""Intensities of a handful of columns of atoms, and their slopes: the forward model of a search.

    U_g = Σ_k A_k s(|g|) exp(-B_k |g|²/4) exp(-2πi g·r_k),   ψ = exp(iτ (H + iαU)) e_G,   τ = π t / K

with s the shape of the scattering factor of iron at B = 0.6 Å², 1 at g = 0, and H = U - diag |q + h|². Absorption
damps every Bloch wave to first order, by exp(-τ α ⟨j|U|j⟩).
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

SHAPE_B = 0.6
"""B in Å² of the shape that all columns share."""


@dataclass(frozen=True, eq=False)
class Columns:
    """A structure in projection, with thickness and absorption.

    Attributes:
        places: fractions of the edges of the projected cell, dual to the basis of the zone: (k, 2).
        strength: A in 1/Å²: (k,).
        width: B in Å² beyond that of the shape: (k,).
        thickness: t in Å.
        alpha: α.
    """

    places: FloatArray
    strength: FloatArray
    width: FloatArray
    thickness: float
    alpha: float = ALPHA

    def __len__(self) -> int:
        """Number of columns."""
        return len(self.strength)

    def vector(self) -> FloatArray:
        """All x, all y, all ln A, all B, ln t, α: (4k + 2,)."""
        parts = [self.places[:, 0], self.places[:, 1], np.log(self.strength), self.width]
        return np.concatenate([*parts, [math.log(self.thickness), self.alpha]])

    def without(self, number: int) -> Columns:
        """All but one of them."""
        rest = np.arange(len(self)) != number
        return replace(self, places=self.places[rest], strength=self.strength[rest], width=self.width[rest])


def columns_of(vector: FloatArray) -> Columns:
    """The columns of a vector of parameters."""
    x, y, a, b = vector[:-2].reshape(4, -1)
    return Columns(np.stack([x, y], axis=1), np.exp(a), b, math.exp(vector[-2]), float(vector[-1]))


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


@dataclass(frozen=True, eq=False)
class _Matrix:
    """What belongs to one q: its points, incident and seen beams, and the place of every point among these."""

    points: np.ndarray
    incoming: Tensor
    seen: Tensor
    place: Tensor
    kinetic: Tensor
    lowest: float


class ColumnModel:
    """The forward model at the points of a stack.

    Args:
        points: where.
        single: whether to compute in single precision, twice as fast.
    """

    def __init__(self, points: Points, single: bool = True) -> None:
        self.points = points
        self.complex = torch.complex64 if single else torch.complex128
        beams, basis = points.beams, points.basis
        flat = (beams[:, None] - beams[None]).reshape(-1, 2)
        reach = int(np.abs(flat).max(initial=0))
        unique, lookup = np.unique((flat + reach) @ [2 * reach + 1, 1], return_inverse=True)
        self.lookup = torch.as_tensor(lookup.reshape(-1))
        self.orders = np.stack([unique // (2 * reach + 1) - reach, unique % (2 * reach + 1) - reach], axis=1)
        self.square = np.square(self.orders @ basis.T).sum(axis=1)
        self.shape = form_factor(np.sqrt(self.square))
        kinetic = np.square(points.reduced[:, None] + (beams @ basis.T)[None]).sum(axis=2)  # (matrix, n)
        self.matrices = [self._matrix(m, kinetic[m]) for m in range(len(points.reduced))]

    def _matrix(self, number: int, kinetic: FloatArray) -> _Matrix:
        mine = np.flatnonzero(self.points.pairs[0] == number)
        incoming, at = np.unique(self.points.pairs[1, mine], return_inverse=True)
        seen, row = np.unique(self.points.pairs[2, mine], return_inverse=True)
        lowest = -float(kinetic[incoming].max(initial=0.0)) - MARGIN
        place = torch.as_tensor(row * len(incoming) + at)
        energies = torch.as_tensor(kinetic).to(torch.float32 if self.complex == torch.complex64 else torch.float64)
        return _Matrix(mine, torch.as_tensor(incoming), torch.as_tensor(seen), place, energies, lowest)

    def _parts(self, columns: Columns) -> np.ndarray:
        """The part of every column in U_g of every difference of two beams: (k, d)."""
        return _terms(columns, self.orders, self.square, self.shape)

    def _couplings(self, coefficients: np.ndarray) -> Tensor:
        """(..., d) to matrices (..., n, n)."""
        n = len(self.points.beams)
        values = torch.as_tensor(coefficients).to(self.complex)
        return values.index_select(-1, self.lookup).reshape(*values.shape[:-1], n, n)

    def _waves(self, matrix: _Matrix, U: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
        """Bloch waves that count, their complex transverse energies, and ⟨j|U|j⟩: (n, m), (m,), (m,)."""
        energy, V = torch.linalg.eigh(U - torch.diag(matrix.kinetic).to(U.dtype))
        first = int(torch.searchsorted(energy, matrix.lowest))
        V = V[:, first:].contiguous()
        damping = (V.conj() * (U @ V)).real.sum(dim=0).double()
        return V, torch.complex(energy[first:].double(), alpha * damping), damping

    def series(self, columns: Columns, thicknesses: FloatArray) -> FloatArray:
        """|ψ|² at all points for many thicknesses, from one diagonalisation of each matrix: (t, point)."""
        U = self._couplings(self._parts(columns).sum(axis=0))
        tau = torch.as_tensor(math.pi * thicknesses / self.points.wave_number)
        kind = np.float32 if self.complex == torch.complex64 else np.float64
        found = np.zeros((len(thicknesses), len(self.points)), dtype=kind)
        for matrix in self.matrices:
            V, mu, _ = self._waves(matrix, U, columns.alpha)
            E = torch.exp(1j * tau[:, None] * mu).to(U.dtype)
            waves = (V[matrix.seen] * E[:, None, :]).reshape(-1, len(mu)) @ V[matrix.incoming].mH
            chosen = waves.reshape(len(tau), -1)[:, matrix.place]
            found[:, matrix.points] = (chosen.real.square() + chosen.imag.square()).numpy()
        return found

    def intensities(self, columns: Columns) -> FloatArray:
        """|ψ|² at all points: (point,)."""
        return np.asarray(self.series(columns, np.array([columns.thickness]))[0], dtype=np.float64)

    def with_slopes(self, columns: Columns) -> tuple[FloatArray, FloatArray]:
        """|ψ|² at all points, and derivatives by `Columns.vector`: (point,), (4k + 2, point)."""
        parts, count = self._parts(columns), len(columns)
        U, W = self._couplings(parts.sum(axis=0)), self._couplings(parts)
        broad = self._couplings(parts * (-0.25 * self.square))
        steps = torch.as_tensor(-2j * math.pi * self.points.beams.T).to(U.dtype)  # (2, n)
        tau, absorbing = math.pi * columns.thickness / self.points.wave_number, 1.0 + 1j * columns.alpha
        value, change = np.zeros(len(self.points)), np.zeros((4 * count + 2, len(self.points)))
        for matrix in self.matrices:
            V, mu, damping = self._waves(matrix, U, columns.alpha)
            E = torch.exp(1j * tau * mu)
            C, R = V[matrix.incoming].mH, V[matrix.seen]
            whole = torch.stack([E, 1j * tau * mu * E, -tau * damping * E]).to(U.dtype)
            chosen = ((R * whole[:, None, :]).reshape(-1, len(mu)) @ C).reshape(3, -1)[:, matrix.place]
            m = len(mu)
            sides = torch.cat([V.mH, (V * steps[0].conj()[:, None]).mH, (V * steps[1].conj()[:, None]).mH])
            inner, x, y = (sides @ _beside(W, V)).reshape(3, m, count, m).transpose(1, 2)  # (k, m, m) each
            wide = (V.mH @ _beside(broad, V)).reshape(m, count, m).transpose(0, 1)
            # dU = -2πi [h, U_k] for a shift: its second half is the adjoint of the first.
            M = _divided(mu, E, tau).to(U.dtype) * torch.cat([x + x.mH, y + y.mH, inner, wide])
            moved = R @ (M.reshape(-1, m) @ C).reshape(4 * count, m, -1).transpose(0, 1).reshape(m, -1)
            moved = moved.reshape(len(R), 4 * count, -1).transpose(0, 1).flatten(1)[:, matrix.place]
            moved = torch.cat([moved * absorbing, chosen[1:]])
            value[matrix.points] = (chosen[0].real.square() + chosen[0].imag.square()).numpy()
            change[:, matrix.points] = (2.0 * (chosen[0].conj() * moved).real).numpy()
        return value, change


def _beside(matrices: Tensor, V: Tensor) -> Tensor:
    """Products with V side by side: (k, n, n) and (n, m) to (n, k m)."""
    k, n, _ = matrices.shape
    return (matrices.reshape(k * n, n) @ V).reshape(k, n, -1).transpose(0, 1).reshape(n, -1)


def _divided(mu: Tensor, E: Tensor, tau: float) -> Tensor:
    """(e^{iτμ_i} - e^{iτμ_j}) / (μ_i - μ_j), and iτ e^{iτμ} where they are nearly equal: (m, m)."""
    gap = mu[:, None] - mu[None]
    near = gap.abs() * tau < 1e-3
    mean = torch.exp(0.5j * tau * (mu[:, None] + mu[None]))
    return torch.where(near, 1j * tau * mean, (E[:, None] - E[None]) / torch.where(near, 1.0, gap))
