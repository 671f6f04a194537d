"""py4DSTEM: `generate_dynamical_diffraction_pattern` with its matrix cache, the loop of its `generate_CBED`.

Its table of Lobato factors has Sr and Rb exchanged, so it is given the potential coefficients of the job. That
takes nothing from its speed: they are looked up once, before the loop.
"""

import contextlib
import io

import numpy as np
from protocol import read_job, serve

with contextlib.redirect_stdout(io.StringIO()):
    import py4DSTEM
    from py4DSTEM.process.diffraction.crystal_bloch import DynamicalMatrixCache

job = read_job()
crystal = py4DSTEM.process.diffraction.Crystal(job["positions"], job["numbers"], float(job["a"]))
with contextlib.redirect_stdout(io.StringIO()):
    crystal.setup_diffraction(float(job["energy"]))
crystal.Ug_dict = {
    tuple(int(v) for v in g): complex(u) for g, u in zip(job["u_hkl"], job["u_values"], strict=True)
}
crystal.Ug_dict[(0, 0, 0)] = 0j
g = job["beam_hkl"] / float(job["a"])
kind = [("qx", "f8"), ("qy", "f8"), ("intensity", "f8"), ("h", "i8"), ("k", "i8"), ("l", "i8")]
data = np.zeros(len(g), dtype=kind)
data["qx"], data["qy"] = g[:, 0], g[:, 1]
data["h"], data["k"], data["l"] = job["beam_hkl"].T
beams = py4DSTEM.PointList(data=data)
zero = int(np.flatnonzero(np.all(job["beam_hkl"] == 0, axis=1))[0])
k = float(job["wave_number"])


def pixels():
    cache = DynamicalMatrixCache()
    result = []
    for tilt in job["tilts"]:
        direction = np.array([*tilt, np.sqrt(k * k - tilt @ tilt)]) / k
        patterns = crystal.generate_dynamical_diffraction_pattern(
            beams,
            thickness=job["thicknesses"],
            zone_axis_cartesian=direction,
            foil_normal_lattice=np.array([0, 0, 1]),
            always_return_list=True,
            dynamical_matrix_cache=cache,
        )
        result.append(patterns[0].data["intensity"][zero])
    return np.array(result)


serve(py4DSTEM.__version__, len(beams.data), pixels)
