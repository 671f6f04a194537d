"""What a refinement leaves behind: a table of numbers, a CIF with uncertainties, a report, pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
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
from lacbed.refinement.profile import Profile
from lacbed.refinement.refine import Refinement
from lacbed.refinement.uncertainties import correlations, standard_uncertainties, with_uncertainty
from lacbed.report import figure, number, percent, table

STRONG_CORRELATION = 0.8

SHARED = (
    "All stacks share the crystal; what belongs to one of them has its number: thickness@2. Each stack is "
    "weighted by the inverse of what the model leaves of it."
)
AXES = (
    "Strain is on the Cartesian axes of the crystal: 1 along a, 3 along c\\*, 2 across both. The cell of the CIF "
    "is that without strain."
)


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
        "thickness_uncertainty": _uncertainty_of(free, "thickness", len(stacks), 1),
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


def _uncertainty_of(free: dict[str, Any], name: str, stacks: int, number: int) -> float | None:
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


def write_text(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """The report for people; its figures are in the folder.

    Args:
        folder: of the results.
        name: of what was measured.
        numbers: of `summary`.
    """
    several = len(numbers["stacks"]) > 1
    facts = [
        ("mean Z, each image shifted", percent(numbers["mean_Z_aligned"])),
        ("mean Z, not shifted", percent(numbers["mean_Z"])),
        *_thicknesses(numbers),
        ("reflections", str(len(numbers["reflections"]))),
        ("beams", " and ".join(str(one["beams"]) for one in numbers["stacks"])),
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
        *([SHARED] if several else []),
        table(("parameter", "start", "refined", "unit"), rows, (0, 3)),
        *([AXES] if any(name.startswith("strain:") for name in numbers["free"]) else []),
        *dict.fromkeys(meaning(one["weights"]) for one in numbers["stacks"]),
        *_influence(numbers),
        *([f"Strong correlations: {'; '.join(map(report.escape, pairs))}."] if pairs else []),
        *_picture(folder, "correlation.png", "Correlations between the parameters."),
        *_scans(folder, numbers),
        *_likelihood(folder, numbers),
        *(_each(numbers) if several else []),
        "## Reflections",
        *_comparisons(folder, numbers),
        table(
            (*(("stack",) if several else ()), "hkl", "Z", "Z aligned", "shift x", "shift y", "scale"),
            [(*((str(row["stack"]),) if several else ()), *_reflection(row)) for row in numbers["reflections"]],
            (0, 1) if several else (0,),
        ),
        "Shifts are in pixels and move the simulated image.",
        *_electrons(folder, numbers),
        "## Method",
        *(_method(place, numbers) for place in range(len(numbers["stacks"]))),
    ]
    report.write_report(folder, f"Refinement of {name}", parts, facts, numbers["notes"])


def numbered(file: str, number: int, stacks: int) -> str:
    """The name of a file of one stack: that of the only one, or with its number."""
    stem, _, suffix = file.rpartition(".")
    return f"{stem}-{number}.{suffix}" if stacks > 1 else file


def _thicknesses(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """The thickness of each stack with its uncertainty."""
    stacks = numbers["stacks"]
    facts = []
    for place, one in enumerate(stacks, 1):
        su = _uncertainty_of(numbers["free"], "thickness", len(stacks), place) or 0.0
        which = f"thickness of stack {place}" if len(stacks) > 1 else "thickness"
        facts.append((which, f"{with_uncertainty(one['thickness'], su)} Å"))
    return facts


def _scans(folder: Path, numbers: dict[str, Any]) -> list[str]:
    """The pictures of the thickness scans."""
    stacks, parts = numbers["stacks"], []
    for place, one in enumerate(stacks, 1):
        which = f" of stack {place} ({one['name']})" if len(stacks) > 1 else ""
        caption = f"Mean Z{which} against the thickness before refinement; the line marks the result."
        parts += _picture(folder, numbered("thickness.png", place, len(stacks)), caption)
    return parts


def _comparisons(folder: Path, numbers: dict[str, Any]) -> list[str]:
    """The pictures of all images."""
    stacks, parts = numbers["stacks"], []
    for place, one in enumerate(stacks, 1):
        which = f" of stack {place} ({one['name']})" if len(stacks) > 1 else ""
        caption = (
            f"Every reflection{which} as measured and as simulated, each image shifted, and their difference. The "
            "colours of the difference span half the range of the greys."
        )
        parts += _picture(folder, numbered("comparison.png", place, len(stacks)), caption)
    return parts


def _each(numbers: dict[str, Any]) -> list[str]:
    """What belongs to each stack, beside each other."""
    stacks = numbers["stacks"]

    def row(place: int, one: dict[str, Any]) -> tuple[str, ...]:
        mine = partial(_uncertainty_of, numbers["free"], stacks=len(stacks), number=place)
        rotation, stretch, shear = one["distortion"]
        cells = [
            ("thickness", one["thickness"]),
            ("half_width", one["half_width"]),
            ("tilt_x", one["tilt"][0]),
            ("tilt_y", one["tilt"][1]),
            ("rotation", math.degrees(rotation)),
            ("stretch", stretch),
            ("shear", shear),
            ("blur", one["blur"]),
        ]
        texts = [with_uncertainty(value, mine(name) or 0.0) for name, value in cells]
        zone = " ".join(str(i) for i in one["zone_axis"])
        start = (str(place), one["name"], f"[{zone}]", f"{one['energy'] / 1e3:g}")
        return (*start, percent(one["mean_Z"]), percent(one["mean_Z_aligned"]), *texts)

    head = ("", "stack", "zone axis", "kV", "Z", "Z aligned", "thickness", "half-width", "tilt x", "tilt y")
    return [
        "## Stacks",
        table(
            (*head, "rotation", "stretch", "shear", "blur"),
            [row(place, one) for place, one in enumerate(stacks, 1)],
            (0, 1, 2),
        ),
        "Thickness in Å, half-width and tilt in 1/Å, rotation in degrees, blur in pixels.",
    ]


def _likelihood(folder: Path, numbers: dict[str, Any]) -> list[str]:
    """The likelihood along one parameter."""
    found = numbers["profile"]
    if found is None:
        return []
    best, unit = found["best"], f" {found['unit']}".rstrip()
    ends = [f"{x:.6g}" if math.isfinite(x) else "beyond the values tried" for x in (found["low"], found["high"])]
    return [
        f"## Likelihood of {report.escape(found['name'])}",
        "All other parameters were refined again at each value. The rise of the sum of squares is in units in "
        f"which 1 bounds the interval of 68 %: from {ends[0]} to {ends[1]}{unit}, with the least at "
        f"{best:.6g}{unit}. The standard uncertainty of the fit is {found['uncertainty']:.2g}{unit}. Faults of "
        f"the model are in it by a factor of {found['inflation']:.3g} on the variance that the residuals alone "
        "would give.",
        table(
            (f"{found['name']}{f' ({unit.strip()})' if unit else ''}", "rise", "of a parabola"),
            [
                (f"{v:.6g}", f"{r:.3f}", f"{((v - best) / found['uncertainty']) ** 2:.3f}")
                for v, r in zip(found["values"], found["rise"], strict=True)
            ],
            (),
        ),
        *_picture(folder, "profile.png", "The rise (dots), the parabola of the standard uncertainty (line)."),
    ]


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


def _method(place: int, numbers: dict[str, Any]) -> str:
    one = numbers["stacks"][place]
    which = f"Stack {place + 1}: " if len(numbers["stacks"]) > 1 else ""
    return (
        f"{which}{one['beams']} beams in {one['bloch_waves']} Bloch waves, {one['matrices']} matrices. With "
        f"{one['check_beams']} beams, {one['check_bloch_waves']} waves and finer points, intensities "
        f"change by at most {one['check_max_difference']:.2g} and mean Z by "
        f"{one['check_mean_Z_change']:+.4f}; the resulting change of each parameter is part "
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
