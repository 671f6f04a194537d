"""How the cost of a pattern grows: pixels, beams, thicknesses, reflections, and the kinds of simulation.

SrTiO3 [001], 200 kV. Every series changes one thing and leaves the rest at: 128 x 128 pixels over ±4 a* (a whole
number of pixels in every reciprocal vector, so that tilts share their diagonalisation), 200 beams, one thickness
of 600 Å, reflection 000, float64. The kinds change what can be shared: a grid that does not fit the reciprocal
lattice, higher-order Laue zones, a tilted foil, absorption; they are measured at 32 x 32 pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lacbed
from common import measure, number, parser, publish, simulate, table

BASE: dict[str, Any] = dict(thicknesses=(600.0,), beams=200)
FIXED = lacbed.TiltGrid(128, extent=4.0)
SMALL = lacbed.TiltGrid(32, extent=4.0)
INCOMMENSURATE = lacbed.TiltGrid(32, k_max=1.0)


def shells(count: int) -> list[tuple[int, int, int]]:
    """The first allowed reflections of SrTiO3 [001] by length."""
    found = sorted((h * h + k * k, -h, -k, (h, k, 0)) for h in range(-9, 10) for k in range(-9, 10))
    return [f[3] for f in found[:count]]


def series() -> dict[str, list[tuple[float, dict[str, Any]]]]:
    """For every series, its values and the settings of each."""
    return {
        "pixels per side": [(n, dict(grid=lacbed.TiltGrid(n, extent=4.0))) for n in (32, 64, 128, 256, 512)],
        "beams": [(n, dict(grid=FIXED, beams=n)) for n in (100, 150, 200, 300, 500, 800)],
        "thicknesses": [
            (n, dict(grid=FIXED, thicknesses=tuple(1500.0 * (i + 1) / n for i in range(n))))
            for n in (1, 3, 10, 30, 100)
        ],
        "reflections": [(n, dict(grid=FIXED, hkl=shells(n))) for n in (1, 5, 9, 21, 45)],
        "pixels per side, incommensurate grid": [
            (n, dict(grid=lacbed.TiltGrid(n, k_max=1.0))) for n in (16, 32, 64)
        ],
    }


def kinds() -> dict[str, dict[str, Any]]:
    """Kinds of simulation, all on 32 x 32 pixels."""
    return {
        "default: commensurate grid (extent = 4)": dict(grid=SMALL),
        "commensurate, Thomas absorption": dict(grid=SMALL, absorption="thomas"),
        "incommensurate grid (k_max = 1.0 1/Å)": dict(grid=INCOMMENSURATE),
        "incommensurate, Thomas absorption": dict(grid=INCOMMENSURATE, absorption="thomas"),
        "foil tilted to [1 0 10]": dict(grid=SMALL, foil_normal=(1, 0, 10)),
        "first-order Laue zones (laue_zones = 1)": dict(grid=SMALL, laue_zones=1),
        "Bethe perturbation, 100 weak beams": dict(grid=SMALL, weak_beams=100),
    }


def exponent(values: list[float], seconds: list[float]) -> float:
    """Slope between the last two points of a double logarithmic plot."""
    return float(np.log(seconds[-1] / seconds[-2]) / np.log(values[-1] / values[-2]))


def plot(found: dict[str, tuple[list[float], list[float]]], path: Path) -> None:
    """CPU time against each of the quantities."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    main = [name for name in found if "incommensurate" not in name]
    figure, axes = plt.subplots(1, len(main), figsize=(3.2 * len(main), 3.2), sharey=True, layout="constrained")
    for axis, name in zip(np.atleast_1d(axes), main, strict=True):
        axis.loglog(*found[name], "o-", color="#1f5aa6", label="fits the reciprocal lattice")
        other = f"{name}, incommensurate grid"
        if other in found:
            axis.loglog(*found[other], "s--", color="#c4622d", label="incommensurate grid")
            axis.legend(frameon=False, fontsize=8)
        ticks = sorted({*found[name][0], *(found[other][0] if other in found else [])})
        axis.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
        axis.minorticks_off()
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    first = np.atleast_1d(axes)[0]
    marks = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]
    low, high = first.get_ylim()
    first.set_yticks(marks, [f"{m:g}" for m in marks])
    first.minorticks_off()
    first.set_ylim(low, high)
    first.set_ylabel("CPU seconds")
    title = "SrTiO3 [001], 200 kV; unless varied: 128 x 128, 200 beams, 1 thickness, 1 reflection"
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--plot", type=Path, help="PNG or SVG file for the plot")
    options.add_argument("--crystal", default="SrTiO3")
    chosen = options.parse_args()
    crystal = lacbed.Crystal.named(chosen.crystal)
    for warm in (None, "thomas"):
        lacbed.simulate(crystal, grid=lacbed.TiltGrid(8), beams=60, absorption=warm)
    parts, found = [], {}
    for name, points in series().items():
        rows, values, seconds = [], [], []
        for value, settings in points:
            timing, pattern = measure(simulate(crystal, **(BASE | settings)), chosen.repeats, warm=False)
            values.append(float(pattern.attrs["beams"] if name == "beams" else value))
            seconds.append(timing.cpu)
            rows.append(
                [
                    f"{values[-1]:g}",
                    pattern.attrs["solver"],
                    pattern.attrs["tilts_solved"],
                    number(timing.cpu),
                    number(timing.wall),
                ]
            )
            print(name, rows[-1], flush=True)
        found[name] = (values, seconds)
        parts += [
            f"## {name[0].upper()}{name[1:]}",
            table([name, "solver", "tilts solved", "CPU s", "wall s"], rows),
            f"Between the last two points the CPU time grows with power {exponent(values, seconds):.1f}.",
        ]
    rows = []
    for name, settings in kinds().items():
        timing, pattern = measure(simulate(crystal, **(BASE | settings)), chosen.repeats, warm=False)
        rows.append(
            [
                name,
                pattern.attrs["solver"],
                pattern.attrs["beams"],
                pattern.attrs["tilts_solved"],
                number(timing.cpu),
                number(timing.wall),
                number(1e3 * timing.cpu / pattern.attrs["tilts_solved"]),
            ]
        )
        print(rows[-1], flush=True)
    header = ["kind, 32 x 32", "solver", "beams", "tilts solved", "CPU s", "wall s", "CPU ms per tilt"]
    parts += ["## Kinds of simulation", table(header, rows)]
    explained = (
        f"{chosen.crystal} [001], 200 kV, float64. Unless varied: 128 x 128 pixels over ±4 a*, 200 beams, 600 Å, "
        f"reflection 000. Medians of {chosen.repeats} calls. Tilts solved are "
        "those that symmetry leaves, of which many may share one diagonalisation."
    )
    if chosen.plot is not None:
        plot(found, chosen.plot)
        parts.insert(0, f"![CPU time against pixels, beams, thicknesses and reflections]({chosen.plot.name})")
    publish("How the cost grows", [explained, *parts], chosen)


if __name__ == "__main__":
    main()
