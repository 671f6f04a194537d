"""The microscope frame: x and y in the plane of the tilts, z along the zone axis and the beam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lacbed.crystals import Crystal

IntArray = npt.NDArray[np.int64]
Vector = TypeVar("Vector", IntArray, FloatArray)
NEAR_TIE = 1e-3  # of the lengths of two reciprocal vectors
MAX_FOIL_TILT = 80.0  # degrees; beyond it no transmitted wave is worth computing


@dataclass(frozen=True, eq=False)
class Frame:
    """How the crystal stands in the microscope.

    The electrons travel along +z = the zone axis [uvw]. x is a reciprocal-lattice direction in the plane
    normal to it and y = z × x, so that (x, y, z) is right-handed.

    Attributes:
        zone_axis: u, v, w.
        x_direction: h, k, l of the reciprocal vector whose in-plane part defines x.
        rotation: rows x, y, z in the Cartesian crystal frame: (3, 3).
        normal: unit foil normal in the microscope frame, pointing along the beam: (3,).
        zone_basis: two reciprocal vectors (h, k, l) that span the zero-order Laue zone, reduced: (2, 3).
        reciprocal: a*, b*, c* as columns in the microscope frame, in 1/Å: (3, 3).
    """

    zone_axis: tuple[int, int, int]
    x_direction: tuple[float, float, float]
    rotation: FloatArray
    normal: FloatArray
    zone_basis: IntArray
    reciprocal: FloatArray

    def vectors(self, hkl: npt.ArrayLike) -> FloatArray:
        """Reciprocal vectors in the microscope frame in 1/Å: (..., 3) indices to (..., 3)."""
        return np.asarray(np.asarray(hkl) @ self.reciprocal.T)

    @property
    def zone_vectors(self) -> FloatArray:
        """The two basis vectors of the zero-order Laue zone in the xy plane, as columns: (2, 2)."""
        return self.vectors(self.zone_basis)[:, :2].T

    @property
    def shortest(self) -> float:
        """Length in 1/Å of the shortest reciprocal vector in the zone (a* for a cubic crystal at [001])."""
        return float(np.linalg.norm(self.zone_vectors[:, 0]))

    @property
    def is_flat(self) -> bool:
        """Whether the foil normal is the zone axis."""
        return bool(np.hypot(self.normal[0], self.normal[1]) < 1e-12)


def make_frame(
    crystal: Crystal,
    zone_axis: Sequence[float] = (0, 0, 1),
    foil_normal: Sequence[float] | None = None,
    x_direction: Sequence[float] | None = None,
) -> Frame:
    """Set a crystal up in the microscope.

    Args:
        crystal: the crystal.
        zone_axis: [uvw] in the direct lattice, integers; the beam travels along it.
        foil_normal: [uvw] in the direct lattice; default the zone axis. Its sign does not matter.
        x_direction: (hkl) in the reciprocal lattice, whose part normal to the zone axis becomes x. Default: the
            shortest reciprocal vector in the zone; among equals the one with the largest h, then k, then l.

    Raises:
        SettingError: on a zero or non-integer zone axis, a foil normal more than 80° from the beam, or an
            x direction along the zone axis.
    """
    zone = _integer_axis(zone_axis)
    z = crystal.direct @ np.asarray(zone, dtype=float)
    z /= np.linalg.norm(z)
    basis = zone_lattice_basis(zone, crystal.reciprocal)
    x_hkl = _three("x_direction", "finite numbers h, k, l", basis[0] if x_direction is None else x_direction)
    x = crystal.reciprocal @ x_hkl
    x = x - (x @ z) * z
    if np.linalg.norm(x) < 1e-6 * max(1e-30, float(np.linalg.norm(crystal.reciprocal @ x_hkl))):
        raise SettingError(f"x_direction {tuple(x_hkl.tolist())} lies along the zone axis {zone}; choose another")
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    normal = _foil_normal(crystal, zone if foil_normal is None else foil_normal, rotation)
    return Frame(
        zone,
        (float(x_hkl[0]), float(x_hkl[1]), float(x_hkl[2])),
        rotation,
        normal,
        basis,
        rotation @ crystal.reciprocal,
    )


def near_tie(frame: Frame) -> str:
    """A remark where the default x direction hangs by a thread; "" where it does not.

    It does where another reciprocal vector is longer by less than 0.1 %, though not equal: a slightly different
    cell then turns the picture.
    """
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if j]  # all but the shortest itself
    pool = np.array(steps) @ frame.zone_basis
    vectors = frame.vectors(pool)[:, :2]
    excess = np.linalg.norm(vectors, axis=1) / frame.shortest - 1.0
    near = np.flatnonzero((excess > 1e-9) & (excess < NEAR_TIE))
    if not len(near):
        return ""
    other = max(near, key=lambda n: tuple(pool[n]))
    angle = abs(math.degrees(math.atan2(vectors[other, 1], vectors[other, 0])))
    first, second = (" ".join(str(int(i)) for i in hkl) for hkl in (frame.zone_basis[0], pool[other]))
    return (
        f"x is along {first}, the shortest by only {100 * excess[other]:.1g} %; with a slightly different cell "
        f"{second} may be the shortest and the picture rotated by {angle:.0f} degrees: give an x direction to "
        "fix it"
    )


def _three(name: str, kind: str, values: Sequence[float]) -> FloatArray:
    """Three finite numbers, or a SettingError that says which."""
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (3,) or not np.all(np.isfinite(numbers)):
        raise SettingError(f"{name} must be three {kind}, got {values!r}")
    return numbers


def _integer_axis(axis: Sequence[float]) -> tuple[int, int, int]:
    values = _three("zone axis", "integers u, v, w", axis)
    if np.any(values != np.round(values)):
        raise SettingError(f"zone axis must be integers, got {tuple(axis)}; multiply it out, e.g. (1, 1, 2)")
    whole = values.astype(np.int64)
    divisor = int(np.gcd.reduce(whole))
    if divisor == 0:
        raise SettingError("zone axis is (0, 0, 0), which has no direction; give for example (0, 0, 1)")
    u, v, w = (int(n) // divisor for n in whole)
    return u, v, w


def _foil_normal(crystal: Crystal, axis: Sequence[float], rotation: FloatArray) -> FloatArray:
    values = _three("foil normal", "finite numbers u, v, w", axis)
    if not np.any(values):
        raise SettingError(f"foil normal must be three finite numbers u, v, w, not all zero, got {tuple(axis)}")
    normal = rotation @ crystal.direct @ values
    normal /= np.linalg.norm(normal)
    if normal[2] < 0:
        normal = -normal
    if normal[2] < math.cos(math.radians(MAX_FOIL_TILT)):
        angle = math.degrees(math.acos(min(1.0, normal[2])))
        raise SettingError(
            f"foil normal {tuple(axis)} is {angle:.1f} degrees from the beam; the wave must pass through the "
            f"foil, so the angle must be below {MAX_FOIL_TILT:g} degrees"
        )
    if math.hypot(normal[0], normal[1]) < 1e-9:
        return np.array([0.0, 0.0, 1.0])
    return np.asarray(normal)


def zone_lattice_basis(zone: tuple[int, int, int], reciprocal: FloatArray) -> IntArray:
    """Two (hkl) that span all integer solutions of hu + kv + lw = 0, reduced (shortest first, angle 60-90°).

    Uses the extended Euclidean algorithm for a lattice basis and Lagrange-Gauss reduction.
    """
    u, v, w = zone
    if u == 0 and v == 0:
        first, second = np.array([1, 0, 0]), np.array([0, 1, 0])
    else:
        divisor, x, y = _extended_gcd(u, v)
        first = np.array([v // divisor, -u // divisor, 0])
        second = np.array([-x * w, -y * w, divisor])
    return _reduce(first, second, zone, reciprocal)


def _extended_gcd(a: int, b: int) -> tuple[int, int, int]:
    """(d, x, y) with a x + b y = d = gcd(a, b) > 0."""
    old, new = (a, 1, 0), (b, 0, 1)
    while new[0]:
        q = old[0] // new[0]
        old, new = new, (old[0] - q * new[0], old[1] - q * new[1], old[2] - q * new[2])
    return old if old[0] > 0 else (-old[0], -old[1], -old[2])


def shortest_pair(first: Vector, second: Vector, metric: FloatArray) -> tuple[Vector, Vector]:
    """The two shortest vectors that span the same lattice, the shorter one first, by Lagrange and Gauss.

    Every step must shorten: half a step along the other vector is as long either way, and rounding would go to and
    fro for ever.

    Args:
        first: coordinates of a vector: (n,).
        second: of another.
        metric: their scalar products are p @ metric @ q: (n, n).
    """
    while True:
        if second @ metric @ second < (first @ metric @ first) * (1 - 1e-12):
            first, second = second, first
        shorter = second - round(float(first @ metric @ second) / float(first @ metric @ first)) * first
        if shorter @ metric @ shorter >= (second @ metric @ second) * (1 - 1e-12):
            return first, second
        second = shorter


def _reduce(first: IntArray, second: IntArray, zone: tuple[int, int, int], reciprocal: FloatArray) -> IntArray:
    metric = reciprocal.T @ reciprocal

    def dot(p: IntArray, q: IntArray) -> float:
        return float(p @ metric @ q)

    first, second = shortest_pair(first, second, metric)
    # Among vectors of equal length prefer positive leading indices, so that [001] gives x = a*, y = b*.
    pool = [i * first + j * second for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    shortest = min(dot(p, p) for p in pool)
    first = max((p for p in pool if dot(p, p) < shortest * (1 + 1e-9)), key=tuple)
    rest = [p for p in pool if np.any(np.cross(first, p))]
    rest = [
        p for p in rest if np.linalg.det(np.stack([first, p, np.array(zone)])) > 0
    ]  # (x, second, beam) right-handed
    second_length = min(dot(p, p) for p in rest)
    second = max((p for p in rest if dot(p, p) < second_length * (1 + 1e-9)), key=tuple)
    return np.stack([first, second]).astype(np.int64)
