"""Amplitudes at any tilt from those on a lattice of tilts.

The amplitude of a beam is a smooth function of the tilt: its Fourier transform vanishes beyond the lateral
distance that an electron is carried in the foil (see `lacbed.geometry.interpolation`). Nodes are fractions of the
reciprocal lattice of the zone, so that few matrices serve them all, and reach beyond the wanted tilts, so that
every stencil is centred. The phase that a free wave gathers, exp(πi |k|² t / K), is a matter of choice: with it
a wave scattered from k to k' counts as displaced by λ t (k' - k), without it by λ t k'. Which fraction of it
makes the amplitudes smoothest depends on how strongly the crystal scatters, and is found by trial.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_matrix

from lacbed.engine.propagate import Wanted
from lacbed.geometry.interpolation import Stencil

ORDER = 10
"""Nodes in each direction that take part in the value at a tilt."""

FRACTIONS = (0.2, 0.4, 0.6, 0.9)
"""Fractions of the phase of a free wave whose removal is tried; 0.4 suits most."""


def read_between(
    stencil: Stencil, amplitude: np.ndarray, nodes: Wanted, tilts: Wanted, judged: np.ndarray
) -> tuple[np.ndarray, float]:
    """Amplitudes at tilts, and by how much their intensities differ at most from those known at the last of them.

    Args:
        stencil: from the nodes to the tilts.
        amplitude: at the nodes: (thickness, reflection, node); its phase is changed.
        nodes: what was solved.
        tilts: what is wanted, and behind it the tilts of `judged`.
        judged: amplitudes that are known: (thickness, reflection, known tilt).

    Returns:
        (thickness, reflection, tilt), without the known ones, and the difference.
    """
    count = len(stencil.index) - judged.shape[2]
    table = stencil.matrix(stencil.weights, amplitude.shape[2]).astype(amplitude.real.dtype)
    at_nodes, after = _free_phase(nodes), _free_phase(tilts)
    best = (math.inf, 0.0)
    for part in FRACTIONS:
        smooth = amplitude * _turned(-part * at_nodes, amplitude)
        best = min(best, (largest_difference(_read(table[count:], smooth), judged), part))
    difference, part = best
    amplitude *= _turned(-part * at_nodes, amplitude)
    values = _read(table[:count], amplitude)
    values *= _turned(part * after[:, :count], values)
    return values, difference


def largest_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference of the intensities of two sets of amplitudes."""
    return float(np.abs(np.abs(first) ** 2 - np.abs(second) ** 2).max(initial=0.0))


def _read(table: csr_matrix, at_nodes: np.ndarray) -> np.ndarray:
    """Values at the tilts of a table: (tilt, node), (..., node) to (..., tilt)."""
    found = table @ np.ascontiguousarray(at_nodes.reshape(-1, at_nodes.shape[-1]).T)
    return np.asarray(found.T.reshape(*at_nodes.shape[:-1], -1))


def _free_phase(wanted: Wanted) -> np.ndarray:
    """π |k|² t / K: (thickness, tilt)."""
    return np.asarray(np.pi * np.outer(wanted.thicknesses, wanted.length / wanted.along))


def _turned(phase: np.ndarray, like: np.ndarray) -> np.ndarray:
    """exp(iφ) as a factor on amplitudes: (thickness, tilt) to (thickness, 1, tilt)."""
    return np.asarray(np.exp(1j * phase).astype(like.dtype)[:, None, :])
