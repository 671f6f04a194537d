"""Which crystal of a catalogue made a pattern: a quick look at all of them, then the exact simulator for the best.

The first look compares the inner part of the 000 pattern, in large pixels, with a prediction for every crystal and
many thicknesses. Whatever makes predictions can be plugged in: a learned simulator, or the exact engine with few
beams (see `lacbed.identification.predictors`). The best candidates are then simulated in full and ranked by Z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import LacbedError, SettingError
from lacbed.identification.predictors import Predictor, Target, exact, few_beams, target_of
from lacbed.patterns.metrics import zncc_loss

if TYPE_CHECKING:
    import xarray as xr

FINE = 5
"""The exact simulation tries thicknesses this many times as close as those of the first look."""


@dataclass(frozen=True)
class Candidate:
    """One crystal of the catalogue.

    Attributes:
        index: its place among those that were given.
        name: its name.
        z_first: least Z of the first look.
        z: least Z of the exact simulation, NaN if it was not simulated.
        thickness: in Å, of the least Z.
    """

    index: int
    name: str
    z_first: float
    z: float
    thickness: float


@dataclass(frozen=True)
class Identification:
    """Candidates, best first.

    Attributes:
        candidates: those that were simulated exactly by Z, then the others by the Z of the first look.
        failures: name and reason of crystals that could not be predicted.
    """

    candidates: tuple[Candidate, ...]
    failures: tuple[tuple[str, str], ...] = field(default=())


def library(
    crystals: Sequence[Crystal],
    thicknesses: Sequence[float],
    target: Target,
    predictor: Predictor = few_beams,
    progress: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Predictions of all crystals at the pixels of a target, to look many patterns of one grid up.

    Returns:
        (crystal, thickness, ky, kx) float32, NaN for crystals that could not be predicted; and why not, by place.
    """
    found = np.full((len(crystals), len(thicknesses), *target.image.shape), np.nan, dtype=np.float32)
    failures: dict[int, str] = {}
    for i, crystal in enumerate(crystals):
        try:
            found[i] = predictor(crystal, thicknesses, target)
        except LacbedError as error:
            failures[i] = str(error)
        if progress is not None:
            progress((i + 1) / len(crystals))
    return found, failures


def identify(
    pattern: Target | xr.DataArray,
    crystals: Sequence[Crystal],
    thicknesses: Sequence[float],
    *,
    keep: int = 5,
    predictor: Predictor = few_beams,
    final: Predictor | None = None,
    known: tuple[np.ndarray, dict[int, str]] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Identification:
    """Rank crystals by how well they explain a 000 pattern.

    Args:
        pattern: with 000 among its reflections; of several thicknesses choose one with
            `lacbed.identification.predictors.target_of`.
        crystals: the candidates.
        thicknesses: to be tried, in Å.
        keep: how many of the best of the first look are simulated exactly.
        predictor: makes the first look.
        final: makes the exact simulation; default `exact()`.
        known: what `library` gave for these crystals, these thicknesses and the coarse target.
        progress: called with the fraction of the work done.

    Raises:
        SettingError: if there are no crystals or no thicknesses, or none of the crystals could be predicted.
    """
    if not crystals or not len(thicknesses):
        raise SettingError("identification needs at least one crystal and one thickness")
    target = pattern if isinstance(pattern, Target) else target_of(pattern)
    times = np.array(sorted(thicknesses), dtype=float)
    coarse = target.coarse()
    tick = progress or (lambda _: None)
    found, failures = known or library(crystals, times.tolist(), coarse, predictor, lambda f: tick(0.7 * f))
    z = _z(found, coarse.image)  # (crystal, thickness)
    z[list(failures)] = np.nan
    if not np.isfinite(z).any():
        raise SettingError(
            f"none of the crystals could be predicted: {next(iter(failures.values()), 'no reason')}"
        )
    first = np.where(np.isfinite(z), z, np.inf).min(axis=1)
    order = np.argsort(first, kind="stable")[: int(np.isfinite(first).sum())]
    best = [
        Candidate(int(i), crystals[i].name, float(first[i]), math.nan, float(times[int(np.nanargmin(z[i]))]))
        for i in order
    ]
    for n, candidate in enumerate(best[:keep]):
        try:
            best[n] = _closer(candidate, crystals[candidate.index], z[candidate.index], times, target, final)
        except LacbedError as error:
            failures = failures | {candidate.index: str(error)}
        tick(0.7 + 0.3 * (n + 1) / max(1, min(keep, len(best))))
    simulated = sorted((c for c in best if math.isfinite(c.z)), key=lambda c: c.z)
    rest = [c for c in best if not math.isfinite(c.z)]
    named = tuple((crystals[i].name, why) for i, why in failures.items())
    return Identification((*simulated, *rest), named)


def _closer(
    candidate: Candidate,
    crystal: Crystal,
    z: FloatArray,
    thicknesses: FloatArray,
    target: Target,
    final: Predictor | None,
) -> Candidate:
    """A candidate with the Z and the thickness of the exact simulation."""
    near = _fine(thicknesses, z)
    images = (final or exact())(crystal, near, target)
    scores = _z(images[None], target.image)[0]
    at = int(np.argmin(scores))
    return Candidate(candidate.index, candidate.name, candidate.z_first, float(scores[at]), near[at])


def _fine(thicknesses: FloatArray, z: FloatArray) -> list[float]:
    """Close thicknesses around the three best of the first look."""
    if len(thicknesses) == 1:
        return [float(thicknesses[0])]
    wanted: set[float] = set()
    for i in np.argsort(z)[:3]:
        low, high = thicknesses[max(0, i - 1)], thicknesses[min(len(thicknesses) - 1, i + 1)]
        wanted |= {round(float(v), 4) for v in np.linspace(low, high, 2 * FINE + 1)}
    return sorted(wanted)


def _z(images: np.ndarray, image: FloatArray) -> FloatArray:
    """Z of stacks (crystal, thickness, ky, kx) against one image: (crystal, thickness)."""
    return np.stack([np.asarray(zncc_loss(stack.astype(float), image)) for stack in images])
