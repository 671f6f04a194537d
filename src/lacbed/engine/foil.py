"""How the foil stands to the zone: which tilts share a matrix, and what a matrix has to do with a tilt.

With P_h = K + h - G the waves of a tilt K = k + (K_n - k_n) n, and N_h = n·P_h, the flux-normalised waves obey

    2γ C = N^(-1/2) (K² - |P|² + U + iU') N^(-1/2) C.

K is moved along the foil normal n until it has the component K_t along the zone axis, K_t² = k² + U_0 being the
same for all tilts: K = (k', K_t) + s n. Then P_h = P̄_h + s n, P̄_h = (q + h, K_t + h_z), where k' = q + G, and

    2γ = N^(-1/2) N̄^(1/2) 2γ̄ N̄^(1/2) N^(-1/2) - 2s + s² / N,   2γ̄ = N̄^(-1/2) (K_t² - |P̄|² + U + iU') N̄^(-1/2).

γ̄ depends on q alone, so that tilts which a lattice vector takes into each other share their matrix in any foil, as
they do exactly where γ² is kept. N = N̄ + s, and N̄ / N, a scalar but for 1e-6, is taken for h = G; `slanted` in
`lacbed.engine.model` says what else it does. With
N_0 = n_z K_t + n·q the matrix is written as A = 2 N_0 γ̄, so that

    2γ = (A + |k'|² f) / (K_n f),   f = N_0 / N̄_G,   N̄_G = n_z K_t + n·k',   K_n² = N̄_G² - |k'|².

In a flat foil f = 1, k' = k, and with one Laue zone A = U + iU' - |q + h|².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacbed.crystals.cell import FloatArray

_STEEPEST = 0.5
"""Largest change of n·P / n·K by a beam of the list."""


@dataclass(frozen=True, eq=False)
class Foil:
    """A foil and the length of the waves in it.

    Attributes:
        normal: unit normal: (3,).
        outside: k of the electrons in vacuum in 1/Å.
        inside: K_t in 1/Å.
    """

    normal: FloatArray
    outside: float
    inside: float

    @property
    def slope(self) -> FloatArray:
        """n_x / n_z and n_y / n_z: (2,)."""
        return np.asarray(self.normal[:2] / self.normal[2])

    @property
    def is_flat(self) -> bool:
        """Whether the normal is the zone axis."""
        return not np.any(self.normal[:2])

    def moved(self, tilts: FloatArray) -> FloatArray:
        """The k' of tilts k in vacuum, both in 1/Å: (tilt, 2). Refraction is along n, and so takes no part."""
        if self.is_flat:
            return tilts
        up = np.sqrt(self.outside**2 - (tilts**2).sum(axis=1)) - self.inside
        return np.asarray(tilts - up[:, None] * self.slope)

    def across(self, q: FloatArray) -> FloatArray:
        """N̄ of a wave (q, K_t) in 1/Å: (n, 2) to (n,)."""
        return np.asarray(self.normal[2] * self.inside + q @ self.normal[:2])

    def along(self, tilts: FloatArray) -> FloatArray:
        """K_n of tilts k' in 1/Å: (tilt,)."""
        return np.asarray(np.sqrt(self.across(tilts) ** 2 - (tilts**2).sum(axis=1)))

    def kinetic(self, tilts: FloatArray, vectors: FloatArray) -> FloatArray:
        """What a beam g has more than the incident one in place of |k + g|² - |k|², in 1/Å².

        That is (|P_g|² - K²) n·K / n·P_g.

        Args:
            tilts: k' in 1/Å: (tilt, 2).
            vectors: g in 1/Å: (reflection, 3).

        Returns:
            (tilt, reflection).
        """
        along = self.along(tilts)
        wave = np.concatenate([tilts, np.full((len(tilts), 1), self.inside)], axis=1)
        wave += (along - self.across(tilts))[:, None] * self.normal
        rise = 2.0 * wave @ vectors.T + (vectors**2).sum(axis=1)
        return np.asarray(rise / (1.0 + (vectors @ self.normal) / along[:, None]))

    def steepness(self, length: float) -> float:
        """By what part beams up to a length in 1/Å change n·P at most."""
        return float(np.linalg.norm(self.slope)) * length / self.inside

    def holds(self, furthest: float) -> bool:
        """Whether beams up to a length in 1/Å all leave the foil at the other side, and well so."""
        return self.steepness(furthest) <= _STEEPEST
