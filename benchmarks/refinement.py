"""Synthetic truth: ten crystals, Poisson noise at 1000 electrons a pixel, refined from a wrong start.

The patterns come from `lacbed.simulate`, exact, with half as many beams again as the refinement has. The start has
displacements off by up to 30 %, a half-width off by up to 1 %, positions by up to 0.02 Å and occupancies by up to
0.05. Coverage is the share of all refined numbers that lie within one standard uncertainty of the truth (68 % if
uncertainties are right).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

import lacbed
from common import measure, number, parser, publish, table, verdict
from lacbed.beams import reflections_within
from lacbed.geometry.frame import make_frame
from lacbed.invert.measured import Measured
from lacbed.invert.options import Options
from lacbed.invert.parameters import build_parameters
from lacbed.invert.problem import beams_within
from lacbed.invert.refine import refine
from lacbed.invert.structure import start_state
from lacbed.invert.uncertainties import standard_uncertainties

CASES = (
    ("GaAs", (1, 1, 0), "B"), ("Si", (1, 1, 0), "B"), ("SrTiO3", (0, 0, 1), "B"), ("NaCl", (0, 0, 1), "B"),
    ("FeS2", (0, 0, 1), "B,x"), ("TiO2", (0, 0, 1), "B,x"), ("SiO2", (0, 0, 1), "B,x"), ("GaN", (1, 0, 0), "B,x"),
    ("CuO", (0, 0, 1), "B"), ("GaAs", (0, 0, 1), "B,occupancy:Ga1"),
)  # fmt: skip


KINDS = ("thickness", "B", "x", "occupancy")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, default=2, help="noise samples for each crystal")
    options.add_argument("--pixels", type=int, default=24)
    options.add_argument("--dose", type=float, default=1e3, help="incident electrons a pixel")
    chosen = options.parse_args()
    rows, within = [], []
    for case, (name, zone, free) in enumerate(CASES):
        for trial in range(chosen.trials):
            timing, outcome = measure(partial(_trial, name, zone, free, 100 * case + trial, chosen), 1, warm=False)
            errors, pulls, chi = outcome
            within += [abs(p) < 1.0 for p in pulls]
            shown = [_shown(errors.get(kind)) for kind in KINDS]
            rows.append([name, zone, trial, *shown, number(chi), number(timing.cpu)])
    header = [
        "crystal",
        "zone",
        "trial",
        "thickness / Å",
        "B / %",
        "position / Å",
        "occupancy",
        "chi² / n",
        "CPU s",
    ]
    limits = (2.0, 5.0, 0.002, 0.01)
    worst = [max((float(r[i]) for r in rows if r[i]), default=0.0) for i in range(3, 7)]
    verdicts = "; ".join(
        f"{header[3 + i]}: largest error {number(w)}, {verdict(w, limits[i])}" for i, w in enumerate(worst)
    )
    coverage = 100.0 * float(np.mean(within))
    text = (
        f"{verdicts}. Coverage of 68 % intervals: {coverage:.0f} % of {len(within)} numbers (wanted: 55 to 80 %)."
    )
    publish("Refinement of synthetic truth", [text, table(header, rows)], chosen)


def _shown(value: float | None) -> str:
    return "" if value is None else number(value)


def _trial(name, zone, free, seed, chosen):
    rng = np.random.default_rng(seed)
    crystal = lacbed.Crystal.named(name)
    frame = make_frame(crystal, zone)
    half, thickness = 1.5 * frame.shortest, float(rng.uniform(400.0, 900.0))
    hkl = reflections_within(crystal, frame, 2.0 * frame.shortest)[:7]
    grid = lacbed.TiltGrid(chosen.pixels, k_max=half)
    beams = round(1.5 * beams_within(crystal, frame))
    pattern = lacbed.simulate(crystal, zone, 200e3, (thickness,), grid, hkl, beams=beams)
    images = rng.poisson(chosen.dose * pattern.values[0]).astype(float)
    names = ("thickness", "half_width", "tilt", *free.split(","))
    measured = Measured(images, hkl, frame, 200e3, half * rng.uniform(0.99, 1.01))
    settings = Options(
        free=names, thicknesses=tuple(np.arange(300.0, 1001.0, 25.0)), beams=beams_within(crystal, frame),
        absorption=None, align=False, weights="poisson", common_scale=True, blur=0.02, starts=2, steps=8,
    )  # fmt: skip
    result = refine(_wrong(crystal, rng, free), measured, settings)
    truth = start_state(crystal, 200e3, half, thickness=thickness)
    exact = {p.name: p.value for p in build_parameters(crystal, truth, names)}
    su = standard_uncertainties(result.covariance)
    errors: dict[str, float] = {}
    pulls = []
    for p, value, s in zip(result.parameters, result.values, su, strict=True):
        error = abs(value - exact[p.name])
        pulls.append((value - exact[p.name]) / s)
        if p.kind == "x":
            error *= float(np.linalg.norm(crystal.direct @ p.direction.reshape(-1, 3).sum(axis=0)))
        if p.kind == "B":
            error *= 100.0 / abs(exact[p.name])
        errors[p.kind] = max(errors.get(p.kind, 0.0), error)
    return errors, pulls, result.fit.cost / result.fit.residual.numel()


def _wrong(crystal, rng, free):
    """The start: displacements, positions and occupancies off, as far as symmetry lets them."""
    sites = []
    positions = build_parameters(crystal, start_state(crystal, 200e3, 1.0), ("x",)) if "x" in free.split(",") else ()
    moves = np.zeros((len(crystal.sites), 3))
    for p in positions:
        direction = p.direction.reshape(-1, 3)
        moves += rng.uniform(-0.02, 0.02) * direction / np.linalg.norm(crystal.direct @ direction.sum(axis=0))
    for i, site in enumerate(crystal.sites):
        factor = rng.uniform(0.7, 1.3)
        changes = {"xyz": tuple(np.add(site.xyz, moves[i]))}
        if site.u_iso is not None:
            changes["u_iso"] = factor * site.u_iso
        else:
            changes["u_aniso"] = tuple(factor * u for u in site.u_aniso)
        if "occupancy" in free and i == 0:
            changes["occupancy"] = site.occupancy - rng.uniform(0.01, 0.05)
        sites.append(replace(site, **changes))
    return replace(crystal, sites=tuple(sites))


if __name__ == "__main__":
    main()
