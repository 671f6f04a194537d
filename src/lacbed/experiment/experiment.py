"""A measured LACBED stack: a pattern with the geometry it was taken in, checked.

The images lie in the layout of every other pattern, (thickness, hkl, ky, kx) with kx and ky ascending, so that
every figure, metric and file format works for them. The thickness is one value, NaN while it is not known. Pixels
that are not to be used (masked, saturated, not recorded) are NaN. Values are counts in any unit: scale and
background of each reflection are unknown. A stack extracted from frames (`lacbed.extract`) has in the coordinates
`variance`, `background` and `mask`, all (hkl, ky, kx), what is known about every pixel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lacbed.constants import wavelength
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.tilts import TiltGrid
from lacbed.io.checks import is_number
from lacbed.patterns.result import hkl_label
from lacbed.patterns.schema import axis_step, check_pattern

ORIENTATIONS = ("-y+x", "-y-x", "+y+x", "+y-x", "-x+y", "-x-y", "+x+y", "+x-y")
"""All ways an image can lie, the usual picture first."""


def check_orientation(name: Any) -> str:
    """The name of an orientation without blanks and commas.

    Raises:
        SettingError: if it is none of the eight.
    """
    text = re.sub(r"[\s,]", "", str(name)).lower().replace("\N{MINUS SIGN}", "-")
    if text not in ORIENTATIONS:
        raise SettingError(
            "the orientation of an image is the direction of k down the rows and along the columns, one of "
            f"{', '.join(ORIENTATIONS)}; got {name!r}"
        )
    return text


def images_to_pattern(images: np.ndarray, orientation: str) -> np.ndarray:
    """Images as they are stored, (..., row, column), to a pattern with both axes ascending, (..., ky, kx)."""
    transposed, rows, columns = _moves(orientation)
    turned = np.swapaxes(images, -1, -2) if transposed else images
    return np.ascontiguousarray(turned[..., rows, columns])


def pattern_to_images(values: np.ndarray, orientation: str) -> np.ndarray:
    """The way back: (..., ky, kx) to (..., row, column)."""
    transposed, rows, columns = _moves(orientation)
    turned = values[..., rows, columns]
    return np.ascontiguousarray(np.swapaxes(turned, -1, -2) if transposed else turned)


def _moves(orientation: str) -> tuple[bool, slice, slice]:
    """Whether x runs down the rows, and the slices that make ky and kx ascend."""
    name = check_orientation(orientation)
    transposed = name[1] == "x"
    sign_y, sign_x = (name[2], name[0]) if transposed else (name[0], name[2])
    forward, backward = slice(None), slice(None, None, -1)
    return transposed, backward if sign_y == "-" else forward, backward if sign_x == "-" else forward


def largest_binning(pixels: int, least: float) -> int:
    """The largest factor that divides a side of `pixels` and leaves at least `least` of them; 1 if none does."""
    return max(f for f in range(1, pixels + 1) if pixels % f == 0 and (f == 1 or pixels / f >= least))


def binned_images(images: FloatArray, factor: int) -> FloatArray:
    """Means over `factor` x `factor` pixels, NaN where any of them is: (reflection, n, n), `factor` divides n."""
    side = images.shape[-1] // factor
    means: FloatArray = images.reshape(len(images), side, factor, side, factor).mean(axis=(2, 4))
    return means


PER_PIXEL = ("variance", "background", "mask")
"""Coordinates (hkl, ky, kx) that an experiment may have."""

LARGEST_INDEX = 10_000
"""Above it, an index of a reflection or a direction is a slip."""
_THREE = "three numbers that are not all zero"
_WHOLE = "three whole numbers that are not all zero"


@dataclass(frozen=True, eq=False)
class Experiment:
    """A measured stack of dark-field images on one grid of incident directions.

    Attributes:
        pattern: (thickness, hkl, ky, kx) with one thickness, float64, NaN where a pixel is masked; its metadata
            hold energy (eV), zone_axis, x_direction, foil_normal, orientation, cone and notes.
    """

    pattern: xr.DataArray

    def __post_init__(self) -> None:
        """Check the layout and the metadata.

        Raises:
            SettingError: saying what is missing.
        """
        check_pattern(self.pattern)
        if self.pattern.sizes["thickness"] != 1:
            raise SettingError(f"an experiment has one thickness, got {self.pattern.sizes['thickness']}")
        if self.pattern.sizes["ky"] != self.pattern.sizes["kx"]:
            raise SettingError(
                f"the images of an experiment are square, got {self.pattern.sizes['ky']} x "
                f"{self.pattern.sizes['kx']} pixels; crop them"
            )
        if self.pattern.dtype.kind == "c":
            raise SettingError("an experiment has counts, not complex amplitudes")
        _check_attributes(self.pattern.attrs)
        _check_labels(self.pattern)

    @property
    def images(self) -> FloatArray:
        """Counts, NaN in masked pixels: (reflection, ky, kx)."""
        return np.asarray(self.pattern.values[0], dtype=np.float64)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Pixels to be used: (reflection, ky, kx)."""
        return np.isfinite(self.images)

    @property
    def variance(self) -> FloatArray | None:
        """Variance of the images, NaN in masked pixels, or None if it is not known: (reflection, ky, kx)."""
        return self._per_pixel("variance")

    @property
    def background(self) -> FloatArray | None:
        """What was taken away from the images as background, or None if not known: (reflection, ky, kx)."""
        return self._per_pixel("background")

    def _per_pixel(self, name: str) -> FloatArray | None:
        if name not in self.pattern.coords:
            return None
        return np.asarray(self.pattern[name].values, dtype=np.float64)

    @property
    def hkl(self) -> tuple[tuple[int, int, int], ...]:
        """The reflections."""
        columns = (self.pattern.coords[name].values for name in ("h", "k", "l"))
        return tuple((int(h), int(k), int(l)) for h, k, l in zip(*columns, strict=True))  # noqa: E741

    @property
    def labels(self) -> tuple[str, ...]:
        """The reflections as `pattern.sel(hkl=...)` takes them."""
        return tuple(str(name) for name in self.pattern["hkl"].values)

    @property
    def files(self) -> tuple[str, ...]:
        """The file that each image was read from; none if that is not known."""
        return tuple(str(n) for n in self.pattern["file"].values) if "file" in self.pattern.coords else ()

    @property
    def energy(self) -> float:
        """Kinetic energy in eV."""
        return float(self.pattern.attrs["energy"])

    @property
    def zone_axis(self) -> tuple[int, ...]:
        """The beam direction u, v, w."""
        return tuple(int(i) for i in self.pattern.attrs["zone_axis"])

    @property
    def x_direction(self) -> tuple[float, ...]:
        """The reflection h, k, l along +x."""
        return tuple(float(i) for i in self.pattern.attrs["x_direction"])

    @property
    def foil_normal(self) -> tuple[float, ...] | None:
        """The foil normal u, v, w, None for the zone axis."""
        normal = self.pattern.attrs.get("foil_normal")
        return None if normal is None else tuple(float(i) for i in normal)

    @property
    def cone(self) -> float:
        """Radius in 1/Å of the cone of incident directions over which each pixel is a mean; 0 if not known.

        That is the convergence of the beam where frames of a tilt series are summed over whole discs.
        """
        return float(self.pattern.attrs.get("cone") or 0.0)

    @property
    def orientation(self) -> str:
        """How the images lay when they were read; see `lacbed.experiment.experiment`."""
        return str(self.pattern.attrs.get("orientation", "-y+x"))

    @property
    def pixels(self) -> int:
        """Pixels along each side."""
        return self.pattern.sizes["kx"]

    @property
    def pixel_size(self) -> float:
        """Pitch of the pixels in 1/Å."""
        return axis_step(self.pattern["kx"])

    @property
    def half_width(self) -> float:
        """Half the width of an image in 1/Å."""
        return 0.5 * self.pixels * self.pixel_size

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the images (kx, ky) in 1/Å."""
        kx, ky = (self.pattern[name].values for name in ("kx", "ky"))
        return float(kx[0] + kx[-1]) / 2, float(ky[0] + ky[-1]) / 2

    @property
    def grid(self) -> TiltGrid:
        """The incident directions as `lacbed.simulate` takes them."""
        return TiltGrid(self.pixels, k_max=self.half_width, center=self.center)

    @property
    def name(self) -> str:
        """What was measured."""
        return str(self.pattern.attrs.get("crystal", "")) or "experiment"

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings and decisions made on the way."""
        return tuple(str(note) for note in self.pattern.attrs.get("notes", []))

    def frame(self, crystal: Crystal) -> Frame:
        """The orientation of a crystal in this experiment."""
        return make_frame(crystal, self.zone_axis, self.foil_normal, self.x_direction)

    def select(self, hkl: Sequence[Sequence[int]]) -> Experiment:
        """Only some of the reflections, in the given order.

        Raises:
            SettingError: if one was not measured.
        """
        wanted = [hkl_label((int(h), int(k), int(l))) for h, k, l in hkl]  # noqa: E741
        missing = [name for name in wanted if name not in self.labels]
        if missing:
            raise SettingError(f"reflection {missing[0]} was not measured; there are {'; '.join(self.labels[:8])}")
        return Experiment(self.pattern.isel(hkl=[self.labels.index(name) for name in wanted]))

    def masked(self, mask: npt.ArrayLike) -> Experiment:
        """With further pixels taken out: those where the mask (broadcast to reflection, ky, kx) is False."""
        pattern = self.pattern.copy()
        pattern.values[0] = np.where(
            np.broadcast_to(np.asarray(mask, bool), self.images.shape), self.images, np.nan
        )
        return Experiment(pattern)

    def annotated(self, *notes: str, **attributes: Any) -> Experiment:
        """With further notes and metadata."""
        pattern = self.pattern.copy()
        pattern.attrs = {**pattern.attrs, **attributes, "notes": [*self.notes, *notes]}
        return Experiment(pattern)

    def on_grid(self, half_width: float | None = None, center: tuple[float, float] | None = None) -> Experiment:
        """The same images with another half-width or centre in 1/Å."""
        half = self.half_width if half_width is None else half_width
        middle = self.center if center is None else center
        kx, ky = grid_axes(self.pixels, half, middle)
        return Experiment(on_axes(self.pattern, kx, ky, self.energy))

    def scaled(self, factor: float) -> Experiment:
        """The same images with half-width and centre times a factor."""
        x, y = self.center
        return self.on_grid(factor * self.half_width, (factor * x, factor * y))

    def binned(self, factor: int) -> Experiment:
        """Means over squares of `factor` x `factor` pixels, masked where any of them is.

        Raises:
            SettingError: if the images do not divide into such squares.
        """
        if factor < 1 or self.pixels % factor:
            raise SettingError(f"images of {self.pixels} pixels per side cannot be binned by {factor}")
        means = binned_images(self.images, factor)
        every = slice(None, None, factor)
        pattern = self.pattern.isel(ky=every, kx=every).copy(data=means[None])
        for name in PER_PIXEL:
            values = self._per_pixel(name)
            if values is not None:
                binned = binned_images(values, factor) / (factor**2 if name == "variance" else 1)
                kept = np.ceil(binned).astype(np.uint8) if name == "mask" else binned
                pattern = pattern.assign_coords({name: (("hkl", "ky", "kx"), kept, pattern[name].attrs)})
        kx, ky = grid_axes(means.shape[-1], self.half_width, self.center)
        return Experiment(on_axes(pattern, kx, ky, self.energy))

    def turned(self, orientation: str) -> Experiment:
        """The same stored images, taken to lie another way; see `lacbed.experiment.experiment`."""

        def turn(values: np.ndarray) -> np.ndarray:
            return images_to_pattern(pattern_to_images(values, self.orientation), orientation)

        pattern = self.pattern.copy(data=turn(self.pattern.values))
        for name in PER_PIXEL:
            if name in pattern.coords:
                values = turn(self.pattern[name].values)
                pattern = pattern.assign_coords({name: (("hkl", "ky", "kx"), values, pattern[name].attrs)})
        pattern.attrs = {**self.pattern.attrs, "orientation": check_orientation(orientation)}
        return Experiment(pattern)


