"""How often does a noisy 000 pattern name its crystal among those of a generated catalogue?

The first look by the exact engine with few beams, and by the learned simulator; then the exact simulation of the
candidates that the learned simulator ranks first. The patterns are made by `lacbed.simulate` with its own
converged beams and its own solver, on tilts within the pixels, not by the engine that ranks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import lacbed
from common import parser, publish, table
from lacbed.catalog.generate import generate_rows
from lacbed.catalog.rows import crystal_of
from lacbed.identification.identify import identify, library
from lacbed.identification.predictors import Predictor, Target, exact, few_beams, learned
from lacbed.patterns import zncc_loss

PIXELS, K_MAX, ENERGY = 40, 0.5, 200e3
WITHIN = 2
"""Tilts along a side of a pixel over which a pattern is averaged."""

THICKNESSES = np.arange(200.0, 801.0, 25.0).tolist()
RANGE = (250.0, 750.0)
ABSORPTION = "thomas"
LARGEST = 800
"""Beams up to which the exact solver makes the patterns; beyond, solver "fast"."""

EVERY = 10


@dataclass(frozen=True, eq=False)
class Truth:
    """Patterns without noise: crystal, thickness in Å, image (pattern, ky, kx) and whether by the exact solver."""

    index: np.ndarray
    thickness: np.ndarray
    image: np.ndarray
    by_exact: np.ndarray


def draw(crystals: int, patterns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which crystals make patterns, and how thick they are; fewer patterns are the first ones of more."""
    rng = np.random.default_rng(seed)
    chosen, thickness = rng.permutation(crystals), rng.uniform(*RANGE, crystals)
    return chosen[:patterns], thickness[:patterns]


def clean(crystal: lacbed.Crystal, thickness: float) -> tuple[np.ndarray, bool]:
    """000 averaged over the pixels, and whether by the exact solver: converged beams, found with solver "fast"."""
    common = {
        "thicknesses": (thickness,),
        "energy": ENERGY,
        "absorption": ABSORPTION,
        "dtype": "float32",
        "grid": lacbed.TiltGrid(WITHIN * PIXELS, k_max=K_MAX),
    }
    found = lacbed.simulate(crystal, solver="fast", **common)
    is_exact = found.attrs["beams"] <= LARGEST
    if is_exact:
        found = lacbed.simulate(crystal, beams=int(found.attrs["beams"]), **common)
    return found.values[0, 0].reshape(PIXELS, WITHIN, PIXELS, WITHIN).mean(axis=(1, 3)), is_exact


def make_truth(crystals: Sequence[lacbed.Crystal], patterns: int, seed: int, kept: Path | None) -> Truth:
    """All patterns without noise, those of an earlier run from its file."""
    index, thickness = draw(len(crystals), patterns, seed)
    images, flags = _kept(kept, index, thickness)
    for n in range(len(images), len(index)):
        image, is_exact = clean(crystals[index[n]], float(thickness[n]))
        images.append(image)
        flags.append(is_exact)
        if kept is not None and ((n + 1) % EVERY == 0 or n + 1 == len(index)):
            done = slice(n + 1)
            part = kept.with_suffix(".part.npz")  # never half a file
            np.savez(part, index=index[done], thickness=thickness[done], image=images, by_exact=flags)
            part.replace(kept)
            print(f"{n + 1} of {len(index)} patterns made", flush=True)
    return Truth(index, thickness, np.array(images[: len(index)]), np.array(flags[: len(index)]))


def _kept(kept: Path | None, index: np.ndarray, thickness: np.ndarray) -> tuple[list[np.ndarray], list[bool]]:
    """Images and flags of an earlier run, none if it drew other crystals."""
    if kept is None or not kept.exists():
        return [], []
    with np.load(kept) as file:
        shared = min(len(index), len(file["index"]))
        same = np.array_equal(file["index"][:shared], index[:shared])
        if not same or not np.allclose(file["thickness"][:shared], thickness[:shared]):
            return [], []
        return list(file["image"][:shared]), [bool(f) for f in file["by_exact"][:shared]]


def measured(image: np.ndarray, electrons: float, rng: np.random.Generator) -> Target:
    """A pattern with Poisson noise, `electrons` a pixel where all of the beam is transmitted."""
    k = (np.arange(PIXELS) - PIXELS / 2 + 0.5) * 2 * K_MAX / PIXELS
    return Target(rng.poisson(electrons * np.clip(image, 0, None)).astype(float), k, k, ENERGY, (0, 0, 1))


