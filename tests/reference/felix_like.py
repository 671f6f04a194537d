"""Felix's own choice of beams, pixel by pixel, so that a difference of beams is not taken for one of physics.

Felix takes, from a pool, the IMinStrongBeams reflections of smallest |s_g| at every pixel, and those with
|U_g / 2πs_g| ≥ 1/2. Higher-order Laue zones belong to the pool: weakly scattering reflections that lie close to
the Ewald sphere crowd out strong ones of the zero-order zone. Felix uses the vacuum wave number and a rounded
speed of light.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacbed import Crystal
from lacbed.geometry.folding import is_allowed
from lacbed.geometry.frame import make_frame
from lacbed.potential import structure_factors


@dataclass
class FelixLike:
    """The pool of one Felix run, with its structure matrix without diagonal."""

    hkl: np.ndarray
    vectors: np.ndarray
    potential: np.ndarray
    wave_number: float
    parameters: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, parameters: dict[str, Any], factors: str, absorption: str) -> FelixLike:
        crystal = Crystal.from_cif(folder / "crystal.cif")
        frame = make_frame(crystal)
        limit, k = parameters["RgLimit_invA"], parameters["k_vacuum_invA"]
        reach = np.arange(-int(limit * crystal.cell[0]) - 1, int(limit * crystal.cell[0]) + 2)
        hkl = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1).reshape(-1, 3)
        hkl = hkl[is_allowed(crystal, hkl) & (np.linalg.norm(frame.vectors(hkl), axis=1) <= limit)]
        vectors = frame.vectors(hkl)
        size = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        ratio = np.abs(np.linalg.norm(vectors + np.array([0, 0, k]), axis=1) - k) / size
        ratio[np.all(hkl == 0, axis=1)] = 0.0
        pool = ratio <= np.sort(ratio)[parameters["pool_reflections"] - 1] + 1e-9
        hkl, vectors = hkl[pool], vectors[pool]
        difference, index = np.unique((hkl[:, None] - hkl[None]).reshape(-1, 3), axis=0, return_inverse=True)
        scale = parameters["gamma_as_felix"] / (np.pi * crystal.volume)
        coefficients = scale * structure_factors(crystal, difference, factors).numpy()
        if absorption == "proportional":
            coefficients = coefficients * (1 + 0.1j)
        elif absorption == "einstein":
            absorptive = structure_factors(crystal, difference, factors, absorptive_energy=200e3)
            coefficients = coefficients + 1j * scale * absorptive.numpy()
        potential = coefficients[index.ravel()].reshape(len(hkl), len(hkl))
        np.fill_diagonal(potential, 0.0)  # Felix drops U'_0 too
        return cls(hkl, vectors, potential, k, parameters)

    def intensity(self, row: int, col: int) -> tuple[np.ndarray, int, int]:
        """000 at one pixel for all thicknesses; the number of beams, and of those in the zero-order zone."""
        q, k = self.parameters, self.wave_number
        kx, ky = ((i - 63.5) * q["dk_invA_per_px"] for i in (col, row))
        wave = np.array([kx, ky, np.sqrt(k * k - kx * kx - ky * ky)])
        s = -(2 * self.vectors @ wave + np.sum(self.vectors**2, axis=1)) / (2 * k)
        origin = int(np.flatnonzero(np.all(self.hkl == 0, axis=1))[0])
        strong = np.abs(s) <= np.sort(np.abs(s))[q["IMinStrongBeams"] - 1]
        strong |= np.abs(self.potential[:, origin]) >= np.pi * np.abs(s)
        chosen = np.flatnonzero(strong)
        along = wave[2] + self.vectors[chosen, 2]
        matrix = self.potential[np.ix_(chosen, chosen)] + np.diag(2 * k * s[chosen])
        values, waves = np.linalg.eig(matrix / (2 * np.sqrt(np.outer(along, along))))
        incident = (chosen == origin).astype(complex)
        weight = (incident @ waves) * np.linalg.solve(waves, incident)
        phase = np.exp(2j * np.pi * np.outer(q["thickness_A"], values))
        flat = int(np.sum(self.hkl[chosen, 2] == 0))
        return np.abs(phase @ weight) ** 2, len(chosen), flat
