"""From images and what is known about them to an experiment, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lacbed.constants import wavelength
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.experiment import (
    LARGEST_INDEX,
    Experiment,
    check_orientation,
    grid_axes,
    images_to_pattern,
    is_direction,
    on_axes,
)
from lacbed.geometry.frame import Frame, IntArray, make_frame
from lacbed.geometry.tilts import MAX_ANGLE, TiltGrid
from lacbed.io.checks import check_number
from lacbed.patterns.result import hkl_label, software

SMALLEST = 8
"""Pixels along a side, below which an image holds no pattern."""


@dataclass(frozen=True)
class Geometry:
    """How a stack was taken.

    Attributes:
        energy: kinetic energy in eV.
        zone_axis: u, v, w in the direct lattice; the beam travels along it.
        x_direction: h, k, l of the reflection along +x.
        half_width: half the width of an image in 1/Å.
        orientation: how the stored images lie; see `lacbed.experiment.experiment`.
        foil_normal: u, v, w; None for the zone axis.
        center: middle of the images (kx, ky) in 1/Å.
    """

    energy: float
    zone_axis: tuple[int, int, int]
    x_direction: tuple[float, float, float]
    half_width: float
    orientation: str = "-y+x"
    foil_normal: tuple[float, float, float] | None = None
    center: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check what can be checked without images.

        Raises:
            SettingError: saying what was expected and what came.
        """
        for name in ("energy", "half_width"):
            check_number(f"{name} of an experiment", getattr(self, name), above=0)
        for name in ("zone_axis", "x_direction", "foil_normal"):
            value = getattr(self, name)
            whole = name == "zone_axis"
            if value is not None and not is_direction(value, whole):
                kind = "whole numbers" if whole else "numbers"
                raise SettingError(
                    f"{name} of an experiment must be three {kind} of at most {LARGEST_INDEX}, not all zero, "
                    f"got {value!r:.80}"
                )
        object.__setattr__(self, "orientation", check_orientation(self.orientation))
        TiltGrid(1, k_max=self.half_width, center=self.center)
        reach = (self.half_width + max(map(abs, self.center))) * wavelength(self.energy)
        if reach > math.sin(MAX_ANGLE):
            raise SettingError(
                f"images of half-width {self.half_width:g} 1/Å at {self.energy / 1e3:g} kV reach "
                f"{1e3 * reach:.3g} mrad from the zone axis; the limit is {1e3 * MAX_ANGLE:.0f} mrad: check both"
            )


def make_experiment(
    images: npt.ArrayLike,
    hkl: Sequence[Sequence[int]] | IntArray,
    geometry: Geometry,
    *,
    crystal: Crystal | None = None,
    saturation: float | None = None,
    name: str = "",
    source: str = "",
    files: Sequence[str] = (),
    notes: Sequence[str] = (),
    variance: npt.ArrayLike | None = None,
) -> Experiment:
    """An experiment from images as they were stored.

    Args:
        images: counts, NaN for pixels not to be used: (reflection, row, column).
        hkl: the reflection of each image.
        geometry: how they were taken.
        crystal: what is thought to have been measured, for names and the lengths of the reflections; optional.
        saturation: counts from which a pixel is saturated and left out.
        name: what was measured.
        source: where the images come from.
        files: the file of each image, to be shown beside its reflection; none if they have none.
        notes: warnings to keep.
        variance: of every pixel in the square of the unit of the images, like these.

    Raises:
        SettingError: if the images and reflections cannot be an experiment: images that are not square or too
            small, reflections that repeat or that the zone axis cannot show, no image with contrast.
    """
    stack = _check_images(images)
    indices = _check_hkl(hkl, len(stack), geometry.zone_axis)
    stack, remarks = _mask(stack, [hkl_label(tuple(g)) for g in indices.tolist()], saturation)
    frame = _frame(crystal, geometry)
    kx, ky = grid_axes(stack.shape[-1], geometry.half_width, geometry.center)
    coordinates: dict[str, Any] = {
        "thickness": ("thickness", [math.nan], {"units": "Å", "long_name": "thickness, NaN if not known"}),
        "hkl": ("hkl", [hkl_label(tuple(g)) for g in indices.tolist()], {"long_name": "reflection"}),
        **{n: ("hkl", indices[:, i], {"long_name": f"Miller index {n}"}) for i, n in enumerate("hkl")},
        "ky": ("ky", ky),
        "kx": ("kx", kx),
    }
    if len(files) == len(indices):
        coordinates["file"] = ("hkl", [str(f) for f in files], {"long_name": "file of the image"})
    if frame is not None:
        vectors = frame.vectors(indices)
        coordinates |= {f"g{n}": ("hkl", vectors[:, i], {"units": "1/Å"}) for i, n in enumerate("xy")}
    if variance is not None:
        known = np.asarray(variance, dtype=np.float64)
        if known.shape != stack.shape:
            raise SettingError(f"the variance must have the shape of the images, {stack.shape}, got {known.shape}")
        about = {"units": "counts^2", "long_name": "variance of the intensity"}
        coordinates["variance"] = (("hkl", "ky", "kx"), images_to_pattern(known, geometry.orientation), about)
    values = images_to_pattern(stack, geometry.orientation)[None]
    attributes = _attributes(geometry, crystal, name, source, [*notes, *remarks])
    pattern = xr.DataArray(values, coordinates, ("thickness", "hkl", "ky", "kx"), "intensity", attributes)
    return Experiment(on_axes(pattern, kx, ky, geometry.energy))


