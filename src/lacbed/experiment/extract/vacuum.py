"""A scan without the sample: where the direct beam lies in each of its frames is the descan error itself."""

from __future__ import annotations

from collections.abc import Callable
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
        own = f"{count} frames" if vacuum.scan in (None, shape) else "x".join(map(str, vacuum.scan)) + " tilts"
        raise SettingError(
            f"the vacuum scan has {own} and the series {shape[0]}x{shape[1]} tilts; record both with the same scan"
        )


def check_beam(frames: NDArray[Any], camera: Camera) -> None:
    """Refuse a vacuum scan that does not show the direct beam.

    Args:
        frames: some of it, as stored: (frame, row, column).
        camera: their pixels.

    Raises:
        SettingError: if they do not show one disc each.
    """
    _clear(_discs(frames, camera))


def beam_places(
    vacuum: FrameSeries, camera: Camera, scan: Scan, tick: Callable[[float], None] | None = None
) -> tuple[Array, tuple[str, ...]]:
    """Place of the direct beam at every tilt, (row, column) in pixels: (row, column, 2), and notes on the frames.

    Args:
        vacuum: frames without the sample, of the same scan.
        camera: its pixels.
        scan: of the series.
        tick: told the fraction done.

    Raises:
        SettingError: if the frames do not show one disc each.
    """
    (found,) = vacuum.map(lambda block: (_discs(block, camera),), tick=tick)
    clear, places = _clear(found), found[:, :2]
    usual = np.median(places[clear], axis=0)
    same = (np.diff(found, axis=0) == 0).all(axis=1) & clear[1:] & clear[:-1]  # noise is never the same
    twice = np.flatnonzero(same) + 1
    order = order_frames(
        np.where(clear[:, None], places, usual).astype(np.float32),
        scan.shape,
        scan.serpentine,
        twice if len(twice) <= MOST_MISSING * len(found) else None,
    )
    on_grid = order.on_grid(np.where(clear[:, None], places, np.nan))
    notes = tuple(f"vacuum scan: {note}" for note in order.notes)
    return np.stack([_filled(on_grid[..., axis]) for axis in (0, 1)], axis=-1), notes


def _discs(frames: NDArray[Any], camera: Camera) -> Array:
    """What `_disc` finds in each frame: (frame, 3)."""
    counts = camera.corrected(frames)
    if camera.masked.any():
        counts[:, camera.masked] = np.median(counts, axis=(1, 2))[:, None]
    return np.array([_disc(frame) for frame in counts])


def _clear(found: Array) -> NDArray[np.bool_]:
    """Which frames show one disc."""
    clear: NDArray[np.bool_] = found[:, 2] > SINGLE
    if clear.mean() < SHOWN:
        raise SettingError(
            f"{int((~clear).sum())} of {len(clear)} frames of the vacuum scan do not show one whole, bright disc, "
            "the direct beam; record the scan without the sample and without a beam stop"
        )
    return clear


def _filled(values: Array) -> Array:
    """Values at all tilts: where there is none, between those of its row, or else of the rows."""
    out = values.copy()
    for lines in (out, out.T):
        for line in lines:
            known = np.flatnonzero(np.isfinite(line))
            if len(known):
                line[:] = np.interp(np.arange(len(line)), known, line[known])
    return out


def _disc(frame: NDArray[np.float32]) -> tuple[float, float, float]:
    """Middle of the brightest disc, and the part of all that is bright that lies in it; 0 if the border cuts it.

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
    mine = parts == int(np.argmax(sums))
    if mine[0].any() or mine[-1].any() or mine[:, 0].any() or mine[:, -1].any():
        return 0.0, 0.0, 0.0
    own = np.where(mine, light, 0.0)
    total = float(own.sum())
    rows, columns = np.arange(frame.shape[0]), np.arange(frame.shape[1])
    return (
        float(own.sum(axis=1) @ rows) / total,
        float(own.sum(axis=0) @ columns) / total,
        total / float(sums.sum()),
    )
