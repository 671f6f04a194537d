"""Is a tolerance kept, is the estimated error honest, and what does it cost?

First table: random crystals, zone axes, energies, thicknesses, grids and absorption, one in five in a tilted foil
or with the first Laue zones; the largest error at some random tilts (the highest and the lowest one among them)
compared with an exact solver and very many beams, and what the pattern says of itself. Second table: CPU seconds
of some cases, the choice of beams included.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lacbed
from common import number, parser, publish, table
from lacbed.beams import beams_aside, reflections_within, zone_area
from lacbed.crystals.named import named_rows
from lacbed.geometry.frame import make_frame
from lacbed.geometry.wave import electron_wave
from lacbed.settings import Settings
from lacbed.setup import prepare, solve_amplitudes

TOLERANCES = (1e-2, 1e-3, 1e-4)

MOST_BEAMS = 700
"""Of the reference; cases whose beams up to `LEAST_G` are more are drawn again."""

LEAST_G, MOST_G = 5.8, 9.0

MOST_ASIDE = 450
"""Beams of other Laue zones in the reference; cases with more stay in one zone."""

SLANTS = (1.0, 5.0, 20.0)
"""Degrees between foil normal and zone axis."""

SPEED = {
    "Si [110], 30 mrad, 1000 Å, Thomas, 000": ("Si", (1, 1, 0), (1000.0,), "thomas", 30.0, ((0, 0, 0),)),
    "the same, all reflections up to 1.35 1/Å": ("Si", (1, 1, 0), (1000.0,), "thomas", 30.0, ("all", 1.35)),
    "GaAs [001], k_max 0.360, five thicknesses, four reflections": ("GaAs", (0, 0, 1), 5, None, 0.360, 4),
    "CsCl [001], k_max 0.494, likewise": ("CsCl", (0, 0, 1), 5, None, 0.494, 4),
    "MgAl2O4 [001], k_max 0.252, likewise": ("MgAl2O4", (0, 0, 1), 5, None, 0.252, 4),
    "W [001], k_max 0.643, likewise": ("W", (0, 0, 1), 5, None, 0.643, 4),
}
FOUR = ((0, 0, 0), (2, 0, 0), (0, 2, 0), (2, 2, 0))


def draw(number: int, rows: Any) -> tuple[lacbed.Crystal, Settings, np.random.Generator]:
    """A random case, the same for the same number; `rows` is a table of pyarrow or None."""
    rng = np.random.default_rng(number)
    while True:
        crystal, zone = random_orientation(rng, rows)
        frame = make_frame(crystal, zone)
        if math.pi * LEAST_G**2 / zone_area(crystal, frame) > MOST_BEAMS:
            continue
        near = reflections_within(crystal, frame, 1.2)
        if len(near) < 3:
            continue
        chosen = [(0, 0, 0), *(near[i] for i in rng.integers(1, len(near), 2))]
        thickest = float(rng.uniform(100.0, 1500.0))
        settings = Settings(
            zone,
            float(rng.choice([60e3, 80e3, 100e3, 120e3, 200e3, 300e3])),
            (thickest / 3.0, thickest),
            lacbed.TiltGrid(
                int(rng.choice([32, 64, 128])),
                semi_angle=float(rng.uniform(8.0, 30.0)),
                shape=str(rng.choice(["square", "disc"])),  # type: ignore[arg-type]
            ),
            tuple(dict.fromkeys(chosen)),
            absorption=(None, "thomas", ("proportional", 10.0))[rng.integers(3)],
        )
        return crystal, _special(number, crystal, settings), rng


def _special(number: int, crystal: lacbed.Crystal, settings: Settings) -> Settings:
    """Every fifth case in a tilted foil, with the first Laue zones, or both."""
    if number % 5 != 4:
        return settings
    rng = np.random.default_rng([number, 1])
    frame = make_frame(crystal, settings.zone_axis)
    zones, slant = ((1, 0.0), (0, float(rng.choice(SLANTS))), (1, float(rng.choice(SLANTS))))[number // 5 % 3]
    grid, inside = settings.grid.tilts(frame, settings.energy)
    size = (grid[inside] ** 2).sum(axis=1)
    span = float(size.min()), float(size.max())
    if len(beams_aside(crystal, frame, electron_wave(settings.energy), span, zones)) > MOST_ASIDE:
        zones, slant = 0, float(rng.choice(SLANTS))
    if not slant:
        return replace(settings, laue_zones=zones)
    angle, around = math.radians(slant), float(rng.uniform(0.0, 2.0 * math.pi))
    normal = math.sin(angle) * math.cos(around), math.sin(angle) * math.sin(around), math.cos(angle)
    foil = np.linalg.solve(frame.rotation @ crystal.direct, normal)
    return replace(settings, laue_zones=zones, foil_normal=tuple(float(v) for v in foil))


def _slant(crystal: lacbed.Crystal, settings: Settings) -> float:
    """Degrees between foil normal and zone axis."""
    normal = make_frame(crystal, settings.zone_axis, settings.foil_normal).normal
    return round(math.degrees(math.acos(min(1.0, normal[2]))), 1)


def random_orientation(rng: np.random.Generator, rows: Any) -> tuple[lacbed.Crystal, tuple[int, ...]]:
    """A built-in crystal or a row of a catalogue, and a zone axis up to [335], every second one a common one."""
    names = [row.name for row in named_rows()]
    common = ((0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 0, 0), (1, 1, 2))
    while True:
        crystal = _crystal(rng, names, rows)
        zone = tuple(int(v) for v in rng.integers(0, (4, 4, 6)))
        if rng.random() < 0.5:
            zone = common[rng.integers(5)]
        if crystal is not None and any(zone):
            return crystal, zone


def _crystal(rng: np.random.Generator, names: list[str], rows: Any) -> lacbed.Crystal | None:
    from lacbed.catalog.rows import crystal_of

    if rows is None or rng.random() < 0.5:
        return lacbed.Crystal.named(str(rng.choice(names)))
    try:
        return crystal_of(rows.slice(int(rng.integers(len(rows))), 1).to_pylist()[0])
    except lacbed.LacbedError:
        return None


def judge(case: int, rows: Any, tilts: int) -> dict[str, Any]:
    """True and estimated errors of a case with every tolerance."""
    crystal, settings, rng = draw(case, rows)
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal)
    grid, inside = settings.grid.tilts(frame, settings.energy)
    wanted = np.flatnonzero(inside)
    chosen = rng.choice(len(wanted), min(tilts, len(wanted)), replace=False)
    size = np.linalg.norm(grid[wanted], axis=1)
    chosen[:2] = int(np.argmax(size)), int(np.argmin(size))
    g_max = min(MOST_G, max(LEAST_G, math.sqrt(MOST_BEAMS * zone_area(crystal, frame) / math.pi)))
    aside = beams_aside(
        crystal, frame, electron_wave(settings.energy), (size.min() ** 2, size.max() ** 2), settings.laue_zones
    )
    g_max = max(g_max, float(np.linalg.norm(frame.vectors(aside), axis=1).max(initial=0.0)) + 1e-6)
    exact = prepare(crystal, replace(settings, g_max=g_max, output="amplitude"), grid[wanted[chosen]])
    reference = solve_amplitudes(exact)[2][:, torch.as_tensor(exact.reduction.source)].abs().square().numpy()
    result: dict[str, Any] = {
        "case": case,
        "crystal": crystal.name,
        "zone": list(settings.zone_axis),
        "kV": settings.energy / 1e3,
        "thickness": round(settings.thicknesses[-1]),
        "absorption": settings.absorption,
        "mrad": round(float(settings.grid.semi_angle or 0.0), 1),
        "beams": len(exact.beams.hkl),
        "laue_zones": settings.laue_zones,
        "slant": _slant(crystal, settings),
    }
    for tolerance in TOLERANCES:
        zone = lacbed.Zone(
            crystal,
            settings.zone_axis,
            settings.energy,
            foil_normal=settings.foil_normal,
            laue_zones=settings.laue_zones,
            absorption=settings.absorption,
            tolerance=tolerance,
        )
        start = time.process_time()
        pattern = zone.pattern(settings.thicknesses, settings.grid, settings.hkl)
        seconds = time.process_time() - start
        values = pattern.values.reshape(*reference.shape[:2], -1)[:, :, wanted[chosen]]
        result[f"{tolerance:g}"] = {
            "true": float(np.abs(values - reference).max()),
            "estimate": pattern.attrs["error_estimate"],
            "seconds": round(seconds, 2),
            "waves": zone.waves,
        }
    return result


def honesty(outcomes: list[dict[str, Any]]) -> str:
    """The first table."""
    rows = []
    for tolerance in TOLERANCES:
        mine = [o[f"{tolerance:g}"] for o in outcomes]
        true, told = (np.array([m[k] for m in mine]) for k in ("true", "estimate"))
        ratio = told / np.maximum(true, 1e-12)
        kept = f"{np.sum(true <= tolerance)} of {len(true)}"
        rows.append(
            (
                f"{tolerance:g}",
                kept,
                f"{(true / tolerance).max():.2f}",
                f"{np.sum(told > tolerance)}",
                f"{np.median(ratio):.1f}",
                f"{ratio.min():.2f} to {ratio.max():.1f}",
                number(float(np.median([m["seconds"] for m in mine]))),
                number(float(np.max([m["seconds"] for m in mine]))),
            )
        )
    header = (
        "tolerance",
        "true error within it",
        "largest true error / tolerance",
        "estimate above it",
        "estimate / true error, median",
        "range",
        "CPU s, median",
        "largest",
    )
    return table(header, rows)


def speed() -> str:
    """The second table."""
    rows = []
    for name, (crystal, zone, thicknesses, absorption, half, hkl) in SPEED.items():
        many = thicknesses == 5
        grid = lacbed.TiltGrid(128, k_max=half) if many else lacbed.TiltGrid(128, semi_angle=half)
        asked: dict[str, Any] = {
            "zone_axis": zone,
            "thicknesses": (300.0, 600.0, 900.0, 1200.0, 1500.0) if many else thicknesses,
            "grid": grid,
            "hkl": FOUR if many else hkl,
            "absorption": absorption,
        }
        structure = lacbed.Crystal.named(crystal)
        cells: list[str] = [name]
        for extra in ({"tolerance": 1e-3}, {"tolerance": 1e-4}, {"solver": "fast"}):
            start = time.process_time()
            pattern = lacbed.simulate(structure, **asked, **extra)
            told = f" ({pattern.attrs['error_estimate']:.0e})" if "tolerance" in extra else ""
            cells.append(number(time.process_time() - start) + told)
        rows.append(cells)
    return table(("case", "tolerance 1e-3 (estimate)", "1e-4 (estimate)", "solver fast"), rows)


def scatter(outcomes: list[dict[str, Any]], path: Path) -> None:
    """True error against estimate."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.0, 4.2), layout="constrained")
    for tolerance in TOLERANCES:
        mine = [o[f"{tolerance:g}"] for o in outcomes]
        (line,) = axes.loglog(
            [m["estimate"] for m in mine], [m["true"] for m in mine], "o", ms=4, label=f"tolerance {tolerance:g}"
        )
        axes.axhline(tolerance, color=line.get_color(), lw=0.7)
    axes.axline((1e-4, 1e-4), (1e-2, 1e-2), color="grey", lw=0.7, ls=":")
    axes.set(xlabel="estimated largest |ΔI|", ylabel="true largest |ΔI| at the tilts tried")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the cases, print the tables."""
    arguments = parser(__doc__)
    arguments.add_argument("--cases", type=int, default=60)
    arguments.add_argument("--first", type=int, default=0)
    arguments.add_argument(
        "--step", type=int, default=1, help="5 with --first 4: tilted foils and Laue zones only"
    )
    arguments.add_argument("--tilts", type=int, default=50)
    arguments.add_argument("--catalog", type=Path, help="catalogue in Parquet, half of the crystals come from it")
    arguments.add_argument("--outcomes", type=Path, help="file of lines of JSON; cases in it are not run again")
    arguments.add_argument("--plot", type=Path)
    arguments.add_argument("--no-speed", action="store_true")
    options = arguments.parse_args()
    rows = None
    if options.catalog is not None:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(options.catalog)
    known: dict[int, dict[str, Any]] = {}
    if options.outcomes is not None and options.outcomes.exists():
        lines = options.outcomes.read_text("utf-8").splitlines()
        # Every fifth case has become another one; those written before say nothing of Laue zones.
        known = {o["case"]: o for o in map(json.loads, lines) if o["case"] % 5 != 4 or "slant" in o}
    for case in range(options.first, options.first + options.step * options.cases, options.step):
        if case in known:
            continue
        known[case] = judge(case, rows, options.tilts)
        if options.outcomes is not None:
            with options.outcomes.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[case]) + "\n")
    outcomes = [known[case] for case in sorted(known)]
    if options.plot is not None:
        scatter(outcomes, options.plot)
    parts = [
        f"{len(outcomes)} random cases, each at {options.tilts} random tilts, compared with an exact solver and "
        f"all beams up to {LEAST_G} to {MOST_G} 1/Å.",
        honesty(outcomes),
    ]
    if not options.no_speed:
        parts += ["CPU seconds of 128 x 128 pixels at 200 kV, the choice of beams included:", speed()]
    publish("A stated tolerance", parts, options)


if __name__ == "__main__":
    with torch.no_grad():
        main()
