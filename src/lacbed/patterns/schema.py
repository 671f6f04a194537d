"""What a pattern is, and how its labels and metadata become plain text and come back unchanged."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from lacbed.errors import FileFormatError, SettingError
from lacbed.io.checks import is_whole, read_json_text

PATTERN_DIMS = ("thickness", "hkl", "ky", "kx")
SCHEMA_VERSION = 1
SEAL = "sha256"
_KEYS = ("lacbed", "name", "dims", "attrs", "coords", SEAL)
_PLAIN = (str, bool, int, float)


def check_pattern(pattern: xr.DataArray) -> xr.DataArray:
    """Return the pattern if it is one: dims (thickness, hkl, ky, kx) with their coordinates, numbers inside.

    Raises:
        SettingError: saying what is missing.
    """
    if not isinstance(pattern, xr.DataArray):
        raise SettingError(f"expected a pattern (xarray.DataArray), got {type(pattern).__name__}")
    if pattern.dims != PATTERN_DIMS:
        raise SettingError(f"expected a pattern with dims {PATTERN_DIMS}, got {pattern.dims}")
    missing = [name for name in PATTERN_DIMS if name not in pattern.coords]
    if missing:
        raise SettingError(f"the pattern has no coordinate {' and '.join(missing)}")
    if pattern.size == 0:
        raise SettingError(f"the pattern is empty: sizes {dict(pattern.sizes)}")
    if pattern.dtype.kind not in "fciu":
        raise SettingError(f"a pattern holds numbers, got {pattern.dtype}")
    return pattern


def intensities(pattern: xr.DataArray) -> xr.DataArray:
    """The pattern itself, or |amplitude|² of a complex one, with all labels."""
    if pattern.dtype.kind != "c":
        return pattern
    squared = xr.DataArray(np.abs(pattern.values) ** 2, pattern.coords, pattern.dims, "intensity")
    squared.attrs = dict(pattern.attrs)
    return squared


def plain(value: Any) -> Any:
    """Python's own str, bool, int, float or list of them, from those, NumPy's and tuples.

    Raises:
        FileFormatError: for anything else, which a file could not hold.
    """
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, _PLAIN):
        return value
    raise FileFormatError(
        f"metadata must be text, numbers or lists of them, got {type(value).__name__}; make it a JSON string"
    )


def plain_attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """All attributes as `plain` values; those that are None are left out."""
    return {str(k): plain(v) for k, v in attributes.items() if v is not None}


def labels_to_json(array: xr.DataArray, values: bool, seal: bool = False) -> str:
    """Name, dims, attributes and coordinates of an array as JSON; all but the data.

    Args:
        array: the array.
        values: include the values of the coordinates (floats survive exactly), not only what they are.
        seal: include a checksum over data, coordinates and labels, which `rebuild` compares.
    """
    coordinates = {}
    for name, coordinate in array.coords.items():
        entry: dict[str, Any] = {"dims": list(coordinate.dims), "dtype": _type_name(coordinate.values)}
        entry["attrs"] = plain_attributes(coordinate.attrs)
        if values:
            entry["values"] = coordinate.values.tolist()
        coordinates[str(name)] = entry
    header = {
        "lacbed": SCHEMA_VERSION,
        "name": None if array.name is None else str(array.name),
        "dims": list(array.dims),
        "attrs": plain_attributes(array.attrs),
        "coords": coordinates,
    }
    if seal:
        header[SEAL] = _digest(array, header)
    return json.dumps(header, ensure_ascii=True)


def _digest(array: xr.DataArray, header: Mapping[str, Any]) -> str:
    """SHA-256 of labels, data and coordinates, whatever the order of bytes and names in the file."""
    labels = {key: value for key, value in header.items() if key != SEAL}
    total = hashlib.sha256(json.dumps(labels, sort_keys=True).encode())
    for name in ("", *sorted(str(key) for key in array.coords)):
        values = (array.coords[name] if name else array).values
        if _type_name(values) == "str":
            total.update(json.dumps([name, values.tolist()]).encode())
            continue
        kind = values.dtype.newbyteorder("<")
        total.update(json.dumps([name, kind.str, values.shape]).encode())
        total.update(np.ascontiguousarray(values, dtype=kind).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _type_name(values: np.ndarray) -> str:
    return "str" if values.dtype.kind in "UOST" else values.dtype.str


def labels_from_json(text: str) -> dict[str, Any]:
    """What `labels_to_json` wrote.

    Raises:
        FileFormatError: if it is not that.
    """
    try:
        header = read_json_text(text, "its metadata", FileFormatError, non_finite=True)
    except FileFormatError:
        raise FileFormatError("its metadata are damaged") from None
    version = header.get("lacbed")
    if not is_whole(version, 1):
        raise FileFormatError("it was not written by lacbed")
    if version > SCHEMA_VERSION:
        raise FileFormatError("it was written by a newer version of lacbed; upgrade with pip install -U lacbed")
    if not set(header) <= set(_KEYS) or not isinstance(header.get("name"), str | None):
        raise FileFormatError("its metadata are damaged")
    return header


def rebuild(data: np.ndarray, header: dict[str, Any], values: Mapping[str, Any] | None = None) -> xr.DataArray:
    """The labelled array from its data, its header and the values of its coordinates (default: the header's).

    Raises:
        FileFormatError: if they do not belong together, or differ from the checksum that the header may have.
    """
    if data.dtype.kind not in "fciub":
        raise FileFormatError(f"it holds {data.dtype} where numbers should be")
    try:
        coordinates = {}
        for name, entry in header["coords"].items():
            raw = entry["values"] if values is None else values[name]
            kind = _type_of(entry["dtype"])
            attributes = plain_attributes(entry["attrs"])
            coordinates[name] = (tuple(entry["dims"]), np.asarray(raw, dtype=kind), attributes)
        attributes = plain_attributes(header["attrs"])
        array = xr.DataArray(data, coordinates, tuple(header["dims"]), header["name"], attributes)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, FileFormatError):
        raise FileFormatError("its labels do not fit its data; the file is damaged") from None
    if SEAL in header and header[SEAL] != _digest(array, header):
        raise FileFormatError(
            "its values do not have the checksum that was written with them: it is damaged, or was changed by "
            "another program; save changed values with lacbed.save_pattern"
        )
    return array


def _type_of(name: str) -> type[str] | np.dtype[Any]:
    if name == "str":
        return str
    kind = np.dtype(name)
    if kind.kind not in "fiub" or (kind.kind == "f" and kind.itemsize not in (4, 8)):
        raise ValueError(name)
    return kind


_OVERBAR = "̅"


def hkl_text(hkl: str) -> str:
    """A reflection for plain text, with combining overbars: "-2,0,12" becomes "2̅ 0 12"."""
    parts = [p.strip() for p in hkl.split(",")]
    shown = ["".join(c + _OVERBAR for c in p[1:]) if p.startswith("-") else p for p in parts]
    return _join(shown, parts)


def formula_text(formula: str) -> str:
    """A chemical formula for plain text, with subscripts: "SrTiO3" becomes "SrTiO₃"."""
    return formula.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def hkl_math(hkl: str) -> str:
    r"""A reflection for a figure, as matplotlib mathtext: "-2,0,12" becomes $\bar{2}\,0\,\overline{12}$."""
    parts = [p.strip() for p in hkl.split(",")]
    return "$" + _join([_math_index(p) for p in parts], parts, r"\,\,") + "$"


def _math_index(index: str) -> str:
    if not index.startswith("-"):
        return index
    digits = index[1:]
    return rf"\bar{{{digits}}}" if len(digits) == 1 else rf"\overline{{{digits}}}"


def _join(shown: list[str], parts: list[str], gap: str = " ") -> str:
    """Single digits stand together, as crystallographers write them; longer ones need a gap."""
    return (gap if any(len(p.lstrip("-")) > 1 for p in parts) else "").join(shown)


def number_text(value: float, digits: int = 4) -> str:
    """A number without needless zeros: 300.0 becomes "300"."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def caption(attributes: dict[Any, Any]) -> str:
    """Crystal, zone axis and voltage on one quiet line, as far as they are known."""
    parts = []
    name = str(attributes.get("crystal", "")).strip()
    formula = str(attributes.get("formula", "")).strip()
    title = name or formula
    if formula and name and formula.lower() not in name.lower():
        title = f"{name} ({formula})"
    if title:
        parts.append(title if len(title) <= 60 else title[:57] + "...")
    zone = attributes.get("zone_axis")
    if zone is not None and len(zone) == 3:
        parts.append("[" + hkl_text(",".join(str(int(i)) for i in zone)) + "]")
    energy = attributes.get("energy")
    if isinstance(energy, int | float) and math.isfinite(energy):
        parts.append(f"{number_text(energy / 1e3)} kV")
    return "   ".join(parts)


def round_length(limit: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `limit`, for scale bars."""
    power = 10.0 ** math.floor(math.log10(limit) + 1e-12)
    return max(step * power for step in (1, 2, 5) if step * power <= limit * (1 + 1e-12))


def axis_step(coordinate: xr.DataArray) -> float:
    """Distance between neighbouring values of an ascending axis; 1 for a single value."""
    values = coordinate.values
    return float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 1.0
