"""Refinement with its defaults of stacks that are made like measured ones, in other crystals and zones.

The patterns come from `lacbed.simulate` within 1e-3. Then each image is spoiled as a microscope does:
blurred by 0.9 pixels, sheared and stretched by about 0.2 %, shifted by about 0.25 pixels, given a scale and a
background of its own, and counted with Poisson noise. The stated half-width is off by up to 2 %, the foil is
tilted by up to 0.01 1/Å, and the displacements that the refinement starts from are a third too small or too large.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

import lacbed
from common import measure, parser, publish, table
from lacbed.crystals.site import B_PER_U
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import Experiment
from lacbed.refinement.constraints import cartesian_displacement
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.parameters import default_parameters
from lacbed.refinement.refine import refine
from lacbed.refinement.report import summary
from lacbed.refinement.uncertainties import with_uncertainty


@dataclass(frozen=True)
class Stack:
    """What is measured: crystal, zone axis, (hkl) along x, half-width in 1/Å, thickness in Å, pixels per side."""

    crystal: str
    zone_axis: tuple[int, int, int]
    x_direction: tuple[int, int, int]
    half_width: float
    thickness: float
    pixels: int


STACKS = (
    Stack("Si", (1, 1, 0), (1, -1, 0), 0.83, 1050.0, 84),
    Stack("Si", (1, 1, 1), (1, -1, 0), 0.80, 2200.0, 76),
    Stack("Si", (0, 0, 1), (1, 0, 0), 0.70, 320.0, 76),
    Stack("C", (1, 1, 0), (1, -1, 0), 1.00, 700.0, 80),
    Stack("C", (1, 1, 0), (1, -1, 0), 1.00, 2600.0, 80),
    Stack("Al2O3", (1, 0, 0), (0, 0, 1), 0.62, 850.0, 76),
    Stack("SiO2", (1, 1, 0), (0, 0, 1), 0.60, 600.0, 76),
)
FINER = 2
"""Computed with this many times the pixels per side and averaged: thick foils have fine fringes."""

MOST_IMAGES = 40
DIMMEST = 2e-3
"""Images whose brightest pixel lies below this are not taken."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--stacks", type=int, default=len(STACKS), help="how many of them")
    options.add_argument("--seed", type=int, default=3)
    arguments = options.parse_args()
    rows = []
    for place, stack in enumerate(STACKS[: arguments.stacks]):
        rows.append(_trial(stack, np.random.default_rng((arguments.seed, place))))
        print(*rows[-1], flush=True)
    head = (
        "crystal",
        "zone",
        "images",
        "mean Z, shifted (not)",
        "thickness / Å (true)",
        "half-width error",
        "B / Å² (true)",
        "CPU s",
    )
    text = str(__doc__).partition("\n")[2].strip()
    publish("Refinement of stacks like measured ones", [text, table(head, rows)], arguments)


def _trial(stack: Stack, rng: np.random.Generator) -> tuple[str, ...]:
    truth = lacbed.Crystal.named(stack.crystal)
    half = stack.half_width * (1 + rng.uniform(-0.02, 0.02))
    experiment = _measured(stack, truth, half, rng)
    start = replace(truth, sites=tuple(_changed(site, rng) for site in truth.sites))
    options = RefinementOptions(free=default_parameters("thomas"))
    timing, result = measure(lambda: refine(experiment, start, options), 1, warm=False)
    found = summary(result, options)
    free = found["free"]
    thermal = [
        f"{name[2:]} {with_uncertainty(p['value'], p['uncertainty'])} ({_true_b(truth, name[2:]):.3f})"
        for name, p in free.items()
        if name.startswith("B:")
    ]
    thickness = with_uncertainty(free["thickness"]["value"], free["thickness"]["uncertainty"])
    return (
        stack.crystal,
        str(list(stack.zone_axis)),
        str(len(experiment.hkl)),
        f"{100 * found['mean_Z_aligned']:.2f} ({100 * found['mean_Z']:.2f}) %",
        f"{thickness} ({stack.thickness:g})",
        f"{100 * (free['half_width']['value'] / half - 1):+.2f} %",
        ", ".join(thermal),
        f"{timing.cpu:.0f}",
    )


def _true_b(crystal: lacbed.Crystal, label: str) -> float:
    """B in Å² of a site, 8π² trace U / 3 where it is anisotropic."""
    site = next(s for s in crystal.sites if s.label == label)
    if site.b_iso is not None:
        return site.b_iso
    return B_PER_U * float(np.trace(cartesian_displacement(crystal, np.array(site.u_aniso)))) / 3


def _measured(stack: Stack, truth: lacbed.Crystal, half: float, rng: np.random.Generator) -> Experiment:
    """The stack as it would be measured, with the half-width that is stated instead of the true one."""
    center = tuple(float(v) for v in rng.uniform(-0.01, 0.01, 2))
    pattern = lacbed.simulate(
        truth,
        stack.zone_axis,
        200e3,
        (stack.thickness,),
        lacbed.TiltGrid(FINER * stack.pixels, k_max=half, center=center),  # type: ignore[arg-type]
        ("all", 1.35 * half),
        x_direction=stack.x_direction,
        absorption="thomas",
        dtype="float32",
    )
    side = stack.pixels
    exact = pattern.values[0].reshape(-1, side, FINER, side, FINER).mean(axis=(2, 4))
    hkl = np.stack([pattern[name].values for name in ("h", "k", "l")], axis=1)
    length = np.linalg.norm(hkl @ np.linalg.inv(truth.direct), axis=1)
    bright = [i for i in np.argsort(length, kind="stable") if exact[i].max() > DIMMEST][:MOST_IMAGES]
    images = np.stack([_spoiled(exact[i], rng) for i in bright])
    geometry = Geometry(200e3, stack.zone_axis, stack.x_direction, stack.half_width, "-y+x")
    return make_experiment(images[:, ::-1], hkl[bright], geometry, crystal=truth, name=stack.crystal)


def _spoiled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a microscope makes of an image: (ky, kx)."""
    middle = (np.array(image.shape) - 1) / 2
    matrix = np.eye(2) + rng.normal(0, 0.002, (2, 2))
    offset = middle - matrix @ middle + rng.normal(0, 0.25, 2)
    moved = affine_transform(gaussian_filter(image, 0.9, mode="nearest"), matrix, offset, order=3, mode="nearest")
    scale = 800 / max(float(moved.max()), 0.02) * rng.uniform(0.9, 1.1)
    return rng.poisson(scale * np.clip(moved, 0, None) + rng.uniform(2, 15)).astype(float)


def _changed(site: lacbed.crystals.Site, rng: np.random.Generator) -> lacbed.crystals.Site:
    """The site with displacements a third smaller or larger."""
    factor = 1 + rng.choice([-1, 1]) / 3
    if site.u_aniso is not None:
        return replace(site, u_aniso=tuple(factor * u for u in site.u_aniso))
    assert site.u_iso is not None
    return replace(site, u_iso=factor * site.u_iso)


if __name__ == "__main__":
    main()
