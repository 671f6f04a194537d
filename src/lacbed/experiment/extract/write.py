"""The stack as an experiment: a square grid, electrons with variance, mask and background, provenance."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacbed.crystals import Crystal
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import Experiment, images_to_pattern
from lacbed.experiment.extract.indices import Indexing
from lacbed.experiment.extract.integrate import CUT, FLAGS, MISSING, Stack
from lacbed.experiment.extract.tilts import Tilts
from lacbed.geometry.frame import Frame

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

BENT = 0.2
"""Tilts by which a place may differ from the square grid before the images are brought onto it."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The square grid of directions of a stack.

    Attributes:
        half_width: in 1/Å.
        center: (kx, ky) in 1/Å, with x along the columns.
        x_direction: h, k, l along the columns.
        orientation: how the images lie.
        at: place of each of its pixels in the scan, (row, column): (n, n, 2).
        resampled: whether that differs from a part of the scan.
        rotation: of the columns of the scan from the default x of the crystal in degrees.
        stretch: of the steps along the rows over those along the columns, less 1.
        shear: of the axes of the scan from a right angle in degrees.
        uncertainty: standard uncertainties of half-width (1/Å), rotation (degrees), centre (1/Å, x and y).
    """

    half_width: float
    center: tuple[float, float]
    x_direction: tuple[float, float, float]
    orientation: str
    at: Array
    resampled: bool
    rotation: float
    stretch: float
    shear: float
    uncertainty: tuple[float, float, float, float]


def square_grid(tilts: Tilts, indexing: Indexing, frame: Frame, shape: tuple[int, int]) -> Grid:
    """The square grid that lies nearest to the scan.

    Args:
        tilts: of the scan in units of the lattice.
        indexing: of the lattice.
        frame: of the crystal, with the default direction of x.
        shape: rows and columns of the scan.
    """
    n = min(shape)
    start = np.array([(rows - n) // 2 for rows in shape])
    step, angle, center, sign, to_k = _similar(tilts.zero, tilts.steps, indexing.vectors, start, n)
    c, s = math.cos(angle), math.sin(angle)
    x, y = np.array([c, s]), np.array([-s, c])
    rows, columns = np.mgrid[:n, :n] - (n - 1) / 2
    k = step * (columns[..., None] * x + sign * rows[..., None] * y) + center
    exact = tilts.place(k @ np.linalg.inv(indexing.vectors))
    plain = np.moveaxis(np.mgrid[:n, :n], 0, -1) + start
    resampled = bool(np.abs(exact - plain).max() > BENT)
    part = np.linalg.solve(frame.zone_vectors, x)
    along = part @ frame.zone_basis
    along = along / np.abs(along).max()
    sizes = np.linalg.norm(to_k, axis=1)
    cosine = float(to_k[0] @ to_k[1]) / float(sizes[0] * sizes[1])
    return Grid(
        0.5 * n * step,
        (float(center @ x), float(center @ y)),
        (float(along[0]), float(along[1]), float(along[2])),
        "+y+x" if sign > 0 else "-y+x",
        exact if resampled else plain.astype(float),
        resampled,
        math.degrees(angle),
        float(sizes[0] / sizes[1]) - 1,
        math.degrees(math.asin(max(-1.0, min(1.0, cosine)))),
        _uncertainty(tilts, indexing, start, n),
    )


def _similar(
    zero: Array, steps: Array, vectors: Array, start: Array, n: int
) -> tuple[float, float, Array, float, Array]:
    """Step in 1/Å, angle of x, centre, sign of y along the rows, and k per (row, column)."""
    to_k = np.linalg.inv(steps) @ vectors  # (row, column) to (x, y)
    sign = 1.0 if np.linalg.det(to_k[::-1]) > 0 else -1.0
    step = math.sqrt(abs(float(np.linalg.det(to_k))))
    # columns give x, rows give sign · y: the mean of both angles
    total = to_k[1] + sign * np.array([to_k[0, 1], -to_k[0, 0]])
    angle = math.atan2(float(total[1]), float(total[0]))
    center = ((n - 1) / 2 + start - zero) @ to_k
    return step, angle, center, sign, to_k


def _uncertainty(tilts: Tilts, indexing: Indexing, start: Array, n: int) -> tuple[float, float, float, float]:
    def numbers(v: Array) -> Array:
        step, angle, center, _, _ = _similar(v[:2], v[2:].reshape(2, 2), indexing.vectors, start, n)
        return np.array([0.5 * n * step, math.degrees(angle), *center])

    values = np.concatenate([tilts.zero, tilts.steps.ravel()])
    base = numbers(values)
    slopes = np.stack([(numbers(values + d) - base) / 1e-5 for d in 1e-5 * np.eye(6)], axis=1)
    su = np.sqrt(np.clip(np.diag(slopes @ tilts.covariance[:6, :6] @ slopes.T), 0, None))
    return float(su[0]), float(su[1]), float(su[2]), float(su[3])


def to_experiment(
    stack: Stack,
    grid: Grid,
    hkl: IntArray,
    rows: IntArray,
    crystal: Crystal,
    energy: float,
    zone_axis: tuple[int, int, int],
    *,
    foil_normal: tuple[float, float, float] | None,
    name: str,
    source: str,
    notes: list[str],
    cone: float,
    facts: dict[str, Any],
) -> Experiment:
    """The experiment.

    Args:
        stack: electrons of all discs.
        grid: of the images.
        hkl: of the images that are kept: (image, 3).
        rows: their numbers in the stack.
        crystal: what was measured.
        energy: in eV.
        zone_axis: of the experiment.
        foil_normal: of the foil, None for the zone axis.
        name: of the sample.
        source: where the frames come from.
        notes: to keep.
        cone: radius of the cone of incident directions in 1/Å.
        facts: provenance, anything JSON holds.
    """
    images, variance, background, flags = _on_grid(stack, rows, grid)
    geometry = Geometry(
        energy, zone_axis, grid.x_direction, grid.half_width, grid.orientation, foil_normal, grid.center
    )
    plain = make_experiment(
        images,
        hkl,
        geometry,
        crystal=crystal,
        name=name or crystal.name,
        source=source,
        notes=notes,
        variance=variance,
    )
    turned = {
        key: images_to_pattern(values, grid.orientation)
        for key, values in (("background", background), ("mask", flags))
    }
    dims = ("hkl", "ky", "kx")
    meaning = "; ".join(f"{flag}: {text}" for flag, text in FLAGS.items())
    pattern = plain.pattern.assign_coords(
        background=(dims, turned["background"], {"units": "electrons", "long_name": "background taken away"}),
        mask=(dims, turned["mask"], {"long_name": f"why a pixel is masked, 0 for one that is used ({meaning})"}),
    )
    pattern["variance"].attrs["units"] = "electrons^2"
    pattern.attrs |= {
        "units": "electrons",
        "long_name": "LACBED intensity",
        "cone": cone,
        "half_width_uncertainty": grid.uncertainty[0],
        "rotation_uncertainty_degrees": grid.uncertainty[1],
        "center_uncertainty": list(grid.uncertainty[2:]),
        "extraction": json.dumps(facts),
    }
    return Experiment(pattern)


def _on_grid(stack: Stack, rows: IntArray, grid: Grid) -> tuple[Array, Array, Array, NDArray[np.uint8]]:
    parts: tuple[Any, ...] = (
        stack.images[rows],
        stack.variance[rows],
        stack.background[rows],
        stack.flags[rows],
    )
    if not grid.resampled:
        at = grid.at.astype(int)
        images, variance, background = (p[:, at[..., 0], at[..., 1]] for p in parts[:3])
        flags = parts[3][:, at[..., 0], at[..., 1]]
    else:
        images, variance = interpolate(parts[0], parts[1], grid.at)
        background, _ = interpolate(parts[2], parts[1], grid.at)
        near = np.clip(np.round(grid.at).astype(int), 0, np.array(stack.images.shape[1:]) - 1)
        flags = parts[3][:, near[..., 0], near[..., 1]]
    flags = np.where(
        np.isfinite(images), 0, np.where(flags == 0, MISSING | CUT if grid.resampled else MISSING, flags)
    )
    background = np.where(np.isfinite(background), background, 0.0)
    return images, np.where(np.isfinite(images), variance, np.nan), background, flags.astype(np.uint8)


def interpolate(images: Array, variance: Array, at: Array) -> tuple[Array, Array]:
    """Images at other places by cubic convolution (Keys 1981), with the variance of the weighted sums.

    A place is NaN where it has no value on one of the four pixels around it; further pixels that have none are
    replaced by the nearest of the four.

    Args:
        images: (image, row, column), NaN where masked.
        variance: of them.
        at: places (row, column): (n, m, 2).
    """
    low = np.floor(at).astype(int)
    part = at - low
    rows, columns = images.shape[1:]
    known = np.isfinite(images)
    values, noise = np.where(known, images, 0.0), np.where(known, np.nan_to_num(variance), 0.0)
    total, spread = np.zeros((len(images), *at.shape[:2])), np.zeros((len(images), *at.shape[:2]))
    weights = [[_keys(part[..., axis] - i) for i in (-1, 0, 1, 2)] for axis in (0, 1)]
    sum_ = np.zeros_like(total)
    core = np.ones(total.shape, dtype=bool)
    for i in range(4):
        for j in range(4):
            r, c = low[..., 0] + i - 1, low[..., 1] + j - 1
            inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
            r, c = np.clip(r, 0, rows - 1), np.clip(c, 0, columns - 1)
            w = weights[0][i] * weights[1][j]
            good = known[:, r, c] & inside
            if i in (1, 2) and j in (1, 2):
                core &= good | (np.abs(w) < 1e-9)
            total += np.where(good, w * values[:, r, c], 0.0)
            spread += np.where(good, w * w * noise[:, r, c], 0.0)
            sum_ += np.where(good, w, 0.0)
    core &= sum_ > 0.7
    scale = np.where(core, np.maximum(sum_, 0.5), np.nan)
    return total / scale, spread / scale**2


def _keys(d: Array) -> Array:
    """Weight of a pixel at a distance."""
    x = np.abs(d)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
