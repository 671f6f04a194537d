"""How often, and how fast, is a crystal solved with nothing known but its cell?

Parts (`--only`): `measured` (stacks of a folder, each with a crystal.cif), `simulated` (built-in crystals in
random zones), `speed` (CPU seconds against number of columns and thickness), `robust` (a damaged stack),
`geometry` (half-widths of the simulated stacks by reciprocity).
The number of columns (1 to 6 unless more are there) and the thickness are not known to the search.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

import lacbed
from common import finished, parser, publish, table
from lacbed.errors import LacbedError
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import Experiment
from lacbed.experiment.reciprocity import reciprocity_geometry
from lacbed.geometry.frame import make_frame
from lacbed.potential import structure_factors
from lacbed.retrieval.columns import potential_of
from lacbed.retrieval.points import lattice_points
from lacbed.retrieval.search import RESOLUTION, correlation
from lacbed.retrieval.solution import Solution, SolveOptions
from lacbed.retrieval.solve import solve_structure

RIGHT = 0.98
"""Correlation with the true potential from which a structure of about the true thickness is right."""

HALF_WIDTH = 0.8
"""As stated of simulated stacks, in 1/Å."""

PARTS = ("measured", "simulated", "speed", "robust", "geometry")
HEAD = ("stack", "seed", "right", "says", "score", "correlation", "inverse", "thickness / Å (true)", "gap",
        "met", "columns (true)", "elements", "CPU s", "wall s")  # fmt: skip
CRYSTALS = ("Si", "GaAs", "MgO", "NaCl", "CaF2", "SrTiO3", "TiO2", "GaN", "SiO2", "Al2O3", "ReO3", "Cu2O", "CsCl",
            "Cu3Au", "LaAlO3", "ZrO2", "Cu", "Fe", "Mg", "PbTe")  # fmt: skip
ZONES = ((0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 0), (2, 1, 1), (2, 2, 1))


def judged(
    name: str, stack: Experiment, truth: lacbed.Crystal, thickness: float, options: SolveOptions, kept: Path | None
) -> dict[str, Any]:
    """What a search finds and how right that is; from the file of what was found before, if it is there."""
    key = {"stack": name, "seed": options.seed, "true thickness": round(thickness, 1), "seconds": options.seconds}
    return finished(kept, key, lambda: _judge(stack, truth, thickness, options))


def _judge(stack: Experiment, truth: lacbed.Crystal, thickness: float, options: SolveOptions) -> dict[str, Any]:
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        found = solve_structure(stack, truth.cell, options)
    except LacbedError as error:
        most = re.search(r"ask for at most (\d+)", str(error))
        if most is None:
            return {"refused": str(error)}
        return _judge(stack, truth, thickness, replace(options, columns=(1, int(most[1]))))
    straight, inverse = likeness(found, truth)
    near = not thickness or abs(found.thickness / thickness - 1.0) < 0.1
    elements = [f"{row[0].element} {100 * row[0].probability:.0f} %" for row in found.elements]
    return {
        "right": bool(max(straight, inverse) >= RIGHT and near),
        "solved": bool(found.solved),
        "score": round(found.score, 4),
        "correlation": round(straight, 5),
        "inverse": round(inverse, 5),
        "thickness": round(found.thickness, 1),
        "gap": round(found.gap, 4),
        "met": len(found.best.roots),
        "columns": len(found.best.columns),
        "true columns": true_columns(found, truth),
        "residual": round(found.best.residual, 4),
        "held out": round(found.best.held_out, 4),
        "rounds": found.search.round,
        "elements": "; ".join(elements[: len(found.best.columns)]),
        "cpu": round(time.process_time() - cpu, 1),
        "wall": round(time.perf_counter() - wall, 1),
    }


def row_of(found: dict[str, Any]) -> list[str]:
    """One row of a table."""
    first = [found["stack"], str(found["seed"])]
    if "refused" in found:
        return [*first, "-", f"refused: {found['refused']}"[:60], *["-"] * 11]
    return [
        *first,
        "yes" if found["right"] else "no",
        "solved" if found["solved"] else "not solved",
        f"{found['score']:.2f}",
        f"{found['correlation']:.4f}",
        f"{found['inverse']:.4f}",
        f"{found['thickness']:.0f} ({found['true thickness']:.0f})",
        f"{found['gap']:.2f}",
        str(found["met"]),
        f"{found['columns']} ({found['true columns']})",
        found["elements"],
        f"{found['cpu']:.0f}",
        f"{found['wall']:.0f}",
    ]


def classes(outcomes: list[dict[str, Any]]) -> str:
    """How many are right, by the number of columns that there are."""
    rows = []
    for low, high in ((1, 2), (3, 4), (5, 9), (10, 99)):
        mine = [o for o in outcomes if low <= o.get("true columns", 0) <= high]
        if mine:
            right, said = (sum(o[key] for o in mine) for key in ("right", "solved"))
            wrong = sum(o["solved"] and not o["right"] for o in mine)
            cpu = [o["cpu"] for o in mine]
            columns = f"{low} to {high}" if high < 99 else "10 and more"
            rows.append(
                (
                    columns,
                    str(len(mine)),
                    str(right),
                    str(said),
                    str(wrong),
                    f"{np.median(cpu):.0f}",
                    f"{max(cpu):.0f}",
                )
            )
    return table(
        ("columns", "stacks", "right", "called solved", "of these wrong", "CPU s, median", "largest"), rows
    )


def true_columns(found: Solution, truth: lacbed.Crystal) -> int:
    """Columns of atoms in the projected cell of a search, at least 0.05 Å apart."""
    places = truth.atoms.xyz @ found.cell.hkl.T
    apart = places[:, None] - places[None]
    apart -= np.round(apart)
    same = np.linalg.norm(apart @ found.cell.edges.T, axis=2) < 0.05
    return len(np.unique(same.argmax(axis=1)))


def likeness(found: Solution, truth: lacbed.Crystal) -> tuple[float, float]:
    """Correlation of the potential with the true one, and with its inverse."""
    orders = lattice_points(found.cell.basis, RESOLUTION)[1:]
    true = structure_factors(truth, orders @ found.cell.hkl, "kirkland").numpy()
    ours = potential_of(found.best.columns, orders, found.cell.basis).sum(axis=0)
    return correlation(true, ours, orders), correlation(true.conj(), ours, orders)


def drawn(number: int) -> tuple[str, tuple[int, int, int], float, float]:
    """Crystal, zone axis, thickness in Å and electrons per pixel of a simulated stack."""
    random = np.random.default_rng((11, number))
    name, zone = CRYSTALS[number % len(CRYSTALS)], ZONES[int(random.integers(len(ZONES)))]
    return name, zone, float(random.uniform(250, 1200)), (1000.0, 50.0)[number % 2]


def geometry(count: int) -> str:
    """How far half-widths by reciprocity are off, and how often within their uncertainty."""
    off: dict[float, list[tuple[float, float]]] = {}
    for number in range(count):
        name, zone, thickness, dose = drawn(number)
        stack, truth, true = simulated(name, zone, thickness, dose, HALF_WIDTH, number)
        found = reciprocity_geometry(stack, truth)
        if found is not None and found.is_sure:
            off.setdefault(dose, []).append((found.factor * HALF_WIDTH / true - 1.0, found.uncertainty))
        else:
            print(name, zone, "says nothing of its geometry")
    rows = []
    for dose, pairs in off.items():
        wrong, sigma = np.abs(np.array(pairs)).T
        within = [100 * np.mean(wrong < n * sigma) for n in (1, 2)]
        off_by = f"{100 * np.sqrt(np.mean(wrong**2)):.3f}", f"{100 * wrong.max():.3f}"
        rows.append((f"{dose:.0f}", str(len(pairs)), *off_by, *(f"{v:.0f} %" for v in within)))
    head = ("electrons per pixel", "stacks", "half-width off by / %, RMS", "largest", "within 1 uncertainty", "2")
    return table(head, rows)


def simulated(
    name: str, zone: tuple[int, int, int], thickness: float, dose: float, half: float, seed: int
) -> tuple[Experiment, lacbed.Crystal, float]:
    """A stack like a measured one, its half-width wrong by up to 3 %, its crystal, and its half-width in 1/Å."""
    random = np.random.default_rng(seed)
    truth = lacbed.Crystal.named(name)
    across = tuple(int(v) for v in make_frame(truth, zone).zone_basis[0])
    true = half * (1 + random.uniform(-0.03, 0.03))
    grid = lacbed.TiltGrid(72, k_max=true)
    pattern = lacbed.simulate(
        truth, zone, 200e3, (thickness,), grid, ("all", 1.3 * half), x_direction=across, dtype="float32"
    )
    hkl = np.stack([pattern[n].values for n in "hkl"], axis=1)
    length = np.linalg.norm(hkl @ np.linalg.inv(truth.direct), axis=1)
    exact = pattern.values[0]
    bright = [i for i in np.argsort(length, kind="stable") if exact[i].max() > 5e-3][:30]
    images = [random.poisson(dose * (np.clip(gaussian_filter(exact[i], 0.8), 0, None) + 0.01)) for i in bright]
    geometry = Geometry(200e3, zone, across, half)  # type: ignore[arg-type]
    return make_experiment(np.stack(images)[:, ::-1].astype(float), hkl[bright], geometry), truth, true


def damaged(stack: Experiment, kind: str) -> Experiment:
    """A stack with something wrong."""
    random = np.random.default_rng(0)
    images = stack.images.copy()
    if kind == "hot pixel":
        images[:, 20, 30] = 50 * np.nanmax(images)
    elif kind == "a quadrant missing":
        images[:, : images.shape[1] // 2, : images.shape[2] // 2] = np.nan
    elif kind == "one wrong label":
        images[[3, 7]] = images[[7, 3]]
    pattern = stack.pattern.copy(data=images[None])
    changed = Experiment(pattern)
    if kind == "20 % of images dropped":
        kept = sorted(random.choice(np.arange(1, len(stack.hkl)), round(0.8 * len(stack.hkl)) - 1, replace=False))
        changed = stack.select([stack.hkl[0], *(stack.hkl[i] for i in kept)])
    return changed


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", choices=PARTS, action="append", help="parts; all by default")
    options.add_argument("--stacks", type=Path, help="folder of measured stacks, each with a crystal.cif")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--count", type=int, default=40, help="simulated stacks")
    options.add_argument("--first", type=int, default=0, help="of these; with --step a share of them")
    options.add_argument("--step", type=int, default=1)
    options.add_argument("--seconds", type=float, default=180.0)
    options.add_argument("--refined", type=int, default=0)
    options.add_argument("--outcomes", type=Path, help="file of lines of JSON; searches in it are not run again")
    arguments = options.parse_args()
    parts = arguments.only or [p for p in PARTS if arguments.stacks or p not in ("measured", "robust")]
    how = SolveOptions((1, 6), (300.0, 1700.0), seconds=arguments.seconds, refined=arguments.refined)
    text: list[str] = []
    for part in parts:
        if part == "geometry":
            text += ["## Geometry", geometry(arguments.count)]
            continue
        outcomes: list[dict[str, Any]] = []
        for found in outcomes_of(part, arguments, how):
            outcomes.append(found)
            print(*row_of(found), sep=" | ", flush=True)
        text += [f"## {part.capitalize()}", classes(outcomes), table(HEAD, [row_of(one) for one in outcomes])]
    publish("Solving a crystal with nothing known but its cell", text, arguments)


def outcomes_of(part: str, arguments: argparse.Namespace, how: SolveOptions) -> Iterator[dict[str, Any]]:
    """What is found in every stack of a part, one by one."""
    kept: Path | None = arguments.outcomes
    if part in ("measured", "robust"):
        assert arguments.stacks is not None, "give the folder of measured stacks (--stacks)"
        known = replace(how, elements=("Ga", "As", "Ge", "Sn", "Si", "Se"))
        for folder in sorted(p.parent for p in arguments.stacks.glob("*/crystal.cif")):
            stack, truth = lacbed.load_experiment(folder), lacbed.Crystal.from_cif(folder / "crystal.cif")
            if part == "measured":
                for seed in range(arguments.seeds):
                    yield judged(folder.name, stack, truth, 0.0, replace(known, seed=seed), kept)
                continue
            for kind in ("hot pixel", "a quadrant missing", "one wrong label", "20 % of images dropped"):
                yield judged(f"{folder.name}, {kind}", damaged(stack, kind), truth, 0.0, known, kept)
            wrong = replace(truth, cell=tuple(v * (1.005 if v != 90 else 1.0) for v in truth.cell))
            yield judged(f"{folder.name}, cell wrong by 0.5 %", stack, wrong, 0.0, known, kept)
    elif part == "simulated":
        for number in range(arguments.first, arguments.count, arguments.step):
            name, zone, thickness, dose = drawn(number)
            stack, truth, _ = simulated(name, zone, thickness, dose, HALF_WIDTH, number)
            blind = replace(how, thickness=(200.0, 1500.0), columns=(1, 9))
            yield judged(f"{name} {list(zone)}, {dose:.0f} e", stack, truth, thickness, blind, kept)
    else:
        for name, zone in (("MgO", (1, 1, 0)), ("CaF2", (1, 1, 0)), ("SrTiO3", (0, 0, 1)), ("GaN", (1, 0, 0))):
            for thickness in (300.0, 600.0, 1000.0):
                stack, truth, _ = simulated(name, zone, thickness, 1000.0, HALF_WIDTH, 1)
                yield judged(f"{name} {list(zone)}", stack, truth, thickness, how, kept)


if __name__ == "__main__":
    main()
