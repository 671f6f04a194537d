"""abTEM: its Bloch waves, one tilt after another, in float64.

This is the loop of abTEM's own ensemble of orientations (`BlochWaves.rotate` with several angles), with the
structure factors computed once before it and with all reflections |g| <= g_max of the zone.
"""

import abtem
import numpy as np
from abtem.bloch import BlochWaves, StructureFactor
from ase import Atoms
from protocol import read_job, serve
from scipy.spatial.transform import Rotation

job = read_job()
abtem.config.set({"precision": "float64"})
atoms = Atoms(
    numbers=job["numbers"], scaled_positions=job["positions"], cell=np.diag([float(job["a"])] * 3), pbc=True
)
sigma = dict(zip((str(s) for s in job["symbols"]), (float(s) for s in job["sigmas"]), strict=True))
g_max, k = float(job["g_max"]) + 1e-6, float(job["wave_number"])
factors = StructureFactor(
    atoms, g_max=2.0 * g_max + 0.01, parametrization="kirkland", thermal_sigma=sigma, cutoff="hard"
).build(lazy=False)


def rotation(tilt):
    """The rotation that turns the incident direction into z."""
    x, y = -tilt / k
    return Rotation.from_euler("xy", [np.arcsin(y), -np.arctan2(x, np.sqrt(1 - x * x - y * y))]).as_matrix()


def waves(tilt):
    return BlochWaves(factors, float(job["energy"]), sg_max=0.15, g_max=g_max, orientation_matrix=rotation(tilt))


def pixel(tilt):
    bloch = waves(tilt)
    pattern = bloch.calculate_diffraction_patterns(job["thicknesses"].tolist(), lazy=False)
    return pattern.array[0, np.flatnonzero(np.all(bloch.hkl == 0, axis=1))[0]]


serve(
    abtem.__version__, max(len(waves(t)) for t in job["tilts"]), lambda: np.array([pixel(t) for t in job["tilts"]])
)
