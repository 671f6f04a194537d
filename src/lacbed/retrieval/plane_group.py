"""The plane group of a projected potential: which operations of its lattice it has, and what they are called."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import IntArray

LIKE = 0.975
"""Correlation of a potential with itself after an operation from which on it has the operation."""

_METRIC = 5e-3


@dataclass(frozen=True, eq=False)
class PlaneOperation:
    """r → W r + w in fractions of the projected cell.

    Attributes:
        matrix: W: (2, 2).
        shift: w: (2,).
        likeness: correlation of the potential with itself after it.
    """

    matrix: IntArray
    shift: FloatArray
    likeness: float

    @property
    def kind(self) -> str:
        """What it is: "rotation by 90°", "mirror" or "glide"."""
        if round(float(np.linalg.det(self.matrix))) > 0:
            cosine = 0.5 * float(np.trace(self.matrix))
            return f"rotation by {round(math.degrees(math.acos(min(1.0, max(-1.0, cosine)))))}°"
        return "glide" if self._glides() else "mirror"

    def _glides(self) -> bool:
        """Whether a reflection moves by half a lattice vector that no other choice of the shift removes."""
        if centred(self.matrix):
            return False
        twice = np.round(self.matrix @ self.shift + self.shift)
        return bool(np.any(twice % 2 != 0))


def lattice_operations(edges: FloatArray) -> list[IntArray]:
    """All W that keep the metric of a lattice: edges in Å as columns, (2, 2)."""
    metric, found = edges.T @ edges, []
    for entries in itertools.product((-1, 0, 1), repeat=4):
        W = np.array(entries).reshape(2, 2)
        if abs(round(float(np.linalg.det(W)))) != 1:
            continue
        change = np.abs(W.T @ metric @ W - metric).max() / np.abs(metric).max()
        if change < _METRIC:
            found.append(W)
    return found


def operations_of_potential(coefficients: np.ndarray, orders: IntArray, edges: FloatArray) -> list[PlaneOperation]:
    """How well a potential has each operation of its lattice, the best shift taken.

    Args:
        coefficients: U_g, complex: (g,).
        orders: (m, n) of every g, a set that the operations keep: (g, 2).
        edges: of the projected cell in Å as columns: (2, 2).
    """
    place = {tuple(h): i for i, h in enumerate(orders.tolist())}
    n = 2 ** math.ceil(math.log2(2 * int(np.abs(orders).max()) + 1) + 2)
    power = float(np.square(np.abs(coefficients)).sum())
    found = []
    for W in lattice_operations(edges):
        turned = orders @ W  # the coefficient at h of the turned potential is that at Wᵀ h
        inside = [place.get(tuple(h), -1) for h in turned.tolist()]
        moved = np.where(np.array(inside) >= 0, coefficients[inside], 0.0)
        spectrum = np.zeros((n, n), dtype=complex)
        spectrum[orders[:, 0] % n, orders[:, 1] % n] = coefficients * moved.conj()
        image = np.fft.ifft2(spectrum).real * n * n / max(power, 1e-300)
        best = np.argwhere(image >= image.max() - 1e-6)
        step = best[int(np.argmin(np.square(np.minimum(best, n - best)).sum(axis=1)))] / n
        found.append(PlaneOperation(W, -step % 1.0, float(image.max())))
    return found


def plane_group(operations: list[PlaneOperation], edges: FloatArray) -> str:
    """The short symbol of the group of the operations that a potential has."""
    has = [o for o in operations if o.likeness >= LIKE]
    turns = [o for o in has if np.linalg.det(o.matrix) > 0]
    flips = [o for o in has if np.linalg.det(o.matrix) < 0]
    order = max((_order(o.matrix) for o in turns), default=1)
    if not flips:
        return f"p{order}"
    if order in (3, 6):
        return "p6mm" if order == 6 else ("p3m1" if _across_edges(flips[0].matrix, edges) else "p31m")
    if order == 4:
        straight = [o for o in flips if not centred(o.matrix)]
        return "p4gm" if any(o.kind == "glide" for o in straight) else "p4mm"
    if any(centred(o.matrix) for o in flips):
        return "c2mm" if order == 2 else "cm"
    glides = sum(o.kind == "glide" for o in flips)
    if order == 1:
        return "pg" if glides else "pm"
    return ("p2mm", "p2mg", "p2gg")[min(glides, 2)]


def centred(W: IntArray) -> bool:
    """Whether a reflection exchanges two vectors that span the lattice, so that mirrors and glides alternate."""
    return bool(np.any((W - np.eye(2, dtype=int)) % 2))


def _order(W: IntArray) -> int:
    power, count = W.copy(), 1
    while not np.array_equal(power, np.eye(2, dtype=int)):
        power, count = power @ W, count + 1
        if count > 6:
            break
    return count


def _across_edges(W: IntArray, edges: FloatArray) -> bool:
    """Whether the normal of a mirror lies along a shortest vector of a hexagonal lattice."""
    cartesian = edges @ W @ np.linalg.inv(edges)
    values, vectors = np.linalg.eig(cartesian)
    normal = np.real(vectors[:, int(np.argmin(np.real(values)))])
    steps = np.array([(1, 0), (0, 1), (1, 1), (1, -1)]) @ edges.T
    length = np.linalg.norm(steps, axis=1)
    short = steps[length < 1.02 * length.min()]
    short = short / np.linalg.norm(short, axis=1)[:, None]
    return bool(np.max(np.abs(short @ normal)) > 0.999)
