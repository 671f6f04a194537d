"""Which of several indexings is right: simulated images of each are compared with the measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lacbed.beams import beams_within
from lacbed.crystals import Crystal
from lacbed.errors import ScatteringError, SettingError
from lacbed.experiment.extract.indices import Indexing, alike
from lacbed.experiment.extract.tilts import Tilts, significance
from lacbed.geometry.frame import Frame
from lacbed.geometry.tilts import TiltGrid
from lacbed.simulation import simulate

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

USED = 10
"""Images that are compared."""

LEAST_TILTS, MOST_TILTS = 150, 500
"""Tilts that are compared."""

MODEL = 0.05
"""Error of the simulation that is allowed for, in parts of the largest intensity of an image."""

SURE = 1.15
"""Ratio of misfits from which the better indexing is believed."""

LIKE = 0.65
"""Correlation of the images with the best simulation that is needed at all."""

CLEAR = 30.0
"""Difference of χ² that is needed besides."""

BEAM_REACH, MOST_BEAMS, MOST_POINTS = 2.2, 80, 20
"""Of the simulation: beams |h| up to this many 1/Å but not more than so many; directions along a side."""

THICKNESSES = tuple(float(t) for t in [*range(60, 1000, 25), *range(1000, 2501, 40)])


@dataclass(frozen=True, eq=False)
class Choice:
    """What the comparison shows.

    Attributes:
        best: the indexing that fits best.
        decided: whether another one, not equivalent, is clearly worse.
        why: in words.
        thickness: of the best simulation in Å.
        correlation: of measured and simulated images.
        ratio: misfit of the next one that is not equivalent over that of the best; infinite if there is none.
        equivalent: the indexings that give the same images, the best among them.
    """

    best: Indexing
    decided: bool
    why: str
    thickness: float
    correlation: float
    ratio: float
    equivalent: tuple[Indexing, ...]


def choose(
    found: list[Indexing],
    crystal: Crystal,
    frame: Frame,
    energy: float,
    images: Array,
    variance: Array,
    sites: IntArray,
    tilts: Tilts,
    basis: Array,
    cone: float,
    *,
    thicknesses: tuple[float, ...] = THICKNESSES,
    tick: Callable[[float], None] | None = None,
) -> Choice:
    """The indexing whose simulated images are nearest to the measured ones, at any thickness.

    Args:
        found: those that the lattice allows.
        crystal: the crystal.
        frame: its orientation, with the default direction of x.
        energy: in eV.
        images: electrons: (site, row, column).
        variance: of them.
        sites: of the images.
        tilts: where they lie in units of the lattice.
        basis: of the lattice on the camera.
        cone: radius of the discs in units of the shortest vector between them.
        thicknesses: to be tried in Å.
        tick: called with the part of the work that is done.
    """
    best_first = np.argsort(-significance(images, variance))[:USED]
    use = sites[best_first]
    at = np.moveaxis(np.mgrid[: images.shape[1], : images.shape[2]], 0, -1).reshape(-1, 2)
    lattice_k = tilts.k(at)
    inside, pitch = _near_zone(lattice_k @ found[0].vectors, cone * float(np.linalg.norm(found[0].vectors[0])))
    lattice_k = lattice_k[inside]
    measured = images[best_first].reshape(len(use), -1)[:, inside]
    noise = variance[best_first].reshape(len(use), -1)[:, inside]
    known = np.isfinite(measured)
    m = np.where(known, measured, 0.0)
    top = np.array([np.percentile(row[k], 99.5) if k.any() else 1.0 for row, k in zip(m, known, strict=True)])
    weight = known / (np.nan_to_num(noise, nan=1.0) + (MODEL * top[:, None]) ** 2 + 1e-12)
    results: list[tuple[float, int, Array, Indexing]] = []
    kinds = {id(f): kind for f, kind in zip(found, alike(found, crystal), strict=True)}
    leaders = {kind: next(f for f in found if kinds[id(f)] == kind) for kind in set(kinds.values())}
    groups: dict[int, list[Indexing]] = {}
    for indexing in leaders.values():
        groups.setdefault(round(1e6 * abs(float(np.linalg.det(indexing.vectors)))), []).append(indexing)
    for number, group in enumerate(groups.values()):
        scale = math.sqrt(
            abs(float(np.linalg.det(group[0].vectors)) / abs(float(np.linalg.det(found[0].vectors))))
        )
        model = _Images(crystal, frame, energy, group, use, lattice_k, scale * pitch, cone, thicknesses)
        for indexing in group:
            s = model.of(indexing)  # (thickness, site, pixel)
            misfit = _misfits(s, m, weight)
            t = int(np.argmin(misfit))
            results.append((float(misfit[t]), t, s[t], indexing))
        if tick is not None:
            tick((number + 1) / len(groups))
    results.sort(key=lambda r: r[0])
    same = [f for f in found if kinds[id(f)] == kinds[id(results[0][3])]]
    return _judged(results, same, m, weight, thicknesses, basis, frame)


class _Images:
    """Simulated images of several indexings that share a lattice, at the measured tilts."""

    def __init__(
        self,
        crystal: Crystal,
        frame: Frame,
        energy: float,
        group: list[Indexing],
        sites: IntArray,
        lattice_k: Array,
        pitch: float,
        cone: float,
        thicknesses: tuple[float, ...],
    ) -> None:
        self.sites, self.lattice_k = sites, lattice_k
        reach = max(float(np.abs(lattice_k @ g.vectors).max()) for g in group) + pitch
        points = int(np.clip(math.ceil(2 * reach / pitch), 12, MOST_POINTS))
        wanted = {tuple(h) for g in group for h in g.of(sites).tolist()}
        beams = int(np.clip(beams_within(crystal, frame, BEAM_REACH), 37, MOST_BEAMS))
        arguments = {
            "thicknesses": thicknesses,
            "grid": TiltGrid(points, k_max=reach),
            "hkl": sorted(wanted),
            "beams": beams,
            "solver": "tilted",
        }
        try:
            pattern = simulate(crystal, frame.zone_axis, energy, absorption="thomas", **arguments)  # type: ignore[arg-type]
        except ScatteringError:
            pattern = simulate(crystal, frame.zone_axis, energy, absorption=("proportional", 6.0), **arguments)  # type: ignore[arg-type]
        self.number = {
            (int(h), int(k), int(l)): i
            for i, (h, k, l) in enumerate(zip(*(pattern[n].values for n in "hkl"), strict=True))  # noqa: E741
        }
        own = float(pattern["kx"].values[1] - pattern["kx"].values[0])
        shortest = min(float(np.linalg.norm(v)) for v in group[0].vectors)
        blur = 0.5 * cone * shortest / own
        self.values = gaussian_filter(pattern.values, (0, 0, blur, blur), mode="nearest")
        self.first, self.pitch = float(pattern["kx"].values[0]), own

    def of(self, indexing: Indexing) -> Array:
        """(thickness, site, pixel)."""
        k = self.lattice_k @ indexing.vectors
        at = np.clip((k - self.first) / self.pitch, 0, self.values.shape[-1] - 1.001)
        low = at.astype(np.int64)
        part = (at - low).astype(np.float32)
        rows = [self.number[tuple(h)] for h in indexing.of(self.sites).tolist()]
        out = np.zeros((len(self.values), len(rows), len(k)), dtype=np.float32)
        images = self.values[:, rows]
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            w = np.abs(1 - i - part[:, 1]) * np.abs(1 - j - part[:, 0])
            out += w * images[:, :, low[:, 1] + i, low[:, 0] + j]
        return np.asarray(out, dtype=np.float64)


def _near_zone(k: Array, cone: float) -> tuple[NDArray[np.bool_], float]:
    """The tilts around the zone axis that are compared, and the pitch of the simulation in 1/Å.

    The simulation must be fine enough for what the finite discs leave of the images, so that it covers only so
    much.
    """
    area = float(np.ptp(k[:, 0]) * np.ptp(k[:, 1]))
    own = math.sqrt(area / max(1, len(k)))
    pitch = max(0.7 * own, 0.6 * cone)
    distance = np.linalg.norm(k, axis=1)
    radius = max((MOST_POINTS / 2 - 1) * pitch, float(np.sort(distance)[min(len(k) - 1, LEAST_TILTS)]))
    inside = distance <= radius
    stride = max(1, int(inside.sum()) // MOST_TILTS)
    chosen = np.zeros(len(k), dtype=bool)
    chosen[np.flatnonzero(inside)[::stride]] = True
    return chosen, pitch


def _misfits(s: Array, m: Array, weight: Array) -> Array:
    """Weighted squares per pixel with the best common scale: (thickness,)."""
    product = np.einsum("tsp,sp,sp->t", s, m, weight)
    square = np.einsum("tsp,tsp,sp->t", s, s, weight)
    total = float((m * m * weight).sum())
    scale = np.clip(product, 0, None) / np.maximum(square, 1e-30)
    return np.asarray((total - 2 * scale * product + scale**2 * square) / max(1, int((weight > 0).sum())))


def _judged(
    results: list[tuple[float, int, Array, Indexing]],
    same: list[Indexing],
    m: Array,
    weight: Array,
    thicknesses: tuple[float, ...],
    basis: Array,
    frame: Frame,
) -> Choice:
    least, t, s, _ = results[0]
    others = results[1:]
    best = min(same, key=lambda i: _preference(i, basis))
    ratio = others[0][0] / max(least, 1e-12) if others else math.inf
    count = int((weight > 0).sum())
    correlation = _correlation(s, m, weight)
    thickness = thicknesses[t]
    clear = (others[0][0] - least) * count > CLEAR if others else True
    decided = correlation > LIKE and (not others or (ratio > SURE and clear))
    if not others and decided:
        why = "all ways to index the lattice give the same images"
    elif decided:
        why = f"the next way to index them fits {ratio:.2f} times worse at its best thickness"
    elif correlation <= LIKE:
        why = (
            f"no simulation resembles the images (correlation {correlation:.2f}): is it this crystal along "
            f"{list(frame.zone_axis)}, at a thickness up to {thicknesses[-1]:g} Å?"
        )
    else:
        first, second = (r.of(np.eye(2, dtype=int)).tolist() for r in (results[0][3], others[0][3]))
        why = (
            f"two ways to index them fit nearly alike (misfits {least:.3g} and {others[0][0]:.3g}): "
            "the basis vectors "
            f"of the discs may be {first} or {second}"
        )
    return Choice(best, decided, why, thickness, correlation, ratio, tuple(same))


def _correlation(s: Array, m: Array, weight: Array) -> float:
    """Mean over the images of the correlation of simulation and measurement."""
    out = []
    for a, b, w in zip(s, m, weight, strict=True):
        known = w > 0
        if known.sum() > 20 and a[known].std() > 0 and b[known].std() > 0:
            out.append(float(np.corrcoef(a[known], b[known])[0, 1]))
    return float(np.mean(out)) if out else 0.0


def _preference(indexing: Indexing, basis: Array) -> tuple[bool, float, tuple[int, ...]]:
    """Among equals: a camera that does not mirror, then the smallest rotation of it."""
    matrix = np.linalg.solve(indexing.vectors, basis)  # (x, y) of the crystal to (row, column)
    x, y = matrix[0] @ np.array([[0.0, -1.0], [1.0, 0.0]]), matrix[1] @ np.array([[0.0, -1.0], [1.0, 0.0]])
    # now (column, -row): to the right and up
    mirrored = float(np.linalg.det(np.stack([x, y]))) < 0
    angle = abs(math.atan2(float(x[1]), float(x[0])))
    return mirrored, round(angle, 6), tuple(-indexing.hkl.ravel())


def ask_for_spots(choice: Choice) -> SettingError:
    """The error that asks for two indexed spots."""
    return SettingError(
        f"the data do not decide the indices: {choice.why}; name two spots of the mean frame that are "
        "not on a line "
        "with the direct beam, as --spot X,Y=H,K,L twice, or take the best with --accept"
    )
