"""Configs with a name."""

from __future__ import annotations

from dataclasses import replace

from lacbed.datasets.config import DatasetConfig, Range
from lacbed.errors import SettingError

SEED = DatasetConfig(
    zone_axis=(0, 0, 1),
    hkl=((0, 0, 0),),
    pixels=128,
    extent=4.0,
    thicknesses=(600.0,),
    energy=200e3,
    factors="kirkland",
    absorption="thomas",
    laue_zones=0,
    default_b_iso=0.5,
    tolerance_z=1e-3,
    tolerance_intensity=1e-2,
    max_beams=4500,
    solver="fast",
    dtype="float32",
)
"""The range of the first published attempt at learning LACBED: 000 over ±4 a* at [001], 200 kV, one thickness.

The zero-order Laue zone only, because the input is a projection. The solver `fast` errs by some 1e-3 in intensity
(Z ≤ 0.01 %); a crystal that needs more beams than the limit (one in a hundred cubic ones, with a primitive cell
above 17 Å) is a failure that says so.
"""

WIDE = replace(SEED, thicknesses=Range(100.0, 2000.0, count=4), energy=Range(60e3, 300e3))
"""The same with four thicknesses and the voltage drawn for each crystal."""

PRESETS = {"seed": SEED, "wide": WIDE}


def preset(name: str) -> DatasetConfig:
    """The config of that name.

    Raises:
        SettingError: if there is none, with the names.
    """
    if name not in PRESETS:
        raise SettingError(f"a preset is one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
