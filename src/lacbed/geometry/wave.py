"""The incident electron wave inside the crystal, for every tilt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lacbed.constants import ELECTRON_REST_ENERGY, PLANCK_TIMES_C, relativistic_gamma, wavelength
from lacbed.io.numbers import check_number

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
    energy = check_number("energy", energy, MIN_ENERGY, MAX_ENERGY, unit="eV", hint="; 200 kV is 200e3")
    return ElectronWave(energy, 1.0 / wavelength(energy), relativistic_gamma(energy))


def wave_number(energy: Tensor) -> Tensor:
    """Vacuum wave number 1 / λ in 1/Å of electrons of an energy in eV."""
    return torch.sqrt(energy * (energy + 2.0 * ELECTRON_REST_ENERGY)) / PLANCK_TIMES_C


def internal_wave_vectors(tilts: Tensor, wave_number: Tensor | float, normal: Tensor, mean_u: Tensor) -> Tensor:
    """Wave vectors K of the refracted incident wave in the crystal: (tilt, 2) to (tilt, 3), in 1/Å.

    The vacuum wave vector is k = (kx, ky, +sqrt(k² - kx² - ky²)). At the entrance surface its part along the
    surface is kept and K² = k² + U_0, so that K = k + (K_n - k_n) n with the foil normal n and
    K_n = sqrt(K² - k² + k_n²).  (Spence & Zuo, Electron Microdiffraction, 1992, section 3.1.)

    Args:
        tilts: (kx, ky) in the microscope frame.
        wave_number: k of the electrons in vacuum in 1/Å.
        normal: unit foil normal n, pointing along the beam: (3,).
        mean_u: U_0 in 1/Å², or 0 to leave refraction by the mean inner potential out: ().
    """
    kz = torch.sqrt(wave_number**2 - torch.square(tilts).sum(dim=1))
    vacuum = torch.cat([tilts, kz[:, None]], dim=1)
    along = vacuum @ normal
    inside = torch.sqrt(torch.square(along) + mean_u)
    return vacuum + (inside - along)[:, None] * normal
