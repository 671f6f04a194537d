"""Everything that changes the values in a data set, and nothing else."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lacbed.errors import FileFormatError, SettingError
from lacbed.geometry.tilts import TiltGrid
from lacbed.io.checks import check_number, check_whole, is_list, is_whole
from lacbed.io.config_files import CONFIG_ENDINGS, read_config, refuse_unknown
from lacbed.potential import Absorption
from lacbed.settings import Settings, plain

HASH_VERSION = 1
"""Raised when the same config comes to mean other values."""


@dataclass(frozen=True)
class Range:
    """A quantity drawn evenly between two bounds, for each crystal by its compound and the seed.

    Attributes:
        low, high: the bounds.
        count: how many values a crystal gets.
        seed: another seed gives other values.

    Raises:
        SettingError: if the bounds are not positive and rising, or count or seed not whole.
    """

    low: float
    high: float
    count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in ("low", "high"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        if not 0 < self.low < self.high:
            raise SettingError(f"a range needs 0 < low < high, got low = {self.low:g}, high = {self.high:g}")
        object.__setattr__(self, "count", check_whole("count of a range", self.count, 1, 1000))
        object.__setattr__(self, "seed", check_whole("seed of a range", self.seed, 0))


@dataclass(frozen=True)
class DatasetConfig:
    """How every crystal of a data set is computed; see `lacbed.simulate` for the meaning of most fields.

    Attributes:
        zone_axis: [uvw] along which the electrons travel.
        hkl: reflections that are stored.
        pixels, extent: of the tilt grid: pixels along a side, half-width in shortest reciprocal vectors (a*).
        thicknesses: in Å, the same for all crystals, or a `Range`.
        energy: of the electrons in eV, or a `Range` of one value.
        factors, absorption, laue_zones, refraction, paraxial, solver, dtype: as in `lacbed.simulate`.
        default_b_iso: Debye-Waller factor B in Å² of sites for which the catalogue has none.
        tolerance_z, tolerance_intensity, max_beams: as in `lacbed.convergence`; a crystal that does not converge
            is a failure.
        potential_pixels, potential_g_max: as in `lacbed.projected_potential`.

    Raises:
        SettingError: on a value that is impossible.
        ScatteringError: on an unknown absorption model.
    """

    zone_axis: tuple[int, int, int] = (0, 0, 1)
    hkl: tuple[tuple[int, int, int], ...] = ((0, 0, 0),)
    pixels: int = 128
    extent: float = 4.0
    thicknesses: tuple[float, ...] | Range = (600.0,)
    energy: float | Range = 200e3
    factors: str = "kirkland"
    absorption: Absorption = "thomas"
    laue_zones: int = 0
    refraction: bool = True
    paraxial: bool = True
    solver: str = "auto"
    dtype: str = "float64"
    default_b_iso: float = 0.5
    tolerance_z: float = 1e-3
    tolerance_intensity: float = 1e-2
    max_beams: int = 6000
    potential_pixels: int = 128
    potential_g_max: float = 6.0

    def __post_init__(self) -> None:
        """Check everything that does not depend on a crystal."""
        for field in fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        if isinstance(self.energy, Range) and self.energy.count != 1:
            raise SettingError(f"a range of energies gives one value per crystal, got count = {self.energy.count}")
        _vector("zone_axis", self.zone_axis)
        if not isinstance(self.hkl, tuple) or not self.hkl:
            raise SettingError(f"hkl must be a list of (h, k, l) with at least one of them, got {self.hkl!r}")
        for g in self.hkl:
            _vector("a reflection of hkl", g)
        if len(set(self.hkl)) < len(self.hkl):
            raise SettingError("hkl names a reflection twice")
        for name in ("refraction", "paraxial"):
            if not isinstance(getattr(self, name), bool):
                raise SettingError(f"{name} must be true or false, got {getattr(self, name)!r}")
        check_whole("max_beams", self.max_beams, 40, 20_000)
        check_whole("potential_pixels", self.potential_pixels, 2, 8192)
        for name in ("extent", "default_b_iso", "tolerance_z", "tolerance_intensity", "potential_g_max"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), above=0))
        self._check_conditions()
        self._check_zones()

    def _check_zones(self) -> None:
        """Refuse reflections that no crystal can show, whatever its cell: those outside the Laue zones."""
        divisor = math.gcd(*self.zone_axis)
        for g in self.hkl:
            order = sum(h * u for h, u in zip(g, self.zone_axis, strict=True)) // divisor
            if abs(order) > self.laue_zones:
                raise SettingError(
                    f"hkl: reflection {list(g)} lies in Laue zone {order} of zone_axis {list(self.zone_axis)}, "
                    f"but laue_zones is {self.laue_zones}; leave it out, raise laue_zones or take hu + kv + lw = 0"
                )

    def _check_conditions(self) -> None:
        """Let `lacbed.simulate`'s own checks see both ends of what is sampled."""
        energies = (self.energy.low, self.energy.high) if isinstance(self.energy, Range) else (self.energy,)
        bounds = (self.thicknesses.low, self.thicknesses.high) if isinstance(self.thicknesses, Range) else None
        for energy in energies:
            settings = Settings(**self.settings(energy, self.thicknesses if bounds is None else bounds))
        if bounds is None:
            object.__setattr__(self, "thicknesses", settings.thicknesses)
        if not isinstance(self.energy, Range):
            object.__setattr__(self, "energy", float(self.energy))

    @property
    def thickness_count(self) -> int:
        """Thicknesses of each crystal."""
        return self.thicknesses.count if isinstance(self.thicknesses, Range) else len(self.thicknesses)

    def settings(self, energy: float, thicknesses: Any) -> dict[str, Any]:
        """The arguments of `lacbed.simulate` for one crystal, all but the number of beams."""
        return {
            "zone_axis": self.zone_axis,
            "energy": energy,
            "thicknesses": thicknesses,
            "grid": TiltGrid(pixels=self.pixels, extent=self.extent),
            "hkl": self.hkl,
            "laue_zones": self.laue_zones,
            "refraction": self.refraction,
            "paraxial": self.paraxial,
            "absorption": self.absorption,
            "factors": self.factors,
            "solver": self.solver,
            "dtype": self.dtype,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DatasetConfig:
        """A config from plain values; what is left out has its default.

        Raises:
            SettingError: on an unknown key or an impossible value.
        """
        refuse_unknown(values, [field.name for field in fields(cls)], "a config")
        read = dict(values)
        if read.get("absorption") == "none":  # TOML has no null
            read["absorption"] = None
        for name in ("thicknesses", "energy"):
            if isinstance(read.get(name), Mapping):
                refuse_unknown(read[name], [field.name for field in fields(Range)], f"the range of {name}")
                try:
                    read[name] = Range(**read[name])
                except TypeError:
                    raise SettingError(f"the range of {name} needs low and high") from None
        return cls(**read)

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it: equal configs, equal digests."""
        text = json.dumps([HASH_VERSION, self.to_dict()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load_config(path: str | Path) -> DatasetConfig:
    """Read a config from a .toml or .json file.

    Raises:
        FileFormatError: if there is no such file or it is neither TOML nor JSON.
        SettingError: on an unknown key or an impossible value, naming the file.
    """
    path = Path(path)
    if path.suffix.lower() not in CONFIG_ENDINGS:
        raise FileFormatError(f"a config is a .toml or .json file, got {str(path)!r}")
    values = read_config(path)
    try:
        return DatasetConfig.from_dict(values)
    except ValueError as error:
        raise SettingError(f"{path}: {error}") from None


def _vector(name: str, value: Any) -> None:
    if not is_list(value, is_whole, 3):
        raise SettingError(f"{name} must be three whole numbers, got {value!r}")


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

The zero-order Laue zone only, because the input is a projection. The solver `fast` errs by about 1e-3 in intensity
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
