"""Slices of a crystal whose atoms are displaced at random (frozen phonons, Einstein model)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from lacbed.constants import H2_OVER_2M
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import Frame
from lacbed.scattering import elastic_factor, species_name

if TYPE_CHECKING:
    from lacbed.multislice.cell import Supercell

PHONON_EDGE = 12.0
"""Å; the cell is repeated sideways until both edges are as long, so that neighbours move independently."""


def phonon_cell(cell: Supercell) -> Supercell:
    """The cell, repeated sideways."""
    a, b = (float(e * np.ceil(PHONON_EDGE / e - 1e-6)) for e in cell.edges)
    return replace(cell, edges=(a, b))


def displaced_slices(
    crystal: Crystal,
    frame: Frame,
    cell: Supercell,
    shape: tuple[int, int],
    factors: str,
    bounds: FloatArray,
    seed: int,
) -> list[tuple[FloatArray, float]]:
    """Potential in V Å and thickness of every slice of a crystal with displaced atoms.

    Each atom's whole potential lies in the slice that holds its displaced position,

        v(q) = h² / (2π m_e A) Σ_atoms o f_e(|q|/2) exp(-2πi q·r),   A the area of the cell,

    so that all Laue zones take part. The mean potential is left out, which only refracts.

    Args:
        crystal: the crystal.
        frame: its orientation.
        cell: the cell, from `phonon_cell`.
        shape: its pixels.
        factors: scattering-factor table.
        bounds: depths where slices meet in Å, ascending from 0: (slice + 1,).
        seed: of the displacements.
    """
    species, weight, position = _displaced_atoms(crystal, frame, cell, float(bounds[-1]), seed, factors == "ionic")
    layer = np.clip(np.searchsorted(bounds, position[:, 2], side="right") - 1, 0, len(bounds) - 2)
    frequencies = [np.fft.fftfreq(n, edge / n) for n, edge in zip(shape, cell.edges, strict=True)]
    s = torch.as_tensor(0.5 * np.hypot(frequencies[0][:, None], frequencies[1][None, :]))
    scale = H2_OVER_2M / (np.pi * cell.edges[0] * cell.edges[1])
    form = {e: scale * elastic_factor(e, s.ravel(), factors).numpy().reshape(shape) for e in set(species)}
    slices = []
    for number, thickness in enumerate(np.diff(bounds)):
        inside = layer == number
        spectrum = np.zeros(shape, dtype=complex)
        for element in np.unique(species[inside]):
            chosen = inside & (species == element)
            a, b = (np.exp(-2j * np.pi * f[:, None] * position[chosen, i]) for i, f in enumerate(frequencies))
            spectrum += form[element] * ((a * weight[chosen]) @ b.T)
        spectrum[0, 0] = 0.0
        slices.append((np.fft.ifft2(spectrum).real * spectrum.size, float(thickness)))
    return slices


def _displaced_atoms(
    crystal: Crystal, frame: Frame, cell: Supercell, depth: float, seed: int, ionic: bool
) -> tuple[np.ndarray, FloatArray, FloatArray]:
    """Species, occupancies and displaced positions along (A, B, z) in Å of all atoms of the foil."""
    box = np.array([*cell.edges, depth])
    turn = np.eye(3)
    turn[:2, :2] = cell.axes
    basis = turn @ frame.rotation @ crystal.direct
    corners = np.stack(np.meshgrid(*([0.0, e] for e in box), indexing="ij"), axis=-1).reshape(-1, 3)
    range_ = np.linalg.solve(basis, corners.T)
    low, high = np.floor(range_.min(axis=1)).astype(int) - 1, np.ceil(range_.max(axis=1)).astype(int) + 1
    steps = [np.arange(i, j + 1) for i, j in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    random = np.random.default_rng(seed)
    species, weight, position = [], [], []
    atoms = crystal.atoms
    for number, xyz, occupancy, beta in zip(atoms.site, atoms.xyz, atoms.occupancy, atoms.beta, strict=True):
        places = (cells + xyz) @ basis.T
        places = places[np.all((places > -1e-6) & (places < box - 1e-6), axis=1)]
        # exp(-hᵀβh) = exp(-2π² ⟨(h·u)²⟩), so β / 2π² is the covariance of the fractional displacements u.
        values, vectors = np.linalg.eigh(beta / (2.0 * np.pi**2))
        root = basis @ (vectors * np.sqrt(np.maximum(values, 0.0)))
        position.append(places + random.standard_normal(places.shape) @ root.T)
        site = crystal.sites[number]
        species += [species_name(site.element, site.charge if ionic else 0)] * len(places)
        weight.append(np.full(len(places), occupancy))
    return np.array(species), np.concatenate(weight), np.concatenate(position)
