"""How accurate and how fast is `lacbed.predict` for crystals, zone axes and reflections drawn at random?

Built-in crystals of all systems and rows of a catalogue, zone axes up to [335], 000 or a reflection up to 1 1/Å,
60 to 300 kV, 100 to 2000 Å, and the grid and absorption of `predict`, compared with the engine within 5e-4.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lacbed
from common import finished, number, parser, publish, table
from lacbed.beams import reflections_within
from lacbed.geometry.frame import make_frame
from lacbed.learn.surrogate import Surrogate
from tolerance import random_orientation

EXACT = 5e-4
"""Tolerance of what is compared with."""

FAINT = 1e-3
"""Mean intensity up to which a pattern does not count."""

FAR = 2.0
"""Z in percent beyond which a prediction is to be warned of."""


def draw(case: int, rows: Any) -> tuple[lacbed.Crystal, dict[str, Any]]:
    """A random crystal and what is asked for it, the same for the same number."""
    rng = np.random.default_rng([77, case])
    crystal, zone = random_orientation(rng, rows)
    near = reflections_within(crystal, make_frame(crystal, zone), 1.0)
    g = near[int(rng.integers(len(near)))] if rng.random() < 0.7 else (0, 0, 0)
    asked = {
        "thicknesses": (float(rng.uniform(100.0, 2000.0)),),
        "energy": float(rng.uniform(60e3, 300e3)),
        "zone_axis": zone,
        "hkl": (tuple(int(v) for v in g),),
    }
    return crystal, asked


def judge(case: int, rows: Any, model: Surrogate) -> dict[str, Any]:
    """Error and time of one case."""
    crystal, asked = draw(case, rows)
    cpu, wall = time.process_time(), time.perf_counter()
    guess = lacbed.predict(crystal, **asked)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    settings = model.settings(asked["thicknesses"], asked["energy"])
    exact = lacbed.simulate(
        crystal,
        **asked,
        grid=settings.grid,
        absorption=settings.absorption,
        factors=settings.factors,
        tolerance=EXACT,
    )
    difference = np.abs(guess.values.astype(float) - exact.values)
    return {
        "crystal": crystal.name,
        "zone": list(asked["zone_axis"]),
        "hkl": list(asked["hkl"][0]),
        "kV": round(asked["energy"] / 1e3),
        "thickness": round(asked["thicknesses"][0]),
        "kind": guess.attrs.get("kind", "simulated"),
        "waves": guess.attrs.get("waves", 0),
        "mean": float(exact.values.mean()),
        "z": 100.0 * float(lacbed.zncc_loss(guess.values.astype(float), exact.values).max()),
        "largest": float(difference.max()),
        "estimate": guess.attrs.get("error_estimate"),
        "warned": bool(guess.attrs.get("warnings")),
        "cpu": round(cpu, 3),
        "wall": round(wall, 3),
    }


def summary(outcomes: list[dict[str, Any]]) -> str:
    """Errors of those that are not faint, and times."""
    rows = []
    for name, mine in (
        ("all", outcomes),
        ("computed", [o for o in outcomes if o["kind"] != "learned"]),
        ("learned", [o for o in outcomes if o["kind"] == "learned"]),
    ):
        seen = [o for o in mine if o["mean"] > FAINT]
        if not seen:
            continue
        z, far = np.array([o["z"] for o in seen]), [o for o in seen if o["z"] > FAR]
        cpu, wall = (np.array([o[key] for o in mine]) for key in ("cpu", "wall"))
        rows.append(
            (
                f"{name} ({len(seen)})",
                *(f"{v:.3f}" for v in (z.mean(), np.median(z), np.quantile(z, 0.9), z.max())),
                f"{len(far)}, {sum(o['warned'] for o in far)} warned of",
                *(number(float(v)) for v in (cpu.mean(), np.median(cpu), wall.mean(), np.median(wall))),
            )
        )
    header = ("patterns", "mean Z / %", "median", "p90", "largest", f"Z > {FAR:g} %", "CPU s, mean", "median",
              "wall s, mean", "median")  # fmt: skip
    return table(header, rows)


def main() -> None:
    """Run the cases, print the tables."""
    arguments = parser(__doc__)
    arguments.add_argument("--cases", type=int, default=100)
    arguments.add_argument("--catalog", type=Path, help="catalogue in Parquet, half of the crystals come from it")
    arguments.add_argument("--outcomes", type=Path, help="file of lines of JSON; cases in it are not run again")
    options = arguments.parse_args()
    rows = None
    if options.catalog is not None:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(options.catalog)
    model = Surrogate.load()
    lacbed.predict(lacbed.Crystal.named("Si"))  # loads what is loaded once
    outcomes = []
    for case in range(options.cases):
        outcomes.append(finished(options.outcomes, {"case": case}, lambda case=case: judge(case, rows, model)))
        print(*outcomes[-1].values(), flush=True)
    parts = [
        f"{len(outcomes)} random patterns, those of a mean intensity above {FAINT:g} counted for Z.",
        summary(outcomes),
    ]
    publish("Any crystal, zone axis and reflection", parts, options)


if __name__ == "__main__":
    with torch.no_grad():
        main()
