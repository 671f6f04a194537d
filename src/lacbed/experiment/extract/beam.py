"""Where the pattern lies on the camera at every tilt: descan error and drift.

The phases of a frame give the place of its lattice of discs modulo the lattice. Place and tilt are connected
smoothly, by a cubic descan error, and drift adds a slow walk in time, so that the whole number of lattice steps
follows from growing outwards from the middle of the scan. A scan without the sample shows the descan error itself;
then only a drift is left, and the phases say how the pattern lies beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lacbed.experiment.extract.scan import Scan

Array = NDArray[np.float64]

WALK = 3.0
"""Frames over which the walk in time is averaged."""

OUTLIER = 6.0


@dataclass(frozen=True, eq=False)
class Track:
    """Place of a point of the lattice at every tilt.

    Attributes:
        places: smoothed, (row, column) in pixels: (row, column, 2).
        raw: as each frame has it, NaN where there is none.
        lost: tilts whose frame does not show the lattice: (row, column).
        scatter: of single frames around the smooth track in pixels.
    """

    places: Array
    raw: Array
    lost: NDArray[np.bool_]
    scatter: float


def follow(phases: Array, scan: Scan, basis: Array, strength: Array, descan: Array | None = None) -> Track:
    """The track of the lattice over the scan.

    Args:
        phases: place modulo 1 in units of the basis at every tilt, NaN for no frame: (row, column, 2).
        scan: order and times.
        basis: of the lattice as rows: (2, 2).
        strength: how clearly each frame shows the lattice, any unit: (row, column).
        descan: place of the direct beam at every tilt in a scan without the sample: (row, column, 2). None for
            what the phases show.
    """
    known = scan.known & np.isfinite(phases).all(axis=-1)
    weight = np.where(known, np.sqrt(np.clip(strength, 0, None)), 0.0)
    weight = np.minimum(weight, 3 * np.median(weight[known]))
    filled = np.where(known[..., None], phases, 0.0)
    if descan is None:
        model, wide = _cubic(filled, known, weight), WALK
    else:  # what depends on the place in a row is the vacuum's alone
        wide = float(scan.shape[1])
        model = descan @ np.linalg.inv(basis)
        model = model + _drift(filled - model, weight, scan, wide)
    free = model + _wrapped(filled - model)
    rest = (free - model) @ basis
    spread = 1.4826 * np.median(np.abs(rest[known])) + 1e-9
    lost = ~known | (np.linalg.norm(rest, axis=-1) > max(OUTLIER * spread, 0.3 * np.linalg.norm(basis[0])))
    smooth = model @ basis + _walk(rest, weight * ~lost, scan, wide)
    raw = np.where(known[..., None], free @ basis, np.nan)
    left = np.linalg.norm(raw - smooth, axis=-1)[~lost]
    return Track(smooth, raw, lost & scan.known, float(np.sqrt(np.mean(left**2) / 2)) if left.size else 0.0)


def _cubic(filled: Array, known: NDArray[np.bool_], weight: Array) -> Array:
    """The phases, unwrapped, as polynomials of third order of the place in the scan."""
    rows, columns = known.shape
    v, u = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    model = _first(filled, known, u, v)
    radius = np.hypot(u, v)
    for reach in (0.25, 0.35, 0.5, 0.7, 0.9, 1.15, 1.5, 1.5, 1.5):
        inside = known & (radius <= max(reach, 8 / min(rows, columns)))
        order = 1 if reach < 0.3 else 2 if reach < 0.5 else 3
        whole = model + _wrapped(filled - model)
        columns_ = _terms(u, v, order)
        model = _fitted(columns_, whole, weight * inside)
    return model


def _drift(phases: Array, weight: Array, scan: Scan, wide: float) -> Array:
    """Phases, modulo 1, averaged over neighbours in time and unwrapped."""
    order = np.argsort(scan.times, axis=None)
    waves = (weight[..., None] * np.exp(2j * np.pi * phases)).reshape(-1, 2)[order]
    mean = gaussian_filter1d(waves.real, wide, axis=0) + 1j * gaussian_filter1d(waves.imag, wide, axis=0)
    out = np.empty(mean.shape)
    out[order] = np.unwrap(np.angle(mean), axis=0) / (2 * np.pi)
    return out.reshape(phases.shape)


def _wrapped(phase: Array) -> Array:
    return phase - np.round(phase)


def _first(phases: Array, known: NDArray[np.bool_], u: Array, v: Array) -> Array:
    """A plane through the phase in the middle with the usual steps along rows and columns."""
    rows, columns = u.shape
    slopes = []
    for axis, count in ((0, rows), (1, columns)):
        step = _wrapped(np.diff(phases, axis=axis))
        good = np.logical_and(*(np.take(known, range(i, count - 1 + i), axis=axis) for i in (0, 1)))
        mean = np.exp(2j * np.pi * step[good]).mean(axis=0)
        slopes.append(np.angle(mean) / (2 * np.pi) * (count - 1) / 2)
    tilted = v[..., None] * slopes[0] + u[..., None] * slopes[1]
    near = known & (np.hypot(u, v) <= max(0.3, 6 / min(rows, columns)))
    middle = np.exp(2j * np.pi * (phases - tilted)[near]).mean(axis=0)
    return np.asarray(tilted + np.angle(middle) / (2 * np.pi))


def _terms(u: Array, v: Array, order: int) -> Array:
    return np.stack([u**i * v**j for i in range(order + 1) for j in range(order + 1 - i)], axis=-1)


def _fitted(terms: Array, values: Array, weight: Array) -> Array:
    """Weighted least squares, twice: the second time without what is far off."""
    flat, w = terms.reshape(-1, terms.shape[-1]), weight.ravel()
    target = values.reshape(-1, 2)
    found: Array = np.zeros((flat.shape[1], 2))
    for _ in range(2):
        found = np.asarray(
            np.linalg.lstsq(flat * w[:, None], target * w[:, None], rcond=None)[0], dtype=np.float64
        )
        off = np.linalg.norm(flat @ found - target, axis=1)
        used = w > 0
        w = np.where(off > 4 * np.median(off[used]) + 1e-9, 0.0, w)
    return np.asarray((flat @ found).reshape(values.shape))


def _walk(rest: Array, weight: Array, scan: Scan, wide: float) -> Array:
    """What the model leaves, averaged over so many neighbours in time (σ)."""
    order = np.argsort(scan.times, axis=None)
    values, w = rest.reshape(-1, 2)[order], weight.ravel()[order] ** 2
    total = gaussian_filter1d(w, wide, mode="nearest")
    mean = gaussian_filter1d(np.where(w[:, None] > 0, values, 0.0) * w[:, None], wide, axis=0, mode="nearest")
    out = np.zeros_like(values)
    out[order] = mean / np.maximum(total, 1e-9 * max(float(total.max()), 1e-30))[:, None]
    return out.reshape(rest.shape)
