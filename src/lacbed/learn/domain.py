"""What a model has learned, and the exact command for everything else."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lacbed.errors import SettingError

if TYPE_CHECKING:
    from lacbed.crystals import Crystal

_SLACK = 1e-6
_CUBE = 1e-4  # relative difference of edges, and radians between them: what relaxed and rounded cells show


def domain_of(config: Mapping[str, Any], lattice: Sequence[float]) -> dict[str, Any]:
    """The domain of a model that was trained on a data set.

    Args:
        config: of the data set, as plain values.
        lattice: least and largest lattice parameter among the training crystals, in Å.
    """
    return {
        "crystal": "cubic",
        "zone_axis": list(config["zone_axis"]),
        "hkl": [0, 0, 0],
        "thickness": _bounds(config["thicknesses"]),
        "energy": _bounds(config["energy"]),
        "lattice_parameter": [float(v) for v in lattice],
        **{
            name: config[name]
            for name in ("pixels", "extent", "factors", "absorption", "potential_pixels", "potential_g_max")
        },
    }


def _bounds(values: Any) -> list[float]:
    if isinstance(values, Mapping):
        return [float(values["low"]), float(values["high"])]
    numbers = values if isinstance(values, list | tuple) else [values]
    return [float(min(numbers)), float(max(numbers))]


def check_domain(
    domain: Mapping[str, Any],
    crystal: Crystal,
    thicknesses: Sequence[float],
    energy: float,
    zone_axis: Sequence[float] = (0, 0, 1),
    hkl: Sequence[Sequence[int]] = ((0, 0, 0),),
    called: str | Sequence[str] | None = None,
) -> None:
    """Refuse what the model has not learned, and name the exact command.

    Args:
        domain: of the model.
        crystal: to be predicted.
        thicknesses: in Å.
        energy: in eV.
        zone_axis: [uvw].
        hkl: reflections.
        called: how the crystal is called on the command line, in one word or several; default its name.

    Raises:
        SettingError: with the command that computes it exactly.
    """
    found = outside(domain, crystal, thicknesses, energy, zone_axis, hkl)
    if found:
        command = exact_command(called or crystal.name, thicknesses, energy, zone_axis, hkl)
        raise SettingError(f"the learned simulator {found}; compute it exactly: {command}")


def outside(
    domain: Mapping[str, Any],
    crystal: Crystal,
    thicknesses: Sequence[float],
    energy: float,
    zone_axis: Sequence[float],
    hkl: Sequence[Sequence[int]],
) -> str:
    """What is outside of the domain, in words; "" if nothing is."""
    if not is_cubic(crystal):
        a, b, c, *angles = crystal.cell
        shown = f"a, b, c = {a:.7g}, {b:.7g}, {c:.7g} Å and angles {', '.join(f'{v:.7g}' for v in angles)}°"
        return f"is valid for cubic crystals; {crystal.name} has {shown}"
    if [float(v) for v in zone_axis] != [float(v) for v in domain["zone_axis"]]:
        return f"is valid for the zone axis {list(domain['zone_axis'])}, got {list(zone_axis)}"
    if any(list(g) != [0, 0, 0] for g in hkl):
        return "is valid for the reflection 000 only"
    for t in thicknesses:
        if not _within(t, domain["thickness"]):
            return f"is valid for the thickness {range_text(domain['thickness'], 'Å')} only, got {t:g} Å"
    if not _within(energy, domain["energy"]):
        kilovolts = [1e-3 * v for v in domain["energy"]]
        return f"is valid for the voltage {range_text(kilovolts, 'kV')} only, got {1e-3 * energy:g} kV"
    return ""


def _within(value: float, bounds: Sequence[float]) -> bool:
    low, high = bounds
    return low * (1 - _SLACK) <= value <= high * (1 + _SLACK)


def unlike_training(domain: Mapping[str, Any], crystal: Crystal) -> str:
    """A remark on a lattice parameter beyond those of the training crystals; "" for one among them."""
    a, (low, high) = crystal.cell[0], domain["lattice_parameter"]
    if _within(a, (low, high)):
        return ""
    return (
        f"a = {a:.4g} Å, but the training crystals had {low:.3g} to {high:.3g} Å: the expected error may be too "
        "small; compare with the exact pattern"
    )


def range_text(bounds: Sequence[float], unit: str) -> str:
    """Two bounds as "100 to 2000 Å", or "600 Å" if they are one value."""
    low, high = bounds
    return f"{low:g} {unit}" if low == high else f"{low:g} to {high:g} {unit}"


def is_cubic(crystal: Crystal) -> bool:
    """Whether the cell is a cube, to 1e-4 of its edges and 1e-4 rad (0.006°) of its angles."""
    a, b, c, *angles = crystal.cell
    edges = max(abs(b - a), abs(c - a)) / a
    return max(edges, *(math.radians(abs(v - 90.0)) for v in angles)) <= _CUBE


def exact_command(
    called: str | Sequence[str],
    thicknesses: Sequence[float],
    energy: float,
    zone_axis: Sequence[float],
    hkl: Sequence[Sequence[int]],
) -> str:
    """The command line that computes the same thing exactly."""
    words = ["lacbed", "simulate", *([called] if isinstance(called, str) else called)]
    words += ["--zone", ",".join(f"{v:g}" for v in zone_axis)]
    words += ["--thickness", ",".join(f"{t:g}" for t in thicknesses), "--voltage", f"{1e-3 * energy:g}"]
    if any(list(g) != [0, 0, 0] for g in hkl):
        words += ["--hkl", " ".join(",".join(str(i) for i in g) for g in hkl)]
    return shlex.join([*words, "-o", "pattern.nc"])