def with_geometry(experiment: Experiment, geometry: Geometry, crystal: Crystal | None = None) -> Experiment:
    """The same stored images with another geometry."""
    turned = experiment.turned(geometry.orientation).on_grid(geometry.half_width, geometry.center)
    changed = _attributes(geometry, crystal, experiment.name, "", list(experiment.notes))
    return turned.annotated(**{k: v for k, v in changed.items() if k != "notes" and v != ""})


def geometry_of(experiment: Experiment) -> Geometry:
    """The geometry that an experiment was made with, or that it was fitted to."""
    u, v, w = experiment.zone_axis
    h, k, l = experiment.x_direction  # noqa: E741
    normal = experiment.foil_normal
    geometry = Geometry(
        experiment.energy,
        (u, v, w),
        (h, k, l),
        experiment.half_width,
        experiment.orientation,
        center=experiment.center,
    )
    return geometry if normal is None else replace(geometry, foil_normal=(normal[0], normal[1], normal[2]))


def _check_images(images: npt.ArrayLike) -> FloatArray:
    try:
        stored = np.asarray(images)
    except (TypeError, ValueError):
        raise SettingError(
            "the images differ in size or are not numbers; crop or resample them to one size"
        ) from None
    if stored.dtype.kind not in "fiu":
        raise SettingError(f"the images are not numbers but {stored.dtype}; expected counts")
    if stored.ndim != 3 or stored.shape[0] == 0:
        raise SettingError(f"expected images (reflection, row, column), got an array of shape {stored.shape}")
    rows, columns = stored.shape[1:]
    if rows != columns:
        raise SettingError(f"the images are {rows} x {columns} pixels; crop them to squares around the zone axis")
    if rows < SMALLEST:
        raise SettingError(f"the images are {rows} x {columns} pixels, too few for a pattern; at least {SMALLEST}")
    return np.array(stored, dtype=np.float64)


def whole_indices(hkl: Any, count: int) -> IntArray:
    """The reflections of so many images as whole numbers: (image, 3).

    Raises:
        SettingError: if they are no whole numbers, or not three for each image.
    """
    try:
        values = np.asarray(hkl)
    except (TypeError, ValueError):
        values = np.empty(0)
    if (
        values.shape != (count, 3)
        or values.dtype.kind not in "fiu"
        or not np.all(np.abs(values.astype(float)) <= LARGEST_INDEX)
        or not np.all(values == np.round(values))
    ):
        got = (
            f"an array {values.shape} of {values.dtype}"
            if values.shape != (count, 3)
            else f"{values.tolist()!r:.80}"
        )
        raise SettingError(
            f"expected {count} reflections h, k, l in whole numbers up to {LARGEST_INDEX}, one for each image, "
            f"got {got}"
        )
    return values.astype(np.int64)


def _check_hkl(hkl: Any, count: int, zone_axis: tuple[int, int, int]) -> IntArray:
    indices = whole_indices(hkl, count)
    seen: set[tuple[int, ...]] = set()
    for g in indices.tolist():
        order = sum(i * j for i, j in zip(g, zone_axis, strict=True))
        if order:
            raise SettingError(
                f"reflection {hkl_label(tuple(g))} lies in Laue zone {order} of the zone axis {list(zone_axis)}, "
                "which cannot show it in the zero-order zone; check the zone axis and the indices"
            )
        if tuple(g) in seen:
            raise SettingError(f"reflection {hkl_label(tuple(g))} has two images; keep one")
        seen.add(tuple(g))
    return indices


def _mask(stack: FloatArray, names: list[str], saturation: float | None) -> tuple[FloatArray, list[str]]:
    """The images with saturated and infinite pixels as NaN, and what there is to say about them."""
    notes: list[str] = []
    unknown = ~np.isfinite(stack)
    if unknown.any():
        notes.append(f"{int(unknown.sum())} pixels that are not numbers are excluded")
    full = np.zeros(stack.shape, dtype=bool) if saturation is None else (stack >= saturation) & ~unknown
    if full.any():
        notes.append(f"{int(full.sum())} pixels saturated at {saturation:g} counts or above are excluded")
    used = np.where(unknown | full, np.nan, stack)
    flat = [n for n, image in zip(names, used, strict=True) if not has_contrast(image)]
    if len(flat) == len(names):
        raise SettingError("no image has any contrast: all pixels are equal, saturated or not numbers")
    if flat:
        notes.append(f"without contrast (all zero, saturated or not numbers) and not used: {'; '.join(flat)}")
    return used, notes


def has_contrast(image: FloatArray) -> bool:
    """Whether enough pixels of an image are known and differ."""
    known = image[np.isfinite(image)]
    return known.size >= SMALLEST**2 // 2 and float(known.max() - known.min()) > 1e-12 * float(np.abs(known).max())


def _frame(crystal: Crystal | None, geometry: Geometry) -> Frame | None:
    if crystal is None:
        return None
    return make_frame(crystal, geometry.zone_axis, geometry.foil_normal, geometry.x_direction)


def _attributes(
    geometry: Geometry, crystal: Crystal | None, name: str, source: str, notes: list[str]
) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "software": software(),
        "kind": "measured",
        "long_name": "LACBED counts",
        "units": "counts",
        "crystal": name or (crystal.name if crystal is not None else ""),
        "formula": "" if crystal is None else crystal.formula,
        "crystal_cif": "" if crystal is None else crystal.to_cif(),
        "source": source,
        "energy": float(geometry.energy),
        "wavelength": wavelength(geometry.energy),
        "zone_axis": list(geometry.zone_axis),
        "x_direction": [float(i) for i in geometry.x_direction],
        "orientation": geometry.orientation,
        "notes": [n for n in notes if n],
    }
    if geometry.foil_normal is not None:
        attributes["foil_normal"] = [float(i) for i in geometry.foil_normal]
    return attributes
