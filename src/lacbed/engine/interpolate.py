"""Amplitudes at any tilt from those on a lattice of tilts.

The amplitude of a beam is a smooth function of the tilt: its Fourier transform vanishes beyond the lateral
distance that an electron is carried in the foil (see `lacbed.geometry.interpolation`). Nodes are fractions of the
reciprocal lattice of the zone, so that few matrices serve them all, and reach beyond the wanted tilts, so that
every stencil is centred. The phase that a free wave gathers, exp(πi |k|² t / K), is a matter of choice: with it
a wave scattered from k to k' counts as displaced by λ t (k' - k), without it by λ t k'. Somewhere between,
exp(πi c (|k|² + |k'|²) t / 2K), amplitudes are smoothest. Where depends on how strongly the crystal scatters, and
is found by trial.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_matrix

from lacbed.engine.propagate import Wanted
from lacbed.geometry.interpolation import Stencil

ORDER = 12
"""Nodes in each direction that take part in the value at a tilt."""

FRACTIONS = (0.6, 0.8, 0.4, 0.1)
"""Values of c that are tried in turn; the first suits most."""


def read_between(
    stencil: Stencil, amplitude: np.ndarray, nodes: Wanted, tilts: Wanted, judged: np.ndarray, enough: float
) -> tuple[np.ndarray, float]:
    """Amplitudes at tilts, and by how much their intensities differ at most from those known at the last of them.

    Args:
        stencil: from the nodes to the tilts.
        amplitude: at the nodes: (thickness, reflection, node); its phase is changed.
        nodes: what was solved.
        tilts: what is wanted, and behind it the tilts of `judged`.
        judged: amplitudes that are known: (thickness, reflection, known tilt).
        enough: difference of intensities with which the trial ends.

    Returns:
        (thickness, reflection, tilt), without the known ones, and the difference.
    """
    count = len(stencil.index) - judged.shape[2]
    table = stencil.matrix(stencil.weights, amplitude.shape[2]).astype(amplitude.real.dtype)
    best = (math.inf, 0.0)
    for part in FRACTIONS:
        smooth = amplitude * _free_wave(nodes, part, amplitude)
        best = min(best, (largest_difference(_read(table[count:], smooth), judged), part))
        if best[0] <= enough:
            break
    difference, part = best
    amplitude *= _free_wave(nodes, part, amplitude)
    values = _read(table[:count], amplitude)
    values *= _free_wave(tilts, part, values).conj()
    return values, difference


def largest_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference of the intensities of two sets of amplitudes."""
    return float(np.abs(np.abs(first) ** 2 - np.abs(second) ** 2).max(initial=0.0))


def _read(table: csr_matrix, at_nodes: np.ndarray) -> np.ndarray:
    """Values at the tilts of a table: (tilt, node), (..., node) to (..., tilt)."""
    found = table @ np.ascontiguousarray(at_nodes.reshape(-1, at_nodes.shape[-1]).T)
    return np.asarray(found.T.reshape(*at_nodes.shape[:-1], -1))


def _free_wave(wanted: Wanted, part: float, like: np.ndarray) -> np.ndarray:
    """What amplitudes with the phase |k|² are multiplied by to have c (|k|² + |k'|²) / 2: as `like`."""
    count = like.shape[2]
    length = (part - 1.0) * wanted.level[:count]
    between = (0.5 * part * wanted.rise[:count]).T  # c (|k'|² - |k|²) / 2
    turns = (0.5 * wanted.thicknesses)[:, None, None] * ((length + between) / wanted.along[:count])
    angle = (2.0 * np.pi * (turns - np.round(turns))).astype(like.real.dtype)
    wave = np.empty(angle.shape, dtype=like.dtype)
    np.cos(angle, out=wave.real)
    np.sin(angle, out=wave.imag)
    return wave
