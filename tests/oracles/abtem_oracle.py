"""What the tests against abTEM share: Bloch waves by abTEM's own functions on a given list of beams.

abTEM's conventions, as found in its source (1.0.11):

- The beam runs along +z, which is also the surface normal; a tilt turns the crystal. So the comparison sets our
  foil normal along the incident wave of each tilt.
- s_g and the coupling are ours, (K² - |K + g|²) and U_g; K is the vacuum wave number, so refraction is off here.
- The metric 1 + g_z / K is ours too, but its intensities |C_g|² are densities, not currents: ours are larger by
  1 + g_z / K.
- Structure factors Σ f exp(+2πi g·r), put into the matrix at h_j - h_i. That is U_{h_i - h_j}: nothing is
  inverted (releases before the repair of its issue 379 had the inverted crystal).
- Its constants differ from ours by less than 1e-8.
- Debye-Waller factors exp(-2π² σ² g²), so σ² = B / 8π².
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lacbed import Crystal
from lacbed.geometry.frame import Frame
from lacbed.setup import Setup

if TYPE_CHECKING:
    from ase import Atoms

# abTEM is imported by the process that runs its tests, and not by every one that collects them.


def ase_atoms(crystal: Crystal, turn: np.ndarray) -> tuple[Atoms, np.ndarray]:
    """The crystal as ASE atoms with the cell turned by `turn`, and its root mean square displacements in Å."""
    from ase import Atoms

    cell = (turn @ crystal.direct).T
    atoms = Atoms(crystal.atoms.elements, positions=crystal.atoms.xyz @ cell, cell=cell, pbc=True)
    return atoms, np.sqrt(crystal.atoms.b_iso / (8.0 * np.pi**2))


def turn_to_z(direction: np.ndarray) -> np.ndarray:
    """A rotation that takes a direction to +z."""
    z = direction / np.linalg.norm(direction)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def vacuum_wave(setup: Setup, tilt: int) -> np.ndarray:
    """Vacuum wave vector of a tilt in the microscope frame."""
    k = setup.reduction.tilts[tilt]
    return np.array([*k, np.sqrt(setup.wave.wave_number**2 - k @ k)])


def foil_along_wave(crystal: Crystal, frame: Frame, k: np.ndarray) -> tuple[float, float, float]:
    """The [uvw], not integers, that lies along a wave vector of the microscope frame."""
    u, v, w = np.linalg.solve(frame.rotation @ crystal.direct, k / np.linalg.norm(k))
    return float(u), float(v), float(w)


def _matrix(
    crystal: Crystal, frame: Frame, k: np.ndarray, hkl: np.ndarray, energy: float
) -> tuple[np.ndarray, np.ndarray]:
    """abTEM's structure matrix of a list of beams, and the turned cell."""
    import abtem
    from abtem.bloch.dynamical import calculate_structure_factors, calculate_structure_matrix
    from abtem.bloch.utils import reciprocal_space_gpts

    atoms, sigma = ase_atoms(crystal, turn_to_z(k) @ frame.rotation)
    cell = np.array(atoms.cell)
    reach = 2.01 * float(np.linalg.norm(hkl @ np.linalg.inv(cell).T, axis=1).max())
    gpts = reciprocal_space_gpts(cell, reach)
    source = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in gpts), indexing="ij"), axis=-1).reshape(-1, 3)
    with abtem.config.set({"precision": "float64"}):
        factors = calculate_structure_factors(source, atoms, "kirkland", 1e3, thermal_sigma=sigma, cutoff="hard")
        return calculate_structure_matrix(factors, source, hkl, cell, energy, gpts), cell


def abtem_bloch(setup: Setup, tilt: int, thicknesses: np.ndarray) -> np.ndarray:
    """Intensities of all beams of a tilt by abTEM, as currents: (thickness, beam)."""
    import abtem
    from abtem.bloch.dynamical import calculate_dynamical_scattering

    k = vacuum_wave(setup, tilt)
    hkl = setup.beams.hkl - setup.reduction.folding.anchor[tilt]
    matrix, cell = _matrix(setup.crystal, setup.frame, k, hkl, setup.settings.energy)
    with abtem.config.set({"precision": "float64"}):
        waves = calculate_dynamical_scattering(matrix, hkl, cell, setup.settings.energy, thicknesses)
    along = 1.0 + (hkl @ np.linalg.inv(cell).T)[:, 2] / np.linalg.norm(k)
    return np.abs(waves) ** 2 * along


def abtem_matrix_column(setup: Setup, incident: np.ndarray, thickness: float) -> np.ndarray:
    """Column of abTEM's scattering matrix at the zone axis: waves excited by beam `incident`. (beam,)."""
    import abtem
    from abtem.bloch.dynamical import calculate_scattering_matrix

    hkl = setup.beams.hkl
    k = np.array([0.0, 0.0, setup.wave.wave_number])
    matrix, cell = _matrix(setup.crystal, setup.frame, k, hkl, setup.settings.energy)
    with abtem.config.set({"precision": "float64"}):
        s = calculate_scattering_matrix(matrix, hkl, cell, thickness, setup.settings.energy)
    return np.asarray(s[:, int(setup.beams.index(incident))])


def inverted(crystal: Crystal) -> Crystal:
    """A symmorphic crystal mirrored at the origin."""
    sites = tuple(replace(s, xyz=(-s.xyz[0], -s.xyz[1], -s.xyz[2])) for s in crystal.sites)
    return replace(crystal, name=f"{crystal.name} inverted", sites=sites)
