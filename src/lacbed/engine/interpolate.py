"""Amplitudes at any tilt from those on a lattice of tilts.

The amplitude of a beam is a smooth function of the tilt: its Fourier transform vanishes beyond the lateral
distance that an electron is carried in the foil (see `lacbed.geometry.interpolation`). Nodes are fractions of the
reciprocal lattice of the zone, so that few matrices serve them all, and reach beyond the wanted tilts, so that
every stencil is centred. The phase that a free wave gathers, exp(πi |k|² t / K), is a matter of choice: with it
a wave scattered from k to k' counts as displaced by λ t (k' - k), without it by λ t k'. Somewhere between,
exp(πi c (|k|² + |k'|²) t / 2K), amplitudes are smoothest. Where depends on how strongly the crystal scatters, and
is found by trial.

What is left of frequencies near the limit of the nodes is concentrated at few tilts. An antisymmetric filter over
the nodes of a stencil, with a response as large as the error of the stencil itself, says where.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_matrix

from lacbed.crystals.cell import FloatArray
from lacbed.engine.wanted import Wanted
from lacbed.geometry.frame import IntArray
from lacbed.geometry.interpolation import Nodes, Stencil, lagrange

ORDER, COARSE_ORDER = 12, 8
"""Nodes in each direction that take part in the value at a tilt, the second number for coarse tolerances."""

SERIOUS = 0.75
"""Doubts above this part of the difference that may be left are looked into; most are right to a factor of 2."""

FRACTIONS = (0.6, 0.8, 0.4, 0.1)
"""Values of c that are tried in turn; the first suits most."""


def read_between(
    stencil: Stencil, amplitude: np.ndarray, nodes: Wanted, tilts: Wanted, judged: np.ndarray, enough: float
) -> tuple[np.ndarray, FloatArray]:
    """Amplitudes at tilts, and by how much their intensities differ from those known at the last of them.

    Args:
        stencil: from the nodes to the tilts.
        amplitude: at the nodes: (thickness, reflection, node); its phase is changed to the smoothest one.
        nodes: what was solved.
        tilts: what is wanted, and behind it the tilts of `judged`.
        judged: amplitudes that are known: (thickness, reflection, known tilt).
        enough: difference of intensities with which the trial ends.

    Returns:
        (thickness, reflection, tilt), without the known ones, and the largest differences at these: (known tilt,).
    """
    count = len(stencil.index) - judged.shape[2]
    table = stencil.matrix(stencil.weights, amplitude.shape[2]).astype(amplitude.real.dtype)
    off, part = np.full(judged.shape[2], math.inf), FRACTIONS[0]
    for trial in FRACTIONS:
        found = differences(_read(table[count:], amplitude * _free_wave(nodes, trial, amplitude)), judged)
        if found.max(initial=0.0) < off.max(initial=0.0):
            off, part = found, trial
        if off.max(initial=0.0) <= enough:
            break
    amplitude *= _free_wave(nodes, part, amplitude)
    values = _read(table[:count], amplitude)
    values *= _free_wave(tilts, part, values).conj()
    return values, off


def doubt(nodes: Nodes, amplitude: np.ndarray, tilts: FloatArray) -> FloatArray:
    """About how much interpolated intensities may be off.

    Args:
        nodes: with centred stencils.
        amplitude: at the nodes, as `read_between` leaves it: (thickness, reflection, node).
        tilts: in 1/Å: (tilt, 2).

    Returns:
        The largest of all thicknesses and reflections: (tilt,).
    """
    places, start = nodes.starts(tilts)
    low, middle = nodes.places.min(axis=0), nodes.order // 2 - 1
    inside, cell = tuple((nodes.places - low).T), tuple((start - low).T)
    box = np.zeros((amplitude.shape[1], *(nodes.places.max(axis=0) - low + 1)), dtype=amplitude.dtype)
    worst = np.zeros((2, len(tilts)))
    for at_thickness in amplitude:
        box[:, inside[0], inside[1]] = at_thickness
        # The largest modulus at the corners of a cell: beside a sharp line it changes from node to node.
        size = np.abs(box[:, middle : box.shape[1] - middle, middle : box.shape[2] - middle])
        size = np.maximum(size[:, 1:], size[:, :-1])
        size = 2.0 * np.maximum(size[:, :, 1:], size[:, :, :-1])
        for axis in (0, 1):
            rough = _rough(box, 1 + axis, nodes.order)
            # The two lines of nodes between which a cell lies.
            lines = np.arange(middle, rough.shape[2 - axis] - middle - 1)
            larger = np.maximum(*(rough.take(lines + n, axis=2 - axis) for n in (0, 1)))
            worst[axis] = np.maximum(worst[axis], (size * larger).max(axis=0)[cell])
    taps = np.arange(nodes.order)
    within = np.abs((places - start).T[:, None] - taps[:, None]).prod(axis=1)
    return np.asarray((worst * within).sum(axis=0) / np.abs(middle + 0.5 - taps).prod())


def mend(
    values: np.ndarray,
    doubts: FloatArray,
    off: FloatArray,
    solve: Callable[[IntArray], np.ndarray],
    portion: int,
    most: int,
    enough: float,
) -> float:
    """Put solved amplitudes in the place of those that may be off most, until these no longer differ.

    Args:
        values: amplitudes, which are changed: (thickness, reflection, tilt).
        doubts: by how much intensities may be off at the tilts, and behind them at the known ones.
        off: by how much they are at the known tilts: (known tilt,).
        solve: amplitudes of numbered tilts: (thickness, reflection, number).
        portion: tilts at a time, twice as many each time.
        most: tilts in all.
        enough: difference of intensities that may be left.

    Returns:
        What to expect of the others: the largest difference in the less doubtful half of the last portion, and at
        the known tilts that are no more doubtful than the others.
    """
    doubts, known = doubts[: values.shape[2]], doubts[values.shape[2] :]
    order, done, left = np.argsort(-doubts, kind="stable"), 0, float(off.max(initial=0.0))
    while done < min(len(order), most) and (left > enough or not done):
        if doubts[order[done]] < (0.1 if done else SERIOUS) * enough:
            break
        some = order[done : min(done + portion, most)]
        found = solve(some)
        wrong = differences(values[:, :, some], found)
        values[:, :, some] = found
        done, portion = done + len(some), 2 * portion
        below = off[known <= doubts[some[-1]]]
        left = float(np.concatenate([wrong[len(wrong) // 2 :], below]).max())
    return left if done < len(order) else 0.0


def differences(first: np.ndarray, second: np.ndarray) -> FloatArray:
    """Largest differences of the intensities of two (thickness, reflection, tilt) amplitudes: (tilt,)."""
    return np.asarray(np.abs(np.abs(first) ** 2 - np.abs(second) ** 2).max(axis=(0, 1), initial=0.0), dtype=float)


def largest_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference of the intensities of two sets of amplitudes."""
    return float(differences(first, second).max(initial=0.0))


def _rough(values: np.ndarray, axis: int, order: int) -> np.ndarray:
    """What the filter makes of values along an axis, by size; order - 1 fewer."""
    count = values.shape[axis] - order + 1
    total = sum(tap * values.take(range(n, n + count), axis=axis) for n, tap in enumerate(_filter(order)))
    return np.abs(total)


@lru_cache
def _filter(order: int) -> tuple[float, ...]:
    """Taps of an antisymmetric filter that answers to waves as the stencil errs in its middle.

    That error is 1 - 2 Σ w_n cos((n + ½) φ) for a phase φ per node; 2 Σ a_n sin((n + ½) φ) is fitted to it with
    equal relative weights down to 1e-6, and is 0.46 to 1.3 times as large.
    """
    weights = lagrange(torch.tensor([0.5], dtype=torch.float64), order)[0].numpy()[0, order // 2 :]
    angles = np.linspace(0.0, np.pi, 601)[1:, None] * (np.arange(order // 2) + 0.5)
    error = 1.0 - 2.0 * np.cos(angles) @ weights
    taps = np.linalg.lstsq(2.0 * np.sin(angles) / (error + 1e-6)[:, None], error / (error + 1e-6), rcond=None)[0]
    return (*(-taps[::-1]), *taps)


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
