"""A folder with `images.npz` and `experiment.json` is an experiment as it stands.

`images.npz` holds `images` (reflection, row, column) and `hkl` (reflection, 3). `experiment.json` holds

    {"geometry": {"accelerating_voltage_kV": 200, "zone_axis_uvw_direct": [0, 0, 1],
                  "x_direction_hkl_reciprocal": [1, 0, 0], "half_width_inv_A": 0.98}}

and may hold, checked if they are there, `surface_normal_uvw_direct`, `orientation` (default "-x+y": kx falls down
the rows, ky grows along the columns), `n_pixels`, `pixel_size_inv_A` in the geometry, `images` with `n`, `shape`,
`hkl`, `raw_dtype`, and `crystal` with `file`, a CIF in the folder. Everything else is for people.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.crystals import Crystal
from lacbed.errors import CrystalError, FileFormatError, LacbedError, SettingError
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import Experiment, is_direction
from lacbed.experiment.tiff import LARGEST, array_header
from lacbed.io.atomic import reason
from lacbed.io.checks import kind_of, read_json, regular_file
from lacbed.io.numbers import is_number
from lacbed.io.sizes import check_size
from lacbed.patterns.formats.npz import check_archive, read_member

DESCRIPTION, IMAGES = "experiment.json", "images.npz"
_LARGEST_DESCRIPTION = 50_000_000  # bytes
_TYPE = re.compile(r"[<>=|]?[iuf][1248]|u?int(8|16|32|64)|float(16|32|64)")
_MISSING = object()
_NEAR = 1e-3  # relative; two statements of one number that differ by more contradict each other


def load_experiment(path: str | Path) -> Experiment:
    """Read an experiment: a file that `lacbed experiment import` wrote, or a folder with experiment.json.

    Raises:
        FileFormatError: if there is none, or it cannot be used.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    from lacbed.patterns.files import load_pattern

    source = Path(path)
    if source.is_dir() and source.suffix.lower() not in (".zarr", ".zspy"):
        return read_folder(source)
    pattern = load_pattern(source)
    try:
        if pattern.attrs.get("kind") != "measured" and pattern.sizes["thickness"] != 1:
            raise SettingError("it is a simulation with several thicknesses; choose one")
        real = pattern if pattern.dtype.kind == "c" else pattern.astype(np.float64, keep_attrs=True)
        return Experiment(real)
    except LacbedError as error:
        raise FileFormatError(f"cannot use {str(source)!r} as an experiment: {error}") from None


def read_folder(folder: Path) -> Experiment:
    """The experiment in a folder.

    Raises:
        FileFormatError: if a file is missing or damaged, or the two contradict each other.
    """
    try:
        described = _read_description(folder / DESCRIPTION)
        geometry = _geometry(described)
        images, hkl = read_stack(folder / IMAGES)
        _check_against(described, images, hkl)
        crystal, remark = _crystal(folder, described)
        return make_experiment(
            images,
            hkl,
            geometry,
            crystal=crystal,
            saturation=saturation_of(images, _raw_type(described, images)),
            name=_text(described, "material", folder.name),
            source=str(folder.name),
            notes=[remark],
        )
    except SettingError as error:
        raise FileFormatError(f"cannot use {str(folder)!r} as an experiment: {error}") from None


