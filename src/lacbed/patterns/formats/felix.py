"""The images of Felix: raw numbers, one file for each reflection, in a folder for each thickness.

    SrTiO3_Sim_0630A_128x128/SrTiO3_+2+0+0.bin       simulated, 630 Å
    SrTiO3_I0002_063nm_128x128/SrTiO3_+2+0+0.bin     second iteration of a refinement, 63 nm
    LR_128x128/SrTiO3_+2+0+0.img                     measured

A file holds 2n x 2n little-endian numbers of 8 bytes (4 in some versions) row by row, without a header: ky grows
with the row, kx along it. Half-width, voltage, zone and crystal come from `felix.inp` and `felix.cif` in the
folder or in one above it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lacbed.constants import wavelength
from lacbed.errors import CrystalError, FileFormatError
from lacbed.io.atomic import reason

if TYPE_CHECKING:
    from lacbed.felix.input import FelixInput

HKL = tuple[int, int, int]

ENDINGS = (".bin", ".img")
_NAME = re.compile(r"_([+-]\d+)([+-]\d+)([+-]\d+)$")
_FOLDER = re.compile(r"(?:_I(?P<iteration>\d+))?_(?P<length>\d+)(?P<unit>nm|A)(?:_\d+x\d+)?$")
_UNIT = {"nm": 10.0, "A": 1.0}
_LARGEST_VALUE = 1e12  # more than any detector counts: the bytes are something else
_LEVELS = 3  # how far above the images felix.inp is looked for


def read_raw(path: Path) -> np.ndarray:
    """One square image, float64 row by row, or float32 where the size of the file says so: (row, column).

    Raises:
        FileFormatError: if the file is no such image.
    """
    size = path.stat().st_size
    for dtype in (np.dtype("<f8"), np.dtype("<f4")):
        side = math.isqrt(size // dtype.itemsize)
        if side and side * side * dtype.itemsize == size:
            image = np.fromfile(path, dtype).reshape(side, side)
            if np.abs(np.nan_to_num(image)).max() < _LARGEST_VALUE:
                return np.asarray(image, dtype=np.float64)
    raise FileFormatError(f"{size} bytes are not a square image of 8-byte or 4-byte numbers")


def holds_images(folder: Path) -> bool:
    """Whether a folder is one of Felix: images in it, or in folders in it."""
    return bool(folder.is_dir() and _image_folders(folder))


def read(folder: Path, block: str | None = None) -> xr.DataArray:
    """A folder of images, or one with such folders for several thicknesses, as a pattern.

    Thicknesses come from the names of the folders (of several iterations of a refinement, the last counts), those
    of measured images are NaN.

    Args:
        folder: of the images, or of the folders.
        block: data block of felix.cif, if that has several crystals.

    Raises:
        FileFormatError: if no felix.inp is near, images are missing, damaged or of different sizes, or felix.cif
            cannot be used.
    """
    from lacbed.felix.input import read_felix

    folders = _image_folders(folder)
    if not folders:
        raise FileFormatError(f"there are no Felix images ({' or '.join(ENDINGS)}) in it")
    felix = read_felix(_input_near(folder))
    stacks = {_thickness(place, felix): _stack(place) for place in folders}
    thicknesses = sorted(stacks)
    hkl = _order(stacks, felix)
    images = np.stack([np.stack([stacks[t][g] for g in hkl]) for t in thicknesses])
    if images.shape[-1] != felix.pixels:
        raise FileFormatError(
            f"its images have {images.shape[-1]} pixels per side, but felix.inp gives 2 x {felix.radius}"
        )
    return _labelled(images, thicknesses, hkl, felix, block)


def _image_folders(folder: Path) -> list[Path]:
    """The folder itself if it holds images, else the folders in it that do, sorted by iteration."""
    try:
        if _images(folder):
            return [folder]
        inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and _FOLDER.search(p.name) and _images(p)]
    except OSError as error:
        raise FileFormatError(f"cannot open it: {reason(error)}") from None
    return sorted(inside, key=lambda p: int((_FOLDER.search(p.name) or {"iteration": 0})["iteration"] or 0))


def _images(folder: Path) -> dict[HKL, Path]:
    """The images of a folder by reflection; those of the first ending that is there."""
    for ending in ENDINGS:
        found = {}
        for path in sorted(folder.iterdir()):
            match = _NAME.search(path.stem) if path.suffix.lower() == ending else None
            if match:
                h, k, l = (int(v) for v in match.groups())  # noqa: E741
                found[h, k, l] = path
        if found:
            return found
    return {}


def _input_near(folder: Path) -> Path:
    from lacbed.felix.input import find_input

    place = folder.resolve()
    for _ in range(_LEVELS + 1):
        try:
            return find_input(place)
        except FileFormatError:
            place = place.parent
    raise FileFormatError("there is no felix.inp in it or above it, which gives the width of the images")


def _thickness(folder: Path, felix: FelixInput) -> float:
    """Thickness in Å from the name of a folder, as felix.inp has it where that is near."""
    if any(path.suffix.lower() == ".img" for path in _images(folder).values()):
        return math.nan
    match = _FOLDER.search(folder.name)
    if match is None:
        if len(felix.thicknesses) == 1:
            return felix.thicknesses[0]
        raise FileFormatError(
            f"the name of the folder {folder.name!r} does not give the thickness, and felix.inp names "
            f"{len(felix.thicknesses)}; expected a name such as SrTiO3_Sim_0630A_128x128"
        )
    unit = _UNIT[match["unit"]]
    rounded = float(match["length"]) * unit
    near = min(felix.thicknesses, key=lambda t: abs(t - rounded))
    return near if abs(near - rounded) <= unit else rounded


def _stack(folder: Path) -> dict[HKL, np.ndarray]:
    images = {}
    for hkl, path in _images(folder).items():
        try:
            images[hkl] = read_raw(path)
        except FileFormatError as error:
            raise FileFormatError(f"{path.name}: {error}") from None
        except OSError as error:
            raise FileFormatError(f"{path.name}: {reason(error)}") from None
    sizes = {image.shape for image in images.values()}
    if len(sizes) > 1:
        raise FileFormatError(
            f"the images in {folder.name!r} differ in size: {sorted(s[0] for s in sizes)} pixels"
        )
    return images


def _order(stacks: dict[float, dict[HKL, np.ndarray]], felix: FelixInput) -> list[HKL]:
    """The reflections that every thickness has, in the order of felix.hkl; others after them."""
    common = set.intersection(*(set(stack) for stack in stacks.values()))
    if not common:
        raise FileFormatError("the folders of the thicknesses have no reflection in common")
    listed = [g for g in felix.hkl if g in common]
    return listed + sorted(common - set(listed))


def _labelled(
    images: np.ndarray, thicknesses: list[float], hkl: list[HKL], felix: FelixInput, block: str | None
) -> xr.DataArray:
    from lacbed.felix.recipe import crystal_of, frame_of
    from lacbed.geometry.tilts import TiltGrid

    try:
        crystal, _ = crystal_of(felix, block)
    except CrystalError as error:
        how = "; lacbed convert --images takes --block" if block is None and "--block" in str(error) else ""
        raise FileFormatError(f"{error}{how}") from None
    frame, energy = frame_of(felix, crystal), felix.voltage * 1e3
    kx, ky = TiltGrid(felix.pixels, k_max=felix.half_width).axes(frame, energy)
    indices, angle = np.array(hkl), wavelength(energy)
    vectors = frame.vectors(indices)
    measured = math.isnan(thicknesses[0])
    attributes: dict[str, Any] = {
        "software": "Felix",
        "kind": "measured" if measured else "simulated",
        "long_name": "LACBED intensity",
        "units": "counts" if measured else "fraction of the incident intensity",
        "crystal": crystal.name,
        "formula": crystal.formula,
        "crystal_cif": crystal.to_cif(),
        "wavelength": angle,
        "energy": energy,
        "zone_axis": list(frame.zone_axis),
        "x_direction": list(frame.x_direction),
        "notes": [*crystal.notes, f"Felix images from {felix.folder.name}", *felix.remarks],
    }
    coordinates = {
        "thickness": ("thickness", thicknesses, {"units": "Å", "long_name": "thickness"}),
        "hkl": ("hkl", [",".join(str(i) for i in g) for g in hkl], {"long_name": "reflection"}),
        **{name: ("hkl", indices[:, i], {"long_name": f"Miller index {name}"}) for i, name in enumerate("hkl")},
        "gx": ("hkl", vectors[:, 0], {"units": "1/Å"}),
        "gy": ("hkl", vectors[:, 1], {"units": "1/Å"}),
        "ky": ("ky", ky, {"units": "1/Å", "long_name": "incident wave vector along y"}),
        "kx": ("kx", kx, {"units": "1/Å", "long_name": "incident wave vector along x"}),
        "alpha_y": ("ky", 1e3 * np.arcsin(ky * angle), {"units": "mrad"}),
        "alpha_x": ("kx", 1e3 * np.arcsin(kx * angle), {"units": "mrad"}),
    }
    dims = ("thickness", "hkl", "ky", "kx")
    return xr.DataArray(images, coordinates, dims, "intensity", attributes)
