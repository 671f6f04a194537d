"""On a CUDA device: patterns per second and the share of the device's matrix peak.

The peak is measured, not quoted: one large matrix product in the same precision. The operations of a pattern are
counted from the Chebyshev expansion: terms x 4 n^2 x tilts for a real potential and complex waves (8 n^2 for a
complex potential), n beams. Without a device it says so.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch

import lacbed
from common import number, parser, publish, table
from lacbed.settings import Settings
from lacbed.setup import prepare
from lacbed.solvers.chebyshev import spectral_bounds


def seconds(call: Any, repeats: int) -> float:
    """Wall seconds of one call on the device, the best of several, after one that is not counted."""
    call()
    best = math.inf
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def peak(dtype: torch.dtype, side: int = 8192) -> float:
    """Operations per second of a square matrix product."""
    a = torch.randn(side, side, dtype=dtype, device="cuda")
    return 2.0 * side**3 / seconds(lambda: a @ a, 5)


def operations(crystal: lacbed.Crystal, settings: dict[str, Any]) -> float:
    """Floating-point operations of the matrix products of one pattern without absorption."""
    problem = prepare(crystal, Settings(**settings)).problem
    _, radius, _ = spectral_bounds(problem, torch.arange(len(problem.anchor)))
    terms = 2.0 * math.pi * radius * float(problem.thicknesses.max()) + 40.0
    return terms * (4.0 if problem.is_real else 8.0) * problem.strong**2 * len(problem.anchor)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--crystals", nargs="+", default=["SrTiO3", "GaAs", "spinel"])
    chosen = options.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA device here: nothing was measured.")
        return
    rows = []
    for dtype in ("float64", "float32"):
        top = peak(getattr(torch, dtype))
        for name in chosen.crystals:
            crystal = lacbed.Crystal.named(name)
            for beams, extent in ((100, 2.0), (200, 2.0), (500, 4.0)):
                settings: dict[str, Any] = dict(
                    thicknesses=(1000.0,),
                    grid=lacbed.TiltGrid(128, extent=extent),
                    beams=beams,
                    solver="chebyshev",
                    device="cuda",
                    dtype=dtype,
                )
                took = seconds(lambda s=settings, c=crystal: lacbed.simulate(c, **s), chosen.repeats)
                count = operations(crystal, settings)
                rows.append(
                    [
                        name,
                        dtype,
                        beams,
                        f"±{extent:g} a*",
                        number(took),
                        number(1.0 / took),
                        number(1e-12 * count / took),
                        f"{100.0 * count / took / top:.1f} %",
                    ]
                )
        rows.append(["matrix product", dtype, "", "", "", "", number(1e-12 * top), "100 %"])
    header = ["crystal", "precision", "beams", "range", "wall s", "patterns/s", "TFLOP/s", "share of peak"]
    explained = (
        f"{torch.cuda.get_device_name()}; 128 x 128 pixels, 1000 Å, 000, Chebyshev solver, the whole call of "
        "`simulate` with its set-up on the CPU. Share of what one large matrix product reaches in that precision."
    )
    publish("On a GPU", [explained, table(header, rows)], chosen)


if __name__ == "__main__":
    main()
