"""A scan without the sample: where the direct beam lies in each of its frames is the descan error itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from lacbed.errors import SettingError
from lacbed.experiment.extract.camera import Camera
from lacbed.experiment.extract.scan import MOST_MISSING, Scan, order_frames
from lacbed.experiment.extract.series import FrameSeries

Array = NDArray[np.float64]

SINGLE = 0.8
"""Part of the light of a frame that must lie in one disc."""

SHOWN = 0.5
"""Part of the frames that must show the beam."""


def check_vacuum(vacuum: FrameSeries, series: FrameSeries, shape: tuple[int, int]) -> None:
    """Refuse a vacuum scan that is not like the series.

    Raises:
        SettingError: if its frames or its scan have another size.
    """
    if vacuum.camera != series.camera:
        own, other = ("x".join(map(str, s.camera)) for s in (vacuum, series))
        raise SettingError(
            f"the frames of the vacuum scan have {own} pixels and those of the series {other}; record both with "
            "the same camera settings"
        )
    count, tilts = len(vacuum), shape[0] * shape[1]
    if abs(count - tilts) > MOST_MISSING * tilts or vacuum.scan not in (None, shape):
        rows, columns = vacuum.scan or (count, 1)
        own = f"{rows}x{columns} tilts" if vacuum.scan else f"{count} frames"
        raise SettingError(
            f"the vacuum scan has {own} and the series {shape[0]}x{shape[1]} tilts; record both with the same scan"
        )


def beam_places(vacuum: FrameSeries, camera: Camera, scan: Scan, mask: NDArray[Any] | None = None) -> Array:
    """Place of the direct beam at every tilt, (row, column) in pixels: (row, column, 2).

    Args:
        vacuum: frames without the sample, of the same scan.
        camera: its pixels.
        scan: of the series.
        mask: not 0 in pixels that are not to be used: (row, column); None for none.

    Raises:
        SettingError: if the frames do not show one disc each.
    """

    def work(block: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        frames = camera.corrected(block)
        if mask is not None:
            frames[:, mask != 0] = np.median(frames, axis=(1, 2))[:, None]
        return (np.array([_disc(frame) for frame in frames]),)

    (found,) = vacuum.map(work)
    clear = found[:, 2] > SINGLE
    if clear.mean() < SHOWN:
        raise SettingError(
            f"{int((~clear).sum())} of {len(clear)} frames of the vacuum scan do not show one bright disc, the "
            "direct beam; record it without the sample and without a beam stop"
        )
    places = found[:, :2]
    usual = np.median(places[clear], axis=0)
    twice = np.flatnonzero((np.diff(found, axis=0) == 0).all(axis=1)) + 1  # noise is never the same
    order = order_frames(
        np.where(clear[:, None], places, usual).astype(np.float32),
        scan.shape,
        scan.serpentine,
        twice if len(twice) <= MOST_MISSING * len(found) else None,
    )
    on_grid = order.on_grid(np.where(clear[:, None], places, np.nan))
    return np.stack([_filled(on_grid[..., axis], scan) for axis in (0, 1)], axis=-1)


def _filled(values: Array, scan: Scan) -> Array:
    """Values at all tilts: where there is none, between those of the frames before and after."""
    times, known = scan.times, np.isfinite(values)
    order = np.argsort(times[known])
    return np.asarray(np.interp(times, times[known][order], values[known][order]))


def _disc(frame: NDArray[np.float32]) -> tuple[float, float, float]:
    """Middle of the brightest disc, and the part of all that is bright that lies in it.

    Light between a quarter and three quarters of the height counts, so that neither the noise of the background
    nor that within the disc moves its middle.
    """
    fine = gaussian_filter(frame, 1.0)
    level = float(np.median(fine))
    height = float(fine.max()) - level
    if height <= 0:
        return 0.0, 0.0, 0.0
    light = np.clip((fine - level) / height, 0.25, 0.75) - 0.25
    parts, count = label(light > 0)
    sums = np.bincount(parts.ravel(), light.ravel(), count + 1)
    sums[0] = 0.0
    own = np.where(parts == int(np.argmax(sums)), light, 0.0)
    total = float(own.sum())
    rows, columns = np.arange(frame.shape[0]), np.arange(frame.shape[1])
    return (
        float(own.sum(axis=1) @ rows) / total,
        float(own.sum(axis=0) @ columns) / total,
        total / float(sums.sum()),
    )
