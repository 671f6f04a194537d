"""Do refinements scatter as `lacbed plan` forecasts, and does the design that it ranks first win?

For every design noisy stacks are simulated by the engine (not by the model of the refinement) and refined with all
defaults; the scatter of each parameter is compared with its forecast.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import lacbed
from common import parser, publish, table
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.geometry.frame import make_frame

DESIGNS = (
    lacbed.Design((0, 0, 1), 450.0, 0.5, images=8, pixels=32, blur=0.6),
    lacbed.Design((1, 1, 0), 450.0, 0.5, images=8, pixels=32, blur=0.6),
    lacbed.Design((0, 0, 1), 450.0, 0.5, images=8, pixels=32, blur=0.6, dose=200.0),
)


def refined(crystal: lacbed.Crystal, design: lacbed.Design, forecast: lacbed.Forecast, count: int) -> np.ndarray:
    """Values of the parameters from noisy stacks: (stack, parameter)."""
    from scipy.ndimage import gaussian_filter

    hkl = forecast.hkl[0]
    fine = lacbed.TiltGrid(4 * design.pixels, k_max=design.half_width)
    exact = lacbed.simulate(
        crystal, design.zone_axis, design.energy, (design.thickness,), fine, hkl, absorption="thomas",
        tolerance=1e-4,
    ).values[0]  # fmt: skip
    blurred = gaussian_filter(exact, (0, 4 * design.blur, 4 * design.blur))
    n = design.pixels
    expected = design.dose * blurred.reshape(len(hkl), n, 4, n, 4).mean(axis=(2, 4))[:, ::-1] + design.background
    across = tuple(float(v) for v in make_frame(crystal, design.zone_axis).x_direction)
    geometry = Geometry(design.energy, design.zone_axis, across, design.half_width)  # type: ignore[arg-type]
    options = lacbed.RefinementOptions(thicknesses=(design.thickness,), starts=1, align="none", blur=0.66)
    random, found = np.random.default_rng(0), []
    for number in range(count):
        stack = make_experiment(random.poisson(expected), hkl, geometry, variance=expected)
        start = time.process_time()
        result = lacbed.refine(stack, crystal, options)
        found.append(result.values)
        print(design.label, number, f"{time.process_time() - start:.1f} CPU s", file=sys.stderr, flush=True)
    return np.array(found)


def main() -> None:
    """Forecast, refine, compare."""
    options = parser(__doc__)
    options.add_argument("--crystal", default="MgO")
    options.add_argument("--count", type=int, default=100, help="refinements for each design")
    asked = options.parse_args()
    crystal = lacbed.Crystal.named(asked.crystal)
    rows = []
    for forecast in lacbed.plan(crystal, DESIGNS, ("B",)):
        values = refined(crystal, forecast.designs[0], forecast, asked.count)
        for place, p in enumerate(forecast.parameters):
            su, scatter = forecast.uncertainties[p.name], float(values[:, place].std(ddof=1))
            label = f"{forecast.designs[0].label}, {forecast.designs[0].dose:g} e"
            bias = float(values[:, place].mean() - p.value)
            rows.append([label, p.name, f"{su:.3g}", f"{scatter:.3g}", f"{scatter / su:.2f}", f"{bias / su:+.2f}"])
    head = (
        "design, the best first",
        "parameter",
        "forecast",
        f"scatter of {asked.count}",
        "ratio",
        "bias / forecast",
    )
    publish("Forecasts compared with refinements", [table(head, rows)], asked)


if __name__ == "__main__":
    main()
