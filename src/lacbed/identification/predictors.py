"""What predicts the 000 pattern of a crystal at the pixels of a target: learned, with few beams, or exactly.

All predictions are averages over the target's pixels, as its values are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lacbed.constants import wavelength
from lacbed.converge import climb
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.geometry.frame import make_frame
from lacbed.geometry.interpolation import node_spacing
from lacbed.patterns.metrics import zncc_loss
from lacbed.patterns.schema import axis_step, check_pattern, intensities
from lacbed.potential import Absorption
from lacbed.refinement.lattice import LatticePattern, simulate_lattice, tilt_lattice
from lacbed.settings import Settings

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


FIRST_REACH = 2.0
"""Waves up to this |h| in 1/Å take part in the first look."""

REACHES = (3.0, 3.6, 4.3, 5.2)
"""Of the exact simulation the first is taken that differs from the next one by less than `TOLERANCE_Z`.

3.0 is enough for most crystals, and 4.3 for columns of tungsten with an atom every 2.5 Å.
"""

TOLERANCE_Z = 1e-3

STEP = 1.5
"""Distance between simulated tilts in units of `node_spacing`: splines between them cost a Z of 0.01 % at most."""

LEARNED = "fast"
"""The packaged learned simulator of the first look."""

SUBPIXELS = 4
"""Places along a side of a pixel at which a learned pattern is taken for the average over the pixel."""

Predictor = Callable[[Crystal, Sequence[float], Target], np.ndarray]
"""Takes a crystal, thicknesses in Å and a target, gives 000 at the target's pixels: (thickness, ky, kx)."""


def few_beams(crystal: Crystal, thicknesses: Sequence[float], target: Target) -> np.ndarray:
    """The exact engine with few beams, as a predictor for the first look."""
    return _images(_simulate(crystal, thicknesses, target, FIRST_REACH, "thomas"), target)


def learned(model: str | None = LEARNED) -> Predictor:
    """A learned simulator as a predictor; see `lacbed.learn.surrogate`.

    Args:
        model: folder of a model, or the name of a packaged one; None for the packaged default.

    Raises:
        FileFormatError: if there is no such model.
    """
    from lacbed.learn.surrogate import Surrogate  # torch networks, only where asked for

    surrogate = Surrogate.load(model)

    def predict(crystal: Crystal, thicknesses: Sequence[float], target: Target) -> np.ndarray:
        pattern = surrogate.predict(crystal, thicknesses, target.energy, zone_axis=target.zone_axis)
        rows = _averages(pattern["ky"].values, target.ky, target.pixel)
        columns = _averages(pattern["kx"].values, target.kx, target.pixel)
        return np.asarray(rows @ pattern.values[:, 0] @ columns.T)  # NaN beyond what was learned

    return predict


def learned_where_known(model: str | None = LEARNED) -> Predictor:
    """The learned simulator for what it has learned, and `few_beams` for all other crystals and zone axes.

    Raises:
        FileFormatError: if there is no such model.
    """
    learned_predictor = learned(model)

    def predict(crystal: Crystal, thicknesses: Sequence[float], target: Target) -> np.ndarray:
        try:
            return learned_predictor(crystal, thicknesses, target)
        except SettingError:  # outside of what was learned
            return few_beams(crystal, thicknesses, target)

    return predict


def _averages(axis: FloatArray, centers: FloatArray, pixel: float) -> FloatArray:
    """Weights of an axis' points for averages over pixels by linear interpolation: (centre, point).

    NaN for a pixel that reaches beyond the axis by more than half a step of it.
    """
    places = centers[:, None] + pixel * ((np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5)
    step = float(axis[-1] - axis[0]) / (len(axis) - 1)
    at = (places - axis[0]) / step  # (centre, place)
    beyond = np.any((at < -0.5) | (at > len(axis) - 0.5), axis=1)
    at = np.clip(at, 0.0, len(axis) - 1.0)
    hats = np.maximum(0.0, 1.0 - np.abs(at[:, :, None] - np.arange(len(axis))))
    return np.asarray(np.where(beyond[:, None], np.nan, hats.mean(axis=1)))


def exact(absorption: Absorption = "thomas") -> Predictor:
    """The exact engine with as many beams as the crystal needs, as a predictor."""

    def predict(crystal: Crystal, thicknesses: Sequence[float], target: Target) -> np.ndarray:
        reach = enough_reach(crystal, max(thicknesses), target, absorption)
        return _images(_simulate(crystal, thicknesses, target, reach, absorption), target)

    return predict


def enough_reach(crystal: Crystal, thickness: float, target: Target, absorption: Absorption = "thomas") -> float:
    """The largest |h| in 1/Å of the waves that matter, judged on a coarse lattice over the target.

    Args:
        crystal: the crystal.
        thickness: the largest, in Å.
        target: whose energy, zone axis and area count.
        absorption: the model.
    """
    step = make_frame(crystal, target.zone_axis).shortest / 2.3  # coarse, and no simple fraction: no special tilts
    rungs = ((reach, _simulate(crystal, (thickness,), target, reach, absorption, step)) for reach in REACHES)
    end = climb(rungs, lambda lower, upper: (_change(lower[1], upper[1], target),), (TOLERANCE_Z,))
    return end.lower[0] if end.converged else REACHES[-1]


def _change(first: LatticePattern, second: LatticePattern, target: Target) -> float:
    """Z of 000 between two simulations at the tilts of one lattice that lie in the target; ∞ if equal in beams."""
    if second.beams <= first.beams:
        return math.inf
    x, y = first.lattice.tilts.T
    within = (np.abs(x - target.kx.mean()) <= 0.5 * target.pixel * len(target.kx)) & (
        np.abs(y - target.ky.mean()) <= 0.5 * target.pixel * len(target.ky)
    )
    a, b = (p.values[0, 0][p.lattice.inside][within].astype(float) for p in (first, second))
    return float(zncc_loss(a[None], b[None]))


def _simulate(
    crystal: Crystal,
    thicknesses: Sequence[float],
    target: Target,
    reach: float,
    absorption: Absorption,
    step: float = math.inf,
) -> LatticePattern:
    """On a lattice of tilts of a given step in 1/Å, by default as fine as the thickest pattern needs."""
    frame = make_frame(crystal, target.zone_axis)
    half = 0.5 * target.pixel * max(len(target.kx), len(target.ky))
    center = (float(target.kx.mean()), float(target.ky.mean()))
    if math.isinf(step):  # whatever the pixels are
        step = STEP * node_spacing(wavelength(target.energy), max(thicknesses))
    lattice = tilt_lattice(crystal, frame, half, center, step, 0.0)
    corner = float(np.linalg.norm(lattice.tilts, axis=1).max()) + 0.8 * frame.shortest
    settings = Settings(
        target.zone_axis,
        target.energy,
        tuple(thicknesses),
        hkl=((0, 0, 0),),
        g_max=max(reach, corner),
        absorption=absorption,
        solver="fast",
        dtype="float32",
    )
    return simulate_lattice(crystal, settings, lattice)


def _images(pattern: LatticePattern, target: Target) -> np.ndarray:
    places = np.meshgrid(target.kx, target.ky)
    return np.stack(
        [pattern.sample(pattern.spline(i, 0, target.pixel, 0.0), *places) for i in range(len(pattern.thicknesses))]
    )
