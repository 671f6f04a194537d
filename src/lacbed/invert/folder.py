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
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.crystals import Crystal
from lacbed.errors import CrystalError, FileFormatError, LacbedError, SettingError
from lacbed.invert.assembly import Geometry, make_experiment
from lacbed.invert.experiment import Experiment
from lacbed.patterns.atomic import reason
from lacbed.patterns.formats.npz import check_archive, read_member

DESCRIPTION, IMAGES = "experiment.json", "images.npz"
_NEAR = 1e-3  # relative; two statements of one number that differ by more contradict each other


def read_folder(folder: Path) -> Experiment:
    """The experiment in a folder.

    Raises:
        FileFormatError: if a file is missing or damaged, or the two contradict each other.
    """
    try:
        described = _read_json(folder / DESCRIPTION)
        geometry = _geometry(described)
        images, hkl = read_stack(folder / IMAGES)
        _check_against(described, images, hkl)
        crystal, remark = _crystal(folder, described)
        return make_experiment(
            images,
            hkl,
            geometry,
            crystal=crystal,
            saturation=saturation_of(images, str(_part(described, "images").get("raw_dtype", images.dtype))),
            name=str(described.get("material", folder.name)),
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
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.stat().st_size)
            return read_member(archive, "images"), read_member(archive, "hkl")
    except FileNotFoundError:
        raise FileFormatError(f"no such file: {str(path)!r}") from None
    except FileFormatError as error:
        raise FileFormatError(
            f"cannot read {str(path)!r}: {error}; expected arrays images (reflection, row, column) and hkl "
            "(reflection, 3)"
        ) from None
    except OSError as error:
        raise FileFormatError(f"cannot read {str(path)!r}: {reason(error)}") from None
    except Exception:  # damaged archives raise anything at all
        raise FileFormatError(f"cannot read {str(path)!r} as .npz: damaged, cut short or foreign") from None


def saturation_of(images: np.ndarray, dtype: str = "") -> float | None:
    """Counts from which pixels of a detector with a whole-number scale are taken as saturated, or None.

    Where the stored type is one of whole numbers and the brightest pixel reaches its end, everything above 99.9 %
    of the end is: scaling and averaging of a stack blunt the edge a little.
    """
    try:
        kind = np.dtype(dtype) if dtype else images.dtype
    except TypeError:
        return None
    if kind.kind not in "iu" or not images.size:
        return None
    end = float(np.iinfo(kind).max)
    return 0.999 * end if float(np.nanmax(images)) >= 0.999 * end else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFormatError(
            f"{str(path.parent)!r} has no {path.name}; an experiment is a folder with {IMAGES} and {DESCRIPTION}, "
            "or a file that lacbed experiment import wrote"
        ) from None
    except (ValueError, RecursionError):
        raise FileFormatError(f"cannot read {str(path)!r}: it is not JSON") from None
    except OSError as error:
        raise FileFormatError(f"cannot read {str(path)!r}: {reason(error)}") from None
    if not isinstance(described, dict):
        raise FileFormatError(f"cannot read {str(path)!r}: expected an object with geometry")
    return described


def _part(described: dict[str, Any], name: str) -> dict[str, Any]:
    part = described.get(name, {})
    if not isinstance(part, dict):
        raise FileFormatError(f"{name} in {DESCRIPTION} must be an object, got {type(part).__name__}")
    return part


def _geometry(described: dict[str, Any]) -> Geometry:
    part = _part(described, "geometry")
    zone = _numbers(part, "zone_axis_uvw_direct")
    if any(i != round(i) for i in zone):
        raise FileFormatError(f"zone_axis_uvw_direct in {DESCRIPTION} must be whole numbers, got {list(zone)}")
    normal = _numbers(part, "surface_normal_uvw_direct") if "surface_normal_uvw_direct" in part else None
    whole = (round(zone[0]), round(zone[1]), round(zone[2]))
    return Geometry(
        energy=1e3 * _number(part, "accelerating_voltage_kV"),
        zone_axis=whole,
        x_direction=_numbers(part, "x_direction_hkl_reciprocal"),
        half_width=_number(part, "half_width_inv_A"),
        orientation=str(part.get("orientation", "-x+y")),
        foil_normal=None if normal is None or np.allclose(np.cross(normal, whole), 0) else normal,
    )


def _number(part: dict[str, Any], name: str) -> float:
    value = part.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise FileFormatError(f"{name} in the geometry of {DESCRIPTION} must be a positive number, got {value!r}")
    return float(value)


def _numbers(part: dict[str, Any], name: str) -> tuple[float, float, float]:
    value = part.get(name)
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(isinstance(v, int | float) and math.isfinite(v) for v in value)
        or not any(value)
    ):
        raise FileFormatError(f"{name} in the geometry of {DESCRIPTION} must be three numbers, got {value!r}")
    return float(value[0]), float(value[1]), float(value[2])


def _check_against(described: dict[str, Any], images: np.ndarray, hkl: np.ndarray) -> None:
    """What experiment.json says about the images must be what they are."""
    geometry, stated = _part(described, "geometry"), _part(described, "images")
    shape = list(images.shape[1:])
    pixels, half = geometry.get("n_pixels"), _number(geometry, "half_width_inv_A")
    found = [
        ("n_pixels", pixels, shape[0] if shape else 0),
        ("images.n", stated.get("n"), len(images)),
        ("images.shape", stated.get("shape"), shape),
        ("images.hkl", stated.get("hkl"), np.asarray(hkl).tolist()),
    ]
    for name, says, have in found:
        if says is not None and says != have:
            raise FileFormatError(
                f"{DESCRIPTION} and {IMAGES} contradict each other: {name} is {_short(says)}, the images have "
                f"{_short(have)}"
            )
    pitch = geometry.get("pixel_size_inv_A")
    if isinstance(pitch, int | float) and shape and abs(pitch * shape[0] / (2 * half) - 1) > _NEAR:
        raise FileFormatError(
            f"{DESCRIPTION} contradicts itself: {shape[0]} pixels of pixel_size_inv_A = {pitch:g} are not twice "
            f"half_width_inv_A = {half:g}"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _crystal(folder: Path, described: dict[str, Any]) -> tuple[Crystal | None, str]:
    """The crystal beside the images, if one is there; one that cannot be used is only worth a note."""
    name = str(_part(described, "crystal").get("file", "crystal.cif"))
    path = folder / Path(name).name
    if not path.is_file():
        return None, ""
    try:
        return Crystal.from_cif(path), ""
    except (CrystalError, LacbedError) as error:
        remark = f"the crystal beside the images cannot be used: {error}"
        return None, remark
