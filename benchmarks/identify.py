"""How often does a noisy 000 pattern name its crystal among those of a generated catalogue?"""

from __future__ import annotations

import time

import numpy as np

import lacbed
from common import parser, publish, table
from lacbed.catalog.generate import generate_rows
from lacbed.catalog.rows import crystal_of
from lacbed.invert.identify import exact, identify, library
from lacbed.invert.target import Target
from lacbed.patterns import zncc_loss

PIXELS, K_MAX, ENERGY = 40, 0.5, 200e3
THICKNESSES = np.arange(200.0, 801.0, 25.0)
ABSORPTION = "thomas"


def measured(crystal: lacbed.Crystal, thickness: float, electrons: float, rng: np.random.Generator) -> Target:
    """A pattern of 000 with Poisson noise, `electrons` a pixel where all of the beam is transmitted."""
    k = (np.arange(PIXELS) - PIXELS / 2 + 0.5) * 2 * K_MAX / PIXELS
    blank = Target(np.zeros((PIXELS, PIXELS)), k, k, ENERGY, (0, 0, 1))
    image = exact(ABSORPTION)(crystal, (thickness,), blank)[0]
    return Target(rng.poisson(electrons * np.clip(image, 0, None)).astype(float), k, k, ENERGY, (0, 0, 1))


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--crystals", type=int, default=200, help="size of the catalogue")
    arguments.add_argument("--patterns", type=int, default=50, help="patterns to be identified")
    arguments.add_argument("--electrons", type=float, default=1000.0, help="electrons a pixel")
    arguments.add_argument("--keep", type=int, default=5, help="candidates simulated exactly")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    crystals = [crystal_of(row) for row in generate_rows(options.crystals, options.seed)]
    rng = np.random.default_rng(options.seed)
    chosen = rng.choice(len(crystals), min(options.patterns, len(crystals)), replace=False)
    start = time.process_time()
    truth = [(int(i), float(rng.uniform(250, 750))) for i in chosen]
    targets = [measured(crystals[i], t, options.electrons, rng) for i, t in truth]
    making = time.process_time() - start
    start = time.process_time()
    known = library(crystals, THICKNESSES.tolist(), targets[0].coarse())
    looking = time.process_time() - start
    start = time.process_time()
    ranks, first_ranks, errors = [], [], []
    for target, (index, thickness) in zip(targets, truth, strict=True):
        found = identify(
            target, crystals, THICKNESSES.tolist(), keep=options.keep, known=known, final=exact(ABSORPTION)
        )
        ranks.append(next(n for n, c in enumerate(found.candidates) if c.index == index))
        first_ranks.append(_first_rank(known[0], target.coarse().image, index))
        errors.append(abs(found.candidates[0].thickness - thickness) if ranks[-1] == 0 else np.nan)
    ranking = time.process_time() - start
    rows = [
        (
            name,
            f"{100 * np.mean(np.array(r) < 1):.0f} %",
            f"{100 * np.mean(np.array(r) < 5):.0f} %",
            f"{max(r) + 1}",
        )
        for name, r in (("first look, few beams", first_ranks), ("exact on the best", ranks))
    ]
    setting = (
        f"{len(targets)} patterns of 000, [001], {PIXELS} x {PIXELS} pixels, ±{K_MAX} 1/Å, {ENERGY / 1e3:g} kV, "
        f"absorption {ABSORPTION}, random thickness of 250 to 750 Å, Poisson noise of {options.electrons:g} "
        f"electrons a pixel, among {len(crystals)} crystals of `lacbed catalog generate` (seed {options.seed}); "
        "thicknesses tried: 200 to 800 Å. The patterns were made by the engine that ranks them, so that noise "
        "and the likeness of crystals alone are tested."
    )
    cost = (
        f"Median error of the thickness where the crystal is right: {np.nanmedian(errors):.1f} Å. CPU seconds: "
        f"{looking:.1f} for the first look ({1e3 * looking / len(crystals):.0f} ms a crystal, shared by all "
        f"patterns), {ranking / len(targets):.2f} a pattern for the ranking with exact simulations of "
        f"{options.keep} candidates; {making:.1f} to make the patterns."
    )
    publish("Identification", [setting, table(("", "top 1", "top 5", "worst rank"), rows), cost], options)


def _first_rank(stacks: np.ndarray, image: np.ndarray, index: int) -> int:
    """Place of a crystal by the least Z of the first look."""
    z = np.array([np.min(np.asarray(zncc_loss(s.astype(float), image))) for s in stacks])
    return int(np.sum(z < z[index]))


if __name__ == "__main__":
    main()
