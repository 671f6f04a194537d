"""The lattice of discs on the camera, from the frames alone.

The autocorrelation of a frame does not depend on where the direct beam is: its peaks lie at differences of discs,
so that their mean over the series shows the lattice. Once the two basis vectors are known, the phase of a frame's
Fourier component at each vector of the reciprocal lattice of the discs says where the lattice lies.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from lacbed.errors import SettingError
from lacbed.geometry.frame import shortest_pair

Array = NDArray[np.float64]

NEAREST = 5.0
"""Pixels between the nearest discs at least."""

CLEAR = 6.0
"""Height of the highest peak in units of the noise, below which there is no lattice."""

MOST_PEAKS = 40

_ASKEW = np.array([1.0, 1e-3])
"""No two opposite peaks lie on the same side of the line across it."""


def find_lattice(frames: NDArray[np.float32], seen: NDArray[np.bool_]) -> Array:
    """Two reduced vectors between discs as rows, (row, column) in pixels: (2, 2).

    Args:
        frames: some of the series, corrected: (frame, row, column).
        seen: pixels that can be used: (row, column).

    Raises:
        SettingError: if no lattice shows.
    """
    vectors, heights = _peaks(*_autocorrelation(frames, seen))
    if len(vectors) < 2:
        raise SettingError(
            "no lattice of discs was found in the frames: fewer than two distances repeat; check "
            "that the frames are "
            "diffraction patterns, and that the discs do not overlap"
        )
    return reduced(_basis(vectors, heights))


def reduced(basis: Array) -> Array:
    """The shortest two vectors that span the same lattice, right-handed in (row, column)."""
    first, second = shortest_pair(basis[0], basis[1], np.eye(2))
    if first @ second < 0:
        second = -second
    out = np.stack([first, second])
    return out if np.linalg.det(out) > 0 else np.stack([first, -second])


def _autocorrelation(frames: NDArray[np.float32], seen: NDArray[np.bool_]) -> tuple[Array, float]:
    """Smoothed autocorrelation of frames without their smooth part, and its noise.

    It is divided by what the window leaves of it. The noise is the difference between every second frame and the
    rest.
    """
    shape = frames.shape[1:]
    size = tuple(2 * n for n in shape)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in shape)) * seen
    wide = min(shape) / 12
    share = np.maximum(gaussian_filter(seen.astype(float), wide), 1e-3)
    powers = np.zeros((2, size[0], size[1] // 2 + 1))
    for number, frame in enumerate(frames):
        root = np.sqrt(np.clip(frame, 0, None))  # so that the brightest discs do not drown the others
        rest = (root - gaussian_filter(root * seen, wide) / share) * window
        powers[number % 2] += np.abs(np.fft.rfft2(rest, size)) ** 2
    norm = np.fft.irfft2(np.abs(np.fft.rfft2(window, size)) ** 2, size)
    maps = np.fft.fftshift(np.fft.irfft2(powers, size) / np.maximum(norm, 1e-9 * norm.max()), axes=(1, 2))
    inside = np.fft.fftshift(norm > 0.05 * norm.max())
    first, second = (gaussian_filter(np.where(inside, m, 0.0), 1.0) for m in maps)
    middle = np.hypot(*(np.mgrid[: size[0], : size[1]] - np.array(size)[:, None, None] // 2))
    noise = float(np.std((first - second)[inside & (middle > NEAREST)]))
    return np.asarray(first + second), noise


def _peaks(smooth: Array, noise: float) -> tuple[Array, Array]:
    """Places of the peaks relative to the middle, and their heights."""
    middle = np.array(smooth.shape) // 2
    top = (smooth == maximum_filter(smooth, size=5)) & (smooth > 0)
    places = np.argwhere(top)
    distance = np.linalg.norm(places - middle, axis=1)
    inside = (
        (distance > NEAREST) & np.all(places > 0, axis=1) & np.all(places < np.array(smooth.shape) - 1, axis=1)
    )
    places = places[inside]
    if not len(places):
        return np.zeros((0, 2)), np.zeros(0)
    heights = smooth[tuple(places.T)]
    if heights.max() < CLEAR * noise:
        return np.zeros((0, 2)), np.zeros(0)
    order = np.argsort(-heights)[:MOST_PEAKS]
    order = order[heights[order] > max(0.04 * float(heights.max()), 3.0 * noise)]
    return np.array([_vertex(smooth, p) for p in places[order]]).reshape(-1, 2) - middle, heights[order]


def _vertex(values: Array, at: NDArray[np.int64]) -> Array:
    """The top of the parabola through a maximum and its neighbours along each axis."""
    out = at.astype(float)
    for axis in (0, 1):
        step = np.zeros(2, dtype=int)
        step[axis] = 1
        low, mid, high = (values[tuple(at + s * step)] for s in (-1, 0, 1))
        bend = low - 2 * mid + high
        out[axis] += 0.5 * (low - high) / bend if bend < 0 else 0.0
    return out


def _basis(vectors: Array, heights: Array) -> Array:
    """The coarsest lattice that explains nearly as much of the peaks as any does, fitted to them."""
    best: list[tuple[float, float, Array]] = []
    half = vectors[(vectors @ _ASKEW) > 0]  # of each pair of opposite peaks one
    for i, j in combinations(range(len(half)), 2):
        basis = reduced(half[[i, j]]) if abs(np.linalg.det(half[[i, j]])) > NEAREST**2 / 2 else None
        if basis is None or np.linalg.norm(basis[0]) < NEAREST:
            continue
        best.append((_explained(basis, vectors, heights), float(np.linalg.det(basis)), basis))
    if not best:
        raise SettingError("no lattice of discs was found in the frames: all distances lie along one line")
    enough = 0.96 * max(score for score, _, _ in best)
    basis = max((b for b in best if b[0] >= enough), key=lambda b: b[1])[2]
    for _ in range(4):
        whole = np.round(vectors @ np.linalg.inv(basis))
        near = np.linalg.norm(vectors - whole @ basis, axis=1) < 0.2 * np.linalg.norm(basis[0])
        if np.linalg.matrix_rank(whole[near]) < 2:
            break
        weight = np.sqrt(heights[near])[:, None]
        basis = np.linalg.lstsq(weight * whole[near], weight * vectors[near], rcond=None)[0]
    return np.asarray(basis)


def _explained(basis: Array, vectors: Array, heights: Array) -> float:
    whole = np.round(vectors @ np.linalg.inv(basis))
    off = np.linalg.norm(vectors - whole @ basis, axis=1) / np.linalg.norm(basis[0])
    return float((heights * np.clip(1 - (off / 0.2) ** 2, 0, None)).sum() / heights.sum())


def phase_waves(basis: Array, shape: tuple[int, int]) -> NDArray[np.complex64]:
    """The two waves whose products with a frame have the place of its lattice as phases: (2, pixel)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in shape))
    turns = np.einsum("xi,xrc->irc", np.linalg.inv(basis), np.stack([rows, columns]))
    return np.asarray((window * np.exp(2j * np.pi * turns)).reshape(2, -1), dtype=np.complex64)


def places_modulo(products: NDArray[np.complex64]) -> Array:
    """Place of a lattice point in units of the basis, modulo 1, from the products: (..., 2)."""
    return np.asarray(np.angle(products) / (2 * np.pi), dtype=np.float64)
