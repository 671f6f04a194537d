"""The 000 pattern that is to be identified."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.patterns.labels import axis_step
from lacbed.patterns.schema import check_pattern, intensities

INNER = 0.5
"""Half-width in 1/Å of the part that the first look compares: there few beams are enough."""

COARSE_PIXELS = 24


@dataclass(frozen=True, eq=False)
class Target:
    """A pattern of 000 to be identified.

    Attributes:
        image: (ky, kx), NaN in masked pixels.
        kx: pixel centres along x in 1/Å.
        ky: pixel centres along y in 1/Å.
        energy: in eV.
        zone_axis: u, v, w.
    """

    image: FloatArray
    kx: FloatArray
    ky: FloatArray
    energy: float
    zone_axis: tuple[int, ...]

    @property
    def pixel(self) -> float:
        """Pitch of the pixels in 1/Å."""
        return float(self.kx[-1] - self.kx[0]) / (len(self.kx) - 1)

    def coarse(self) -> Target:
        """The inner part in large pixels, each the average of those in it."""
        half = min(INNER, 0.5 * self.pixel * min(len(self.kx), len(self.ky)))
        count = min(COARSE_PIXELS, math.floor(2 * half / self.pixel + 1e-6))
        edges = np.linspace(-half, half, count + 1)
        x, y = (np.digitize(k, edges) - 1 for k in (self.kx, self.ky))
        inside = ((y >= 0) & (y < count))[:, None] & ((x >= 0) & (x < count))[None, :] & np.isfinite(self.image)
        place = (np.clip(y, 0, count - 1)[:, None] * count + np.clip(x, 0, count - 1)[None, :])[inside]
        total = np.bincount(place, self.image[inside], count * count)
        number = np.bincount(place, minlength=count * count)
        image = np.where(number > 0, total / np.maximum(number, 1), np.nan).reshape(count, count)
        middle = 0.5 * (edges[1:] + edges[:-1])
        return Target(image, middle, middle, self.energy, self.zone_axis)


def target_of(pattern: xr.DataArray, thickness: float | None = None) -> Target:
    """The 000 image of a pattern, measured or simulated.

    Args:
        pattern: with 000 among its reflections.
        thickness: which image, of a simulation with several.

    Raises:
        SettingError: if 000 is missing, one of several thicknesses is not named, or the image has no contrast.
    """
    data = intensities(check_pattern(pattern))
    names = [str(name) for name in data["hkl"].values]
    if "0,0,0" not in names:
        raise SettingError(f"identification needs the 000 pattern; there are {'; '.join(names[:6])}")
    row = 0
    if data.sizes["thickness"] > 1:
        if thickness is None:
            raise SettingError(f"the pattern has {data.sizes['thickness']} thicknesses; name one of them")
        row = int(np.argmin(np.abs(data["thickness"].values - thickness)))
    image = np.asarray(data.values[row, names.index("0,0,0")], dtype=np.float64)
    known = image[np.isfinite(image)]
    if known.size < 64 or float(known.max() - known.min()) <= 1e-9 * float(np.abs(known).max()):
        raise SettingError("the 000 pattern has no contrast: all pixels are equal, masked or not numbers")
    energy = data.attrs.get("energy")
    if not isinstance(energy, int | float) or not energy > 0:
        raise SettingError("the pattern's metadata have no energy (eV)")
    if axis_step(data["kx"]) <= 0:
        raise SettingError("the pattern's kx do not ascend")
    zone = tuple(int(i) for i in data.attrs.get("zone_axis", (0, 0, 1)))
    return Target(image, data["kx"].values.astype(float), data["ky"].values.astype(float), float(energy), zone)