def is_direction(value: Any, whole: bool = False) -> bool:
    """Whether a value is three finite numbers that point somewhere, all whole where asked."""
    return (
        isinstance(value, list | tuple | np.ndarray)
        and len(value) == 3
        and all(is_number(v) and abs(v) <= LARGEST_INDEX and (not whole or v == round(v)) for v in value)
        and any(v != 0 for v in value)
    )


def _check_attributes(attributes: dict[Any, Any]) -> None:
    """The metadata that say how an experiment was taken must be there and be possible."""
    for name, kind in (("energy", "a positive number"), ("zone_axis", _WHOLE), ("x_direction", _THREE)):
        if name not in attributes:
            raise SettingError(f"the metadata of an experiment need {name}, {kind}")
    found: list[tuple[str, str, Callable[[Any], Any]]] = [
        ("energy", "a positive number of eV", lambda v: is_number(v) and v > 0),
        ("zone_axis", _WHOLE, lambda v: is_direction(v, whole=True)),
        ("x_direction", _THREE, is_direction),
        ("foil_normal", _THREE, is_direction),
        ("orientation", "a text such as -y+x", lambda v: isinstance(v, str) and check_orientation(v)),
        ("cone", "a number of 1/Å from 0 to 0.5", lambda v: is_number(v) and 0 <= v <= 0.5),
        ("notes", "a list of texts", lambda v: isinstance(v, list | tuple | np.ndarray)),
        ("crystal_cif", "a text", lambda v: isinstance(v, str)),
    ]
    for name, kind, fits in found:
        if attributes.get(name) is not None and not fits(attributes[name]):
            raise SettingError(
                f"{name} in the metadata of an experiment must be {kind}, got {attributes[name]!r:.60}"
            )


