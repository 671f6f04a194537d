"""Propagation of one tilted plane wave through the slices of a foil.

    ψ ← P [ exp(iσ v_slice · k / K_n) ψ ],   P(q) = exp(2πi d [sqrt(K² - |K_t + q|²) - K_n])

with K the wave vector of the refracted wave, K_t and K_n its parts normal to and along the foil normal, d the
thickness of a slice, and k / K_n the longer way that a tilted wave takes through it (Cowley & Moodie, Acta Cryst.
10 (1957) 609; Kirkland, Advanced Computing in Electron Microscopy, chapter 6).

In one Laue zone P stops at first order in K² - |K_t + q|², as Bloch waves without back-scattering do. The higher
orders change intensities by about 1e-4, as much as the mixed terms of potential and propagation that slices lack,
so that they would not bring the result nearer to the full wave equation. Higher Laue zones need them: they set
where their lines lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lacbed.constants import interaction_constant
from lacbed.crystals.cell import FloatArray
from lacbed.multislice.cell import Supercell


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of a foil.

    Attributes:
        table: different slices: elastic potential in V Å, absorptive one or None, thickness in Å.
        order: the slices from the entrance to the exit surface, as positions in the table.
        exits: after how many slices each thickness is reached: (thickness,).
    """

    table: list[tuple[FloatArray, FloatArray | None, float]]
    order: list[int]
    exits: list[int]


@dataclass(frozen=True, eq=False)
class Optics:
    """What all tilts have in common.

    Attributes:
        cell: the rectangular cell.
        shape: its pixels.
        energy: of the electrons in eV.
        wave_number: k in vacuum in 1/Å.
        linear: whether the propagator stops at first order.
        dtype: complex type of the waves.
    """

    cell: Supercell
    shape: tuple[int, int]
    energy: float
    wave_number: float
    linear: bool
    dtype: np.dtype[Any]

    @property
    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Spatial frequencies along A and B in 1/Å."""
        (m, n), (a, b) = self.shape, self.cell.edges
        return np.fft.fftfreq(m, a / m)[:, None], np.fft.fftfreq(n, b / n)[None, :]


def propagate(
    optics: Optics, stack: Stack, wave_vector: FloatArray, place: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Fourier coefficients of the wave of one tilt at the exit planes: (thickness, place).

    Slices are centred: half of the first propagation and of the last only change phases of plane waves, the
    latter being put in here.
    """
    from abtem.antialias import antialias_aperture  # an optional extra
    from abtem.core.fft import fft2_convolve
    from abtem.potentials.iam import PotentialArray

    (m, n), (a, b) = optics.shape, optics.cell.edges
    sampling = (a / m, b / n)
    aperture = antialias_aperture(optics.shape, sampling, np)
    path = optics.wave_number / wave_vector[2]
    phase = _advance(optics, wave_vector)
    kernels = {d: (aperture * np.exp(2j * np.pi * d * phase)).astype(optics.dtype) for _, _, d in stack.table}
    transmissions = []
    for elastic, absorptive, thickness in stack.table:
        slices = PotentialArray(path * elastic[None], slice_thickness=thickness, sampling=sampling)
        function = slices.transmission_function(optics.energy).array[0]
        if absorptive is not None:
            function = function * np.exp(-interaction_constant(optics.energy) * path * absorptive)
        transmissions.append(fft2_convolve(function.astype(optics.dtype), aperture.astype(optics.dtype)))
    wave = np.ones(optics.shape, dtype=optics.dtype)
    spectra = {}
    for number, slice_ in enumerate(stack.order, start=1):
        thickness = stack.table[slice_][2]
        wave = fft2_convolve(wave * transmissions[slice_], kernels[thickness], overwrite_x=True)
        if number in stack.exits:
            half = np.exp(-1j * np.pi * thickness * phase[place])
            spectra[number] = np.fft.fft2(wave)[place] / wave.size * half
    return np.stack([spectra[n] for n in stack.exits])


def _advance(optics: Optics, wave_vector: FloatArray) -> FloatArray:
    """Change of the wave vector along the normal of the waves K_t + q against q = 0, in 1/Å: (A, B)."""
    qa, qb = optics.grid
    ka, kb = optics.cell.axes @ wave_vector[:2]
    excitation = -((2.0 * ka + qa) * qa + (2.0 * kb + qb) * qb)
    normal = float(wave_vector[2])
    if optics.linear:
        return np.asarray(excitation / (2.0 * normal))
    return np.asarray(np.sqrt(np.maximum(normal**2 + excitation, 0.0)) - normal)
