"""The cone of incident directions that a tilt stands for: whether pixels of a disc are directions, and its radius.

The disc of a convergent beam holds a small LACBED pattern: its pixel at r from the middle has the intensity of the
beam tilted by as much, I(k + r). A disc whose size has another reason, a parallel beam seen by a blurred camera or
an image of the foil, does not. Which it is, the discs show by themselves: their centre of gravity moves with the
gradient of the intensity over the tilts,

    ∫ r I(k + r) d²r = R²/4 · ∇S(k) ,     S(k) = ∫ I(k + r) d²r over a disc of radius R.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import ive

from lacbed.experiment.extract.discs import Aperture, Pixels, edge_of, mean_by
from lacbed.experiment.extract.integrate import Stack
from lacbed.experiment.extract.look import SAMPLE, Look
from lacbed.experiment.extract.series import FrameSeries
from lacbed.experiment.extract.tilts import Tilts

Array = NDArray[np.float64]

SEEN = 0.5
"""Part of the movement of a convergent disc from which the beam is taken to be convergent."""


def cone_radius(series: FrameSeries, look: Look, stack: Stack, tilts: Tilts) -> tuple[float, str]:
    """Radius in pixels of the camera of the cone of directions that every tilt stands for, and what was found.

    Args:
        series: the frames.
        look: at them.
        stack: electrons of all discs.
        tilts: of the scan.

    Returns:
        0 if the pixels of a disc are no directions, or the disc is no larger than the point spread.
    """
    radius = min(sharp_radius(look.aperture), look.aperture.radius)
    if not radius:
        return 0.0, ""
    share = _movement(series, look, stack, tilts) / (radius**2 / 4.0)
    if share < SEEN:
        return 0.0, (
            "the intensity within a disc does not change with the tilt as in a convergent beam "
            f"({100 * share:.0f} % of it): each tilt is taken as one direction"
        )
    return radius, f"each tilt is a mean over the directions of a disc with a radius of {radius:.2f} pixels"


def _movement(series: FrameSeries, look: Look, stack: Stack, tilts: Tilts) -> float:
    """Slope of the first moments of discs against gradients of their intensity, in pixels²: R²/4 if convergent.

    The gradient is taken twice, between other tilts, so that its noise does not flatten the slope.
    """
    raw, numbers = series.sample(SAMPLE)
    frames, places = look.camera.corrected(raw), look.by_frame(len(series))[numbers]
    pixels, seen = Pixels(look.lattice, look.camera.shape), ~look.camera.blind.ravel()
    at = {int(n): place for place, n in np.ndenumerate(look.scan.frames) if n >= 0}
    to_pixels = np.linalg.solve(look.lattice.basis, tilts.steps)  # gradient over tilts to one over the camera
    count, product, square = len(look.lattice.sites) + 1, 0.0, 0.0
    for frame, place, number in zip(frames, places, numbers.tolist(), strict=True):
        row, column = at.get(number, (0, 0))
        inner = all(2 <= i < n - 2 for i, n in zip((row, column), look.scan.shape, strict=True))
        if not (inner and np.isfinite(place).all()):
            continue
        moment = _moments(frame.ravel(), pixels, place, look.aperture, seen, count) / stack.noise.gain
        near, far = (
            np.stack(
                [
                    (stack.images[:, row + i * d, column + j * d] - stack.images[:, row - i * d, column - j * d])
                    / (2 * d)
                    for i, j in ((1, 0), (0, 1))
                ],
                axis=1,
            )
            @ to_pixels.T
            for d in (1, 2)
        )
        good = np.isfinite(near).all(axis=1) & np.isfinite(far).all(axis=1)
        product += float((moment[good] * near[good]).sum())
        square += float((far[good] * near[good]).sum())
    return product / square if square > 0 else 0.0


def _moments(
    flat: NDArray[np.float32],
    pixels: Pixels,
    place: Array,
    aperture: Aperture,
    seen: NDArray[np.bool_],
    count: int,
) -> Array:
    """Σ r I over the pixels of every disc above its background, r from its middle: (site, 2)."""
    site, distance, offset = pixels.of(place)
    ring = (distance > aperture.radius + 1.0) & (distance < aperture.outer) & seen
    level = mean_by(site[ring], flat[ring], count)
    inside = (distance <= aperture.radius) & seen
    value = flat[inside] - level[site[inside]]
    return np.stack([np.bincount(site[inside], value * o[inside], count)[:-1] for o in offset], axis=1)


def sharp_radius(aperture: Aperture) -> float:
    """Radius of the disc whose convolution with a Gaussian is the profile.

    That convolution is p(r) = ∫₀ᴿ s/σ² exp(-(r² + s²)/2σ²) I₀(r s/σ²) ds, 1 in the middle of a large disc. A
    radius below σ cannot be told from none, and is 0.
    """
    r, p = aperture.profile.T
    half = aperture.disc

    def model(numbers: Array) -> Array:
        radius, sigma, height = numbers
        s = (np.arange(60) + 0.5) * radius / 60
        kernel = ive(0, r[:, None] * s / sigma**2) * np.exp(-((r[:, None] - s) ** 2) / (2 * sigma**2))
        return np.asarray(height * (kernel * s).sum(axis=1) * radius / (60 * sigma**2))

    used = np.clip(p, 0, None)
    low, high = (0.02, 0.2, 0.5), (1.5 * half + 1.0, max(1.0, half), 1e4)
    start = np.clip((half, 0.4 * edge_of(aperture.profile), 1.0), np.array(low) * 1.01, np.array(high) * 0.99)
    found = least_squares(lambda x: np.sqrt(r) * (model(x) - used), start, bounds=(low, high))
    radius, sigma, _ = found.x
    return float(radius) if radius > sigma else 0.0