def _check_labels(pattern: xr.DataArray) -> None:
    """Indices must be whole, pixels evenly spaced, and what is known of each pixel of the images' shape."""
    for name in PER_PIXEL:
        if name not in pattern.coords:
            continue
        if pattern[name].dims != ("hkl", "ky", "kx") or pattern[name].dtype.kind not in "fiub":
            raise SettingError(f"{name} of an experiment must be numbers (hkl, ky, kx), got {pattern[name].dims}")
        if name == "variance":
            used = pattern[name].values[np.isfinite(pattern.values[0])]
            if not np.all(used > 0):  # NaN too
                raise SettingError("the variance of an experiment must be a positive number in every used pixel")
    for name in ("h", "k", "l"):
        if name not in pattern.coords or pattern[name].dims != ("hkl",) or pattern[name].dtype.kind not in "iu":
            raise SettingError(f"an experiment needs the Miller index {name} of each reflection, a whole number")
    for name in ("kx", "ky"):
        values = np.asarray(pattern[name].values)
        steps = np.diff(values) if values.dtype.kind in "fiu" else np.empty(0)
        if not (len(steps) and np.all(steps > 0) and np.allclose(steps, steps.mean(), rtol=1e-3, atol=0)):
            raise SettingError(f"{name} of an experiment must ascend in equal steps, in 1/Å")


