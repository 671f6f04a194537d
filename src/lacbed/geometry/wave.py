"""The incident electron wave inside the crystal, for every tilt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacbed.constants import relativistic_gamma, wavelength
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError

MIN_ENERGY = 1e3
MAX_ENERGY = 1e7


@dataclass(frozen=True)
class ElectronWave:
    """The numbers that describe the incident electrons.

    Attributes:
        energy: kinetic energy in eV.
        wave_number: vacuum wave number k = 1/λ in 1/Å.
        gamma: Lorentz factor, which scales every potential coefficient U_g.
    """

    energy: float
    wave_number: float
    gamma: float


def electron_wave(energy: float) -> ElectronWave:
    """Electrons of a kinetic energy in eV.

    Raises:
        SettingError: outside 1 keV to 10 MeV; the likely cause is a voltage given in kV.
    """
    if isinstance(energy, bool) or not isinstance(energy, int | float | np.number):
        raise SettingError(f"energy must be a number in eV, got {energy!r}")
    if not np.isfinite(energy) or not MIN_ENERGY <= energy <= MAX_ENERGY:
        raise SettingError(
            f"energy must be between {MIN_ENERGY:g} and {MAX_ENERGY:g} eV, got {energy:g}; 200 kV is 200e3"
        )
    return ElectronWave(float(energy), 1.0 / wavelength(energy), relativistic_gamma(energy))


def internal_wave_vectors(tilts: FloatArray, wave: ElectronWave, normal: FloatArray, mean_u: float) -> FloatArray:
    """Wave vectors K of the refracted incident wave in the crystal: (tilt, 2) to (tilt, 3), in 1/Å.

    The vacuum wave vector is k = (kx, ky, +sqrt(k² - kx² - ky²)). At the entrance surface its part along the
    surface is kept and K² = k² + U_0, so that K = k + (K_n - k_n) n with the foil normal n and
    K_n = sqrt(K² - k² + k_n²).  (Spence & Zuo, Electron Microdiffraction, 1992, section 3.1.)

    Args:
        tilts: (kx, ky) in the microscope frame.
        wave: the electrons.
        normal: unit foil normal n, pointing along the beam.
        mean_u: U_0 in 1/Å², or 0 to leave refraction by the mean inner potential out.
    """
    kz = np.sqrt(wave.wave_number**2 - np.sum(tilts**2, axis=1))
    vacuum = np.column_stack([tilts, kz])
    along = vacuum @ normal
    inside = np.sqrt(along**2 + mean_u)
    return np.asarray(vacuum + (inside - along)[:, None] * normal)
