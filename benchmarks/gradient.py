"""Cost and memory of a full gradient: against one simulation with the same beams, pixels and reflections.

The gradient is that of a scalar by every parameter of the model (cell, positions, displacements, occupancies,
voltage, thickness, absorption, geometry, blur) by one adjoint pass; the Jacobian is that of all pixels by several
parameters.
"""

from __future__ import annotations

import resource
from dataclasses import fields

import torch

import lacbed
from common import measure, number, parser, publish, table, verdict
from lacbed.beams import reflections_within
from lacbed.geometry.frame import make_frame
from lacbed.refinement.model import BlochModel, images
from lacbed.refinement.parameter import state_function
from lacbed.refinement.parameters import build_parameters
from lacbed.refinement.planning import make_plan
from lacbed.state import ModelState, crystal_state

CASES = (
    ("GaAs", (1, 1, 0), None),
    ("GaAs", (1, 1, 0), "thomas"),
    ("Si", (1, 1, 0), None),
    ("SiO2", (0, 0, 1), None),
)
FREE = ("thickness", "half_width", "tilt", "B", "blur", "voltage", "cell")
LIMIT = 5.0


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--pixels", type=int, default=64)
    options.add_argument("--beams", type=int, default=200)
    options.add_argument("--large", action="store_true", help="also 150 x 150 pixels of 27 reflections")
    chosen = options.parse_args()
    rows = []
    for name, zone, absorption in CASES:
        for sampling in ("lattice", "pixels"):
            pixels = chosen.pixels if sampling == "lattice" else chosen.pixels // 4
            rows.append(_row(name, zone, absorption, sampling, pixels, chosen))
    header = [
        "crystal",
        "absorption",
        "points",
        "pixels",
        "beams",
        "Bloch waves",
        "numbers",
        "simulation / CPU s",
        "gradient / CPU s",
        "ratio",
        "goal",
        "Jacobian / CPU s",
        "columns",
    ]
    parts = [table(header, rows)]
    if chosen.large:
        parts += [_large(absorption, chosen) for absorption in (None, "thomas")]
    publish("Gradients", parts, chosen)


def _problem(name, zone, absorption, sampling, pixels, beams, count=27):
    crystal = lacbed.Crystal.named(name)
    frame = make_frame(crystal, zone)
    half = 2.0 * frame.shortest
    hkl = reflections_within(crystal, frame, 8.0 * frame.shortest)[:count]
    state = crystal_state(crystal, 200e3, half, thickness=800.0)
    plan = make_plan(
        crystal,
        frame,
        hkl,
        pixels,
        state,
        beams=beams,
        absorption=absorption,
        sampling=sampling,
    )
    return crystal, plan, state


def _gradient(plan, state) -> None:
    leaves = ModelState(**{f.name: getattr(state, f.name).clone().requires_grad_() for f in fields(ModelState)})
    images(plan, leaves).square().sum().backward()


def _row(name, zone, absorption, sampling, pixels, chosen):
    crystal, plan, state = _problem(name, zone, absorption, sampling, pixels, chosen.beams)

    def simulation() -> None:
        with torch.no_grad():
            images(plan, state)

    parameters = build_parameters(crystal, state, FREE, absorption)
    values = torch.tensor([p.value for p in parameters], dtype=torch.float64)
    one, _ = measure(simulation, chosen.repeats)
    gradient, _ = measure(lambda: _gradient(plan, state), chosen.repeats)
    columns, _ = measure(
        lambda: BlochModel(plan).jacobian(state_function(state, parameters), values), chosen.repeats
    )
    numbers = sum(getattr(state, f.name).numel() for f in fields(ModelState))
    ratio = gradient.cpu / one.cpu
    return [
        name,
        absorption or "none",
        sampling,
        pixels,
        len(plan.beams),
        plan.basis.shape[1],
        numbers,
        number(one.cpu),
        number(gradient.cpu),
        number(ratio),
        verdict(ratio, LIMIT),
        number(columns.cpu),
        len(values),
    ]


def _large(absorption, chosen) -> str:
    """Peak memory of the whole process, so far, for the largest case of the task."""
    _, plan, state = _problem("GaAs", (1, 1, 0), absorption, "pixels", 150, chosen.beams)
    timing, _ = measure(lambda: _gradient(plan, state), 1, warm=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"150 x 150 pixels, {len(plan.reflections)} reflections, {len(plan.beams)} beams, absorption "
        f"{absorption or 'none'}, one eigenproblem per pixel, gradient with respect to all parameters: "
        f"{number(timing.cpu)} CPU s, peak memory of the process {peak:.2f} GiB: {verdict(peak, 8.0)}."
    )


if __name__ == "__main__":
    main()
