"""An input folder of Felix: `felix.inp` for the settings, `felix.cif` for the crystal, `felix.hkl` for the images.

`felix.inp` has lines "name = value". Felix in Fortran and Felix in Python have different names for the same
things; both are understood. Entries that only steer a refinement or the printing are passed over.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacbed.errors import FileFormatError
from lacbed.io.checks import check_number

HKL = tuple[int, int, int]

NAMES = {
    "iscatterfactormethodflag": "factors",
    "scatter_factor_method": "factors",
    "iabsorbflag": "absorption",
    "absorption_method": "absorption",
    "rabsorptionper": "percent",
    "absorption_per": "percent",
    "iholzflag": "holz",
    "holz_flag": "holz",
    "ipixelcount": "radius",
    "image_radius": "radius",
    "iminstrongbeams": "strong",
    "min_strong_beams": "strong",
    "rdebyewallerconstant": "b_iso",
    "debye_waller_constant": "b_iso",
    "routerconvergenceangle": "half_width",
    "rconvergenceangle": "half_width",
    "convergence_angle": "half_width",
    "iincidentbeamdirection": "zone",
    "incident_beam_direction": "zone",
    "ixdirection": "x_direction",
    "x_direction": "x_direction",
    "inormaldirection": "normal",
    "normal_direction": "normal",
    "normal": "normal",
    "racceleratingvoltage": "voltage",
    "accelerating_voltage_kv": "voltage",
    "rinitialthickness": "first",
    "initial_thickness": "first",
    "rfinalthickness": "last",
    "final_thickness": "last",
    "rdeltathickness": "step",
    "delta_thickness": "step",
    "rblurradius": "blur",
    "blur_radius": "blur",
    "izolzflag": "zolz",
    "rinnerconvergenceangle": "inner",
}
"""What the entries of felix.inp mean, by their names in lower case without unit."""

FACTORS = ("kirkland", "lobato", "peng", "doyle-turner")
"""Scattering factors by Felix's number for them."""

NEEDED = {"voltage": "RAcceleratingVoltage (kV)", "half_width": "ROuterConvergenceAngle", "radius": "IPixelCount"}
LARGEST = 1_000_000  # bytes of a text
_VECTOR = re.compile(r"\[\s*([^,\]]+),([^,\]]+),([^,\]]+)\]")
_LISTED = re.compile(r"\[\s*([+-]?\d+)\s*,\s*([+-]?\d+)\s*,\s*([+-]?\d+)\s*\]")
_MAX_THICKNESSES = 10_000


@dataclass(frozen=True)
class FelixInput:
    """What an input folder of Felix asks for.

    Attributes:
        folder: where it lies.
        cif: the crystal.
        voltage: in kV.
        zone_axis: the direction of the incident beam, [uvw].
        x_direction: (hkl) along +x, or None if felix.inp names none.
        foil_normal: [uvw], or None where it is the zone axis.
        thicknesses: in Å.
        half_width: of the images in 1/Å; in shortest reciprocal vectors for Felix before 2019, see `remarks`.
        radius: half the number of pixels along a side.
        hkl: the reflections of felix.hkl; empty if there is none.
        factors: name of the scattering factors.
        absorption: as `lacbed.simulate` takes it.
        b_iso: B in Å² for atoms without one; 0 for none.
        strong_beams: the least number of strong beams, or None.
        remarks: what is different here, in sentences.
    """

    folder: Path
    cif: Path
    voltage: float
    zone_axis: HKL
    x_direction: tuple[float, float, float] | None
    foil_normal: tuple[float, float, float] | None
    thicknesses: tuple[float, ...]
    half_width: float
    radius: int
    hkl: tuple[HKL, ...]
    factors: str
    absorption: Any
    b_iso: float
    strong_beams: int | None
    remarks: tuple[str, ...]

    @property
    def pixels(self) -> int:
        """Pixels along a side of an image."""
        return 2 * self.radius


def read_felix(path: Path) -> FelixInput:
    """Read felix.inp, given as a file or as the folder that holds it, and felix.hkl beside it.

    Raises:
        FileFormatError: if there is none, or an entry that matters is missing or no number.
    """
    file = find_input(path)
    values = _entries(_text(file))
    missing = [name for key, name in NEEDED.items() if key not in values]
    if missing:
        raise FileFormatError(f"{str(file)!r} does not state {' and '.join(missing)}; is it a Felix input file?")
    zone = _vector(values, "zone", file) or (0.0, 0.0, 1.0)
    if any(v != round(v) for v in zone):
        raise FileFormatError(f"the incident beam direction in {str(file)!r} must be whole numbers, got {zone}")
    normal = _vector(values, "normal", file)
    cif = file.parent / "felix.cif"
    return FelixInput(
        folder=file.parent,
        cif=cif,
        voltage=_number(values, "voltage", file),
        zone_axis=(round(zone[0]), round(zone[1]), round(zone[2])),
        x_direction=_vector(values, "x_direction", file),
        foil_normal=None if normal is None or _parallel(normal, zone) else normal,
        thicknesses=_thicknesses(values, file),
        half_width=_positive(values, "half_width", file),
        radius=_whole(values, "radius", file, 1, 4096),
        hkl=tuple(dict.fromkeys(read_list(file.parent))),
        factors=_factors(values, file),
        absorption=_absorption(values, file),
        b_iso=_number(values, "b_iso", file, 0.0),
        strong_beams=_whole(values, "strong", file, 1, 20_000) if "strong" in values else None,
        remarks=tuple(_remarks(values, file)),
    )


