"""Synthetic truth with bonds: U_g of the lowest families changed at random, refined with and without the term.

The patterns come from `lacbed.intensities`, pixel by pixel, with Poisson noise and U_g that differ from those of
neutral atoms by two per cent or so. The refinement starts from neutral atoms and a B that is 15 % off, with the
families free and once more without. Coverage is the share of F_g within one standard uncertainty of the truth.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

import lacbed
from common import measure, number, parser, publish, table
from lacbed.geometry.frame import make_frame
from lacbed.potential import potential_coefficients
from lacbed.refinement.charge import charge_factors
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.problem import Measured
from lacbed.refinement.refine import refine
from lacbed.refinement.result import Refinement
from lacbed.xray import xray_factors

CASES = (
    ("Si", ((1, -1, 1), (2, -2, 0), (1, -1, 3), (0, 0, 4)), 700.0),
    ("GaAs", ((1, -1, 1), (0, 0, 2), (2, -2, 0), (1, -1, 3)), 640.0),
)
ZONE, ENERGY, BEAMS = (1, 1, 0), 200e3, 60
HKL = ((0, 0, 0), (1, -1, 1), (-1, 1, 1), (0, 0, 2), (2, -2, 0), (1, -1, 3), (0, 0, 4), (2, -2, 2))
SIZE = 0.02
"""Standard deviation of the changes, as parts of U_g."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, default=3)
    options.add_argument("--pixels", type=int, default=20)
    options.add_argument("--dose", type=float, default=1e3, help="incident electrons per pixel")
    chosen = options.parse_args()
    rows, pulls, errors = [], [], []
    for trial in range(chosen.trials):
        for name, families, thickness in CASES:
            rng = np.random.default_rng((trial, len(name)))
            trial_of = partial(_trial, name, families, thickness, rng, chosen)
            timing, found = measure(trial_of, 1, warm=False)
            row, mine, relative = found
            rows.append([name, str(trial), *row, f"{timing.cpu:.0f}"])
            pulls += mine
            errors += relative
            print(*rows[-1], flush=True)
    values = np.array(pulls)
    text = (
        f"{len(values)} structure factors: {np.mean(np.abs(values) < 1):.0%} within one uncertainty, root mean "
        f"square of error / uncertainty {number(float(np.sqrt(np.mean(values**2))))}, of the error "
        f"{100 * float(np.sqrt(np.mean(np.square(errors)))):.2f} %."
    )
    head = ("crystal", "trial", "B error (in uncertainties)", "B error without", "chi²/n", "without", "CPU s")
    publish("Bonds", [str(__doc__).partition("\n")[2].strip(), text, table(head, rows)], chosen)


def _trial(name, families, thickness, rng, chosen) -> tuple[list[str], list[float], list[float]]:  # type: ignore[no-untyped-def]
    crystal = lacbed.Crystal.named(name)
    hkl = tuple(h for h in HKL if name != "Si" or h not in ((0, 0, 2), (2, -2, 2)))
    grid = lacbed.TiltGrid(chosen.pixels, k_max=0.4)
    model = lacbed.prepare_model(
        crystal,
        free_ug=families,
        zone_axis=ZONE,
        energy=ENERGY,
        thicknesses=(thickness,),
        grid=grid,
        hkl=hkl,
        beams=BEAMS,
        absorption="thomas",
    )
    state = lacbed.model_state(model)
    places = np.array([g for g, _ in model.changes])
    size = potential_coefficients(crystal, places, ENERGY)[0].abs().numpy()
    amounts = torch.as_tensor(size * rng.normal(0.0, SIZE, len(size)))
    truth = lacbed.intensities(model, state.changed(ug_change=amounts)).detach().numpy()[0]
    images = rng.poisson(chosen.dose * truth).astype(float)
    measured = Measured(images, hkl, make_frame(crystal, ZONE), ENERGY, 0.4)
    start = crystal.with_b_iso(1.15 * float(np.mean([s.b_iso for s in crystal.sites])))
    options = RefinementOptions(
        ("thickness", "B", "absorption", *(f"Ug:{h},{k},{l}" for h, k, l in families)),  # noqa: E741
        (thickness - 20.0, thickness, thickness + 20.0),
        beams=BEAMS,
        blur=0.05,
        starts=1,
        align="none",
        weights="poisson",
        common_scale=True,
        border=0.0,
    )
    bonded = refine(measured, start, options)
    plain = refine(measured, start, replace(options, fixed=("Ug",)))
    factors = charge_factors(bonded)
    assert factors is not None
    u = potential_coefficients(crystal, np.array(factors.hkl), ENERGY)[0].numpy()
    for (g, unit), amount in zip(model.changes, amounts.tolist(), strict=True):
        u[factors.hkl.index(g)] += amount * unit
    true = xray_factors(crystal, np.array(factors.hkl), torch.as_tensor(u), ENERGY).abs().numpy()
    error = np.abs(factors.thermal) - true
    row = [
        f"{_worst(bonded, crystal)[0]} ({_worst(bonded, crystal)[1]})",
        _worst(plain, crystal)[0],
        *(number(r.fit.cost / r.fit.residual.numel()) for r in (bonded, plain)),
    ]
    return row, (error / factors.uncertainty[1]).tolist(), (error / true).tolist()


def _worst(result: Refinement, crystal: lacbed.Crystal) -> tuple[str, str]:
    """Largest error of a B in Å², and the largest in uncertainties."""
    true = {f"B:{s.label}": s.b_iso for s in crystal.sites}
    found = [
        (v - true[p.name], np.sqrt(result.covariance[i, i]))
        for i, (p, v) in enumerate(zip(result.parameters, result.values, strict=True))
        if p.kind == "B"
    ]
    return f"{max((e for e, _ in found), key=abs):+.4f}", f"{max((e / s for e, s in found), key=abs):+.1f}"


if __name__ == "__main__":
    main()
