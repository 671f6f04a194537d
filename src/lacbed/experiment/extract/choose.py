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
from lacbed.experiment.extract.indices import Indexing
from lacbed.experiment.extract.tilts import Tilts, _binned, significance
from lacbed.geometry.frame import Frame
from lacbed.geometry.tilts import TiltGrid
from lacbed.simulation import simulate

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

USED = 10
"""Images that are compared."""

SIDE = 24
"""Tilts along a side of the images that are compared."""

MODEL = 0.05
"""Error of the simulation that is allowed for, in parts of the largest intensity of an image."""

EQUAL = 2e-3
"""Largest difference of two sets of simulated images, in parts of the largest intensity, that are the same."""

SURE = 1.15
"""Ratio of misfits from which the better indexing is believed."""

CLEAR = 30.0
"""Difference of χ² that is needed besides."""

BEAM_REACH = 2.4
THICKNESSES = tuple(float(t) for t in [*range(60, 1000, 20), *range(1000, 3001, 25)])


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
        equivalent: number of indexings that give the same images.
    """

    best: Indexing
    decided: bool
    why: str
    thickness: float
    correlation: float
    ratio: float
    equivalent: int


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
    factor = max(1, round(images.shape[1] / SIDE))
    measured = _binned(images[best_first], factor)
    noise = _binned(variance[best_first], factor) / factor**2
    use = sites[best_first]
    at = np.stack(np.mgrid[: measured.shape[1], : measured.shape[2]], axis=-1).reshape(-1, 2)
    lattice_k = ((at + 0.5) * factor - 0.5 - tilts.zero) @ np.linalg.inv(tilts.steps)  # k in basis vectors
    known = np.isfinite(measured).reshape(len(use), -1)
    m = np.where(known, measured.reshape(len(use), -1), 0.0)
    top = np.array([np.percentile(row[k], 99.5) if k.any() else 1.0 for row, k in zip(m, known, strict=True)])
    weight = known / (np.nan_to_num(noise.reshape(len(use), -1), nan=1.0) + (MODEL * top[:, None]) ** 2 + 1e-12)
    results: list[tuple[float, int, Array, Indexing]] = []
    groups: dict[int, list[Indexing]] = {}
    for indexing in found:
        groups.setdefault(round(1e6 * abs(float(np.linalg.det(indexing.vectors)))), []).append(indexing)
    for number, group in enumerate(groups.values()):
        model = _Images(crystal, frame, energy, group, use, lattice_k, factor, cone, thicknesses)
        for indexing in group:
            s = model.of(indexing)  # (thickness, site, pixel)
            misfit = _misfits(s, m, weight)
            t = int(np.argmin(misfit))
            results.append((float(misfit[t]), t, s[t], indexing))
        if tick is not None:
            tick((number + 1) / len(groups))
    results.sort(key=lambda r: r[0])
    return _judged(results, m, weight, thicknesses, basis, frame)


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
        factor: int,
        cone: float,
        thicknesses: tuple[float, ...],
    ) -> None:
        self.sites, self.lattice_k = sites, lattice_k
        reach = max(float(np.abs(lattice_k @ g.vectors).max()) for g in group)
        pitch = (
            math.sqrt(abs(float(np.linalg.det(_step(lattice_k) @ group[0].vectors)))) if len(lattice_k) else 1.0
        )
        points = int(np.clip(2 * math.ceil(1.05 * reach / pitch) + 2, 16, 72))
        wanted = {tuple(h) for g in group for h in g.of(sites).tolist()}
        beams = int(np.clip(beams_within(crystal, frame, BEAM_REACH), 40, 220))
        arguments = {
            "thicknesses": thicknesses,
            "grid": TiltGrid(points, k_max=reach * 1.05 + pitch),
            "hkl": sorted(wanted),
            "beams": beams,
            "solver": "fast",
            "dtype": "float32",
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
        blur = math.hypot(0.5 * cone * shortest, 0.29 * pitch * factor / max(factor, 1)) / own
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


def _step(lattice_k: Array) -> Array:
    """Two steps between neighbouring tilts in basis vectors: (2, 2)."""
    side = round(math.sqrt(len(lattice_k)))
    return np.stack([lattice_k[side] - lattice_k[0], lattice_k[1] - lattice_k[0]])


def _misfits(s: Array, m: Array, weight: Array) -> Array:
    """Weighted squares per pixel with the best common scale: (thickness,)."""
    product = np.einsum("tsp,sp,sp->t", s, m, weight)
    square = np.einsum("tsp,tsp,sp->t", s, s, weight)
    total = float((m * m * weight).sum())
    scale = np.clip(product, 0, None) / np.maximum(square, 1e-30)
    return np.asarray((total - 2 * scale * product + scale**2 * square) / max(1, int((weight > 0).sum())))


def _judged(
    results: list[tuple[float, int, Array, Indexing]],
    m: Array,
    weight: Array,
    thicknesses: tuple[float, ...],
    basis: Array,
    frame: Frame,
) -> Choice:
    least, t, s, _ = results[0]
    same = [r for r in results if r[1] == t and float(np.abs(r[2] - s).max()) < EQUAL * float(s.max())]
    others = [r for r in results if not any(r is q for q in same)]
    best = min((r[3] for r in same), key=lambda i: _preference(i, basis))
    ratio = others[0][0] / max(least, 1e-12) if others else math.inf
    count = int((weight > 0).sum())
    correlation = _correlation(s, m, weight)
    thickness = thicknesses[t]
    clear = (others[0][0] - least) * count > CLEAR if others else True
    decided = (ratio > SURE and clear) and correlation > 0.5 if others else True
    if not others:
        why = "all ways to index the lattice give the same images"
    elif decided:
        why = f"the next way to index them fits {ratio:.2f} times worse at its best thickness"
    elif correlation <= 0.5:
        why = (
            f"no simulation resembles the images (correlation {correlation:.2f}): is it this crystal along "
            f"{list(frame.zone_axis)}, at a thickness up to {thicknesses[-1]:g} Å?"
        )
    else:
        first, second = (r.of(np.eye(2, dtype=int)).tolist() for r in (results[0][3], others[0][3]))
        why = (
            f"two ways to index them fit nearly alike (misfits {least:.3g} and {others[0][0]:.3g}): the basis vectors "
            f"of the discs may be {first} or {second}"
        )
    return Choice(best, decided, why, thickness, correlation, ratio, len(same))


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
        f"the data do not decide the indices: {choice.why}; name two spots of the mean frame that are not on a line "
        "with the direct beam, as --spot X,Y=H,K,L twice, or take the best with --accept"
    )
