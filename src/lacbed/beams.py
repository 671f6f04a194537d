"""Which plane waves take part: the common beam list of a tilt grid.

Every tilt is folded to k = q + G (see `lacbed.geometry.folding`). The beams of the tilt are g = h - G with h from
one list that is the same for all tilts. So the waves in the crystal, q + h, stay inside one fixed region around
the zone axis, tilts that differ by a reciprocal vector share their waves, and no tilt has a worse list than
another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.geometry.folding import is_allowed, zone_of_allowed
from lacbed.geometry.frame import Frame, IntArray
from lacbed.geometry.wave import ElectronWave
from lacbed.io.checks import check_number

HKL = tuple[int, int, int]
MAX_BEAMS = 20_000
_MAX_POOL = 2_000_000
"""Candidates among which the beams are chosen; more are refused before they are listed."""

_DENSE_INDEX = 2_000_000
"""Indices that are looked up in a table of all; beyond that they are sorted."""

HOLZ_REACH = 0.3
"""Beams of higher-order Laue zones take part up to this |s|, in units of the distance between zones.

Further from resonance the zones +n and -n shift the phases by amounts that nearly cancel; a list that holds more
of one side than of the other would be worse than none of them.
"""

HOLZ_WEIGHT = 4.0
"""Excitation errors of higher-order Laue zones count this many times in the ranking: their U_g are small."""


@dataclass(frozen=True, eq=False)
class BeamList:
    """Beams common to all tilts.

    Attributes:
        hkl: indices h of the waves q + h, best first: (beam, 3).
        vectors: the same in the microscope frame in 1/Å: (beam, 3).
        strong: number of beams that are solved for; the rest enter as Bethe perturbation.
        excitation_error: largest |s_g| in 1/Å among the strong beams, the least over the grid for each beam.
    """

    hkl: IntArray
    vectors: FloatArray
    strong: int
    excitation_error: float

    def index(self, hkl: IntArray) -> IntArray:
        """Positions in the list of the given indices, -1 where absent: (..., 3) to (...)."""
        reach = np.maximum(np.abs(self.hkl).max(axis=0), np.abs(hkl).reshape(-1, 3).max(axis=0, initial=0))
        side = 2 * reach + 1
        place = np.array([side[1] * side[2], side[2], 1])
        known, wanted = (self.hkl + reach) @ place, (hkl + reach) @ place
        if side.prod() > _DENSE_INDEX:
            order = np.argsort(known)
            nearest = order[np.searchsorted(known, wanted, sorter=order) % len(order)]
            return np.asarray(np.where(known[nearest] == wanted, nearest, -1))
        table = np.full(side.prod(), -1, dtype=np.int64)
        table[known] = np.arange(len(known))
        return np.asarray(table[wanted])


def select_beams(
    crystal: Crystal,
    frame: Frame,
    wave: ElectronWave,
    tilts: FloatArray,
    required: IntArray,
    *,
    count: int | None = None,
    g_max: float | None = None,
    sg_max: float | None = None,
    weak: int = 0,
    laue_zones: int = 0,
) -> BeamList:
    """Choose the beams by the stated rule.

    Candidates are all reflections that centring allows, of Laue zones up to `laue_zones` on both sides, with
    |h| ≤ g_max. They are ranked by the least excitation error over the grid,

        |s_h| = min over tilts of | |q + h|² - |k|² | / 2k     (three-dimensional vectors),

    ties by |h|; for a grid around the zone axis and one Laue zone that is simply the order of |h| outside the
    grid. Beams of higher-order Laue zones count four times their |s_h|, and only up to 0.3 of the distance between
    the zones. The first `count` are strong, completed to a whole shell of equal rank so that the list keeps the
    crystal's symmetry; or all with |s_h| ≤ sg_max. Reflections that are asked for, and the incident
    beam of every tilt, are always in the list, with everything that ranks as high.

    Args:
        crystal: the crystal.
        frame: its orientation.
        wave: the electrons.
        tilts: the tilts themselves in 1/Å: (tilt, 2).
        required: waves h that must be in the list: (n, 3).
        count: number of strong beams.
        g_max: largest |h| in 1/Å.
        sg_max: largest excitation error in 1/Å.
        weak: number of further beams to treat by Bethe perturbation.
        laue_zones: highest order of Laue zone.

    Raises:
        SettingError: if the rule leaves no beams, too many, or leaves out one that is required.
    """
    if count is None and g_max is None and sg_max is None:
        raise SettingError("choose beams by number, g_max or sg_max")
    reach = _pool_radius(crystal, frame, wave, required, count, g_max, sg_max, weak, laue_zones, tilts)
    pool = _pool(crystal, frame, reach, laue_zones)
    vectors = frame.vectors(pool)
    score, size = _scores(vectors, tilts, wave)
    far = score > HOLZ_WEIGHT * HOLZ_REACH / float(np.linalg.norm(crystal.direct @ np.array(frame.zone_axis)))
    dropped = far & (np.abs(vectors[:, 2]) > 1e-9) & (_all_positions(pool, required) < 0)
    order = np.lexsort((size, score))
    order = order[~dropped[order]]
    pool, vectors, score, size = pool[order], vectors[order], score[order], size[order]
    position = BeamList(pool, vectors, len(pool), 0.0).index(required)
    if np.any(position < 0):
        missing = tuple(int(v) for v in required[np.argmin(position)])
        raise SettingError(
            f"reflection or incident beam {missing} lies outside g_max = {reach:.3g} 1/Å; raise g_max"
        )
    wanted = _wanted(score, count, sg_max)
    strong = _whole_shell(score, size, max(wanted, int(position.max()) + 1))
    total = _whole_shell(score, size, min(len(pool), strong + weak)) if weak else strong
    if total > MAX_BEAMS:
        raise SettingError(f"the rule selects {total} beams; the limit is {MAX_BEAMS}: lower g_max or beams")
    return BeamList(pool[:total], vectors[:total], strong, float(score[:strong].max()))


def beams_aside(
    crystal: Crystal, frame: Frame, wave: ElectronWave, span: tuple[float, float], laue_zones: int
) -> IntArray:
    """All beams of higher-order Laue zones that the rule of `select_beams` lets take part, however long: (n, 3).

    Args:
        crystal: the crystal.
        frame: its orientation.
        wave: the electrons.
        span: the least and the largest |k|² of the tilts in 1/Å².
        laue_zones: highest order of Laue zone.
    """
    if not laue_zones:
        return np.empty((0, 3), dtype=np.int64)
    spacing = 1.0 / float(np.linalg.norm(crystal.direct @ np.array(frame.zone_axis)))
    off = laue_zones * spacing
    radius = math.sqrt(span[1] + 2.0 * wave.wave_number * (HOLZ_REACH * spacing + off) + off * off) + 1e-6
    pool = _pool(crystal, frame, math.hypot(radius, off), laue_zones)
    vectors = frame.vectors(pool)
    score, size = _scores(vectors, np.array([(math.sqrt(s), 0.0) for s in span]), wave)
    kept = (np.abs(vectors[:, 2]) > 1e-9) & (score <= HOLZ_WEIGHT * HOLZ_REACH * spacing)
    order = np.lexsort((size[kept], score[kept]))
    return np.asarray(pool[kept][order])


def _all_positions(hkl: IntArray, among: IntArray) -> IntArray:
    """Position of every hkl in a list, -1 where absent."""
    return BeamList(among, among.astype(float), len(among), 0.0).index(hkl)


def _wanted(score: FloatArray, count: int | None, sg_max: float | None) -> int:
    within = len(score) if sg_max is None else int(np.sum(score <= sg_max))
    return max(1, min(within, count if count is not None else within))


def _whole_shell(score: FloatArray, size: FloatArray, count: int) -> int:
    """Raise a count to the end of the run of beams with equal score and length."""
    while (
        count < len(score)
        and abs(score[count] - score[count - 1]) < 1e-9
        and abs(size[count] - size[count - 1]) < 1e-7
    ):
        count += 1
    return count


def _pool_radius(
    crystal: Crystal,
    frame: Frame,
    wave: ElectronWave,
    required: IntArray,
    count: int | None,
    g_max: float | None,
    sg_max: float | None,
    weak: int,
    laue_zones: int,
    tilts: FloatArray,
) -> float:
    """A |h| that surely holds all that the rule can select."""
    if g_max is not None:
        return g_max
    edge = float(np.linalg.norm(tilts, axis=1).max())
    need = float(np.linalg.norm(frame.vectors(required), axis=1).max(initial=0.0))
    layer_area = zone_area(crystal, frame)
    radius = need + 2.0 * math.sqrt(layer_area)
    if count is not None:
        layers = 2 * laue_zones + 1
        disc = math.sqrt((count + weak) * layer_area / math.pi)
        radius = max(radius, 1.15 * disc + edge * (laue_zones > 0) + 3.0 * math.sqrt(layer_area) / layers)
    if sg_max is not None:
        radius = max(radius, math.sqrt(edge**2 + 2.0 * wave.wave_number * sg_max) + edge)
    if laue_zones:
        spacing = 1.0 / float(np.linalg.norm(crystal.direct @ np.array(frame.zone_axis)))
        ring = math.sqrt(2.0 * wave.wave_number * spacing * laue_zones)
        radius = max(radius, edge + 1.3 * ring)
    return radius


def zone_area(crystal: Crystal, frame: Frame) -> float:
    """Area in 1/Å² that each allowed reflection has in the plane of the zero-order Laue zone."""
    return float(abs(np.linalg.det(frame.vectors(zone_of_allowed(crystal, frame))[:, :2])))


def beams_within(crystal: Crystal, frame: Frame, g_max: float) -> int:
    """About how many allowed reflections of the zero-order Laue zone have |h| ≤ g_max in 1/Å."""
    return max(1, round(math.pi * g_max**2 / zone_area(crystal, frame)))


def check_count(crystal: Crystal, frame: Frame, radius: float, laue_zones: int = 0) -> None:
    """Refuse more reflections within a sphere of this radius in 1/Å than can be listed.

    Raises:
        SettingError: with their number, about.
    """
    # Reflections of the whole zone are listed before those that centring forbids are dropped.
    number = (2 * laue_zones + 1) * math.pi * radius**2 / abs(float(np.linalg.det(frame.zone_vectors)))
    if number > _MAX_POOL:
        allowed = (2 * laue_zones + 1) * math.pi * radius**2 / zone_area(crystal, frame)
        raise SettingError(
            f"about {allowed:.3g} reflections of {crystal.name} lie within {radius:.3g} 1/Å of this zone; "
            "set or lower g_max, sg_max or beams, or ask for nearer reflections"
        )


def _pool(crystal: Crystal, frame: Frame, radius: float, laue_zones: int) -> IntArray:
    """All allowed reflections of the Laue zones 0, ±1, ... ±laue_zones within a sphere, by h, k and l.

    Raises:
        SettingError: if they are too many, before they are listed.
    """
    found = []
    zone_vectors = frame.zone_vectors
    check_count(crystal, frame, radius, laue_zones)
    inverse = np.linalg.inv(zone_vectors)
    step = _layer_step(frame.zone_axis)
    for layer in range(-laue_zones, laue_zones + 1):
        centre = inverse @ frame.vectors(layer * step)[:2]
        reach = radius * np.linalg.norm(inverse, axis=1) + 1e-9
        first, second = (
            np.arange(math.ceil(-c - r), math.floor(-c + r) + 1) for c, r in zip(centre, reach, strict=True)
        )
        places = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
        hkl = layer * step + places @ frame.zone_basis
        hkl = hkl[np.linalg.norm(frame.vectors(hkl), axis=1) <= radius + 1e-9]
        found.append(hkl[is_allowed(crystal, hkl)])
    pool = np.concatenate(found)
    return np.asarray(pool[np.lexsort(pool.T[::-1])])


def _layer_step(zone_axis: tuple[int, int, int]) -> IntArray:
    """A short (h, k, l) with hu + kv + lw = 1."""
    u, v, w = zone_axis
    first, x, y = _bezout(u, v)
    _, scale, z = _bezout(first, w)
    return np.array([scale * x, scale * y, z], dtype=np.int64)


def _bezout(a: int, b: int) -> tuple[int, int, int]:
    """The greatest common divisor d of two integers, and x, y with a x + b y = d (Euclid's algorithm)."""
    if b == 0:
        return abs(a), (1 if a >= 0 else -1), 0
    divisor, x, y = _bezout(b, a % b)
    return divisor, y, x - (a // b) * y


def _scores(vectors: FloatArray, tilts: FloatArray, wave: ElectronWave) -> tuple[FloatArray, FloatArray]:
    """Least |s_h| over the grid (over its rim and a coarse net of its inside) and |h|."""
    k = wave.wave_number
    squares = np.sum(tilts**2, axis=1)
    low, high = float(squares.min()), float(squares.max())
    kz_low, kz_high = math.sqrt(k * k - high), math.sqrt(k * k - low)
    # |q + h|² with q = 0: the mean over the Brillouin zone; one number per beam keeps the list symmetric.
    in_plane = np.sum(vectors[:, :2] ** 2, axis=1)
    off = vectors[:, 2]
    extremes = [in_plane + 2.0 * kz * off + off * off for kz in (kz_low, kz_high)]
    lowest, highest = np.minimum(*extremes), np.maximum(*extremes)
    distance = np.maximum(0.0, np.maximum(lowest - high, low - highest))
    distance = np.where(np.abs(off) > 1e-9, HOLZ_WEIGHT * distance, distance)
    return np.round(distance / (2.0 * k), 10), np.round(np.linalg.norm(vectors, axis=1), 9)


def check_reflections(crystal: Crystal, frame: Frame, hkl: Sequence[Any], laue_zones: int) -> tuple[HKL, ...]:
    """Reflections as whole numbers that the crystal and the zone can show.

    Raises:
        SettingError: on indices that are not integers, that lattice centring forbids, that repeat, or that
            lie outside the Laue zones that take part.
    """
    found: list[HKL] = []
    for entry in hkl:
        try:
            values = np.asarray(entry, dtype=float)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (3,) or not np.all(np.isfinite(values)) or np.any(values != np.round(values)):
            raise SettingError(f"a reflection is three integers h, k, l, got {entry}")
        h, k, l = (int(v) for v in values)  # noqa: E741
        order = h * frame.zone_axis[0] + k * frame.zone_axis[1] + l * frame.zone_axis[2]
        if not is_allowed(crystal, np.array([h, k, l])):
            raise SettingError(f"reflection {h},{k},{l} is forbidden by the lattice centring of {crystal.name}")
        if abs(order) > laue_zones:
            raise SettingError(
                f"reflection {h},{k},{l} lies in Laue zone {order} of {list(frame.zone_axis)}, but only zones "
                f"up to {laue_zones} take part; raise laue_zones or choose hu + kv + lw = 0"
            )
        if (h, k, l) in found:
            raise SettingError(f"reflection {h},{k},{l} is listed twice")
        found.append((h, k, l))
    if not found:
        raise SettingError("no reflection requested; give at least (0, 0, 0)")
    return tuple(found)


def reflections_within(crystal: Crystal, frame: Frame, limit: float) -> tuple[HKL, ...]:
    """All allowed reflections of the zero-order Laue zone with |g| ≤ limit in 1/Å, by length, then by angle.

    Raises:
        SettingError: if the limit is not a positive number, or holds over 2,000 reflections.
    """
    check_number("the limit of |g| for all reflections", limit, above=0, unit="1/Å")
    found = _pool(crystal, frame, limit, 0)
    if len(found) > 2000:
        raise SettingError(f"{len(found)} reflections lie within {limit:g} 1/Å; the limit is 2000: lower it")
    vectors = frame.vectors(found)
    length = np.round(np.linalg.norm(vectors, axis=1), 9)
    angle = np.round(np.arctan2(vectors[:, 1], vectors[:, 0]) % (2.0 * math.pi), 9)
    return tuple((int(h), int(k), int(l)) for h, k, l in found[np.lexsort((angle, length))])  # noqa: E741
