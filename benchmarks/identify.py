"""How often does a noisy 000 pattern name its crystal among those of a generated catalogue?

The first look by the exact engine with few beams, and by the learned simulator; then the exact simulation of the
candidates that the learned simulator ranks first.
"""

from __future__ import annotations

import time

import numpy as np

import lacbed
from common import parser, publish, table
from lacbed.catalog.generate import generate_rows
from lacbed.catalog.rows import crystal_of
from lacbed.invert.identify import exact, few_beams, identify, learned, library
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
    arguments.add_argument("--model", help="learned simulator; default the packaged one")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    crystals = [crystal_of(row) for row in generate_rows(options.crystals, options.seed)]
    rng = np.random.default_rng(options.seed)
    chosen = rng.choice(len(crystals), min(options.patterns, len(crystals)), replace=False)
    start = time.process_time()
    truth = [(int(i), float(rng.uniform(250, 750))) for i in chosen]
    targets = [measured(crystals[i], t, options.electrons, rng) for i, t in truth]
    making = time.process_time() - start
    looks = {}
    for name, predictor in (("few beams", few_beams), ("learned", learned(options.model))):
        start = time.process_time()
        known = library(crystals, THICKNESSES.tolist(), targets[0].coarse(), predictor)
        looks[name] = (known, (time.process_time() - start) / len(crystals))
        print(f"{name}: {1e3 * looks[name][1]:.0f} ms a crystal, {len(known[1])} left out", flush=True)
    start = time.process_time()
    ranks, errors = [], []
    first_ranks: dict[str, list[int]] = {name: [] for name in looks}
    for target, (index, thickness) in zip(targets, truth, strict=True):
        found = identify(
            target, crystals, THICKNESSES.tolist(), keep=options.keep, known=looks["learned"][0],
            final=exact(ABSORPTION),
        )  # fmt: skip
        ranks.append(next((n for n, c in enumerate(found.candidates) if c.index == index), len(crystals)))
        for name, (known, _) in looks.items():
            first_ranks[name].append(_first_rank(known[0], target.coarse().image, index))
        errors.append(abs(found.candidates[0].thickness - thickness) if ranks[-1] == 0 else np.nan)
    ranking = time.process_time() - start
    rows = [
        (
            name,
            f"{100 * np.mean(np.array(r) < 1):.0f} %",
            f"{100 * np.mean(np.array(r) < 5):.0f} %",
            f"{max(r) + 1}",
        )
        for name, r in (
            ("first look, exact engine with few beams", first_ranks["few beams"]),
            ("first look, learned simulator", first_ranks["learned"]),
            (f"learned, then exact on the first {options.keep}", ranks),
        )
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
        f"{1e3 * looks['few beams'][1]:.0f} and {1e3 * looks['learned'][1]:.0f} ms a crystal and "
        f"{len(THICKNESSES)} thicknesses for the first look (shared by all patterns), "
        f"{ranking / len(targets):.2f} a pattern for the ranking with exact simulations of "
        f"{options.keep} candidates; {making:.1f} to make the patterns."
    )
    publish("Identification", [setting, table(("", "top 1", "top 5", "worst rank"), rows), cost], options)


def _first_rank(stacks: np.ndarray, image: np.ndarray, index: int) -> int:
    """Place of a crystal by the least Z of the first look."""
    z = np.array([np.nan_to_num(np.asarray(zncc_loss(s.astype(float), image)), nan=2.0).min() for s in stacks])
    return int(np.sum(z < z[index]))


if __name__ == "__main__":
    main()