def find_input(path: Path) -> Path:
    """felix.inp in a folder, or the file itself.

    Raises:
        FileFormatError: if there is none.
    """
    if path.is_dir():
        found = [p for p in sorted(path.iterdir()) if p.name.lower() == "felix.inp" and p.is_file()]
        if not found:
            raise FileFormatError(f"{str(path)!r} contains no felix.inp; give a Felix input folder")
        return found[0]
    if not path.is_file():
        raise FileFormatError(f"no such file: {str(path)!r}; expected felix.inp or its folder")
    return path


def read_list(folder: Path) -> list[HKL]:
    """The reflections of felix.hkl, lines such as [1,1,-3], in their order; none if there is no such file."""
    path = folder / "felix.hkl"
    if not path.is_file():
        return []
    return [(int(h), int(k), int(l)) for h, k, l in _LISTED.findall(_text(path))]  # noqa: E741


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise FileFormatError(f"{str(path)!r} is larger than any Felix input file")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FileFormatError(f"cannot read {str(path)!r}: {error.strerror or error}") from None


def _entries(text: str) -> dict[str, str]:
    """The entries that matter: our name for each, and its text."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        key = NAMES.get(name.partition("(")[0].strip().lower())
        if equals and key and not line.lstrip().startswith("#"):
            found[key] = value.partition("#")[0].strip().strip("'\"")
    return found


def _number(values: dict[str, str], key: str, file: Path, default: float | None = None) -> float:
    text = values.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(str(text).lower().replace("d", "e").split()[0])
    except (ValueError, IndexError):
        value = math.nan
    if not math.isfinite(value):
        raise FileFormatError(f"the entry for {_shown(key)} in {str(file)!r} must be a number, got {text!r}")
    return value


def _positive(values: dict[str, str], key: str, file: Path) -> float:
    name = f"the entry for {_shown(key)} in {str(file)!r}"
    return check_number(name, _number(values, key, file), above=0, error=FileFormatError)


def _whole(values: dict[str, str], key: str, file: Path, low: int, high: int) -> int:
    value = _number(values, key, file)
    if value != round(value) or not low <= value <= high:
        raise FileFormatError(
            f"the entry for {_shown(key)} in {str(file)!r} must be a whole number between {low} and {high}, "
            f"got {value:g}"
        )
    return round(value)


def _shown(key: str) -> str:
    """The names of an entry as both programs have them."""
    return " or ".join(repr(name) for name, meaning in NAMES.items() if meaning == key)


def _vector(values: dict[str, str], key: str, file: Path) -> tuple[float, float, float] | None:
    if key not in values:
        return None
    found = _VECTOR.search(values[key])
    try:
        x, y, z = (float(v) for v in (found.groups() if found else ()))
    except ValueError:
        raise FileFormatError(
            f"the entry for {_shown(key)} in {str(file)!r} must be three numbers such as [0,0,1], "
            f"got {values[key]!r}"
        ) from None
    return x, y, z


def _parallel(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    cross = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    return all(abs(v) < 1e-9 for v in cross)


def _thicknesses(values: dict[str, str], file: Path) -> tuple[float, ...]:
    first = _positive(values, "first", file)
    last, step = _number(values, "last", file, first), _number(values, "step", file, 0.0)
    if step <= 0 or last <= first:
        return (first,)
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > _MAX_THICKNESSES:
        raise FileFormatError(f"{str(file)!r} asks for {count} thicknesses; the limit is {_MAX_THICKNESSES}")
    return tuple(first + i * step for i in range(count))


def _factors(values: dict[str, str], file: Path) -> str:
    method = _number(values, "factors", file, 0.0)
    if method not in range(len(FACTORS)):
        raise FileFormatError(
            f"scattering factors number {method:g} in {str(file)!r} are not known here; there are "
            + ", ".join(f"{i} ({name})" for i, name in enumerate(FACTORS))
        )
    return FACTORS[int(method)]


def _absorption(values: dict[str, str], file: Path) -> Any:
    method = _number(values, "absorption", file, 0.0)
    if method == 0:
        return None
    if method == 1:
        return ("proportional", _number(values, "percent", file))
    if method == 2:
        return "thomas"
    raise FileFormatError(
        f"absorption number {method:g} in {str(file)!r} is not known here; there are 0 (none), 1 (proportional) "
        "and 2 (Bird and King)"
    )


def _remarks(values: dict[str, str], file: Path) -> list[str]:
    """What this program does differently, where it matters for these entries."""
    remarks = []
    if "strong" in values:
        remarks.append(
            f"Felix takes at least {values['strong']} strong beams at every pixel; here there are as many as the "
            "tolerance needs (beams= or --beams sets their number)"
        )
    if _number(values, "absorption", file, 0.0) != 0:
        remarks.append(
            "Felix neglects the mean absorption U'_0, so that its intensities are higher by a common factor"
        )
    if _number(values, "holz", file, 0.0) != 0:
        remarks.append("the input asks for higher Laue zones; add laue_zones=1 or --laue-zones 1 (slower)")
    if _number(values, "blur", file, 0.0) > 0:
        remarks.append(f"Felix blurs its images with a radius of {values['blur']} pixels; no blur is applied here")
    if "inner" in values or "zolz" in values:
        remarks.append(
            "this felix.inp is in the form of Felix before 2019, whose convergence angle may be in shortest "
            "reciprocal vectors, not in 1/Å; if so, use --unit g"
        )
    return remarks