def read_stack(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`images` and `hkl` of an .npz archive, without ever loading a pickle.

    Raises:
        FileFormatError: if there is no such file, or they are not in it.
    """
    size = regular_file(path, "the images", LARGEST, FileFormatError)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, size)
            images, hkl = read_member(archive, "images"), read_member(archive, "hkl")
        if images.ndim != 3 or not len(images):
            raise FileFormatError(f"its images are an array {images.shape}")
        return images, hkl
    except FileFormatError as error:
        raise FileFormatError(
            f"cannot read {str(path)!r}: {error}; expected arrays images (reflection, row, column) and hkl "
            "(reflection, 3)"
        ) from None
    except OSError as error:
        raise FileFormatError(f"cannot read {str(path)!r}: {reason(error)}") from None
    except Exception:  # damaged archives raise anything at all
        raise FileFormatError(
            f"cannot read {str(path)!r} as .npz: damaged, cut short or in another format"
        ) from None


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what expands beyond reason or beyond the memory, and what is locked, before it is read."""
    check_archive(archive, size)
    members = [info for info in archive.infolist() if info.filename in ("images.npy", "hkl.npy")]
    check_size("its content", sum(info.file_size for info in members), size)
    if any(info.flag_bits & 1 for info in members):
        raise FileFormatError("it is encrypted; save it without a password")
    if len(members) > len({info.filename for info in members}):
        raise FileFormatError("it holds two arrays with the same name; keep one")
    for info in members:
        with archive.open(info) as stream:
            array_header(stream)


def saturation_of(images: np.ndarray, dtype: str = "") -> float | None:
    """Counts from which pixels of a detector with a whole-number scale are taken as saturated, or None.

    Where the stored type is one of whole numbers and the brightest pixel reaches its end, everything above 99.9 %
    of the end is: scaling and averaging of a stack blunt the edge a little.
    """
    try:
        kind = np.dtype(dtype) if dtype else images.dtype
    except TypeError:
        return None
    if kind.kind not in "iu" or not images.size or np.isnan(images).all():
        return None
    end = float(np.iinfo(kind).max)
    return 0.999 * end if float(np.nanmax(images)) >= 0.999 * end else None


def _read_description(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise FileFormatError(
            f"{str(path.parent)!r} has no {path.name}; an experiment is a folder with {IMAGES} and {DESCRIPTION}, "
            "or a file written by lacbed experiment import"
        )
    return read_json(path, "the description of an experiment", _LARGEST_DESCRIPTION, FileFormatError)


def _part(described: dict[str, Any], name: str) -> dict[str, Any]:
    part = described.get(name, {})
    if not isinstance(part, dict):
        raise FileFormatError(f"{name} in {DESCRIPTION} must be an object, got {kind_of(part)}")
    return part


def _geometry(described: dict[str, Any]) -> Geometry:
    if "geometry" not in described:
        raise FileFormatError(
            f"{DESCRIPTION} has no geometry; expected an object with accelerating_voltage_kV, "
            "zone_axis_uvw_direct, x_direction_hkl_reciprocal and half_width_inv_A"
        )
    part = _part(described, "geometry")
    zone = _direction(part, "zone_axis_uvw_direct", whole=True)
    normal = _direction(part, "surface_normal_uvw_direct") if "surface_normal_uvw_direct" in part else None
    whole = (round(zone[0]), round(zone[1]), round(zone[2]))
    voltage = _number(part, "accelerating_voltage_kV")
    if not 1 <= voltage <= 10_000:
        raise FileFormatError(
            f"accelerating_voltage_kV in the geometry of {DESCRIPTION} must be 1 to 10000, got {voltage:g}"
        )
    return Geometry(
        energy=1e3 * voltage,
        zone_axis=whole,
        x_direction=_direction(part, "x_direction_hkl_reciprocal"),
        half_width=_number(part, "half_width_inv_A"),
        orientation=_text(part, "orientation", "-x+y", "geometry"),
        foil_normal=None if normal is None or np.allclose(np.cross(normal, whole), 0) else normal,
    )


def _text(part: dict[str, Any], name: str, default: str, where: str = "") -> str:
    value = part.get(name, default)
    if not isinstance(value, str) or not value.isprintable():
        place = f" in the {where}" if where else ""
        raise FileFormatError(f"{name}{place} of {DESCRIPTION} must be one line of text, got {_got(value)}")
    return value


def _number(part: dict[str, Any], name: str) -> float:
    value = part.get(name, _MISSING)
    if not is_number(value) or value <= 0:
        raise FileFormatError(
            f"{name} in the geometry of {DESCRIPTION} must be a positive number, got {_got(value)}"
        )
    return float(value)


def _direction(part: dict[str, Any], name: str, whole: bool = False) -> tuple[float, float, float]:
    value = part.get(name, _MISSING)
    if not is_direction(value, whole):
        kind = "whole numbers" if whole else "numbers"
        raise FileFormatError(
            f"{name} in the geometry of {DESCRIPTION} must be three {kind}, not all zero, got {_got(value)}"
        )
    return float(value[0]), float(value[1]), float(value[2])


def _check_against(described: dict[str, Any], images: np.ndarray, hkl: np.ndarray) -> None:
    """What experiment.json says about the images must be what they are."""
    geometry, stated = _part(described, "geometry"), _part(described, "images")
    shape = list(images.shape[1:])
    found = [
        ("n_pixels", geometry, "n_pixels", shape[0] if shape else 0, "a whole number"),
        ("images.n", stated, "n", len(images) if images.ndim else 0, "a whole number"),
        ("images.shape", stated, "shape", shape, "a list of two whole numbers"),
        ("images.hkl", stated, "hkl", np.asarray(hkl).tolist(), "a list of three whole numbers for each image"),
    ]
    for name, part, key, have, kind in found:
        if key not in part:
            continue
        says = part[key]
        if not _alike(says, have):
            raise FileFormatError(f"{name} in {DESCRIPTION} must be {kind}, got {_got(says)}")
        if says != have:
            raise FileFormatError(
                f"{DESCRIPTION} and {IMAGES} contradict each other: {name} is {_got(says)}, the images have "
                f"{_got(have)}"
            )
    if "pixel_size_inv_A" not in geometry:
        return
    pitch, half = _number(geometry, "pixel_size_inv_A"), _number(geometry, "half_width_inv_A")
    if shape and abs(pitch * shape[0] / (2 * half) - 1) > _NEAR:
        raise FileFormatError(
            f"{DESCRIPTION} contradicts itself: {shape[0]} pixels of pixel_size_inv_A = {pitch:g} are not twice "
            f"half_width_inv_A = {half:g}"
        )


def _alike(says: Any, have: Any) -> bool:
    """Whether a value is a whole number where the other is one, or a list of such."""
    if isinstance(have, list):
        return isinstance(says, list) and all(_alike(s, have[0] if have else 0) for s in says)
    return is_number(says) and says == round(says)


def _raw_type(described: dict[str, Any], images: np.ndarray) -> str:
    """The type of the numbers that the camera stored."""
    stated = _part(described, "images")
    if "raw_dtype" not in stated:
        return str(images.dtype)
    name = _text(stated, "raw_dtype", "", "images")
    if not _TYPE.fullmatch(name):
        raise FileFormatError(
            f"raw_dtype in the images of {DESCRIPTION} must be a type of numbers such as uint16 or float32, "
            f"got {_got(name)}"
        )
    return name


def _got(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | None) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _crystal(folder: Path, described: dict[str, Any]) -> tuple[Crystal | None, str]:
    """The crystal beside the images, if one is there; one that cannot be used is only worth a note."""
    part = _part(described, "crystal")
    path = folder / Path(_text(part, "file", "crystal.cif", "crystal")).name
    if not os.path.lexists(path):
        missing = f"{DESCRIPTION} names the crystal {path.name!r}, which is not in the folder"
        return None, missing if "file" in part else ""
    try:
        regular_file(path, "the crystal", _LARGEST_DESCRIPTION, CrystalError)
        return Crystal.from_cif(path), ""
    except LacbedError as error:
        remark = f"the crystal beside the images cannot be used: {error}"
        return None, remark
