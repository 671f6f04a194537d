"""Everything that determines a simulation, checked before any work starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from lacbed.errors import SettingError
from lacbed.geometry.tilts import TiltGrid
from lacbed.geometry.wave import electron_wave
from lacbed.io.checks import check_number, check_one_of, check_whole, is_number
from lacbed.potential import Absorption, check_absorption
from lacbed.scattering import FACTORS
from lacbed.solvers.choose import SOLVERS

Reflections = Sequence[Sequence[int]] | Literal["all"] | tuple[Literal["all"], float]
MAX_THICKNESS = 1e5
MAX_LAUE_ZONES = 6
MAX_TOLERANCE = 0.5


@dataclass(frozen=True, eq=False)
class Settings:
    """The arguments of `lacbed.simulate`; see there for their meaning."""

    zone_axis: Sequence[float] = (0, 0, 1)
    energy: float = 200e3
    thicknesses: Sequence[float] = (600.0,)
    grid: TiltGrid = TiltGrid()  # noqa: RUF009  frozen
    hkl: Reflections = ((0, 0, 0),)
    foil_normal: Sequence[float] | None = None
    x_direction: Sequence[float] | None = None
    g_max: float | None = None
    sg_max: float | None = None
    beams: int | Literal["auto"] = "auto"
    weak_beams: int = 0
    laue_zones: int = 0
    refraction: bool = True
    paraxial: bool = True
    absorption: Absorption = None
    factors: str = "kirkland"
    output: Literal["intensity", "amplitude"] = "intensity"
    solver: str = "auto"
    device: str = "auto"
    dtype: str = "float64"
    frozen_phonons: int = 0
    tolerance: float | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without the crystal.

        Raises:
            SettingError: saying what was expected, what came and what to do.
            ScatteringError: on an unknown absorption model.
        """
        electron_wave(self.energy)
        object.__setattr__(self, "thicknesses", _thicknesses(self.thicknesses))
        if not isinstance(self.grid, TiltGrid):
            raise SettingError(f"grid must be a TiltGrid, got {type(self.grid).__name__}")
        for name in ("hkl", "absorption", "beams"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        self._check_beams()
        self._check_tolerance()
        check_absorption(self.absorption)
        check_one_of("factors", self.factors, FACTORS)
        if not isinstance(self.device, str):
            raise SettingError(f"device must be 'auto', 'cpu' or 'cuda', got {self.device!r}")
        check_one_of("output", self.output, ("intensity", "amplitude"))
        check_one_of("solver", self.solver, SOLVERS)
        object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        check_one_of("dtype", self.dtype, ("float32", "float64"))

    def _check_beams(self) -> None:
        for name in ("g_max", "sg_max"):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, above=0, unit="1/Å")
        if self.beams != "auto":
            check_whole("beams", self.beams, 1, 20_000)
        check_whole("weak_beams", self.weak_beams, 0, 20_000)
        check_whole("frozen_phonons", self.frozen_phonons, 0, 10_000)
        if self.frozen_phonons and self.solver != "multislice":
            raise SettingError("frozen_phonons needs solver='multislice'; Bloch waves have Debye-Waller factors")
        check_whole("laue_zones", self.laue_zones, 0, MAX_LAUE_ZONES)

    def _check_tolerance(self) -> None:
        """The tolerance, and that nothing else says how exact the result is to be."""
        tolerance = self.tolerance
        if tolerance is None:
            return
        if not (is_number(tolerance, 0, MAX_TOLERANCE)):
            raise SettingError(
                f"tolerance must be a number from 0 to {MAX_TOLERANCE}, the largest error of an intensity as a "
                f"fraction of the incident one, got {tolerance!r}"
            )
        object.__setattr__(self, "tolerance", float(tolerance))
        if tolerance == 0:
            return
        if self.beams != "auto" or self.g_max is not None or self.sg_max is not None:
            raise SettingError("tolerance chooses the beams; leave beams, g_max and sg_max out, or tolerance")
        if self.solver == "multislice":
            raise SettingError("solver 'multislice' has no tolerance; leave it out, or take solver 'auto'")

    def to_attributes(self) -> dict[str, Any]:
        """The settings as flat values that every file format can hold."""
        flat: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "thicknesses":
                continue  # a coordinate of the result
            if field.name == "grid":
                flat["grid"] = json.dumps(value.to_dict())
            elif field.name == "hkl":
                flat["hkl_asked"] = json.dumps(value if isinstance(value, str) else list(value))
            elif field.name == "absorption":
                flat["absorption"] = json.dumps(value)
            elif isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
                flat[field.name] = [float(v) for v in value]
            elif value is not None:
                flat[field.name] = plain(value)
        return flat


def _thicknesses(values: Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        raise SettingError(f"thicknesses must be numbers in Å, got {values!r}") from None
    if numbers.ndim != 1 or len(numbers) == 0:
        raise SettingError("thicknesses must be a list of at least one number in Å")
    return tuple(check_number("a thickness", t, above=0, high=MAX_THICKNESS, unit="Å") for t in numbers)


def plain(value: Any) -> Any:
    """Arrays and numbers of NumPy as tuples and plain numbers, which JSON can hold."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(plain(v) for v in value) if isinstance(value, list | tuple) else value