def crystal_of(experiment: Experiment) -> Crystal | None:
    """The crystal that is stored with an experiment, if there is one."""
    text = str(experiment.pattern.attrs.get("crystal_cif", ""))
    return Crystal.from_cif_text(text, experiment.name) if text else None


def grid_axes(pixels: int, half_width: float, center: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Pixel centres along x and y in 1/Å."""
    steps = (np.arange(pixels) - pixels / 2 + 0.5) * (2.0 * half_width / pixels)
    return np.asarray(steps + center[0]), np.asarray(steps + center[1])


def on_axes(pattern: xr.DataArray, kx: FloatArray, ky: FloatArray, energy: float) -> xr.DataArray:
    """The pattern with other axes, given in 1/Å and labelled in 1/Å and mrad."""
    scale = wavelength(energy)
    out = pattern.drop_vars([n for n in ("alpha_x", "alpha_y") if n in pattern.coords])
    for axis, values in (("y", ky), ("x", kx)):
        label = {"units": "1/Å", "long_name": f"incident wave vector along {axis}"}
        angle = 1e3 * np.arcsin(np.clip(values * scale, -1, 1))
        out = out.assign_coords(
            {
                f"k{axis}": (f"k{axis}", values, label),
                f"alpha_{axis}": (f"k{axis}", angle, {"units": "mrad"}),
            }
        )
    out.attrs = dict(pattern.attrs)
    return out
