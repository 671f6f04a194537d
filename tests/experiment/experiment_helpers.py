"""Small experiments made from exact simulations, with a geometry that is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import lacbed
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import Experiment, pattern_to_images

GAAS = lacbed.Crystal.named("GaAs")
HKL = ((0, 0, 0), (0, 0, 2), (0, 0, -2), (1, 1, 1), (1, 1, -1), (2, 2, 0), (-1, -1, 1), (1, 1, 3))
ZONE, X = (-1, 1, 0), (1.0, 1.0, 0.0)
HALF_WIDTH, PIXELS = 0.34, 22
THICKNESS, BEAMS = 460.0, 80


def exact_stack(
    half_width: float = HALF_WIDTH, center: tuple[float, float] = (0.0, 0.0), finer: int = 2, **options: Any
) -> Any:
    """Exact intensities averaged over each pixel, from a simulation so many times finer: (reflection, ky, kx)."""
    settings: dict[str, Any] = {"x_direction": X, "beams": BEAMS, "absorption": "thomas"} | options
    grid = lacbed.TiltGrid(PIXELS * finer, k_max=half_width, center=center)
    found = lacbed.simulate(GAAS, ZONE, 200e3, (THICKNESS,), grid, HKL, **settings).values[0]
    return found.reshape(len(HKL), PIXELS, finer, PIXELS, finer).mean(axis=(2, 4))


def experiment_of(
    stack: np.ndarray,
    orientation: str = "-x+y",
    half_width: float = HALF_WIDTH,
    counts: float = 0.0,
    crystal: lacbed.Crystal | None = GAAS,
) -> Experiment:
    """A stack (reflection, ky, kx) as an experiment, with Poisson noise if there are counts."""
    images = pattern_to_images(np.asarray(stack, dtype=float), orientation)
    if counts:
        images = np.random.default_rng(3).poisson(counts * images).astype(float) + 7.0
    geometry = Geometry(200e3, ZONE, X, half_width, orientation)
    return make_experiment(images, HKL, geometry, crystal=crystal, name="GaAs test")


def write_folder(folder: Path, images: np.ndarray, hkl: Any = HKL, **geometry: Any) -> Path:
    """A folder with images.npz and experiment.json, geometry overridden where given."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / "images.npz", images=images, hkl=np.array(hkl))
    stated = {
        "accelerating_voltage_kV": 200,
        "zone_axis_uvw_direct": list(ZONE),
        "x_direction_hkl_reciprocal": [1, 1, 0],
        "half_width_inv_A": HALF_WIDTH,
    } | geometry
    (folder / "experiment.json").write_text(json.dumps({"material": "GaAs", "geometry": stated}))
    return folder
