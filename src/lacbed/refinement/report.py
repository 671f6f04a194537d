"""What a refinement leaves behind as plain numbers, and as a CIF with uncertainties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gemmi import cif

from lacbed.crystals import Crystal, Site
from lacbed.crystals.cell import Cell, FloatArray
from lacbed.errors import LacbedError
from lacbed.patterns.result import hkl_label, software
from lacbed.refinement.charge import charge_factors
from lacbed.refinement.objective import make_target, z_of
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.problem import weights_of
from lacbed.refinement.profile import Profile
from lacbed.refinement.result import Refinement
from lacbed.refinement.uncertainties import correlations, standard_uncertainties, with_uncertainty


def summary(result: Refinement, options: RefinementOptions, names: Sequence[str] = ()) -> dict[str, Any]:
    """Everything as plain numbers, for JSON.

    Args:
        result: the refinement.
        options: of it.
        names: of the stacks.

    Returns:
        Means are over the images of all stacks; what belongs to one stack is that of the first, and under "stacks"
        that of each.
    """
    rows = [row for number in range(len(result.stacks)) for row in _reflections(result, number)]
    z, aligned = (np.array([row[key] for row in rows]) for key in ("Z", "Z_aligned"))
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
        for p, v, s, b in zip(
            result.parameters, result.values, standard_uncertainties(result.covariance), result.bias, strict=True
        )
    }
    charge = charge_factors(result)
    stacks = [_stack(result, number, rows, options, names) for number in range(len(result.stacks))]
    labels = [row["hkl"] + (f"@{row['stack']}" if len(stacks) > 1 else "") for row in rows]
    return {
        "software": software(),
        "mean_Z_aligned": float(aligned.mean()),
        "mean_Z": float(z.mean()),
        "median_Z_aligned": float(np.median(aligned)),
        "thickness_uncertainty": uncertainty_of(free, "thickness", len(stacks), 1),
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
            "changes": dict(zip(labels, result.without.tolist(), strict=True)),
        },
        "profile": _profile(result.profile),
        "reflections": rows,
        **{key: value for key, value in stacks[0].items() if key not in ("name", "mean_Z", "mean_Z_aligned")},
        "absorption": options.absorption,
        "absorption_factor": float(result.state.absorption),
        "factors": options.factors,
        "stacks": stacks,
        "history": [{"stage": name, "mean_Z": z} for name, z in result.history],
        "notes": list(result.notes),
    }


def _stack(
    result: Refinement,
    number: int,
    rows: Sequence[dict[str, Any]],
    options: RefinementOptions,
    names: Sequence[str],
) -> dict[str, Any]:
    """What belongs to one stack."""
    one = result.stacks[number]
    mine = [row for row in rows if row["stack"] == number + 1]
    return {
        "name": names[number] if names else f"stack {number + 1}",
        "zone_axis": [int(i) for i in one.measured.frame.zone_axis],
        "mean_Z_aligned": float(np.mean([row["Z_aligned"] for row in mine])),
        "mean_Z": float(np.mean([row["Z"] for row in mine])),
        "thickness": float(one.state.thickness),
        "energy": float(one.state.energy),
        "half_width": float(one.state.half_width),
        "tilt": one.state.tilt.tolist(),
        "distortion": one.state.distortion.tolist(),
        "blur": float(one.state.blur),
        "beams": len(one.plan.beams),
        "bloch_waves": one.plan.basis.shape[1],
        "matrices": len(one.plan.reduced),
        "check_beams": one.check.beams,
        "check_bloch_waves": one.check.waves,
        "check_max_difference": one.check.difference,
        "check_mean_Z_change": one.check.z,
        "divisions": one.plan.divisions,
        "weights": weights_of(one.measured, options),
        "scan": one.start.scan.tolist(),
    }


def _reflections(result: Refinement, number: int) -> list[dict[str, Any]]:
    """The images of one stack."""
    one = result.stacks[number]
    target = make_target(torch.as_tensor(one.measured.images))
    z, aligned = (z_of(fit.images, target).tolist() for fit in (one.fit, one.fit_aligned))
    return [
        {
            "stack": number + 1,
            "hkl": hkl_label(h),
            "Z": z[i],
            "Z_aligned": aligned[i],
            "shift_x": float(one.shifts[i, 0]),
            "shift_y": float(one.shifts[i, 1]),
            "scale": float(one.fit_aligned.scale[i]),
            "background": float(one.fit_aligned.background[i]),
        }
        for i, h in enumerate(one.measured.hkl)
    ]


def uncertainty_of(free: dict[str, Any], name: str, stacks: int, number: int) -> float | None:
    """The uncertainty of a parameter of one stack, None if it was not free."""
    found: float | None = free.get(f"{name}@{number}" if stacks > 1 else name, {}).get("uncertainty")
    return found


def _profile(found: Profile | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "name": found.name,
        "unit": found.unit,
        "values": found.values.tolist(),
        "rise": found.rise.tolist(),
        "best": found.best,
        "low": found.low,
        "high": found.high,
        "uncertainty": found.uncertainty,
        "inflation": found.inflation,
    }


def refined_crystal(crystal: Crystal, result: Refinement) -> Crystal:
    """The crystal of the final state; the first model with a note if no crystal can be like that."""
    cell: Cell = tuple(float(v) for v in result.state.cell)  # type: ignore[assignment]
    note = f"refined against LACBED by {software()}"
    strain = [
        (p.name, v) for p, v in zip(result.parameters, result.values.tolist(), strict=True) if p.kind == "strain"
    ]
    if strain:  # the space group would not allow it
        cell, note = crystal.cell, f"{note}, without its strain ({', '.join(f'{n} {v:+.5f}' for n, v in strain)})"
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
    chosen = [i for i, p in enumerate(result.parameters) if p.field == field and p.kind != "strain"]
    if not chosen:
        return np.zeros(size)
    directions = np.stack([result.parameters[i].direction for i in chosen])
    matrix = np.nan_to_num(result.covariance[np.ix_(chosen, chosen)], posinf=0.0)
    return np.asarray(np.sqrt(np.maximum(np.einsum("pf,pq,qf->f", directions, matrix, directions), 0.0)))
