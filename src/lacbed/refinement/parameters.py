"""What is refined, by the names that people give: the parameters of the image and the cell, and those of atoms."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.potential import Absorption
from lacbed.refinement.constraints import CELL_NAMES, cell_directions
from lacbed.refinement.parameter import KINDS, Parameter
from lacbed.refinement.site_parameters import parameters_of_sites
from lacbed.state import ModelState


def split_names(text: str) -> tuple[str, ...]:
    """Names in a list such as "thickness,B:Ga1,Ug:1,1,-1".

    Raises:
        SettingError: if one is not known.
    """
    names: list[str] = []
    for word in text.replace(",", " ").split():
        if re.fullmatch(r"[+-]?\d+", word) and names and names[-1].startswith("Ug:"):
            names[-1] += ("," if names[-1] != "Ug:" else "") + word
        else:
            names.append(word)
    for name in names:
        if name.partition(":")[0] not in KINDS:
            raise SettingError(f"--free names {name!r}; expected a list of {', '.join(KINDS)} (one site: B:LABEL)")
    if not names:
        raise SettingError(f"--free is empty; expected a list of {', '.join(KINDS)}")
    return tuple(dict.fromkeys(names))


def default_parameters(absorption: Absorption) -> tuple[str, ...]:
    """What is free if nothing is said: geometry, blur, thickness, B and, where it is modelled, absorption."""
    common = ("thickness", "half_width", "tilt", "rotation", "stretch", "shear", "blur", "B")
    return common if absorption is None else (*common, "absorption")


def build_parameters(
    crystal: Crystal, state: ModelState, names: Sequence[str], absorption: Absorption = None
) -> tuple[Parameter, ...]:
    """The parameters of a list of names, without individual U_g (see `lacbed.refinement.families`).

    Raises:
        SettingError: on a parameter that symmetry fixes or that the model does not have, and on an unknown site.
    """
    found: list[Parameter] = []
    for name in names:
        kind, _, label = name.partition(":")
        if kind == "Ug":
            continue
        if label and kind not in ("B", "U", "x", "occupancy", "factor"):
            raise SettingError(f"{kind} does not belong to a site; write {kind!r} instead of {name!r}")
        if kind in ("B", "U", "x", "occupancy", "factor"):
            found += parameters_of_sites(crystal, state, kind, label, absorption)
        elif kind == "cell":
            found += _of_cell(crystal, state)
        else:
            found += _of_image(state, kind, absorption)
    if len({p.name for p in found}) != len(found):
        raise SettingError("--free names a parameter twice")
    return tuple(found)


def _of_image(state: ModelState, kind: str, absorption: Absorption) -> list[Parameter]:
    """Parameters that belong to no site."""
    if kind == "absorption" and absorption is None:
        raise SettingError("absorption cannot be free without a model of it; choose --absorption thomas")

    def one(
        name: str, field: str, place: int, reach: tuple[float, float], unit: str, scale: float = 1.0
    ) -> Parameter:
        flat = getattr(state, field).reshape(-1)
        direction = np.zeros(len(flat))
        direction[place] = scale
        value = float(flat[place]) / scale
        return Parameter(name, kind, field, direction, value, value + reach[0], value + reach[1], unit)

    half, thickness, volts = float(state.half_width), float(state.thickness), float(state.energy) / 1e3
    blur, factor = float(state.blur), float(state.absorption)
    table: dict[str, list[Parameter]] = {
        "thickness": [one("thickness", "thickness", 0, (-0.5 * thickness, 0.5 * thickness), "Å")],
        "half_width": [one("half_width", "half_width", 0, (-0.06 * half, 0.04 * half), "1/Å")],
        "tilt": [one(f"tilt_{n}", "tilt", i, (-0.05 * half, 0.05 * half), "1/Å") for i, n in enumerate("xy")],
        "rotation": [one("rotation", "distortion", 0, (-5.0, 5.0), "°", np.pi / 180.0)],
        "stretch": [one("stretch", "distortion", 1, (-0.03, 0.03), "")],
        "shear": [one("shear", "distortion", 2, (-0.03, 0.03), "")],
        "blur": [one("blur", "blur", 0, (0.02 - blur, 5.0), "pixels")],
        "voltage": [one("voltage", "energy", 0, (-0.03 * volts, 0.03 * volts), "kV", 1e3)],
        "absorption": [one("absorption", "absorption", 0, (-factor, 5.0), "")],
    }
    return table[kind]


def _of_cell(crystal: Crystal, state: ModelState) -> list[Parameter]:
    result = []
    for name, direction in cell_directions(crystal):
        value = float(state.cell[CELL_NAMES.index(name)])
        reach = 0.02 * value if name in "abc" else 3.0
        unit = "Å" if name in "abc" else "°"
        result.append(Parameter(name, "cell", "cell", direction, value, value - reach, value + reach, unit))
    return result
