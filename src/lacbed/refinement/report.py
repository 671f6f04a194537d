"""What a refinement leaves behind: a table of numbers, a CIF with uncertainties, a report, pictures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gemmi import cif

from lacbed import report
from lacbed.crystals import Crystal, Site
from lacbed.crystals.cell import Cell, FloatArray
from lacbed.errors import LacbedError
from lacbed.patterns.result import hkl_label, software
from lacbed.refinement.charge import charge_factors
from lacbed.refinement.objective import make_target, z_of
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.problem import weights_of
from lacbed.refinement.refine import Refinement
from lacbed.refinement.uncertainties import correlations, standard_uncertainties, with_uncertainty
from lacbed.report import figure, number, percent, table

STRONG_CORRELATION = 0.8


def summary(result: Refinement, options: RefinementOptions) -> dict[str, Any]:
    """Everything as plain numbers, for JSON."""
    su, measured = standard_uncertainties(result.covariance), result.measured
    target = make_target(torch.as_tensor(measured.images))
    z, aligned = (z_of(fit.images, target).numpy() for fit in (result.fit, result.fit_aligned))
    free = {
        p.name: {
            "value": float(v),
            "uncertainty": float(s),
            "model_error": float(b),
            "unit": p.unit,
            "start": p.value,
            "low": p.low,
            "high": p.high,
        }
        for p, v, s, b in zip(result.parameters, result.values, su, result.check.bias, strict=True)
    }
    charge = charge_factors(result)
    return {
        "software": software(),
        "mean_Z_aligned": float(aligned.mean()),
        "mean_Z": float(z.mean()),
        "median_Z_aligned": float(np.median(aligned)),
        "thickness": float(result.state.thickness),
        "thickness_uncertainty": free.get("thickness", {}).get("uncertainty"),
        "free": free,
        "correlation": {
            "names": [p.name for p in result.parameters],
            "matrix": correlations(result.covariance).tolist(),
        },
        "structure_factors": [] if charge is None else charge.table(),
        "structure_factor_correlation": None
        if charge is None
        else {"names": list(charge.names), "matrix": charge.correlation.tolist()},
        "leave_one_out": {
            "names": [p.name for p in result.parameters],
            "changes": {hkl_label(h): row for h, row in zip(measured.hkl, result.without.tolist(), strict=True)},
        },
        "reflections": [
            {
                "hkl": hkl_label(h),
                "Z": float(z[i]),
                "Z_aligned": float(aligned[i]),
                "shift_x": float(result.shifts[i, 0]),
                "shift_y": float(result.shifts[i, 1]),
                "scale": float(result.fit_aligned.scale[i]),
                "background": float(result.fit_aligned.background[i]),
            }
            for i, h in enumerate(measured.hkl)
        ],
        "half_width": float(result.state.half_width),
        "tilt": result.state.tilt.tolist(),
        "blur": float(result.state.blur),
        "absorption": options.absorption,
        "absorption_factor": float(result.state.absorption),
        "factors": options.factors,
        "beams": len(result.plan.beams),
        "bloch_waves": result.plan.basis.shape[1],
        "matrices": len(result.plan.reduced),
        "check_beams": result.check.beams,
        "check_bloch_waves": result.check.waves,
        "check_max_difference": result.check.difference,
        "check_mean_Z_change": result.check.z,
        "divisions": result.plan.divisions,
        "weights": weights_of(result.measured, options),
        "scan": result.progress.scan.tolist(),
        "history": [{"stage": name, "mean_Z": z} for name, z in result.progress.history],
        "notes": list(result.notes),
    }


def refined_crystal(crystal: Crystal, result: Refinement) -> Crystal:
    """The crystal of the final state; the first model with a note if no crystal can be like that."""
    state = result.state
    cell: Cell = tuple(float(v) for v in state.cell)  # type: ignore[assignment]
    note = f"refined against LACBED by {software()}"
    try:
        changed = tuple(_refined_site(site, result, i) for i, site in enumerate(crystal.sites))
        return replace(crystal, cell=cell, sites=changed, notes=(*crystal.notes, note))
    except LacbedError as error:
        return replace(crystal, notes=(*crystal.notes, f"refinement gave an impossible crystal: {error}"))


def _refined_site(site: Site, result: Refinement, number: int) -> Site:
    state = result.state
    x, y, z = (float(v) for v in state.xyz[number])
    u11, u22, u33, u23, u13, u12 = (float(v) for v in state.u[number])
    filled = replace(site, xyz=(x, y, z), occupancy=min(1.0, float(state.occupancy[number])))
    if site.u_aniso is None:
        return replace(filled, u_iso=max(0.0, u11))
    return replace(filled, u_aniso=(u11, u22, u33, u23, u13, u12))


def refined_cif(crystal: Crystal, result: Refinement) -> str:
    """CIF of the refined crystal, with standard uncertainties in parentheses."""
    data = cif.read_string(refined_crystal(crystal, result).to_cif())
    block = data.sole_block()
    for place, tag in enumerate(
        (
            "_cell_length_a",
            "_cell_length_b",
            "_cell_length_c",
            "_cell_angle_alpha",
            "_cell_angle_beta",
            "_cell_angle_gamma",
        )
    ):
        su = _field_su(result, "cell", 6)[place]
        if su > 0:
            block.set_pair(tag, with_uncertainty(float(block.find_value(tag)), su))
    count = len(crystal.sites)
    xyz, occupancy = _field_su(result, "xyz", 3 * count).reshape(count, 3), _field_su(result, "occupancy", count)
    u = _field_su(result, "u", 6 * count).reshape(count, 6)
    table = block.find("_atom_site_", ["fract_x", "fract_y", "fract_z", "occupancy", "U_iso_or_equiv"])
    for i, row in enumerate(table):
        for column, su in enumerate([*xyz[i], occupancy[i], u[i, 0] if crystal.sites[i].u_aniso is None else 0.0]):
            if su > 0:
                row[column] = with_uncertainty(float(row[column]), su)
    rows = [i for i, site in enumerate(crystal.sites) if site.u_aniso is not None]
    table = block.find("_atom_site_aniso_", [f"U_{ij}" for ij in ("11", "22", "33", "23", "13", "12")])
    for i, row in zip(rows, table, strict=False):
        for column in range(6):
            if u[i, column] > 0:
                row[column] = with_uncertainty(float(row[column]), u[i, column])
    return str(data.as_string())


def _field_su(result: Refinement, field: str, size: int) -> FloatArray:
    """Standard uncertainty of every number of a field, 0 for what was not free."""
    chosen = [i for i, p in enumerate(result.parameters) if p.field == field]
    if not chosen:
        return np.zeros(size)
    directions = np.stack([result.parameters[i].direction for i in chosen])
    matrix = np.nan_to_num(result.covariance[np.ix_(chosen, chosen)], posinf=0.0)
    return np.asarray(np.sqrt(np.maximum(np.einsum("pf,pq,qf->f", directions, matrix, directions), 0.0)))


def write_text(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """The report for people; its figures are in the folder.

    Args:
        folder: of the results.
        name: of what was measured.
        numbers: of `summary`.
    """
    thickness = numbers["free"].get("thickness", {"value": numbers["thickness"], "uncertainty": 0.0})
    facts = [
        ("mean Z, each image shifted", percent(numbers["mean_Z_aligned"])),
        ("mean Z, not shifted", percent(numbers["mean_Z"])),
        ("thickness", f"{with_uncertainty(thickness['value'], thickness['uncertainty'])} Å"),
        ("reflections", str(len(numbers["reflections"]))),
        ("beams", str(numbers["beams"])),
    ]
    rows = [
        (label, f"{row['start']:.6g}", with_uncertainty(row["value"], row["uncertainty"]), row["unit"])
        for label, row in numbers["free"].items()
    ]
    pairs = _strong_pairs(numbers["correlation"])
    parts = [
        f"Refined against LACBED images by {numbers['software']}. Z is 1 \N{MINUS SIGN} correlation; 0 is "
        "perfect.",
        "## Parameters",
        table(("parameter", "start", "refined", "unit"), rows, (0, 3)),
        meaning(numbers["weights"]),
        *_influence(numbers),
        *([f"Strong correlations: {'; '.join(map(report.escape, pairs))}."] if pairs else []),
        *_picture(folder, "correlation.png", "Correlations between the parameters."),
        *_picture(
            folder, "thickness.png", "Mean Z against the thickness before refinement; the line marks the result."
        ),
        "## Reflections",
        figure(
            "comparison.png",
            "Every reflection as measured and as simulated, each image shifted, and their difference. The "
            "colours of the difference span half the range of the greys.",
        ),
        table(
            ("hkl", "Z", "Z aligned", "shift x", "shift y", "scale"),
            [_reflection(row) for row in numbers["reflections"]],
        ),
        "Shifts are in pixels and move the simulated image.",
        *_electrons(folder, numbers),
        "## Method",
        _method(numbers),
    ]
    report.write_report(folder, f"Refinement of {name}", parts, facts, numbers["notes"])


def _influence(numbers: dict[str, Any]) -> list[str]:
    """Which reflection each parameter of the crystal hangs on."""
    changes, rows = numbers["leave_one_out"]["changes"], []
    for place, (name, found) in enumerate(numbers["free"].items()):
        hkl, most = max(((h, row[place]) for h, row in changes.items()), key=lambda pair: abs(pair[1]))
        if name in ("thickness", "absorption") or ":" in name:
            size = found["uncertainty"] or math.inf
            rows.append(
                (name, hkl.replace(",", " "), f"{most:+.2g} {found['unit']}".rstrip(), f"{most / size:+.1f}")
            )
    if len(changes) < 3 or not rows:
        return []
    head = ("parameter", "without", "changes by", "in uncertainties")
    return [
        "The reflection that each parameter hangs on most, and its change (to first order) without it:",
        table(head, rows),
    ]


def _electrons(folder: Path, numbers: dict[str, Any]) -> list[str]:
    """X-ray structure factors, if any U_g were free."""
    rows = numbers["structure_factors"]
    if not rows:
        return []
    return [
        "## X-ray structure factors",
        "Structure factors in electrons per cell that follow from the refined U_g by the formula of Mott and "
        "Bethe, beside those of neutral atoms of the same table and displacements. At rest means without thermal "
        "motion.",
        table(
            (
                "hkl",
                "s (1/Å)",
                "|F| at rest",
                "neutral",
                "difference",
                "phase",
                "neutral",
                "|F| in motion",
                "neutral",
            ),
            [_factor(row) for row in rows],
        ),
        *_picture(
            folder,
            "deformation.png",
            "Density of the electrons less that of neutral atoms, along the zone axis, from these structure "
            "factors alone: orange where there are more, blue where there are fewer. Dots are atoms.",
        ),
    ]


def _factor(row: dict[str, Any]) -> list[str]:
    phase = row["F_phase"]
    if row["F_phase_uncertainty"] > 1e-6:
        phase_text = f"{with_uncertainty(phase, row['F_phase_uncertainty'])}°"
    else:
        phase_text = f"{phase:.0f}°"
    return [
        row["hkl"].replace(",", " "),
        f"{row['s']:.4f}",
        with_uncertainty(row["F"], row["F_uncertainty"]),
        f"{row['F_neutral']:.3f}",
        f"{row['F'] - row['F_neutral']:+.3f}",
        phase_text,
        f"{row['F_neutral_phase']:.1f}°",
        with_uncertainty(row["F_thermal"], row["F_thermal_uncertainty"]),
        f"{row['F_thermal_neutral']:.3f}",
    ]


def _picture(folder: Path, name: str, caption: str) -> list[str]:
    """A figure, if it was drawn."""
    return [figure(name, caption)] if (folder / name).is_file() else []


def _reflection(row: dict[str, Any]) -> list[str]:
    z = (percent(row["Z"]), percent(row["Z_aligned"]))
    return [
        row["hkl"].replace(",", " "),
        *z,
        f"{row['shift_x']:+.2f}",
        f"{row['shift_y']:+.2f}",
        number(row["scale"]),
    ]


def _method(numbers: dict[str, Any]) -> str:
    return (
        f"{numbers['beams']} beams in {numbers['bloch_waves']} Bloch waves, {numbers['matrices']} matrices. With "
        f"{numbers['check_beams']} beams, {numbers['check_bloch_waves']} waves and finer points, intensities "
        f"change by at most {numbers['check_max_difference']:.2g} and mean Z by "
        f"{numbers['check_mean_Z_change']:+.4f}; the resulting change of each parameter is part "
        "of its uncertainty. Scattering factors: "
        f"{report.escape(numbers['factors'])}; absorption: {report.escape(numbers['absorption'])}."
    )


def meaning(weights: str) -> str:
    """What the uncertainties hold, in a sentence."""
    if weights == "variance":
        return "Uncertainties (in units of the last digits) follow from the variances that the experiment states."
    if weights == "poisson":
        return "Uncertainties (in units of the last digits) follow from the counting statistics."
    return (
        "Uncertainties (in units of the last digits) follow from how much the reflections disagree about each "
        "parameter, because the residuals are model errors rather than noise; errors common to all are not "
        "included."
    )


def _strong_pairs(correlation: dict[str, Any]) -> list[str]:
    names, matrix = correlation["names"], np.array(correlation["matrix"])
    return [
        f"{names[i]} and {names[j]} {matrix[i, j]:+.2f}"
        for i in range(len(names))
        for j in range(i)
        if abs(matrix[i, j]) > STRONG_CORRELATION
    ]
