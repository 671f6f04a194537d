"""Do refinements scatter as `lacbed plan` forecasts, and does the design that it ranks first win?

For every design noisy stacks are simulated by the engine (not by the model of the refinement) and refined with all
defaults; the scatter of each parameter is compared with its forecast, and with the mean of the uncertainties that
the refinements state. The truth stays the same while the noise changes, so that a prior pulls all estimates alike:
the scatter to be expected is the root of C - C P C, with C the covariance of the forecast and P the precisions of
the priors.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lacbed
from common import finished, parser, publish, table
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.geometry.frame import make_frame

DESIGNS = (
    lacbed.Design((1, 1, 0), 500.0, 0.3, images=7, pixels=20, blur=0.6),
    lacbed.Design((0, 0, 1), 500.0, 0.3, images=7, pixels=20, blur=0.6),
)
FINER = 4
"""The truth is computed at so many times the pixels per side."""


def refined(crystal: lacbed.Crystal, forecast: lacbed.Forecast, count: int, keep: Path | None) -> np.ndarray:
    """Values and stated uncertainties of the parameters from noisy stacks: (stack, 2, parameter)."""
    from scipy.ndimage import gaussian_filter

    design, hkl = forecast.designs[0], forecast.hkl[0]
    fine = lacbed.TiltGrid(FINER * design.pixels, k_max=design.half_width)
    exact = lacbed.simulate(
        crystal, design.zone_axis, design.energy, (design.thickness,), fine, hkl, absorption="thomas",
        tolerance=1e-4,
    ).values[0]  # fmt: skip
    blurred = gaussian_filter(exact, (0, FINER * design.blur, FINER * design.blur))
    n = design.pixels
    means = blurred.reshape(len(hkl), n, FINER, n, FINER).mean(axis=(2, 4))[:, ::-1]
    expected = design.dose * means + design.background
    across = tuple(float(v) for v in make_frame(crystal, design.zone_axis).x_direction)
    geometry = Geometry(design.energy, design.zone_axis, across, design.half_width)  # type: ignore[arg-type]
    options = lacbed.RefinementOptions(thicknesses=(design.thickness,), starts=1, align="none", blur=0.66)
    label = f"{crystal.name} {design.label}"

    def one(number: int) -> dict[str, Any]:
        random, start = np.random.default_rng([0, number]), time.process_time()
        stack = make_experiment(random.poisson(expected), hkl, geometry, variance=expected)
        result = lacbed.refine(stack, crystal, options)
        cpu = time.process_time() - start
        print(label, number, f"{cpu:.1f} CPU s", flush=True)
        return {"found": [result.values.tolist(), np.sqrt(np.diag(result.covariance)).tolist()], "cpu": cpu}

    keys = [{"design": label, "number": number} for number in range(count)]
    return np.array([finished(keep, key, partial(one, key["number"]))["found"] for key in keys])


def main() -> None:
    """Forecast, refine, compare."""
    options = parser(__doc__)
    options.add_argument("--crystal", default="Si")
    options.add_argument("--count", type=int, default=100, help="refinements for each design")
    options.add_argument("--keep", type=Path, help="file of finished refinements; those in it are not made again")
    asked = options.parse_args()
    crystal = lacbed.Crystal.named(asked.crystal)
    rows = []
    for forecast in lacbed.plan(crystal, DESIGNS, ("B",)):
        found = refined(crystal, forecast, asked.count, asked.keep)
        C = np.where(np.isfinite(forecast.covariance), forecast.covariance, 0.0)
        P = np.diag([1.0 / p.spread**2 for p in forecast.parameters])
        expected = np.sqrt(np.maximum(np.diag(C - C @ P @ C), 0.0))
        for place, p in enumerate(forecast.parameters):
            values, stated = found[:, 0, place], found[:, 1, place]
            scatter, su = float(values.std(ddof=1)), forecast.uncertainties[p.name]
            rows.append(
                [
                    forecast.designs[0].label,
                    p.name,
                    f"{su:.3g}",
                    f"{np.median(stated):.3g}",
                    f"{expected[place]:.3g}",
                    f"{scatter:.3g}",
                    f"{scatter / max(expected[place], 1e-300):.2f}",
                    f"{(values.mean() - p.value) / su:+.2f}",
                ]
            )
    head = (
        "design, the best first",
        "parameter",
        "forecast",
        "stated (median)",
        "scatter expected",
        f"scatter of {asked.count}",
        "ratio of these",
        "bias / forecast",
    )
    publish(
        "Forecasts compared with refinements", [str(__doc__).partition("\n")[2].strip(), table(head, rows)], asked
    )


if __name__ == "__main__":
    main()