@dataclass(frozen=True)
class Look:
    """The first look at one crystal: predictions (thickness, ky, kx), reason of failure, CPU seconds."""

    images: np.ndarray
    failure: str | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Of one pattern: places of the right crystal (0 is first), the two best crystals' Z, and CPU seconds.

    Attributes:
        ranks: by "few", "learned", "fewer" (fewer electrons) and "final".
        taken: place in the catalogue of the crystal that comes first.
        thickness_error: of the crystal that comes first, in Å.
        z_best: of the crystal that comes first.
        z_own: of the right crystal, NaN if it was not simulated exactly.
        z_clean: of the exact stage against the pattern without noise, NaN where no exact solver made that.
        seconds: of the identification.
    """

    ranks: dict[str, int]
    taken: int
    thickness_error: float
    z_best: float
    z_own: float
    z_clean: float
    seconds: float


def look(job: tuple[str, str, lacbed.Crystal, Target]) -> Look:
    """The first look at one crystal."""
    kind, model, crystal, coarse = job
    predictor = few_beams if kind == "few" else _learned(model)
    start = time.process_time()
    found, failures = library([crystal], THICKNESSES, coarse, predictor)
    return Look(found[0], failures.get(0), time.process_time() - start)


@cache
def _learned(model: str) -> Predictor:
    return learned(model)


SHARED: dict[str, Any] = {}
"""What all patterns have in common, in every process: options, crystals, truth and looks."""


def share(values: dict[str, Any]) -> None:
    """Hand to a process what all patterns have in common."""
    SHARED.update(values)


def rank(n: int) -> Outcome:
    """Identify one pattern."""
    options, crystals, truth, looks = (SHARED[k] for k in ("options", "crystals", "truth", "looks"))
    index, thickness, clean_image = int(truth.index[n]), float(truth.thickness[n]), truth.image[n]
    target = measured(clean_image, options.electrons, np.random.default_rng([options.seed, n]))
    start = time.process_time()
    found = identify(
        target, crystals, THICKNESSES, keep=options.keep, known=looks["learned"], final=exact(ABSORPTION)
    )
    seconds = time.process_time() - start
    ranks = {name: first_rank(known[0], target.coarse().image, index) for name, known in looks.items()}
    faint = measured(clean_image, options.fewer, np.random.default_rng([options.seed, n, 1]))
    ranks["fewer"] = first_rank(looks["learned"][0], faint.coarse().image, index)
    order = [c.index for c in found.candidates]
    ranks["final"] = order.index(index) if index in order else len(crystals)
    best = found.candidates[0]
    z_own = next((c.z for c in found.candidates if c.index == index), np.nan)
    z_clean = converged(crystals[index], thickness, clean_image, target) if truth.by_exact[n] else np.nan
    return Outcome(ranks, best.index, abs(best.thickness - thickness), best.z, z_own, z_clean, seconds)


def first_rank(stacks: np.ndarray, image: np.ndarray, index: int) -> int:
    """Place of a crystal by the least Z of the first look."""
    z = np.array([np.nan_to_num(np.asarray(zncc_loss(s.astype(float), image)), nan=2.0).min() for s in stacks])
    return int(np.sum(z < z[index]))


def converged(crystal: lacbed.Crystal, thickness: float, image: np.ndarray, target: Target) -> float:
    """Z of the exact stage against a pattern without noise, at the right crystal and thickness."""
    found = exact(ABSORPTION)(crystal, (thickness,), target)[0]
    return float(zncc_loss(found.astype(float), image.astype(float)))


def rates(name: str, ranks: Sequence[int]) -> tuple[str, ...]:
    """One row of the table: how many are first and among the first five, and the worst rank."""
    found = np.array(ranks)
    return name, f"{100 * np.mean(found < 1):.1f} %", f"{100 * np.mean(found < 5):.1f} %", f"{found.max() + 1}"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--crystals", type=int, default=300, help="size of the catalogue")
    arguments.add_argument("--patterns", type=int, default=200, help="patterns to be identified")
    arguments.add_argument("--electrons", type=float, default=1000.0, help="electrons per pixel")
    arguments.add_argument("--fewer", type=float, default=100.0, help="electrons per pixel of one more first look")
    arguments.add_argument("--keep", type=int, default=5, help="candidates simulated exactly")
    arguments.add_argument("--model", default="fast", help="learned simulator")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--truth", type=Path, help="keep the patterns without noise in this .npz file")
    arguments.add_argument("--outcomes", type=Path, help="file of ranked patterns, to go on with")
    arguments.add_argument("--jobs", type=int, default=1, help="processes")
    options = arguments.parse_args()
    rows = generate_rows(options.crystals, options.seed)
    crystals = [crystal_of(row) for row in rows]
    names = [f"{row['formula']} ({row['source_id'].partition('/')[0]})" for row in rows]
    truth = make_truth(crystals, options.patterns, options.seed, options.truth)
    coarse = measured(truth.image[0], options.electrons, np.random.default_rng(0)).coarse()
    looks, seconds = {}, {}
    spawn = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, spawn) as pool:
        for kind in ("learned", "few"):
            found = list(pool.map(look, [(kind, options.model, c, coarse) for c in crystals], chunksize=2))
            failures = {i: one.failure for i, one in enumerate(found) if one.failure is not None}
            looks[kind] = (np.stack([one.images for one in found]), failures)
            seconds[kind] = float(np.mean([one.seconds for one in found]))
            print(f"{kind}: {1e3 * seconds[kind]:.0f} ms per crystal, {len(failures)} left out", flush=True)
    shared = {"options": options, "crystals": crystals, "truth": truth, "looks": looks}
    outcomes = _ranked(options.outcomes)
    with ProcessPoolExecutor(options.jobs, spawn, share, (shared,)) as pool:
        left = range(len(outcomes), len(truth.index))
        for n, outcome in zip(left, pool.map(rank, left), strict=True):
            outcomes.append(outcome)
            if options.outcomes is not None:
                with options.outcomes.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            print(n, names[truth.index[n]], f"{truth.thickness[n]:.0f} Å", outcome, flush=True)
            if (n + 1) % EVERY == 0:
                print(_rates_table(options, outcomes), flush=True)
    seconds["ranking"] = float(np.mean([o.seconds for o in outcomes]))
    _report(options, truth, outcomes, seconds, names)


def _ranked(kept: Path | None) -> list[Outcome]:
    """What an earlier run has ranked, in order."""
    if kept is None or not kept.is_file():
        return []
    return [Outcome(**json.loads(line)) for line in kept.read_text(encoding="utf-8").splitlines()]


def _rates_table(options: argparse.Namespace, outcomes: Sequence[Outcome]) -> str:
    rows = [
        rates(label, [o.ranks[name] for o in outcomes])
        for name, label in (
            ("few", "first ranking, exact engine with few beams"),
            ("learned", f"first ranking, learned simulator (`{options.model}`)"),
            ("fewer", f"the same with {options.fewer:g} electrons per pixel"),
            ("final", f"learned, then exact on the first {options.keep}"),
        )
    ]
    return table(("", "top 1", "top 5", "worst rank"), rows)


def _mistakes(truth: Truth, outcomes: Sequence[Outcome], names: Sequence[str], keep: int) -> list[str]:
    """Which crystals were taken for which others."""
    rows = [
        (
            names[truth.index[n]],
            f"{truth.thickness[n]:.0f} Å",
            names[o.taken],
            "-" if np.isnan(o.z_own) else f"{100 * o.z_own:.2f} %",
            f"{100 * o.z_best:.2f} %",
        )
        for n, o in enumerate(outcomes)
        if o.ranks["final"] > 0
    ]
    if not rows:
        return ["No pattern was taken for another crystal in the end."]
    alike = sum(right.partition("(")[2] == taken.partition("(")[2] for right, _, taken, _, _ in rows)
    text = (
        f"Not first: {len(rows)} patterns. {alike} were taken for a crystal of the same prototype; those without "
        f"a Z of their own were not among the {keep} that were simulated exactly."
    )
    return [text, table(("pattern of", "thickness", "taken for", "Z of its own", "Z of the other"), rows)]


def _report(
    options: argparse.Namespace,
    truth: Truth,
    outcomes: Sequence[Outcome],
    seconds: dict[str, float],
    names: Sequence[str],
) -> None:
    """Write the page."""
    by_exact, step = int(truth.by_exact.sum()), THICKNESSES[1] - THICKNESSES[0]
    setting = (
        f"{len(truth.index)} patterns of 000, [001], {PIXELS} x {PIXELS} pixels, ±{K_MAX} 1/Å, "
        f"{ENERGY / 1e3:g} kV, absorption {ABSORPTION}, random thickness of {RANGE[0]:g} to {RANGE[1]:g} Å, "
        f"Poisson noise of {options.electrons:g} electrons per pixel, among {options.crystals} crystals of "
        f"`lacbed catalog generate` (seed {options.seed}); thicknesses tried: {THICKNESSES[0]:g} to "
        f"{THICKNESSES[-1]:g} Å in steps of {step:g} Å. The patterns were made by `lacbed.simulate`, averaged "
        f"over {WITHIN} x {WITHIN} tilts per pixel, with the number of beams from its own search: {by_exact} "
        f"by an exact solver, {len(truth.index) - by_exact} (more than {LARGEST} beams) by solver `fast`."
    )
    errors = [o.thickness_error for o in outcomes if o.ranks["final"] == 0]
    cost = (
        f"Median error of the thickness where the crystal is right: {np.median(errors):.1f} Å. CPU seconds: "
        f"{1e3 * seconds['few']:.0f} (few beams) and {1e3 * seconds['learned']:.0f} ms (learned) a crystal and "
        f"{len(THICKNESSES)} thicknesses for the first ranking (shared by all patterns); "
        f"{seconds['ranking']:.2f} s a pattern for the ranking, with exact simulations of {options.keep} "
        "candidates."
    )
    z = np.array([o.z_clean for o in outcomes])
    worst = int(np.nanargmax(z))
    stage = (
        "Convergence of the exact stage: Z against the patterns without noise that an exact solver made, at the "
        f"right crystal and thickness: median {100 * np.nanmedian(z):.4f} %, 95th percentile "
        f"{100 * np.nanquantile(z, 0.95):.3f} %, largest {100 * z[worst]:.3f} % ({names[truth.index[worst]]}, "
        f"{truth.thickness[worst]:.0f} Å). Noise alone: median Z of the right crystal "
        f"{100 * np.nanmedian([o.z_own for o in outcomes]):.2f} %."
    )
    mistakes = _mistakes(truth, outcomes, names, options.keep)
    publish("Identification", [setting, _rates_table(options, outcomes), cost, stage, *mistakes], options)


if __name__ == "__main__":
    main()
