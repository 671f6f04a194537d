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
        """The inner part in large pixels, each the average of a square of pixels, all squares alike.

        A large pixel is NaN where more than half of its pixels are masked. Pixels at the rim of the inner part
        that do not fill a square are left out.
        """
        count = min(len(self.kx), len(self.ky), max(1, math.floor(2 * INNER / self.pixel + 1e-6)))
        side = math.ceil(count / COARSE_PIXELS)
        x, y = (_inner(k, side, count // side) for k in (self.kx, self.ky))
        squares = self.image[y].reshape(-1, side, len(self.kx))[:, :, x].reshape(count // side, side, -1, side)
        known = np.isfinite(squares).sum(axis=(1, 3))
        total = np.nansum(squares, axis=(1, 3))
        image = np.where(2 * known >= side**2, total / np.maximum(known, 1), np.nan)
        kx, ky = (k[s].reshape(-1, side).mean(axis=1) for k, s in ((self.kx, x), (self.ky, y)))
        return Target(image, kx, ky, self.energy, self.zone_axis)


def _inner(k: FloatArray, side: int, count: int) -> slice:
    """The `count` groups of `side` pixels that lie around k = 0, or as near as the pattern reaches."""
    zero = 0.5 - k[0] * (len(k) - 1) / (k[-1] - k[0])  # of k = 0, in pixels from the outer edge of the first one
    start = round(zero - 0.5 * side * count)
    start = min(max(start, 0), len(k) - side * count)
    return slice(start, start + side * count)


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
            raise SettingError(f"the pattern has {data.sizes['thickness']} thicknesses; choose one of them")
        row = int(np.argmin(np.abs(data["thickness"].values - thickness)))
    image = np.asarray(data.values[row, names.index("0,0,0")], dtype=np.float64)
    known = image[np.isfinite(image)]
    if known.size < 64 or float(known.max() - known.min()) <= 1e-9 * float(np.abs(known).max()):
        raise SettingError("the 000 pattern has no contrast: all pixels are equal, masked or not numbers")
    energy = data.attrs.get("energy")
    if not isinstance(energy, int | float) or not energy > 0:
        raise SettingError("the pattern's metadata have no energy (eV)")
    if axis_step(data["kx"]) <= 0:
        raise SettingError("the pattern's kx does not ascend")
    zone = tuple(int(i) for i in data.attrs.get("zone_axis", (0, 0, 1)))
    return Target(image, data["kx"].values.astype(float), data["ky"].values.astype(float), float(energy), zone)
