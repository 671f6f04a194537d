"""The report of a refinement for people; all of its numbers are those of `lacbed.refinement.report.summary`."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lacbed import report
from lacbed.refinement.report import uncertainty_of
from lacbed.refinement.uncertainties import with_uncertainty
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
        su = uncertainty_of(numbers["free"], "thickness", len(stacks), place) or 0.0
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
        mine = partial(uncertainty_of, numbers["free"], stacks=len(stacks), number=place)
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
        f"{best:.6g}{unit}. The standard uncertainty of the fit is {found['uncertainty']:.2g}{unit}. Its "
        f"square is {found['inflation']:.3g} times what the curvature of the sum of squares alone would give.",
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
    """On which reflection each parameter of the crystal depends most."""
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
        "The reflection on which each parameter depends most, and its change (to first order) without it:",
        table(head, rows),
    ]


def _electrons(folder: Path, numbers: dict[str, Any]) -> list[str]:
    """X-ray structure factors, if any U_g, ions or valence shells were free."""
    rows = numbers["structure_factors"]
    if not rows:
        return []
    return [
        "## X-ray structure factors",
        "Structure factors in electrons per cell that follow from the refined U_g (or from the refined ions and "
        "valence shells) by the formula of Mott and Bethe, beside those of neutral atoms of the same table and "
        "displacements. At rest means without thermal motion.",
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
