"""The grid of incident directions, one for each pixel of a LACBED disc."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lacbed.constants import wavelength
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.geometry.frame import Frame
from lacbed.io.numbers import check_number, check_whole

MAX_PIXELS = 4096
MAX_ANGLE = 0.35  # rad; beyond about 20 degrees a projection along one zone axis makes no sense


@dataclass(frozen=True)
class TiltGrid:
    """A square grid of incident beam directions, k_i = center + (i - n/2 + 1/2) · 2 k_max / n on each axis.

    kx and ky are the components (1/Å) of the incident vacuum wave vector normal to the zone axis, both
    ascending; the pixel pitch is 2 k_max / n. Give the half-width in one of three units:

    Attributes:
        pixels: number n of pixels along each side.
        k_max: half-width in 1/Å.
        semi_angle: half-width in mrad.
        extent: half-width in units of the shortest reciprocal vector of the zone (a* for cubic [001]). A whole
            number of pixels per reciprocal vector, as with the default, is much the fastest.
        shape: "square", or "disc" to leave out (NaN) pixels further than the half-width from the centre.
        center: centre of the grid (kx, ky), in the unit of the half-width.

    Raises:
        SettingError: if the half-width is not given exactly once, or a value is impossible.
    """

    pixels: int = 128
    k_max: float | None = None
    semi_angle: float | None = None
    extent: float | None = None
    shape: Literal["square", "disc"] = "square"
    center: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check the values; the default half-width is extent = 4."""
        given = [n for n in ("k_max", "semi_angle", "extent") if getattr(self, n) is not None]
        if not given:
            object.__setattr__(self, "extent", 4.0)
            given = ["extent"]
        if len(given) > 1:
            raise SettingError(f"give the half-width of the grid once, not as {' and '.join(given)}")
        half = getattr(self, given[0])
        if isinstance(half, np.number):
            half = half.item()
            object.__setattr__(self, given[0], half)
        check_number(given[0], half, above=0)
        if given[0] == "semi_angle" and half > 1e3 * MAX_ANGLE:
            raise SettingError(f"semi_angle must be at most {1e3 * MAX_ANGLE:.0f} mrad, got {half:g}")
        object.__setattr__(self, "pixels", check_whole("pixels", self.pixels, 1, MAX_PIXELS))
        if self.shape not in ("square", "disc"):
            raise SettingError(f"shape must be 'square' or 'disc', got {self.shape!r}")
        try:
            x, y = (float(c) for c in self.center)
        except (TypeError, ValueError):
            raise SettingError(f"center must be two finite numbers (kx, ky), got {self.center!r}") from None
        object.__setattr__(self, "center", (x, y))
        if not (math.isfinite(x) and math.isfinite(y)):
            raise SettingError(f"center must be two finite numbers (kx, ky), got {self.center}")

    def half_width(self, frame: Frame, energy: float) -> float:
        """k_max in 1/Å for a crystal and an energy in eV."""
        return self._length(next(v for v in (self.k_max, self.semi_angle, self.extent) if v), frame, energy)

    def _length(self, value: float, frame: Frame, energy: float) -> float:
        """A length in the unit of the half-width as 1/Å."""
        if self.semi_angle is not None:
            return math.sin(value * 1e-3) / wavelength(energy)
        return value * (frame.shortest if self.extent is not None else 1.0)

    def axes(self, frame: Frame, energy: float) -> tuple[FloatArray, FloatArray]:
        """Pixel centres along x and y in 1/Å.

        Raises:
            SettingError: if the grid reaches further than 0.35 rad from the zone axis.
        """
        half = self.half_width(frame, energy)
        steps = (np.arange(self.pixels) - self.pixels / 2 + 0.5) * (2.0 * half / self.pixels)
        kx, ky = (np.asarray(steps + self._length(c, frame, energy)) for c in self.center)
        reach = math.hypot(np.abs(kx).max(), np.abs(ky).max()) * wavelength(energy)
        if reach > math.sin(MAX_ANGLE):
            raise SettingError(
                f"the tilt grid reaches {1e3 * reach:.0f} mrad from the zone axis; the limit is "
                f"{1e3 * MAX_ANGLE:.0f} mrad: choose a smaller half-width or another zone axis"
            )
        return kx, ky

    def tilts(self, frame: Frame, energy: float) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """All tilts (kx, ky) in 1/Å in row order (ky slow): (pixel, 2); and which of them are wanted."""
        kx, ky = self.axes(frame, energy)
        grid = np.stack(np.meshgrid(kx, ky, indexing="xy"), axis=-1).reshape(-1, 2)
        if self.shape == "square":
            return grid, np.ones(len(grid), dtype=bool)
        centre = np.array([self._length(c, frame, energy) for c in self.center])
        inside = np.linalg.norm(grid - centre, axis=1) <= self.half_width(frame, energy)
        return grid, inside

    def to_dict(self) -> dict[str, Any]:
        """The fields that were given, for metadata."""
        return {k: v for k, v in asdict(self).items() if v is not None}
