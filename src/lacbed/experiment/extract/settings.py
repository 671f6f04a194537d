"""What can be told about a series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lacbed.errors import SettingError
from lacbed.experiment.extract.series import FrameSeries
from lacbed.io.checks import check_number, check_one_of

Spot = tuple[tuple[float, float], tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class ExtractSettings:
    """How to extract a stack; everything has a default that the frames themselves fill.

    Attributes:
        scan: rows and columns of tilts; None for what the file says or a square.
        order: "raster", "serpentine", or "auto" for what the frames show.
        dark: counts of a pixel without electrons: one number or (row, column).
        flat: gain reference, by which counts are divided: one number or (row, column).
        mask: not 0 in pixels that are not to be used: (row, column); None for none.
        saturation: counts from which a pixel is full; None for what the frames show.
        gain: counts per electron; None for what the noise of the background shows.
        readout: readout noise of a pixel in counts; it counts only if `dark` is given too. None for what the
            background shows.
        vacuum: frames of the same scan without the sample, whose direct beam shows the descan error; None for
            what the series itself shows.
        distortion: whether a smooth distortion of the scan is looked for, and put right if the images show one.
        radius: of the aperture in pixels of the camera; None for what the discs show.
        background: "smooth" averages the ring around a disc over neighbouring tilts, "ring" does not.
        beam: (x, y), column and row of the direct beam in the mean frame; None for what the frames show.
        spots: two discs of the mean frame that are known, each ((x, y), (h, k, l)).
        accept: whether to take the best indexing where the data do not decide.
        images: largest number of images in the stack; 0 for all that show anything.
        foil_normal: [uvw]; None for the zone axis.
        name: of the sample.
    """

    scan: tuple[int, int] | None = None
    order: Literal["auto", "raster", "serpentine"] = "auto"
    dark: NDArray[Any] | float = 0.0
    flat: NDArray[Any] | float = 1.0
    mask: NDArray[Any] | None = None
    saturation: float | None = None
    gain: float | None = None
    readout: float | None = None
    vacuum: FrameSeries | None = None
    distortion: bool = True
    radius: float | None = None
    background: Literal["smooth", "ring"] = "smooth"
    beam: tuple[float, float] | None = None
    spots: tuple[Spot, ...] = ()
    accept: bool = False
    images: int = 0
    foil_normal: tuple[float, float, float] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: saying what was expected and what came.
        """
        check_one_of("the order of the scan", self.order, ("auto", "raster", "serpentine"))
        check_one_of("the background", self.background, ("smooth", "ring"))
        if self.vacuum is not None and not isinstance(self.vacuum, FrameSeries):
            raise SettingError(
                f"the vacuum scan must be a series of frames, as lacbed.open_frames reads it, got "
                f"{type(self.vacuum).__name__}"
            )
        if not isinstance(self.distortion, bool):
            raise SettingError(f"distortion must be True or False, got {self.distortion!r}")
        for name in ("saturation", "gain", "radius"):
            if getattr(self, name) is not None:
                check_number(f"the {name}", getattr(self, name), above=0)
        if self.readout is not None:
            check_number("the readout noise", self.readout, low=0)
        if self.spots and len(self.spots) != 2:
            raise SettingError(f"name two spots, or none; got {len(self.spots)}")
        if self.spots:
            first, second = (np.array(hkl) for _, hkl in self.spots)
            if not np.any(np.cross(first, second)):
                raise SettingError(
                    f"the named spots {first.tolist()} and {second.tolist()} lie on one line through "
                    "the direct beam; "
                    "name two that do not"
                )

    @property
    def serpentine(self) -> bool | None:
        """Whether every second row runs backwards; None if that is to be found."""
        return None if self.order == "auto" else self.order == "serpentine"

    @property
    def smooth(self) -> float:
        """Tilts over which the background is averaged (σ)."""
        return 1.0 if self.background == "smooth" else 0.0
