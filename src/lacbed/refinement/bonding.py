"""The electrons in the bonds: U_g of the lowest reflections, which no neutral atoms describe.

Electron scattering factors at small angles follow from the small difference of a nucleus and its electrons, so
that a per cent of the electrons between the atoms changes U_g by several (Zuo, Kim, O'Keeffe & Spence, Nature 401
(1999) 49). Beyond s = |g| / 2 = `FURTHEST` they leave no trace.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lacbed.beams import HKL
from lacbed.crystals import Crystal
from lacbed.potential import symmetric_change
from lacbed.refinement.parameter import Parameter

FURTHEST = 0.37
"""Largest s in 1/Å of a U_g that is chosen."""

CANDIDATES = 24
"""So many of the lowest families are looked at."""

MOST = 6
"""Largest number of families that are chosen."""

LEAST = 0.05
"""Families whose prior changes the images by less than this part of what the strongest does are not chosen."""


def candidates(crystal: Crystal, hkl: np.ndarray, known: Sequence[HKL] = ()) -> list[HKL]:
    """One reflection of each of the lowest families among those of a zone, by |g|.

    Args:
        crystal: the crystal, whose space group and Friedel's law make families.
        hkl: reflections of the zone: (g, 3).
        known: reflections whose families are left out.
    """
    s = 0.5 * np.linalg.norm(hkl @ crystal.reciprocal.T, axis=1)
    low = (s > 1e-6) & (s <= FURTHEST)
    found: list[HKL] = []
    seen = {member for g in known for member in members(crystal, g)}
    ordered = sorted(zip(np.round(s[low], 6).tolist(), (-hkl[low]).tolist(), strict=True))
    for _, (h, k, l) in ordered:  # noqa: E741
        g = (-h, -k, -l)
        if g in seen:
            continue
        seen |= members(crystal, g)
        if not max(abs(symmetric_change(crystal, g, unit, np.array([g]))[0]) for unit in (1.0, 1j)) > 1e-6:
            continue  # the space group forbids it
        found.append(g)
        if len(found) == CANDIDATES:
            break
    return found


def members(crystal: Crystal, hkl: Sequence[int]) -> set[tuple[int, ...]]:
    """The family of a reflection: all that the space group and Friedel's law make equal to it."""
    images = np.array(hkl) @ crystal.rotations
    return {tuple(int(i) for i in row) for row in np.concatenate([images, -images])}


def choose(parameters: Sequence[Parameter], felt: Sequence[float]) -> list[Parameter]:
    """Those of the candidates that the images feel most, whole families at a time.

    Args:
        parameters: all of them; those of kind "bonding" are the candidates.
        felt: by how much a unit of each changes the residual: (p,).

    Returns:
        The chosen candidates, in their order.
    """
    sizes: dict[str, float] = {}
    for p, size in zip(parameters, felt, strict=True):
        if p.kind == "bonding":
            family = p.name.removesuffix(":phase")
            sizes[family] = float(np.hypot(sizes.get(family, 0.0), p.spread * size))
    strongest = max(sizes.values(), default=0.0)
    best = sorted((f for f in sizes if sizes[f] > LEAST * strongest), key=lambda f: -sizes[f])[:MOST]
    return [p for p in parameters if p.kind == "bonding" and p.name.removesuffix(":phase") in best]
