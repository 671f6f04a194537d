"""A small picture that the tests of the page share."""

import numpy as np

import lacbed

SMALL = {"name": "Si", "detail": 32, "extent": 2, "thickness_max": 600, "thickness_step": 100, "thickness": 300}


def magnesia():
    """Eight measured reflections of MgO along [110], 450 Å thick, with noise."""
    hkl = [(0, 0, 0), (0, 0, 2), (0, 0, -2), (1, -1, 1), (-1, 1, 1), (1, -1, -1), (2, -2, 0), (-2, 2, 0)]
    grid = lacbed.TiltGrid(28, k_max=0.75)
    crystal, absorption = lacbed.Crystal.named("MgO"), ("proportional", 4.0)
    pattern = lacbed.simulate(
        crystal, (1, 1, 0), 200e3, (450.0,), grid, hkl, x_direction=(0, 0, 1), absorption=absorption, beams=60
    )
    pattern.values[:] = np.random.default_rng(0).poisson(1000 * pattern.values + 5)
    pattern.attrs["kind"] = "measured"
    return pattern
