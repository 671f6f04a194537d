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


def gaas_frames(n=14, side=64, scale=40.0, is_vacuum=False):
    """A tilt series of GaAs along [110], n x n tilts, to and fro, camera turned by 20°; or without the sample."""
    crystal = lacbed.Crystal.named("GaAs")
    grid = lacbed.TiltGrid(n, k_max=0.42)
    if is_vacuum:
        images, g = np.ones((1, n, n)), np.zeros((1, 2))
    else:
        pattern = lacbed.simulate(
            crystal, (1, 1, 0), 200e3, (600.0,), grid, ("all", 0.75), beams=37, solver="tilted"
        )
        images, g = pattern.values[0], np.stack([pattern["gx"].values, pattern["gy"].values], axis=1)
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    places = scale * g @ np.array([[c, s], [-s, c]])
    rows, columns = np.mgrid[:side, :side]
    rng = np.random.default_rng(1)
    middle = side / 2
    frames = np.zeros((n, n, side, side), dtype=np.uint16)
    for i, j in np.ndindex(n, n):
        x, y = middle + 0.2 * (j - n / 2), middle - 1 - 0.15 * (i - n / 2)
        electrons = 3.0 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 1500) * (not is_vacuum)
        for (dx, dy), intensity in zip(places, images[:, i, j], strict=True):
            electrons += 1200 * intensity * np.clip(3.0 - np.hypot(columns - x - dx, rows - y + dy), 0, 1)
        frames[i, j] = np.clip(10 + 4.0 * rng.poisson(electrons) + rng.normal(0, 1.5, (side, side)), 0, 65535)
    frames[1::2] = frames[1::2, ::-1].copy()
    return frames
