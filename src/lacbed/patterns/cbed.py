"""CBED from LACBED: the discs at their places in the diffraction plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from lacbed.constants import wavelength
from lacbed.errors import SettingError
from lacbed.io.numbers import check_number, check_whole
from lacbed.patterns.schema import axis_step, check_pattern, intensities

MAX_PIXELS = 8192
Resampling = Literal["bilinear", "nearest"]


def assemble_cbed(
    pattern: xr.DataArray,
    semi_angle: float | None = None,
    pixels: int | None = None,
    thickness: float | Sequence[float] | None = None,
    resampling: Resampling = "bilinear",
) -> xr.DataArray:
    """Assemble the CBED pattern of a probe with a convergence semi-angle.

    An electron that comes in with k = (kx, ky) and is diffracted by g arrives at p = k + g, so that

        I(p) = Σ_g I_g(p - g_t)   over all reflections with |p - g_t| ≤ sin(semi_angle) / λ,

    g_t being the in-plane part of g. Overlapping discs add as intensities: an incoherent source, and no
    interference between the discs. Only the reflections in the pattern are drawn; simulate with hkl="all" for
    a complete picture.

    Each disc is read at p - g_t, bilinearly between the pixels of the pattern or at the nearest one; NaN
    pixels (outside a disc-shaped grid) do not take part. With the default `pixels` the pitch is that of the
    pattern.

    Args:
        pattern: (thickness, hkl, ky, kx) with gx and gy along hkl; of amplitudes |A|² is used.
        semi_angle: convergence semi-angle in mrad; default the largest that the pattern covers.
        pixels: pixels along each side of the square image, which always holds all discs.
        thickness: one or several of the pattern's thicknesses in Å; default all.
        resampling: "bilinear" or "nearest".

    Returns:
        (thickness, qy, qx), coordinates in 1/Å and (alpha_x, alpha_y) in mrad, same unit as the pattern.

    Raises:
        SettingError: if the pattern does not reach as far as the semi-angle, a thickness is not in it, or the
            image would have more than 8192 pixels a side.
    """
    data = _choose_thickness(intensities(check_pattern(pattern)), thickness)
    if "gx" not in data.coords or "gy" not in data.coords:
        raise SettingError("the pattern has no coordinates gx and gy, the positions of its discs")
    if resampling not in ("bilinear", "nearest"):
        raise SettingError(f"resampling must be 'bilinear' or 'nearest', got {resampling!r}")
    wave_length = _wavelength(data)
    angle = _semi_angle(data, semi_angle, wave_length)
    radius = math.sin(angle * 1e-3) / wave_length
    axis = _image_axis(data, radius, pixels)
    image = _add_discs(data, radius, axis, resampling)
    return _label(image, data, axis, wave_length, {"semi_angle": angle, "resampling": resampling})


def _choose_thickness(data: xr.DataArray, thickness: float | Sequence[float] | None) -> xr.DataArray:
    if thickness is None:
        return data
    available = np.asarray(data["thickness"].values, dtype=float)
    rows = []
    for wanted in np.atleast_1d(np.asarray(thickness, dtype=float)):
        near = int(np.argmin(np.abs(available - wanted)))
        if not abs(available[near] - wanted) <= 1e-6 * max(1.0, abs(wanted)):
            listed = ", ".join(f"{t:g}" for t in available[:12])
            raise SettingError(f"the pattern has no thickness {wanted:g} Å; it has {listed}")
        rows.append(near)
    return data.isel(thickness=rows)


def _wavelength(data: xr.DataArray) -> float:
    energy = data.attrs.get("energy")
    if not isinstance(energy, int | float) or not energy > 0:
        raise SettingError("the pattern's metadata have no energy (eV), which an angle needs")
    return wavelength(float(energy))


def _semi_angle(data: xr.DataArray, wanted: float | None, wave_length: float) -> float:
    """The semi-angle in mrad, checked against what the grid covers around k = 0."""
    edges = [np.min(np.abs(_edges(data[axis]))) * _encloses(data[axis]) for axis in ("kx", "ky")]
    reach = float(min(edges))
    largest = 1e3 * math.asin(min(1.0, reach * wave_length))
    if largest <= 0:
        raise SettingError("the pattern does not contain the direction k = 0, the centre of the probe")
    if wanted is None:
        return largest
    hint = f"; the pattern covers {largest:.4g} mrad"
    return check_number("semi_angle", wanted, above=0, high=largest * (1 + 1e-9), unit="mrad", hint=hint)


def _edges(axis: xr.DataArray) -> np.ndarray:
    half = 0.5 * axis_step(axis)
    return np.array([float(axis[0]) - half, float(axis[-1]) + half])


def _encloses(axis: xr.DataArray) -> bool:
    low, high = _edges(axis)
    return bool(low < 0 < high)


def _image_axis(data: xr.DataArray, radius: float, pixels: int | None) -> np.ndarray:
    """Pixel centres of the square image, symmetric about 0, with a margin of four percent around the discs."""
    reach = 1.04 * (float(max(np.abs(data["gx"]).max(), np.abs(data["gy"]).max())) + radius)
    pitch = axis_step(data["kx"])
    if pixels is None:
        # As many pixels as have one among them, or an edge, where the pattern has it: even stays even.
        count = 2 * math.ceil(reach / pitch)
        count += (data.sizes["kx"] - count) % 2
    else:
        count, pitch = check_whole("pixels", pixels, 1, MAX_PIXELS), 2 * reach / pixels
    if count > MAX_PIXELS:
        raise SettingError(f"the image would have {count} pixels per side; the limit is {MAX_PIXELS}; give pixels")
    return np.asarray((np.arange(count) - count / 2 + 0.5) * pitch)


def _add_discs(data: xr.DataArray, radius: float, axis: np.ndarray, resampling: Resampling) -> np.ndarray:
    image = np.zeros((data.sizes["thickness"], len(axis), len(axis)))
    for index, (gx, gy) in enumerate(zip(data["gx"].values, data["gy"].values, strict=True)):
        columns = np.flatnonzero(np.abs(axis - gx) <= radius)
        rows = np.flatnonzero(np.abs(axis - gy) <= radius)
        if columns.size == 0 or rows.size == 0:
            continue
        kx, ky = axis[columns] - gx, axis[rows] - gy
        disc = _resample(data, index, kx, ky, resampling)  # (thickness, ky, kx)
        inside = kx**2 + ky[:, None] ** 2 <= radius**2 * (1 + 1e-12)
        window = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        image[window] += np.where(inside, disc, 0.0)
    return image


def _resample(data: xr.DataArray, index: int, kx: np.ndarray, ky: np.ndarray, how: Resampling) -> np.ndarray:
    """One disc at other directions: (thickness, len(ky), len(kx)); 0 where the pattern has no value."""
    values = data.values[:, index]
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    along_y, along_x = _weights(data["ky"], ky, how), _weights(data["kx"], kx, how)
    total = along_y @ filled @ along_x.T
    share = along_y @ known.astype(float) @ along_x.T
    return np.where(share > 1e-9, total / np.maximum(share, 1e-9), 0.0)


def _weights(axis: xr.DataArray, at: np.ndarray, how: Resampling) -> np.ndarray:
    """Interpolation matrix (new, old) along one axis; half a pixel beyond the ends takes the end."""
    count = axis.size
    place = np.clip((at - float(axis[0])) / axis_step(axis), 0, count - 1)
    if how == "nearest":
        return np.asarray(np.eye(count)[np.round(place).astype(int)])
    low = np.minimum(np.floor(place).astype(int), max(count - 2, 0))
    part = place - low
    matrix = np.zeros((len(at), count))
    rows = np.arange(len(at))
    matrix[rows, low] = 1 - part
    if count > 1:
        matrix[rows, low + 1] += part
    return matrix


def _label(
    image: np.ndarray, data: xr.DataArray, axis: np.ndarray, wave_length: float, settings: dict[str, Any]
) -> xr.DataArray:
    angles = 1e3 * np.arcsin(np.clip(axis * wave_length, -1, 1))
    coords = {
        "thickness": data.coords["thickness"],
        "qy": ("qy", axis, {"units": "1/Å", "long_name": "diffraction plane, y"}),
        "qx": ("qx", axis, {"units": "1/Å", "long_name": "diffraction plane, x"}),
        "alpha_y": ("qy", angles, {"units": "mrad"}),
        "alpha_x": ("qx", angles, {"units": "mrad"}),
    }
    attributes = {**data.attrs, **settings, "long_name": "CBED pattern", "reflections": data.sizes["hkl"]}
    return xr.DataArray(image, coords, ("thickness", "qy", "qx"), "cbed", attributes)
